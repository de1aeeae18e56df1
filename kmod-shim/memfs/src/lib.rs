//! The Rust side of `memfs.ko`. Empty when built for anything but a kernel.
#![cfg(target_os = "none")]
#![no_std]

bento_kernel::module!(bento_memfs::MemFs<bento_kernel::KernelEnv>);
