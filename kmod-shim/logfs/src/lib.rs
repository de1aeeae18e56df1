//! The Rust side of `logfs.ko`. Empty when built for anything but a kernel.
#![cfg(target_os = "none")]
#![no_std]

bento_kernel::module!(logfs::LogFs<bento_kernel::KernelEnv>);
