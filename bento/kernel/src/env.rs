//! The kernel's services as an [`Env`].

use crate::{KernelDevice, KernelEvent, KernelMutex, KernelRwLock, abi};
use bento_api::{Env, Level, Time};
use core::fmt::{self, Write};

/// What a mount in the kernel runs on.
#[derive(Clone)]
pub struct KernelEnv {
    device: KernelDevice,
}

impl KernelEnv {
    pub(crate) fn new(mount: *mut abi::bento_mount) -> Self {
        KernelEnv {
            device: KernelDevice::new(mount),
        }
    }
}

impl Env for KernelEnv {
    type Mutex<T: Send + 'static> = KernelMutex<T>;
    type RwLock<T: Send + Sync + 'static> = KernelRwLock<T>;
    type Event = KernelEvent;
    type Device = KernelDevice;

    fn device(&self) -> &KernelDevice {
        &self.device
    }

    fn now(&self) -> Time {
        let mut time = abi::bento_time::default();
        // SAFETY: fills in the time.
        unsafe { abi::bento_now(&mut time) };
        time.into()
    }

    fn monotonic_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { abi::bento_monotonic_ns() }
    }

    fn random(&self) -> u64 {
        // SAFETY: has no preconditions.
        unsafe { abi::bento_random() }
    }

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        // SAFETY: the slice is valid.
        unsafe { abi::bento_crc32c(crc, bytes.as_ptr(), bytes.len()) }
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        let level = match level {
            Level::Error => abi::BENTO_LOG_ERROR,
            Level::Warning => abi::BENTO_LOG_WARNING,
            Level::Info => abi::BENTO_LOG_INFO,
            Level::Debug => abi::BENTO_LOG_DEBUG,
        };
        log(self.device.mount(), level, message);
    }

    fn trace(&self, event: &'static str, values: &[(&'static str, u64)]) {
        // SAFETY: has no preconditions.
        if unsafe { abi::bento_trace_enabled() } {
            trace(self.device.mount(), event, values);
        }
    }

    fn may_use_reserve(&self) -> bool {
        // SAFETY: has no preconditions.
        unsafe { abi::bento_may_use_reserve() }
    }

    fn reads_under_way(&self) -> bool {
        // SAFETY: the mount outlives its file system.
        unsafe { abi::bento_reads_under_way(self.device.mount()) }
    }

    fn wake_background(&self) {
        // SAFETY: the mount outlives its file system.
        unsafe { abi::bento_wake_background(self.device.mount()) }
    }
}

/// A line of text on the stack; what doesn't fit is cut off.
struct Line {
    text: [u8; 512],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line {
            text: [0; 512],
            len: 0,
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..).unwrap_or_default();
        let taken = s.len().min(room.len());
        for (to, from) in room.iter_mut().zip(s.bytes()) {
            *to = from;
        }
        self.len += taken;
        Ok(())
    }
}

fn log(mount: *mut abi::bento_mount, level: u32, message: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // A message that fails to format is logged as far as it went.
    let _ = line.write_fmt(message);
    // SAFETY: the text is valid for `len` bytes; the mount is NULL or outlives its file system.
    unsafe { abi::bento_log(mount, level, line.text.as_ptr(), line.len) }
}

/// Out of line, for the stack of those whom nobody traces.
#[inline(never)]
fn trace(mount: *mut abi::bento_mount, event: &str, values: &[(&str, u64)]) {
    let bytes = |text: &[u8]| abi::bento_bytes {
        data: text.as_ptr(),
        len_bytes: text.len(),
    };
    let mut line = Line::new();
    let mut numbers = [0; 3];
    for (index, &(name, value)) in values.iter().enumerate() {
        let space = if index == 0 { "" } else { " " };
        // What doesn't fit is cut off.
        let _ = write!(line, "{space}{name}={value}");
        if let Some(number) = numbers.get_mut(index) {
            *number = value;
        }
    }
    let event = abi::bento_trace {
        name: bytes(event.as_bytes()),
        text: bytes(line.text.get(..line.len).unwrap_or_default()),
        values: numbers,
    };
    // SAFETY: the texts are valid during the call; the mount outlives its file system.
    unsafe { abi::bento_trace(mount, &event) }
}

/// Logs an error from where no [`KernelEnv`] is at hand.
#[cfg(target_os = "none")]
pub(crate) fn log_current(message: fmt::Arguments<'_>) {
    log(core::ptr::null_mut(), abi::BENTO_LOG_ERROR, message);
}
