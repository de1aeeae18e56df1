//! Damage that takes judgement: it is named, again and again, and nothing is made worse.

use crate::image::TestImage;
use logfs_format::dir::EntryHead;
use logfs_format::{Extent, InoAddress, Inode, SegmentKind, SummaryEntry, block};

/// Changes the first extent of a file that has them in its inode.
fn edit_extent(image: &TestImage, path: &str, change: impl FnOnce(&mut Extent)) {
    image.edit_inode(image.ino(path), |inode| {
        change(block::view_mut(&mut inode.inline, 0).unwrap());
    });
}

fn extent(inode: &Inode) -> Extent {
    *block::view(&inode.inline, 0).unwrap()
}

#[test]
fn extents() {
    for (reason, change) in [
        (
            "is empty",
            (|e: &mut Extent| e.len = 0.into()) as fn(&mut Extent),
        ),
        ("does not lie in one segment", |e| e.start = 3.into()),
        ("does not lie in one segment", |e| e.len = u32::MAX.into()),
        ("does not lie in one segment", |e| e.start = u64::MAX.into()),
        ("flags that are not known", |e| e.flags = 0x80.into()),
        ("behind the end of the largest file", |e| {
            e.file_block = u64::MAX.into()
        }),
    ] {
        let image = TestImage::populated();
        edit_extent(&image, "/file", change);
        image.expect_left(&["extent"]);
        let text = image.fsck(&["-fn"]).stdout;
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn a_block_of_two_files() {
    let image = TestImage::populated();
    let other = extent(&image.inode(image.ino("/reserved"))).start;
    edit_extent(&image, "/file", |e| e.start = other);
    let (code, found) = image.problems(&["-fy"]);
    assert_eq!(code, 4);
    assert!(found.contains_key("block-shared"), "{found:?}");
    let text = image.fsck(&["-fn"]).stdout;
    let other = format!("is used by inode {} as well", image.ino("/file"));
    assert!(text.contains(&other), "{text}");
}

#[test]
fn an_extent_tree() {
    let image = TestImage::populated();
    let inode = image.inode(image.ino("/scattered"));
    let root = u64::from_le_bytes(inode.inline[..8].try_into().unwrap());
    image.edit(root, |node| node[12] = 0);
    image.expect_left(&["node-damaged"]);

    let image = TestImage::populated();
    image.spoil(root);
    image.expect_left(&["node-damaged"]);
    let text = image.fsck(&["-fn"]).stdout;
    assert!(text.contains("(/scattered): extent tree node"), "{text}");
}

#[test]
fn fields_of_inodes() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/symlink"), |inode| {
        inode.size_bytes = 5000.into()
    });
    image.edit_inode(image.ino("/device"), |inode| inode.flags = 0x100.into());
    image.edit_inode(image.ino("/reserved"), |inode| {
        inode.size_bytes = u64::MAX.into()
    });
    image.expect_left(&["inode-field", "inode-flags"]);

    let image = TestImage::populated();
    image.edit_inode(image.ino("/device"), |inode| inode.mode = 0o170644.into());
    image.expect_left(&["mode"]);

    let image = TestImage::populated();
    image.edit_inode(image.ino("/dir"), |inode| inode.size_bytes = 4096.into());
    image.expect_left(&["inode-field"]);
}

#[test]
fn extended_attributes() {
    let image = TestImage::populated();
    let first = image.inode(image.ino("/file")).xattrs.get();
    image.edit(first, |block| block[72] = 0xff);
    image.expect_left(&["xattrs"]);

    // A chain that goes round.
    let image = TestImage::populated();
    image.edit(first, |block| {
        block[64..72].copy_from_slice(&first.to_le_bytes())
    });
    image.expect_left(&["block-shared"]);
}

#[test]
fn blocks_of_directories() {
    let image = TestImage::populated();
    let address = extent(&image.inode(image.ino("/dir"))).start.get();
    image.spoil(address);
    let (code, found) = image.problems(&["-fn"]);
    assert_eq!(code, 4);
    // Its names are not known, so nothing is said to be without one.
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        ["directory-block"]
    );

    let image = TestImage::populated();
    image.edit(address, |block| block[64 + 8] = 3);
    image.expect_left(&["entry-malformed"]);
}

#[test]
fn names() {
    let image = TestImage::populated();
    let address = extent(&image.inode(image.ino("/"))).start.get();
    image.edit(address, |data| {
        let at = data
            .windows(7)
            .position(|bytes| bytes == b"symlink")
            .unwrap();
        data[at] = b'/';
    });
    image.expect_left(&["name"]);

    let image = TestImage::populated();
    image.edit(address, |data| {
        let at = data
            .windows(8)
            .position(|bytes| bytes == b"reserved")
            .unwrap();
        let head: &mut EntryHead = block::view_mut(data, at - 12).unwrap();
        head.ino = 0xffff_fff1.into();
    });
    let (code, found) = image.problems(&["-fy"]);
    assert_eq!(code, 5);
    assert!(found.contains_key("entry-dangling"), "{found:?}");
}

#[test]
fn an_inode_block() {
    let image = TestImage::populated();
    let place = InoAddress::from_ino(image.ino("/")).unwrap();
    image.spoil(place.block + 3);
    // Neither the inodes in it nor what they own is said to be gone.
    image.expect_left(&["inode-block-damaged"]);
}

#[test]
fn the_segment_table() {
    let image = TestImage::populated();
    image.spoil(image.layout().table_start);
    let (code, found) = image.problems(&["-fy"]);
    assert_eq!(code, 4);
    assert!(found.contains_key("table-damaged"), "{found:?}");

    let image = TestImage::populated();
    image.edit_entry(image.segment(SegmentKind::Data), |entry| entry.kind = 77);
    image.expect_left(&["segment-kind"]);
}

#[test]
fn both_checkpoints() {
    let image = TestImage::populated();
    image.spoil(image.layout().log_start);
    image.spoil(image.layout().log_start + 1);
    image.expect_left(&["log-damaged"]);
}

#[test]
fn summaries() {
    let image = TestImage::populated();
    let start = extent(&image.inode(image.ino("/file"))).start.get();
    let (summary, offset) = image.layout().summary_entry(start).unwrap();
    image.edit(summary, |block| {
        let entry: &mut SummaryEntry = block::view_mut(block, offset).unwrap();
        entry.generation = 99.into();
    });
    image.expect_left(&["summary-differs"]);

    let image = TestImage::populated();
    image.spoil(summary);
    image.expect_left(&["summary-damaged"]);
}

#[test]
fn data() {
    let image = TestImage::populated();
    let start = extent(&image.inode(image.ino("/file"))).start.get();
    image.spoil(start + 2);
    image.expect(&["-fn"], 0, &[]);
    image.expect(&["-n", "--check-data"], 4, &["data-checksum"]);
    let text = image.fsck(&["-n", "--check-data"]).stdout;
    assert!(text.contains("file block 2: checksum"), "{text}");
}
