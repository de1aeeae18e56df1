//! `-o discard` and fstrim: what is free is discarded, and nothing else, at any power cut.
#![forbid(unsafe_code)]

use bento_api::{Errno, FileSystem, MountOptions};
use bento_sim::{Change, Operation, Sim, SimDisk};
use logfs_tests::{Mounted, check, formatted};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

fn mount(disk: SimDisk, options: &str) -> Mounted {
    let options = MountOptions {
        options: options.as_bytes(),
        ..MountOptions::default()
    };
    Sim::mount_with(disk, 1, &options).unwrap()
}

/// Bytes discarded since recording began.
fn discarded(sim: &Mounted) -> u64 {
    let recording = sim.disk().recording();
    let len = |change: &Change| match change {
        Change::Discard { len_bytes, .. } => *len_bytes,
        _ => 0,
    };
    recording.changes.iter().map(len).sum()
}

#[test]
fn freed_data_is_discarded_once_that_is_durable() {
    let sim = mount(formatted(64 * MIB), "discard");
    sim.write_file(b"/file", &[1; 100 * BLOCK as usize])
        .unwrap();
    sim.sync().unwrap();
    sim.disk().record();
    sim.unlink(b"/file").unwrap();
    sim.background();
    assert_eq!(discarded(&sim), 0, "a crash may bring the file back");
    let free = sim.fs().statfs().unwrap().blocks_free;
    sim.sync().unwrap();
    assert_eq!(discarded(&sim), 0, "not while somebody waits");
    sim.background();
    assert_eq!(discarded(&sim), 100 * BLOCK);
    assert_eq!(sim.fs().statfs().unwrap().blocks_free, free + 100);
    check(&sim.unmount().unwrap());
}

#[test]
fn nothing_is_discarded_by_default() {
    let sim = mount(formatted(64 * MIB), "nodiscard");
    sim.disk().record();
    sim.write_file(b"/file", &[1; 100 * BLOCK as usize])
        .unwrap();
    sim.sync().unwrap();
    sim.unlink(b"/file").unwrap();
    sim.sync().unwrap();
    sim.background();
    assert_eq!(discarded(&sim), 0);
}

#[test]
fn what_waits_for_its_discard_is_there_when_space_runs_out() {
    let sim = mount(formatted(16 * MIB), "discard");
    for _ in 0..5 {
        let file = sim.create(b"/file", 0o644).unwrap();
        let mut size = 0;
        while let Ok(count @ 1..) = sim.write(&file, size, &[7; 65_536]) {
            size += count as u64;
        }
        sim.close(file);
        assert!(size > 6 * MIB, "only {size} bytes were free");
        sim.unlink(b"/file").unwrap();
    }
    check(&sim.unmount().unwrap());
}

#[test]
fn trim_discards_all_that_is_free_and_nothing_else() {
    let sim = mount(formatted(64 * MIB), "");
    for index in 0..200 {
        let path = format!("/{index}");
        sim.write_file(path.as_bytes(), &[index as u8; 3 * BLOCK as usize])
            .unwrap();
    }
    for index in (0..200).step_by(2) {
        sim.unlink(format!("/{index}").as_bytes()).unwrap();
    }
    sim.sync().unwrap();
    sim.disk().record();
    let free = sim.fs().statfs().unwrap().blocks_free;
    let trimmed = sim.fs().trim(0..64 * MIB, 0).unwrap();
    assert_eq!(trimmed, discarded(&sim));
    assert!(
        trimmed > free * BLOCK * 9 / 10,
        "{trimmed} of {free} blocks"
    );
    let long = sim.fs().trim(0..64 * MIB, 4 * BLOCK).unwrap();
    assert!(long < trimmed, "runs of three blocks are too short");
    assert_eq!(sim.fs().statfs().unwrap().blocks_free, free);
    for index in (1..200).step_by(2) {
        let contents = sim.read_file(format!("/{index}").as_bytes()).unwrap();
        assert!(contents == [index as u8; 3 * BLOCK as usize]);
    }
    sim.write_file(b"/new", &[1; 1000 * BLOCK as usize])
        .unwrap();
    check(&sim.unmount().unwrap());
}

#[test]
fn a_device_that_does_not_discard_fails_fstrim() {
    let sim = mount(formatted(64 * MIB), "discard");
    let free = sim.fs().statfs().unwrap().blocks_free;
    sim.disk().fail(Operation::Discard, 1, true);
    assert_eq!(sim.fs().trim(0..64 * MIB, 0), Err(Errno::EIO));
    sim.disk().heal();
    assert_eq!(sim.fs().statfs().unwrap().blocks_free, free);
    sim.disk().record();
    sim.fs().trim(0..64 * MIB, 0).unwrap();
    assert!(discarded(&sim) > 32 * MIB);
    check(&sim.unmount().unwrap());
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_to_a_discard() {
    let sim = mount(formatted(16 * MIB), "discard");
    let contents = |version: u8| vec![version; 20 * BLOCK as usize];
    let mut durable = Vec::new();
    sim.disk().record();
    for version in 1..30 {
        sim.write_file(b"/file", &contents(version)).unwrap();
        if version % 3 == 0 {
            sim.sync().unwrap();
            durable.push((sim.disk().recorded(), version));
        }
        sim.background();
        if version % 7 == 0 {
            sim.fs().trim(0..16 * MIB, 0).unwrap();
        }
    }
    let recording = sim.disk().recording();
    for cut in 0..=recording.changes.len() {
        let left = SimDisk::from_image(recording.crash(cut, cut as u64));
        let crashed = mount(left, "discard");
        let mut promised = durable.iter().filter(|(changes, _)| *changes <= cut);
        if let Some(&(_, version)) = promised.next_back() {
            let found = crashed.read_file(b"/file").unwrap();
            let first = found.first().copied().unwrap_or(u8::MAX);
            let is_whole = found.is_empty() || found == contents(first);
            assert!(is_whole && first >= version, "after {cut} changes");
        }
        check(&crashed.unmount().unwrap());
    }
}
