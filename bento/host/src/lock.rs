//! Locks and events of user space. They don't poison: a file system that has panicked is shut
//! off by its back end, and nobody must wait for what it held.

use bento_api::{Event, Mutex, RwLock};
use parking_lot::{Condvar, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// [`bento_api::Mutex`] for threads of a process.
pub struct HostMutex<T>(parking_lot::Mutex<T>);

impl<T: Send> Mutex<T> for HostMutex<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        HostMutex(parking_lot::Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}

/// [`bento_api::RwLock`] for threads of a process.
pub struct HostRwLock<T>(parking_lot::RwLock<T>);

impl<T: Send + Sync> RwLock<T> for HostRwLock<T> {
    type Read<'a>
        = RwLockReadGuard<'a, T>
    where
        T: 'a;
    type Write<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        HostRwLock(parking_lot::RwLock::new(value))
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write()
    }
}

/// [`bento_api::Event`] for threads of a process.
pub struct HostEvent {
    notifications: parking_lot::Mutex<u64>,
    changed: Condvar,
}

impl HostEvent {
    /// Like [`Event::wait`], but gives up at `deadline` and answers false.
    pub fn wait_until(&self, ticket: u64, deadline: std::time::Instant) -> bool {
        let mut notifications = self.notifications.lock();
        while *notifications == ticket {
            if self
                .changed
                .wait_until(&mut notifications, deadline)
                .timed_out()
            {
                return *notifications != ticket;
            }
        }
        true
    }
}

impl Event for HostEvent {
    fn new() -> Self {
        HostEvent {
            notifications: parking_lot::Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    fn ticket(&self) -> u64 {
        *self.notifications.lock()
    }

    fn wait(&self, ticket: u64) {
        let mut notifications = self.notifications.lock();
        while *notifications == ticket {
            self.changed.wait(&mut notifications);
        }
    }

    fn wait_for(&self, ticket: u64, limit_ns: u64) {
        let limit = std::time::Duration::from_nanos(limit_ns);
        self.wait_until(ticket, std::time::Instant::now() + limit);
    }

    fn notify_all(&self) {
        *self.notifications.lock() += 1;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_notification_after_the_ticket_is_not_missed() {
        let event = HostEvent::new();
        let ticket = event.ticket();
        event.notify_all();
        event.wait(ticket);
        assert!(event.wait_until(ticket, Instant::now()));
        assert!(!event.wait_until(event.ticket(), Instant::now() + Duration::from_millis(5)));
    }

    #[test]
    fn a_waiter_is_woken() {
        let event = HostEvent::new();
        let ticket = event.ticket();
        std::thread::scope(|scope| {
            scope.spawn(|| event.wait(ticket));
            std::thread::sleep(Duration::from_millis(5));
            event.notify_all();
        });
    }
}
