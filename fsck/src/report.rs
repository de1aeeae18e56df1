//! What a check found.

use crate::{Problem, Remedy};
use std::collections::BTreeMap;
use std::fmt;

/// Findings kept for each kind of problem: on a wild image there may be millions.
const KEPT_MAX: u32 = 1000;

/// What a problem was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// The superblock or a copy of it.
    Superblock(u64),
    /// The log.
    Log,
    /// A block of the segment table.
    TableBlock(u64),
    /// A segment.
    Segment(u64),
    /// An inode block.
    InodeBlock(u64),
    /// A block of the orphan list.
    OrphanBlock(u64),
    /// An inode.
    Inode(u64),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Superblock(address) => write!(f, "superblock at block {address}"),
            Object::Log => write!(f, "log"),
            Object::TableBlock(address) => write!(f, "segment table block {address}"),
            Object::Segment(segment) => write!(f, "segment {segment}"),
            Object::InodeBlock(address) => write!(f, "inode block {address}"),
            Object::OrphanBlock(address) => write!(f, "orphan block {address}"),
            Object::Inode(ino) => write!(f, "inode {ino}"),
        }
    }
}

/// A problem and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it was found in.
    pub object: Object,
    /// What is wrong.
    pub problem: Problem,
    /// Of an inode: a name that leads to it, if one is known.
    pub path: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} ({path}): {}", self.object, self.problem),
            None => write!(f, "{}: {}", self.object, self.problem),
        }
    }
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inodes in use.
    pub inodes: u64,
    /// Directories among them.
    pub directories: u64,
    /// Symbolic links among them.
    pub symlinks: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Blocks that there are for use.
    pub blocks_total: u64,
    /// Inodes without names that were open when the file system was last in use.
    pub orphans: u64,
}

/// How far a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The file system says that it is clean, and was believed.
    Believed,
    /// Only the log was looked at.
    LogOnly,
    /// Everything was checked.
    Full,
}

/// The outcome of a check.
#[derive(Clone, Debug)]
pub struct Report {
    /// How far it went.
    pub scope: Scope,
    /// Transactions found in the log.
    pub transactions: u64,
    /// Whether they, and the repairs, were written.
    pub written: bool,
    /// Whether inodes without names were freed. Else the next mount does that.
    pub orphans_freed: bool,
    /// The problems, in the order in which they were found. Of each kind the first ones only.
    pub findings: Vec<Finding>,
    /// How many there are of each kind, by id, and whether they can be repaired.
    pub totals: BTreeMap<&'static str, (u32, Remedy)>,
    /// What there is.
    pub counts: Counts,
}

impl Report {
    pub(crate) fn new(scope: Scope) -> Report {
        Report {
            scope,
            transactions: 0,
            written: false,
            orphans_freed: false,
            findings: Vec::new(),
            totals: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn add(&mut self, object: Object, problem: Problem) {
        let (count, _) = self
            .totals
            .entry(problem.id())
            .or_insert((0, problem.remedy()));
        *count = count.saturating_add(1);
        if *count <= KEPT_MAX {
            self.findings.push(Finding {
                object,
                problem,
                path: None,
            });
        }
    }

    /// How many problems can be repaired.
    pub fn repairable(&self) -> u64 {
        self.count(|remedy| remedy != Remedy::Leave)
    }

    /// How many problems are left as they are, whatever is allowed.
    pub fn left(&self) -> u64 {
        self.count(|remedy| remedy == Remedy::Leave)
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.totals.is_empty()
    }

    fn count(&self, which: impl Fn(Remedy) -> bool) -> u64 {
        self.totals
            .values()
            .filter(|&&(_, remedy)| which(remedy))
            .map(|&(count, _)| u64::from(count))
            .sum()
    }
}
