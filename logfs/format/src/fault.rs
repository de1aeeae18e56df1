//! What can be wrong with a block.

use crate::BlockKind;
use core::fmt;

/// Why a block, or a structure in it, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The slice is not one block long.
    Length,
    /// Not a metadata block of logfs.
    Magic(u32),
    /// A block of another kind.
    Kind {
        /// The kind that is stored.
        found: u16,
        /// The kind that should be here.
        wanted: BlockKind,
    },
    /// A block of another file system.
    ForeignUuid,
    /// A block that belongs elsewhere (a misdirected write).
    Address {
        /// The address that is stored.
        found: u64,
        /// The address it was read from.
        wanted: u64,
    },
    /// Damaged contents.
    Checksum {
        /// The checksum that is stored.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// A field has a value that the format does not allow.
    Field {
        /// The field.
        name: &'static str,
        /// Its value.
        value: u64,
    },
    /// Feature bits that this version does not know.
    Features(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::Length => write!(f, "truncated block"),
            Fault::Magic(found) => write!(f, "bad magic {found:#010x}"),
            Fault::Kind { found, wanted } => {
                write!(f, "kind {found} where a {} should be", wanted.name())
            }
            Fault::ForeignUuid => write!(f, "uuid of another file system"),
            Fault::Address { found, wanted } => {
                write!(f, "says it is block {found}, found at block {wanted}")
            }
            Fault::Checksum { stored, computed } => {
                write!(
                    f,
                    "checksum {stored:#010x} stored, {computed:#010x} computed"
                )
            }
            Fault::Field { name, value } => write!(f, "{name} is {value}"),
            Fault::Features(bits) => write!(f, "unknown incompatible features {bits:#x}"),
        }
    }
}

impl core::error::Error for Fault {}
