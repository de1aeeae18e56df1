//! Damaged disks, for whoever has to survive them.

use crate::{Mounted, fresh};
use bento_api::SetXattr;
use bento_sim::{Image, Rng};

const BLOCK: usize = 4096;

/// `LgFS`: metadata blocks start with it.
const MAGIC: [u8; 4] = *b"LgFS";

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Fields of metadata blocks, their checksums made right again.
    Fields,
    /// Records of the log, their checksums made right again.
    Log,
    /// Fields of the superblock or a checkpoint, checksums made right again.
    Heads,
    /// Bytes anywhere, as they come.
    Bytes,
}

impl Harm {
    /// All of them.
    pub const ALL: [Harm; 4] = [Harm::Fields, Harm::Log, Harm::Heads, Harm::Bytes];
}

/// Disks with something of everything, to be damaged.
pub struct Victims {
    clean: Image,
    /// With records in the log.
    dirty: Image,
    metadata: Vec<u64>,
    heads: [u64; 3],
}

impl Victims {
    /// Makes them.
    ///
    /// # Panics
    /// If logfs fails on a healthy disk.
    #[allow(clippy::new_without_default, reason = "it is a lot of work")]
    pub fn new() -> Victims {
        let (clean, dirty) = (image(false), image(true));
        let mut block = vec![0; BLOCK];
        dirty.read(BLOCK as u64, &mut block);
        let superblock = logfs_format::Superblock::parse(&block, 1).expect("a healthy disk");
        let log_start = superblock.log_start.get();
        Victims {
            metadata: metadata_blocks(&clean),
            heads: [1, log_start, log_start + 1],
            clean,
            dirty,
        }
    }

    /// A disk that was damaged; the same for the same seed.
    pub fn harmed(&self, harm: Harm, seed: u64) -> Image {
        let mut rng = Rng::new(seed);
        let mut image = match harm {
            Harm::Fields => self.clean.clone(),
            Harm::Log | Harm::Heads | Harm::Bytes => self.dirty.clone(),
        };
        match harm {
            Harm::Fields => {
                for _ in 0..=rng.below(2) {
                    damage(&mut image, *any(&self.metadata, &mut rng), &mut rng);
                }
            }
            Harm::Log => damage_log(&mut image, &mut rng),
            Harm::Heads => damage(&mut image, *any(&self.heads, &mut rng), &mut rng),
            Harm::Bytes => {
                for _ in 0..=rng.below(8) {
                    let block = any(&self.metadata, &mut rng) * BLOCK as u64;
                    let bytes: Vec<u8> =
                        (0..=rng.below(64)).map(|_| rng.next_u64() as u8).collect();
                    image.write(block + rng.below((BLOCK - 64) as u64), &bytes);
                }
            }
        }
        image
    }

    /// A disk with these changes; one with records in its log if `dirty`.
    pub fn edited(&self, dirty: bool, edits: &[Edit]) -> Image {
        let mut image = if dirty { &self.dirty } else { &self.clean }.clone();
        let nth = |number: u16| self.metadata[usize::from(number) % self.metadata.len()];
        for edit in edits {
            match *edit {
                Edit::Metadata {
                    block,
                    at,
                    width,
                    value,
                    sealed,
                } => {
                    let address = nth(block) * BLOCK as u64;
                    let mut block = vec![0; BLOCK];
                    image.read(address, &mut block);
                    put_field(&mut block, at, width, value);
                    if sealed {
                        logfs_format::block::seal(&mut block);
                    }
                    image.write(address, &block);
                }
                Edit::Copy { from, to } => {
                    let mut block = vec![0; BLOCK];
                    image.read(nth(from) * BLOCK as u64, &mut block);
                    image.write(nth(to) * BLOCK as u64, &block);
                }
                Edit::Record {
                    record,
                    at,
                    width,
                    value,
                } => change_records(&mut image, |number, bytes| {
                    let hit = number == record;
                    if hit {
                        put_field(bytes, at, width, value);
                    }
                    hit
                }),
            }
        }
        image
    }
}

/// One change to a disk.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// Bytes of a block that starts with the magic. Its checksum is right afterwards if `sealed`.
    Metadata {
        /// Which of them, from the first on the disk, again from the first behind the last.
        block: u16,
        /// Where in the block, again from its start behind its end.
        at: u16,
        /// As many bytes of `value` as a field has: 1, 2, 4 or 8 for 0 to 3.
        width: u8,
        /// What is there afterwards.
        value: u64,
        /// Whether the block's checksum is made right.
        sealed: bool,
    },
    /// A block that starts with the magic becomes a copy of another.
    Copy {
        /// The one that is copied.
        from: u16,
        /// The one that becomes like it.
        to: u16,
    },
    /// Bytes of a record of the log, whose checksum is right afterwards.
    Record {
        /// Which of the records.
        record: u16,
        /// Where in it, again from its start behind its end.
        at: u16,
        /// As for `Metadata`.
        width: u8,
        /// What is there afterwards.
        value: u64,
    },
}

fn any<'a>(blocks: &'a [u64], rng: &mut Rng) -> &'a u64 {
    &blocks[rng.below(blocks.len() as u64) as usize]
}

/// An image with something of everything, with records in its log if `dirty`.
fn image(dirty: bool) -> Image {
    let sim: Mounted = fresh(24 << 20);
    for dir in 0..3 {
        sim.mkdir(format!("/d{dir}").as_bytes(), 0o755).unwrap();
        for n in 0..120 {
            let path = format!("/d{dir}/a-file-with-a-name-{n}").into_bytes();
            sim.write_file(&path, &vec![n as u8; 3000 * (n % 4)])
                .unwrap();
        }
    }
    let file = sim.create(b"/sparse", 0o644).unwrap();
    for n in 0..400u64 {
        sim.write(&file, n * 8192, b"x").unwrap();
    }
    sim.close(file);
    sim.symlink(&[b'l'; 3000], b"/link").unwrap();
    sim.symlink(b"short", b"/short").unwrap();
    sim.setxattr(b"/sparse", b"user.x", Some(&[1; 9000]), SetXattr::Any)
        .unwrap();
    sim.link(b"/sparse", b"/d1/hard").unwrap();
    sim.sync().unwrap();
    if dirty {
        sim.disk().image()
    } else {
        sim.unmount().unwrap().image()
    }
}

/// Addresses of blocks that carry the magic.
fn metadata_blocks(image: &Image) -> Vec<u64> {
    let mut block = [0; 4];
    (0..image.size_bytes() / BLOCK as u64)
        .filter(|address| {
            image.read(address * BLOCK as u64, &mut block);
            block == MAGIC
        })
        .collect()
}

/// Changes a few fields of a block to values that tend to hurt, and seals it again.
fn damage(image: &mut Image, address: u64, rng: &mut Rng) {
    let mut block = vec![0; BLOCK];
    image.read(address * BLOCK as u64, &mut block);
    for _ in 0..=rng.below(3) {
        let width = [1, 2, 4, 8][rng.below(4) as usize];
        // Most fields that matter are near the start or in the first records.
        let limit = if rng.below(2) == 0 { 512 } else { BLOCK };
        let at = 8 + rng.below((limit - 16) as u64) as usize;
        let mut old = [0; 8];
        old[..width].copy_from_slice(&block[at..at + width]);
        let old = u64::from_le_bytes(old);
        let new = match rng.below(7) {
            0 => 0,
            1 => u64::MAX,
            2 => old.wrapping_add(1),
            3 => old.wrapping_sub(1),
            4 => 1 << rng.below(64),
            5 => old ^ (1 << rng.below(64)),
            _ => rng.next_u64(),
        };
        block[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
    }
    logfs_format::block::seal(&mut block);
    image.write(address * BLOCK as u64, &block);
}

/// Changes bytes of the log's records and makes their checksums right.
fn damage_log(image: &mut Image, rng: &mut Rng) {
    change_records(image, |_, record| {
        let hit = rng.below(3) == 0;
        if hit {
            for _ in 0..=rng.below(4) {
                let place = 24 + rng.below((record.len() - 24) as u64) as usize;
                record[place] = rng.next_u64() as u8;
            }
        }
        hit
    });
}

/// Shows `change` each record of the log, numbered; one that it has changed gets its checksum.
fn change_records(image: &mut Image, mut change: impl FnMut(u16, &mut [u8]) -> bool) {
    let mut block = vec![0; BLOCK];
    image.read(BLOCK as u64, &mut block);
    let Ok(superblock) = logfs_format::Superblock::parse(&block, 1) else {
        return;
    };
    let start = (superblock.log_start.get() + 2) * BLOCK as u64;
    let len = superblock.log_blocks.get() * BLOCK as u64;
    if start.saturating_add(len) > image.size_bytes() {
        return;
    }
    let mut ring = vec![0; len as usize];
    image.read(start, &mut ring);
    let mut at = 0;
    let mut number = 0;
    while at + 512 <= ring.len() {
        let head: logfs_format::log::RecordHead =
            *logfs_format::block::view(&ring, at).expect("inside");
        let record_len = head.len_bytes.get() as usize;
        let is_record = head.magic.get() == logfs_format::log::RECORD_MAGIC
            && record_len > 24
            && at + record_len <= ring.len();
        if !is_record {
            break;
        }
        let record = &mut ring[at..at + record_len];
        if change(number, record) {
            record[4..8].fill(0);
            let sum = crc32fast::hash(record);
            record[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        at += record_len.next_multiple_of(512);
        number += 1;
    }
    image.write(start, &ring);
}

/// Puts the low bytes of a value to a place inside; `width` is that of [`Edit`].
fn put_field(bytes: &mut [u8], at: u16, width: u8, value: u64) {
    let width = 1 << (width % 4);
    let at = usize::from(at) % (bytes.len() - width + 1);
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}
