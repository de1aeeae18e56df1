//! What a check found.

use crate::{Class, Problem, Remedy};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Findings kept for each kind of problem: on a wild image there may be millions.
const KEPT_MAX: u64 = 1000;

// The exit status is a sum of these: see fsck(8).
const CORRECTED: u8 = 1;
const LEFT: u8 = 4;

/// What a problem was found in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// All of it.
    FileSystem,
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
            Object::FileSystem => write!(f, "file system"),
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
    /// Whether it is put right: at once in memory, and on the device if the report says that it
    /// was written.
    pub is_fixed: bool,
}

impl Finding {
    fn is_about_blocks(&self) -> bool {
        matches!(self.problem.class(), Class::Blocks | Class::Data)
    }
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

/// How many problems of a kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Put right.
    pub fixed: u64,
    /// Left as they are: nothing can be done, or it was not wanted.
    pub left: u64,
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
    /// How many there are of each kind, by id.
    pub totals: BTreeMap<&'static str, Tally>,
    /// What there is.
    pub counts: Counts,
    /// Problems that were found and refused to be put right: nobody is asked twice.
    refused: HashSet<(Object, Problem)>,
    /// Objects whose blocks can't be put right after all.
    given_up: HashSet<Object>,
    /// A repair needs consent.
    needs_consent: bool,
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
            refused: HashSet::new(),
            given_up: HashSet::new(),
            needs_consent: false,
        }
    }

    /// Starts another round over what has been repaired: what is still wrong is found again. Superblocks
    /// and log are looked at once, before the first round.
    pub(crate) fn begin_round(&mut self) {
        let is_once =
            |finding: &Finding| matches!(finding.object, Object::Superblock(_) | Object::Log);
        self.findings
            .retain(|finding| finding.is_fixed || is_once(finding));
        self.totals.values_mut().for_each(|tally| tally.left = 0);
        for finding in self.findings.iter().filter(|finding| !finding.is_fixed) {
            self.totals.entry(finding.problem.id()).or_default().left += 1;
        }
        self.totals.retain(|_, tally| tally.fixed + tally.left > 0);
        self.counts = Counts::default();
    }

    /// Adds what was found. `approve` is asked whether to put it right, if that can be done; so it
    /// answers.
    pub(crate) fn add(
        &mut self,
        object: Object,
        problem: Problem,
        approve: impl FnOnce(&Finding) -> bool,
    ) -> bool {
        let id = problem.id();
        let remedy = problem.remedy();
        let mut finding = Finding {
            object,
            problem,
            path: None,
            is_fixed: false,
        };
        if remedy != Remedy::Leave {
            let key = (finding.object.clone(), finding.problem.clone());
            let is_given_up = finding.is_about_blocks() && self.is_given_up(&finding.object);
            finding.is_fixed = !is_given_up && !self.refused.contains(&key) && approve(&finding);
            if !finding.is_fixed {
                self.refused.insert(key);
            }
        }
        let is_fixed = finding.is_fixed;
        self.needs_consent |= is_fixed && !matches!(remedy, Remedy::Safe(_));
        let tally = self.totals.entry(id).or_default();
        if is_fixed {
            tally.fixed += 1;
        } else {
            tally.left += 1;
        }
        if tally.fixed + tally.left <= KEPT_MAX {
            self.findings.push(finding);
        }
        is_fixed
    }

    /// Gives up repairs of an object's blocks that were thought to be possible, in all rounds.
    pub(crate) fn give_up(&mut self, object: &Object) {
        self.given_up.insert(object.clone());
        let is_void = |finding: &Finding| finding.object == *object && finding.is_about_blocks();
        for finding in self.findings.iter().filter(|finding| is_void(finding)) {
            if let Some(tally) = self.totals.get_mut(finding.problem.id()) {
                tally.fixed = tally.fixed.saturating_sub(1);
            }
        }
        self.findings.retain(|finding| !is_void(finding));
        self.totals.retain(|_, tally| tally.fixed + tally.left > 0);
    }

    pub(crate) fn is_given_up(&self, object: &Object) -> bool {
        self.given_up.contains(object)
    }

    /// Takes the last finding back: it could not be put right.
    pub(crate) fn retract(&mut self) {
        if let Some(finding) = self.findings.pop()
            && let Some(tally) = self.totals.get_mut(finding.problem.id())
        {
            tally.fixed = tally.fixed.saturating_sub(1);
        }
        self.totals.retain(|_, tally| tally.fixed + tally.left > 0);
    }

    /// How many problems were put right.
    pub fn fixed(&self) -> u64 {
        self.totals.values().map(|tally| tally.fixed).sum()
    }

    /// How many problems are left as they are.
    pub fn left(&self) -> u64 {
        self.totals.values().map(|tally| tally.left).sum()
    }

    /// Whether a repair took a decision that nobody should make unasked.
    pub fn needs_consent(&self) -> bool {
        self.needs_consent
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.totals.is_empty()
    }

    /// The exit status of `fsck.logfs`.
    pub fn exit_code(&self) -> u8 {
        let is_corrected = self.fixed() > 0 && self.written;
        let is_left = self.left() > 0 || (self.fixed() > 0 && !self.written);
        (if is_corrected { CORRECTED } else { 0 }) | if is_left { LEFT } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Object, Report, Scope};
    use crate::Problem;

    #[test]
    fn what_is_found_once_is_not_forgotten() {
        let mut report = Report::new(Scope::Full);
        let copy = Problem::SuperblockCopyDiffers {};
        assert!(!report.add(Object::Superblock(7), copy, |_| false));
        assert!(!report.add(Object::Inode(1), Problem::DirectoryLoop {}, |_| false));
        assert!(report.add(Object::Inode(2), Problem::DirectoryLoop {}, |_| true));
        report.begin_round();
        assert_eq!((report.fixed(), report.left()), (1, 1));
        // Nobody is asked again about what he has refused.
        assert!(!report.add(Object::Inode(1), Problem::DirectoryLoop {}, |_| true));
        assert_eq!((report.fixed(), report.left()), (1, 2));
    }
}
