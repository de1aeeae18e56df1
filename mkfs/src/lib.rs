//! Making logfs file systems.
//!
//! [`Plan::new`] decides what the file system will look like, [`format()`] writes it to any
//! [`Device`](bento_api::Device). The command around them, with its questions and refusals, is
//! `mkfs.logfs`.
#![forbid(unsafe_code)]

mod plan;
mod write;

pub use plan::{Options, Plan, Sector};
pub use write::format;
