//! What a power cut can leave of a disk.
//!
//! A flush ends an *epoch*. What was written before it is there; of the writes of the open epoch
//! each may be there, lost or torn between sectors, whatever became of the others. A durable write
//! (FUA) is there once it has returned, and like any other until then.

use crate::tree::hash_of;
use bento_sim::{Change, Image, Recording, Rng};
use rustc_hash::FxHashMap;
use std::fmt;
use std::str::FromStr;

const SECTOR_BYTES: usize = 512;

/// So many writes of an epoch are tried in all combinations.
const EXHAUSTIVE_WRITES: usize = 4;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Nothing of it is there.
    Lost,
    /// So many sectors from its start are.
    First(u64),
    /// All but so many sectors from its start are.
    Without(u64),
    /// Chance decides for each sector, from this seed.
    Mixed(u64),
}

/// A disk after a power cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CrashState {
    /// Changes before the cut.
    pub cut: usize,
    /// Those of them that are not there as they were done.
    pub fates: Vec<(usize, Fate)>,
}

impl CrashState {
    /// All that was done before a cut is there.
    pub fn prefix(cut: usize) -> CrashState {
        let fates = Vec::new();
        CrashState { cut, fates }
    }

    /// Changes that had returned when the power went.
    pub fn returned(&self, recording: &Recording) -> usize {
        let is_durable = |index: usize| {
            let change = recording.changes.get(index);
            matches!(change, Some(Change::Write { durable: true, .. }))
        };
        let in_flight = self.fates.iter().find(|(index, _)| is_durable(*index));
        in_flight.map_or(self.cut, |(index, _)| *index)
    }
}

impl fmt::Display for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cut)?;
        for (index, fate) in &self.fates {
            match fate {
                Fate::Lost => write!(f, "-{index}")?,
                Fate::First(sectors) => write!(f, "-{index}:first{sectors}")?,
                Fate::Without(sectors) => write!(f, "-{index}:without{sectors}")?,
                Fate::Mixed(seed) => write!(f, "-{index}:mixed{seed}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for CrashState {
    type Err = String;

    fn from_str(text: &str) -> Result<CrashState, String> {
        let bad = || format!("`{text}` is no crash state");
        let mut parts = text.split('-');
        let cut = parts.next().and_then(|cut| cut.parse().ok());
        let fates = parts.map(parse_fate).collect::<Option<_>>();
        Ok(CrashState {
            cut: cut.ok_or_else(bad)?,
            fates: fates.ok_or_else(bad)?,
        })
    }
}

fn parse_fate(text: &str) -> Option<(usize, Fate)> {
    let Some((index, fate)) = text.split_once(':') else {
        return Some((text.parse().ok()?, Fate::Lost));
    };
    let number = |word| fate.strip_prefix(word).and_then(|it| it.parse().ok());
    let fate = number("first")
        .map(Fate::First)
        .or_else(|| number("without").map(Fate::Without))
        .or_else(|| number("mixed").map(Fate::Mixed))?;
    Some((index.parse().ok()?, fate))
}

/// The crash states of a recording that lie behind its first `from` changes: every prefix; in each
/// epoch all combinations of a few writes, a sample of many; torn writes.
pub fn enumerate(recording: &Recording, from: usize, rng: &mut Rng) -> Vec<CrashState> {
    let changes = &recording.changes;
    let mut states = Vec::new();
    let mut epoch = 0;
    for cut in 0..=changes.len() {
        if cut >= from {
            states.push(CrashState::prefix(cut));
        }
        let next = changes.get(cut);
        let is_barrier = match next {
            None | Some(Change::Flush) => true,
            Some(Change::Write { durable, .. }) => *durable,
            Some(Change::Discard { .. }) => false,
        };
        if is_barrier && cut >= from {
            epoch_states(changes, epoch, cut, rng, &mut states);
        }
        if let Some(Change::Write { durable: true, .. }) = next
            && cut >= from
        {
            let torn = [Fate::First(1), Fate::First(4), Fate::Without(1)];
            states.extend(torn.map(|fate| CrashState {
                cut: cut + 1,
                fates: vec![(cut, fate)],
            }));
        }
        if let Some(Change::Flush) = next {
            epoch = cut + 1;
        }
    }
    states
}

/// The states of an open epoch, with a cut at its end.
fn epoch_states(
    changes: &[Change],
    epoch: usize,
    cut: usize,
    rng: &mut Rng,
    states: &mut Vec<CrashState>,
) {
    let volatile: Vec<usize> = (epoch..cut)
        .filter(|&index| {
            matches!(
                changes[index],
                Change::Write { durable: false, .. } | Change::Discard { .. }
            )
        })
        .collect();
    let mut push = |fates: Vec<(usize, Fate)>| states.push(CrashState { cut, fates });
    let lost = |indices: &mut dyn Iterator<Item = usize>| -> Vec<(usize, Fate)> {
        indices.map(|index| (index, Fate::Lost)).collect()
    };
    if volatile.len() <= EXHAUSTIVE_WRITES {
        for mask in 1..1u32 << volatile.len() {
            let mut chosen = volatile.iter().enumerate();
            let mut chosen = chosen
                .by_ref()
                .filter(|(bit, _)| mask >> bit & 1 != 0)
                .map(|(_, it)| *it);
            push(lost(&mut chosen));
        }
    } else {
        let step = volatile.len().div_ceil(16);
        for one in volatile
            .iter()
            .skip(rng.below(step as u64) as usize)
            .step_by(step)
        {
            push(lost(&mut std::iter::once(*one)));
            push(lost(
                &mut volatile.iter().copied().filter(|other| other != one),
            ));
        }
        for _ in 0..8 {
            push(lost(
                &mut volatile.iter().copied().filter(|_| rng.below(2) == 0),
            ));
        }
    }
    let torn: Vec<usize> = volatile
        .iter()
        .copied()
        .filter(|&index| sectors(&changes[index]) > 1)
        .collect();
    let step = torn.len().div_ceil(6).max(1);
    for &index in torn
        .iter()
        .skip(rng.below(step as u64) as usize)
        .step_by(step)
    {
        let some = 1 + rng.below(sectors(&changes[index]) - 1);
        push(vec![(index, Fate::First(some))]);
        push(vec![(index, Fate::Without(some))]);
        push(vec![(index, Fate::Mixed(rng.next_u64() >> 48))]);
    }
    if volatile.len() > 1 {
        for _ in 0..3 {
            let any = |index: &usize| match rng.below(3) {
                0 => Some((*index, Fate::Lost)),
                1 => Some((*index, Fate::Mixed(rng.next_u64() >> 48))),
                _ => None,
            };
            push(volatile.iter().filter_map(any).collect());
        }
    }
}

fn sectors(change: &Change) -> u64 {
    match change {
        Change::Write { data, .. } => (data.len() / SECTOR_BYTES) as u64,
        _ => 1,
    }
}

/// Builds disks from a recording. Cheap as long as the cuts grow.
pub struct Builder<'a> {
    recording: &'a Recording,
    /// The disk when the epoch began, the sum of its sectors, and the changes before.
    flushed: Image,
    sum: u64,
    epoch: usize,
    seed: u64,
}

/// A disk that has a name before it is built.
pub struct Draft<'a> {
    flushed: &'a Image,
    sectors: FxHashMap<u64, Option<&'a [u8]>>,
    /// The same for disks with the same contents.
    pub hash: u64,
}

impl<'a> Builder<'a> {
    /// For a recording on a disk that `seed` tells from others.
    pub fn new(recording: &'a Recording, seed: u64) -> Builder<'a> {
        Builder {
            recording,
            flushed: recording.base.clone(),
            sum: seed,
            epoch: 0,
            seed,
        }
    }

    /// A disk after a power cut.
    pub fn draft(&mut self, state: &CrashState) -> Draft<'_> {
        let cut = state.cut.min(self.recording.changes.len());
        let before = &self.recording.changes[..cut];
        let flush = before
            .iter()
            .rposition(|change| matches!(change, Change::Flush));
        let epoch = flush.map_or(0, |flush| flush + 1);
        if epoch < self.epoch {
            *self = Builder::new(self.recording, self.seed);
        }
        if epoch > self.epoch {
            let mut sectors = FxHashMap::default();
            for change in &before[self.epoch..epoch] {
                cover(&mut sectors, change, None);
            }
            self.sum = self.sum_with(&sectors);
            build(&mut self.flushed, &sectors);
            self.epoch = epoch;
        }
        let mut sectors = FxHashMap::default();
        for (index, change) in before.iter().enumerate().skip(epoch) {
            let fate = state.fates.iter().find(|(other, _)| *other == index);
            cover(&mut sectors, change, fate.map(|(_, fate)| *fate));
        }
        Draft {
            hash: self.sum_with(&sectors),
            flushed: &self.flushed,
            sectors,
        }
    }

    fn sum_with(&self, sectors: &FxHashMap<u64, Option<&[u8]>>) -> u64 {
        let mut old = [0; SECTOR_BYTES];
        let mut sum = self.sum;
        for (&number, data) in sectors {
            self.flushed.read(number * SECTOR_BYTES as u64, &mut old);
            let new = data.unwrap_or(&[0; SECTOR_BYTES]);
            if new != old {
                sum = sum
                    .wrapping_sub(hash_sector(number, &old))
                    .wrapping_add(hash_sector(number, new));
            }
        }
        sum
    }
}

impl Draft<'_> {
    /// The disk.
    pub fn image(&self) -> Image {
        let mut image = self.flushed.clone();
        build(&mut image, &self.sectors);
        image
    }
}

fn build(image: &mut Image, sectors: &FxHashMap<u64, Option<&[u8]>>) {
    for (number, data) in sectors {
        let offset_bytes = number * SECTOR_BYTES as u64;
        match data {
            Some(data) => image.write(offset_bytes, data),
            None => image.zero(offset_bytes, SECTOR_BYTES as u64),
        }
    }
}

/// Puts what a change has left over what was there.
fn cover<'a>(
    sectors: &mut FxHashMap<u64, Option<&'a [u8]>>,
    change: &'a Change,
    fate: Option<Fate>,
) {
    let mut rng = match fate {
        Some(Fate::Mixed(seed)) => Rng::new(seed),
        _ => Rng::new(0),
    };
    let mut is_kept = |index: u64| match fate {
        None => true,
        Some(Fate::Lost) => false,
        Some(Fate::First(count)) => index < count,
        Some(Fate::Without(count)) => index >= count,
        Some(Fate::Mixed(_)) => rng.below(2) == 0,
    };
    match change {
        Change::Write {
            offset_bytes, data, ..
        } => {
            let first = offset_bytes / SECTOR_BYTES as u64;
            for (index, sector) in (0u64..).zip(data.chunks(SECTOR_BYTES)) {
                if is_kept(index) {
                    sectors.insert(first + index, Some(sector));
                }
            }
        }
        Change::Discard {
            offset_bytes,
            len_bytes,
        } => {
            let first = offset_bytes / SECTOR_BYTES as u64;
            let count = len_bytes / SECTOR_BYTES as u64;
            let kept = (0..count).filter(|index| is_kept(*index));
            sectors.extend(kept.map(|index| (first + index, None)));
        }
        Change::Flush => {}
    }
}

fn hash_sector(number: u64, data: &[u8]) -> u64 {
    let mut bits = hash_of(&(number, data));
    bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits ^ (bits >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset_bytes: u64, byte: u8, durable: bool) -> Change {
        Change::Write {
            offset_bytes,
            data: vec![byte; 1024].into(),
            durable,
        }
    }

    fn recording() -> Recording {
        Recording {
            base: Image::new(1 << 20),
            changes: vec![
                write(0, 1, false),
                Change::Flush,
                write(0, 2, false),
                write(8192, 3, true),
                write(4096, 4, false),
            ],
        }
    }

    #[test]
    fn states_respect_flushes_and_durable_writes() {
        let recording = recording();
        let states = enumerate(&recording, 0, &mut Rng::new(1));
        let mut builder = Builder::new(&recording, 0);
        let mut seen = FxHashMap::default();
        for state in &states {
            let draft = builder.draft(state);
            let (hash, image) = (draft.hash, draft.image());
            let byte = |offset| {
                let mut byte = [0];
                image.read(offset, &mut byte);
                byte[0]
            };
            assert!(state.cut < 2 || [1, 2].contains(&byte(0)), "{state}");
            let durable = state.returned(&recording) > 3;
            assert!(!durable || byte(8192) == 3 && byte(9000) == 3, "{state}");
            let bytes = seen.entry(hash).or_insert_with(|| image.to_bytes());
            assert_eq!(*bytes, image.to_bytes(), "{state}");
        }
        assert!(seen.len() > 10, "{} disks", seen.len());
        let mut disks: Vec<_> = seen.values().collect();
        disks.dedup();
        assert_eq!(disks.len(), seen.len(), "a disk has two names");
    }

    #[test]
    fn what_is_written_down_can_be_read() {
        let fates = vec![
            (3, Fate::Lost),
            (4, Fate::First(2)),
            (5, Fate::Without(1)),
            (6, Fate::Mixed(77)),
        ];
        let state = CrashState { cut: 9, fates };
        assert_eq!(state.to_string().parse(), Ok(state));
        assert!("9-x".parse::<CrashState>().is_err());
    }
}
