//! Extended attributes: a chain of blocks whose payloads, put together, are a sequence of entries.
//!
//! An entry is an [`EntryHead`], the full name (prefix included), and the value. The sequence ends
//! with the last payload. The header's `count` is the number of payload bytes in the block.

use crate::block::BlockHeader;
use crate::le::{Le16, Le32, Le64};
use crate::{BLOCK_BYTES, HEADER_BYTES};
use bytemuck::{Pod, Zeroable};

/// Start of an xattr block.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct XattrHead {
    /// Kind [`Xattr`](crate::BlockKind::Xattr); `count` is the length of the payload in bytes.
    pub header: BlockHeader,
    /// The next block, 0 at the end.
    pub next: Le64,
}

/// Where the payload of an xattr block starts.
pub const PAYLOAD_OFFSET: usize = HEADER_BYTES + 8;

/// Bytes of payload in a block.
pub const PAYLOAD_BYTES: usize = BLOCK_BYTES - PAYLOAD_OFFSET;

/// Most blocks of one inode: 128 KiB of attributes.
pub const MAX_BLOCKS: usize = 32;

/// Largest value in bytes, as Linux has it.
pub const VALUE_MAX: usize = 65536;

/// What stands before name and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EntryHead {
    /// Length of the value in bytes.
    pub value_len: Le32,
    /// Length of the name in bytes, 1 to 255.
    pub name_len: Le16,
    /// Zero.
    pub reserved: Le16,
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The full name, prefix included.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// Walks over the joined payloads. A malformed entry ends the walk with its offset as the error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    payload: &'a [u8],
    offset: usize,
}

/// All attributes in the joined payloads.
pub fn entries(payload: &[u8]) -> Entries<'_> {
    Entries { payload, offset: 0 }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        if offset >= self.payload.len() {
            return None;
        }
        match parse_entry(self.payload, offset) {
            Some((entry, end)) => {
                self.offset = end;
                Some(Ok(entry))
            }
            None => {
                self.offset = self.payload.len();
                Some(Err(offset))
            }
        }
    }
}

fn parse_entry(payload: &[u8], offset: usize) -> Option<(Entry<'_>, usize)> {
    let head: &EntryHead = crate::block::view(payload, offset)?;
    let name_start = offset + size_of::<EntryHead>();
    let name_len = usize::from(head.name_len.get());
    let value_len = usize::try_from(head.value_len.get()).ok()?;
    if name_len == 0 || name_len > crate::NAME_MAX || value_len > VALUE_MAX {
        return None;
    }
    let value_start = name_start + name_len;
    let end = value_start + value_len;
    let name = payload.get(name_start..value_start)?;
    let value = payload.get(value_start..end)?;
    Some((Entry { name, value }, end))
}
