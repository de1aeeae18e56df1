//! Bugs on purpose, to show that the tests of crashes would find such.
//!
//! With the feature `mutants` one of them can be planted; without it none of this is compiled, and
//! `planted!` is false. Nothing that users run is built with it.

use core::sync::atomic::{AtomicU32, Ordering};

macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        /// All of them.
        pub const ALL: &[Mutant] = &[$(Mutant::$name),+];
    };
}

mutants! {
    /// fsync returns at once.
    FsyncDoesNothing,
    /// A write does not count as a change of data: fdatasync has nothing to do.
    FdatasyncForgetsWrites,
    /// A log force does not flush the device.
    ForceUnflushed,
    /// Data without checksums is not flushed before the record that maps it.
    DirectUnflushed,
    /// Records claim no data.
    ClaimsForgotten,
    /// Each record says that it is durable itself: its claims are believed.
    ClaimsBelieved,
    /// A record leaves out the last block that its transaction has changed.
    RecordCutShort,
    /// The first record of a block after a checkpoint holds only what changed.
    RangesWithoutBlock,
    /// The log's tail moves on before the blocks are home.
    TailBeforeHome,
    /// Home writes are not flushed before the log's tail moves on.
    CheckpointUnflushed,
    /// Freed data blocks are used again at once.
    DataReusedEarly,
    /// Freed metadata blocks are used again at once.
    MetadataReusedEarly,
    /// A moved block is used again before its move is durable.
    MovedReusedEarly,
    /// Data is moved without asking whether it is still the file's.
    MovedUnverified,
    /// Records claim no data that was moved.
    MovedUnclaimed,
    /// The orphan list does not learn of inodes without names.
    OrphanForgotten,
    /// A rename to another directory is two transactions.
    RenameInSteps,
    /// Replay leaves out the last record.
    ReplayStopsEarly,
    /// Replay does not check that records are whole.
    RecordsUnverified,
    /// Records after a replay go on with the number that the first lost one had.
    NumbersReused,
    /// Replay empties the log before what it wrote is durable.
    ReplayUnflushed,
}

/// No bug.
const NONE: u32 = u32::MAX;

/// The bug that is planted in all mounts of this process.
static PLANTED: AtomicU32 = AtomicU32::new(NONE);

/// Plants a bug in all mounts of this process in place of the one before, or none.
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.store(
        mutant.map_or(NONE, |mutant| mutant as u32),
        Ordering::SeqCst,
    );
}

pub(crate) fn is_planted(mutant: Mutant) -> bool {
    PLANTED.load(Ordering::Relaxed) == mutant as u32
}
