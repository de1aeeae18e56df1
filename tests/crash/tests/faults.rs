//! logfs on a disk that fails: reads, writes and flushes, each of them once or from then on, at every
//! place of a workload. Nothing panics or hangs, the caller learns of it, what was promised before
//! is there afterwards, and there is nothing to repair.
#![forbid(unsafe_code)]

use bento_api::{Errno, FileSystem};
use bento_sim::{Operation, Rng, Sim, SimDisk};
use logfs_crash::base::Bases;
use logfs_crash::judge::Judge;
use logfs_crash::op::{Op, WholeOp};
use logfs_crash::run::{Base, History, Run};
use logfs_crash::state::{Builder, CrashState, enumerate};
use logfs_crash::tree::Mounted;

/// Some of everything, made durable in every way.
const WORKLOAD: &str = "create bar, write bar 0 9000, fsync bar, rename bar A/bar, fsync A, \
    mkdir C, write foo 0 8192, direct foo 8192 8192, fdatasync foo, setxattr A/foo 9000, \
    buffer A/foo 100 9000, unlink lnk, checkpoint, link A/foo C/foo, truncate A/foo 5000, sync, \
    punch foo 0 8192, allocate foo 30000 9000, rename A/bar foo, tmpfile A, \
    fsync foo, long-symlink C/long, rmdir B, wait, unlink-open foo, exchange A C, sync";

/// What a failing disk may make of an operation.
const ERRORS: &[Errno] = &[Errno::EIO, Errno::EROFS];

/// What the workload meets anyway once an operation before has failed.
const CONSEQUENCES: &[Errno] = &[Errno::ENOENT, Errno::EEXIST, Errno::ENOTDIR, Errno::EISDIR];

fn workload() -> Vec<Op> {
    WORKLOAD.split(',').map(|op| op.parse().unwrap()).collect()
}

fn small(bases: &Bases) -> &Base {
    bases.get("small").unwrap()
}

/// Does the workload on a disk that fails, and returns whether it did fail.
fn run_failing(base: &Base, operation: Operation, countdown: u64, lasting: bool) -> bool {
    let what = format!("{operation:?} {countdown}, lasting: {lasting}");
    let mut run = Run::start(base).unwrap();
    run.sim().disk().fail(operation, countdown, lasting);
    let mut failed = false;
    for op in &workload() {
        match run.apply(op) {
            Ok(()) => {}
            Err(errno) if ERRORS.contains(&errno) => failed = true,
            Err(errno) => assert!(
                failed && CONSEQUENCES.contains(&errno),
                "{what}: {op}: {errno}"
            ),
        }
    }
    let history = run.abandon();
    judge_end(&history, &what);
    failed
}

/// Judges what is on the disk in the end, with and without what was not flushed.
fn judge_end(history: &History, what: &str) {
    let end = history.recording.changes.len();
    let all = enumerate(&history.recording, end, &mut Rng::new(1));
    let most_lost = all.into_iter().max_by_key(|state| state.fates.len());
    let judge = Judge::new(history);
    let mut builder = Builder::new(&history.recording, 0);
    for state in [Some(CrashState::prefix(end)), most_lost]
        .into_iter()
        .flatten()
    {
        let image = builder.draft(&state).image();
        let oldest = history.oldest(state.returned(&history.recording));
        if let Err(violation) = judge.disk(&image, oldest, None) {
            panic!("{what}: {}: {}", violation.check, violation.detail);
        }
    }
}

/// How often the workload does something to the disk.
fn places(base: &Base, operation: Operation) -> u64 {
    let mut run = Run::start(base).unwrap();
    let before = run.sim().disk().counts();
    for op in &workload() {
        run.apply(op)
            .unwrap_or_else(|errno| panic!("{op}: {errno}"));
    }
    let counts = run.sim().disk().counts();
    run.finish().unwrap();
    match operation {
        Operation::Read => counts.reads - before.reads,
        Operation::Write => counts.writes - before.writes,
        Operation::Flush => counts.flushes - before.flushes,
        Operation::Discard => counts.discards - before.discards,
    }
}

/// Fails every read, write and flush of a mount that recovers, and judges what another one makes of it.
fn fail_recovery(history: &History, operation: Operation, lasting: bool) {
    let cut = history.starts.last().copied().unwrap();
    let state = CrashState::prefix(cut);
    let image = Builder::new(&history.recording, 0).draft(&state).image();
    let oldest = history.oldest(cut);
    let judge = Judge::new(history);
    for place in 0.. {
        let disk = SimDisk::from_image(image.clone());
        disk.fail(operation, place, lasting);
        let result = Sim::mount(disk.clone(), 1).and_then(|sim: Mounted| sim.unmount());
        disk.heal();
        if let Err(violation) = judge.disk(&disk.image(), oldest, None) {
            panic!("recovery, {operation:?} {place}: {violation:?}");
        }
        match result {
            Ok(_) => {
                assert!(place > 0, "nothing has failed");
                break;
            }
            Err(errno) => assert_eq!(errno, Errno::EIO, "recovery, {operation:?} {place}"),
        }
    }
}

#[test]
fn every_place_of_a_recovery_fails() {
    let bases = Bases::new().unwrap();
    let mut run = Run::start(small(&bases)).unwrap();
    for op in &workload() {
        run.apply(op).unwrap();
    }
    let history = run.finish().unwrap();
    for operation in [Operation::Read, Operation::Write, Operation::Flush] {
        for lasting in [false, true] {
            fail_recovery(&history, operation, lasting);
        }
    }
}

fn every_place(operation: Operation) {
    let bases = Bases::new().unwrap();
    let base = small(&bases);
    let places = places(base, operation);
    for lasting in [false, true] {
        let failing = (0..places).filter(|&place| run_failing(base, operation, place, lasting));
        let failed = failing.count();
        println!("{operation:?}, lasting: {lasting}: {failed} of {places} failed an operation");
        assert!(failed > 5, "hardly anything has failed");
    }
}

/// What the shutdown ioctl does, before each operation.
#[test]
fn a_shutdown_at_every_step_keeps_what_was_promised() {
    let bases = Bases::new().unwrap();
    let ops = workload();
    for step in 0..ops.len() {
        let mut run = Run::start(small(&bases)).unwrap();
        let (before, after) = ops.split_at(step);
        before.iter().for_each(|op| run.apply(op).unwrap());
        let changes = run.sim().disk().recorded();
        run.sim().fs().shutdown();
        for op in after {
            let result = run.apply(op);
            // Waiting for the background to commit has no result.
            let is_refused = result.is_err() || *op == Op::Whole(WholeOp::Wait);
            assert!(is_refused, "{op} after a shutdown: {result:?}");
        }
        let history = run.abandon();
        assert_eq!(history.recording.changes.len(), changes, "written later");
        judge_end(&history, &format!("shutdown before {}", after[0]));
    }
}

#[test]
fn every_read_fails() {
    every_place(Operation::Read);
}

#[test]
fn every_write_fails() {
    every_place(Operation::Write);
}

#[test]
fn every_flush_fails() {
    every_place(Operation::Flush);
}
