//! What an inode has only while somebody works with it.

use super::{Delayed, Piece, Placed, State};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Of an inode that is written or, a directory, changed. In memory of its own: most inodes that the
/// kernel keeps are only looked at.
#[derive(Default)]
pub(crate) struct InUse {
    /// Blocks with a promise of space.
    pub(crate) delayed: Delayed,
    /// Blocks with an address whose I/O is under way.
    pub(crate) placed: Placed,
    /// Its slot in the orphan list, if it is there.
    pub(crate) orphan: Option<(u64, u32)>,
    /// Directories: blocks that had room when last looked at, lowest first.
    pub(crate) roomy: Vec<u32>,
    /// Directories: a block, and an entry's offset in it before which no entry has room to give.
    pub(crate) packed: Option<(u64, usize)>,
}

// The kernel gives memory of 128 bytes, and then of 192.
const _: () = assert!(size_of::<InUse>() <= 128);

/// Of all others.
static UNUSED: InUse = InUse {
    delayed: Delayed::new(),
    placed: Placed::new(),
    orphan: None,
    roomy: Vec::new(),
    packed: None,
};

impl State {
    /// What it has while it is worked with, to look at.
    pub(crate) fn in_use(&self) -> &InUse {
        self.in_use.as_deref().unwrap_or(&UNUSED)
    }

    /// The same to add to.
    pub(crate) fn in_use_mut(&mut self) -> &mut InUse {
        self.in_use.get_or_insert_with(Box::default)
    }

    /// The same to take from, if there is something.
    pub(crate) fn in_use_now(&mut self) -> Option<&mut InUse> {
        self.in_use.as_deref_mut()
    }

    /// Ends what is delayed in a range; how many of its blocks had a promise of space.
    pub(crate) fn remove_delayed(&mut self, start: u64, end: u64) -> u64 {
        self.in_use_now()
            .map_or(0, |in_use| in_use.delayed.remove(start, end))
    }

    /// Takes the first run that is placed in a range, or its part in it.
    pub(crate) fn remove_placed(&mut self, start: u64, end: u64) -> Option<Piece> {
        self.in_use_now()?.placed.remove_first(start, end)
    }
}
