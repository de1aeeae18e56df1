//! The nouns of the ABI as those of `bento-api`, and back.

use crate::abi;
use bento_api::{
    Attr, Created, Errno, FallocateMode, Mapping, MappingKind, NewInode, RenameFlags, Renamed,
    Result, SetAttr, SetTime, SetXattr, StatFs, Time, Unlinked, Written,
};

impl From<Time> for abi::bento_time {
    fn from(time: Time) -> Self {
        abi::bento_time {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
            reserved: 0,
        }
    }
}

impl From<abi::bento_time> for Time {
    fn from(time: abi::bento_time) -> Self {
        Time {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
        }
    }
}

impl From<Attr> for abi::bento_attr {
    fn from(attr: Attr) -> Self {
        abi::bento_attr {
            ino: attr.ino.0,
            size_bytes: attr.size_bytes,
            sectors: attr.sectors,
            atime: attr.atime.into(),
            mtime: attr.mtime.into(),
            ctime: attr.ctime.into(),
            btime: attr.btime.into(),
            generation: attr.generation,
            mode: attr.mode.into(),
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
        }
    }
}

impl From<&abi::bento_setattr> for SetAttr {
    fn from(set: &abi::bento_setattr) -> Self {
        let has = |bit| set.valid & bit != 0;
        let time = |bit, time: abi::bento_time| has(bit).then(|| SetTime::To(time.into()));
        SetAttr {
            mode: has(abi::BENTO_SET_MODE).then_some(set.mode as u16),
            uid: has(abi::BENTO_SET_UID).then_some(set.uid),
            gid: has(abi::BENTO_SET_GID).then_some(set.gid),
            size_bytes: has(abi::BENTO_SET_SIZE).then_some(set.size_bytes),
            atime: time(abi::BENTO_SET_ATIME, set.atime),
            mtime: time(abi::BENTO_SET_MTIME, set.mtime),
            ctime: time(abi::BENTO_SET_CTIME, set.ctime),
        }
    }
}

impl From<StatFs> for abi::bento_statfs {
    fn from(st: StatFs) -> Self {
        abi::bento_statfs {
            blocks: st.blocks,
            blocks_free: st.blocks_free,
            blocks_available: st.blocks_available,
            inodes: st.inodes,
            inodes_free: st.inodes_free,
            fsid: st.fsid,
            block_bytes: st.block_bytes,
            name_max: st.name_max,
        }
    }
}

impl From<Mapping> for abi::bento_mapping {
    fn from(mapping: Mapping) -> Self {
        let (kind, address_bytes) = match mapping.kind {
            MappingKind::Hole => (abi::BENTO_MAP_HOLE, 0),
            MappingKind::Mapped { address_bytes } => (abi::BENTO_MAP_MAPPED, address_bytes),
            MappingKind::Unwritten { address_bytes } => (abi::BENTO_MAP_UNWRITTEN, address_bytes),
            MappingKind::Delayed => (abi::BENTO_MAP_DELAYED, 0),
        };
        abi::bento_mapping {
            offset_bytes: mapping.offset_bytes,
            len_bytes: mapping.len_bytes,
            address_bytes,
            kind,
            reserved: 0,
        }
    }
}

impl From<Created> for abi::bento_changed {
    fn from(created: Created) -> Self {
        abi::bento_changed {
            inode: created.inode.into(),
            dir: created.dir.into(),
        }
    }
}

impl From<Unlinked> for abi::bento_changed {
    fn from(unlinked: Unlinked) -> Self {
        abi::bento_changed {
            inode: unlinked.inode.into(),
            dir: unlinked.dir.into(),
        }
    }
}

impl From<Renamed> for abi::bento_renamed {
    fn from(renamed: Renamed) -> Self {
        abi::bento_renamed {
            from_dir: renamed.from_dir.into(),
            to_dir: renamed.to_dir.into(),
            inode: renamed.inode.into(),
            target: renamed.target.map(Into::into).unwrap_or_default(),
            has_target: renamed.target.is_some(),
        }
    }
}

pub(crate) fn rename_flags(flags: u32) -> Result<RenameFlags> {
    match flags {
        abi::BENTO_RENAME_REPLACE => Ok(RenameFlags::Replace),
        abi::BENTO_RENAME_NOREPLACE => Ok(RenameFlags::NoReplace),
        abi::BENTO_RENAME_EXCHANGE => Ok(RenameFlags::Exchange),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn set_xattr(how: u32) -> Result<SetXattr> {
    match how {
        abi::BENTO_XATTR_ANY => Ok(SetXattr::Any),
        abi::BENTO_XATTR_CREATE => Ok(SetXattr::Create),
        abi::BENTO_XATTR_REPLACE => Ok(SetXattr::Replace),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn fallocate_mode(mode: u32, keep_size: bool) -> Result<FallocateMode> {
    match mode {
        abi::BENTO_FALLOC_ALLOCATE => Ok(FallocateMode::Allocate { keep_size }),
        abi::BENTO_FALLOC_PUNCH => Ok(FallocateMode::Punch),
        abi::BENTO_FALLOC_ZERO => Ok(FallocateMode::Zero { keep_size }),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// What C returns for success or an error.
pub(crate) fn status(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => -errno.raw(),
    }
}

/// What C returned.
pub(crate) fn result(status: i32) -> Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(Errno::from_raw(status))
    }
}

/// The bytes that C points to.
///
/// # Safety
/// They are valid and don't change while the slice lives.
pub(crate) unsafe fn bytes<'a>(bytes: abi::bento_bytes) -> &'a [u8] {
    if bytes.data.is_null() {
        return &[];
    }
    // SAFETY: the caller promises that pointer and length are good.
    unsafe { core::slice::from_raw_parts(bytes.data, bytes.len_bytes) }
}

/// An inode to be made, without its extended attributes.
///
/// # Safety
/// As for [`bytes`], of its target.
pub(crate) unsafe fn new_inode<'a>(
    new: &abi::bento_new_inode,
    xattrs: &'a [(&'a [u8], &'a [u8])],
) -> NewInode<'a> {
    NewInode {
        mode: new.mode as u16,
        uid: new.uid,
        gid: new.gid,
        rdev: new.rdev,
        // SAFETY: the caller promises it.
        target: unsafe { bytes(new.target) },
        xattrs,
    }
}

/// The end of data I/O.
///
/// # Safety
/// As for [`bytes`], of its checksums.
pub(crate) unsafe fn written<'a>(written: &abi::bento_written) -> Written<'a> {
    let checksums = if written.checksums.is_null() {
        &[]
    } else {
        // SAFETY: the caller promises it.
        unsafe { core::slice::from_raw_parts(written.checksums, written.checksum_count) }
    };
    Written {
        offset_bytes: written.offset_bytes,
        len_bytes: written.len_bytes,
        result: result(written.result),
        size_bytes: written.size_bytes,
        checksums,
    }
}
