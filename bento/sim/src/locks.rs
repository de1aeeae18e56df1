//! What a simulation locks and waits with.

use crate::SimEvent;
use bento_api::{Event, Mutex, RwLock};
use bento_host::{HostMutex, HostRwLock};

/// A family of locks. [`HostLocks`] are those of threads; a test that wants to decide which thread
/// runs brings its own.
pub trait Locks: Send + Sync + 'static {
    /// The mutex.
    type Mutex<T: Send + 'static>: Mutex<T>;
    /// The read-write lock.
    type RwLock<T: Send + Sync + 'static>: RwLock<T>;
    /// The event.
    type Event: Event;

    /// Called before each use of the disk, which in a machine takes so long that other threads get
    /// their turn.
    fn pause() {}
}

/// The locks of threads.
#[derive(Clone, Copy, Debug)]
pub struct HostLocks;

impl Locks for HostLocks {
    type Mutex<T: Send + 'static> = HostMutex<T>;
    type RwLock<T: Send + Sync + 'static> = HostRwLock<T>;
    type Event = SimEvent;
}
