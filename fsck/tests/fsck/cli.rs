//! Options, exit codes and what is refused.

use crate::image::{TestImage, fsck_on};
use logfs_format::{Checkpoint, SUPERBLOCK_ADDRESS, Superblock, block};
use std::fs::{self, OpenOptions};

#[test]
fn a_clean_file_system_is_believed() {
    let image = TestImage::populated();
    let outcome = image.fsck(&[]);
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("clean, 309 inodes"),
        "{}",
        outcome.stdout
    );
    for args in [
        &["-a"][..],
        &["-p"],
        &["-y"],
        &["-n"],
        &["-T", "-r", "-C0"],
        &["-C", "-v", "-t"],
    ] {
        assert_eq!(image.fsck(args).code, 0, "{args:?}");
    }
}

#[test]
fn usage_and_version() {
    let image = TestImage::empty();
    assert_eq!(image.fsck(&["--no-such-option"]).code, 16);
    assert_eq!(image.fsck(&["-a", "-n"]).code, 16);
    assert_eq!(image.fsck(&["-y", "-n"]).code, 16);
    assert_eq!(image.fsck(&["one-device-too-many"]).code, 16);
    let version = image.fsck(&["-V"]);
    assert_eq!(version.code, 0);
    assert!(
        version.stdout.starts_with("fsck.logfs "),
        "{}",
        version.stdout
    );
}

#[test]
fn what_is_no_logfs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    for contents in [Vec::new(), vec![0; 5000], vec![0xa5; 1 << 20]] {
        fs::write(&path, &contents).unwrap();
        let outcome = fsck_on(&path, &["-fy"]);
        assert_eq!(outcome.code, 8, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("no logfs"), "{}", outcome.stderr);
        assert!(fs::read(&path).unwrap() == contents);
    }
    assert_eq!(fsck_on(&dir.path().join("missing"), &[]).code, 8);
    assert_eq!(fsck_on(dir.path(), &[]).code, 8);
}

#[test]
fn another_file_system_over_an_old_one_is_not_turned_back() {
    let image = TestImage::populated();
    image.write(SUPERBLOCK_ADDRESS, &[0x11; 4096]);
    assert_eq!(image.fsck(&["-fy"]).code, 8);
    let copy = image.layout().backups[1].to_string();
    assert_eq!(image.fsck(&["-fy", "-b", &copy]).code, 1);
    assert_eq!(image.fsck(&["-fn"]).code, 0);
    assert_eq!(image.fsck(&["-b", "77"]).code, 8);
}

#[test]
fn a_truncated_image_is_refused() {
    let image = TestImage::populated();
    let file = OpenOptions::new().write(true).open(image.path()).unwrap();
    file.set_len(20 << 20).unwrap();
    let outcome = image.fsck(&["-fy"]);
    assert_eq!(outcome.code, 8);
    assert!(
        outcome.stderr.contains("not all there"),
        "{}",
        outcome.stderr
    );
}

fn edit_superblock(image: &TestImage, change: impl FnOnce(&mut Superblock)) {
    image.edit(SUPERBLOCK_ADDRESS, |data| {
        change(block::view_mut(data, 0).unwrap())
    });
}

#[test]
fn unknown_features() {
    let image = TestImage::populated();
    edit_superblock(&image, |sb| sb.incompat = 0x40.into());
    let outcome = image.fsck(&["-fy"]);
    assert_eq!(outcome.code, 8);
    assert!(
        outcome.stderr.contains("features 0x40"),
        "{}",
        outcome.stderr
    );

    let image = TestImage::populated();
    edit_superblock(&image, |sb| sb.ro_compat = 0x40.into());
    assert_eq!(image.fsck(&["-fy"]).code, 8);
    // The copies don't have the feature.
    image.expect(&["-fn"], 4, &["superblock-copy-differs"]);

    let image = TestImage::populated();
    edit_superblock(&image, |sb| sb.version = 2.into());
    let outcome = image.fsck(&["-fy"]);
    assert_eq!(outcome.code, 8);
    assert!(outcome.stderr.contains("version 2"), "{}", outcome.stderr);
}

#[test]
fn wild_superblocks_with_right_checksums() {
    let wild: [fn(&mut Superblock); 8] = [
        |sb| sb.total_blocks = u64::MAX.into(),
        |sb| sb.segment_count = u64::MAX.into(),
        |sb| sb.segment_blocks = 3.into(),
        |sb| sb.table_start = 0.into(),
        |sb| sb.log_start = u64::MAX.into(),
        |sb| sb.log_blocks = 0.into(),
        |sb| sb.block_log2 = 200.into(),
        |sb| sb.backups[0] = u64::MAX.into(),
    ];
    for change in wild {
        let image = TestImage::populated();
        edit_superblock(&image, change);
        image.expect_repaired(&["superblock-damaged"]);
    }
    // These make sense alone: that the copies agree with each other tells.
    let wild: [fn(&mut Superblock); 4] = [
        |sb| sb.root_ino = 16.into(),
        |sb| sb.orphans = u64::MAX.into(),
        |sb| sb.hash_key[0] = 99.into(),
        |sb| sb.header.uuid[3] ^= 1,
    ];
    for change in wild {
        let image = TestImage::populated();
        edit_superblock(&image, change);
        image.expect_repaired(&["superblock-damaged"]);
    }
}

#[test]
fn wild_superblocks_with_wild_copies() {
    let edit_all = |image: &TestImage, change: fn(&mut Superblock)| {
        let [one, other] = image.layout().backups;
        for address in [SUPERBLOCK_ADDRESS, one, other] {
            image.edit(address, |data| change(block::view_mut(data, 0).unwrap()));
        }
    };
    let image = TestImage::populated();
    edit_all(&image, |sb| sb.total_blocks = (1 << 40).into());
    assert_eq!(image.fsck(&["-fy"]).code, 8);
}

/// Makes it look as if it had not been unmounted; the log holds nothing.
fn make_unclean(image: &TestImage, flags: u64) {
    for address in (image.layout().log_start..).take(2) {
        if image.read(address).iter().any(|&byte| byte != 0) {
            image.edit(address, |data| {
                let checkpoint: &mut Checkpoint = block::view_mut(data, 0).unwrap();
                checkpoint.flags = flags.into();
            });
        }
    }
}

#[test]
fn a_log_is_replayed_without_a_check() {
    let image = TestImage::populated();
    make_unclean(&image, 0);
    let before = fs::read(image.path()).unwrap();
    let outcome = image.fsck(&["-n"]);
    assert_eq!(outcome.code, 0);
    assert!(before == fs::read(image.path()).unwrap());
    assert!(!outcome.stdout.contains("clean"), "{}", outcome.stdout);
    assert_eq!(image.fsck(&["-a"]).code, 0);
    let outcome = image.fsck(&["-n"]);
    assert!(outcome.stdout.contains("clean"), "{}", outcome.stdout);
}

#[test]
fn noted_damage_leads_to_a_full_check() {
    let image = TestImage::populated();
    make_unclean(&image, Checkpoint::CLEAN | Checkpoint::ERRORS);
    let outcome = image.fsck(&["-a"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.stdout.contains("no problems"), "{}", outcome.stdout);
    let outcome = image.fsck(&["-a"]);
    assert!(outcome.stdout.contains("clean"), "{}", outcome.stdout);
}

#[test]
fn without_a_terminal_nothing_is_repaired_unasked() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/file"), |inode| inode.nlink = 9.into());
    assert_eq!(image.fsck(&["-f"]).code, 4);
    assert_eq!(image.fsck(&["-fn"]).code, 4);
    assert_eq!(image.fsck(&["-fa"]).code, 1);
    assert_eq!(image.fsck(&["-f"]).code, 0);
}

#[test]
fn what_is_not_safe_is_not_done_unasked() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/file"), |inode| inode.nlink = 9.into());
    image.edit_inode(image.ino("/device"), |inode| inode.flags = 0x100.into());
    let before = fs::read(image.path()).unwrap();
    image.expect(&["-fp"], 4, &["inode-flags", "link-count"]);
    assert!(before == fs::read(image.path()).unwrap());
    let text = image.fsck(&["-fp"]).stdout;
    assert!(text.contains("run fsck.logfs by hand"), "{text}");
    image.expect(&["-fy"], 1, &["inode-flags", "link-count"]);
    image.expect(&["-fp"], 0, &[]);
}

#[test]
fn the_report_can_be_read_by_programs() {
    let image = TestImage::populated();
    image.edit_inode(image.ino("/device"), |inode| inode.flags = 0x100.into());
    let outcome = image.fsck(&["-fy", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let problem = &report["problems"][0];
    assert_eq!(report["exit_code"], 1);
    assert_eq!(problem["id"], "inode-flags");
    assert_eq!(problem["class"], "inode");
    assert_eq!(problem["path"], "/device");
    assert_eq!(problem["remedy"], "consent");
    assert_eq!(problem["action"], "corrected");
    assert_eq!(problem["repaired"], true);
}

#[test]
fn progress_comes_in_lines() {
    let image = TestImage::populated();
    let outcome = image.fsck(&["-f", "-C", "2"]);
    assert_eq!(outcome.code, 0);
    let device = image.path().display().to_string();
    for pass in 1..=5 {
        let line = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with(&format!("{pass} ")));
        assert!(
            line.is_some_and(|line| line.ends_with(&device)),
            "{}",
            outcome.stderr
        );
    }
}
