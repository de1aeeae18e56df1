//! Logs of dm-log-writes: every write, flush and discard of a disk, in the order in which they
//! became durable or could have, and marks between them. From such a log comes the disk as it can
//! be after a power cut at any point.
//!
//! The log is a sequence of sectors: a header, then entries, each a sector followed by the data
//! written. All numbers are little-endian. A write stands before the flush that makes it durable; one
//! with forced unit access is durable by itself.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

/// Bits of an entry's flags.
const FLUSH: u64 = 1 << 0;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// One entry of the log.
#[derive(Clone, Debug)]
struct Entry {
    /// Where on the disk, in bytes.
    offset_bytes: u64,
    len_bytes: u64,
    flags: u64,
    /// Where in the log its data is, in bytes.
    data_bytes: u64,
    mark: String,
}

/// Something that happened to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All before it was made durable.
    Flush,
    /// A write.
    Write {
        /// Where, in bytes.
        offset_bytes: u64,
        /// What.
        data: Vec<u8>,
        /// It was durable when it had returned (forced unit access).
        durable: bool,
    },
    /// A range was discarded.
    Discard {
        /// Where, in bytes.
        offset_bytes: u64,
        /// How far.
        len_bytes: u64,
    },
    /// Somebody set a mark.
    Mark(String),
}

/// A log that has been read.
pub struct Log {
    file: File,
    entries: Vec<Entry>,
}

impl Log {
    /// Reads the entries, not the data.
    pub fn open(path: &Path) -> Result<Log> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let header = read_at(&file, 0, 28)?;
        ensure!(
            number(&header, 0) == MAGIC && number(&header, 8) == VERSION,
            "{} is no log of dm-log-writes",
            path.display()
        );
        let sector_bytes = number(&header, 24) & 0xffff_ffff;
        ensure!(
            (512..=4096).contains(&sector_bytes),
            "the log has sectors of {sector_bytes} bytes"
        );
        let mut entries = Vec::new();
        let mut at = sector_bytes;
        for _ in 0..number(&header, 16) {
            let sector = read_at(&file, at, sector_bytes as usize)?;
            let flags = number(&sector, 16);
            let mark_bytes = if flags & MARK != 0 {
                number(&sector, 24) as usize
            } else {
                0
            };
            let mark = sector.get(32..32 + mark_bytes).unwrap_or_default();
            let entry = Entry {
                offset_bytes: number(&sector, 0) * sector_bytes,
                len_bytes: number(&sector, 8) * sector_bytes,
                flags,
                data_bytes: at + sector_bytes,
                mark: String::from_utf8_lossy(mark).into_owned(),
            };
            at += sector_bytes;
            if flags & DISCARD == 0 {
                at += entry.len_bytes;
            }
            entries.push(entry);
        }
        Ok(Log { file, entries })
    }

    /// What happened, in order.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn events(&self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for entry in &self.entries {
            if entry.flags & FLUSH != 0 {
                events.push(Event::Flush);
            }
            if entry.flags & MARK != 0 {
                events.push(Event::Mark(entry.mark.clone()));
            } else if entry.flags & DISCARD != 0 {
                events.push(Event::Discard {
                    offset_bytes: entry.offset_bytes,
                    len_bytes: entry.len_bytes,
                });
            } else if entry.len_bytes > 0 {
                events.push(Event::Write {
                    offset_bytes: entry.offset_bytes,
                    data: self.data(entry)?,
                    durable: entry.flags & FUA != 0,
                });
            }
        }
        Ok(events)
    }

    /// The number of entries.
    #[allow(clippy::len_without_is_empty, reason = "a log is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The index behind a mark.
    pub fn behind_mark(&self, name: &str) -> Option<usize> {
        let at = self.entries.iter().position(|entry| entry.mark == name)?;
        Some(at + 1)
    }

    /// The marks among the first `cut` entries.
    pub fn marks(&self, cut: usize) -> impl Iterator<Item = &str> {
        let marks = self
            .entries
            .iter()
            .take(cut)
            .map(|entry| entry.mark.as_str());
        marks.filter(|mark| !mark.is_empty())
    }

    /// Makes `disk`, which reads as zeros, what it can be if the power is cut when `cut` entries
    /// have happened: what was flushed is there; of the rest chance decides what is there, what is
    /// not, and what was torn at a sector.
    pub fn cut_power(&self, cut: usize, disk: &File, chance: &mut fastrand::Rng) -> Result<Losses> {
        let happened = self.entries.get(..cut).unwrap_or(&self.entries);
        let flushed = happened
            .iter()
            .rposition(|entry| entry.flags & FLUSH != 0)
            .unwrap_or(0);
        let mut losses = Losses::default();
        for (index, entry) in happened.iter().enumerate() {
            if entry.len_bytes == 0 {
                continue;
            }
            let is_durable = index < flushed || entry.flags & FUA != 0;
            let mut data = self.data(entry)?;
            match if is_durable {
                Fate::Whole
            } else {
                Fate::draw(chance)
            } {
                Fate::Whole => disk.write_all_at(&data, entry.offset_bytes)?,
                Fate::Dropped => losses.dropped += 1,
                Fate::Torn => {
                    losses.torn += 1;
                    let mut at = entry.offset_bytes;
                    for sector in data.chunks_mut(SECTOR_BYTES) {
                        if chance.bool() {
                            disk.write_all_at(sector, at)?;
                        }
                        at += sector.len() as u64;
                    }
                }
            }
        }
        Ok(losses)
    }

    fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let len_bytes = usize::try_from(entry.len_bytes)?;
        if entry.flags & DISCARD != 0 {
            return Ok(vec![0; len_bytes]);
        }
        read_at(&self.file, entry.data_bytes, len_bytes)
    }
}

/// How many writes did not survive as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Nothing of them is there.
    pub dropped: u64,
    /// Some of their sectors are.
    pub torn: u64,
}

/// What becomes of a write that was not flushed.
enum Fate {
    Whole,
    Dropped,
    Torn,
}

impl Fate {
    fn draw(chance: &mut fastrand::Rng) -> Fate {
        match chance.u8(..3) {
            0 => Fate::Whole,
            1 => Fate::Dropped,
            _ => Fate::Torn,
        }
    }
}

fn read_at(file: &File, offset_bytes: u64, len_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len_bytes];
    file.read_exact_at(&mut bytes, offset_bytes)
        .context("the log of the disk's writes is cut short; was its disk too small?")?;
    Ok(bytes)
}

/// The number of eight bytes at `at`; what is beyond the end counts as zeros.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::{DISCARD, FLUSH, FUA, Log, Losses, MAGIC, MARK, SECTOR_BYTES};
    use std::fs::{self, File};
    use std::io::Write;
    use tempfile::{NamedTempFile, tempfile};

    /// A log of entries: sector, flags, and the byte that fills each sector written, or a mark.
    fn log(entries: &[(u64, u64, &[u8])]) -> Log {
        let mut bytes = Vec::new();
        for number in [MAGIC, 1, entries.len() as u64, 512] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.resize(SECTOR_BYTES, 0);
        for (sector, flags, data) in entries {
            let is_mark = flags & MARK != 0;
            let sectors = if is_mark { 0 } else { data.len() as u64 };
            let start = bytes.len();
            for number in [*sector, sectors, *flags, data.len() as u64] {
                bytes.extend(number.to_le_bytes());
            }
            if is_mark {
                bytes.extend(*data);
            }
            bytes.resize(start + SECTOR_BYTES, 0);
            if !is_mark && flags & DISCARD == 0 {
                bytes.extend(data.iter().flat_map(|&byte| [byte; SECTOR_BYTES]));
            }
        }
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(&bytes).expect("written");
        Log::open(file.path()).expect("a valid log")
    }

    /// The first byte of each of the disk's first sectors after a power cut.
    fn disk_after(log: &Log, cut: usize, seed: u64) -> (Vec<u8>, Losses) {
        let disk = tempfile().expect("a temporary file");
        disk.set_len(4 * SECTOR_BYTES as u64).expect("sized");
        let mut chance = fastrand::Rng::with_seed(seed);
        let losses = log.cut_power(cut, &disk, &mut chance).expect("replayed");
        (
            read_all(&disk)
                .chunks(SECTOR_BYTES)
                .map(|sector| sector[0])
                .collect(),
            losses,
        )
    }

    fn read_all(disk: &File) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; 4 * SECTOR_BYTES];
        disk.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    #[test]
    fn what_was_flushed_is_there_whatever_chance_says() {
        let log = log(&[
            (0, 0, &[1, 2]),
            (2, 0, &[3]),
            (0, FLUSH, &[]),
            (1, FUA, &[4]),
        ]);
        for seed in 0..50 {
            assert_eq!(
                disk_after(&log, 4, seed),
                (vec![1, 4, 3, 0], Losses::default())
            );
        }
    }

    #[test]
    fn what_was_not_flushed_may_be_there_or_not_or_torn() {
        let log = log(&[(0, 0, &[1, 2, 3]), (0, FLUSH, &[])]);
        let outcomes: Vec<_> = (0..50).map(|seed| disk_after(&log, 1, seed)).collect();
        for (dropped, torn) in [(0, 0), (1, 0), (0, 1)] {
            assert!(
                outcomes
                    .iter()
                    .any(|(_, losses)| *losses == Losses { dropped, torn })
            );
        }
        assert!(
            outcomes
                .iter()
                .any(|(disk, _)| disk[0] == 1 && disk[1] == 0)
        );
    }

    #[test]
    fn what_had_not_happened_is_not_there() {
        let log = log(&[(0, FUA, &[1]), (1, FUA, &[2]), (0, FLUSH, &[])]);
        assert_eq!(disk_after(&log, 1, 0).0, [1, 0, 0, 0]);
    }

    #[test]
    fn a_discarded_range_holds_nothing() {
        let log = log(&[(0, 0, &[1, 2]), (0, DISCARD, &[0]), (0, FLUSH, &[])]);
        assert_eq!(disk_after(&log, 3, 0).0, [0, 2, 0, 0]);
    }

    #[test]
    fn marks_are_found() {
        let log = log(&[(0, MARK, b"made"), (0, FUA, &[1]), (0, MARK, b"1")]);
        assert_eq!(log.behind_mark("made"), Some(1));
        assert_eq!(log.behind_mark("none"), None);
        assert_eq!(log.marks(2).collect::<Vec<_>>(), ["made"]);
        assert_eq!(log.marks(3).collect::<Vec<_>>(), ["made", "1"]);
    }

    #[test]
    fn something_else_is_no_log() {
        let file = NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), [0; 1024]).expect("written");
        assert!(Log::open(file.path()).is_err());
    }
}
