//! A disk that fills up at every step of a workload: what was reported written is there, and everything
//! can be deleted.
#![forbid(unsafe_code)]

use bento_api::{Errno, FileKind, FileSystem};
use bento_sim::{Sim, SimDisk};
use logfs_crash::base::Bases;
use logfs_crash::judge::Judge;
use logfs_crash::op::{Op, PathOp, RangeOp};
use logfs_crash::run::{Base, History, Run};
use logfs_crash::state::{Builder, CrashState};
use logfs_crash::tree::{Mounted, Tree};

/// Operations that take space, each in a way of its own.
const WORKLOAD: &str = "create bar, write bar 0 50000, fsync bar, mkdir C, create C/bar, \
    direct foo 8192 40960, setxattr A/foo 9000, buffer A/foo 100 30000, fsync A/foo, \
    allocate foo 70000 60000, rename bar A/bar, write foo 0 9000, long-symlink C/long, \
    zero A/bar 3000 20000, write A/bar 100 40000, truncate A/bar 5000, setxattr foo 20000, \
    exchange A C, buffer bar 0 9000, sync";

/// What an operation may answer on a full disk, and where one before has answered that.
const EXPECTED: &[Errno] = &[Errno::ENOSPC, Errno::ENOENT, Errno::EEXIST];

/// Free space that the workload meets, in blocks.
const SPARE_BLOCKS: u64 = 112;

fn run(base: &Base, taken_blocks: u64) -> History {
    let mut run = Run::start(base).unwrap();
    run.apply(&Op::path(PathOp::Create, "B/spare")).unwrap();
    let taken = Op::range(RangeOp::Allocate, "B/spare", 0, taken_blocks * 4096);
    let ops = WORKLOAD.split(',').map(|op| op.parse().unwrap());
    for op in [taken].into_iter().chain(ops) {
        if let Err(errno) = run.apply(&op) {
            let what = format!("{taken_blocks} blocks taken: {op}: {errno}");
            assert!(EXPECTED.contains(&errno), "{what}");
        }
    }
    run.finish()
        .unwrap_or_else(|what| panic!("{taken_blocks} blocks taken: {what}"))
}

fn delete_below(sim: &Mounted, dir: &[u8]) {
    for entry in sim.readdir(dir).unwrap() {
        let path = [dir, b"/", &entry.name].concat();
        let deleted = if entry.kind == FileKind::Directory {
            delete_below(sim, &path);
            sim.rmdir(&path)
        } else {
            sim.unlink(&path)
        };
        deleted.unwrap_or_else(|errno| panic!("{}: {errno}", String::from_utf8_lossy(&path)));
    }
}

/// Deletes everything, after which all space is free.
fn delete_all(history: &History, taken_blocks: u64) {
    let end = CrashState::prefix(history.recording.changes.len());
    let image = Builder::new(&history.recording, 0).draft(&end).image();
    let oldest = history.states.len() - 1;
    if let Err(violation) = Judge::new(history).disk(&image, oldest, None) {
        panic!("{taken_blocks} blocks taken: {violation:?}");
    }
    let sim: Mounted = Sim::mount(SimDisk::from_image(image), 1).unwrap();
    delete_below(&sim, b"");
    assert_eq!(Tree::read(&sim), Ok(Tree::default()));
    // What was freed becomes available when the log no longer mentions it.
    let sim: Mounted = Sim::mount(sim.unmount().unwrap(), 1).unwrap();
    let space = sim.fs().statfs().unwrap();
    let in_use = space.blocks - space.blocks_free;
    assert!(in_use < 20, "{in_use} blocks of nobody are in use");
    sim.unmount().unwrap();
}

#[test]
fn the_disk_fills_up_at_every_step() {
    let bases = Bases::new().unwrap();
    for name in ["full", "mixed"] {
        let base = bases.get(name).unwrap();
        for taken_blocks in (1..SPARE_BLOCKS).step_by(3) {
            delete_all(&run(base, taken_blocks), taken_blocks);
        }
    }
}
