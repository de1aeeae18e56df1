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
mod links;
mod log;
mod space;
mod superblocks;
