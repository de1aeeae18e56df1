//! More repairs than the log holds: they are written in place, and a power cut is survived all the
//! same.

use crate::harness::try_fsck;
use crate::healthy::{Mounted, formatted};
use bento_sim::SimDisk;
use fsck_logfs::Mode;
use logfs_format::{BLOCK_BYTES, BlockKind, INODES_PER_BLOCK, Inode, block};

/// Files: with fifteen inodes in a block, more blocks than the log of this size.
const FILES: u64 = 8000;

/// Power cuts tried.
const CUTS: usize = 12;

#[test]
fn more_than_the_log_holds() {
    let (disk, superblock) = formatted();
    let sim = Mounted::mount(disk, 1).unwrap();
    sim.mkdir(b"/dir", 0o755).unwrap();
    for index in 0..FILES {
        sim.write_file(format!("/dir/{index}").as_bytes(), b"")
            .unwrap();
    }
    let disk = sim.unmount().unwrap();
    let mut image = disk.image();
    for address in superblock.segments_start.get()..superblock.total_blocks.get() {
        let offset_bytes = address * BLOCK_BYTES as u64;
        let mut data = vec![0; BLOCK_BYTES];
        image.read(offset_bytes, &mut data);
        let uuid = &superblock.header.uuid;
        if block::verify(&data, BlockKind::Inodes, uuid, address).is_ok() {
            for slot in 1..=INODES_PER_BLOCK {
                let inode: &mut Inode = block::view_mut(&mut data, slot * 256).unwrap();
                if inode.mode.get() != 0 {
                    inode.nlink = 77.into();
                }
            }
            block::seal(&mut data);
            image.write(offset_bytes, &data);
        }
    }
    let disk = SimDisk::from_image(image);
    disk.record();
    let report = try_fsck(&disk, Mode::Repair).unwrap();
    assert_eq!(report.exit_code(), 1, "{:?}", report.totals);
    assert_eq!(report.totals["link-count"].fixed, FILES + 2);
    assert!(try_fsck(&disk, Mode::Check).unwrap().is_clean());
    let recording = disk.recording();
    let count = recording.changes.len();
    assert!(count as u64 > FILES / INODES_PER_BLOCK as u64);
    for cut in (0..count).step_by(count / CUTS) {
        let disk = SimDisk::from_image(recording.crash(cut, cut as u64));
        // It says itself that it has to be checked.
        let report = try_fsck(&disk, Mode::Repair).unwrap();
        assert!(report.exit_code() <= 1, "cut {cut}: {:?}", report.totals);
        let again = try_fsck(&disk, Mode::Check).unwrap();
        assert!(again.is_clean(), "cut {cut}: {:?}", again.totals);
    }
    let sim = Mounted::mount(disk, 2).unwrap();
    assert_eq!(sim.readdir(b"/dir").unwrap().len() as u64, FILES);
}
