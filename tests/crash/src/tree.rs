//! What there is to see of a file system: names, and what they lead to.
//!
//! Two file systems look alike exactly if their trees are equal. Contents are kept as a hash of each
//! block, so that trees are small and quick to compare.

use crate::stamp;
use bento_api::{Attr, Errno, FileKind};
use logfs::LogFs;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The unit in which contents are compared.
pub const BLOCK_BYTES: usize = 4096;

/// logfs, mounted on a simulated disk.
pub type Mounted = bento_sim::Sim<LogFs<bento_sim::SimEnv>>;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Directory, file or symbolic link.
    pub kind: FileKind,
    /// Permission bits.
    pub permissions: u16,
    /// Length of the contents; 0 for a directory.
    pub size_bytes: u64,
    /// A hash of each block, filled up with zeros; of a symbolic link that of its target.
    pub blocks: Vec<u64>,
    /// Extended attributes, with a hash of each value.
    pub xattrs: Vec<(Vec<u8>, u64)>,
}

/// Everything under the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    /// Paths in order, with the place of their node in `nodes`. Paths with the same node are links.
    pub names: Vec<(Vec<u8>, usize)>,
    /// Nodes in the order in which `names` comes upon them.
    pub nodes: Vec<Arc<Node>>,
}

/// The hash of some bytes.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// The hash of anything.
pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The hash of each block of some contents.
pub fn block_hashes(contents: &[u8]) -> Vec<u64> {
    let mut padded = [0; BLOCK_BYTES];
    contents
        .chunks(BLOCK_BYTES)
        .map(|chunk| {
            if chunk.len() == BLOCK_BYTES {
                return hash_bytes(chunk);
            }
            padded[..chunk.len()].copy_from_slice(chunk);
            hash_bytes(&padded)
        })
        .collect()
}

impl Tree {
    /// From paths, in order, with the number of the inode that each leads to.
    pub fn build<'a>(names: impl Iterator<Item = (Vec<u8>, u64, &'a Arc<Node>)>) -> Tree {
        let mut tree = Tree::default();
        let mut places = FxHashMap::default();
        for (path, number, node) in names {
            let place = *places.entry(number).or_insert_with(|| {
                tree.nodes.push(Arc::clone(node));
                tree.nodes.len() - 1
            });
            tree.names.push((path, place));
        }
        tree
    }

    /// What a path leads to.
    pub fn at(&self, path: &[u8]) -> Option<&Node> {
        let found = self
            .names
            .binary_search_by(|(name, _)| name.as_slice().cmp(path));
        let (_, place) = self.names.get(found.ok()?)?;
        self.nodes.get(*place).map(Arc::as_ref)
    }

    /// What a mounted file system shows.
    pub fn read(sim: &Mounted) -> Result<Tree, Errno> {
        let mut found = walk(sim)?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let nodes = found
            .iter()
            .map(|(path, attr)| read_node(sim, path, attr).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let names = found.into_iter().zip(&nodes);
        Ok(Tree::build(
            names.map(|((path, attr), node)| (path, attr.ino.0, node)),
        ))
    }

    /// Whether this is a state on the way from `old` to `new`, in which each file is the old or the
    /// new one, or changed up to some block.
    pub fn is_between(&self, old: &Tree, new: &Tree) -> bool {
        let (names, other) = (&self.names, &old.names);
        if names != other || names != &new.names {
            return false;
        }
        let pairs = old.nodes.iter().zip(&new.nodes);
        self.nodes
            .iter()
            .zip(pairs)
            .all(|(node, (old, new))| node.is_between(old, new))
    }

    /// How this differs from what was expected, for people.
    pub fn difference(&self, expected: &Tree) -> String {
        let show = |tree: &Tree| {
            let names = tree.names.iter();
            names
                .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        if self.names != expected.names {
            return format!("names are [{}], not [{}]", show(self), show(expected));
        }
        for (path, place) in &self.names {
            let (found, wanted) = (&self.nodes[*place], &expected.nodes[*place]);
            if found != wanted {
                let path = String::from_utf8_lossy(path);
                return format!("{path}: {}", found.difference(wanted));
            }
        }
        "no difference".to_owned()
    }
}

impl Node {
    fn is_between(&self, old: &Node, new: &Node) -> bool {
        let sizes = (
            old.size_bytes.min(new.size_bytes),
            old.size_bytes.max(new.size_bytes),
        );
        let block = |node: &Node, index: usize| {
            let zero = || stamp::zero_hash();
            node.blocks.get(index).copied().unwrap_or_else(zero)
        };
        self.kind == old.kind
            && self.kind == new.kind
            && (self.xattrs == old.xattrs || self.xattrs == new.xattrs)
            && (self.permissions == old.permissions || self.permissions == new.permissions)
            && (sizes.0..=sizes.1).contains(&self.size_bytes)
            && self
                .blocks
                .iter()
                .enumerate()
                .all(|(index, found)| *found == block(old, index) || *found == block(new, index))
    }

    fn difference(&self, expected: &Node) -> String {
        if self.kind != expected.kind || self.permissions != expected.permissions {
            return format!(
                "is a {:?} with permissions {:o}, not a {:?} with {:o}",
                self.kind, self.permissions, expected.kind, expected.permissions
            );
        }
        if self.size_bytes != expected.size_bytes {
            return format!("has {} bytes, not {}", self.size_bytes, expected.size_bytes);
        }
        let blocks = self.blocks.iter().zip(&expected.blocks);
        match blocks.into_iter().position(|(a, b)| a != b) {
            Some(index) => format!("block {index} has other contents"),
            None => "other extended attributes".to_owned(),
        }
    }
}

/// The hash of each block of a file. Where there is no data nothing is read.
fn read_blocks(sim: &Mounted, path: &[u8], size_bytes: u64) -> Result<Vec<u64>, Errno> {
    let file = sim.open(path)?;
    let read = || {
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < size_bytes {
            let data = match sim.seek_data(&file, at) {
                Err(Errno::ENXIO) => size_bytes,
                data => data?,
            };
            let holes = data.div_ceil(BLOCK_BYTES as u64) as usize;
            blocks.resize(holes, stamp::zero_hash());
            if data == size_bytes {
                break;
            }
            at = sim.seek_hole(&file, data)?;
            blocks.extend(block_hashes(&sim.read(
                &file,
                data,
                (at - data) as usize,
            )?));
        }
        Ok(blocks)
    };
    let blocks = read();
    sim.close(file);
    blocks
}

/// The path of everything under the root, with its attributes; directories before what is in them.
pub fn walk(sim: &Mounted) -> Result<Vec<(Vec<u8>, Attr)>, Errno> {
    let mut found: Vec<(Vec<u8>, Attr)> = Vec::new();
    let mut next = 0;
    let mut dir = Vec::new();
    loop {
        for entry in sim.readdir(&dir)? {
            let path = match dir.as_slice() {
                b"" => entry.name,
                dir => [dir, b"/", &entry.name].concat(),
            };
            let attr = sim.stat(&path)?;
            found.push((path, attr));
        }
        let rest = found.get(next..).unwrap_or(&[]);
        let is_dir = |(_, attr): &(Vec<u8>, Attr)| attr.kind() == FileKind::Directory;
        let Some(skipped) = rest.iter().position(is_dir) else {
            return Ok(found);
        };
        dir.clone_from(&rest[skipped].0);
        next += skipped + 1;
    }
}

fn read_node(sim: &Mounted, path: &[u8], attr: &Attr) -> Result<Node, Errno> {
    let blocks = match attr.kind() {
        FileKind::Regular => read_blocks(sim, path, attr.size_bytes)?,
        FileKind::Symlink => block_hashes(&sim.readlink(path)?),
        _ => Vec::new(),
    };
    let mut xattrs = Vec::new();
    for name in sim.listxattr(path)? {
        let value = sim.getxattr(path, &name)?;
        xattrs.push((name, hash_bytes(&value)));
    }
    xattrs.sort();
    let is_dir = attr.kind() == FileKind::Directory;
    Ok(Node {
        kind: attr.kind(),
        permissions: attr.mode & bento_api::mode::PERMISSION_MASK,
        size_bytes: if is_dir { 0 } else { attr.size_bytes },
        blocks,
        xattrs,
    })
}
