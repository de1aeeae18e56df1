//! Making transactions durable, many callers at a time.

use super::{Head, Journal, Parts, count};
use bento_api::{Device, Env, Event, Mutex, Result};
use core::sync::atomic::Ordering;

/// Who gathers others waits for no less than this, since half of a faster flush is not worth it, ...
const GATHER_MIN_NS: u64 = 20_000;

/// ... and for no longer: a device may have been stuck for once.
const GATHER_MAX_NS: u64 = 10_000_000;

impl<E: Env> Journal<E> {
    /// Makes a transaction, and all before it, durable.
    ///
    /// While one caller does that others wait, and find it done when they wake up; or they came too
    /// late for it, and the first of them to wake up does it for all of those (see [`super::group`]).
    pub(crate) fn force(&self, parts: &Parts<'_, E>, sequence: u64) -> Result<()> {
        if self.is_durable(sequence) {
            return self.reporter.check_alive();
        }
        let mut group = self.join_group();
        while !self.start_force() {
            if self.is_durable(sequence) {
                self.state.lock().group.leave(group);
                count(&self.counters.force_requests);
                return self.reporter.check_alive();
            }
            group = self.stay_in_group(group);
        }
        self.gather(sequence);
        self.env.trace("log_force_begin", &[("sequence", sequence)]);
        let forced = self.force_alone(parts, sequence);
        self.env
            .trace("log_force_end", &[("durable_sequence", self.durable())]);
        self.state.lock().group.end();
        self.forced.notify_all();
        forced
    }

    fn join_group(&self) -> u64 {
        let (group, is_whole) = self.state.lock().group.join();
        if is_whole {
            self.gathered.notify_all();
        }
        group
    }

    /// Joins the next group if the force for the caller's was not for its transaction.
    fn stay_in_group(&self, group: u64) -> u64 {
        let is_open = self.state.lock().group.is_open(group);
        if is_open { group } else { self.join_group() }
    }

    /// Waits for others to come, if they are likely to, for half of the last flush at most; not if the
    /// transaction is written already, since theirs is a later one.
    fn gather(&self, sequence: u64) {
        let limit_ns = (self.flush_ns.load(Ordering::Relaxed) / 2).min(GATHER_MAX_NS);
        let is_worth_it = limit_ns >= GATHER_MIN_NS
            && self.committed.load(Ordering::Acquire) < sequence
            && self.reporter.check_alive().is_ok();
        let mut state = self.state.lock();
        if is_worth_it && state.group.begin_wait() {
            let ticket = self.gathered.ticket();
            drop(state);
            self.gathered.wait_for(ticket, limit_ns);
            state = self.state.lock();
        }
        state.group.close();
    }

    /// Makes everything durable.
    pub(crate) fn force_all(&self, parts: &Parts<'_, E>) -> Result<()> {
        let sequence = self.state.lock().sequence;
        self.force(parts, sequence)
    }

    fn is_durable(&self, sequence: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= sequence
    }

    /// Whether the caller is the one to force the log now; if not, another one was, and has ended.
    fn start_force(&self) -> bool {
        let mut state = self.state.lock();
        if state.group.start() {
            return true;
        }
        let ticket = self.forced.ticket();
        drop(state);
        self.forced.wait(ticket);
        false
    }

    fn force_alone(&self, parts: &Parts<'_, E>, sequence: u64) -> Result<()> {
        let mut head = self.commit.lock();
        // A checkpoint may have been faster.
        if self.is_durable(sequence) {
            count(&self.counters.force_requests);
            return self.reporter.check_alive();
        }
        if self.committed.load(Ordering::Acquire) < sequence {
            self.write_running(parts, &mut head, None)?;
        }
        if self.is_durable(self.committed.load(Ordering::Acquire)) {
            return Ok(());
        }
        count(&self.counters.force_requests);
        count(&self.counters.forces);
        let begun_ns = self.env.monotonic_ns();
        self.flush_log(parts, &mut head)?;
        let flush_ns = self.env.monotonic_ns().saturating_sub(begun_ns);
        self.flush_ns.store(flush_ns, Ordering::Relaxed);
        Ok(())
    }

    /// Flushes the device, after which all that is committed is durable.
    pub(super) fn flush_log(&self, parts: &Parts<'_, E>, head: &mut Head) -> Result<()> {
        self.reporter.check_alive()?;
        let target = self.committed.load(Ordering::Acquire);
        count(&self.counters.flushes);
        if !planted!(ForceUnflushed) {
            self.or_shut_down("flushing the device", self.env.device().flush())?;
        }
        self.durable.store(target, Ordering::Release);
        head.claimed_blocks = 0;
        while let Some((sequence, runs)) = head.freed_data.pop_front() {
            if sequence > target {
                head.freed_data.push_front((sequence, runs));
                break;
            }
            parts.space.release_freed(&runs);
        }
        Ok(())
    }
}
