//! The FUSE back end: a file system in a process of its own, mounted.
//!
//! [`main_for`] is a whole program: a `mount(8)` helper, which is also how one debugs a file
//! system with gdb. The kernel's write-back cache is on, so the kernel owns the size and times of
//! a file while it is in use and tells them by `SETATTR`.
//!
//! # Why not the crate `fuser`
//! `fuser` 0.18 answers `DESTROY`, for which `umount(2)` waits, before it lets the file system
//! unmount, so nobody could tell when the device is up to date; and it knows neither `STATX`
//! (birth times) nor `TMPFILE`. The protocol is small enough to speak it ourselves (`abi`).
#![forbid(unsafe_code)]

mod abi;
mod acl;
mod attrs;
mod daemon;
mod files;
mod mount;
mod names;
mod options;
mod pins;
mod server;
mod session;
mod write_errors;

use bento_api::{Env, FileSystem, Level};
use bento_host::{FileDevice, HostEnv};
use clap::Parser;
use daemon::LogTo;
use log::LevelFilter;
use mount::{LoopDevice, Source};
use options::{Arguments, MountOptions};
use server::Server;
use session::Session;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The `main` of a program that mounts file systems of type `FS`.
///
/// It returns when the mount is there, and a process in the background serves it; with
/// `--foreground` when it is unmounted.
pub fn main_for<FS: FileSystem<HostEnv<FileDevice>>>() -> ExitCode {
    let arguments = Arguments::parse();
    let in_foreground = arguments.foreground || arguments.debug;
    let result = if in_foreground || arguments.background {
        let to = if in_foreground {
            LogTo::StandardError
        } else {
            LogTo::Kernel
        };
        let level = if arguments.debug {
            LevelFilter::Debug
        } else {
            LevelFilter::Info
        };
        daemon::start_log(to, level);
        mount_and_serve::<FS>(&arguments).map(|()| ExitCode::SUCCESS)
    } else {
        daemon::start()
    };
    result.unwrap_or_else(|error| {
        eprintln!("{}-fuse: {}: {error}", FS::NAME, arguments.device.display());
        ExitCode::FAILURE
    })
}

/// A device and how the kernel is to know it.
struct Opened {
    device: FileDevice,
    mounted: mount::Mounted,
}

fn mount_and_serve<FS: FileSystem<HostEnv<FileDevice>>>(arguments: &Arguments) -> io::Result<()> {
    let options = MountOptions::parse(arguments.options.iter().map(String::as_str));
    let mountpoint = arguments.directory.canonicalize().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{}: {error}", arguments.directory.display()),
        )
    })?;
    let Opened { device, mounted } = open::<FS>(&arguments.device, &mountpoint, &options)?;
    let log_name = format!("{} ({})", FS::NAME, arguments.device.display());
    let env = HostEnv::new(device, &log_name);
    let mount_options = bento_api::MountOptions {
        read_only: options.read_only(),
        options: options.file_system.as_bytes(),
    };
    let fs = FS::mount(env.clone(), &mount_options).map_err(|error| explain(error, &options))?;
    let fs = Arc::new(fs);
    let server = Server::new(env.clone(), Arc::clone(&fs), options.access_times())
        .map_err(|error| explain(error, &options))?;
    let session = Session::start(mounted.keep()?, server)?;
    serve_signals(mountpoint, env, fs)?;
    if arguments.background {
        daemon::ready()?;
    }
    session.run(usize::from(arguments.threads))
}

/// Opens the device and mounts. A block device is mounted first: from then on nobody else can
/// use it.
fn open<FS: FileSystem<HostEnv<FileDevice>>>(
    path: &Path,
    mountpoint: &Path,
    options: &MountOptions,
) -> io::Result<Opened> {
    let mount = |source: &Source| {
        let flags = options.flags;
        mount::mount(&mount::Request {
            source,
            name: FS::NAME,
            mountpoint,
            flags,
        })
    };
    let read_only = options.read_only();
    if !FS::NEEDS_DEVICE {
        let source = Source::Name(path.display().to_string());
        return Ok(Opened {
            device: FileDevice::absent()?,
            mounted: mount(&source)?,
        });
    }
    let path = path.canonicalize()?;
    if path.metadata()?.file_type().is_block_device() {
        let mounted = mount(&Source::BlockDevice(path.clone()))?;
        return Ok(Opened {
            device: FileDevice::open_mounted(&path, read_only)?,
            mounted,
        });
    }
    let device = FileDevice::open(&path, read_only)?;
    let mounted = match LoopDevice::attach(&path, read_only) {
        Some(token) => mount(&Source::BlockDevice(token.0.clone()))?,
        None => {
            log::warn!("no loop device: unmounting will not wait until the image is up to date");
            mount(&Source::Name(path.display().to_string()))?
        }
    };
    Ok(Opened { device, mounted })
}

fn explain(error: bento_api::Errno, options: &MountOptions) -> io::Error {
    let text = match error {
        bento_api::Errno::EINVAL if !options.file_system.is_empty() => format!(
            "no such file system on it, or an option that it does not know: {}",
            options.file_system
        ),
        bento_api::Errno::EINVAL => "no such file system on it".to_owned(),
        bento_api::Errno::EUCLEAN => "damaged: run fsck".to_owned(),
        error => error.to_string(),
    };
    io::Error::other(text)
}

/// A signal that would end the program unmounts instead; the session then ends by itself. SIGUSR1
/// asks for the counters.
fn serve_signals<FS: FileSystem<HostEnv<FileDevice>>>(
    mountpoint: PathBuf,
    env: HostEnv<FileDevice>,
    fs: Arc<FS>,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    log_counters(&env, &*fs);
                } else if let Err(error) = mount::unmount(&mountpoint) {
                    log::error!("unmounting {}: {error}", mountpoint.display());
                }
            }
        })?;
    Ok(())
}

/// Several to a line: the kernel's log takes but a few lines at once from a program.
fn log_counters<FS: FileSystem<HostEnv<FileDevice>>>(env: &HostEnv<FileDevice>, fs: &FS) {
    for counters in FS::COUNTERS.chunks(8) {
        let mut line = String::new();
        for counter in counters {
            line.push_str(if line.is_empty() { "" } else { ", " });
            line.push_str(counter.name);
            line.push(' ');
            // A string takes everything.
            let _ = counter.show(fs, &mut line);
        }
        env.log(Level::Info, format_args!("{line}"));
    }
}
