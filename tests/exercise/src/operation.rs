//! What is done to the file, chosen by chance.

use crate::buffer::ALIGN_BYTES;
use std::fmt;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
    DirectWrite,
    DirectRead,
    Append,
    Truncate,
    Allocate,
    AllocateKeepSize,
    PunchHole,
    ZeroRange,
    ZeroRangeKeepSize,
    SeekData,
    Fsync,
    Fdatasync,
    DropPages,
    Reopen,
}

/// How often each is done, in a thousand.
const WEIGHTS: &[(Kind, u32)] = &[
    (Kind::Write, 245),
    (Kind::Read, 200),
    (Kind::DirectWrite, 120),
    (Kind::DirectRead, 120),
    (Kind::Append, 40),
    (Kind::Truncate, 80),
    (Kind::Allocate, 15),
    (Kind::AllocateKeepSize, 15),
    (Kind::PunchHole, 50),
    (Kind::ZeroRange, 15),
    (Kind::ZeroRangeKeepSize, 15),
    (Kind::SeekData, 20),
    (Kind::Fsync, 5),
    (Kind::Fdatasync, 5),
    (Kind::DropPages, 25),
    (Kind::Reopen, 30),
];

/// Most operations are short, so that they meet within blocks; some span many.
const SHORT_BYTES: usize = 20_000;
const LONG_BYTES: usize = 150_000;

/// One operation: on which part of the file, where that matters to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) offset: usize,
    pub(crate) len_bytes: usize,
}

impl Operation {
    /// Draws an operation on a file that may grow to `max_bytes`, a multiple of [`ALIGN_BYTES`].
    pub(crate) fn draw(chance: &mut fastrand::Rng, max_bytes: usize) -> Operation {
        let kind = draw_kind(chance);
        let is_direct = matches!(kind, Kind::DirectRead | Kind::DirectWrite);
        let longest = if chance.u8(..4) == 0 {
            LONG_BYTES
        } else {
            SHORT_BYTES
        };
        let mut offset = chance.usize(..max_bytes);
        let mut len_bytes = chance.usize(1..=longest);
        if is_direct || chance.u8(..4) == 0 {
            offset -= offset % ALIGN_BYTES;
        }
        if is_direct || chance.u8(..4) == 0 {
            len_bytes = len_bytes.next_multiple_of(ALIGN_BYTES);
        }
        Operation {
            kind,
            offset,
            len_bytes: len_bytes.min(max_bytes - offset),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, offset, len_bytes) = (self.kind, self.offset, self.len_bytes);
        match kind {
            Kind::Fsync | Kind::Fdatasync | Kind::DropPages | Kind::Reopen | Kind::SeekData => {
                write!(f, "{kind:?}")
            }
            Kind::Truncate => write!(f, "{kind:?} to {offset}"),
            Kind::Append => write!(f, "{kind:?} {len_bytes} bytes"),
            _ => {
                let end = offset + len_bytes;
                write!(f, "{kind:?} {offset}..{end} ({len_bytes} bytes)")
            }
        }
    }
}

fn draw_kind(chance: &mut fastrand::Rng) -> Kind {
    let sum: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut number = chance.u32(..sum);
    for (kind, weight) in WEIGHTS {
        if number < *weight {
            return *kind;
        }
        number -= weight;
    }
    Kind::Read
}

#[cfg(test)]
mod tests {
    use super::{Kind, Operation, WEIGHTS};
    use crate::buffer::ALIGN_BYTES;

    const MAX_BYTES: usize = 16 * ALIGN_BYTES;

    #[test]
    fn every_kind_is_drawn_and_stays_within_the_file() {
        let mut chance = fastrand::Rng::with_seed(1);
        let drawn: Vec<_> = (0..10_000)
            .map(|_| Operation::draw(&mut chance, MAX_BYTES))
            .collect();
        for (kind, _) in WEIGHTS {
            assert!(drawn.iter().any(|it| it.kind == *kind), "{kind:?}");
        }
        for operation in drawn {
            assert!(operation.len_bytes > 0, "{operation}");
            assert!(
                operation.offset + operation.len_bytes <= MAX_BYTES,
                "{operation}"
            );
            if matches!(operation.kind, Kind::DirectRead | Kind::DirectWrite) {
                assert_eq!(operation.offset % ALIGN_BYTES, 0);
                assert_eq!(operation.len_bytes % ALIGN_BYTES, 0);
            }
        }
    }

    #[test]
    fn a_seed_repeats_itself() {
        let sequence = |seed| {
            let mut chance = fastrand::Rng::with_seed(seed);
            (0..100)
                .map(|_| Operation::draw(&mut chance, MAX_BYTES).to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }
}
