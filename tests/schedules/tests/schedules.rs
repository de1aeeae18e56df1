//! Scenarios with a few threads and a few operations each, under many schedules.
#![forbid(unsafe_code)]

use bento_api::{Errno, FileSystem, MountOptions, Result};
use bento_sim::{Operation, Rng};
use schedules::{ALL_OPS, Op, Stage, Worker, delete_files, explore, use_files};
use shuttle::thread;

/// What the rest of a machine does to a file system.
type Meanwhile = fn(&Stage, &mut Rng) -> Result<()>;

fn cut_power(stage: &Stage, rng: &mut Rng) -> Result<()> {
    stage.cut_power(rng.next_u64());
    Ok(())
}

/// Twice, since blocks get a second chance.
fn shrink(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let count = rng.below(400) as usize;
    stage.sim().fs().shrink(count);
    stage.sim().fs().shrink(count);
    Ok(())
}

fn background(stage: &Stage, _: &mut Rng) -> Result<()> {
    stage.sim().background();
    Ok(())
}

fn sync(stage: &Stage, _: &mut Rng) -> Result<()> {
    stage.sim().sync()
}

fn fill_log(stage: &Stage, _: &mut Rng) -> Result<()> {
    stage.fill_log()
}

fn shut_down(stage: &Stage, _: &mut Rng) -> Result<()> {
    stage.sim().fs().shutdown();
    Ok(())
}

fn break_disk(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let operation = [Operation::Read, Operation::Write, Operation::Flush];
    let operation = operation[rng.below(3) as usize];
    stage
        .sim()
        .disk()
        .fail(operation, rng.below(20), rng.below(2) == 0);
    Ok(())
}

/// Who works on a stage, and on what.
struct Cast {
    workers: u8,
    ops: &'static [Op],
    meanwhile: &'static [Meanwhile],
    /// How many operations each does.
    count: u64,
    /// What makes a worker stop.
    expected: &'static [Errno],
}

impl Cast {
    /// Lets all of them work at the same time, each in a thread.
    fn perform(&self, stage: &Stage, seed: u64) {
        thread::scope(|scope| {
            for number in 1..=self.workers {
                let worker = Worker::new(stage, number, seed);
                scope.spawn(|| worker.work(self.ops, self.count, self.expected));
            }
            let mut rng = Rng::new(!seed);
            for _ in 0..self.count {
                let choice = rng.below(self.meanwhile.len() as u64);
                match self.meanwhile[choice as usize](stage, &mut rng) {
                    Err(errno) if !self.expected.contains(&errno) => panic!("{errno}"),
                    _ => {}
                }
            }
        });
    }
}

#[test]
fn everything() {
    const CAST: Cast = Cast {
        workers: 3,
        ops: ALL_OPS,
        meanwhile: &[cut_power, shrink, background, sync],
        count: 8,
        expected: &[],
    };
    explore("everything", |seed| {
        let stage = Stage::set(seed);
        CAST.perform(&stage, seed);
        stage.leave(seed);
    });
}

/// One commit makes durable what several wait for.
#[test]
fn syncs_together() {
    const CAST: Cast = Cast {
        workers: 3,
        ops: &[Op::Write, Op::Sync, Op::Sync, Op::Rename],
        meanwhile: &[cut_power, sync],
        count: 6,
        expected: &[],
    };
    explore("syncs_together", |seed| {
        let stage = Stage::set(seed);
        CAST.perform(&stage, seed);
        stage.leave(seed);
    });
}

/// Blocks go home and leave the cache while they change, and the log's tail moves.
#[test]
fn checkpoints() {
    const CAST: Cast = Cast {
        workers: 2,
        ops: &[Op::Write, Op::Sync, Op::Unlink, Op::Rename, Op::UseUnnamed],
        meanwhile: &[background, fill_log, shrink, cut_power],
        count: 10,
        expected: &[],
    };
    explore("checkpoints", |seed| {
        let stage = Stage::set(seed);
        // A checkpoint is due when half of the log is full.
        (0..15).for_each(|_| stage.fill_log().expect("there is space"));
        CAST.perform(&stage, seed);
        stage.leave(seed);
    });
}

/// Transactions so large that two operations do not fit into one, and a log that is full soon.
#[test]
fn large_transactions() {
    const CAST: Cast = Cast {
        workers: 3,
        ops: &[Op::SetXattr, Op::SetXattr, Op::Unlink, Op::Write, Op::Sync],
        meanwhile: &[fill_log, background, cut_power],
        count: 8,
        expected: &[],
    };
    explore("large_transactions", |seed| {
        let stage = Stage::set(seed);
        CAST.perform(&stage, seed);
        stage.leave(seed);
    });
}

/// Freed space is fought for, and what deletes always works.
#[test]
fn full_disk() {
    const CAST: Cast = Cast {
        workers: 3,
        ops: &[
            Op::Write,
            Op::Write,
            Op::Unlink,
            Op::Unlink,
            Op::Sync,
            Op::UseUnnamed,
            Op::Exchange,
        ],
        meanwhile: &[background, sync, cut_power],
        count: 8,
        expected: &[],
    };
    explore("full_disk", |seed| {
        let stage = Stage::set_full(seed);
        CAST.perform(&stage, seed);
        stage.leave(seed);
    });
}

/// Data moves while it is read, written and deleted.
#[test]
fn cleaning() {
    explore("cleaning", |seed| {
        let stage = Stage::set_holey(seed);
        thread::scope(|scope| {
            for owner in 1..=2 {
                let stage = &stage;
                scope.spawn(move || use_files(stage, owner, 6, seed));
            }
            for step in 0..10 {
                stage.sim().clean();
                if step % 4 == 0 {
                    stage.sim().sync().expect("it can be synced");
                    stage.cut_power(seed + step);
                }
            }
        });
        stage.leave(seed);
    });
}

/// Files are deleted while their data moves: each inode is freed once.
#[test]
fn cleaning_what_is_deleted() {
    explore("cleaning_what_is_deleted", |seed| {
        let stage = Stage::set_holey(seed);
        thread::scope(|scope| {
            scope.spawn(|| delete_files(&stage));
            for _ in 0..6 {
                stage.sim().clean();
            }
        });
        stage.leave(seed);
    });
}

/// Whoever misses the same blocks at the same time reads them once.
#[test]
fn reading_cold() {
    fn reads_of(readers: usize, seed: u64) -> u64 {
        let stage = Stage::set(seed);
        let before = stage.sim().disk().counts().reads;
        thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    for dir in [b"/a", b"/b"] {
                        stage.sim().readdir(dir).expect("reading works");
                    }
                });
            }
        });
        let reads = stage.sim().disk().counts().reads - before;
        stage.leave(seed);
        reads
    }
    explore("reading_cold", |seed| {
        let alone = reads_of(1, seed);
        assert!(alone > 0, "nothing is read");
        assert_eq!(reads_of(3, seed), alone);
    });
}

/// Whoever waits is told, and what was promised before is there.
#[test]
fn shutdowns_and_failing_disks() {
    const CAST: Cast = Cast {
        workers: 3,
        ops: ALL_OPS,
        meanwhile: &[sync, background, cut_power, break_disk, shut_down],
        count: 8,
        expected: &[Errno::EIO],
    };
    explore("shutdowns_and_failing_disks", |seed| {
        let stage = Stage::set(seed);
        CAST.perform(&stage, seed);
        stage.leave_whatever_was_logged(seed);
    });
}

/// When nobody writes any more, a remount leaves the device clean, whatever goes on in the background.
#[test]
fn read_only() {
    explore("read_only", |seed| {
        let stage = Stage::set(seed);
        let remount = |read_only| {
            let options = MountOptions {
                read_only,
                ..MountOptions::default()
            };
            stage
                .sim()
                .fs()
                .remount(&options)
                .expect("it can be remounted");
        };
        // Until a checkpoint is due.
        while !stage.sim().env().take_background_due() {
            stage.fill_log().expect("there is space");
        }
        thread::scope(|scope| {
            scope.spawn(|| stage.sim().background());
            scope.spawn(|| stage.sim().readdir(b"/a").expect("reading works"));
            remount(true);
        });
        assert!(stage.is_clean(), "the device does not look unmounted");
        remount(false);
        stage.leave(seed);
    });
}
