//! Doing workloads and judging what crashes leave of them.

use crate::base::Bases;
use crate::judge::{Check, Judge, Violation, panic_text};
use crate::run::{History, Run, is_expected};
use crate::state::{Builder, CrashState, enumerate};
use crate::tree::hash_of;
use crate::workload::Workload;
use bento_sim::Rng;
use rustc_hash::FxHashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One in so many states is crashed a second time, while it is recovered from and in later work.
const SECOND_EVERY: u64 = 40;

/// What was done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Workloads done.
    pub workloads: AtomicU64,
    /// Crash states judged, no two of them alike.
    pub states: AtomicU64,
    /// Crash states left out, since one like them was judged before.
    pub alike: AtomicU64,
}

/// A workload that ended badly, and the disk that it ended badly on; none if it was the run itself.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was done.
    pub workload: Workload,
    /// What the power cut left.
    pub state: Option<CrashState>,
    /// What is wrong.
    pub violation: Violation,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "{} @ {state}", self.workload),
            None => write!(f, "{}", self.workload),
        }
    }
}

/// Explores workloads, and remembers which disks it has seen.
pub struct Explorer {
    bases: Arc<Bases>,
    seen: Vec<Mutex<FxHashSet<u64>>>,
    /// What was done so far.
    pub counters: Counters,
}

impl Explorer {
    /// One that has seen nothing.
    pub fn new(bases: Arc<Bases>) -> Explorer {
        Explorer {
            bases,
            seen: (0..64).map(|_| Mutex::default()).collect(),
            counters: Counters::default(),
        }
    }

    /// Does a workload; `None` if it does nothing that another doesn't.
    fn run(&self, workload: &Workload) -> Result<Option<History>, Violation> {
        let live = |what: &dyn fmt::Display| Violation::new(Check::Live, what);
        let unknown = format!("there is no disk `{}`", workload.base);
        let base = self
            .bases
            .get(&workload.base)
            .ok_or_else(|| live(&unknown))?;
        let mut run = Run::start(base).map_err(|errno| live(&errno))?;
        for op in &workload.ops {
            match run.apply(op) {
                Ok(()) => {}
                Err(errno) if is_expected(errno) => {
                    if workload.is_strict {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(live(&format_args!("{op}: {errno}"))),
            }
        }
        run.finish().map(Some).map_err(|what| live(&what))
    }

    fn try_run(&self, workload: &Workload) -> Result<Option<History>, Violation> {
        catch_unwind(AssertUnwindSafe(|| self.run(workload)))
            .unwrap_or_else(|panic| Err(Violation::new(Check::Panic, panic_text(&*panic))))
    }

    /// Does a workload and judges its crash states that were not seen yet, up to the first that is
    /// wrong.
    pub fn explore(&self, workload: &Workload) -> Option<Case> {
        let found = self.search(workload, workload.first, false);
        self.counters.workloads.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Judges one crash state, or without one the run itself and all its states.
    pub fn replay(&self, workload: &Workload, state: Option<&CrashState>) -> Option<Case> {
        let Some(state) = state else {
            return self.search(workload, 0, true);
        };
        let case = |violation| Case {
            workload: workload.clone(),
            state: Some(state.clone()),
            violation,
        };
        match self.try_run(workload) {
            Err(violation) => Some(case(violation)),
            Ok(None) => None,
            Ok(Some(history)) => {
                let image = Builder::new(&history.recording, 0).draft(state).image();
                let oldest = history.oldest(state.returned(&history.recording));
                let mut rng = Rng::new(hash_of(state));
                let judged = Judge::new(&history).disk(&image, oldest, Some(&mut rng));
                judged.err().map(case)
            }
        }
    }

    fn search(&self, workload: &Workload, first: usize, again: bool) -> Option<Case> {
        let case = |state, violation| Case {
            workload: workload.clone(),
            state,
            violation,
        };
        let history = match self.try_run(workload) {
            Ok(Some(history)) => history,
            Ok(None) => return None,
            Err(violation) => return Some(case(None, violation)),
        };
        let from = history.starts.get(first).copied().unwrap_or(0);
        let mut rng = Rng::new(hash_of(&workload.ops));
        let judge = Judge::new(&history);
        let seed = hash_of(&workload.base);
        let mut builder = Builder::new(&history.recording, seed);
        for state in enumerate(&history.recording, from, &mut rng) {
            let draft = builder.draft(&state);
            let oldest = history.oldest(state.returned(&history.recording));
            let newest = history.states.get(oldest).map(|state| &state.tree);
            if !again && !self.is_new(hash_of(&(draft.hash, newest))) {
                self.counters.alike.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let twice = rng.below(SECOND_EVERY) == 0;
            let mut second = Rng::new(hash_of(&state));
            let judged = judge.disk(&draft.image(), oldest, twice.then_some(&mut second));
            self.counters.states.fetch_add(1, Ordering::Relaxed);
            if let Err(violation) = judged {
                return Some(case(Some(state), violation));
            }
        }
        None
    }

    fn is_new(&self, hash: u64) -> bool {
        let shard = &self.seen[hash as usize % self.seen.len()];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.insert(hash)
    }
}
