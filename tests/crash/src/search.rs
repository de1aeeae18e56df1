//! Many workloads, on several threads.

use crate::explore::{Case, Explorer};
use crate::workload::{Catalogue, Class, Workload};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Crash states to judge.
    pub states: u64,
    /// When to stop anyway.
    pub deadline: Option<Instant>,
    /// Workloads of this class only.
    pub class: Option<Class>,
    /// Threads.
    pub jobs: usize,
}

/// Explores workloads in the order of the catalogue up to the limits, or to the first that ends
/// badly.
pub fn search(
    explorer: &Explorer,
    catalogue: &Catalogue,
    limits: &Limits,
    progress: &(dyn Fn() + Sync),
) -> Option<Case> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<(u64, Case)>> = Mutex::new(None);
    let best = || {
        let found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map_or(u64::MAX, |(index, _)| *index)
    };
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index > best() || is_done(explorer, limits) {
                return;
            }
            let Some(workload) = pick(catalogue, limits.class, index) else {
                return;
            };
            if let Some(case) = explorer.explore(&workload)
                && index < best()
            {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                *found = Some((index, case));
            }
            progress();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..limits.jobs {
            scope.spawn(work);
        }
        work();
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.map(|(_, case)| case)
}

fn is_done(explorer: &Explorer, limits: &Limits) -> bool {
    explorer.counters.states.load(Ordering::Relaxed) >= limits.states
        || limits
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
}

fn pick(catalogue: &Catalogue, class: Option<Class>, index: u64) -> Option<Workload> {
    match class {
        Some(class) => catalogue.get(class, index),
        None => catalogue.any(index).1,
    }
}
