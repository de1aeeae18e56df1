//! Running a scenario under many schedules.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Schedules that follow from one seed. What they do depends on their number in it: a failure is
/// shown again by running all of them.
const BATCH: u64 = 20;

/// Schedules of a scenario, unless `SCHEDULES` says otherwise.
const SCHEDULES: u64 = 40;

/// The first seed, unless `SCHEDULE_SEED` says otherwise.
const SEED: u64 = 1;

/// Times that a schedule takes the turn from the thread that it prefers. Few suffice for most bugs,
/// and find them with a chance that can be told (Burckhardt et al., ASPLOS 2010).
const PREEMPTIONS: usize = 3;

/// Logfs keeps far below that in a kernel; unoptimised code and the scheduler need more.
const STACK_BYTES: usize = 512 << 10;

/// Runs `scenario`, which gets a number for its own chance, under many schedules: half of them let any
/// thread go on at any time, half prefer threads and change that a few times.
///
/// `SCHEDULES` is how many, `SCHEDULE_SEED` where chance starts.
///
/// # Panics
/// If one fails; before that it says how to see it again.
pub fn explore(name: &str, scenario: fn(u64)) {
    let seed = number("SCHEDULE_SEED").unwrap_or(SEED);
    let batches = number("SCHEDULES").unwrap_or(SCHEDULES).div_ceil(BATCH);
    for seed in (seed..).take(usize::try_from(batches).unwrap_or(usize::MAX)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| run_batch(seed, scenario)));
        if let Err(panic) = outcome {
            eprintln!("again: SCHEDULE_SEED={seed} SCHEDULES={BATCH} with the test {name}");
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

fn run_batch(seed: u64, scenario: fn(u64)) {
    let count = BATCH as usize;
    if seed.is_multiple_of(2) {
        run(RandomScheduler::new_from_seed(seed, count), seed, scenario);
    } else {
        run(
            PctScheduler::new_from_seed(seed, PREEMPTIONS, count),
            seed,
            scenario,
        );
    }
}

fn run(scheduler: impl Scheduler + 'static, seed: u64, scenario: fn(u64)) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = FailurePersistence::None;
    let ran = AtomicU64::new(0);
    Runner::new(scheduler, config).run(move || {
        scenario(seed * BATCH + ran.fetch_add(1, Ordering::Relaxed));
    });
}
