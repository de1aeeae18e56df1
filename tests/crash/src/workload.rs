//! What is done before the power goes: all short sequences of operations, and long ones by chance.
//!
//! The short ones follow ACE, the generator of CrashMonkey ("Finding Crash-Consistency Bugs with
//! Bounded Black-Box Crash Testing", OSDI '18): each operation with each of a small set of
//! arguments, each followed by each way to synchronise what it touched, or by none.

use crate::op::{NumberOp, Op, PairOp, PathOp, RangeOp, WholeOp};
use bento_sim::Rng;
use std::fmt;
use std::str::FromStr;

/// Any number that shares no factor with the number of sequences of two: visits all of them.
const STRIDE: u64 = 1_000_003;

/// A sequence of operations on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Name of the disk.
    pub base: String,
    /// The operations.
    pub ops: Vec<Op>,
    /// The first operation whose crash states are looked at: what comes before is a workload of
    /// its own.
    pub first: usize,
    /// Each operation must succeed, else the workload is another's double.
    pub is_strict: bool,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.base)?;
        for (index, op) in self.ops.iter().enumerate() {
            write!(f, "{}{op}", if index > 0 { ", " } else { " " })?;
        }
        Ok(())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Workload, String> {
        let (base, ops) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` names no disk"))?;
        let ops = ops.split(',').filter(|op| !op.trim().is_empty());
        Ok(Workload {
            base: base.to_owned(),
            ops: ops.map(str::parse).collect::<Result<_, _>>()?,
            first: 0,
            is_strict: false,
        })
    }
}

/// Which workloads to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All sequences of one operation.
    One,
    /// All sequences of two.
    Two,
    /// A sample of the sequences of three.
    Three,
    /// Long sequences by chance.
    Long,
    /// Of those, such as take and free space on full disks.
    Churn,
    /// The same on a disk full of holes, while the segment cleaner is at work.
    Cleaned,
}

/// An operation with what is done to synchronise it.
type Step = (Op, Option<Op>);

/// All workloads, in an order that a seed decides.
pub struct Catalogue {
    steps: Vec<Step>,
    few_steps: Vec<Step>,
    seed: u64,
}

#[rustfmt::skip]
fn operations() -> Vec<Op> {
    use {NumberOp::*, PairOp::*, PathOp::*, RangeOp::*};
    vec![
        Op::path(Create, "bar"), Op::path(Create, "A/bar"),
        Op::path(Mkdir, "C"), Op::path(Mkdir, "A/C"),
        Op::path(Symlink, "bar"), Op::path(LongSymlink, "B/bar"),
        Op::path(Tmpfile, "A"),
        Op::pair(Link, "foo", "bar"), Op::pair(Link, "foo", "A/bar"), Op::pair(Link, "A/foo", "bar"),
        Op::path(Unlink, "foo"), Op::path(Unlink, "A/foo"), Op::path(Unlink, "lnk"),
        Op::path(UnlinkOpen, "foo"), Op::path(UnlinkOpen, "A/foo"),
        Op::path(Rmdir, "B"),
        Op::pair(Rename, "foo", "bar"), Op::pair(Rename, "foo", "A/bar"), Op::pair(Rename, "foo", "A/foo"),
        Op::pair(Rename, "A/foo", "B/foo"), Op::pair(Rename, "A/foo", "foo"), Op::pair(Rename, "bar", "foo"),
        Op::pair(Rename, "A", "C"), Op::pair(Rename, "A", "B"), Op::pair(Rename, "A", "B/A"),
        Op::pair(Exchange, "foo", "A/foo"), Op::pair(Exchange, "A", "B"), Op::pair(Exchange, "foo", "B"),
        Op::range(Write, "foo", 0, 4096), Op::range(Write, "foo", 5000, 3000), Op::range(Write, "foo", 100, 50),
        Op::range(Write, "A/foo", 4096, 8192), Op::range(Write, "foo", 20_000, 4096),
        Op::range(Direct, "foo", 0, 4096), Op::range(Direct, "A/foo", 4096, 12_288),
        Op::range(Buffer, "foo", 0, 8192), Op::range(Buffer, "A/foo", 9000, 5000),
        Op::range(Allocate, "foo", 4096, 20_000), Op::range(AllocateBeyond, "A/foo", 12_288, 16_384),
        Op::range(Punch, "A/foo", 4096, 4096), Op::range(Punch, "A/foo", 100, 9000),
        Op::range(Zero, "A/foo", 2000, 6000),
        Op::number(Truncate, "foo", 0), Op::number(Truncate, "foo", 100),
        Op::number(Truncate, "A/foo", 4096), Op::number(Truncate, "foo", 30_000),
        Op::number(Chmod, "foo", 0o600),
        Op::number(SetXattr, "foo", 100), Op::number(SetXattr, "A/foo", 10_000), Op::number(SetXattr, "A", 3000),
        Op::number(RemoveXattr, "foo", 0),
    ]
}

/// The path that an operation leaves something under, and the directory that it is in.
fn touched(op: &Op) -> Option<(&str, &str)> {
    let path = match op {
        Op::Range(_, path, _) | Op::Path(_, path) | Op::Pair(_, _, path) => path,
        Op::Number(_, path, _) => path,
        Op::Whole(_) => return None,
    };
    let dir = path.rsplit_once('/').map_or(".", |(dir, _)| dir);
    Some((path, dir))
}

/// The ways to synchronise an operation.
fn synchronisations(op: &Op, few: bool) -> Vec<Option<Op>> {
    let mut all = vec![None, Some(Op::Whole(WholeOp::Sync))];
    if !few {
        all.push(Some(Op::Whole(WholeOp::Checkpoint)));
    }
    let Some((path, dir)) = touched(op) else {
        return all;
    };
    let is_gone = matches!(
        op,
        Op::Path(PathOp::Unlink | PathOp::UnlinkOpen | PathOp::Rmdir, _)
    );
    let on_names = !matches!(op, Op::Range(..) | Op::Number(..));
    if !is_gone {
        all.push(Some(Op::path(PathOp::Fsync, path)));
        all.push(Some(Op::path(PathOp::Fdatasync, path)));
    }
    if on_names && (is_gone || !few) {
        all.push(Some(Op::path(PathOp::Fsync, dir)));
    }
    all
}

fn steps(few: bool) -> Vec<Step> {
    let ops = operations().into_iter();
    ops.flat_map(|op| {
        let synchronisations = synchronisations(&op, few).into_iter();
        let with = move |sync| (op.clone(), sync);
        synchronisations.map(with).collect::<Vec<_>>()
    })
    .collect()
}

fn sequence(steps: &[&Step]) -> Workload {
    let (last, before) = steps.split_last().map_or((0, 0), |(last, before)| {
        let count = |(_, sync): &Step| 1 + usize::from(sync.is_some());
        (count(last), before.iter().map(|step| count(step)).sum())
    });
    let mut ops = Vec::with_capacity(last + before);
    for (op, sync) in steps {
        ops.push(op.clone());
        ops.extend(sync.clone());
    }
    Workload {
        base: "small".to_owned(),
        ops,
        first: before,
        is_strict: true,
    }
}

impl Catalogue {
    /// In the order of a seed.
    pub fn new(seed: u64) -> Catalogue {
        Catalogue {
            steps: steps(false),
            few_steps: steps(true),
            seed,
        }
    }

    /// Number of sequences of one operation.
    pub fn ones(&self) -> u64 {
        self.steps.len() as u64
    }

    /// Number of sequences of two.
    pub fn twos(&self) -> u64 {
        (self.steps.len() * self.few_steps.len()) as u64
    }

    /// A workload of a class; `None` behind the last. Of those by chance there is no end.
    pub fn get(&self, class: Class, index: u64) -> Option<Workload> {
        let mut rng = Rng::new(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(index));
        let mut any = || self.steps.get(rng.below(self.ones()) as usize);
        match class {
            Class::One => Some(sequence(&[self.steps.get(index as usize)?])),
            Class::Two => {
                if index >= self.twos() {
                    return None;
                }
                let number = index.wrapping_mul(STRIDE).wrapping_add(self.seed) % self.twos();
                let few = self.few_steps.len() as u64;
                let first = self.steps.get((number / few) as usize)?;
                Some(sequence(&[
                    first,
                    self.few_steps.get((number % few) as usize)?,
                ]))
            }
            Class::Three => Some(sequence(&[any()?, any()?, any()?])),
            Class::Long => Some(long(rng)),
            Class::Churn => {
                let base = ["full", "mixed"][rng.below(2) as usize];
                let count = 10 + rng.below(50);
                let ops = (0..count).map(|_| churn_op(&mut rng)).collect();
                Some(by_chance(base, ops))
            }
            Class::Cleaned => {
                let count = 10 + rng.below(50);
                let ops = (0..count).map(|_| cleaned_op(&mut rng)).collect();
                Some(by_chance("holey", ops))
            }
        }
    }

    /// A workload of any class: first all of one operation, then the others in turn.
    pub fn any(&self, index: u64) -> (Class, Option<Workload>) {
        let Some(rest) = index.checked_sub(self.ones()) else {
            return (Class::One, self.get(Class::One, index));
        };
        let (round, turn) = (rest / 4, rest % 4);
        let class = match turn {
            0 | 1 if 2 * round + turn < self.twos() => Class::Two,
            0 | 2 => Class::Three,
            _ if round % 4 == 3 => Class::Cleaned,
            _ => Class::Long,
        };
        let number = if class == Class::Two {
            2 * round + turn
        } else {
            rest
        };
        (class, self.get(class, number))
    }
}

const NAMES: &[&str] = &[
    "foo", "bar", "A/foo", "A/bar", "B/foo", "B/bar", "A", "B", "C", "A/C", "A/C/foo", "lnk",
];

/// Files of the disk with holes.
const OLD: &[&str] = &["B/old1", "B/old3", "B/old5", "B/old7"];

const FILLED: &[&str] = &["B/fill0", "B/fill1", "B/fill2", "B/fill3"];

/// Any path, a file more likely than a directory.
fn any_path(rng: &mut Rng) -> &'static str {
    let among = if rng.below(3) == 0 { NAMES.len() } else { 6 };
    NAMES
        .get(rng.below(among as u64) as usize)
        .unwrap_or(&"foo")
}

fn long(mut rng: Rng) -> Workload {
    let bases = ["small", "small", "wrap", "full", "full", "mixed", "aged"];
    let base = bases[rng.below(bases.len() as u64) as usize];
    let count = 10 + rng.below(50);
    let churns = rng.below(3) == 0;
    let any = |_| {
        if churns {
            churn_op(&mut rng)
        } else {
            any_op(&mut rng)
        }
    };
    by_chance(base, (0..count).map(any).collect())
}

fn by_chance(base: &str, ops: Vec<Op>) -> Workload {
    Workload {
        base: base.to_owned(),
        ops,
        first: 0,
        is_strict: false,
    }
}

/// Takes and frees much space in a few files, and seldom makes anything durable: freed blocks are
/// wanted again soon.
fn churn_op(rng: &mut Rng) -> Op {
    let path = NAMES[rng.below(3) as usize];
    let len = 4096 * (1 + rng.below(16));
    match rng.below(16) {
        0..2 => Op::path(PathOp::Create, path),
        2..6 => Op::range(RangeOp::Write, path, 0, len),
        6 => Op::range(RangeOp::Direct, path, 0, len),
        7 => Op::range(RangeOp::Buffer, path, 0, len),
        8 => Op::path(PathOp::StartWriteback, path),
        9 => Op::number(NumberOp::Truncate, path, len / 2),
        10..12 => Op::number(NumberOp::SetXattr, path, len.min(60_000)),
        12 => Op::number(NumberOp::RemoveXattr, path, 0),
        13 => Op::path(PathOp::Unlink, path),
        // On the full disk these have attributes that lie among data.
        14 => Op::number(NumberOp::RemoveXattr, FILLED[rng.below(4) as usize], 0),
        _ => Op::path(PathOp::Fsync, path),
    }
}

/// The same while the cleaner is at work, and some space is only set aside.
fn cleaned_op(rng: &mut Rng) -> Op {
    let old = OLD[rng.below(4) as usize];
    match rng.below(16) {
        0..8 => Op::Whole(WholeOp::Clean),
        8 => Op::range(
            RangeOp::AllocateBeyond,
            "foo",
            0,
            4096 * (1 + rng.below(64)),
        ),
        9 => Op::path(PathOp::Unlink, old),
        10 => Op::range(RangeOp::Write, old, 4096, 8192),
        _ => churn_op(rng),
    }
}

/// Any operation.
pub fn any_op(rng: &mut Rng) -> Op {
    let (path, other) = (any_path(rng), any_path(rng));
    let offset_max = [3 * 4096, 20 * 4096, 80_000][rng.below(3) as usize];
    let len_max = [200, 5000, 50_000][rng.below(3) as usize];
    let (offset, len) = (rng.below(offset_max), 1 + rng.below(len_max));
    let blocks = |bytes: u64| bytes.next_multiple_of(4096);
    match rng.below(40) {
        0..3 => Op::path(PathOp::Create, path),
        3 => Op::path(PathOp::Mkdir, path),
        4 => Op::path(PathOp::Symlink, path),
        5 => Op::path(PathOp::LongSymlink, path),
        6 => Op::path(PathOp::Tmpfile, "A"),
        7 => Op::pair(PairOp::Link, path, other),
        8 => Op::path(PathOp::Unlink, path),
        9 => Op::path(PathOp::UnlinkOpen, path),
        10 => Op::path(PathOp::Rmdir, path),
        11..13 => Op::pair(PairOp::Rename, path, other),
        13 => Op::pair(PairOp::Exchange, path, other),
        14..18 => Op::range(RangeOp::Write, path, offset, len),
        18..20 => Op::range(RangeOp::Direct, path, blocks(offset), blocks(len)),
        20..24 => Op::range(RangeOp::Buffer, path, offset, len),
        24 => Op::range(RangeOp::Allocate, path, offset, len),
        25 => Op::range(RangeOp::AllocateBeyond, path, offset, len),
        26 => Op::range(RangeOp::Punch, path, offset, len),
        27 => Op::range(RangeOp::Zero, path, offset, len),
        28..30 => Op::number(NumberOp::Truncate, path, offset),
        30 => Op::number(NumberOp::Chmod, path, 0o600 | rng.below(64)),
        31 => Op::number(NumberOp::SetXattr, path, rng.below(9000)),
        32 => Op::number(NumberOp::RemoveXattr, path, 0),
        33..36 => Op::path(PathOp::Fsync, path),
        36 => Op::path(PathOp::Fdatasync, path),
        37 if rng.below(2) == 0 => Op::path(PathOp::Writeback, path),
        37 => Op::path(PathOp::StartWriteback, path),
        38 => Op::Whole(WholeOp::Sync),
        _ if rng.below(2) == 0 => Op::Whole(WholeOp::Checkpoint),
        _ => Op::Whole(WholeOp::Wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sequences_of_two_come_once() {
        let catalogue = Catalogue::new(5);
        let two = |index| catalogue.get(Class::Two, index).map(|it| it.to_string());
        let mut all: Vec<_> = (0..catalogue.twos()).filter_map(two).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() as u64, catalogue.twos());
        assert_eq!(two(catalogue.twos()), None);
    }

    #[test]
    fn a_workload_can_be_read_again() {
        let catalogue = Catalogue::new(1);
        for index in [0, 99, catalogue.ones() + 3, catalogue.ones() + 6] {
            let (_, workload) = catalogue.any(index);
            let workload = workload.unwrap();
            let read: Workload = workload.to_string().parse().unwrap();
            assert_eq!(read.ops, workload.ops);
        }
        assert!("foo".parse::<Workload>().is_err());
    }
}
