//! Whether bugs would be found: logfs with bugs on purpose, each of which has to fail.

use crate::base::Bases;
use crate::explore::{Case, Explorer};
use crate::search::{Limits, search};
use crate::workload::{Catalogue, Class};
use logfs::mutant::{self, Mutant};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Crash states of all classes of workloads that are judged first.
const FIRST_STATES: u64 = 4000;

/// How a bug was found.
pub struct Outcome {
    /// The bug.
    pub mutant: Mutant,
    /// The first case that did not pass.
    pub case: Option<Case>,
    /// Crash states judged up to then.
    pub states: u64,
}

/// Plants one bug after the other in what is mounted from now on, and looks for each within the
/// limits.
pub fn hunt<'a>(
    bases: &'a Arc<Bases>,
    catalogue: &'a Catalogue,
    limits: &'a Limits,
) -> impl Iterator<Item = Outcome> + 'a {
    mutant::ALL.iter().map(move |&mutant| {
        let explorer = Explorer::new(Arc::clone(bases));
        mutant::plant(Some(mutant));
        let first = Limits {
            states: limits.states.min(FIRST_STATES),
            ..*limits
        };
        let long = Limits {
            class: Some(limits.class.unwrap_or(shown_by(mutant))),
            ..*limits
        };
        let case = search(&explorer, catalogue, &first, &|| ())
            .or_else(|| search(&explorer, catalogue, &long, &|| ()));
        mutant::plant(None);
        Outcome {
            mutant,
            case,
            states: explorer.counters.states.load(Ordering::Relaxed),
        }
    })
}

/// The long workloads that may show a bug if short ones do not.
fn shown_by(mutant: Mutant) -> Class {
    match mutant {
        Mutant::MovedReusedEarly | Mutant::MovedUnverified | Mutant::MovedUnclaimed => {
            Class::Cleaned
        }
        // For those that take a full disk.
        _ => Class::Churn,
    }
}
