//! The segment cleaner: it makes clean segments, keeps every byte, and leaves alone what it must.
#![forbid(unsafe_code)]

use bento_api::{FallocateMode, FileSystem, Ino, Level, MappingKind};
use bento_sim::{Image, Rng, Sim, SimDisk, SimEnv};
use logfs::LogFs;
use logfs_tests::{Mounted, check, formatted, fresh};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

fn number(sim: &Mounted, name: &str) -> u64 {
    let mut counters = <LogFs<SimEnv> as FileSystem<SimEnv>>::COUNTERS.iter();
    let mut text = String::new();
    let counter = counters.find(|counter| counter.name == name).unwrap();
    counter.show(sim.fs(), &mut text).unwrap();
    text.parse().unwrap()
}

fn path(index: u64) -> Vec<u8> {
    format!("/{index}").into_bytes()
}

/// What file `index` holds after so many rewrites of it.
fn contents(index: u64, version: u64, len: u64) -> Vec<u8> {
    let mut rng = Rng::new(index << 32 | version);
    let mut data = Vec::with_capacity(len as usize);
    while (data.len() as u64) < len {
        data.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    data.truncate(len as usize);
    data
}

/// Files, by number: how often rewritten, and how long.
type Files = Vec<Option<(u64, u64)>>;

/// Fills a disk to about four fifths with small files, then deletes and writes at random.
fn churned(sim: &Mounted, seed: u64) -> Files {
    let mut rng = Rng::new(seed);
    let mut files = Files::new();
    let total = sim.fs().statfs().unwrap().blocks;
    while sim.fs().statfs().unwrap().blocks_free > total / 5 {
        let len = BLOCK * (1 + rng.below(8)) - rng.below(100);
        let index = files.len() as u64;
        sim.write_file(&path(index), &contents(index, 0, len))
            .unwrap();
        files.push(Some((0, len)));
    }
    for version in 1..=files.len() as u64 {
        let index = rng.below(files.len() as u64);
        let file = &mut files[index as usize];
        if file.take().is_some() {
            sim.unlink(&path(index)).unwrap();
        } else {
            let len = BLOCK * (1 + rng.below(8)) - rng.below(100);
            sim.write_file(&path(index), &contents(index, version, len))
                .unwrap();
            *file = Some((version, len));
        }
    }
    sim.sync().unwrap();
    files
}

fn verify(sim: &Mounted, files: &Files) {
    for (file, index) in files.iter().zip(0..) {
        let found = sim.read_file(&path(index)).ok();
        let expected = file.map(|(version, len)| contents(index, version, len));
        assert!(found == expected, "file {index} is not what was written");
    }
}

fn assert_no_errors(sim: &Mounted) {
    for (level, line) in sim.env().logged() {
        assert!(level > Level::Warning, "{line}");
    }
}

/// Cleans until there is nothing to do, and makes that durable.
fn clean(sim: &Mounted) {
    let mut steps = 0;
    while sim.clean() {
        steps += 1;
        assert!(steps < 10_000, "cleaning never ends");
    }
    sim.sync().unwrap();
}

#[test]
fn a_churned_disk_gets_clean_segments_and_keeps_its_contents() {
    for seed in 0..4 {
        let mut sim = fresh(64 * MIB);
        let files = churned(&sim, seed);
        let before = number(&sim, "clean_segments");
        assert!(before <= 6, "{before} segments are clean before");
        clean(&sim);
        let after = number(&sim, "clean_segments");
        assert!(after >= before + 3, "{before} clean segments, then {after}");
        verify(&sim, &files);
        assert_no_errors(&sim);
        let moved = number(&sim, "cleaned_blocks");
        assert!(moved > 0 && moved < 7 * 256 * (after - before), "{moved}");
        assert!(!sim.clean(), "there is nothing left to do");
        assert_eq!(number(&sim, "cleaned_blocks"), moved);
        sim.remount().unwrap();
        verify(&sim, &files);
        check(&sim.unmount().unwrap());
    }
}

/// Between two steps there is a pause after the disk was used, and none when nobody has used it for a second.
fn cleaning_waits_until_idle(sim: &Mounted, what: &str) {
    let step = || sim.fs().clean(&mut Vec::new());
    let pauses = |next_ms| (1..u64::MAX).contains(&next_ms);
    assert!(pauses(step()), "{what}");
    sim.env().advance_clock(Duration::from_millis(500));
    assert!(pauses(step()), "{what} a moment ago");
    sim.env().advance_clock(Duration::from_millis(500));
    assert_eq!(step(), 0, "nobody uses the disk");
}

/// A buffered write is nothing but a reservation until it is written back.
#[test]
fn cleaning_waits_while_files_are_written() {
    let sim = fresh(64 * MIB);
    churned(&sim, 5);
    let file = sim.create(b"/log", 0o644).unwrap();
    let ino = sim.stat(b"/log").unwrap().ino;
    let waits = |what: &str| cleaning_waits_until_idle(&sim, what);
    waits("the disk was just used");
    sim.fs().reserve(ino, 0, BLOCK).unwrap();
    waits("a file is written");
    sim.fs().unreserve(ino, 0, BLOCK);
    sim.close(file);
}

#[test]
fn cleaning_waits_while_names_are_read() {
    let sim = fresh(64 * MIB);
    churned(&sim, 5);
    sim.mkdir(b"/dir", 0o755).unwrap();
    let root = sim.fs().load(sim.fs().root()).unwrap().ino;
    let ino = sim.fs().lookup(root, b"dir").unwrap();
    let waits = |what: &str| cleaning_waits_until_idle(&sim, what);
    waits("the disk was just used");
    sim.fs().lookup(root, b"dir").unwrap();
    waits("a name is looked up");
    sim.fs().load(ino).unwrap();
    waits("an inode is read");
    sim.fs().readdir(root, 0, &mut |_| true).unwrap();
    waits("a directory is listed");
    sim.fs().forget(ino);
    sim.fs().forget(root);
}

#[test]
fn nothing_is_cleaned_on_a_disk_that_is_mostly_empty() {
    let sim = fresh(64 * MIB);
    for index in 0..1000 {
        sim.write_file(&path(index), &contents(index, 0, 2 * BLOCK))
            .unwrap();
    }
    for index in (0..1000).step_by(2) {
        sim.unlink(&path(index)).unwrap();
    }
    sim.sync().unwrap();
    let before = sim.disk().counts();
    assert!(!sim.clean());
    assert_eq!(sim.disk().counts().writes, before.writes);
    assert_eq!(sim.disk().counts().reads, before.reads);
}

#[test]
fn a_power_cut_at_any_point_of_cleaning_loses_nothing() {
    let sim = fresh(64 * MIB);
    let files = churned(&sim, 7);
    sim.disk().record();
    clean(&sim);
    // What was freed is used again.
    sim.write_file(b"/last", &contents(0, 99, 500 * BLOCK))
        .unwrap();
    sim.sync().unwrap();
    assert!(number(&sim, "cleaned_blocks") > 0);
    let recording = sim.disk().recording();
    let count = recording.changes.len();
    for cut in (0..=count).step_by(count.div_ceil(150)) {
        let left: Image = recording.crash(cut, cut as u64);
        let crashed: Mounted = Sim::mount(SimDisk::from_image(left), 1).unwrap();
        verify(&crashed, &files);
        assert_no_errors(&crashed);
        check(&crashed.unmount().unwrap());
    }
}

#[test]
fn files_without_names_and_preallocated_space_and_holes_survive() {
    let sim = fresh(64 * MIB);
    let odd = sim.create(b"/odd", 0o644).unwrap();
    let unnamed = sim.create(b"/unnamed", 0o644).unwrap();
    let mut holes = vec![0; 64 * BLOCK as usize];
    for at in (0..64).step_by(2) {
        let data = contents(1, at, BLOCK);
        sim.write(&odd, at * BLOCK, &data).unwrap();
        holes[(at * BLOCK) as usize..][..BLOCK as usize].copy_from_slice(&data);
        sim.write(&unnamed, at * BLOCK, &data).unwrap();
    }
    let keep_size = FallocateMode::Allocate { keep_size: true };
    sim.fallocate(&odd, keep_size, 0, 128 * BLOCK).unwrap();
    sim.unlink(b"/unnamed").unwrap();
    let files = churned(&sim, 3);
    clean(&sim);
    assert!(number(&sim, "cleaned_blocks") > 0);
    verify(&sim, &files);
    assert_eq!(
        sim.read_file(b"/odd").unwrap()[..63 * BLOCK as usize],
        holes[..63 * BLOCK as usize]
    );
    let found = sim.read(&unnamed, 0, 63 * BLOCK as usize).unwrap();
    assert!(found == holes[..found.len()]);
    sim.close(odd);
    sim.close(unnamed);
    assert_no_errors(&sim);
    check(&sim.unmount().unwrap());
}

#[test]
fn a_block_with_a_wrong_checksum_stays_where_it_is() {
    let disk = formatted(64 * MIB);
    let sim: Mounted = Sim::mount(disk, 1).unwrap();
    let files = churned(&sim, 5);
    let disk = sim.unmount().unwrap();
    // A bit of every data block is turned over, whoever it belongs to.
    let mut image = disk.image();
    let sim: Mounted = Sim::mount(disk, 1).unwrap();
    for (file, index) in files.iter().zip(0..) {
        let Some((_, len)) = *file else { continue };
        let ino = sim.stat(&path(index)).unwrap().ino;
        for at in (0..len).step_by(BLOCK as usize) {
            let address_bytes = address_bytes(&sim, ino, at);
            let mut block = [0; BLOCK as usize];
            image.read(address_bytes, &mut block);
            block[0] ^= 1;
            image.write(address_bytes, &block);
        }
    }
    let live = number(&sim, "live_blocks");
    let sim: Mounted = Sim::mount(SimDisk::from_image(image), 1).unwrap();
    clean(&sim);
    assert_eq!(number(&sim, "cleaned_blocks"), 0, "nothing may be moved");
    assert_eq!(number(&sim, "live_blocks"), live);
    let errors = number(&sim, "errors");
    assert!(errors > 0);
    assert!(!sim.clean());
    assert_eq!(
        number(&sim, "errors"),
        errors,
        "each segment is reported once"
    );
    sim.write_file(b"/new", b"still writable").unwrap();
}

/// Where a block of a file lies.
fn address_bytes(sim: &Mounted, ino: Ino, offset_bytes: u64) -> u64 {
    sim.fs().load(ino).unwrap();
    let mapping = sim.fs().map(ino, offset_bytes, BLOCK, false).unwrap();
    sim.fs().forget(ino);
    match mapping.kind {
        MappingKind::Mapped { address_bytes } => address_bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_that_cannot_be_read_is_named() {
    let sim = fresh(64 * MIB);
    let files = churned(&sim, 7);
    let mut bad = Vec::new();
    for (file, index) in files.iter().zip(0..) {
        if file.is_some_and(|(_, len)| len > BLOCK) && index % 5 == 0 {
            let ino = sim.stat(&path(index)).unwrap().ino;
            let address = address_bytes(&sim, ino, BLOCK);
            sim.disk().make_unreadable(address);
            bad.push(format!(
                "inode {}: block 1 at {} can't be read",
                ino.0,
                address / BLOCK
            ));
        }
    }
    clean(&sim);
    let logged = sim.env().logged();
    let told = logged
        .iter()
        .filter(|(_, line)| line.contains("can't be read"));
    let lines: Vec<_> = told.map(|(_, line)| line).collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(bad.iter().any(|bad| line.contains(bad)), "{line}");
    }
    sim.disk().heal();
    verify(&sim, &files);
    check(&sim.unmount().unwrap());
}

#[test]
fn a_write_that_fails_ends_cleaning_and_changes_nothing() {
    let sim = fresh(64 * MIB);
    let files = churned(&sim, 6);
    let mut failed = false;
    for countdown in 0..3 {
        sim.disk()
            .fail(bento_sim::Operation::Write, countdown, false);
        failed |= !sim.clean();
        sim.disk().heal();
    }
    assert!(failed || number(&sim, "cleaned_blocks") > 0);
    clean(&sim);
    if sim.fs().statfs().is_ok() {
        verify(&sim, &files);
        check(&sim.unmount().unwrap());
    }
}

#[test]
fn what_is_overwritten_while_it_may_be_read_is_kept_until_that_is_settled() {
    let sim = fresh(64 * MIB);
    sim.write_file(b"/read", &contents(0, 0, MIB)).unwrap();
    sim.sync().unwrap();
    let free = || sim.fs().statfs().unwrap().blocks_free;
    let before = free();
    sim.env().set_reads_under_way(true);
    let file = sim.open(b"/read").unwrap();
    sim.write(&file, 0, &contents(0, 1, MIB)).unwrap();
    sim.fsync(&file).unwrap();
    assert_eq!(free(), before - MIB / BLOCK, "the old blocks are kept");
    assert!(sim.clean(), "they are to be settled");
    sim.sync().unwrap();
    assert_eq!(free(), before - MIB / BLOCK, "they may still be read");
    sim.clean();
    assert_eq!(free(), before - MIB / BLOCK, "that is not durable");
    sim.sync().unwrap();
    assert_eq!(free(), before);
    sim.close(file);
    assert_eq!(sim.read_file(b"/read").unwrap(), contents(0, 1, MIB));
    check(&sim.unmount().unwrap());
}
