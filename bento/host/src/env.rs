//! The environment of a file system that runs in a process.

use crate::{HostEvent, HostMutex, HostRwLock};
use bento_api::{Device, Env, Event, Level, Time};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    static CALLER_UID: Cell<u32> = const { Cell::new(0) };
}

/// Says on whose behalf this thread works from now on; without that it works for root.
pub fn set_caller(uid: u32) {
    CALLER_UID.set(uid);
}

/// [`Env`] over the services of the operating system and a device of type `D`.
pub struct HostEnv<D> {
    shared: Arc<Shared<D>>,
}

struct Shared<D> {
    device: D,
    /// Stands before each line of the log: file system and device.
    log_name: String,
    started: Instant,
    background: HostEvent,
}

impl<D> Clone for HostEnv<D> {
    fn clone(&self) -> Self {
        HostEnv {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<D: Device + 'static> HostEnv<D> {
    /// An environment on `device`. `log_name` (file system and device) stands before each
    /// message, which goes to the crate `log`.
    pub fn new(device: D, log_name: &str) -> Self {
        HostEnv {
            shared: Arc::new(Shared {
                device,
                log_name: log_name.to_owned(),
                started: Instant::now(),
                background: HostEvent::new(),
            }),
        }
    }

    /// What [`Env::wake_background`] notifies: the thread that calls
    /// [`FileSystem::background`](bento_api::FileSystem::background) waits for it.
    pub fn background_event(&self) -> &HostEvent {
        &self.shared.background
    }
}

impl<D: Device + 'static> Env for HostEnv<D> {
    type Mutex<T: Send + 'static> = HostMutex<T>;
    type RwLock<T: Send + Sync + 'static> = HostRwLock<T>;
    type Event = HostEvent;
    type Device = D;

    fn device(&self) -> &D {
        &self.shared.device
    }

    fn now(&self) -> Time {
        time_from_system(SystemTime::now())
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        // The source fails only where there is none; the clock is then all there is.
        getrandom::u64().unwrap_or_else(|_| self.monotonic_ns())
    }

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc, bytes)
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warning => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        log::log!(target: "bento", level, "{}: {message}", self.shared.log_name);
    }

    fn may_use_reserve(&self) -> bool {
        CALLER_UID.get() == 0
    }

    fn wake_background(&self) {
        self.shared.background.notify_all();
    }
}

fn time_from_system(time: SystemTime) -> Time {
    let since = |duration: Duration| (duration.as_secs() as i64, duration.subsec_nanos());
    match time.duration_since(UNIX_EPOCH).map(since) {
        Ok((seconds, nanoseconds)) => Time {
            seconds,
            nanoseconds,
        },
        Err(before) => match since(before.duration()) {
            (seconds, 0) => Time {
                seconds: -seconds,
                nanoseconds: 0,
            },
            (seconds, nanoseconds) => Time {
                seconds: -seconds - 1,
                nanoseconds: 1_000_000_000 - nanoseconds,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileDevice;

    #[test]
    fn crc32c_is_castagnoli_and_continues() {
        let env = HostEnv::new(FileDevice::absent().unwrap(), "test");
        assert_eq!(env.crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(env.crc32c(env.crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }

    #[test]
    fn times_before_1970_have_positive_nanoseconds() {
        let time = time_from_system(UNIX_EPOCH - Duration::from_millis(250));
        assert_eq!(
            time,
            Time {
                seconds: -1,
                nanoseconds: 750_000_000
            }
        );
    }
}
