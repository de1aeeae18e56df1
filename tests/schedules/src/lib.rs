//! logfs on locks of which a scheduler decides who gets them: threads run one at a time, and which
//! one goes on after each lock, wait and use of the disk follows from a seed. So rare interleavings
//! become frequent ones, and a failure comes again.
//!
//! [`explore`] runs a scenario under many schedules; a scenario works on a [`Stage`], a mounted file
//! system that notes what was promised, where the power may be cut at any time, and which is checked
//! in the end. [`Worker`] is one of its threads.
#![forbid(unsafe_code)]

mod explore;
mod holes;
mod locks;
mod promises;
mod stage;
mod worker;

pub use explore::explore;
pub use holes::{delete_files, use_files};
pub use locks::ScheduledLocks;
pub use promises::Promises;
pub use stage::{Mounted, Stage};
pub use worker::{ALL_OPS, Op, Worker};
