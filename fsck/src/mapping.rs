//! The mapping of a file while it is put together from pieces, and writing it down.

use crate::context::{Context, Owner};
use crate::extents::part;
use crate::tree;
use logfs_format::tree::leaf_capacity;
use logfs_format::{BlockKind, Extent, INLINE_BYTES, INLINE_EXTENTS, Inode, InodeFlags};
use std::collections::BTreeMap;

/// Extents that don't overlap, by their first file block.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    extents: BTreeMap<u64, Extent>,
}

impl Mapping {
    /// Maps the blocks of an extent where nothing is mapped yet; returns the parts that are new.
    pub(crate) fn add(&mut self, extent: &Extent) -> Vec<Extent> {
        let mut added = Vec::new();
        let (first, end) = (extent.file_block.get(), extent.end());
        let mut at = first;
        while at < end {
            let next = match self.at_or_after(at) {
                Some(there) if there.file_block.get() <= at => {
                    at = there.end();
                    continue;
                }
                Some(there) => there.file_block.get().min(end),
                None => end,
            };
            added.push(part(extent, (at - first) as u32, (next - at) as u32));
            at = next;
        }
        for extent in &added {
            self.extents.insert(extent.file_block.get(), *extent);
        }
        added
    }

    fn at_or_after(&self, file_block: u64) -> Option<&Extent> {
        let before = self.extents.range(..=file_block).next_back();
        before
            .map(|(_, extent)| extent)
            .filter(|extent| extent.end() > file_block)
            .or_else(|| {
                self.extents
                    .range(file_block..)
                    .next()
                    .map(|(_, next)| next)
            })
    }

    /// Whether a file block is mapped.
    pub(crate) fn covers(&self, file_block: u64) -> bool {
        self.at_or_after(file_block)
            .is_some_and(|extent| extent.file_block.get() <= file_block)
    }

    /// The file block behind the last extent.
    pub(crate) fn end(&self) -> u64 {
        self.extents
            .last_key_value()
            .map_or(0, |(_, extent)| extent.end())
    }

    /// The extents in order, neighbours joined.
    pub(crate) fn joined(&self, ctx: &Context<'_>) -> Vec<Extent> {
        let segment_of = |extent: &Extent| ctx.layout.segment_of(extent.start.get()).map(|s| s.0);
        let mut joined: Vec<Extent> = Vec::new();
        for extent in self.extents.values() {
            match joined.last_mut() {
                Some(last)
                    if last.end() == extent.file_block.get()
                        && last.start.get() + u64::from(last.len.get()) == extent.start.get()
                        && last.flags == extent.flags
                        && segment_of(last) == segment_of(extent) =>
                {
                    last.len = (last.len.get() + extent.len.get()).into();
                }
                _ => joined.push(*extent),
            }
        }
        joined
    }
}

/// Tree nodes that so many extents need, or a few more.
pub(crate) fn nodes_for(extents: usize) -> u64 {
    if extents <= INLINE_EXTENTS {
        return 0;
    }
    let leaves = extents.div_ceil(leaf_capacity(size_of::<Extent>())) as u64;
    leaves + leaves / 100 + 3
}

/// Makes extents the mapping of an inode, in place of what is there. `None` if there is no room.
pub(crate) fn write(ctx: &mut Context<'_>, owner: Owner, extents: &[Extent]) -> Option<()> {
    let bytes: &[u8] = bytemuck::cast_slice(extents);
    let (root, count) = if extents.len() <= INLINE_EXTENTS {
        (None, extents.len() as u16)
    } else {
        let record_bytes = size_of::<Extent>();
        let (root, _) = tree::build(ctx, BlockKind::ExtentNode, owner, record_bytes, bytes)?;
        (Some(root.to_le_bytes()), 0)
    };
    let content = root.as_ref().map_or(bytes, |root| root);
    ctx.edit_inode(owner.ino, |inode: &mut Inode| {
        let tree = root.map_or(0, |_| InodeFlags::TREE);
        inode.flags = tree.into();
        inode.extent_count = count.into();
        inode.inline = [0; INLINE_BYTES];
        if let Some(place) = inode.inline.get_mut(..content.len()) {
            place.copy_from_slice(content);
        }
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::Mapping;
    use logfs_format::Extent;

    #[test]
    fn what_is_mapped_stays() {
        let mut mapping = Mapping::default();
        assert_eq!(mapping.add(&Extent::new(10, 100, 5)).len(), 1);
        let added = mapping.add(&Extent::new(8, 200, 10));
        assert_eq!(added, [Extent::new(8, 200, 2), Extent::new(15, 207, 3)]);
        assert!(mapping.add(&Extent::new(8, 300, 10)).is_empty());
        assert!(mapping.covers(17) && !mapping.covers(18) && !mapping.covers(7));
        assert_eq!(mapping.end(), 18);
    }
}
