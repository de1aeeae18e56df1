//! Inodes and inode blocks.

use crate::harness::{Case, NOTHING_LOST, run};
use logfs_format::{InoAddress, InodeBlockHead, block};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "an inode block has a wrong checksum",
        damage: |d| {
            let address = d.inode_block("/file");
            let mut data = d.read(address);
            data[200] ^= 1;
            d.write(address, &data);
        },
        finds: &["inode-block-checksum"],
        ..NOTHING_LOST
    },
    Case {
        name: "the mark of slot 0 is set, that of an inode is not",
        damage: |d| {
            let place = InoAddress::from_ino(d.ino("/file")).unwrap();
            d.edit(place.block, |data| {
                let head: &mut InodeBlockHead = block::view_mut(data, 0).unwrap();
                head.used = (head.used.get() & !(1 << place.slot) | 1).into();
            });
        },
        finds: &["used-mark", "used-mark-of-head"],
        ..NOTHING_LOST
    },
    Case {
        name: "a free slot is marked as used",
        damage: |d| {
            let place = InoAddress::from_ino(d.ino("/a/small-39")).unwrap();
            let data = d.read(place.block);
            let head: &InodeBlockHead = block::view(&data, 0).unwrap();
            assert_ne!(head.used.get(), InodeBlockHead::ALL_USED, "no free slot");
            d.edit(place.block, |data| {
                let head: &mut InodeBlockHead = block::view_mut(data, 0).unwrap();
                head.used = InodeBlockHead::ALL_USED.into();
            });
        },
        finds: &["used-mark"],
        ..NOTHING_LOST
    },
    Case {
        name: "a file's mode is zero",
        damage: |d| d.edit_inode("/scattered", |inode| inode.mode = 0.into()),
        finds: &["mode"],
        changed: &["/scattered"],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory's mode is wild",
        damage: |d| d.edit_inode("/dir", |inode| inode.mode = 0o170755.into()),
        finds: &["mode"],
        ..NOTHING_LOST
    },
    Case {
        name: "a symbolic link's mode is wild",
        damage: |d| d.edit_inode("/symlink", |inode| inode.mode = 0o150777.into()),
        finds: &["mode"],
        ..NOTHING_LOST
    },
    Case {
        name: "an inode is nothing but a wild mode",
        damage: |d| {
            let generation = d.inode("/pipe").generation;
            d.edit_inode("/pipe", |inode| {
                *inode = bytemuck::Zeroable::zeroed();
                inode.generation = generation;
                inode.mode = 0o070000.into();
            });
        },
        finds: &["entry-dangling", "full-marks", "inode-count", "inode-wild"],
        lost: &["/pipe"],
        ..NOTHING_LOST
    },
    Case {
        name: "a file has become a device",
        damage: |d| d.edit_inode("/file", |inode| inode.mode = 0o020644.into()),
        finds: &["mode-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory has become a symbolic link",
        damage: |d| d.edit_inode("/dir", |inode| inode.mode = 0o120755.into()),
        finds: &["mode-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "an empty file has become a pipe",
        damage: |d| {
            d.edit_inode("/dir/a-name-of-some-length-3", |inode| {
                inode.mode = 0o010644.into();
            });
        },
        finds: &["entry-type"],
        changed: &["/dir/a-name-of-some-length-3"],
        ..NOTHING_LOST
    },
    Case {
        name: "flags that are not known",
        damage: |d| d.edit_inode("/file", |inode| inode.flags = 0x100.into()),
        finds: &["inode-flags"],
        ..NOTHING_LOST
    },
    Case {
        name: "a device with an extent tree",
        damage: |d| d.edit_inode("/device", |inode| inode.flags = 2.into()),
        finds: &["inode-flags"],
        ..NOTHING_LOST
    },
    Case {
        name: "a file with an inline target",
        damage: |d| d.edit_inode("/file", |inode| inode.flags = 1.into()),
        finds: &["inode-flags"],
        ..NOTHING_LOST
    },
    Case {
        name: "too many extents",
        damage: |d| d.edit_inode("/file", |inode| inode.extent_count = 6.into()),
        finds: &["inode-field"],
        ..NOTHING_LOST
    },
    Case {
        name: "fields of directories in a file",
        damage: |d| {
            d.edit_inode("/file", |inode| {
                inode.dir_index = 77.into();
                inode.parent = 88.into();
                inode.dir_entries = 99.into();
            });
        },
        finds: &["inode-field"],
        ..NOTHING_LOST
    },
    Case {
        name: "a file with a device number, and reserved bytes",
        damage: |d| {
            d.edit_inode("/file", |inode| {
                inode.rdev = 0x103.into();
                inode.reserved2[3] = 1;
            });
        },
        finds: &["inode-field"],
        ..NOTHING_LOST
    },
    Case {
        name: "a file's size is negative",
        damage: |d| d.edit_inode("/file", |inode| inode.size_bytes = u64::MAX.into()),
        finds: &["size"],
        changed: &["/file", "/second-name"],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory's size is too small",
        damage: |d| d.edit_inode("/dir", |inode| inode.size_bytes = 4096.into()),
        finds: &["size"],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory's size is no multiple of blocks",
        damage: |d| d.edit_inode("/a", |inode| inode.size_bytes = 77.into()),
        finds: &["size"],
        ..NOTHING_LOST
    },
    Case {
        name: "a pipe has a size",
        damage: |d| d.edit_inode("/pipe", |inode| inode.size_bytes = 10.into()),
        finds: &["size"],
        ..NOTHING_LOST
    },
    Case {
        name: "an inline target's size is too large",
        damage: |d| d.edit_inode("/symlink", |inode| inode.size_bytes = 5000.into()),
        finds: &["size"],
        ..NOTHING_LOST
    },
    Case {
        name: "a long target's size is zero",
        damage: |d| d.edit_inode("/long-symlink", |inode| inode.size_bytes = 0.into()),
        finds: &["size"],
        ..NOTHING_LOST
    },
    Case {
        name: "a target starts with NUL",
        damage: |d| d.edit_inode("/symlink", |inode| inode.inline[0] = 0),
        finds: &["entry-dangling", "full-marks", "inode-count", "symlink"],
        lost: &["/symlink"],
        ..NOTHING_LOST
    },
    Case {
        name: "the block of a long target is gone",
        damage: |d| d.wipe(d.extent("/long-symlink").start.get()),
        finds: &[
            "blocks-marked",
            "entry-dangling",
            "full-marks",
            "inode-count",
            "symlink",
        ],
        lost: &["/long-symlink"],
        ..NOTHING_LOST
    },
    Case {
        name: "times have too many nanoseconds",
        damage: |d| {
            d.edit_inode("/file", |inode| {
                inode.mtime.nanoseconds = 2_000_000_000.into();
                inode.btime.nanoseconds = u32::MAX.into();
            });
        },
        finds: &["time"],
        ..NOTHING_LOST
    },
    Case {
        name: "block counts are wrong",
        damage: |d| {
            d.edit_inode("/file", |inode| inode.blocks = 0.into());
            d.edit_inode("/dir", |inode| inode.blocks = 1000.into());
        },
        finds: &["block-count"],
        ..NOTHING_LOST
    },
];

#[test]
fn inodes() {
    run(CASES);
}

pub(crate) const LOST_BLOCKS: &[Case] = &[
    Case {
        name: "the inode block of files with data is gone",
        damage: |d| d.wipe(d.inode_block("/a/small-20")),
        // Sizes are known to the block only, and permissions not at all.
        changed: &[
            "/a/small-11",
            "/a/small-12",
            "/a/small-13",
            "/a/small-14",
            "/a/small-15",
            "/a/small-16",
            "/a/small-17",
            "/a/small-18",
            "/a/small-19",
            "/a/small-20",
            "/a/small-21",
            "/a/small-22",
            "/a/small-23",
            "/a/small-24",
            "/a/small-25",
        ],
        finds: &[
            "block-count",
            "blocks-found",
            "full-marks",
            "inode-block-damaged",
            "inode-count",
            "inode-rebuilt",
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "the inode block of the root is gone",
        damage: |d| d.wipe(d.inode_block("/")),
        // Of the other inodes in that block, empty files, nothing is left.
        lost: &[
            "/dir/a-name-of-some-length-0",
            "/dir/a-name-of-some-length-1",
            "/dir/a-name-of-some-length-2",
            "/dir/a-name-of-some-length-3",
            "/dir/a-name-of-some-length-4",
            "/dir/a-name-of-some-length-5",
            "/dir/a-name-of-some-length-6",
            "/dir/a-name-of-some-length-7",
        ],
        changed: &["/a", "/a/b", "/a/b/c", "/dir", "/dir/sub", "/dir/sub/deep"],
        finds: &[
            "block-count",
            "blocks-found",
            "blocks-marked",
            "entry-count",
            "entry-dangling",
            "full-marks",
            "inode-block-damaged",
            "inode-count",
            "inode-rebuilt",
            "link-count",
            "parent",
        ],
        every_cut: true,
        ..NOTHING_LOST
    },
];

#[test]
fn lost_inode_blocks() {
    run(LOST_BLOCKS);
}
