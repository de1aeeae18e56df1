//! Every state that a power cut can leave of a logfs, judged in the simulator.
//!
//! A [workload] is [run] on logfs and on a [model] of it. From the writes that
//! the disk has noted come the [states](state) that a power cut can leave; each is
//! [judged](judge): checked, mounted, and compared with what the file system has promised.
//! `docs/CRASH.md` says what that shows, and what it doesn't.
#![forbid(unsafe_code)]

pub mod base;
pub mod explore;
pub mod host_tree;
pub mod judge;
pub mod model;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod op;
mod pages;
pub mod run;
pub mod search;
pub mod shrink;
mod stamp;
pub mod state;
pub mod syscalls;
pub mod tree;
pub mod workload;
