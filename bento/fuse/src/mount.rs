//! Mounting and unmounting.

use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a file system is mounted from, to the kernel.
pub(crate) enum Source {
    /// A block device: unmounting waits for the file system.
    BlockDevice(PathBuf),
    /// Anything else: a name for `/proc/mounts`.
    Name(String),
}

/// What to mount.
pub(crate) struct Request<'a> {
    pub(crate) source: &'a Source,
    /// The name of the file system.
    pub(crate) name: &'a str,
    pub(crate) mountpoint: &'a Path,
    pub(crate) flags: MountFlags,
}

/// A mount in the making. Until [`Mounted::keep`] it is taken back when dropped.
pub(crate) struct Mounted {
    connection: Option<File>,
    mountpoint: PathBuf,
}

/// Mounts. Whoever uses the mount waits until the connection is served.
pub(crate) fn mount(request: &Request<'_>) -> io::Result<Mounted> {
    let connection = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("/dev/fuse: {error}; try `modprobe fuse`"),
            )
        })?;
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        connection.as_raw_fd(),
        user.as_raw(),
        group.as_raw(),
    );
    let (source, kind) = match request.source {
        Source::BlockDevice(path) => {
            // Otherwise the kernel would cut the device's page cache into sectors.
            data.push_str(",blksize=4096");
            (path.as_path(), "fuseblk")
        }
        Source::Name(name) => (Path::new(name.as_str()), "fuse"),
    };
    let kind = format!("{kind}.{}", request.name);
    let data = CString::new(data)?;
    rustix::mount::mount(
        source,
        request.mountpoint,
        kind,
        request.flags,
        data.as_c_str(),
    )
    .map_err(|error| explain(error, request))?;
    Ok(Mounted {
        connection: Some(connection),
        mountpoint: request.mountpoint.to_owned(),
    })
}

fn explain(error: rustix::io::Errno, request: &Request<'_>) -> io::Error {
    let text = match (error, request.source) {
        (rustix::io::Errno::BUSY, Source::BlockDevice(path)) => {
            format!(
                "{} is in use: mounted, or opened by another program",
                path.display()
            )
        }
        (rustix::io::Errno::PERM, _) => "mounting needs root".to_owned(),
        _ => format!("mounting at {}: {error}", request.mountpoint.display()),
    };
    io::Error::new(error.kind(), text)
}

/// Unmounts; if files are still open, as soon as they are closed.
pub(crate) fn unmount(mountpoint: &Path) -> io::Result<()> {
    match rustix::mount::unmount(mountpoint, UnmountFlags::empty()) {
        Err(rustix::io::Errno::BUSY) => {
            log::warn!(
                "{} is busy: gone when its files are closed",
                mountpoint.display()
            );
            Ok(rustix::mount::unmount(mountpoint, UnmountFlags::DETACH)?)
        }
        result => Ok(result?),
    }
}

impl Mounted {
    /// The connection to the kernel, to be served: the mount stays.
    pub(crate) fn keep(mut self) -> io::Result<File> {
        self.connection
            .take()
            .ok_or_else(|| io::Error::other("no connection"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The kernel must see the connection end first: it would wait for an answer.
        if self.connection.take().is_some() {
            let _ = rustix::mount::unmount(self.mountpoint.as_path(), UnmountFlags::DETACH);
        }
    }
}

/// A loop device on an image file. Data does not go through it: the kernel gets a block device to
/// mount from, for only then does unmounting wait.
pub(crate) struct LoopDevice(pub(crate) PathBuf);

impl LoopDevice {
    /// `None` where there are no loop devices.
    pub(crate) fn attach(image: &Path, read_only: bool) -> Option<LoopDevice> {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]);
        if read_only {
            command.arg("--read-only");
        }
        let output = command.arg(image).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        let path = PathBuf::from(path.trim_end());
        (output.status.success() && path.is_absolute()).then_some(LoopDevice(path))
    }
}

impl Drop for LoopDevice {
    /// Detaches it, at once or when it is unmounted.
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .output();
    }
}
