//! How many tests passed and failed.

use std::fmt;
use std::iter::Sum;

/// A number of tests that passed and one of tests that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// The outcome of a single test.
    pub(crate) fn one(passed: bool) -> Counts {
        Counts {
            passed: u64::from(passed),
            failed: u64::from(!passed),
        }
    }

    /// What a line of libtest's output adds: `test result: ok. 3 passed; 0 failed; ...`.
    pub(crate) fn from_libtest_line(line: &str) -> Option<Counts> {
        let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut words = numbers.split([' ', ';']);
        let passed = words.next()?.parse().ok()?;
        let failed = words.find_map(|word| word.parse().ok())?;
        Some(Counts { passed, failed })
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), |sum, counts| Counts {
            passed: sum.passed + counts.passed,
            failed: sum.failed + counts.failed,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn libtest_results_are_read() {
        let line = "test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(
            Counts::from_libtest_line(line),
            Some(Counts {
                passed: 11,
                failed: 2
            })
        );
        assert_eq!(Counts::from_libtest_line("running 3 tests"), None);
        assert_eq!(Counts::from_libtest_line("test result: ok"), None);
    }

    #[test]
    fn counts_add_up_and_read_plainly() {
        let sum: Counts = [Counts::one(true), Counts::one(false), Counts::one(true)]
            .into_iter()
            .sum();
        assert_eq!(sum.to_string(), "2 passed, 1 failed");
    }
}
