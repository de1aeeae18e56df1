//! Mapping blocks of a file anew in one step, which is what nearly all writes take: one extent comes,
//! what lay there is cut or goes, and all of that is next to each other in one leaf of the extent tree
//! (or in the inode). Whatever else happens (a leaf is full, what lies there goes on in another leaf) is
//! left to [`extent::remove`] and [`extent::insert`].

use crate::LogFs;
use crate::extent::{self, Place, continues, cut};
use crate::inode::State;
use crate::tx::Tx;
use alloc::vec::Vec;
use bento_api::{Env, Result};
use bytemuck::Zeroable;
use logfs_format::{EXTENTS_PER_NODE, Extent, INLINE_EXTENTS};

/// What is left of an extent before the new one, the new one, what is left behind it.
const PIECES_MAX: usize = 3;

/// A sorted run of extents of a file that are kept in one place.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours<'a> {
    pub(crate) extents: &'a [Extent],
    /// The file has none before it.
    pub(crate) is_first: bool,
    /// Extents that start here or behind are kept in another place. The last one of the run may reach
    /// over it.
    pub(crate) high: Option<u64>,
}

/// How extents `from..to` of a run give way to others.
#[derive(Debug, PartialEq)]
struct Plan {
    from: usize,
    to: usize,
    put: [Extent; PIECES_MAX],
    put_count: usize,
    /// The extents, or parts of them, that are no longer mapped: those of `from..to` in this range that
    /// lie where the new one does.
    unmapped: (usize, usize),
}

/// A change in one place that maps an extent.
pub(crate) struct Change {
    place: Place,
    plan: Plan,
    /// Those that are no longer mapped, cut to the range of the new one.
    unmapped: Vec<Extent>,
    /// The block behind the new one.
    end: u64,
}

/// How to map `new`, or so much of its start as lies in one place and unmaps at most `limit` extents;
/// nothing if that takes more than a change in one place.
pub(crate) fn look<E: Env>(
    fs: &LogFs<E>,
    state: &State,
    new: Extent,
    limit: usize,
) -> Result<Option<Change>> {
    let Some(place) = extent::place_of(fs, state, new.file_block.get())? else {
        return Ok(None);
    };
    let neighbours = place.neighbours(state)?;
    let Some(new) = start_of(neighbours, new, limit) else {
        return Ok(None);
    };
    let Some(plan) = plan(neighbours, new) else {
        return Ok(None);
    };
    let left = neighbours.extents.len() - (plan.to - plan.from);
    let capacity = match place.is_inline() {
        true => INLINE_EXTENTS,
        false => EXTENTS_PER_NODE,
    };
    let (first, last) = plan.unmapped;
    if left + plan.put_count > capacity {
        return Ok(None);
    }
    let old = neighbours.extents.get(plan.from..plan.to).unwrap_or(&[]);
    for extent in old {
        extent::check(fs, state, extent)?;
    }
    let unmapped = neighbours.extents.get(first..last).unwrap_or(&[]);
    let unmapped: Vec<Extent> = unmapped
        .iter()
        .map(|old| {
            let from = old.file_block.get().max(new.file_block.get());
            cut(*old, from, old.end().min(new.end()))
        })
        .collect();
    Ok(Some(Change {
        place,
        plan,
        unmapped,
        end: new.end(),
    }))
}

impl Change {
    /// Does it, and hands each extent that is no longer mapped to `emit`. Returns the block behind what
    /// is mapped now.
    pub(crate) fn apply<E: Env>(
        self,
        tx: &Tx<'_, E>,
        state: &mut State,
        mut emit: impl FnMut(&mut State, Extent) -> Result<()>,
    ) -> Result<u64> {
        let Plan { from, to, put, .. } = self.plan;
        let put = put.get(..self.plan.put_count).unwrap_or(&[]);
        self.place.put(tx, state, (from, to), put)?;
        for extent in self.unmapped {
            emit(state, extent)?;
        }
        Ok(self.end)
    }
}

/// So much of an extent's start as belongs to a run, and lies where at most `limit` others do.
fn start_of(run: Neighbours<'_>, new: Extent, limit: usize) -> Option<Extent> {
    let start = new.file_block.get();
    let first = run.extents.partition_point(|extent| extent.end() <= start);
    let beyond = run.extents.get(first.saturating_add(limit));
    let end = new
        .end()
        .min(run.high.unwrap_or(u64::MAX))
        .min(beyond.map_or(u64::MAX, |extent| extent.file_block.get()));
    (start < end).then(|| cut(new, start, end))
}

/// How a run changes when `new` is mapped; nothing if extents outside the run have a part in it, or if
/// the run is no run.
fn plan(run: Neighbours<'_>, new: Extent) -> Option<Plan> {
    let Neighbours {
        extents,
        is_first,
        high,
    } = run;
    let (start, end) = (new.file_block.get(), new.end());
    let first = extents.partition_point(|extent| extent.end() <= start);
    let last = extents.partition_point(|extent| extent.file_block.get() < end);
    let lying_there = extents.get(first..last)?;
    if !is_sorted(lying_there) {
        return None;
    }
    let (leftmost, rightmost) = (lying_there.first(), lying_there.last());
    let left = leftmost.filter(|extent| extent.file_block.get() < start);
    let right = rightmost.filter(|extent| extent.end() > end);
    let is_known_before = is_first || first > 0 || left.is_some();
    let stays_here = right.is_none() || high.is_none_or(|high| end < high);
    if !is_known_before || !stays_here {
        return None;
    }
    let mut plan = Plan {
        from: first,
        to: last,
        put: [Extent::zeroed(); PIECES_MAX],
        put_count: 0,
        unmapped: (first, last),
    };
    let mut new = new;
    match left.map(|extent| cut(*extent, extent.file_block.get(), start)) {
        Some(before) if continues(&before, &new) => new = joined(before, &new),
        Some(before) => plan.push(before),
        None => {
            let before = first.checked_sub(1).and_then(|index| extents.get(index));
            if let Some(before) = before.filter(|before| continues(before, &new)) {
                plan.from = first - 1;
                new = joined(*before, &new);
            }
        }
    }
    match right.map(|extent| cut(*extent, end, extent.end())) {
        Some(behind) if continues(&new, &behind) => plan.push(joined(new, &behind)),
        Some(behind) => {
            plan.push(new);
            plan.push(behind);
        }
        None => match extents.get(last).filter(|behind| continues(&new, behind)) {
            Some(behind) => {
                plan.to = last + 1;
                plan.push(joined(new, behind));
            }
            None => plan.push(new),
        },
    }
    Some(plan)
}

impl Plan {
    fn push(&mut self, extent: Extent) {
        if let Some(place) = self.put.get_mut(self.put_count) {
            *place = extent;
            self.put_count += 1;
        }
    }
}

/// Whether extents follow each other, none of them empty.
fn is_sorted(extents: &[Extent]) -> bool {
    let are_apart = extents.windows(2).all(|pair| match pair {
        [left, right] => left.end() <= right.file_block.get(),
        _ => true,
    });
    are_apart && extents.iter().all(|extent| extent.len.get() > 0)
}

/// Two extents of which the second continues the first.
fn joined(left: Extent, right: &Extent) -> Extent {
    let len = left.len.get().saturating_add(right.len.get());
    Extent {
        len: len.into(),
        ..left
    }
}

#[cfg(test)]
mod tests {
    use super::{Neighbours, plan, start_of};
    use alloc::vec::Vec;
    use logfs_format::Extent;

    /// The run after `new` was mapped.
    fn after(extents: &[Extent], new: Extent, high: Option<u64>) -> Option<Vec<Extent>> {
        let run = Neighbours {
            extents,
            is_first: true,
            high,
        };
        let plan = plan(run, start_of(run, new, 3)?)?;
        let mut all = extents.to_vec();
        all.splice(
            plan.from..plan.to,
            plan.put[..plan.put_count].iter().copied(),
        );
        Some(all)
    }

    #[test]
    fn a_block_in_the_middle_leaves_both_ends() {
        let old = [Extent::new(10, 100, 10)];
        let new = Extent::new(14, 500, 1);
        let wanted = [Extent::new(10, 100, 4), new, Extent::new(15, 105, 5)];
        assert_eq!(after(&old, new, None).as_deref(), Some(&wanted[..]));
    }

    #[test]
    fn neighbours_that_go_on_on_the_device_become_one() {
        let old = [Extent::new(0, 100, 4), Extent::new(5, 105, 4)];
        let new = Extent::new(4, 104, 1);
        assert_eq!(
            after(&old, new, None).as_deref(),
            Some(&[Extent::new(0, 100, 9)][..])
        );
        let unwritten = Extent {
            flags: Extent::UNWRITTEN.into(),
            ..Extent::new(0, 100, 4)
        };
        assert_eq!(after(&[unwritten], new, None).map(|all| all.len()), Some(2));
    }

    #[test]
    fn all_that_lies_there_goes() {
        let old = [
            Extent::new(0, 100, 4),
            Extent::new(6, 200, 2),
            Extent::new(9, 300, 4),
            Extent::new(20, 400, 1),
        ];
        let new = Extent::new(2, 700, 8);
        let wanted = [
            Extent::new(0, 100, 2),
            new,
            Extent::new(10, 301, 3),
            Extent::new(20, 400, 1),
        ];
        assert_eq!(after(&old, new, None).as_deref(), Some(&wanted[..]));
    }

    #[test]
    fn what_goes_on_elsewhere_is_left_alone() {
        let old = [Extent::new(0, 100, 4)];
        let cut = [Extent::new(0, 100, 2), Extent::new(2, 500, 6)];
        assert_eq!(
            after(&old, Extent::new(2, 500, 9), Some(8)).as_deref(),
            Some(&cut[..])
        );
        assert!(after(&old, Extent::new(8, 500, 1), Some(8)).is_none());
    }

    #[test]
    fn no_more_than_the_limit_goes() {
        let old: Vec<Extent> = (0..5)
            .map(|n| Extent::new(2 * n, 100 + 10 * n, 1))
            .collect();
        let wanted = [
            Extent::new(0, 500, 6),
            Extent::new(6, 130, 1),
            Extent::new(8, 140, 1),
        ];
        assert_eq!(
            after(&old, Extent::new(0, 500, 9), None).as_deref(),
            Some(&wanted[..])
        );
    }

    #[test]
    fn what_is_left_of_an_extent_is_not_put_where_another_leaf_begins() {
        let old = [Extent::new(0, 100, 10)];
        assert!(after(&old, Extent::new(3, 500, 1), Some(5)).is_some());
        assert!(after(&old, Extent::new(3, 500, 2), Some(5)).is_none());
        assert!(after(&old, Extent::new(3, 500, 4), Some(5)).is_none());
    }

    #[test]
    fn a_run_that_is_none_is_refused() {
        let old = [Extent::new(0, 100, 8), Extent::new(2, 200, 2)];
        assert!(after(&old, Extent::new(1, 500, 9), None).is_none());
    }
}
