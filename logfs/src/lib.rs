//! logfs: a log-structured journaling file system.
//!
//! The parts, from the device up:
//!
//! | module | what it is |
//! |---|---|
//! | [`recovery`] | reading the log after a crash |
//! | `cache` | metadata blocks in memory |
//! | `journal` | the write-ahead log: commits and checkpoints |
//! | `space` | segments: which blocks and inodes are free |
//! | `tx` | one operation's part of a transaction |
//! | `tree` | B+trees over blocks |
//! | `inode`, `extent`, `dir`, `xattr`, `orphan` | what the blocks hold |
//! | `overwrite`, `unmapped` | mapping blocks anew, and freeing those that were mapped |
//! | `data`, `namei`, `rename` | the operations on files and names |
//! | `cleaner` | moving data together to have clean segments |
//! | `counters` | what a mount shows of itself |
//! | `mount` | starting, stopping, and the [`FileSystem`](bento_api::FileSystem) interface |
//!
//! It runs on any [`Env`](bento_api::Env) and does not know which.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

/// Whether a bug on purpose is planted here.
#[cfg(feature = "mutants")]
macro_rules! planted {
    ($mutant:ident) => {
        crate::mutant::is_planted(crate::mutant::Mutant::$mutant)
    };
}
#[cfg(not(feature = "mutants"))]
macro_rules! planted {
    ($mutant:ident) => {
        false
    };
}

mod cache;
mod cleaner;
mod corrupt;
mod counters;
mod data;
mod dir;
mod extent;
mod inode;
mod journal;
mod mount;
#[cfg(feature = "mutants")]
pub mod mutant;
mod namei;
mod options;
mod orphan;
mod overwrite;
pub mod recovery;
mod rename;
mod shrink;
mod sort;
mod space;
mod tree;
mod tx;
mod unmapped;
mod written;
mod xattr;

pub use mount::LogFs;
