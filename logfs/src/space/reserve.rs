//! Reservations: space that is promised but not taken yet.
//!
//! Data needs blocks of data segments (or clean ones). Metadata can go anywhere but prefers its own
//! segments. A part of the space, the *pool*, is kept for operations that free space or that
//! complete what was promised: they must not fail on a full disk.

use bento_api::{Errno, Result};

/// Counts in blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Balance {
    /// Free in data and clean segments.
    pub(crate) free_data: u64,
    /// Free in metadata segments.
    pub(crate) free_metadata: u64,
    /// Promised to data.
    pub(crate) reserved_data: u64,
    /// Promised to metadata.
    pub(crate) reserved_metadata: u64,
    /// Size of the pool.
    pub(crate) pool: u64,
    /// Kept for root, besides the pool.
    pub(crate) root_only: u64,
}

/// Who asks for space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// May not use what is kept for root.
    User,
    /// May.
    Root,
}

impl Balance {
    /// Blocks that could still be promised to data.
    pub(crate) fn available(&self) -> u64 {
        self.room(self.pool, self.kept_for_overwrites())
    }

    /// What of free blocks is left for a caller.
    fn left_for(&self, caller: Caller, blocks: u64) -> u64 {
        match caller {
            Caller::User => blocks.saturating_sub(self.root_only),
            Caller::Root => blocks,
        }
    }

    /// Blocks that could still be promised to data of users.
    pub(crate) fn available_to_users(&self) -> u64 {
        self.left_for(Caller::User, self.available())
    }

    /// Blocks that nobody uses and nothing was promised, the pool included.
    pub(crate) fn unused(&self) -> u64 {
        let promised = self.reserved_data + self.reserved_metadata;
        (self.free_data + self.free_metadata).saturating_sub(promised)
    }

    /// The part of the pool that lies in data segments.
    fn kept_for_overwrites(&self) -> u64 {
        self.pool / 4
    }

    /// Free blocks in data segments beyond what is promised and `kept`, with a `pool` that metadata
    /// segments need not hold alone.
    fn room(&self, pool: u64, kept: u64) -> u64 {
        let spill = (self.reserved_metadata + pool).saturating_sub(self.free_metadata);
        self.free_data
            .saturating_sub(self.reserved_data + spill + kept)
    }

    /// Whether a clean segment may become something that data can't use.
    pub(crate) fn can_spare(&self, blocks: u64) -> bool {
        self.available() >= blocks
    }

    /// Promises blocks to data. An overwrite frees as much as it takes, only later: it may use the
    /// pool, so that files can be changed and cut off within a block on a full disk.
    pub(crate) fn reserve_data(
        &mut self,
        blocks: u64,
        overwrites: bool,
        caller: Caller,
    ) -> Result<()> {
        let room = if overwrites {
            self.room(self.pool / 2, 0)
        } else {
            self.left_for(caller, self.available())
        };
        if room < blocks {
            return Err(Errno::ENOSPC);
        }
        self.reserved_data += blocks;
        Ok(())
    }

    /// Promises blocks to metadata. A privileged operation may use the pool, and gets what there is
    /// if that is not enough: most never need all that they ask for.
    pub(crate) fn reserve_metadata(
        &mut self,
        blocks: u64,
        privileged: bool,
        caller: Caller,
    ) -> Result<u64> {
        let pool = if privileged { 0 } else { self.pool };
        let kept = if privileged {
            0
        } else {
            self.kept_for_overwrites()
        };
        let spare = (self
            .free_metadata
            .saturating_sub(self.reserved_metadata + pool))
        .saturating_add(self.room(pool, kept));
        if self.left_for(caller, spare) < blocks && !privileged {
            return Err(Errno::ENOSPC);
        }
        let granted = blocks.min(spare);
        self.reserved_metadata += granted;
        Ok(granted)
    }
}
