//! A back end in memory that does the same thing every time: its clock, its randomness and what
//! a power cut leaves of the disk follow from seeds.
//!
//! [`Sim`] mounts a file system on a [`SimDisk`] and offers what programs do with files, by
//! path. [`Sim::crash`] cuts the power and mounts what is left; [`SimDisk::recording`] has what
//! it takes to see the disk after a cut at any point of its history.
#![forbid(unsafe_code)]

mod disk;
mod env;
mod files;
mod image;
mod locks;
mod name_locks;
mod names;
mod recording;
mod rng;
mod sim;
mod walk;

pub use disk::{DiskCounts, Operation, SimDisk};
pub use env::{SimEnv, SimEvent};
pub use files::File;
pub use image::Image;
pub use locks::{HostLocks, Locks};
pub use names::Entry;
pub use recording::{Change, Recording};
pub use rng::Rng;
pub use sim::Sim;
