//! Questions on a terminal, and what the answers lead to.

use crate::image::{TestImage, fsck_in_terminal};

/// An image with a problem that is safe to repair and one that is not.
fn damaged() -> TestImage {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/file"), |inode| inode.nlink = 9.into());
    image.edit_inode(image.ino("/device"), |inode| inode.flags = 0x100.into());
    image
}

#[test]
fn each_problem_is_asked_about() {
    let image = damaged();
    let outcome = fsck_in_terminal(&image.path(), &["-f"], "n\ny\n");
    let text = &outcome.stdout;
    assert_eq!(outcome.code, 1 | 4, "{text}");
    assert_eq!(
        text.matches("Do it? (y, N, a for all)").count(),
        2,
        "{text}"
    );
    let flags = text.find("flags 0x100");
    let links = text.find("link count is 9");
    assert!(flags.is_some() && flags < links, "{text}");
    image.expect(&["-fn"], 4, &["inode-flags"]);
}

#[test]
fn one_answer_can_be_for_all() {
    let image = damaged();
    let outcome = fsck_in_terminal(&image.path(), &["-f"], "a\n");
    let text = &outcome.stdout;
    assert_eq!(outcome.code, 1, "{text}");
    assert_eq!(text.matches("Do it?").count(), 1, "{text}");
    image.expect(&["-fn"], 0, &[]);
}

#[test]
fn no_answer_is_no_and_loss_is_named() {
    let image = damaged();
    image.edit_inode(image.ino("/symlink"), |inode| inode.inline[0] = 0);
    // The end of the input answers whatever is asked: 4 is what ^D sends.
    let outcome = fsck_in_terminal(&image.path(), &["-f"], "\u{4}\u{4}\u{4}\u{4}\u{4}\u{4}");
    let text = &outcome.stdout;
    assert_eq!(outcome.code, 4, "{text}");
    assert!(text.contains("Data may be lost."), "{text}");
    image.expect(
        &["-fn"],
        4,
        &[
            "entry-dangling",
            "inode-count",
            "inode-flags",
            "link-count",
            "symlink",
        ],
    );
}

#[test]
fn progress_is_a_bar() {
    let image = TestImage::populated();
    let outcome = fsck_in_terminal(&image.path(), &["-f", "-C", "0"], "");
    assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    let last = format!("pass 5 of 5 [{}]", "=".repeat(40));
    assert!(outcome.stdout.contains(&last), "{}", outcome.stdout);
}
