//! The log: what it says, and what to make of it if it is damaged.
//!
//! A damaged record in the middle looks like the log's end. What tells is a record behind it that
//! says how far everything was durable when it was written: if that includes the missing one,
//! the log has been whole once.

use crate::context::{Context, Images};
use crate::overlay::Overlay;
use crate::ring::RingView;
use crate::{Object, Problem};
use bento_api::{Device, Env, ReadRequest};
use logfs::recovery::{self, Recovered};
use logfs_format::{BLOCK_BYTES, Checkpoint, Superblock};
use std::collections::BTreeMap;

/// What is known of the log.
pub(crate) struct Log {
    pub(crate) state: State,
    /// What it says; `None` if nothing can be made of it.
    pub(crate) recovered: Option<Recovered>,
}

/// What is wrong with it.
pub(crate) enum State {
    Sound,
    /// A record is damaged, with so many transactions behind it that were durable.
    Broken {
        lost: u64,
    },
    /// No checkpoint says where it starts; the last records were found without. If one checkpoint
    /// is valid, but not the last one: `older`.
    NoStart {
        older: bool,
    },
    /// It cannot be applied.
    Unusable {
        error: String,
    },
}

impl Log {
    pub(crate) fn transactions(&self) -> u64 {
        self.recovered.as_ref().map_or(0, |log| log.transactions)
    }

    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.state, State::Sound)
            && self.recovered.as_ref().is_some_and(|log| log.is_clean)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.recovered.as_ref().is_none_or(|log| log.has_errors)
    }

    /// The blocks that it changes.
    pub(crate) fn blocks(&self) -> Images {
        self.recovered
            .as_ref()
            .map(|log| log.blocks.clone())
            .unwrap_or_default()
    }
}

/// Reads the log.
pub(crate) fn open<E: Env>(env: &E, superblock: &Superblock) -> Log {
    // What it would log is part of our own report.
    let quiet = Overlay::new(env, BTreeMap::new());
    let ring = RingView::new(env.device(), superblock);
    match recovery::read_log(&quiet, superblock) {
        Ok(log) if log.is_clean => Log {
            state: State::Sound,
            recovered: Some(log),
        },
        Ok(log) => match lost_behind(&quiet, superblock, &ring, &log) {
            0 => Log {
                state: State::Sound,
                recovered: Some(log),
            },
            _ if has_torn_checkpoint(env, superblock) => {
                from_last_run(env, superblock, &ring, true, String::new())
            }
            lost => Log {
                state: State::Broken { lost },
                recovered: Some(log),
            },
        },
        Err(error) => from_last_run(env, superblock, &ring, false, error.to_string()),
    }
}

/// Transactions behind the end of the log that were durable, as whole records there say.
fn lost_behind<E: Env>(
    env: &E,
    superblock: &Superblock,
    ring: &RingView<'_>,
    log: &Recovered,
) -> u64 {
    let Ok(checkpoint) = recovery::read_checkpoint(env, superblock) else {
        return 0;
    };
    let missing = checkpoint.tail_sequence.get() + log.transactions + log.dropped;
    let witness = ring
        .heads()
        .into_iter()
        .rev()
        .filter(|head| head.sequence > missing && head.durable_sequence >= missing)
        .find(|head| ring.whole(head).is_some());
    witness.map_or(0, |head| head.durable_sequence - missing + 1)
}

/// Whether one of the two checkpoint blocks holds something that is not valid.
fn has_torn_checkpoint<E: Env>(env: &E, superblock: &Superblock) -> bool {
    (superblock.log_start.get()..).take(2).any(|address| {
        let mut data = vec![0; BLOCK_BYTES];
        let offset_bytes = address * BLOCK_BYTES as u64;
        let buffer = &mut data;
        let read = env.device().read(&mut [ReadRequest {
            offset_bytes,
            buffer,
        }]);
        read.is_err() || Checkpoint::parse(&data, &superblock.header.uuid, address).is_err()
    })
}

/// Replays the last records that follow each other, as if a checkpoint had named the first.
fn from_last_run<E: Env>(
    env: &E,
    superblock: &Superblock,
    ring: &RingView<'_>,
    older: bool,
    error: String,
) -> Log {
    let has_checkpoint =
        older || recovery::read_checkpoint(&Overlay::new(env, BTreeMap::new()), superblock).is_ok();
    let run = ring.last_run();
    let Some(first) = run.first() else {
        let state = if has_checkpoint {
            State::Unusable { error }
        } else {
            State::NoStart { older }
        };
        return Log {
            state,
            recovered: None,
        };
    };
    let checkpoint = Checkpoint {
        number: 2.into(),
        tail_sequence: first.sequence.into(),
        tail_granule: first.granule.into(),
        ..bytemuck::Zeroable::zeroed()
    };
    let start = superblock.log_start.get();
    let mut image = vec![0; BLOCK_BYTES];
    checkpoint.write_to(&mut image, superblock.header.uuid, start);
    let blocks = BTreeMap::from([(start, image), (start + 1, vec![0; BLOCK_BYTES])]);
    match recovery::read_log(&Overlay::new(env, blocks), superblock) {
        Ok(recovered) if older || !has_checkpoint => Log {
            state: State::NoStart { older },
            recovered: Some(recovered),
        },
        Ok(recovered) => Log {
            state: State::Unusable { error },
            recovered: Some(recovered),
        },
        Err(again) => Log {
            state: State::Unusable {
                error: if error.is_empty() {
                    again.to_string()
                } else {
                    error
                },
            },
            recovered: None,
        },
    }
}

/// Reports what is wrong with the log. Answers whether to go on: without it nobody knows what is at
/// home.
pub(crate) fn report(ctx: &mut Context<'_>, log: &Log) -> bool {
    let transactions = log.transactions();
    let problem = match &log.state {
        State::Sound => return true,
        State::Broken { lost } => Problem::LogBroken { lost: *lost },
        State::NoStart { older: true } => Problem::CheckpointLost { transactions },
        State::NoStart { older: false } => Problem::CheckpointsDamaged { transactions },
        State::Unusable { error } => Problem::LogUnusable {
            error: error.clone(),
        },
    };
    ctx.fix(Object::Log, problem)
}
