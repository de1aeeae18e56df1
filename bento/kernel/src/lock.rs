//! Sleeping locks.

use crate::{abi, escape};
use bento_api::{Mutex, RwLock};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

/// The kernel side of a lock.
struct RawLock(UnsafeCell<abi::bento_lock>);

// SAFETY: bento.ko changes the words of a lock atomically.
unsafe impl Send for RawLock {}
// SAFETY: as above.
unsafe impl Sync for RawLock {}

impl RawLock {
    const fn new() -> Self {
        RawLock(UnsafeCell::new(abi::bento_lock {
            state: 0,
            waiters: 0,
            writers: 0,
        }))
    }

    /// Doesn't return if the mount has failed: the lock may never come free.
    fn write(&self) {
        // SAFETY: the lock was made by `new` and lives as long as `self`.
        if !unsafe { abi::bento_lock_write(self.0.get()) } {
            escape::leave()
        }
    }

    fn read(&self) {
        // SAFETY: as in `write`.
        if !unsafe { abi::bento_lock_read(self.0.get()) } {
            escape::leave()
        }
    }
}

/// A [`Mutex`] that sleeps.
pub struct KernelMutex<T> {
    raw: RawLock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time.
unsafe impl<T: Send> Sync for KernelMutex<T> {}

impl<T: Send> Mutex<T> for KernelMutex<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        KernelMutex {
            raw: RawLock::new(),
            value: UnsafeCell::new(value),
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.write();
        MutexGuard { mutex: self }
    }
}

/// Access to what a [`KernelMutex`] protects.
pub struct MutexGuard<'a, T> {
    mutex: &'a KernelMutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard held the lock for writing.
        unsafe { abi::bento_unlock_write(self.mutex.raw.0.get()) }
    }
}

/// An [`RwLock`] that sleeps.
pub struct KernelRwLock<T> {
    raw: RawLock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one writer or by readers only, and may move between threads.
unsafe impl<T: Send + Sync> Sync for KernelRwLock<T> {}

impl<T: Send + Sync> RwLock<T> for KernelRwLock<T> {
    type Read<'a>
        = ReadGuard<'a, T>
    where
        T: 'a;
    type Write<'a>
        = WriteGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        KernelRwLock {
            raw: RawLock::new(),
            value: UnsafeCell::new(value),
        }
    }

    fn read(&self) -> ReadGuard<'_, T> {
        self.raw.read();
        ReadGuard { lock: self }
    }

    fn write(&self) -> WriteGuard<'_, T> {
        self.raw.write();
        WriteGuard { lock: self }
    }
}

/// Shared access to what a [`KernelRwLock`] protects.
pub struct ReadGuard<'a, T> {
    lock: &'a KernelRwLock<T>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, and nobody writes.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard held the lock for reading.
        unsafe { abi::bento_unlock_read(self.lock.raw.0.get()) }
    }
}

/// Exclusive access to what a [`KernelRwLock`] protects.
pub struct WriteGuard<'a, T> {
    lock: &'a KernelRwLock<T>,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard held the lock for writing.
        unsafe { abi::bento_unlock_write(self.lock.raw.0.get()) }
    }
}
