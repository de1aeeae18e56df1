//! A corpus of damage: each case spoils a healthy file system in one way and states what a check
//! finds, and what is left when it was repaired.
//!
//! `harness` has the rules that all cases keep: the first run says what the case says and exits with
//! 1, a second one finds nothing, what the case doesn't name as lost is there with its contents,
//! logfs mounts and uses it, and a power cut at any moment of the repair changes nothing of that.
#![forbid(unsafe_code)]

mod blocks;
mod data;
mod directories;
mod harness;
mod healthy;
mod inodes;
mod large;
mod left;
mod links;
mod log;
mod space;
mod superblocks;

use fsck_logfs::Problem;
use std::collections::BTreeSet;

/// No damage is known that brings it about: each repair leaves less to repair.
const NEVER_MADE: &[&str] = &["unsettled"];

#[test]
fn every_problem_is_in_a_case() {
    let cases = [
        blocks::EXTENTS,
        blocks::TREES,
        blocks::SHARED,
        blocks::XATTRS,
        data::CASES,
        directories::BLOCKS,
        directories::ENTRIES,
        directories::INDEXES,
        inodes::CASES,
        inodes::LOST_BLOCKS,
        links::CASES,
        space::CASES,
        superblocks::CASES,
    ];
    let repaired = cases
        .iter()
        .flat_map(|cases| cases.iter())
        .map(|case| case.finds);
    let logs = log::CASES.iter().map(|case| case.finds);
    let left = left::CASES.iter().map(|case| case.finds);
    let made: BTreeSet<&str> = repaired
        .chain(logs)
        .chain(left)
        .chain([left::BY_A_FAILED_READ])
        .flatten()
        .copied()
        .collect();
    let missing: Vec<&str> = Problem::IDS
        .iter()
        .copied()
        .filter(|id| !made.contains(id))
        .collect();
    assert_eq!(missing, NEVER_MADE);
}
