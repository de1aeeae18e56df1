//! The contract between a file system written in safe Rust and what it runs on.
//!
//! A file system implements [`FileSystem`] and asks for everything it needs (locks, block I/O,
//! time, checksums) through [`Env`]. A back end implements `Env` and drives `FileSystem`: the
//! kernel (`bento/kernel`), FUSE (`bento/fuse`) and the in-memory simulator (`bento/sim`). The
//! file system does not know which one it runs on.
//!
//! File data never passes through a file system: it says where a range lies
//! ([`FileSystem::map`]), reserves space ([`FileSystem::reserve`]), places dirty ranges
//! ([`FileSystem::place`]) and is told when their I/O is done ([`FileSystem::written`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod counter;
mod env;
mod errno;
mod fs;
mod types;

pub use counter::Counter;
pub use env::{Device, Env, Event, Geometry, Level, Mutex, ReadRequest, RwLock, WriteRequest};
pub use errno::Errno;
pub use fs::{
    Created, DirEntry, FallocateMode, FileSystem, MOVED_MAX, MountOptions, Moved, NewInode,
    RenameFlags, Renamed, SetXattr, Unlinked, Written,
};
pub use types::{Attr, FileKind, Ino, Mapping, MappingKind, SetAttr, SetTime, StatFs, Time, mode};

/// The result of everything that can fail: the error is what the system call returns.
pub type Result<T> = core::result::Result<T, Errno>;
