//! The environment of a simulated file system.

use crate::{HostLocks, Locks, Rng, SimDisk};
use bento_api::{Env, Event, Level, Time};
use bento_host::HostEvent;
use parking_lot::Mutex;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a simulation starts: 2023-11-14.
const START_SECONDS: i64 = 1_700_000_000;
/// Each look at a clock takes this long, so that two never show the same.
const TICK_NS: u64 = 1_000;
/// So does each use of the disk.
const DISK_NS: u64 = 100_000;
/// Nothing in memory takes this long: who waits longer waits for ever.
const DEADLOCK: Duration = Duration::from_secs(30);

/// [`Env`] on a [`SimDisk`] with a clock and randomness from a seed, and locks of the family `L`.
pub struct SimEnv<L = HostLocks> {
    shared: Arc<Shared>,
    locks: PhantomData<L>,
}

impl<L> Clone for SimEnv<L> {
    fn clone(&self) -> Self {
        SimEnv {
            shared: Arc::clone(&self.shared),
            locks: PhantomData,
        }
    }
}

struct Shared {
    disk: SimDisk,
    elapsed_ns: AtomicU64,
    rng: Mutex<Rng>,
    log: Mutex<Vec<(Level, String)>>,
    background_due: AtomicBool,
    may_use_reserve: AtomicBool,
    reads_under_way: AtomicBool,
}

impl SimEnv {
    /// An environment on `disk` with the locks of threads.
    pub fn new(disk: SimDisk, seed: u64) -> SimEnv {
        SimEnv::with_locks(disk, seed)
    }
}

impl<L> SimEnv<L> {
    /// An environment on `disk`.
    pub fn with_locks(disk: SimDisk, seed: u64) -> SimEnv<L> {
        SimEnv {
            locks: PhantomData,
            shared: Arc::new(Shared {
                disk,
                elapsed_ns: AtomicU64::new(0),
                rng: Mutex::new(Rng::new(seed)),
                log: Mutex::new(Vec::new()),
                background_due: AtomicBool::new(false),
                may_use_reserve: AtomicBool::new(true),
                reads_under_way: AtomicBool::new(false),
            }),
        }
    }

    /// Lets time pass.
    pub fn advance_clock(&self, elapsed: Duration) {
        let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.shared
            .elapsed_ns
            .fetch_add(elapsed_ns, Ordering::Relaxed);
    }

    /// Whether operations are from now on those of an administrator, as they are at first.
    pub fn set_may_use_reserve(&self, may: bool) {
        self.shared.may_use_reserve.store(may, Ordering::Relaxed);
    }

    /// Whether from now on somebody reads past all locks, as nobody does at first.
    pub fn set_reads_under_way(&self, under_way: bool) {
        self.shared
            .reads_under_way
            .store(under_way, Ordering::Relaxed);
    }

    /// What was logged so far.
    pub fn logged(&self) -> Vec<(Level, String)> {
        self.shared.log.lock().clone()
    }

    /// Whether background work was asked for since the last call.
    pub fn take_background_due(&self) -> bool {
        self.shared.background_due.swap(false, Ordering::Relaxed)
    }
}

impl<L: Locks> Env for SimEnv<L> {
    type Mutex<T: Send + 'static> = L::Mutex<T>;
    type RwLock<T: Send + Sync + 'static> = L::RwLock<T>;
    type Event = L::Event;
    type Device = SimDisk;

    fn device(&self) -> &SimDisk {
        L::pause();
        self.shared.elapsed_ns.fetch_add(DISK_NS, Ordering::Relaxed);
        &self.shared.disk
    }

    fn now(&self) -> Time {
        let elapsed_ns = self.monotonic_ns();
        Time {
            seconds: START_SECONDS + (elapsed_ns / 1_000_000_000) as i64,
            nanoseconds: (elapsed_ns % 1_000_000_000) as u32,
        }
    }

    fn monotonic_ns(&self) -> u64 {
        self.shared.elapsed_ns.fetch_add(TICK_NS, Ordering::Relaxed) + TICK_NS
    }

    fn random(&self) -> u64 {
        self.shared.rng.lock().next_u64()
    }

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc, bytes)
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        self.shared.log.lock().push((level, message.to_string()));
    }

    fn may_use_reserve(&self) -> bool {
        self.shared.may_use_reserve.load(Ordering::Relaxed)
    }

    fn reads_under_way(&self) -> bool {
        self.shared.reads_under_way.load(Ordering::Relaxed)
    }

    fn wake_background(&self) {
        self.shared.background_due.store(true, Ordering::Relaxed);
    }
}

/// An event on which nobody waits for ever: a simulation that would hang panics.
pub struct SimEvent(HostEvent);

impl Event for SimEvent {
    fn new() -> Self {
        SimEvent(HostEvent::new())
    }

    fn ticket(&self) -> u64 {
        self.0.ticket()
    }

    fn wait(&self, ticket: u64) {
        let notified = self.0.wait_until(ticket, Instant::now() + DEADLOCK);
        assert!(
            notified,
            "nobody notified an event for {DEADLOCK:?}: this would hang"
        );
    }

    fn wait_for(&self, ticket: u64, limit_ns: u64) {
        self.0.wait_for(ticket, limit_ns);
    }

    fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let run = |seed| {
            let env = SimEnv::new(SimDisk::new(4096), seed);
            env.advance_clock(Duration::from_millis(1500));
            (env.random(), env.now(), env.now(), env.monotonic_ns())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let (_, first, second, _) = run(1);
        assert!(first < second && first.seconds == START_SECONDS + 1);
    }

    #[test]
    fn crc32c_is_castagnoli() {
        let env = SimEnv::new(SimDisk::new(4096), 0);
        assert_eq!(env.crc32c(env.crc32c(0, b"12345"), b"6789"), 0xe306_9283);
    }
}
