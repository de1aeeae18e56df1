//! Requests that look names up and change them.

use crate::abi::{self, Args, InHeader};
use crate::acl;
use crate::server::{Server, put};
use bento_api::{Attr, Errno, FileKind, FileSystem, Ino, NewInode, RenameFlags, Result, mode};
use bento_host::{FileDevice, HostEnv};
use bytemuck::Zeroable;

const NAME_MAX: usize = 255;
/// `renameat2(2)`'s flags.
const RENAME_NOREPLACE: u32 = 1;
const RENAME_EXCHANGE: u32 = 2;

/// What a request to make something says of it.
struct Wish<'a> {
    mode: u32,
    umask: u32,
    rdev: u32,
    target: &'a [u8],
}

impl<FS: FileSystem<HostEnv<FileDevice>>> Server<FS> {
    /// `.` and `..` come from whoever has a file handle and no path (NFS): then nothing is
    /// pinned yet.
    pub(crate) fn lookup(&self, dir: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let attr = match args.take_string()? {
            b"." => self.load_handle(dir),
            b".." => {
                self.load_handle(dir)?;
                let parent = self.fs.parent(dir).and_then(|parent| self.fs.load(parent));
                self.io.forget(dir);
                parent
            }
            name => check_name(name)
                .and_then(|()| self.fs.lookup(dir, name))
                .and_then(|ino| self.fs.load(ino)),
        };
        match attr {
            Ok(attr) => put(out, &self.entry(&attr)),
            Err(Errno::ENOENT) => put(out, &self.no_entry()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn load_handle(&self, ino: Ino) -> Result<Attr> {
        self.fs.load(ino).map_err(|error| match error {
            Errno::ENOENT => Errno::ESTALE,
            error => error,
        })
    }

    pub(crate) fn symlink(
        &self,
        header: &InHeader,
        dir: Ino,
        mut args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let name = args.take_string()?;
        let target = args.take_string()?;
        let mode = u32::from(FileKind::Symlink.mode_bits() | 0o777);
        self.make(
            header,
            dir,
            name,
            &Wish {
                mode,
                umask: 0,
                rdev: 0,
                target,
            },
            out,
        )
    }

    pub(crate) fn mknod(
        &self,
        header: &InHeader,
        dir: Ino,
        mut args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let abi::MknodIn {
            mode, rdev, umask, ..
        } = args.take()?;
        let name = args.take_string()?;
        self.make(
            header,
            dir,
            name,
            &Wish {
                mode,
                umask,
                rdev,
                target: b"",
            },
            out,
        )
    }

    pub(crate) fn mkdir(
        &self,
        header: &InHeader,
        dir: Ino,
        mut args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let abi::MkdirIn { mode, umask } = args.take()?;
        let name = args.take_string()?;
        let mode = mode | u32::from(FileKind::Directory.mode_bits());
        self.make(
            header,
            dir,
            name,
            &Wish {
                mode,
                umask,
                rdev: 0,
                target: b"",
            },
            out,
        )
    }

    pub(crate) fn create(
        &self,
        header: &InHeader,
        dir: Ino,
        mut args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let abi::CreateIn { mode, umask, .. } = args.take()?;
        let name = args.take_string()?;
        self.make(
            header,
            dir,
            name,
            &Wish {
                mode,
                umask,
                rdev: 0,
                target: b"",
            },
            out,
        )?;
        put(out, &abi::OpenOut::zeroed());
        Ok(())
    }

    pub(crate) fn tmpfile(
        &self,
        header: &InHeader,
        dir: Ino,
        mut args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let abi::CreateIn { mode, umask, .. } = args.take()?;
        let wish = Wish {
            mode,
            umask,
            rdev: 0,
            target: b"",
        };
        let attr = self.with_new_inode(header, dir, &wish, |new| self.fs.tmpfile(dir, new))?;
        put(out, &self.entry(&attr));
        put(out, &abi::OpenOut::zeroed());
        Ok(())
    }

    fn make(
        &self,
        header: &InHeader,
        dir: Ino,
        name: &[u8],
        wish: &Wish<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        check_name(name)?;
        let created =
            self.with_new_inode(header, dir, wish, |new| self.fs.create(dir, name, new))?;
        put(out, &self.entry(&created.inode));
        Ok(())
    }

    /// Works out what a new inode in `dir` inherits: its group from a set-group-id directory,
    /// its permissions from the directory's default ACL, else from the umask.
    fn with_new_inode<T>(
        &self,
        header: &InHeader,
        dir: Ino,
        wish: &Wish<'_>,
        make: impl FnOnce(&NewInode<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut mode = u16::try_from(wish.mode).map_err(|_| Errno::EINVAL)?;
        let kind = FileKind::from_mode(mode).ok_or(Errno::EINVAL)?;
        let parent = self.fs.getattr(dir)?;
        let inherits_group = parent.mode & mode::SETGID != 0;
        if inherits_group && kind == FileKind::Directory {
            mode |= mode::SETGID;
        }
        let mut inherited = acl::Inherited::default();
        if self.has_acls && kind != FileKind::Symlink {
            inherited = acl::inherit(&*self.fs, dir, kind == FileKind::Directory, &mut mode)?;
        }
        if !inherited.from_default {
            mode &= !(wish.umask as u16 & 0o777);
        }
        let xattrs: Vec<(&[u8], &[u8])> = inherited
            .xattrs
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        make(&NewInode {
            mode,
            uid: header.uid,
            gid: if inherits_group {
                parent.gid
            } else {
                header.gid
            },
            rdev: wish.rdev,
            target: wish.target,
            xattrs: &xattrs,
        })
    }

    pub(crate) fn link(&self, dir: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let ino = self.ino(args.take::<abi::LinkIn>()?.oldnodeid);
        let name = args.take_string()?;
        check_name(name)?;
        self.fs.link(ino, dir, name)?;
        put(out, &self.entry(&self.fs.load(ino)?));
        Ok(())
    }

    pub(crate) fn unlink(&self, dir: Ino, mut args: Args<'_>) -> Result<()> {
        self.fs.unlink(dir, args.take_string()?).map(drop)
    }

    pub(crate) fn rmdir(&self, dir: Ino, mut args: Args<'_>) -> Result<()> {
        self.fs.rmdir(dir, args.take_string()?).map(drop)
    }

    pub(crate) fn rename(
        &self,
        from_dir: Ino,
        newdir: u64,
        flags: u32,
        mut args: Args<'_>,
    ) -> Result<()> {
        let flags = match flags {
            0 => RenameFlags::Replace,
            RENAME_NOREPLACE => RenameFlags::NoReplace,
            RENAME_EXCHANGE => RenameFlags::Exchange,
            _ => return Err(Errno::EINVAL),
        };
        let from_name = args.take_string()?;
        let to_name = args.take_string()?;
        check_name(to_name)?;
        self.fs
            .rename(from_dir, from_name, self.ino(newdir), to_name, flags)
            .map(drop)
    }

    pub(crate) fn readlink(&self, ino: Ino, out: &mut Vec<u8>) -> Result<()> {
        self.fs.readlink(ino, out)?;
        self.accessed(ino)
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        Err(Errno::ENAMETOOLONG)
    } else {
        Ok(())
    }
}
