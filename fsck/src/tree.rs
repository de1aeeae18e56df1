//! Walking B+trees: extent trees and directory indexes.

use crate::context::{Context, Owner};
use crate::map::Refusal;
use crate::{Problem, allocate};
use logfs_format::tree::{BRANCHES_PER_NODE, Branch, MAX_LEVEL, leaf_capacity};
use logfs_format::{BlockHeader, BlockKind, HEADER_BYTES, block};
use std::collections::HashSet;

/// A tree to be walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(crate) kind: BlockKind,
    /// Size of a record in a leaf.
    pub(crate) record_bytes: usize,
    pub(crate) owner: Owner,
    pub(crate) root: u64,
}

/// Whether to claim nodes and report what is wrong, or to read what is known to be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Check,
    Read,
}

/// What a message calls another owner of a block as long as it is not known.
pub(crate) const SOMETHING: &str = "something else";

/// What is wrong with a tree.
pub(crate) type Fault = Problem;

/// What a walk has seen.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Addresses of the nodes, all claimed if the purpose is to check.
    pub(crate) nodes: Vec<u64>,
    /// The first thing that is wrong, if anything is.
    pub(crate) fault: Option<Fault>,
}

/// A node to be read, and what the one above says about it.
struct Place {
    address: u64,
    /// `None` for the root.
    level: Option<u16>,
    low: u64,
    /// First key that is too high, if any is.
    high: Option<u64>,
}

/// Receives each record of the leaves with its key; answers false to end the walk.
pub(crate) type Visit<'v, 'c> = &'v mut dyn FnMut(&mut Context<'c>, u64, &[u8]) -> bool;

/// Walks a tree in the order of its keys, to the first thing that is wrong.
///
/// It comes to an end on any image: levels fall from node to node, and no node is read twice.
pub(crate) fn walk<'c>(
    ctx: &mut Context<'c>,
    tree: &Tree,
    purpose: Purpose,
    visit: Visit<'_, 'c>,
) -> Walked {
    let mut walked = Walked::default();
    let root = Place {
        address: tree.root,
        level: None,
        low: 0,
        high: None,
    };
    let mut walker = Walker {
        tree,
        purpose,
        walked: &mut walked,
        visited: HashSet::new(),
    };
    if let Err(fault) = walker.node(ctx, &root, visit) {
        walked.fault = fault;
    }
    walked
}

struct Walker<'w> {
    tree: &'w Tree,
    purpose: Purpose,
    walked: &'w mut Walked,
    visited: HashSet<u64>,
}

impl Walker<'_> {
    /// Visits what is below a node. The error is the fault, or nothing if the visitor has had
    /// enough.
    fn node<'c>(
        &mut self,
        ctx: &mut Context<'c>,
        place: &Place,
        visit: Visit<'_, 'c>,
    ) -> Result<(), Option<Fault>> {
        let address = place.address;
        if !self.visited.insert(address) {
            return Err(Some(self.damaged(address, "is there twice".to_owned())));
        }
        let image = ctx
            .read_owned(address, self.tree.kind, self.tree.owner)
            .map_err(|why| Some(self.damaged(address, why.to_string())))?;
        if self.purpose == Purpose::Check {
            ctx.map
                .claim(address)
                .map_err(|refusal| Some(refused(address, refusal)))?;
        }
        self.walked.nodes.push(address);
        let header = block::header(&image).copied();
        let header = header.ok_or_else(|| Some(self.damaged(address, "too short".to_owned())))?;
        let (level, count) = (header.level.get(), header.count.get() as usize);
        let record_bytes = if level == 0 {
            self.tree.record_bytes
        } else {
            size_of::<Branch>()
        };
        if level > MAX_LEVEL || place.level.is_some_and(|wanted| wanted != level) {
            return Err(Some(self.damaged(address, format!("level {level}"))));
        }
        if count == 0 || count > leaf_capacity(record_bytes) {
            return Err(Some(self.damaged(address, format!("{count} records"))));
        }
        let records: Vec<&[u8]> = image
            .get(HEADER_BYTES..)
            .unwrap_or(&[])
            .chunks_exact(record_bytes)
            .take(count)
            .collect();
        let keys: Vec<u64> = records.iter().map(|record| key_of(record)).collect();
        // What is below a first branch may start anywhere from where its own node starts.
        let starts_well = keys.first().is_some_and(|&key| match level {
            0 => key >= place.low,
            _ => key == place.low,
        });
        let inside = starts_well
            && keys.is_sorted_by(|a, b| a < b)
            && place
                .high
                .is_none_or(|high| keys.last().is_none_or(|&key| key < high));
        if !inside {
            let fault = "keys are out of order".to_owned();
            return Err(Some(self.damaged(address, fault)));
        }
        if level > 0 {
            ctx.read_ahead(records.iter().map(|record| child_of(record)));
        }
        for (index, (&record, &key)) in records.iter().zip(&keys).enumerate() {
            if level == 0 {
                if !visit(ctx, key, record) {
                    return Err(None);
                }
                continue;
            }
            let child = Place {
                address: child_of(record),
                level: Some(level - 1),
                low: key,
                high: keys.get(index + 1).copied().or(place.high),
            };
            self.node(ctx, &child, visit)?;
        }
        Ok(())
    }

    fn damaged(&self, address: u64, fault: String) -> Fault {
        Problem::NodeDamaged {
            what: self.tree.kind.name(),
            address,
            fault,
        }
    }
}

/// Writes a tree over records that are sorted by their keys; returns its root and all nodes, in an
/// order of no meaning. `None`, and nothing changed, if there is no room.
pub(crate) fn build(
    ctx: &mut Context<'_>,
    kind: BlockKind,
    owner: Owner,
    record_bytes: usize,
    records: &[u8],
) -> Option<(u64, Vec<u64>)> {
    let mut builder = Builder {
        kind,
        owner,
        built: Vec::new(),
    };
    match builder.all(ctx, record_bytes, records) {
        Some(root) => Some((root, builder.built)),
        None => {
            builder
                .built
                .iter()
                .for_each(|&address| allocate::give_back(ctx, address));
            None
        }
    }
}

struct Builder {
    kind: BlockKind,
    owner: Owner,
    built: Vec<u64>,
}

impl Builder {
    fn all(&mut self, ctx: &mut Context<'_>, record_bytes: usize, records: &[u8]) -> Option<u64> {
        let mut below: Vec<Branch> = Vec::new();
        for leaf in records.chunks(leaf_capacity(record_bytes) * record_bytes) {
            let child = self.node(ctx, 0, leaf.len() / record_bytes, leaf)?;
            below.push(Branch {
                key: key_of(leaf).into(),
                child: child.into(),
            });
        }
        let mut level = 0;
        while below.len() > 1 {
            level += 1;
            // The lowest possible key, so that nothing is ever below the first branch.
            if let Some(first) = below.first_mut() {
                first.key = 0.into();
            }
            let mut above = Vec::new();
            for branches in below.chunks(BRANCHES_PER_NODE) {
                let bytes = bytemuck::cast_slice(branches);
                let child = self.node(ctx, level, branches.len(), bytes)?;
                above.push(Branch {
                    key: key_of(bytes).into(),
                    child: child.into(),
                });
            }
            below = above;
        }
        below.first().map(|root| root.child.get())
    }

    fn node(
        &mut self,
        ctx: &mut Context<'_>,
        level: u16,
        count: usize,
        records: &[u8],
    ) -> Option<u64> {
        let address = allocate::block(ctx, self.built.last().map(|last| last + 1))?;
        self.built.push(address);
        let mut image = ctx.new_block(self.kind, address, self.owner);
        if let Some(header) = block::view_mut::<BlockHeader>(&mut image, 0) {
            header.level = level.into();
            header.count = (count as u32).into();
        }
        if let Some(place) = image.get_mut(HEADER_BYTES..HEADER_BYTES + records.len()) {
            place.copy_from_slice(records);
        }
        ctx.replace(address, image);
        Some(address)
    }
}

/// The problem of a block that can't be claimed.
pub(crate) fn refused(address: u64, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Taken => Problem::BlockShared {
            address,
            others: SOMETHING.to_owned(),
        },
        other => Problem::BlockMisplaced {
            address,
            place: other.place(),
        },
    }
}

fn child_of(branch: &[u8]) -> u64 {
    branch.get(8..16).map_or(0, key_of)
}

fn key_of(record: &[u8]) -> u64 {
    let mut key = [0; 8];
    if let Some(bytes) = record.get(..8) {
        key.copy_from_slice(bytes);
    }
    u64::from_le_bytes(key)
}
