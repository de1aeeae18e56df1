//! What one mount consists of, and which operation a request is.

use crate::abi::{self, Args, InHeader, opcode};
use crate::pins::Pins;
use crate::write_errors::WriteErrors;
use bento_api::{
    Attr, Env, Errno, FileKind, FileSystem, Ino, Level, Result, SetAttr, SetTime, Time, mode,
};
use bento_host::{FileDevice, FileIo, HostEnv};
use bytemuck::Zeroable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Names change only through this mount, so the kernel may keep them.
const ENTRY_VALID_SECONDS: u64 = 24 * 3600;
/// Attributes change behind the kernel's back (space taken, times): it asks again.
const ATTR_VALID_SECONDS: u64 = 1;
/// Older access times are renewed in any case.
const ACCESS_TIME_SECONDS: i64 = 24 * 3600;

/// When reading changes the time of the last access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessTimes {
    /// Always.
    Strict,
    /// When it is not later than the last change, or a day old.
    Relative,
    /// Never.
    Off,
}

pub(crate) struct Server<FS: FileSystem<HostEnv<FileDevice>>> {
    pub(crate) env: HostEnv<FileDevice>,
    pub(crate) fs: Arc<FS>,
    pub(crate) io: FileIo<HostEnv<FileDevice>, FS>,
    pub(crate) pins: Pins,
    pub(crate) write_errors: WriteErrors,
    pub(crate) block_bytes: u32,
    /// The file system keeps access control lists: the kernel checks them, we pass them on.
    pub(crate) has_acls: bool,
    pub(crate) access_times: AccessTimes,
    root: Ino,
    /// The file system has panicked, or is unmounted: nothing asks it any more.
    dead: AtomicBool,
}

impl<FS: FileSystem<HostEnv<FileDevice>>> Server<FS> {
    pub(crate) fn new(
        env: HostEnv<FileDevice>,
        fs: Arc<FS>,
        access_times: AccessTimes,
    ) -> Result<Self> {
        let root = fs.root();
        // The kernel knows the root without having looked it up.
        fs.load(root)?;
        let pins = Pins::default();
        pins.add(root);
        let acl = fs.getxattr(root, crate::acl::ACCESS, &mut Vec::new());
        Ok(Server {
            io: FileIo::new(env.clone(), Arc::clone(&fs))?,
            block_bytes: fs.statfs()?.block_bytes,
            has_acls: acl != Err(Errno::EOPNOTSUPP),
            access_times,
            pins,
            write_errors: WriteErrors::default(),
            dead: AtomicBool::new(false),
            env,
            fs,
            root,
        })
    }

    /// Carries out a request; what it answers goes to the end of `out`.
    ///
    /// A panic must not take the mount's other users down with it: whoever asked gets `EIO`, and
    /// so does everybody from then on.
    pub(crate) fn handle(&self, header: &InHeader, args: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.is_dead() {
            return Err(Errno::EIO);
        }
        bento_host::set_caller(header.uid);
        self.guarded(|| self.dispatch(header, Args(args), out))
    }

    /// Does what is due in the background; in how many milliseconds to come again.
    pub(crate) fn background(&self) -> u64 {
        if self.is_dead() {
            return u64::MAX;
        }
        self.guarded(|| Ok(self.fs.background().min(self.io.clean())))
            .unwrap_or(u64::MAX)
    }

    /// Ends all pins and unmounts. The second time it does nothing.
    pub(crate) fn unmount(&self) -> Result<()> {
        if self.is_dead() {
            return Ok(());
        }
        let result = self.guarded(|| {
            self.pins.drain(|ino| self.io.forget(ino));
            self.fs.unmount()
        });
        self.dead.store(true, Ordering::Release);
        result
    }

    /// Lets others open the device while this process still ends.
    pub(crate) fn release_device(&self) {
        self.env.device().release();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    fn guarded<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
            self.dead.store(true, Ordering::Release);
            self.env.log(
                Level::Error,
                format_args!("the file system panicked and is shut down; unmount it and run fsck"),
            );
            Err(Errno::EIO)
        })
    }

    fn dispatch(&self, header: &InHeader, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let ino = self.ino(header.nodeid);
        match header.opcode {
            opcode::LOOKUP => self.lookup(ino, args, out),
            opcode::FORGET => {
                self.forget(ino, args.take::<abi::ForgetIn>()?.nlookup);
                Ok(())
            }
            opcode::BATCH_FORGET => {
                for _ in 0..args.take::<abi::BatchForgetIn>()?.count {
                    let one = args.take::<abi::ForgetOne>()?;
                    self.forget(self.ino(one.nodeid), one.nlookup);
                }
                Ok(())
            }
            opcode::GETATTR => self.getattr(ino, args, out),
            opcode::STATX => self.statx(ino, out),
            opcode::SETATTR => self.setattr(ino, args, out),
            opcode::READLINK => self.readlink(ino, out),
            opcode::SYMLINK => self.symlink(header, ino, args, out),
            opcode::MKNOD => self.mknod(header, ino, args, out),
            opcode::MKDIR => self.mkdir(header, ino, args, out),
            opcode::CREATE => self.create(header, ino, args, out),
            opcode::TMPFILE => self.tmpfile(header, ino, args, out),
            opcode::UNLINK => self.unlink(ino, args),
            opcode::RMDIR => self.rmdir(ino, args),
            opcode::RENAME => {
                let newdir = args.take::<abi::RenameIn>()?.newdir;
                self.rename(ino, newdir, 0, args)
            }
            opcode::RENAME2 => {
                let to = args.take::<abi::Rename2In>()?;
                self.rename(ino, to.newdir, to.flags, args)
            }
            opcode::LINK => self.link(ino, args, out),
            opcode::READ => self.read(ino, args, out),
            opcode::WRITE => self.write(ino, args, out),
            opcode::FALLOCATE => self.fallocate(ino, args),
            opcode::LSEEK => self.lseek(ino, args, out),
            opcode::FSYNC | opcode::FSYNCDIR => self.fsync(ino, args),
            opcode::SYNCFS => self.fs.sync(true),
            opcode::STATFS => self.statfs(out),
            opcode::READDIR => self.readdir(ino, args, out),
            opcode::READDIRPLUS => self.readdirplus(ino, args, out),
            opcode::SETXATTR => self.setxattr(ino, args),
            opcode::GETXATTR => self.getxattr(ino, args, out),
            opcode::LISTXATTR => self.listxattr(ino, args, out),
            opcode::REMOVEXATTR => self.removexattr(ino, args),
            // The kernel then does without: opening and closing needs nobody's consent, locks
            // are its own, copying goes by reading and writing.
            _ => Err(Errno::ENOSYS),
        }
    }

    /// The kernel calls the root 1. An inode that has that number goes by the root's, which is
    /// free then.
    pub(crate) fn ino(&self, nodeid: u64) -> Ino {
        match nodeid {
            abi::ROOT_ID => self.root,
            number if number == self.root.0 => Ino(abi::ROOT_ID),
            number => Ino(number),
        }
    }

    pub(crate) fn nodeid(&self, ino: Ino) -> u64 {
        // The map is its own reverse.
        self.ino(ino.0).0
    }

    fn forget(&self, ino: Ino, count: u64) {
        for _ in 0..self.pins.remove(ino, count) {
            self.io.forget(ino);
        }
        if !self.pins.holds(ino) {
            self.write_errors.take(ino);
        }
    }

    /// Answers with an inode which has just been pinned: the kernel ends that pin by `FORGET`.
    pub(crate) fn entry(&self, attr: &Attr) -> abi::EntryOut {
        self.pins.add(attr.ino);
        abi::EntryOut {
            nodeid: self.nodeid(attr.ino),
            generation: u64::from(attr.generation),
            entry_valid: ENTRY_VALID_SECONDS,
            attr_valid: ATTR_VALID_SECONDS,
            attr: self.fuse_attr(attr),
            ..abi::EntryOut::zeroed()
        }
    }

    /// Answers that nothing stands under a name, for the kernel to keep.
    pub(crate) fn no_entry(&self) -> abi::EntryOut {
        abi::EntryOut {
            entry_valid: ENTRY_VALID_SECONDS,
            ..abi::EntryOut::zeroed()
        }
    }

    pub(crate) fn attr_out(&self, attr: &Attr) -> abi::AttrOut {
        abi::AttrOut {
            attr_valid: ATTR_VALID_SECONDS,
            attr_valid_nsec: 0,
            dummy: 0,
            attr: self.fuse_attr(attr),
        }
    }

    fn fuse_attr(&self, attr: &Attr) -> abi::Attr {
        abi::Attr {
            ino: attr.ino.0,
            size: attr.size_bytes,
            blocks: attr.sectors,
            atime: attr.atime.seconds as u64,
            mtime: attr.mtime.seconds as u64,
            ctime: attr.ctime.seconds as u64,
            atimensec: attr.atime.nanoseconds,
            mtimensec: attr.mtime.nanoseconds,
            ctimensec: attr.ctime.nanoseconds,
            mode: u32::from(attr.mode),
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            blksize: self.block_bytes,
            flags: 0,
        }
    }

    /// What remains of a mode when somebody without the right to keep them changes a file: no
    /// set-user-id, and no set-group-id if the group may execute it.
    pub(crate) fn mode_without_privileges(attr: &Attr) -> Option<u16> {
        const GROUP_EXECUTE: u16 = 0o010;
        if attr.kind() == FileKind::Directory {
            return None;
        }
        let mut kept = attr.mode & !mode::SETUID;
        if attr.mode & GROUP_EXECUTE != 0 {
            kept &= !mode::SETGID;
        }
        (kept != attr.mode).then_some(kept & mode::PERMISSION_MASK)
    }

    /// Notes that an inode was read. The kernel leaves that to the server.
    pub(crate) fn accessed(&self, ino: Ino) -> Result<()> {
        if self.access_times == AccessTimes::Off {
            return Ok(());
        }
        let attr = self.fs.getattr(ino)?;
        let age_seconds = self.env.now().seconds.saturating_sub(attr.atime.seconds);
        let is_old = age_seconds >= ACCESS_TIME_SECONDS;
        let before_change = attr.atime <= attr.mtime.max(attr.ctime);
        if self.access_times == AccessTimes::Strict || is_old || before_change {
            let atime = Some(SetTime::Now);
            let ctime = Some(SetTime::To(attr.ctime));
            self.fs.setattr(
                ino,
                &SetAttr {
                    atime,
                    ctime,
                    ..SetAttr::default()
                },
            )?;
        }
        Ok(())
    }

    /// Takes set-user-id, set-group-id and file capabilities away after a change.
    pub(crate) fn drop_privileges(&self, ino: Ino) -> Result<()> {
        if let Some(mode) = Self::mode_without_privileges(&self.fs.getattr(ino)?) {
            self.fs.setattr(
                ino,
                &SetAttr {
                    mode: Some(mode),
                    ..SetAttr::default()
                },
            )?;
        }
        self.drop_capabilities(ino)
    }

    pub(crate) fn drop_capabilities(&self, ino: Ino) -> Result<()> {
        let how = bento_api::SetXattr::Any;
        match self.fs.setxattr(ino, b"security.capability", None, how) {
            Ok(_) | Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn time(seconds: u64, nanoseconds: u32) -> Time {
    Time {
        seconds: seconds as i64,
        nanoseconds,
    }
}

/// Appends a structure to an answer.
pub(crate) fn put<T: bytemuck::NoUninit>(out: &mut Vec<u8>, message: &T) {
    out.extend_from_slice(bytemuck::bytes_of(message));
}
