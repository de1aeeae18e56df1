//! The services that a file system may ask of what it runs on.

use crate::{Result, Time};
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A sleeping mutual exclusion lock. Whoever holds it may sleep, allocate and do I/O.
pub trait Mutex<T>: Send + Sync {
    /// Access to the value; unlocks when dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a,
        T: 'a;

    /// A new lock over `value`.
    fn new(value: T) -> Self;

    /// Waits until the lock is free and takes it.
    fn lock(&self) -> Self::Guard<'_>;
}

/// A sleeping lock for many readers or one writer.
pub trait RwLock<T>: Send + Sync {
    /// Shared access; unlocks when dropped.
    type Read<'a>: Deref<Target = T>
    where
        Self: 'a,
        T: 'a;
    /// Exclusive access; unlocks when dropped.
    type Write<'a>: DerefMut<Target = T>
    where
        Self: 'a,
        T: 'a;

    /// A new lock over `value`.
    fn new(value: T) -> Self;

    /// Waits until no writer holds the lock and shares it.
    fn read(&self) -> Self::Read<'_>;

    /// Waits until nobody holds the lock and takes it.
    fn write(&self) -> Self::Write<'_>;
}

/// Something to wait for. The waiter takes a [`ticket`](Event::ticket) while it still holds the
/// lock under which it looked at its condition, lets the lock go, and waits; a notification
/// after the ticket was taken is never missed.
pub trait Event: Send + Sync {
    /// A new event that nobody has notified.
    fn new() -> Self;

    /// The number of notifications so far.
    fn ticket(&self) -> u64;

    /// Sleeps until there has been a notification since `ticket` was taken.
    fn wait(&self, ticket: u64);

    /// Like [`wait`](Event::wait), but for about `limit_ns` nanoseconds at most.
    fn wait_for(&self, ticket: u64, limit_ns: u64);

    /// Counts a notification and wakes everybody who waits.
    fn notify_all(&self);
}

/// What a block device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The size in bytes.
    pub size_bytes: u64,
    /// The smallest unit of I/O in bytes: a power of two from 512 to 4096.
    pub sector_bytes: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// [`Device::discard`] does something.
    pub can_discard: bool,
}

/// One contiguous read. Offset and length are multiples of the sector size.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// Where on the device, in bytes.
    pub offset_bytes: u64,
    /// Filled with what is there.
    pub buffer: &'a mut [u8],
}

/// One contiguous write. Offset and length are multiples of the sector size.
#[derive(Debug)]
pub struct WriteRequest<'a> {
    /// Where on the device, in bytes.
    pub offset_bytes: u64,
    /// What to write.
    pub data: &'a [u8],
}

/// A block device. Each call returns when all of its requests are done; requests of one call
/// may reach the device in any order.
pub trait Device: Send + Sync {
    /// Size, sector size and abilities.
    fn geometry(&self) -> Geometry;

    /// Reads every request. On an error the contents of the buffers are unspecified.
    fn read(&self, requests: &mut [ReadRequest<'_>]) -> Result<()>;

    /// Says that a range will be read soon. A device that can't make use of that ignores it.
    fn read_ahead(&self, offset_bytes: u64, len_bytes: u64) {
        let _ = (offset_bytes, len_bytes);
    }

    /// Writes every request. Without a later [`flush`](Device::flush) nothing is durable.
    fn write(&self, requests: &[WriteRequest<'_>]) -> Result<()>;

    /// Writes one request and returns when it alone is durable (forced unit access): other
    /// writes may still sit in the device's cache.
    fn write_durable(&self, request: &WriteRequest<'_>) -> Result<()>;

    /// Makes every write that has completed durable.
    fn flush(&self) -> Result<()>;

    /// Tells the device that a range holds nothing of worth. A device that can't ignores it.
    fn discard(&self, offset_bytes: u64, len_bytes: u64) -> Result<()>;
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Damage or lost data.
    Error,
    /// Something that the administrator should look at.
    Warning,
    /// Mounts, recoveries and the like.
    Info,
    /// For whoever debugs the file system.
    Debug,
}

/// What a mounted file system runs on: the device it is mounted from, locks, time, randomness,
/// checksums and the log. Cloning gives another handle to the same environment.
pub trait Env: Clone + Send + Sync + Sized + 'static {
    /// The back end's mutex.
    type Mutex<T: Send + 'static>: Mutex<T>;
    /// The back end's read-write lock.
    type RwLock<T: Send + Sync + 'static>: RwLock<T>;
    /// The back end's event.
    type Event: Event;
    /// The back end's block device.
    type Device: Device;

    /// The device that this mount is on. A file system without a device does not call it.
    fn device(&self) -> &Self::Device;

    /// Wall-clock time.
    fn now(&self) -> Time;

    /// Nanoseconds since some fixed point; never goes back.
    fn monotonic_ns(&self) -> u64;

    /// Sixty-four unpredictable bits.
    fn random(&self) -> u64;

    /// CRC-32C (Castagnoli) of `bytes`, continuing from `crc`: `crc32c(crc32c(0, a), b)` is the
    /// checksum of `a` followed by `b`, and `crc32c(0, b"123456789")` is `0xe3069283`.
    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32;

    /// Writes a line to the system's log, with the file system and device named before it.
    fn log(&self, level: Level, message: fmt::Arguments<'_>);

    /// Tells whoever traces that something has happened, with up to three values and their names.
    /// Costs next to nothing if nobody does.
    fn trace(&self, event: &'static str, values: &[(&'static str, u64)]) {
        let _ = (event, values);
    }

    /// Whether whoever asks for what is being done may use space that is kept for the administrator
    /// (`CAP_SYS_RESOURCE`). Background work may.
    fn may_use_reserve(&self) -> bool;

    /// Whether reads of file data may be under way that no lock protects: they have looked up an
    /// address that the caller of the file system has replaced. Asked by who has just mapped a block
    /// anew, before the old one is freed; true when in doubt.
    fn reads_under_way(&self) -> bool {
        false
    }

    /// Asks that [`FileSystem::background`](crate::FileSystem::background) be called soon.
    fn wake_background(&self);
}
