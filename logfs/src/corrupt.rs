//! What happens when the device fails or holds damage.

use alloc::string::String;
use bento_api::{Env, Errno, Level, Mutex, Result};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What to do when damage is found: the mount option `errors=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum OnError {
    /// Refuse all further changes.
    RemountReadOnly = 0,
    /// Refuse everything from then on.
    Shutdown = 1,
    /// Only the operation that met it fails.
    Continue = 2,
}

/// Reports damage and remembers what follows from it.
pub(crate) struct Reporter<E: Env> {
    env: E,
    on_error: AtomicU8,
    /// The administrator wants no changes.
    read_only: AtomicBool,
    /// `errors=remount-ro` wants no more changes.
    stopped: AtomicBool,
    /// Nothing works any more and nothing is written.
    shut_down: AtomicBool,
    /// Damage was found: the next checkpoint says so on disk.
    damaged: AtomicBool,
    errors: E::Mutex<Errors>,
}

/// What has gone wrong since the mount: damage, and what led to a shutdown.
#[derive(Default)]
struct Errors {
    count: u64,
    last: String,
}

impl<E: Env> Reporter<E> {
    pub(crate) fn new(env: E, on_error: OnError, read_only: bool) -> Reporter<E> {
        Reporter {
            env,
            on_error: AtomicU8::new(on_error as u8),
            read_only: AtomicBool::new(read_only),
            stopped: AtomicBool::new(false),
            shut_down: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            errors: Mutex::new(Errors::default()),
        }
    }

    /// Says what has gone wrong, and keeps it.
    fn error(&self, what: fmt::Arguments<'_>) {
        self.env.log(Level::Error, what);
        let mut errors = self.errors.lock();
        errors.count += 1;
        errors.last = alloc::format!("{what}");
        self.env.trace("error", &[("errors", errors.count)]);
    }

    /// How many errors there have been.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.lock().count
    }

    /// What the last of them was, and where; empty if there was none.
    pub(crate) fn last_error(&self) -> String {
        self.errors.lock().last.clone()
    }

    pub(crate) fn on_error(&self) -> OnError {
        match self.on_error.load(Ordering::Relaxed) {
            1 => OnError::Shutdown,
            2 => OnError::Continue,
            _ => OnError::RemountReadOnly,
        }
    }

    pub(crate) fn set_on_error(&self, on_error: OnError) {
        self.on_error.store(on_error as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Whether nothing may be written at all. After `errors=remount-ro` what was changed before may.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Whether damage has put an end to changes: `errors=remount-ro`.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether nothing may be changed.
    pub(crate) fn is_unchangeable(&self) -> bool {
        self.is_read_only() || self.is_stopped()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }

    /// `EIO` after a shutdown.
    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.is_shut_down() {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    /// `EIO` after a shutdown, `EROFS` if nothing may change.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_alive()?;
        if self.is_unchangeable() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Damage on disk: says what is damaged, does what `errors=` asks for and returns the error.
    pub(crate) fn corrupt(&self, what: fmt::Arguments<'_>) -> Errno {
        self.error(format_args!("damaged: {what}; run fsck.logfs"));
        self.damaged.store(true, Ordering::Relaxed);
        match self.on_error() {
            OnError::Continue => {}
            OnError::RemountReadOnly => {
                if !self.stopped.swap(true, Ordering::Relaxed) {
                    self.env
                        .log(Level::Error, format_args!("no more changes are accepted"));
                }
            }
            OnError::Shutdown => self.shut_down(what),
        }
        Errno::EUCLEAN
    }

    /// File data is damaged, which does no harm to anything else.
    pub(crate) fn bad_data(&self, what: fmt::Arguments<'_>) {
        self.error(format_args!(
            "damaged data: {what}; run fsck.logfs --check-data"
        ));
    }

    /// Stops everything: a state in memory that can't be trusted must never reach the device.
    pub(crate) fn shut_down(&self, why: fmt::Arguments<'_>) {
        if !self.shut_down.swap(true, Ordering::AcqRel) {
            self.error(format_args!("shut down: {why}"));
        }
    }
}
