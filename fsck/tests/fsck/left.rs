//! Damage that nothing can be done about: it is named, again and again, and nothing is made worse.

use crate::image::TestImage;
use logfs_format::{Extent, Inode, block};

fn extent(inode: &Inode) -> Extent {
    *block::view(&inode.inline, 0).unwrap()
}

#[test]
fn data() {
    let image = TestImage::populated();
    let start = extent(&image.inode(image.ino("/file"))).start.get();
    image.spoil(start + 2);
    image.expect(&["-fn"], 0, &[]);
    image.expect(&["-n", "--check-data"], 4, &["data-checksum"]);
    image.expect(&["-y", "--check-data"], 4, &["data-checksum"]);
    let text = image.fsck(&["-n", "--check-data"]).stdout;
    assert!(text.contains("file block 2: checksum"), "{text}");
}
