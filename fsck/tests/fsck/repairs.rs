//! Damage that a first run repairs and a second one no longer finds.

use crate::image::{MANY, TestImage};
use logfs_format::dir::{EntryHead, entries};
use logfs_format::{
    Extent, InoAddress, Inode, InodeBlockHead, ORPHANS_PER_BLOCK, OrphanBlock, SegmentKind, block,
};

#[test]
fn a_sound_file_system_has_no_problems() {
    let image = TestImage::populated();
    image.expect(&["-fn", "--check-data"], 0, &[]);
}

#[test]
fn counts_of_inodes() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/file"), |inode| inode.nlink = 9.into());
    image.edit_inode(image.ino("/dir"), |inode| inode.nlink = 1.into());
    image.edit_inode(image.ino("/scattered"), |inode| inode.blocks = 1.into());
    image.edit_inode(image.ino("/"), |inode| inode.dir_entries = 0.into());
    let text = image.fsck(&["-fn"]).stdout;
    let line = "(/file): link count is 9, should be 2 (not corrected)";
    let other = "(/second-name): link count is 9, should be 2 (not corrected)";
    assert!(text.contains(line) || text.contains(other), "{text}");
    image.expect_repaired(&["block-count", "entry-count", "link-count"]);
    assert_eq!(image.inode(image.ino("/file")).nlink.get(), 2);
    assert_eq!(image.inode(image.ino("/dir")).nlink.get(), 3);
}

#[test]
fn parent_and_times() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/dir/sub"), |inode| inode.parent = 12345.into());
    image.edit_inode(image.ino("/file"), |inode| {
        inode.mtime.nanoseconds = 2_000_000_000.into();
    });
    image.expect_repaired(&["parent", "time"]);
    assert_eq!(
        image.inode(image.ino("/dir/sub")).parent.get(),
        image.ino("/dir")
    );
}

#[test]
fn marks_of_blocks() {
    let image = TestImage::populated();
    let segment = image.segment(SegmentKind::Data);
    let mapped = first_extent(&image, "/file").start.get();
    let (_, index) = image.layout().segment_of(mapped).unwrap();
    image.edit_header(segment, |header| {
        header.live[index as usize / 8] &= !(1 << (index % 8));
        header.live[0] |= 1;
        header.live[20] |= 0x80;
    });
    image.expect_repaired(&["blocks-marked", "blocks-not-marked", "head-marked"]);
}

#[test]
fn counts_of_segments() {
    let image = TestImage::populated();
    image.edit_entry(image.segment(SegmentKind::Metadata), |entry| {
        entry.live_blocks = 3.into();
    });
    image.edit_entry(image.segment(SegmentKind::Inodes), |entry| {
        entry.age = 7.into()
    });
    image.expect_repaired(&["inode-count", "live-count"]);
}

#[test]
fn marks_of_inodes() {
    let image = TestImage::populated();
    image.edit_header(image.segment(SegmentKind::Inodes), |header| {
        header.full[0] ^= 0xfe
    });
    let place = InoAddress::from_ino(image.ino("/file")).unwrap();
    image.edit(place.block, |image| {
        let head: &mut InodeBlockHead = block::view_mut(image, 0).unwrap();
        head.used = (head.used.get() & !(1 << place.slot) | 1).into();
    });
    image.expect_repaired(&["full-marks", "used-mark", "used-mark-of-head"]);
}

#[test]
fn segment_headers() {
    let image = TestImage::populated();
    image.spoil(
        image
            .layout()
            .segment_start(image.segment(SegmentKind::Data)),
    );
    image.spoil(
        image
            .layout()
            .segment_start(image.segment(SegmentKind::Metadata)),
    );
    image.expect_repaired(&["segment-header-damaged"]);
}

#[test]
fn kinds_of_segments() {
    let image = TestImage::populated();
    image.edit_entry(image.segment(SegmentKind::Metadata), |entry| {
        entry.kind = SegmentKind::Data as u8;
    });
    image.expect_repaired(&["segment-kind-differs"]);

    let image = TestImage::populated();
    image.edit_entry(image.segment(SegmentKind::Data), |entry| {
        entry.kind = SegmentKind::Free as u8;
        entry.live_blocks = 0.into();
    });
    image.expect_repaired(&["segment-free-but-used"]);
}

#[test]
fn types_of_entries() {
    let image = TestImage::populated();
    edit_entry(&image, "/", "file", |head| head.dirent_type = 4);
    image.expect_repaired(&["entry-type"]);
}

#[test]
fn indexes() {
    let image = TestImage::populated();
    let root = image.inode(image.ino("/dir")).dir_index.get();
    image.spoil(root);
    image.expect_repaired(&["blocks-marked", "index"]);

    let image = TestImage::populated();
    image.edit_inode(image.ino("/dir"), |inode| inode.dir_index = 0.into());
    image.expect_repaired(&["blocks-marked", "index"]);

    let image = TestImage::populated();
    image.edit(image.inode(image.ino("/dir")).dir_index.get(), |node| {
        node[200] ^= 1
    });
    image.expect_repaired(&["index"]);
}

#[test]
fn a_lost_file_is_found() {
    let image = TestImage::populated();
    edit_entry(&image, "/", "symlink", |head| head.ino = 0.into());
    image.expect_repaired(&["entry-count", "unreachable"]);
    let outcome = image.fsck(&["-fn", "--json"]);
    assert_eq!(outcome.code, 0);
}

#[test]
fn a_lost_directory_is_found_with_what_is_in_it() {
    let image = TestImage::populated();
    edit_entry(&image, "/", "dir", |head| head.ino = 0.into());
    image.expect_repaired(&["entry-count", "link-count", "unreachable"]);
    let parent = image.inode(image.ino("/dir")).parent.get();
    assert_ne!(parent, image.ino("/"));
}

#[test]
fn many_lost_files_are_found() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/dir"), |inode| {
        // All names are gone but the directory is sound.
        inode.size_bytes = 0.into();
        inode.extent_count = 0.into();
        inode.flags = 0.into();
    });
    let (_, found) = image.problems(&["-fn"]);
    assert_eq!(found["unreachable"], MANY as u64 + 1);
    assert_eq!(image.fsck(&["-fy"]).code, 1);
    image.expect(&["-fn"], 0, &[]);
}

#[test]
fn the_orphan_list() {
    let image = TestImage::populated();
    let file = image.ino("/file");
    image.edit(image.superblock.orphans.get(), |list| {
        let list: &mut OrphanBlock = block::view_mut(list, 0).unwrap();
        list.slots[0] = file.into();
        list.slots[1] = 0xffff_fff1.into();
        list.slots[ORPHANS_PER_BLOCK - 1] = 16.into();
    });
    image.expect_repaired(&["orphan-slot"]);
}

#[test]
fn an_orphan_is_no_problem() {
    let image = TestImage::populated();
    let file = image.ino("/symlink");
    edit_entry(&image, "/", "symlink", |head| head.ino = 0.into());
    image.edit_inode(image.ino("/"), |inode| {
        inode.dir_entries = (inode.dir_entries.get() - 1).into();
    });
    image.edit_inode(file, |inode| inode.nlink = 0.into());
    image.edit(image.superblock.orphans.get(), |list| {
        let list: &mut OrphanBlock = block::view_mut(list, 0).unwrap();
        list.slots[5] = file.into();
    });
    image.expect(&["-fn"], 0, &[]);
    assert_ne!(image.inode(file).mode.get(), 0);
    image.expect(&["-fy"], 0, &[]);
    assert_eq!(image.inode(file).mode.get(), 0, "not freed");
    image.expect(&["-fn"], 0, &[]);
}

#[test]
fn superblocks() {
    let image = TestImage::populated();
    image.spoil(1);
    image.spoil(image.layout().backups[0]);
    image.expect_repaired(&["superblock-copy-damaged", "superblock-damaged"]);

    let image = TestImage::populated();
    let copy = image.layout().backups[1];
    image.edit(copy, |block| block[104] ^= 0x20);
    image.expect_repaired(&["superblock-copy-differs"]);
}

/// The first extent of a file that has them in its inode.
fn first_extent(image: &TestImage, path: &str) -> Extent {
    let inode: Inode = image.inode(image.ino(path));
    *block::view(&inode.inline, 0).unwrap()
}

/// Changes the head of an entry in the first block of a directory.
fn edit_entry(image: &TestImage, dir: &str, name: &str, change: impl FnOnce(&mut EntryHead)) {
    let address = first_extent(image, dir).start.get();
    let data = image.read(address);
    let offset = entries(&data)
        .map(Result::unwrap)
        .find(|entry| entry.name == name.as_bytes())
        .unwrap()
        .offset;
    image.edit(address, |data| {
        change(block::view_mut(data, offset).unwrap())
    });
}
