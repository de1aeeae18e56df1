//! Locks that ask the scheduler.

use bento_api::{Event, Mutex, RwLock};
use bento_sim::Locks;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use shuttle::thread;

/// Turns that a thread lets others have at most while it waits for the disk.
const PAUSE_TURNS_MAX: u32 = 60;

/// Locks whose every use lets the scheduler choose who goes on. A thread that waits for what nobody
/// will give ends the schedule with a panic that names who waits.
pub struct ScheduledLocks;

impl Locks for ScheduledLocks {
    type Mutex<T: Send + 'static> = ScheduledMutex<T>;
    type RwLock<T: Send + Sync + 'static> = ScheduledRwLock<T>;
    type Event = ScheduledEvent;

    /// Now and then so long that others get far, as while a real disk works.
    fn pause() {
        let mut chance = thread_rng();
        let turns = match chance.gen_range(0..4) {
            0 => chance.gen_range(1..PAUSE_TURNS_MAX),
            _ => 1,
        };
        (0..turns).for_each(|_| thread::yield_now());
    }
}

/// See [`ScheduledLocks`].
pub struct ScheduledMutex<T>(shuttle::sync::Mutex<T>);

impl<T: Send> Mutex<T> for ScheduledMutex<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        ScheduledMutex(shuttle::sync::Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// See [`ScheduledLocks`]. A thread that takes it twice panics, even for reading: between the two a
/// writer may have come to wait.
pub struct ScheduledRwLock<T>(shuttle::sync::RwLock<T>);

impl<T: Send + Sync> RwLock<T> for ScheduledRwLock<T> {
    type Read<'a>
        = RwLockReadGuard<'a, T>
    where
        T: 'a;
    type Write<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        ScheduledRwLock(shuttle::sync::RwLock::new(value))
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// See [`ScheduledLocks`].
pub struct ScheduledEvent {
    notifications: ScheduledMutex<u64>,
    changed: Condvar,
}

impl Event for ScheduledEvent {
    fn new() -> Self {
        ScheduledEvent {
            notifications: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    fn ticket(&self) -> u64 {
        *self.notifications.lock()
    }

    fn wait(&self, ticket: u64) {
        let mut notifications = self.notifications.lock();
        while *notifications == ticket {
            notifications = self
                .changed
                .wait(notifications)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Time is up whenever the scheduler likes.
    fn wait_for(&self, ticket: u64, _limit_ns: u64) {
        while *self.notifications.lock() == ticket && thread_rng().gen_bool(0.8) {
            thread::yield_now();
        }
    }

    fn notify_all(&self) {
        *self.notifications.lock() += 1;
        self.changed.notify_all();
    }
}
