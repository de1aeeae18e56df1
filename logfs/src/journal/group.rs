//! Group commit: who waits for the log to be forced, and whom it pays to wait for before.
//!
//! Threads that write and fsync by turns come back soon after a flush. Whoever forces the log as soon
//! as the first of them is back flushes for that one alone, and all others wait for two flushes: two
//! groups take turns on the device. So the first one waits a little for those whom the last force has
//! served. Those who don't come back are not waited for again and again: in vain makes it rarer.

/// Forces that don't wait after many in a row that have waited in vain.
const SKIPPED_MAX: u32 = 15;

/// See the module. The next group comes together while the log is forced for the one before it.
#[derive(Default)]
pub(super) struct Group {
    /// Somebody forces the log, or is about to.
    forcing: bool,
    /// How many groups were closed.
    number: u64,
    /// How many have joined since.
    present: u32,
    /// Of the group that was closed last, how many it had.
    served: u32,
    /// How many may come together: those served last, and those who were present when that ended.
    expected: u32,
    /// How many were present when waiting for the expected ones began, if somebody waits.
    first: Option<u32>,
    /// Forces that wait for nobody, before one does again.
    skipped: u32,
    /// How many that is to be after the next that waits in vain.
    next_skipped: u32,
}

impl Group {
    /// Somebody wants the log to be forced; returns the group's number, and whether who waits for the
    /// group has waited enough.
    pub(super) fn join(&mut self) -> (u64, bool) {
        self.present += 1;
        let is_whole = self.first.is_some() && self.present == self.expected;
        (self.number, is_whole)
    }

    /// Somebody who has joined a group wants nothing any more.
    pub(super) fn leave(&mut self, number: u64) {
        if self.is_open(number) {
            self.present = self.present.saturating_sub(1);
        }
    }

    /// Whether this group is the one that comes together now.
    pub(super) fn is_open(&self, number: u64) -> bool {
        number == self.number
    }

    /// Whether the caller is the one to force the log now.
    pub(super) fn start(&mut self) -> bool {
        !core::mem::replace(&mut self.forcing, true)
    }

    /// Whether it pays to wait for more.
    pub(super) fn begin_wait(&mut self) -> bool {
        if self.present >= self.expected {
            return false;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return false;
        }
        self.first = Some(self.present);
        true
    }

    /// The force is for those present.
    pub(super) fn close(&mut self) {
        if let Some(first) = self.first.take() {
            let came = self.present.saturating_sub(first);
            if came >= self.expected.saturating_sub(first).div_ceil(2) {
                self.next_skipped = 0;
            } else {
                self.skipped = self.next_skipped;
                self.next_skipped = (2 * self.next_skipped + 1).min(SKIPPED_MAX);
            }
        }
        self.number += 1;
        self.served = core::mem::take(&mut self.present);
    }

    /// The log has been forced.
    pub(super) fn end(&mut self) {
        self.forcing = false;
        self.expected = self.served + self.present;
    }
}

#[cfg(test)]
mod tests {
    use super::{Group, SKIPPED_MAX};
    use alloc::vec::Vec;

    /// A force that `late` callers come too late for, after `early` joined; whether it waits for more.
    fn force(group: &mut Group, early: u32, late: u32) -> bool {
        for _ in 0..early {
            group.join();
        }
        assert!(group.start());
        let waits = group.begin_wait();
        group.close();
        for _ in 0..late {
            assert!(!group.join().1 && !group.start());
        }
        group.end();
        waits
    }

    #[test]
    fn one_alone_waits_for_nobody() {
        let mut group = Group::default();
        for _ in 0..3 {
            assert!(!force(&mut group, 1, 0));
        }
    }

    #[test]
    fn two_groups_that_take_turns_become_one() {
        let mut group = Group::default();
        assert!(!force(&mut group, 4, 4));
        assert!(group.start() && group.begin_wait());
        let whole: Vec<bool> = (0..4).map(|_| group.join().1).collect();
        assert_eq!(whole, [false, false, false, true]);
        group.close();
        group.end();
        // All eight were served: the first of them who comes back waits for the others.
        group.join();
        assert!(group.start() && group.begin_wait());
    }

    #[test]
    fn waiting_in_vain_becomes_rare() {
        let mut group = Group::default();
        let waits = (0..1000).filter(|_| force(&mut group, 1, 1)).count();
        assert!(waits >= 1000 / (SKIPPED_MAX as usize + 1) && waits < 80);
    }

    #[test]
    fn who_is_served_by_another_way_is_not_counted() {
        let mut group = Group::default();
        let (first, _) = group.join();
        group.join();
        group.leave(first);
        assert!(group.start() && !group.begin_wait());
        group.close();
        group.leave(first);
        group.join();
        group.end();
        assert_eq!(group.expected, 2);
    }
}
