//! Locks on directories, as the kernel takes them: shared to look a name up or list, exclusive to
//! change names, and one more while a rename finds out what is inside what.

use crate::Locks;
use bento_api::{Ino, Mutex, RwLock};

/// Directories share locks by number.
const LOCKS: usize = 64;

type Shared<'a, L> = <<L as Locks>::RwLock<()> as RwLock<()>>::Read<'a>;
type Exclusive<'a, L> = <<L as Locks>::RwLock<()> as RwLock<()>>::Write<'a>;
type Renames<'a, L> = <<L as Locks>::Mutex<()> as Mutex<()>>::Guard<'a>;

/// Lock order: [`renames`](NameLocks::renames), then the locks that [`share`](NameLocks::share) and
/// [`exclude`](NameLocks::exclude) take; nobody takes those twice.
pub(crate) struct NameLocks<L: Locks> {
    renames: L::Mutex<()>,
    directories: Vec<L::RwLock<()>>,
}

impl<L: Locks> NameLocks<L> {
    pub(crate) fn new() -> NameLocks<L> {
        NameLocks {
            renames: Mutex::new(()),
            directories: (0..LOCKS).map(|_| RwLock::new(())).collect(),
        }
    }

    /// While this is held, no directory moves.
    pub(crate) fn renames(&self) -> Renames<'_, L> {
        self.renames.lock()
    }

    /// Keeps the names of a directory as they are.
    pub(crate) fn share(&self, dir: Ino) -> Shared<'_, L> {
        self.directories[index(dir)].read()
    }

    /// Keeps everybody else away from the names of these directories.
    pub(crate) fn exclude(&self, dirs: &[Ino]) -> Vec<Exclusive<'_, L>> {
        let mut indexes: Vec<_> = dirs.iter().copied().map(index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let locks = indexes.iter().map(|&index| &self.directories[index]);
        locks.map(|lock| lock.write()).collect()
    }
}

fn index(dir: Ino) -> usize {
    dir.0 as usize % LOCKS
}
