//! The Rust side of `faulty.ko`. Empty when built for anything but a kernel.
#![cfg(target_os = "none")]
#![no_std]

mod faulty;

bento_kernel::module!(faulty::Faulty<bento_kernel::KernelEnv>);
