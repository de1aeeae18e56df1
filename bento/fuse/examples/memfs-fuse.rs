//! Mounts the example file system: `memfs-fuse NAME DIRECTORY`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    bento_fuse::main_for::<bento_memfs::MemFs<bento_host::HostEnv<bento_host::FileDevice>>>()
}
