//! Extents, extent trees, blocks of several owners, extended attributes.

use crate::harness::{Case, Damaged, NOTHING_LOST, run};
use logfs_format::tree::Branch;
use logfs_format::{BlockHeader, Extent, HEADER_BYTES, SummaryEntry, block};

fn edit_node(d: &mut Damaged, path: &str, change: fn(&mut [u8])) {
    let root = d.tree_root(path);
    d.edit(root, change);
}

/// Swaps where the first extents of two files start.
fn swap(d: &mut Damaged, one: &str, other: &str) {
    let (first, second) = (d.extent(one).start, d.extent(other).start);
    d.edit_extent(one, |extent| extent.start = second);
    d.edit_extent(other, |extent| extent.start = first);
}

/// The first leaf of a tree of two levels.
fn first_leaf(d: &Damaged, path: &str) -> u64 {
    let data = d.read(d.tree_root(path));
    let branch: &Branch = block::view(&data, HEADER_BYTES).unwrap();
    branch.child.get()
}

const FILE: &[&str] = &["/file", "/second-name"];

pub(crate) const EXTENTS: &[Case] = &[
    Case {
        name: "an extent is empty",
        damage: |d| d.edit_extent("/file", |extent| extent.len = 0.into()),
        finds: &["blocks-found", "extent"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "an extent starts in the log",
        damage: |d| d.edit_extent("/file", |extent| extent.start = 100.into()),
        finds: &["blocks-found", "extent"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent starts nowhere",
        damage: |d| d.edit_extent("/file", |extent| extent.start = u64::MAX.into()),
        finds: &["blocks-found", "extent"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent is as long as can be",
        damage: |d| d.edit_extent("/file", |extent| extent.len = u32::MAX.into()),
        finds: &["blocks-found", "extent"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent is behind the end of the largest file",
        damage: |d| d.edit_extent("/file", |extent| extent.file_block = u64::MAX.into()),
        finds: &["blocks-found", "extent"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent has flags that are not known",
        damage: |d| d.edit_extent("/file", |extent| extent.flags = 0x80.into()),
        finds: &["extent"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent of a directory is not written",
        damage: |d| d.edit_extent("/dir", |extent| extent.flags = Extent::UNWRITTEN.into()),
        finds: &["extent"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent is in the inode segment",
        damage: |d| {
            let start = d.inode_block("/");
            d.edit_extent("/file", |extent| extent.start = start.into());
        },
        finds: &["block-misplaced", "blocks-found"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent is in the head of its segment",
        damage: |d| {
            let (segment, _) = d
                .layout()
                .segment_of(d.extent("/file").start.get())
                .unwrap();
            let start = d.layout().segment_start(segment) + 1;
            d.edit_extent("/file", |extent| extent.start = start.into());
        },
        finds: &["block-misplaced", "blocks-found"],
        ..NOTHING_LOST
    },
    Case {
        name: "file data in a metadata segment",
        damage: |d| {
            let start = d.tree_root("/scattered");
            d.edit_extent("/file", |extent| extent.start = start.into());
        },
        finds: &["block-misplaced", "blocks-found"],
        ..NOTHING_LOST
    },
    Case {
        name: "two files have each other's blocks",
        damage: |d| swap(d, "/a/small-1", "/a/small-2"),
        finds: &["blocks-found", "summary-differs"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a file has lost all its extents",
        damage: |d| d.edit_inode("/file", |inode| inode.extent_count = 0.into()),
        finds: &["block-count", "blocks-marked"],
        changed: FILE,
        ..NOTHING_LOST
    },
];

pub(crate) const TREES: &[Case] = &[
    Case {
        name: "the root of an extent tree is gone",
        damage: |d| d.wipe(d.tree_root("/scattered")),
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the root of an extent tree has a wrong checksum",
        damage: |d| d.spoil(d.tree_root("/scattered")),
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "the root of a tree of two levels is gone",
        damage: |d| d.wipe(d.tree_root("/sieve")),
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a leaf is gone",
        damage: |d| d.wipe(first_leaf(d, "/sieve")),
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "root and a leaf are gone",
        damage: |d| {
            let leaf = first_leaf(d, "/sieve");
            d.wipe(leaf);
            d.wipe(d.tree_root("/sieve"));
        },
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a node has no records",
        damage: |d| {
            edit_node(d, "/scattered", |node| {
                let header: &mut BlockHeader = block::view_mut(node, 0).unwrap();
                header.count = 0.into();
            });
        },
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a node is of the wrong level",
        damage: |d| {
            let leaf = first_leaf(d, "/sieve");
            d.edit(leaf, |node| {
                let header: &mut BlockHeader = block::view_mut(node, 0).unwrap();
                header.level = 7.into();
            });
        },
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a node's keys are out of order",
        damage: |d| {
            edit_node(d, "/scattered", |node| {
                let extent: &mut Extent = block::view_mut(node, HEADER_BYTES + 48).unwrap();
                extent.file_block = 0.into();
            });
        },
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a node is another file's",
        damage: |d| {
            let root = d.tree_root("/sieve");
            d.edit_inode("/scattered", |inode| {
                inode.inline[..8].copy_from_slice(&root.to_le_bytes());
            });
        },
        finds: &["blocks-found", "blocks-marked", "node-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "an extent in a tree starts nowhere",
        damage: |d| {
            edit_node(d, "/scattered", |node| {
                let extent: &mut Extent = block::view_mut(node, HEADER_BYTES + 24).unwrap();
                extent.start = 5.into();
            });
        },
        finds: &["blocks-found", "blocks-marked", "extent"],
        ..NOTHING_LOST
    },
];

pub(crate) const SHARED: &[Case] = &[
    Case {
        name: "a file has a block of another",
        damage: |d| {
            let other = d.extent("/a/small-7").start;
            d.edit_extent("/file", |extent| extent.start = other);
        },
        finds: &["block-shared", "blocks-found", "summary-differs"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a block of two files, and no summary tells whose",
        damage: |d| {
            let start = d.extent("/a/small-7").start;
            let (summary, _) = d.layout().summary_entry(start.get()).unwrap();
            d.wipe(summary);
            d.edit_extent("/a/small-8", |extent| extent.start = start);
        },
        finds: &[
            "block-shared",
            "blocks-copied",
            "blocks-marked",
            "summary-damaged",
        ],
        changed: &["/a/small-8"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a file has a block of another, and nothing tells where its own is",
        damage: |d| {
            let own = d.extent("/a/small-8").start.get();
            let (summary, offset) = d.layout().summary_entry(own).unwrap();
            d.edit(summary, |data| {
                data[offset..offset + size_of::<SummaryEntry>()].fill(0);
            });
            let other = d.extent("/a/small-7").start;
            d.edit_extent("/a/small-8", |extent| extent.start = other);
        },
        finds: &[
            "block-count",
            "block-shared",
            "blocks-lost",
            "blocks-marked",
        ],
        changed: &["/a/small-8"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "two directories share a block",
        damage: |d| {
            let start = d.extent("/a/b").start;
            d.edit_extent("/a/b/c", |extent| extent.start = start);
        },
        finds: &["block-shared", "blocks-found"],
        ..NOTHING_LOST
    },
    Case {
        name: "two inodes share a block of attributes",
        damage: |d| {
            let xattrs = d.inode("/attributes").xattrs;
            d.edit_inode("/file", |inode| inode.xattrs = xattrs);
        },
        finds: &["xattrs"],
        ..NOTHING_LOST
    },
];

pub(crate) const XATTRS: &[Case] = &[
    Case {
        name: "the first block of attributes is gone",
        damage: |d| d.wipe(d.inode("/attributes").xattrs.get()),
        finds: &["block-count", "blocks-marked", "xattrs"],
        changed: &["/attributes"],
        ..NOTHING_LOST
    },
    Case {
        name: "the second block of attributes is gone",
        damage: |d| {
            let data = d.read(d.inode("/attributes").xattrs.get());
            d.wipe(u64::from_le_bytes(data[64..72].try_into().unwrap()));
        },
        finds: &["block-count", "blocks-marked", "xattrs"],
        changed: &["/attributes"],
        ..NOTHING_LOST
    },
    Case {
        name: "a chain of attributes goes round",
        damage: |d| {
            let first = d.inode("/attributes").xattrs.get();
            let data = d.read(first);
            let second = u64::from_le_bytes(data[64..72].try_into().unwrap());
            d.edit(second, |data| {
                data[64..72].copy_from_slice(&first.to_le_bytes())
            });
        },
        finds: &["block-count", "blocks-marked", "xattrs"],
        changed: &["/attributes"],
        ..NOTHING_LOST
    },
    Case {
        name: "the place of attributes is nowhere",
        damage: |d| d.edit_inode("/attributes", |inode| inode.xattrs = 3.into()),
        finds: &["block-count", "blocks-marked", "xattrs"],
        changed: &["/attributes"],
        ..NOTHING_LOST
    },
    Case {
        name: "an attribute's length is wild",
        damage: |d| {
            let first = d.inode("/attributes").xattrs.get();
            d.edit(first, |data| data[72..76].copy_from_slice(&[0xff; 4]));
        },
        finds: &["block-count", "blocks-marked", "xattrs"],
        changed: &["/attributes"],
        ..NOTHING_LOST
    },
    Case {
        name: "a block of attributes holds too much",
        damage: |d| {
            let first = d.inode("/attributes").xattrs.get();
            d.edit(first, |data| {
                let header: &mut BlockHeader = block::view_mut(data, 0).unwrap();
                header.count = 5000.into();
            });
        },
        finds: &["block-count", "blocks-marked", "xattrs"],
        changed: &["/attributes"],
        ..NOTHING_LOST
    },
];

#[test]
fn extents() {
    run(EXTENTS);
}

#[test]
fn extent_trees() {
    run(TREES);
}

#[test]
fn shared_blocks() {
    run(SHARED);
}

#[test]
fn extended_attributes() {
    run(XATTRS);
}
