//! How everything hangs together: the root, names, parents, links, orphans.

use crate::harness::{Case, Damaged, NOTHING_LOST, run};
use logfs_format::dir::EntryHead;
use logfs_format::{ORPHANS_PER_BLOCK, OrphanBlock, block};

/// Removes an entry, and lets the directory's count say so.
pub(crate) fn forget(d: &mut Damaged, dir: &str, name: &str) {
    let (address, offset) = d.entry(dir, name);
    d.edit(address, |data| {
        let head: &mut EntryHead = block::view_mut(data, offset).unwrap();
        head.ino = 0.into();
    });
    d.edit_inode(dir, |inode| {
        inode.dir_entries = (inode.dir_entries.get() - 1).into();
    });
}

fn point(d: &mut Damaged, dir: &str, name: &str, to: u64) {
    let (address, offset) = d.entry(dir, name);
    d.edit(address, |data| {
        let head: &mut EntryHead = block::view_mut(data, offset).unwrap();
        head.ino = to.into();
        head.dirent_type = 4;
    });
}

fn edit_orphans(d: &mut Damaged, change: impl FnOnce(&mut OrphanBlock)) {
    let address = d.superblock().orphans.get();
    d.edit(address, |data| change(block::view_mut(data, 0).unwrap()));
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the root's slot is free",
        damage: |d| {
            let generation = d.inode("/").generation;
            d.edit_inode("/", |inode| {
                *inode = bytemuck::Zeroable::zeroed();
                inode.generation = generation;
            });
        },
        finds: &[
            "block-count",
            "entry-count",
            "full-marks",
            "inode-count",
            "link-count",
            "root",
            "used-mark",
        ],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the root is a file",
        damage: |d| d.edit_inode("/", |inode| inode.mode = 0o100755.into()),
        finds: &["mode-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "a file has no name",
        damage: |d| forget(d, "/", "scattered"),
        finds: &["unreachable"],
        moved: &[("/scattered", "/lost+found/#8603")],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a directory has no name",
        damage: |d| forget(d, "/", "a"),
        finds: &["link-count", "unreachable"],
        moved: &[("/a", "/lost+found/#8277")],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory is in itself",
        damage: |d| {
            forget(d, "/a/b", "c");
            let c = d.ino("/a/b/c");
            point(d, "/a/b/c", "leaf", c);
        },
        finds: &["directory-loop", "link-count", "unreachable"],
        moved: &[
            ("/a/b/c/leaf", "/lost+found/#8601"),
            ("/a/b/c", "/lost+found/leaf"),
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "directories go round",
        damage: |d| {
            // The root's name of /a now names nothing of it: /a is found in /a/b/c.
            let a = d.ino("/a");
            forget(d, "/", "a");
            point(d, "/a/b/c", "leaf", a);
        },
        finds: &["directory-loop", "link-count", "unreachable"],
        moved: &[
            ("/a/b/c/leaf", "/lost+found/#8601"),
            ("/a", "/lost+found/leaf"),
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "a directory has two names",
        damage: |d| {
            let sub = d.ino("/dir/sub");
            point(d, "/", "pipe", sub);
        },
        finds: &["directory-twice", "unreachable"],
        moved: &[("/pipe", "/lost+found/#8611")],
        ..NOTHING_LOST
    },
    Case {
        name: "the root has a name",
        damage: |d| {
            let root = d.ino("/");
            point(d, "/", "pipe", root);
        },
        finds: &["directory-twice", "unreachable"],
        moved: &[("/pipe", "/lost+found/#8611")],
        ..NOTHING_LOST
    },
    Case {
        name: "link counts are wrong",
        damage: |d| {
            d.edit_inode("/file", |inode| inode.nlink = 9.into());
            d.edit_inode("/dir", |inode| inode.nlink = 0.into());
            d.edit_inode("/pipe", |inode| inode.nlink = 0.into());
        },
        finds: &["link-count"],
        ..NOTHING_LOST
    },
    Case {
        name: "a parent is wrong",
        damage: |d| d.edit_inode("/a/b", |inode| inode.parent = 12345.into()),
        finds: &["parent"],
        ..NOTHING_LOST
    },
    Case {
        name: "the orphan list names what is no orphan",
        damage: |d| {
            let file = d.ino("/file");
            edit_orphans(d, |list| {
                list.slots[0] = file.into();
                list.slots[1] = 0xffff_fff1.into();
                list.slots[ORPHANS_PER_BLOCK - 1] = 16.into();
            });
        },
        finds: &["orphan-slot"],
        ..NOTHING_LOST
    },
    Case {
        name: "the orphan list is gone",
        damage: |d| d.wipe(d.superblock().orphans.get()),
        finds: &["orphan-block"],
        ..NOTHING_LOST
    },
    Case {
        name: "the orphan list goes on in itself",
        damage: |d| {
            let first = d.superblock().orphans;
            edit_orphans(d, |list| list.next = first);
        },
        finds: &["orphan-block"],
        ..NOTHING_LOST
    },
    Case {
        name: "an orphan, and the list is gone",
        damage: |d| {
            forget(d, "/", "pipe");
            d.edit_inode("/pipe", |inode| inode.nlink = 0.into());
            d.wipe(d.superblock().orphans.get());
        },
        finds: &["link-count", "orphan-block", "unreachable"],
        moved: &[("/pipe", "/lost+found/#8611")],
        ..NOTHING_LOST
    },
];

#[test]
fn links() {
    run(CASES);
}
