//! Directories.
//!
//! A directory's blocks hold entries in the order in which they came. The entries of a block follow
//! each other without gaps from behind the header to the end of the block, each `entry_bytes`
//! long; an entry with inode 0 is free space. A removed entry becomes free space, which may be
//! joined with free space behind it; entries never move.
//!
//! The *position* of an entry is its byte offset in the directory, divided by 8. The hash index, a
//! tree of bare `u64` keys, has one key per entry: the name's hash in the upper 32 bits, the
//! position in the lower. Directories that span no more than one block have no index. A block that
//! becomes empty is freed: the directory has a hole there.

use crate::block;
use crate::le::{Le16, Le64};
use crate::{BLOCK_BYTES, HEADER_BYTES, NAME_MAX};
use bytemuck::{Pod, Zeroable};

/// What stands before the name of each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EntryHead {
    /// Inode; 0 for free space.
    pub ino: Le64,
    /// Length of the whole entry, a multiple of 8.
    pub entry_bytes: Le16,
    /// Length of the name.
    pub name_len: u8,
    /// `d_type` as in `readdir(3)`.
    pub dirent_type: u8,
}

/// Size of an [`EntryHead`] in bytes.
pub const ENTRY_HEAD_BYTES: usize = size_of::<EntryHead>();

/// Unit of positions and entry lengths in bytes.
pub const ENTRY_ALIGN: usize = 8;

/// Most blocks of a directory: positions have 32 bits.
pub const MAX_DIR_BLOCKS: u64 = (1 << 32) / (BLOCK_BYTES / ENTRY_ALIGN) as u64;

/// Shortest entry: free space of this length is of use again.
pub const ENTRY_BYTES_MIN: usize = 16;

/// Keys in a leaf of a directory index.
pub const KEYS_PER_NODE: usize = crate::tree::leaf_capacity(8);

/// Bytes that an entry with a name of this length takes.
pub const fn entry_bytes(name_len: usize) -> usize {
    (ENTRY_HEAD_BYTES + name_len).next_multiple_of(ENTRY_ALIGN)
}

/// The key of an entry in the index.
pub const fn index_key(hash: u32, position: u32) -> u64 {
    (hash as u64) << 32 | position as u64
}

/// An entry of a directory block, free space included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Byte offset in the block.
    pub offset: usize,
    /// Length in bytes.
    pub entry_bytes: usize,
    /// Inode; 0 for free space.
    pub ino: u64,
    /// `d_type`.
    pub dirent_type: u8,
    /// The name; empty for free space.
    pub name: &'a [u8],
}

/// Walks over the entries of a directory block. A malformed entry ends the walk with its offset as
/// the error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    block: &'a [u8],
    offset: usize,
}

/// All entries of a directory block.
pub fn entries(block: &[u8]) -> Entries<'_> {
    entries_from(block, HEADER_BYTES)
}

/// The entries of a directory block from the one on that starts at a byte offset.
pub fn entries_from(block: &[u8], offset: usize) -> Entries<'_> {
    Entries { block, offset }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        if offset >= self.block.len() {
            return None;
        }
        let entry = parse_entry(self.block, offset);
        self.offset = match &entry {
            Some(entry) => offset + entry.entry_bytes,
            None => self.block.len(),
        };
        Some(entry.ok_or(offset))
    }
}

/// The entry that starts at a byte offset of a directory block; `None` if it is malformed.
pub fn entry_at(block: &[u8], offset: usize) -> Option<Entry<'_>> {
    parse_entry(block, offset)
}

fn parse_entry(block: &[u8], offset: usize) -> Option<Entry<'_>> {
    let head: &EntryHead = block::view(block, offset)?;
    let bytes = usize::from(head.entry_bytes.get());
    let name_len = usize::from(head.name_len);
    let fits = bytes.is_multiple_of(ENTRY_ALIGN) && offset + bytes <= block.len();
    let ino = head.ino.get();
    if !fits || bytes < ENTRY_BYTES_MIN {
        return None;
    }
    if ino == 0 {
        return Some(Entry {
            offset,
            entry_bytes: bytes,
            ino: 0,
            dirent_type: 0,
            name: &[],
        });
    }
    if name_len == 0 || entry_bytes(name_len) > bytes {
        return None;
    }
    let start = offset + ENTRY_HEAD_BYTES;
    let name = block.get(start..start + name_len)?;
    Some(Entry {
        offset,
        entry_bytes: bytes,
        ino,
        dirent_type: head.dirent_type,
        name,
    })
}

/// Whether a name may stand in a directory.
pub fn name_ok(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|&byte| byte == 0 || byte == b'/')
}

/// Hash of a name: SipHash-2-4 (Aumasson and Bernstein, 2012) with the file system's key, folded to
/// 32 bits.
pub fn hash_name(key: [u64; 2], name: &[u8]) -> u32 {
    let mut state = Sip::new(key);
    let mut chunks = name.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state.word(u64::from_le_bytes(word));
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    last[7] = name.len() as u8;
    state.word(u64::from_le_bytes(last));
    let hash = state.finish();
    (hash ^ (hash >> 32)) as u32
}

/// The four words of SipHash.
struct Sip(u64, u64, u64, u64);

impl Sip {
    fn new(key: [u64; 2]) -> Sip {
        Sip(
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        )
    }

    fn round(&mut self) {
        self.0 = self.0.wrapping_add(self.1);
        self.1 = self.1.rotate_left(13) ^ self.0;
        self.0 = self.0.rotate_left(32);
        self.2 = self.2.wrapping_add(self.3);
        self.3 = self.3.rotate_left(16) ^ self.2;
        self.0 = self.0.wrapping_add(self.3);
        self.3 = self.3.rotate_left(21) ^ self.0;
        self.2 = self.2.wrapping_add(self.1);
        self.1 = self.1.rotate_left(17) ^ self.2;
        self.2 = self.2.rotate_left(32);
    }

    fn word(&mut self, word: u64) {
        self.3 ^= word;
        self.round();
        self.round();
        self.0 ^= word;
    }

    fn finish(mut self) -> u64 {
        self.2 ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.0 ^ self.1 ^ self.2 ^ self.3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_agrees_with_the_published_vectors() {
        // Appendix A of the SipHash paper: key 00..0f, message 00..0e.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: [u8; 15] = core::array::from_fn(|i| i as u8);
        let full: u64 = 0xa129_ca61_49be_45e5;
        assert_eq!(hash_name(key, &message), (full ^ (full >> 32)) as u32);
    }
}
