//! File systems under test, mounted in a virtual machine.

use crate::kernel::Kernel;
use crate::vm::disk::Disk;
use crate::vm::machine::Machine;
use crate::workspace::Workspace;
use anyhow::Result;
use std::time::Duration;

/// A file system, what runs it, and in which kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    /// ext4, to show that a suite itself works.
    Ext4,
    /// The memory file system as a kernel module.
    Memfs(Kernel),
    /// logfs as a kernel module.
    Logfs(Kernel),
    /// logfs in user space, in the UML kernel: a FUSE that is there on every host.
    LogfsFuse,
}

/// Big enough for every suite.
const DISK_BYTES: u64 = 4 << 30;

impl Subject {
    /// A machine with the disk that it takes.
    pub(super) fn machine(self, workspace: &Workspace, time_limit: Duration) -> Result<Machine> {
        let kernel = match self {
            Subject::Memfs(kernel) | Subject::Logfs(kernel) => kernel,
            Subject::Ext4 | Subject::LogfsFuse => Kernel::Uml,
        };
        let mut machine = Machine::prepare(workspace, kernel)?;
        match self {
            Subject::Ext4 | Subject::LogfsFuse => {}
            Subject::Memfs(_) => machine.load_modules(workspace, &["memfs".to_owned()])?,
            Subject::Logfs(_) => machine.load_modules(workspace, &["logfs".to_owned()])?,
        }
        machine.disks = vec![Disk::Temporary {
            size_bytes: DISK_BYTES,
        }];
        machine.time_limit = time_limit;
        machine.capture = true;
        Ok(machine)
    }

    /// The commands of a shell that make it and mount it on /mnt.
    pub(super) fn mount(self) -> &'static str {
        match self {
            Subject::Ext4 => "mkfs -t ext4 -q $DISK0; mount -t ext4 $DISK0 /mnt",
            Subject::Memfs(_) => "mount -t memfs none /mnt",
            Subject::Logfs(_) => "mkfs -t logfs $DISK0 >/dev/null; mount -t logfs $DISK0 /mnt",
            Subject::LogfsFuse => {
                "mkfs -t logfs $DISK0 >/dev/null; mount -t fuse.logfs $DISK0 /mnt"
            }
        }
    }

    /// The command that mounts it on /mnt once it has been made.
    pub(super) fn mount_again(self) -> &'static str {
        match self {
            Subject::Ext4 => "mount -t ext4 $DISK0 /mnt",
            Subject::Memfs(_) => "mount -t memfs none /mnt",
            Subject::Logfs(_) => "mount -t logfs $DISK0 /mnt",
            Subject::LogfsFuse => "mount -t fuse.logfs $DISK0 /mnt",
        }
    }

    /// The commands that unmount it and make sure that it is whole.
    pub(super) fn unmount(self) -> &'static str {
        match self {
            Subject::Ext4 => "umount /mnt; fsck -t ext4 -f -n $DISK0",
            Subject::Memfs(_) => "umount /mnt",
            Subject::Logfs(_) | Subject::LogfsFuse => "umount /mnt; fsck -t logfs -f -n $DISK0",
        }
    }
}
