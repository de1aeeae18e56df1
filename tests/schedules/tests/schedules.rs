//! Scenarios with a few threads and a few operations each, under many schedules.
#![forbid(unsafe_code)]

use bento_api::FileSystem;
use bento_sim::Rng;
use schedules::{ALL_OPS, Op, Stage, Worker, explore};
use shuttle::thread;

/// What the rest of a machine does to a file system.
type Meanwhile = fn(&Stage, &mut Rng);

fn cut_power(stage: &Stage, rng: &mut Rng) {
    stage.cut_power(rng.next_u64());
}

/// Twice, since blocks get a second chance.
fn shrink(stage: &Stage, rng: &mut Rng) {
    let count = rng.below(400) as usize;
    stage.sim().fs().shrink(count);
    stage.sim().fs().shrink(count);
}

fn background(stage: &Stage, _: &mut Rng) {
    stage.sim().background();
}

fn sync(stage: &Stage, _: &mut Rng) {
    stage.sim().sync().expect("sync");
}

fn fill_log(stage: &Stage, _: &mut Rng) {
    stage.fill_log();
}

/// Lets `workers` threads do `count` operations each, while this one does what a machine does.
fn work(stage: &Stage, seed: u64, workers: u8, ops: &[Op], meanwhile: &[Meanwhile], count: u64) {
    thread::scope(|scope| {
        for number in 1..=workers {
            scope.spawn(move || Worker::new(stage, number, seed).work(ops, count));
        }
        let mut rng = Rng::new(!seed);
        for _ in 0..count {
            meanwhile[rng.below(meanwhile.len() as u64) as usize](stage, &mut rng);
        }
    });
}

#[test]
fn everything() {
    explore("everything", |seed| {
        let stage = Stage::set(seed);
        work(
            &stage,
            seed,
            3,
            ALL_OPS,
            &[cut_power, shrink, background, sync],
            8,
        );
        stage.leave(seed);
    });
}

/// One commit makes durable what several wait for.
#[test]
fn syncs_together() {
    const OPS: &[Op] = &[Op::Write, Op::Sync, Op::Sync, Op::Rename];
    explore("syncs_together", |seed| {
        let stage = Stage::set(seed);
        work(&stage, seed, 3, OPS, &[cut_power, sync], 6);
        stage.leave(seed);
    });
}

/// Blocks go home and leave the cache while they change, and the log's tail moves.
#[test]
fn checkpoints() {
    const OPS: &[Op] = &[Op::Write, Op::Sync, Op::Unlink, Op::Rename, Op::UseUnnamed];
    explore("checkpoints", |seed| {
        let stage = Stage::set(seed);
        // A checkpoint is due when half of the log is full.
        (0..15).for_each(|_| stage.fill_log());
        work(
            &stage,
            seed,
            2,
            OPS,
            &[background, fill_log, shrink, cut_power],
            10,
        );
        stage.leave(seed);
    });
}

/// Transactions so large that two operations do not fit into one, and a log that is full soon.
#[test]
fn large_transactions() {
    const OPS: &[Op] = &[Op::SetXattr, Op::SetXattr, Op::Unlink, Op::Write, Op::Sync];
    explore("large_transactions", |seed| {
        let stage = Stage::set(seed);
        work(&stage, seed, 3, OPS, &[fill_log, background, cut_power], 8);
        stage.leave(seed);
    });
}
