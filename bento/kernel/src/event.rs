//! Something to wait for.

use crate::{abi, escape};
use bento_api::Event;
use core::cell::UnsafeCell;

/// An [`Event`] in which threads sleep.
pub struct KernelEvent(UnsafeCell<abi::bento_event>);

// SAFETY: bento.ko changes the count atomically.
unsafe impl Send for KernelEvent {}
// SAFETY: as above.
unsafe impl Sync for KernelEvent {}

impl Event for KernelEvent {
    fn new() -> Self {
        KernelEvent(UnsafeCell::new(abi::bento_event { count: 0 }))
    }

    fn ticket(&self) -> u64 {
        // SAFETY: the event was made by `new` and lives as long as `self`.
        unsafe { abi::bento_event_ticket(self.0.get()) }
    }

    fn wait(&self, ticket: u64) {
        // SAFETY: as in `ticket`.
        if !unsafe { abi::bento_event_wait(self.0.get(), ticket) } {
            escape::leave()
        }
    }

    fn wait_for(&self, ticket: u64, limit_ns: u64) {
        // SAFETY: as in `ticket`.
        if !unsafe { abi::bento_event_wait_for(self.0.get(), ticket, limit_ns) } {
            escape::leave()
        }
    }

    fn notify_all(&self) {
        // SAFETY: as in `ticket`.
        unsafe { abi::bento_event_notify(self.0.get()) }
    }
}
