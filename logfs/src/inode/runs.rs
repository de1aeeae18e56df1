//! What is known of runs of a file's blocks, in their order.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

/// An ordered map by the first block of a run. Most files have one run at most on its way, and that
/// takes no memory beside the map's own.
#[derive(Default)]
#[expect(
    clippy::box_collection,
    reason = "a map takes three times as much as its box"
)]
pub(crate) enum Runs<T> {
    /// Nothing.
    #[default]
    None,
    /// One run.
    One(u64, T),
    /// More than one, or what is left of them: never none.
    Many(Box<BTreeMap<u64, T>>),
}

impl<T: Copy> Runs<T> {
    /// The last run that starts at a block or before it.
    pub(crate) fn last_until(&self, block: u64) -> Option<(u64, T)> {
        match self {
            Runs::One(start, run) if *start <= block => Some((*start, *run)),
            Runs::Many(runs) => {
                let last = runs.range(..=block).next_back();
                last.map(|(start, run)| (*start, *run))
            }
            _ => None,
        }
    }

    /// The first run that starts at a block or behind it.
    pub(crate) fn first_from(&self, block: u64) -> Option<(u64, T)> {
        match self {
            Runs::One(start, run) if *start >= block => Some((*start, *run)),
            Runs::Many(runs) => {
                let first = runs.range(block..).next();
                first.map(|(start, run)| (*start, *run))
            }
            _ => None,
        }
    }

    /// Adds a run; one that starts there is replaced.
    pub(crate) fn insert(&mut self, start: u64, run: T) {
        match self {
            Runs::Many(runs) => {
                runs.insert(start, run);
            }
            Runs::One(other, before) if *other != start => {
                let runs = BTreeMap::from([(*other, *before), (start, run)]);
                *self = Runs::Many(Box::new(runs));
            }
            _ => *self = Runs::One(start, run),
        }
    }

    /// Removes the run that starts at a block.
    pub(crate) fn remove(&mut self, start: u64) -> Option<T> {
        let (removed, is_empty) = match self {
            Runs::One(own, run) if *own == start => (Some(*run), true),
            Runs::Many(runs) => (runs.remove(&start), runs.is_empty()),
            _ => (None, false),
        };
        if is_empty {
            *self = Runs::None;
        }
        removed
    }

    /// Adds up something of all of them.
    pub(crate) fn sum(&self, of: impl Fn(u64, T) -> u64) -> u64 {
        match self {
            Runs::None => 0,
            Runs::One(start, run) => of(*start, *run),
            Runs::Many(runs) => runs.iter().map(|(start, run)| of(*start, *run)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;
    use alloc::collections::BTreeMap;

    /// Does the same with a map, and compares after each step.
    #[test]
    fn runs_are_a_map() {
        let mut seed = 1u32;
        let mut next = |limit: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % limit
        };
        let mut runs = Runs::None;
        let mut map = BTreeMap::new();
        for step in 0..2000 {
            let start = u64::from(next(6));
            if next(3) == 0 {
                runs.insert(start, step);
                map.insert(start, step);
            } else {
                assert_eq!(runs.remove(start), map.remove(&start));
            }
            let owned = |(start, step): (&u64, &u64)| (*start, *step);
            for block in 0..7 {
                let last = map.range(..=block).next_back().map(owned);
                assert_eq!(runs.last_until(block), last);
                let first = map.range(block..).next().map(owned);
                assert_eq!(runs.first_from(block), first);
            }
            let sum = map.iter().map(|(start, step)| 7 * start + step).sum();
            assert_eq!(runs.sum(|start, step| 7 * start + step), sum);
            assert_eq!(matches!(runs, Runs::None), map.is_empty());
        }
    }
}
