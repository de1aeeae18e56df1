//! Reading requests from the kernel and answering them.
//!
//! A mount on a block device (type `fuseblk`) ends with a `DESTROY` that the kernel waits for:
//! the file system is unmounted before it is answered, so `umount(2)` returns when the device is
//! up to date. Without a block device the kernel waits for nobody; then the file system is
//! unmounted when reading says that the mount is gone.

use crate::abi::{self, InHeader, InitIn, InitOut, OutHeader, init, opcode};
use crate::server::{Server, put};
use bento_api::{Errno, Event, FileSystem, Result};
use bento_host::{FileDevice, HostEnv, errno};
use bytemuck::Zeroable;
use parking_lot::{Mutex, RwLock};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

/// Data in one request: as much as the kernel sends at all.
const MAX_WRITE_BYTES: u32 = 1 << 20;
const PAGE_BYTES: u32 = 4096;
/// A request's data, and what stands before it.
const BUFFER_BYTES: usize = MAX_WRITE_BYTES as usize + PAGE_BYTES as usize;
/// Requests at once that nobody waits for, such as read-ahead and write-back.
const MAX_BACKGROUND: u16 = 64;
/// No pause in background work is longer, so that its thread sees the mount's end.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// The connection to the kernel of one mount.
pub(crate) struct Session<FS: FileSystem<HostEnv<FileDevice>>> {
    pub(crate) connection: File,
    pub(crate) server: Server<FS>,
    /// Held shared while a request is carried out, alone to unmount.
    requests: RwLock<()>,
    /// Held during background work. A request may wait for that work, so it must not wait for
    /// `requests`.
    background: Mutex<()>,
}

impl<FS: FileSystem<HostEnv<FileDevice>>> Session<FS> {
    /// Agrees with the kernel on what each can do. `connection` is mounted.
    pub(crate) fn start(connection: File, server: Server<FS>) -> io::Result<Self> {
        let session = Session {
            connection,
            server,
            requests: RwLock::default(),
            background: Mutex::default(),
        };
        let mut buffer = vec![0; BUFFER_BYTES];
        let len = (&session.connection).read(&mut buffer)?;
        let (header, mut args) = parse(buffer.get(..len).unwrap_or_default())
            .filter(|(header, _)| header.opcode == opcode::INIT)
            .ok_or_else(|| io::Error::other("the kernel did not start with INIT"))?;
        let kernel: InitIn = args
            .take()
            .map_err(|error| io::Error::other(error.to_string()))?;
        if kernel.major != abi::MAJOR || kernel.minor < abi::MINOR_MIN {
            session.answer(&header, Err(Errno::EINVAL), &[])?;
            let text = format!(
                "the kernel speaks FUSE {}.{}; {}.{} or newer is needed",
                kernel.major,
                kernel.minor,
                abi::MAJOR,
                abi::MINOR_MIN
            );
            return Err(io::Error::other(text));
        }
        let mut out = Vec::new();
        put(&mut out, &session.init_reply(&kernel));
        session.answer(&header, Ok(()), &out)?;
        Ok(session)
    }

    fn init_reply(&self, kernel: &InitIn) -> InitOut {
        let mut wanted = init::ASYNC_READ
            | init::EXPORT_SUPPORT
            | init::BIG_WRITES
            | init::DONT_MASK
            | init::DO_READDIRPLUS
            | init::READDIRPLUS_AUTO
            | init::ASYNC_DIO
            | init::WRITEBACK_CACHE
            | init::NO_OPEN_SUPPORT
            | init::PARALLEL_DIROPS
            | init::MAX_PAGES
            | init::CACHE_SYMLINKS
            | init::NO_OPENDIR_SUPPORT
            | init::HANDLE_KILLPRIV_V2
            | init::SETXATTR_EXT;
        if self.server.has_acls {
            wanted |= init::POSIX_ACL;
        }
        InitOut {
            major: abi::MAJOR,
            minor: abi::MINOR.min(kernel.minor),
            max_readahead: kernel.max_readahead,
            flags: wanted & kernel.flags,
            max_background: MAX_BACKGROUND,
            congestion_threshold: MAX_BACKGROUND / 4 * 3,
            max_write: MAX_WRITE_BYTES,
            time_gran: 1,
            max_pages: (MAX_WRITE_BYTES / PAGE_BYTES) as u16,
            ..InitOut::zeroed()
        }
    }

    /// Serves with `threads` threads until the file system is unmounted.
    pub(crate) fn run(&self, threads: usize) -> io::Result<()> {
        std::thread::scope(|scope| {
            scope.spawn(|| self.background());
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work())).collect();
            let ended = workers.into_iter().map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            });
            let ended = ended.fold(Ok(()), io::Result::and);
            let unmounted = self.unmount();
            self.server.env.background_event().notify_all();
            unmounted
                .map_err(|error| io::Error::from_raw_os_error(error.raw()))
                .and(ended)
        })
    }

    fn work(&self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut out = Vec::new();
        loop {
            let len = match (&self.connection).read(&mut buffer) {
                Ok(len) => len,
                Err(error) => match errno(&error) {
                    // The request was taken back, or a signal came.
                    Errno::ENOENT | Errno::EINTR | Errno::EAGAIN => continue,
                    Errno::ENODEV => return Ok(()),
                    _ => return Err(error),
                },
            };
            let Some((header, args)) = parse(buffer.get(..len).unwrap_or_default()) else {
                continue;
            };
            out.clear();
            let result = if header.opcode == opcode::DESTROY {
                self.unmount()
            } else {
                let _carried_out = self.requests.read();
                self.server.handle(&header, args.0, &mut out)
            };
            if !matches!(header.opcode, opcode::FORGET | opcode::BATCH_FORGET) {
                self.answer(&header, result, &out)?;
            }
        }
    }

    fn unmount(&self) -> Result<()> {
        let _no_requests = self.requests.write();
        let _no_background = self.background.lock();
        let result = self.server.unmount();
        self.server.release_device();
        result
    }

    fn answer(&self, request: &InHeader, result: Result<()>, out: &[u8]) -> io::Result<()> {
        let (error, out) = match result {
            Ok(()) => (0, out),
            Err(error) => (-error.raw(), [].as_slice()),
        };
        let len = (size_of::<OutHeader>() + out.len()) as u32;
        let header = OutHeader {
            len,
            error,
            unique: request.unique,
        };
        let parts = [IoSlice::new(bytemuck::bytes_of(&header)), IoSlice::new(out)];
        match (&self.connection).write_vectored(&parts) {
            Ok(_) => Ok(()),
            // Nobody waits for it any more.
            Err(error) if matches!(errno(&error), Errno::ENOENT | Errno::ENODEV) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Calls the file system's background work when it is due or asked for.
    fn background(&self) {
        let event = self.server.env.background_event();
        loop {
            let ticket = event.ticket();
            let pause = {
                let _carried_out = self.background.lock();
                Duration::from_millis(self.server.background()).min(MAX_PAUSE)
            };
            if self.server.is_dead() {
                return;
            }
            event.wait_until(ticket, Instant::now() + pause);
        }
    }
}

fn parse(message: &[u8]) -> Option<(InHeader, abi::Args<'_>)> {
    let mut args = abi::Args(message);
    let header: InHeader = args.take().ok()?;
    Some((header, args))
}
