//! Checks of the source tree itself, run by `cargo test -p tidy`.
//!
//! Every check takes what it looks at as plain values and returns its findings, so that each is
//! also tested on a sample that it must reject: a check that can't fail is no check.
#![forbid(unsafe_code)]

pub mod layering;
pub mod manifest;
pub mod source;
pub mod tree;

/// What is wrong, where, and what to do about it: one line.
pub type Finding = String;
