//! Which of the host's processors a user-mode Linux machine stays on.
//!
//! A user-mode Linux kernel and its processes take turns: one waits while another runs. On several
//! processors each turn wakes an idle one, which costs up to four times what the work itself does.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::process;

/// A processor that no other machine of this user uses, as long as there are enough.
pub(super) struct Processor {
    pub(super) number: usize,
    /// Held as long as the machine runs, so that the next one looks for another processor.
    _claim: Option<File>,
}

impl Processor {
    /// Takes a processor of those that this process may use; `cache` holds the claims.
    pub(super) fn claim(cache: &Path) -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read this process's processors")?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&number| allowed.is_set(number))
            .collect();
        ensure!(!allowed.is_empty(), "this process may use no processor");
        for &number in &allowed {
            let path = cache.join(format!("processor-{number}.lock"));
            let claim =
                File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            match claim.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        number,
                        _claim: Some(claim),
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        Ok(Self {
            number: allowed[process::id() as usize % allowed.len()],
            _claim: None,
        })
    }
}
