//! Mounts the file system that tests the way of file data to a device; it forgets all names when
//! it is unmounted, and marks the first block of its device then: `mappedfs-fuse IMAGE DIRECTORY`.
#![forbid(unsafe_code)]

use bento_host::{FileDevice, HostEnv};

#[path = "../../sim/tests/mapped_fs/mod.rs"]
mod mapped_fs;

fn main() -> std::process::ExitCode {
    bento_fuse::main_for::<mapped_fs::MappedFs<HostEnv<FileDevice>>>()
}
