//! Who else uses a block that two have.
//!
//! Claims are bits: when a block is claimed for the second time, nobody knows by whom it was for the
//! first. With that a rare case, the extents of all inodes are read once more.

use crate::context::{Context, Owner};
use crate::{Object, Problem, extents, tree};
use logfs_format::Extent;
use std::collections::{BTreeMap, BTreeSet};

/// Inodes named in a message.
const NAMED_MAX: usize = 3;

/// Names the other owners in the findings about blocks with several.
pub(crate) fn name_owners(ctx: &mut Context<'_>) {
    let shared: BTreeSet<u64> = ctx
        .report
        .findings
        .iter()
        .filter_map(|finding| match finding.problem {
            Problem::BlockShared {
                address,
                ref others,
            } if others == tree::SOMETHING => Some(address),
            _ => None,
        })
        .collect();
    if shared.is_empty() {
        return;
    }
    let owners = find_owners(ctx, &shared);
    for finding in &mut ctx.report.findings {
        let (Object::Inode(ino), Problem::BlockShared { address, others }) =
            (&finding.object, &mut finding.problem)
        else {
            continue;
        };
        let names: Vec<String> = owners
            .get(address)
            .into_iter()
            .flatten()
            .filter(|other| *other != ino)
            .take(NAMED_MAX)
            .map(|other| format!("inode {other}"))
            .collect();
        if !names.is_empty() {
            *others = names.join(", ");
        }
    }
}

/// The inodes whose extents cover these blocks.
fn find_owners(ctx: &mut Context<'_>, shared: &BTreeSet<u64>) -> BTreeMap<u64, BTreeSet<u64>> {
    let mut owners: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (owner, extents) in claimants(ctx, shared) {
        for extent in extents {
            let start = extent.start.get();
            let end = start.saturating_add(extent.len.get().into());
            for address in shared.range(start..end) {
                owners.entry(*address).or_default().insert(owner.ino);
            }
        }
    }
    owners
}

/// The inodes whose extents cover some of these blocks, with their extents.
pub(crate) fn claimants(
    ctx: &mut Context<'_>,
    shared: &BTreeSet<u64>,
) -> Vec<(Owner, Vec<Extent>)> {
    let inos: Vec<u64> = ctx.inodes.iter().map(|info| info.ino).collect();
    let mut claimants = Vec::new();
    for ino in inos {
        let Some(inode) = ctx.read_inode(ino) else {
            continue;
        };
        let owner = Owner::of(ino, &inode);
        let extents = extents::read(ctx, owner, &inode);
        let covers = |extent: &Extent| {
            let start = extent.start.get();
            let end = start.saturating_add(extent.len.get().into());
            shared.range(start..end).next().is_some()
        };
        if extents.iter().any(covers) {
            claimants.push((owner, extents));
        }
    }
    claimants
}
