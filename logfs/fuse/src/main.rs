//! `logfs-fuse DEVICE DIRECTORY`: mounts logfs in user space, for debugging and where modules can't
//! be loaded.
#![forbid(unsafe_code)]

use bento_host::{FileDevice, HostEnv};
use logfs::LogFs;

fn main() -> std::process::ExitCode {
    bento_fuse::main_for::<LogFs<HostEnv<FileDevice>>>()
}
