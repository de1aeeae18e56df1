//! Why a file system could not be checked.

use bento_api::Errno;
use std::fmt;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no logfs.
    Foreign,
    /// There is something else, but there was a logfs.
    Overwritten {
        /// Where a copy of its superblock lies.
        copy: u64,
    },
    /// The superblock is damaged, and no copy was found where mkfs puts them.
    Superblock {
        /// Where it lies.
        address: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// The format is not the one we know.
    Version {
        /// The version on the device.
        found: u64,
        /// The version we know.
        known: u32,
    },
    /// Incompatible features that we don't know.
    Features(u64),
    /// Features that we don't know and that forbid writing.
    ReadOnlyFeatures(u64),
    /// The device is smaller than the file system.
    Truncated {
        /// Size of the file system in blocks.
        total_blocks: u64,
        /// Size of the device in blocks.
        device_blocks: u64,
    },
    /// The device failed.
    Io {
        /// In doing what.
        doing: &'static str,
        /// With which error.
        error: Errno,
    },
    /// The user ended the check.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Foreign => write!(
                f,
                "there is no logfs file system; if there was one, give the place of a superblock \
                 copy with -b"
            ),
            Failure::Overwritten { copy } => write!(
                f,
                "there is no logfs file system now, but a copy of a logfs superblock at block \
                 {copy}: if what has been made over it is not wanted, give -b {copy}"
            ),
            Failure::Superblock { address, fault } => write!(
                f,
                "superblock at block {address}: {fault}; give the place of a copy with -b"
            ),
            Failure::Version { found, known } => write!(
                f,
                "format version {found} is not known (this is for version {known}): use a newer \
                 fsck.logfs"
            ),
            Failure::Features(bits) => write!(
                f,
                "unknown incompatible features {bits:#x}: use a newer fsck.logfs"
            ),
            Failure::ReadOnlyFeatures(bits) => write!(
                f,
                "unknown features {bits:#x} forbid writing: use a newer fsck.logfs, or -n to check \
                 only"
            ),
            Failure::Truncated {
                total_blocks,
                device_blocks,
            } => write!(
                f,
                "the file system has {total_blocks} blocks, the device only {device_blocks}: it is \
                 not all there"
            ),
            Failure::Io { doing, error } => write!(f, "{doing}: {error}"),
            Failure::Cancelled => write!(f, "cancelled, nothing was written"),
        }
    }
}

impl std::error::Error for Failure {}
