//! Damaged disks, mounted and used in the running kernel, which has to survive them.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use bento_sim::Image;
use clap::Parser;
use logfs_tests::damage::{Harm, Victims};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a walk may visit. Damage may give a directory many names.
const VISITS_MAX: usize = 5_000;

/// Nothing takes longer on a disk of this size.
const SECONDS_MAX: u64 = 60;

/// What happens to a mount that finds damage, in turn.
const OPTIONS: [&str; 3] = ["errors=continue", "errors=remount-ro", "errors=shutdown"];

/// Mount damaged disks in the running kernel, walk, read, change and unmount them.
///
/// The kernel log is the caller's to look at. What is on DEVICE is lost. Needs root.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The disk, 24 MiB or more
    device: PathBuf,

    /// Where to mount
    #[arg(long, value_name = "DIR", default_value = "/mnt")]
    dir: PathBuf,

    /// How many disks
    #[arg(long, value_name = "N", default_value_t = 1000)]
    images: u64,

    /// Number of the first disk
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    first: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let victims = Victims::new();
    let (mut mounted, mut refused) = (0, 0);
    for number in arguments.first..arguments.first + arguments.images {
        let harm = Harm::ALL[number as usize % Harm::ALL.len()];
        let started = Instant::now();
        put(&victims.harmed(harm, number), &arguments.device)?;
        let options = OPTIONS[(number / 4) as usize % OPTIONS.len()];
        let is_mounted =
            try_mount(arguments, options).with_context(|| format!("disk {number} ({harm:?})"))?;
        if is_mounted {
            mounted += 1;
            // Whatever fails: it need only end.
            let _ = use_it(&arguments.dir);
            unmount(&arguments.dir, UnmountFlags::empty())
                .with_context(|| format!("disk {number}: cannot unmount"))?;
        } else {
            refused += 1;
        }
        if started.elapsed() > Duration::from_secs(SECONDS_MAX) {
            bail!("disk {number} ({harm:?}) took {:?}", started.elapsed());
        }
    }
    println!("{mounted} damaged disks used, {refused} refused");
    Ok(())
}

fn put(image: &Image, device: &Path) -> Result<()> {
    let disk = OpenOptions::new()
        .write(true)
        .open(device)
        .with_context(|| format!("cannot open {}", device.display()))?;
    let zeros = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    fallocate(&disk, zeros, 0, image.size_bytes())?;
    for (offset_bytes, piece) in image.pieces() {
        disk.write_all_at(piece, offset_bytes)?;
    }
    Ok(disk.sync_all()?)
}

/// Whether it could be mounted; that may be refused with few errors only.
fn try_mount(arguments: &Arguments, options: &str) -> Result<bool> {
    let options = CString::new(options)?;
    let (device, dir) = (&arguments.device, &arguments.dir);
    match mount(
        device,
        dir,
        c"logfs",
        MountFlags::empty(),
        options.as_c_str(),
    ) {
        Ok(()) => Ok(true),
        Err(Errno::UCLEAN | Errno::INVAL | Errno::IO | Errno::NOMEM | Errno::NOSPC) => Ok(false),
        Err(Errno::ROFS) => Ok(false),
        Err(errno) => bail!("mounting failed with {errno}"),
    }
}

fn use_it(root: &Path) -> io::Result<()> {
    let mut visits = 0;
    walk(root, &mut visits);
    let _ = fs::write(root.join("d0/new"), [3; 50_000]);
    let _ = fs::create_dir(root.join("d1/new"));
    let _ = fs::rename(root.join("d0/new"), root.join("d1/new2"));
    let _ = fs::remove_file(root.join("d1/hard"));
    if let Ok(file) = OpenOptions::new()
        .read(true)
        .write(true)
        .open(root.join("sparse"))
    {
        let _ = file.write_all_at(&[1; 9000], 40_000);
        let _ = file.set_len(100_000);
        let _ = file.sync_all();
    }
    for number in 0..120 {
        let _ = fs::remove_file(root.join(format!("d2/a-file-with-a-name-{number}")));
    }
    let _ = fs::remove_dir(root.join("d2"));
    File::open(root)?.sync_all()
}

fn walk(dir: &Path, visits: &mut usize) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        *visits += 1;
        if *visits > VISITS_MAX {
            return;
        }
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let _ = rustix::fs::llistxattr(&path, &mut [0; 4096]);
        if metadata.is_dir() {
            walk(&path, visits);
        } else if metadata.is_symlink() {
            let _ = fs::read_link(&path);
        } else if metadata.is_file() {
            let _ = read(&path, metadata.size());
        }
    }
}

/// Reads the start and the end of a file.
fn read(path: &Path, size_bytes: u64) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 100_000];
    let _ = file.read(&mut buffer)?;
    let _ = file.read_at(&mut buffer, size_bytes.saturating_sub(5000))?;
    Ok(())
}
