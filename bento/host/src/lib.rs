//! What the user-space back ends share: locks and clocks ([`HostEnv`]), image files and block
//! devices ([`FileDevice`]), and reading and writing files over the mappings that a file system
//! gives ([`FileIo`]): what iomap is to the kernel back end.
#![forbid(unsafe_code)]

mod device;
mod env;
mod file_io;
mod lock;
mod memory;

pub use device::FileDevice;
pub use env::{HostEnv, set_caller};
pub use file_io::FileIo;
pub use lock::{HostEvent, HostMutex, HostRwLock};

use bento_api::Errno;

/// The error number behind an [`std::io::Error`]; `EIO` for one that has none.
pub fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
