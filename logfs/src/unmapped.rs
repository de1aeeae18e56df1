//! Freeing the blocks that a file no longer maps.

use crate::LogFs;
use crate::data::is_regular;
use crate::inode::State;
use crate::journal::Run;
use crate::space::Unsettled;
use crate::tx::Tx;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Result};
use logfs_format::Extent;

/// Frees what extents map. Nobody reads there: the back end has waited for that.
pub(crate) fn free_extents<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    extents: &[Extent],
) -> Result<()> {
    let is_metadata = !is_regular(state);
    let mut runs = Vec::with_capacity(extents.len());
    for extent in extents {
        state.add_blocks(-i64::from(extent.len.get()));
        for_each_run(fs, extent, |run| {
            runs.push(run);
            Ok(())
        })?;
    }
    fs.space.free(tx, &mut runs, is_metadata)
}

/// Frees what extents map that was overwritten. A read that goes past all locks may have looked up
/// the old address; whoever looks it up from now on finds the new one.
pub(crate) fn free_overwritten<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    extents: &[Extent],
) -> Result<()> {
    if extents.is_empty() || !fs.env.reads_under_way() {
        return free_extents(fs, tx, state, extents);
    }
    let ino = state.ino;
    for extent in extents {
        state.add_blocks(-i64::from(extent.len.get()));
        for_each_run(fs, extent, |run| {
            let skipped = run.0 - extent.start.get();
            let file_block = extent.file_block.get() + skipped;
            let freed = Unsettled {
                ino,
                file_block,
                run,
            };
            fs.space.free_unsettled(tx, freed)
        })?;
    }
    fs.env.wake_background();
    Ok(())
}

/// Segments lie side by side, so an extent may run over into the next.
fn for_each_run<E: Env>(
    fs: &LogFs<E>,
    extent: &Extent,
    mut free: impl FnMut(Run) -> Result<()>,
) -> Result<()> {
    let len = u64::from(extent.len.get());
    let (mut start, end) = (extent.start.get(), extent.start.get() + len);
    while start < end {
        let (_, index) = fs.layout.segment_of(start).ok_or(Errno::EUCLEAN)?;
        let len = (end - start).min(u64::from(fs.layout.segment_blocks - index));
        free((start, len as u32))?;
        start += len;
    }
    Ok(())
}
