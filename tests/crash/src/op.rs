//! The operations that workloads are made of, and how they are written down.

use std::fmt;
use std::str::FromStr;

/// A range of a file in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// What is done with a range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeOp {
    /// Write with checksums, as write(2) does once its data is written back.
    Write,
    /// Write without checksums, as O_DIRECT does; in whole blocks.
    Direct,
    /// Write to the page cache, as write(2) and mmap do: the data follows with the next
    /// synchronisation or writeback.
    Buffer,
    /// fallocate.
    Allocate,
    /// fallocate, `FALLOC_FL_KEEP_SIZE`.
    AllocateBeyond,
    /// fallocate, `FALLOC_FL_PUNCH_HOLE`.
    Punch,
    /// fallocate, `FALLOC_FL_ZERO_RANGE`.
    Zero,
}

/// What is done with one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathOp {
    /// Make an empty file.
    Create,
    /// Make a directory.
    Mkdir,
    /// Make a symbolic link, short enough for the inode.
    Symlink,
    /// Make a symbolic link that takes blocks of its own.
    LongSymlink,
    /// Make a file without a name in this directory, write to it and keep it open.
    Tmpfile,
    /// Take a name away.
    Unlink,
    /// Take a name away and keep the file open.
    UnlinkOpen,
    /// Remove a directory.
    Rmdir,
    /// fsync.
    Fsync,
    /// fdatasync; what O_DSYNC does behind each write.
    Fdatasync,
    /// Write dirty data back without making anything durable.
    Writeback,
    /// The same, but the file system learns that it was written only when the file is used next.
    StartWriteback,
}

/// What is done with two paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairOp {
    /// Give the first one a second name.
    Link,
    /// Rename, replacing what is there.
    Rename,
    /// Rename, exchanging the two.
    Exchange,
}

/// What is done with one path and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberOp {
    /// Set the size.
    Truncate,
    /// Set permission bits.
    Chmod,
    /// Set an extended attribute to a value of this length.
    SetXattr,
    /// Remove that attribute.
    RemoveXattr,
}

/// What is done with the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WholeOp {
    /// sync.
    Sync,
    /// Bring everything home: freeze and thaw.
    Checkpoint,
    /// Let the time for a commit in the background come.
    Wait,
    /// A step of the segment cleaner.
    Clean,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// On a range.
    Range(RangeOp, String, Range),
    /// On a path.
    Path(PathOp, String),
    /// On two paths.
    Pair(PairOp, String, String),
    /// On a path, with a number.
    Number(NumberOp, String, u64),
    /// On everything.
    Whole(WholeOp),
}

/// Words and what they mean.
type Words<T> = &'static [(&'static str, T)];

const RANGES: Words<RangeOp> = &[
    ("write", RangeOp::Write),
    ("direct", RangeOp::Direct),
    ("buffer", RangeOp::Buffer),
    ("allocate", RangeOp::Allocate),
    ("allocate-beyond", RangeOp::AllocateBeyond),
    ("punch", RangeOp::Punch),
    ("zero", RangeOp::Zero),
];

const PATHS: Words<PathOp> = &[
    ("create", PathOp::Create),
    ("mkdir", PathOp::Mkdir),
    ("symlink", PathOp::Symlink),
    ("long-symlink", PathOp::LongSymlink),
    ("tmpfile", PathOp::Tmpfile),
    ("unlink", PathOp::Unlink),
    ("unlink-open", PathOp::UnlinkOpen),
    ("rmdir", PathOp::Rmdir),
    ("fsync", PathOp::Fsync),
    ("fdatasync", PathOp::Fdatasync),
    ("writeback", PathOp::Writeback),
    ("start-writeback", PathOp::StartWriteback),
];

const PAIRS: Words<PairOp> = &[
    ("link", PairOp::Link),
    ("rename", PairOp::Rename),
    ("exchange", PairOp::Exchange),
];

const NUMBERS: Words<NumberOp> = &[
    ("truncate", NumberOp::Truncate),
    ("chmod", NumberOp::Chmod),
    ("setxattr", NumberOp::SetXattr),
    ("removexattr", NumberOp::RemoveXattr),
];

const WHOLES: Words<WholeOp> = &[
    ("sync", WholeOp::Sync),
    ("checkpoint", WholeOp::Checkpoint),
    ("wait", WholeOp::Wait),
    ("clean", WholeOp::Clean),
];

fn word<T: PartialEq>(words: Words<T>, op: &T) -> &'static str {
    let found = words.iter().find(|(_, other)| other == op);
    found.map_or("?", |(word, _)| word)
}

fn meaning<T: Copy>(words: Words<T>, word: &str) -> Option<T> {
    let found = words.iter().find(|(other, _)| *other == word);
    found.map(|(_, op)| *op)
}

impl Op {
    /// On a range.
    pub fn range(op: RangeOp, path: &str, offset: u64, len: u64) -> Op {
        Op::Range(op, path.to_owned(), Range { offset, len })
    }

    /// On a path.
    pub fn path(op: PathOp, path: &str) -> Op {
        Op::Path(op, path.to_owned())
    }

    /// On two paths.
    pub fn pair(op: PairOp, from: &str, to: &str) -> Op {
        Op::Pair(op, from.to_owned(), to.to_owned())
    }

    /// On a path, with a number.
    pub fn number(op: NumberOp, path: &str, number: u64) -> Op {
        Op::Number(op, path.to_owned(), number)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Range(op, path, Range { offset, len }) => {
                write!(f, "{} {path} {offset} {len}", word(RANGES, op))
            }
            Op::Path(op, path) => write!(f, "{} {path}", word(PATHS, op)),
            Op::Pair(op, from, to) => write!(f, "{} {from} {to}", word(PAIRS, op)),
            Op::Number(op, path, number) => write!(f, "{} {path} {number}", word(NUMBERS, op)),
            Op::Whole(op) => write!(f, "{}", word(WHOLES, op)),
        }
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Op, String> {
        let bad = || format!("`{text}` is no operation");
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let words: Vec<&str> = text.split_whitespace().collect();
        match *words.as_slice() {
            [verb] => meaning(WHOLES, verb).map(Op::Whole),
            [verb, path] => meaning(PATHS, verb).map(|op| Op::path(op, path)),
            [verb, path, last] => match (meaning(PAIRS, verb), meaning(NUMBERS, verb)) {
                (Some(op), _) => Some(Op::pair(op, path, last)),
                (_, Some(op)) => Some(Op::number(op, path, number(last)?)),
                _ => None,
            },
            [verb, path, offset, len] => {
                let (offset, len) = (number(offset)?, number(len)?);
                meaning(RANGES, verb).map(|op| Op::range(op, path, offset, len))
            }
            _ => None,
        }
        .ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_can_be_read() {
        for text in [
            "write foo 0 4096",
            "allocate-beyond A/foo 1 2",
            "fsync A",
            "rename A/foo bar",
            "truncate foo 77",
            "checkpoint",
        ] {
            let op: Op = text.parse().unwrap();
            assert_eq!(op.to_string(), text);
        }
        for text in [
            "",
            "write",
            "write foo 0",
            "write foo 0 x",
            "fsync",
            "sync x",
        ] {
            assert!(text.parse::<Op>().is_err(), "{text}");
        }
    }
}
