//! What the rest of the system does to a file meanwhile.

use std::fs;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The longest time between two disturbances.
const INTERVAL_MAX: Duration = Duration::from_millis(300);

/// Does `work`, and if `wanted`, syncs at random times meanwhile and drops the caches.
pub(crate) fn during<T>(wanted: bool, work: impl FnOnce() -> T) -> T {
    if !wanted {
        return work();
    }
    let (finished, receiver) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let wait = || INTERVAL_MAX.mul_f32(fastrand::f32());
            while let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(wait()) {
                rustix::fs::sync();
                // Only root may; without it this is left out.
                let _ = fs::write("/proc/sys/vm/drop_caches", "3");
            }
        });
        let result = work();
        drop(finished);
        result
    })
}
