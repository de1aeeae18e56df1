//! The kernel as a back end of Bento: the one crate that speaks the C ABI of `bento.ko`
//! (`kmod-shim/include/bento_abi.h`).
//!
//! Inwards it turns the calls of the ABI into calls of a [`FileSystem`](bento_api::FileSystem);
//! outwards it is the [`Env`](bento_api::Env) of that file system, made of the kernel's
//! services. A module's entry crate names its file system in [`module!`] and has no other code.
#![no_std]

extern crate alloc;

mod abi;
mod convert;
mod device;
mod env;
mod escape;
mod event;
mod lock;
mod memory;
mod operations;
mod sink;

pub use device::KernelDevice;
pub use env::KernelEnv;
pub use event::KernelEvent;
pub use lock::{KernelMutex, KernelRwLock, MutexGuard, ReadGuard, WriteGuard};
pub use operations::Operations;

/// Makes a crate the Rust side of a kernel module with the file system `$fs`. The C side
/// registers the table.
#[macro_export]
macro_rules! module {
    ($fs:ty) => {
        /// The operations of this module's file system.
        // SAFETY: one module has one file system; nothing else in it has this name.
        #[unsafe(no_mangle)]
        pub static bento_fs_operations: $crate::Operations = $crate::Operations::of::<$fs>();
    };
}
