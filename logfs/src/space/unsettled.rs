//! Blocks that were freed and may still be read, by whoever got their address before. The back end has
//! to settle that (`FileSystem::clean`) before they can be used again.

use super::Space;
use crate::journal::Run;
use crate::sort::sort_by_key;
use crate::tx::Tx;
use alloc::vec::Vec;
use bento_api::{Env, Mutex, Result};

/// A run, and which part of which file it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unsettled {
    pub(crate) ino: u64,
    pub(crate) file_block: u64,
    pub(crate) run: Run,
}

impl<E: Env> Space<E> {
    /// Frees blocks whose data has moved. They stay busy until [`Tx::freed`] says that they are settled.
    pub(crate) fn free_moved(&self, tx: &Tx<'_, E>, run: Run) -> Result<()> {
        let mut state = self.state.lock();
        let (segment, range) = self.locate(run)?;
        self.set_live(tx, &mut state, &[run], false)?;
        if !planted!(MovedReusedEarly) {
            state.set_busy(&self.layout, segment, range, true);
        }
        Ok(())
    }

    /// Frees blocks whose data was overwritten while reads were under way, and notes them for
    /// [`take_unsettled`](Space::take_unsettled).
    pub(crate) fn free_unsettled(&self, tx: &Tx<'_, E>, freed: Unsettled) -> Result<()> {
        self.free_moved(tx, freed.run)?;
        self.state.lock().unsettled.push(freed);
        Ok(())
    }

    /// What was noted, of so many files at most, sorted by file.
    pub(crate) fn take_unsettled(&self, files_max: usize) -> Vec<Unsettled> {
        let mut state = self.state.lock();
        let mut all = core::mem::take(&mut state.unsettled);
        sort_by_key(&mut all, |&unsettled| unsettled);
        let taken: usize = all
            .chunk_by(|a, b| a.ino == b.ino)
            .take(files_max)
            .map(<[Unsettled]>::len)
            .sum();
        state.unsettled = all.split_off(taken);
        all
    }
}
