//! Attributes of inodes.

use super::State;
use crate::LogFs;
use bento_api::{Attr, Env, Ino, SetAttr, SetTime, Time};
use logfs_format::{BLOCK_BYTES, InodeHead, Timestamp};

/// Sectors of 512 bytes in a block, as `stat(2)` counts.
const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES as u64 / 512;

/// A time as it is stored.
pub(crate) fn from_time(time: Time) -> Timestamp {
    Timestamp {
        seconds: time.seconds.into(),
        nanoseconds: time.nanoseconds.into(),
    }
}

pub(crate) fn to_time(stamp: Timestamp) -> Time {
    // A wild value must not reach callers that rely on the range.
    Time {
        seconds: stamp.seconds.get(),
        nanoseconds: stamp.nanoseconds.get().min(999_999_999),
    }
}

/// The present, as it is stored.
pub(crate) fn now<E: Env>(fs: &LogFs<E>) -> Timestamp {
    from_time(fs.env.now())
}

impl State {
    /// What `stat(2)` tells.
    pub(crate) fn attr(&self) -> Attr {
        let disk: &InodeHead = &self.disk;
        let in_use = self.in_use();
        let on_the_way = in_use.delayed.promised() + in_use.placed.blocks();
        Attr {
            ino: Ino(self.ino),
            generation: disk.generation.get(),
            mode: disk.mode.get(),
            nlink: disk.nlink.get(),
            uid: disk.uid.get(),
            gid: disk.gid.get(),
            rdev: disk.rdev.get(),
            size_bytes: disk.size_bytes.get(),
            sectors: disk
                .blocks
                .get()
                .saturating_add(on_the_way)
                .saturating_mul(SECTORS_PER_BLOCK),
            atime: to_time(disk.atime),
            mtime: to_time(disk.mtime),
            ctime: to_time(disk.ctime),
            btime: to_time(disk.btime),
        }
    }

    /// Changes everything that `set` asks for but the size.
    pub(crate) fn set_attr(&mut self, set: &SetAttr, now: Timestamp) {
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::To(time) => from_time(time),
        };
        let disk: &mut InodeHead = &mut self.disk;
        if let Some(mode) = set.mode {
            let mask = bento_api::mode::PERMISSION_MASK;
            disk.mode.set(disk.mode.get() & !mask | mode & mask);
        }
        if let Some(uid) = set.uid {
            disk.uid.set(uid);
        }
        if let Some(gid) = set.gid {
            disk.gid.set(gid);
        }
        if let Some(atime) = set.atime {
            disk.atime = time(atime);
        }
        if let Some(mtime) = set.mtime {
            disk.mtime = time(mtime);
        }
        disk.ctime = set.ctime.map_or(now, time);
    }
}
