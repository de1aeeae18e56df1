//! Freeing the blocks that a file no longer maps.

use crate::LogFs;
use crate::data::is_regular;
use crate::inode::State;
use crate::journal::Run;
use crate::space::Unsettled;
use crate::tx::Tx;
use bento_api::{Env, Errno, Result};
use logfs_format::Extent;

/// Frees what an extent maps. Nobody reads there: the back end has waited for that.
pub(crate) fn free_extent<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    extent: Extent,
) -> Result<()> {
    let is_metadata = !is_regular(state);
    free_runs(fs, state, extent, |run| fs.space.free(tx, run, is_metadata))
}

/// Frees what an extent maps that was overwritten. A read that goes past all locks may have looked up
/// the old address; whoever looks it up from now on finds the new one.
pub(crate) fn free_overwritten<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    extent: Extent,
) -> Result<()> {
    if !fs.env.reads_under_way() {
        return free_extent(fs, tx, state, extent);
    }
    let ino = state.ino;
    free_runs(fs, state, extent, |run| {
        let skipped = run.0 - extent.start.get();
        let file_block = extent.file_block.get() + skipped;
        let freed = Unsettled {
            ino,
            file_block,
            run,
        };
        fs.space.free_unsettled(tx, freed)
    })?;
    fs.env.wake_background();
    Ok(())
}

/// Segments lie side by side, so an extent may run over into the next.
fn free_runs<E: Env>(
    fs: &LogFs<E>,
    state: &mut State,
    extent: Extent,
    free: impl Fn(Run) -> Result<()>,
) -> Result<()> {
    let len = u64::from(extent.len.get());
    state.add_blocks(-(len as i64));
    let (mut start, end) = (extent.start.get(), extent.start.get() + len);
    while start < end {
        let (_, index) = fs.layout.segment_of(start).ok_or(Errno::EUCLEAN)?;
        let len = (end - start).min(u64::from(fs.layout.segment_blocks - index));
        free((start, len as u32))?;
        start += len;
    }
    Ok(())
}
