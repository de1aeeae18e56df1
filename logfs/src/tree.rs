//! B+trees over metadata blocks: extent trees and directory indexes.
//!
//! Records have a fixed size and start with their `u64` key, little-endian. The owner keeps the
//! root's address (0 for an empty tree) and serialises changes; a node that becomes empty is freed,
//! nodes are not merged. The layout of a node is in [`logfs_format::tree`].

use crate::LogFs;
use crate::cache::Page;
use crate::tx::Tx;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Result};
use bytemuck::Pod;
use core::ops::Range;
use logfs_format::le::Le64;
use logfs_format::tree::{BRANCHES_PER_NODE, Branch, MAX_LEVEL, leaf_capacity};
use logfs_format::{BlockHeader, BlockKind, HEADER_BYTES, block};

/// A tree: where it is and what it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    /// Address of the root, 0 if the tree is empty.
    pub(crate) root: u64,
    /// Kind of its nodes.
    pub(crate) kind: BlockKind,
    /// Size of a record in bytes.
    pub(crate) record_bytes: usize,
    /// The inode it belongs to, and its generation.
    pub(crate) owner: (u64, u32),
    /// Nodes taken minus nodes freed by changes through this value.
    pub(crate) grown_blocks: i64,
}

/// A node on the way down, and the branch that was taken (in a leaf: where the key is or would be).
struct Step {
    address: u64,
    page: Arc<Page>,
    index: usize,
}

/// A leaf as it is now.
pub(crate) struct Leaf {
    address: u64,
    page: Arc<Page>,
    record_bytes: usize,
    /// How many records it has.
    pub(crate) count: usize,
    /// The first key that belongs to it, unless no leaf is before it.
    pub(crate) low: Option<u64>,
    /// The first key that belongs to the leaf behind it, if there is one.
    pub(crate) high: Option<u64>,
}

impl Leaf {
    fn node(&self) -> Result<Node<'_>> {
        Ok(Node {
            level: 0,
            count: self.count,
            bytes: self.records()?,
            record_bytes: self.record_bytes,
        })
    }

    /// All its records.
    pub(crate) fn records(&self) -> Result<&[u8]> {
        let end = HEADER_BYTES + self.count * self.record_bytes;
        self.page
            .bytes()
            .get(HEADER_BYTES..end)
            .ok_or(Errno::EUCLEAN)
    }
}

/// The array of a node.
struct Node<'a> {
    level: u16,
    count: usize,
    bytes: &'a [u8],
    record_bytes: usize,
}

fn key_of(record: &[u8]) -> u64 {
    let mut key = [0; 8];
    if let Some(bytes) = record.get(..8) {
        key.copy_from_slice(bytes);
    }
    u64::from_le_bytes(key)
}

impl Node<'_> {
    fn record(&self, index: usize) -> Option<&[u8]> {
        let start = index * self.record_bytes;
        self.bytes.get(start..start + self.record_bytes)
    }

    /// A record, if there are so many, as a structure.
    fn record_of<T: Pod>(&self, index: usize) -> Option<T> {
        let record = self.record(index).filter(|_| index < self.count)?;
        block::view(record, 0).copied()
    }

    fn key(&self, index: usize) -> u64 {
        self.record(index).map_or(u64::MAX, key_of)
    }

    /// The first record whose key is not below `key`.
    fn lower_bound(&self, key: u64) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) < key {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }

    /// The first record whose key is above `key`.
    fn upper_bound(&self, key: u64) -> usize {
        key.checked_add(1)
            .map_or(self.count, |next| self.lower_bound(next))
    }

    /// The branch to follow for `key`: the last one whose key is not above it.
    fn branch(&self, key: u64) -> usize {
        self.upper_bound(key).saturating_sub(1)
    }

    fn child(&self, index: usize) -> Option<u64> {
        self.record(index).and_then(|r| r.get(8..)).map(key_of)
    }

    /// The change that puts other records in the place of `from..to`.
    fn edit(&self, (from, to): (usize, usize), records: &[u8]) -> Edit {
        let at = |index: usize| HEADER_BYTES + index * self.record_bytes;
        let count = self.count - (to - from) + records.len() / self.record_bytes;
        Edit {
            count: (count != self.count).then_some(count),
            gone: at(from)..at(to),
            end: at(self.count),
            bytes: records.to_vec(),
        }
    }

    /// The change that takes out a record, of at least two.
    fn without(&self, index: usize) -> Result<Edit> {
        if self.level == 0 || index > 0 {
            return Ok(self.edit((index, index + 1), &[]));
        }
        // What was below the first branch may come again: the next one takes over.
        let child = self.child(1).ok_or(Errno::EUCLEAN)?;
        let first = Branch {
            key: self.key(0).into(),
            child: child.into(),
        };
        Ok(self.edit((0, 2), bytemuck::bytes_of(&first)))
    }
}

/// A change to a node: how many records it has then, if that changes, and which bytes of its block give
/// way to others; what stands behind them, up to `end`, follows.
struct Edit {
    count: Option<usize>,
    gone: Range<usize>,
    end: usize,
    bytes: Vec<u8>,
}

impl Tree {
    fn node<'p, E: Env>(&self, fs: &LogFs<E>, address: u64, page: &'p Page) -> Result<Node<'p>> {
        let header: &BlockHeader = page.view(0)?;
        let (level, count) = (header.level.get(), header.count.get() as usize);
        let record_bytes = if level == 0 {
            self.record_bytes
        } else {
            size_of::<Branch>()
        };
        let owner = (header.owner.get(), header.owner_generation.get());
        let capacity = leaf_capacity(record_bytes);
        if level > MAX_LEVEL || count == 0 || count > capacity || owner != self.owner {
            let name = self.kind.name();
            return Err(fs.reporter.corrupt(format_args!(
                "{name} {address} of inode {}: level {level}, {count} records, owner {} generation {}",
                self.owner.0, owner.0, owner.1
            )));
        }
        let bytes = page.bytes().get(HEADER_BYTES..).ok_or(Errno::EUCLEAN)?;
        Ok(Node {
            level,
            count,
            bytes,
            record_bytes,
        })
    }

    /// A node on the way down, at the level that is due there if it is not the root. Levels fall by
    /// one at each step, so that damage can't make it endless.
    fn node_below<'p, E: Env>(
        &self,
        fs: &LogFs<E>,
        address: u64,
        page: &'p Page,
        level_wanted: Option<u16>,
    ) -> Result<Node<'p>> {
        let node = self.node(fs, address, page)?;
        if level_wanted.is_some_and(|wanted| wanted != node.level) {
            return Err(fs.reporter.corrupt(format_args!(
                "{} {address} of inode {}: level {} in the wrong place",
                self.kind.name(),
                self.owner.0,
                node.level
            )));
        }
        Ok(node)
    }

    /// The way to the leaf in which `key` is or would be.
    fn descend<E: Env>(&self, fs: &LogFs<E>, key: u64) -> Result<Vec<Step>> {
        let mut path: Vec<Step> = Vec::new();
        let mut address = self.root;
        let mut level_wanted = None;
        loop {
            let page = fs.cache.read(address, self.kind)?;
            let node = self.node_below(fs, address, &page, level_wanted)?;
            let level = node.level;
            if level == 0 {
                let index = node.lower_bound(key);
                path.push(Step {
                    address,
                    page,
                    index,
                });
                return Ok(path);
            }
            let index = node.branch(key);
            let child = node.child(index).ok_or(Errno::EUCLEAN)?;
            path.push(Step {
                address,
                page,
                index,
            });
            address = child;
            level_wanted = Some(level - 1);
        }
    }

    /// The first record whose key is not below `key`.
    pub(crate) fn seek<T: Pod, E: Env>(&self, fs: &LogFs<E>, mut key: u64) -> Result<Option<T>> {
        while let Some(leaf) = self.leaf(fs, key)? {
            let node = leaf.node()?;
            if let Some(record) = node.record_of(node.lower_bound(key)) {
                return Ok(Some(record));
            }
            match leaf.high {
                None => return Ok(None),
                Some(next) if next > key => key = next,
                Some(_) => return Err(self.disorder(fs)),
            }
        }
        Ok(None)
    }

    /// The last record whose key is not above `key`.
    pub(crate) fn seek_back<T: Pod, E: Env>(
        &self,
        fs: &LogFs<E>,
        mut key: u64,
    ) -> Result<Option<T>> {
        while let Some(leaf) = self.leaf(fs, key)? {
            let node = leaf.node()?;
            let before = node.upper_bound(key).checked_sub(1);
            if let Some(record) = before.and_then(|index| node.record_of(index)) {
                return Ok(Some(record));
            }
            match leaf.low.map(|low| low.checked_sub(1)) {
                None => return Ok(None),
                Some(Some(before)) if before < key => key = before,
                Some(_) => return Err(self.disorder(fs)),
            }
        }
        Ok(None)
    }

    fn disorder<E: Env>(&self, fs: &LogFs<E>) -> Errno {
        let (name, ino) = (self.kind.name(), self.owner.0);
        fs.reporter
            .corrupt(format_args!("{name} of inode {ino}: keys out of order"))
    }

    /// The leaf in which `key` is or would be; none if the tree is empty.
    pub(crate) fn leaf<E: Env>(&self, fs: &LogFs<E>, key: u64) -> Result<Option<Leaf>> {
        if self.root == 0 {
            return Ok(None);
        }
        let (mut address, mut level_wanted) = (self.root, None);
        let (mut low, mut high) = (None, None);
        loop {
            let page = fs.cache.read(address, self.kind)?;
            let node = self.node_below(fs, address, &page, level_wanted)?;
            if node.level == 0 {
                let count = node.count;
                return Ok(Some(Leaf {
                    address,
                    page,
                    record_bytes: self.record_bytes,
                    count,
                    low,
                    high,
                }));
            }
            let index = node.branch(key);
            if index > 0 {
                low = Some(node.key(index));
            }
            if index + 1 < node.count {
                high = Some(node.key(index + 1));
            }
            level_wanted = Some(node.level - 1);
            address = node.child(index).ok_or(Errno::EUCLEAN)?;
        }
    }

    /// Puts other records in the place of `from..to` of a leaf, in which they must fit; at least one
    /// must be left in it, and none may have a key that belongs to another leaf.
    pub(crate) fn replace<E: Env>(
        &self,
        tx: &Tx<'_, E>,
        leaf: Leaf,
        range: (usize, usize),
        records: &[u8],
    ) -> Result<()> {
        let edit = leaf.node()?.edit(range, records);
        let address = leaf.address;
        drop(leaf);
        self.apply(tx, address, &edit)
    }

    /// Changes a node. Its page must not be held: it would be copied.
    fn apply<E: Env>(&self, tx: &Tx<'_, E>, address: u64, edit: &Edit) -> Result<()> {
        if let Some(count) = edit.count {
            self.store_count(tx, address, count)?;
        }
        if edit.bytes.len() == edit.gone.len() {
            return tx.write(address, self.kind, edit.gone.start, &edit.bytes);
        }
        tx.splice(address, self.kind, edit.gone.clone(), edit.end, &edit.bytes)
    }

    /// Adds a record, or replaces the one with its key.
    pub(crate) fn insert<E: Env>(
        &mut self,
        fs: &LogFs<E>,
        tx: &Tx<'_, E>,
        record: &[u8],
    ) -> Result<()> {
        if self.root == 0 {
            self.root = self.new_node(fs, tx, 0, record)?;
            return Ok(());
        }
        let key = key_of(record);
        let mut path = self.descend(fs, key)?;
        let mut record = record.to_vec();
        let mut level = 0;
        while let Some(step) = path.pop() {
            let node = self.node(fs, step.address, &step.page)?;
            let exact = level == 0 && step.index < node.count && node.key(step.index) == key;
            // A branch goes behind the one that was followed down.
            let index = if level == 0 {
                step.index
            } else {
                step.index + 1
            };
            let replaced = (index, index + usize::from(exact));
            let capacity = if level == 0 {
                leaf_capacity(self.record_bytes)
            } else {
                BRANCHES_PER_NODE
            };
            let count = node.count + usize::from(!exact);
            if count <= capacity {
                let edit = node.edit(replaced, &record);
                let address = step.address;
                drop(step);
                return self.apply(tx, address, &edit);
            }
            let mut records = node
                .bytes
                .get(..node.count * node.record_bytes)
                .ok_or(Errno::EUCLEAN)?
                .to_vec();
            let at = index * node.record_bytes;
            records.splice(at..at, record.iter().copied());
            // Appending leaves full nodes behind; anything else splits in halves.
            let kept = if index + 1 == count {
                count - 1
            } else {
                count / 2
            };
            let (left, right) = records.split_at(kept * node.record_bytes);
            self.store(tx, step.address, left, node.record_bytes)?;
            let address = self.new_node(fs, tx, level, right)?;
            let branch = Branch {
                key: key_of(right).into(),
                child: address.into(),
            };
            if path.is_empty() {
                // The lowest possible key, so that nothing is ever below the first branch.
                let first = Branch {
                    key: 0.into(),
                    child: step.address.into(),
                };
                let both = [first, branch];
                self.root = self.new_node(fs, tx, level + 1, bytemuck::cast_slice(&both))?;
                return Ok(());
            }
            record = bytemuck::bytes_of(&branch).to_vec();
            level += 1;
        }
        Ok(())
    }

    /// Removes the record with this key, if there is one.
    pub(crate) fn remove<E: Env>(
        &mut self,
        fs: &LogFs<E>,
        tx: &Tx<'_, E>,
        key: u64,
    ) -> Result<bool> {
        if self.root == 0 {
            return Ok(false);
        }
        let mut path = self.descend(fs, key)?;
        let mut is_leaf = true;
        while let Some(step) = path.pop() {
            let node = self.node(fs, step.address, &step.page)?;
            if is_leaf && (step.index >= node.count || node.key(step.index) != key) {
                return Ok(false);
            }
            is_leaf = false;
            if node.count > 1 {
                let edit = node.without(step.index)?;
                let heir = (node.level > 0 && step.index == 0)
                    .then(|| (node.child(1), node.level - 1, node.key(0)));
                let address = step.address;
                drop(step);
                self.apply(tx, address, &edit)?;
                if let Some((Some(child), level, low)) = heir {
                    self.lower(fs, tx, (child, level), low)?;
                }
                self.collapse(fs, tx)?;
                return Ok(true);
            }
            self.free_node(fs, tx, step.address)?;
        }
        self.root = 0;
        Ok(true)
    }

    /// Lets a subtree begin at a key below the one it began at. Each first branch in it has to say so
    /// too: a leaf that splits below puts its branch behind the first one, at a key that may be
    /// anything from `low` on.
    fn lower<E: Env>(
        &self,
        fs: &LogFs<E>,
        tx: &Tx<'_, E>,
        (mut address, level): (u64, u16),
        low: u64,
    ) -> Result<()> {
        for level in (1..=level).rev() {
            let page = fs.cache.read(address, self.kind)?;
            let node = self.node(fs, address, &page)?;
            if node.level != level {
                return Err(self.disorder(fs));
            }
            let child = node.child(0).ok_or(Errno::EUCLEAN)?;
            drop(page);
            tx.write(address, self.kind, HEADER_BYTES, &low.to_le_bytes())?;
            address = child;
        }
        Ok(())
    }

    /// A root with a single branch gives way to what is below it.
    fn collapse<E: Env>(&mut self, fs: &LogFs<E>, tx: &Tx<'_, E>) -> Result<()> {
        loop {
            let page = fs.cache.read(self.root, self.kind)?;
            let node = self.node(fs, self.root, &page)?;
            if node.level == 0 || node.count > 1 {
                return Ok(());
            }
            let child = node.child(0).ok_or(Errno::EUCLEAN)?;
            self.free_node(fs, tx, self.root)?;
            self.root = child;
        }
    }

    /// Frees every node. The records' meaning is the caller's.
    pub(crate) fn clear<E: Env>(&mut self, fs: &LogFs<E>, tx: &Tx<'_, E>) -> Result<()> {
        while self.root != 0 {
            let Some(key) = self.seek::<Le64, E>(fs, 0)? else {
                break;
            };
            self.drop_leaf(fs, tx, key.get())?;
        }
        Ok(())
    }

    /// Frees the whole leaf that holds a key.
    fn drop_leaf<E: Env>(&mut self, fs: &LogFs<E>, tx: &Tx<'_, E>, key: u64) -> Result<()> {
        let mut path = self.descend(fs, key)?;
        if let Some(leaf) = path.pop() {
            self.free_node(fs, tx, leaf.address)?;
        }
        while let Some(step) = path.pop() {
            let node = self.node(fs, step.address, &step.page)?;
            if node.count > 1 {
                let edit = node.edit((step.index, step.index + 1), &[]);
                return self.apply(tx, step.address, &edit);
            }
            self.free_node(fs, tx, step.address)?;
        }
        self.root = 0;
        Ok(())
    }

    fn store<E: Env>(
        &self,
        tx: &Tx<'_, E>,
        address: u64,
        records: &[u8],
        record_bytes: usize,
    ) -> Result<()> {
        self.store_count(tx, address, records.len() / record_bytes)?;
        tx.write(address, self.kind, HEADER_BYTES, records)
    }

    fn store_count<E: Env>(&self, tx: &Tx<'_, E>, address: u64, count: usize) -> Result<()> {
        let offset = core::mem::offset_of!(BlockHeader, count);
        tx.write(address, self.kind, offset, &(count as u32).to_le_bytes())
    }

    fn new_node<E: Env>(
        &mut self,
        fs: &LogFs<E>,
        tx: &Tx<'_, E>,
        level: u16,
        records: &[u8],
    ) -> Result<u64> {
        let mut header = BlockHeader::new(self.kind, [0; 16], 0).owned(self.owner.0, self.owner.1);
        header.level = level.into();
        let address = fs.space.place_metadata(tx, header)?;
        self.grown_blocks += 1;
        let record_bytes = if level == 0 {
            self.record_bytes
        } else {
            size_of::<Branch>()
        };
        self.store(tx, address, records, record_bytes)?;
        Ok(address)
    }

    fn free_node<E: Env>(&mut self, fs: &LogFs<E>, tx: &Tx<'_, E>, address: u64) -> Result<()> {
        self.grown_blocks -= 1;
        fs.space.free(tx, &mut [(address, 1)], true)
    }
}
