//! Work that is shared out.

use anyhow::{Context, Result};
use std::ops::Range;
use std::thread;

/// Runs `work` in each of `count` threads at once; it is told which one it is. The first error is
/// returned, when all have ended.
pub(crate) fn run(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    if count == 1 {
        return work(0);
    }
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn_scoped(scope, move || work(index))
                    .context("starting a thread")
            })
            .collect::<Result<_>>()?;
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
            })
            .fold(Ok(()), Result::and)
    })
}

/// The part of `total` that falls to thread `index` of `count`.
pub(crate) fn share(total: usize, index: usize, count: usize) -> Range<usize> {
    total * index / count..total * (index + 1) / count
}

#[cfg(test)]
mod tests {
    use super::{run, share};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn shares_are_the_whole() {
        let shares: Vec<_> = (0..3).map(|index| share(10, index, 3)).collect();
        assert_eq!(shares, [0..3, 3..6, 6..10]);
    }

    #[test]
    fn an_error_of_one_thread_is_the_error_of_all() {
        let ran = AtomicUsize::new(0);
        let outcome = run(4, |index| {
            ran.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(index != 2, "two");
            Ok(())
        });
        assert!(outcome.is_err());
        assert_eq!(ran.load(Ordering::Relaxed), 4);
    }
}
