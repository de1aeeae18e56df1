//! What a mount shows of itself. docs/COUNTERS.md says what each counter is good for.

use crate::LogFs;
use crate::journal::Counters;
use bento_api::{Counter, Env};
use core::sync::atomic::{AtomicU64, Ordering};
use logfs_format::BLOCK_BYTES;

impl<E: Env> LogFs<E> {
    /// All counters. Those that grow start at zero with each mount.
    pub(crate) const SHOWN: &'static [Counter<Self>] = &[
        Counter::number("log_force_requests", |fs| fs.logged(|c| &c.force_requests)),
        Counter::number("log_forces", |fs| fs.logged(|c| &c.forces)),
        Counter::number("log_records", |fs| fs.logged(|c| &c.records)),
        Counter::number("log_written_bytes", |fs| fs.logged(|c| &c.record_bytes)),
        Counter::number("log_used_bytes", |fs| fs.journal.used_bytes()),
        Counter::number("device_flushes", |fs| fs.logged(|c| &c.flushes)),
        Counter::number("device_durable_writes", |fs| {
            fs.logged(|c| &c.durable_writes)
        }),
        Counter::number("checkpoints", |fs| fs.logged(|c| &c.checkpoints)),
        Counter::number("checkpoint_written_bytes", |fs| {
            bytes(fs.logged(|c| &c.home_blocks))
        }),
        Counter::number("cache_hits", |fs| fs.cache.lookups().hits),
        Counter::number("cache_misses", |fs| fs.cache.lookups().misses),
        Counter::number("cache_bytes", |fs| bytes(fs.cache.blocks() as u64)),
        Counter::number("segments", |fs| fs.space.segments().1),
        Counter::number("clean_segments", |fs| fs.space.segments().0),
        Counter::number("cleaned_segments", |fs| {
            fs.cleaning.segments.load(Ordering::Relaxed)
        }),
        Counter::number("cleaned_blocks", |fs| {
            fs.cleaning.blocks.load(Ordering::Relaxed)
        }),
        Counter::number("live_blocks", |fs| fs.space.live_blocks()),
        Counter::number("free_blocks", |fs| fs.space.balance().unused()),
        Counter::number("orphans", |fs| fs.orphans.count()),
        Counter::number("errors", |fs| fs.reporter.errors()),
        Counter::text("last_error", |fs| fs.reporter.last_error()),
    ];

    fn logged(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.journal.counters).load(Ordering::Relaxed)
    }
}

fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK_BYTES as u64)
}
