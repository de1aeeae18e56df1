//! Blocks of directories, entries and indexes.

use crate::harness::{Case, Damaged, NOTHING_LOST, run};
use logfs_format::dir::{ENTRY_HEAD_BYTES, EntryHead};
use logfs_format::{BlockHeader, HEADER_BYTES, block};

fn edit_entry(d: &mut Damaged, dir: &str, name: &str, change: impl FnOnce(&mut EntryHead)) {
    let (address, offset) = d.entry(dir, name);
    d.edit(address, |data| {
        change(block::view_mut(data, offset).unwrap())
    });
}

/// Changes bytes of a name.
fn rename(d: &mut Damaged, dir: &str, name: &str, to: &[u8]) {
    let (address, offset) = d.entry(dir, name);
    let start = offset + ENTRY_HEAD_BYTES;
    d.edit(address, |data| {
        data[start..start + to.len()].copy_from_slice(to)
    });
}

/// Makes an entry name something else.
fn point(d: &mut Damaged, dir: &str, name: &str, to: u64) {
    edit_entry(d, dir, name, |head| head.ino = to.into());
}

pub(crate) const BLOCKS: &[Case] = &[
    Case {
        name: "a directory block has a wrong checksum",
        damage: |d| d.spoil(d.extent("/dir").start.get()),
        finds: &["directory-block-checksum"],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory block is gone",
        damage: |d| d.wipe(d.extent("/a/b").start.get()),
        finds: &[
            "directory-block",
            "entry-count",
            "link-count",
            "unreachable",
        ],
        // The directory in it was lost, but not what was in that one.
        moved: &[("/a/b/c", "/lost+found/#8279")],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a directory block names an owner that does not exist",
        damage: |d| {
            d.edit(d.extent("/a").start.get(), |data| {
                let header: &mut BlockHeader = block::view_mut(data, 0).unwrap();
                header.owner = 0x0fff_fff1.into();
            });
        },
        finds: &["directory-block-checksum"],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory block is of the wrong kind",
        damage: |d| {
            d.edit(d.extent("/a/b/c").start.get(), |data| {
                let header: &mut BlockHeader = block::view_mut(data, 0).unwrap();
                header.kind = 9.into();
            });
        },
        finds: &["directory-block", "entry-count", "unreachable"],
        moved: &[("/a/b/c/leaf", "/lost+found/#8601")],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory has lost its extents",
        damage: |d| {
            d.edit_inode("/a/b", |inode| {
                inode.extent_count = 0.into();
                inode.size_bytes = 0.into();
            });
        },
        // Its block is left, so its names are known.
        moved: &[("/a/b/c", "/lost+found/c")],
        finds: &[
            "block-count",
            "blocks-marked",
            "entry-count",
            "link-count",
            "unreachable",
        ],
        ..NOTHING_LOST
    },
];

pub(crate) const ENTRIES: &[Case] = &[
    Case {
        name: "an entry is malformed",
        damage: |d| {
            edit_entry(d, "/dir", "a-name-of-some-length-7", |head| {
                head.entry_bytes = 3.into();
            });
        },
        finds: &["entry-count", "entry-malformed", "unreachable"],
        moved: &[("/dir/a-name-of-some-length-7", "/lost+found/#8287")],
        ..NOTHING_LOST
    },
    Case {
        name: "an entry runs over the end of its block",
        damage: |d| {
            edit_entry(d, "/", "file", |head| head.entry_bytes = 4096.into());
        },
        finds: &["entry-count", "entry-malformed", "link-count"],
        lost: &["/file"],
        ..NOTHING_LOST
    },
    Case {
        name: "a part of a directory block is garbage",
        damage: |d| {
            d.edit(d.extent("/dir").start.get(), |data| {
                data[2048..2100].fill(0xa5)
            });
        },
        finds: &["entry-count", "entry-malformed", "unreachable"],
        moved: &[
            ("/dir/a-name-of-some-length-49", "/lost+found/#8332"),
            ("/dir/a-name-of-some-length-50", "/lost+found/#8333"),
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "a slash in a name",
        damage: |d| rename(d, "/", "symlink", b"sym/ink"),
        finds: &["name"],
        moved: &[("/symlink", "/sym_ink")],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a NUL in a name",
        damage: |d| rename(d, "/dir", "a-name-of-some-length-5", b"\0"),
        finds: &["name"],
        moved: &[(
            "/dir/a-name-of-some-length-5",
            "/dir/_-name-of-some-length-5",
        )],
        ..NOTHING_LOST
    },
    Case {
        name: "two dots as a name",
        damage: |d| {
            rename(d, "/", "pipe", b"..");
            edit_entry(d, "/", "..pe", |head| head.name_len = 2);
        },
        finds: &["name"],
        moved: &[("/pipe", "/__")],
        ..NOTHING_LOST
    },
    Case {
        name: "a name twice",
        damage: |d| rename(d, "/a", "small-11", b"small-12"),
        finds: &["name-twice", "unreachable"],
        moved: &[
            ("/a/small-12", "/lost+found/small-12"),
            ("/a/small-11", "/a/small-12"),
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "an entry names an inode that does not exist",
        damage: |d| point(d, "/", "reserved", 0xffff_fff1),
        finds: &["entry-dangling", "unreachable"],
        moved: &[("/reserved", "/lost+found/#8605")],
        ..NOTHING_LOST
    },
    Case {
        name: "an entry names a number that no inode has",
        damage: |d| point(d, "/", "reserved", 16),
        finds: &["entry-dangling", "unreachable"],
        moved: &[("/reserved", "/lost+found/#8605")],
        ..NOTHING_LOST
    },
    Case {
        name: "an entry has a wrong type",
        damage: |d| edit_entry(d, "/", "file", |head| head.dirent_type = 4),
        finds: &["entry-type"],
        ..NOTHING_LOST
    },
    Case {
        name: "a count of entries is wrong",
        damage: |d| d.edit_inode("/dir", |inode| inode.dir_entries = 5.into()),
        finds: &["entry-count"],
        ..NOTHING_LOST
    },
];

pub(crate) const INDEXES: &[Case] = &[
    Case {
        name: "the root of an index is gone",
        damage: |d| d.wipe(d.inode("/dir").dir_index.get()),
        finds: &["blocks-marked", "index"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a directory has lost its index",
        damage: |d| d.edit_inode("/dir", |inode| inode.dir_index = 0.into()),
        finds: &["blocks-marked", "index"],
        ..NOTHING_LOST
    },
    Case {
        name: "a key in an index is wrong",
        damage: |d| {
            d.edit(d.inode("/dir").dir_index.get(), |node| {
                node[HEADER_BYTES + 3] ^= 1
            })
        },
        finds: &["index"],
        ..NOTHING_LOST
    },
    Case {
        name: "an index is another directory's",
        damage: |d| {
            let index = d.inode("/dir").dir_index;
            d.edit_inode("/a", |inode| inode.dir_index = index);
        },
        finds: &["index"],
        ..NOTHING_LOST
    },
    Case {
        name: "an index lies in the file data",
        damage: |d| {
            let start = d.extent("/file").start;
            d.edit_inode("/dir", |inode| inode.dir_index = start);
        },
        finds: &["blocks-marked", "index"],
        ..NOTHING_LOST
    },
];

#[test]
fn directory_blocks() {
    run(BLOCKS);
}

#[test]
fn directory_entries() {
    run(ENTRIES);
}

#[test]
fn indexes() {
    run(INDEXES);
}
