//! `fsck.logfs` as its users see it: images damaged on purpose, runs of the command, and what they
//! leave.
#![forbid(unsafe_code)]

mod cli;
mod crashes;
mod image;
mod left;
mod repairs;
mod terminal;
mod wild;
