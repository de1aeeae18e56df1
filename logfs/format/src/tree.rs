//! Nodes of B+trees: extent trees and directory indexes.
//!
//! After the block header comes an array of records, sorted by the `u64` that each starts with. In
//! a leaf (level 0) they are the tree's own records; above, they are [`Branch`]es. A branch's key
//! is at most the smallest key below it, and everything in the subtrees before it is smaller. The
//! first branch of a node has the key of the branch that leads there, 0 in the root.

use crate::le::Le64;
use crate::{BLOCK_BYTES, HEADER_BYTES};
use bytemuck::{Pod, Zeroable};

/// Highest level that a node may have: more than any file needs, and a bound for loops in damaged
/// trees.
pub const MAX_LEVEL: u16 = 10;

/// A record of an inner node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Branch {
    /// At most the smallest key below `child`.
    pub key: Le64,
    /// Address of the node below.
    pub child: Le64,
}

/// Records of this size that fit into a leaf.
pub const fn leaf_capacity(record_bytes: usize) -> usize {
    (BLOCK_BYTES - HEADER_BYTES) / record_bytes
}

/// Branches that fit into an inner node.
pub const BRANCHES_PER_NODE: usize = leaf_capacity(size_of::<Branch>());
