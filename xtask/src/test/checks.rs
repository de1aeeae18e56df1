//! Named checks within a part that no test harness runs.

use crate::counts::Counts;
use anyhow::Result;
use std::time::Instant;

/// Runs checks and counts them.
#[derive(Default)]
pub(super) struct Checks {
    counts: Vec<Counts>,
}

impl Checks {
    /// Runs one check and says how it went.
    pub(super) fn check(&mut self, name: &str, body: impl FnOnce() -> Result<()>) {
        let started = Instant::now();
        let outcome = body();
        let seconds = started.elapsed().as_secs_f64();
        match &outcome {
            Ok(()) => println!("{name} ... ok ({seconds:.1} s)"),
            Err(error) => println!("{name} ... FAILED ({seconds:.1} s)\n{error:#}"),
        }
        self.counts.push(Counts::one(outcome.is_ok()));
    }

    /// How many there were.
    pub(super) fn counts(self) -> Counts {
        self.counts.into_iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Checks;
    use anyhow::bail;

    #[test]
    fn checks_are_counted_by_their_outcome() {
        let mut checks = Checks::default();
        checks.check("good", || Ok(()));
        checks.check("bad", || bail!("as expected"));
        assert_eq!(checks.counts().to_string(), "1 passed, 1 failed");
    }
}
