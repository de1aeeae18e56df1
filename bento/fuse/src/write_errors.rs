//! Errors of writes that nobody waited for.

use bento_api::{Errno, Ino};
use parking_lot::Mutex;
use std::collections::HashMap;

/// The kernel reports the error of a write from its cache when the file is synced, and lets the
/// application fill the cache until then, however full the disk is. But each write to the cache asks
/// for the attributes first, once their validity is over: that is where the application gets the
/// error in time.
#[derive(Default)]
pub(crate) struct WriteErrors(Mutex<HashMap<Ino, Errno>>);

impl WriteErrors {
    /// A write from the kernel's cache has failed.
    pub(crate) fn note(&self, ino: Ino, error: Errno) {
        self.0.lock().insert(ino, error);
    }

    /// The error that is due, which counts as reported from now on.
    pub(crate) fn take(&self, ino: Ino) -> Option<Errno> {
        self.0.lock().remove(&ino)
    }
}
