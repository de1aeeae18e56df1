//! Requests for attributes and extended attributes.

use crate::abi::{self, Args, fattr};
use crate::acl;
use crate::server::{Server, put, time};
use bento_api::{Errno, FileSystem, Ino, Result, SetAttr, SetTime, SetXattr, Time, mode};
use bento_host::{FileDevice, HostEnv};
use bytemuck::Zeroable;

/// `statx(2)`'s basic statistics and the birth time.
const STATX_ALL: u32 = 0x7ff | 0x800;
/// `setxattr(2)`'s flags.
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

impl<FS: FileSystem<HostEnv<FileDevice>>> Server<FS> {
    pub(crate) fn getattr(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        // Asked for a file descriptor, they are wanted for a write or a read of its end, not for
        // `stat(2)`.
        let is_for_access = args.take::<abi::GetattrIn>()?.flags & abi::GETATTR_FH != 0;
        if is_for_access && let Some(error) = self.write_errors.take(ino) {
            return Err(error);
        }
        put(out, &self.attr_out(&self.fs.getattr(ino)?));
        Ok(())
    }

    /// Like `GETATTR`, with the birth time.
    pub(crate) fn statx(&self, ino: Ino, out: &mut Vec<u8>) -> Result<()> {
        let attr = self.fs.getattr(ino)?;
        let sx_time = |time: Time| abi::StatxTime {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
            reserved: 0,
        };
        let valid = self.attr_out(&attr);
        let (rdev_major, rdev_minor) = decode_dev(attr.rdev);
        let stat = abi::Statx {
            mask: STATX_ALL,
            blksize: self.block_bytes,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            mode: attr.mode,
            ino: attr.ino.0,
            size: attr.size_bytes,
            blocks: attr.sectors,
            atime: sx_time(attr.atime),
            btime: sx_time(attr.btime),
            ctime: sx_time(attr.ctime),
            mtime: sx_time(attr.mtime),
            rdev_major,
            rdev_minor,
            ..abi::Statx::zeroed()
        };
        put(
            out,
            &abi::StatxOut {
                attr_valid: valid.attr_valid,
                stat,
                ..abi::StatxOut::zeroed()
            },
        );
        Ok(())
    }

    pub(crate) fn setattr(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let wish: abi::SetattrIn = args.take()?;
        let mut set = set_attr(&wish);
        if wish.valid & fattr::KILL_SUIDGID != 0 {
            let mut attr = self.fs.getattr(ino)?;
            attr.mode = set
                .mode
                .map_or(attr.mode, |mode| attr.mode & mode::KIND_MASK | mode);
            set.mode = Self::mode_without_privileges(&attr).or(set.mode);
            self.drop_capabilities(ino)?;
        }
        let attr = self.io.setattr(ino, &set)?;
        if set.mode.is_some() && self.has_acls {
            acl::change_mode(&*self.fs, &attr)?;
        }
        put(out, &self.attr_out(&attr));
        Ok(())
    }

    pub(crate) fn statfs(&self, out: &mut Vec<u8>) -> Result<()> {
        let stat = self.fs.statfs()?;
        put(
            out,
            &abi::StatfsOut {
                blocks: stat.blocks,
                bfree: stat.blocks_free,
                bavail: stat.blocks_available,
                files: stat.inodes,
                ffree: stat.inodes_free,
                bsize: stat.block_bytes,
                frsize: stat.block_bytes,
                namelen: stat.name_max,
                ..abi::StatfsOut::zeroed()
            },
        );
        Ok(())
    }

    pub(crate) fn setxattr(&self, ino: Ino, mut args: Args<'_>) -> Result<()> {
        let wish: abi::SetxattrIn = args.take()?;
        let name = args.take_string()?;
        let value = args.0.get(..wish.size as usize).ok_or(Errno::EINVAL)?;
        let how = match wish.flags {
            0 => SetXattr::Any,
            XATTR_CREATE => SetXattr::Create,
            XATTR_REPLACE => SetXattr::Replace,
            _ => return Err(Errno::EINVAL),
        };
        if name == acl::ACCESS && self.has_acls {
            let kill_sgid = wish.setxattr_flags & abi::SETXATTR_ACL_KILL_SGID != 0;
            return acl::set_access(&*self.fs, ino, value, kill_sgid);
        }
        self.fs.setxattr(ino, name, Some(value), how).map(drop)
    }

    pub(crate) fn removexattr(&self, ino: Ino, mut args: Args<'_>) -> Result<()> {
        self.fs
            .setxattr(ino, args.take_string()?, None, SetXattr::Any)
            .map(drop)
    }

    pub(crate) fn getxattr(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let limit: abi::GetxattrIn = args.take()?;
        self.fs.getxattr(ino, args.take_string()?, out)?;
        answer_within(limit.size, out)
    }

    pub(crate) fn listxattr(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let limit: abi::GetxattrIn = args.take()?;
        self.fs.listxattr(ino, &mut |name| {
            out.extend_from_slice(name);
            out.push(0);
        })?;
        answer_within(limit.size, out)
    }
}

/// Whoever asks with size 0 wants to know the size.
fn answer_within(limit: u32, out: &mut Vec<u8>) -> Result<()> {
    let len = u32::try_from(out.len()).map_err(|_| Errno::E2BIG)?;
    if limit == 0 {
        out.clear();
        put(
            out,
            &abi::GetxattrOut {
                size: len,
                padding: 0,
            },
        );
        return Ok(());
    }
    if len > limit {
        Err(Errno::ERANGE)
    } else {
        Ok(())
    }
}

fn set_attr(wish: &abi::SetattrIn) -> SetAttr {
    let has = |bit: u32| wish.valid & bit != 0;
    let set_time = |to: u32, now: u32, time: Time| match (has(to), has(now)) {
        (_, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::To(time)),
        (false, false) => None,
    };
    SetAttr {
        mode: has(fattr::MODE).then_some(wish.mode as u16 & mode::PERMISSION_MASK),
        uid: has(fattr::UID).then_some(wish.uid),
        gid: has(fattr::GID).then_some(wish.gid),
        size_bytes: has(fattr::SIZE).then_some(wish.size),
        atime: set_time(
            fattr::ATIME,
            fattr::ATIME_NOW,
            time(wish.atime, wish.atimensec),
        ),
        mtime: set_time(
            fattr::MTIME,
            fattr::MTIME_NOW,
            time(wish.mtime, wish.mtimensec),
        ),
        ctime: has(fattr::CTIME).then(|| SetTime::To(time(wish.ctime, wish.ctimensec))),
    }
}

/// Major and minor number in the kernel's `new_encode_dev` form.
fn decode_dev(rdev: u32) -> (u32, u32) {
    ((rdev >> 8) & 0xfff, rdev & 0xff | (rdev >> 12) & 0xfff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_apart() {
        assert_eq!(decode_dev(0x0801), (8, 1));
        let encoded = 0x45 | 259 << 8 | 0x12300 << 12;
        assert_eq!(decode_dev(encoded), (259, 0x12345));
    }

    #[test]
    fn now_goes_before_a_time() {
        let wish = abi::SetattrIn {
            valid: fattr::MTIME | fattr::MTIME_NOW | fattr::ATIME,
            atime: -1_i64 as u64,
            atimensec: 5,
            ..abi::SetattrIn::zeroed()
        };
        let set = set_attr(&wish);
        assert_eq!(set.mtime, Some(SetTime::Now));
        assert_eq!(
            set.atime,
            Some(SetTime::To(Time {
                seconds: -1,
                nanoseconds: 5
            }))
        );
        assert_eq!((set.ctime, set.size_bytes, set.mode), (None, None, None));
    }
}
