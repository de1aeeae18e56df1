//! The workloads. Each starts on a file system that was just made, and consists of steps that are
//! measured one by one.

mod aged;
mod append;
mod data;
mod fio;
mod footprint;
mod names;
mod personality;
mod recovery;
mod sql;
mod tree;

use crate::Suite;
use crate::file_system::FileSystem;
use crate::input::Input;
use crate::stage::Stage;
use anyhow::{Result, bail};

/// What a workload does.
type Body = fn(&mut Stage<'_>, Option<&Input>) -> Result<()>;

/// One workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The smallest suite that has it.
    pub(crate) suite: Suite,
    /// Whether it works on real files.
    pub(crate) needs_input: bool,
    /// Whether it waits for the device most of the time: what is measured on slowed ones.
    waits: bool,
    /// The file systems that it makes sense on.
    on: On,
    pub(crate) body: Body,
}

/// Which file systems a workload makes sense on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    FileSystems,
    /// The device without a file system as well.
    AlsoRaw,
    /// Those that use the device, and have to answer for its space or for memory.
    Persistent,
    /// Those whose tools or kernel side it needs.
    LogfsAndExt4,
    /// Not what runs in user space: it must survive its own shutdown.
    InKernel,
}

impl Workload {
    /// Whether it makes sense on this file system.
    pub(crate) fn is_for(&self, file_system: FileSystem) -> bool {
        use FileSystem::{Ext4, Logfs, LogfsFuse, Raw, Tmpfs};
        match self.on {
            On::FileSystems => file_system != Raw,
            On::AlsoRaw => true,
            On::LogfsAndExt4 => matches!(file_system, Logfs | Ext4),
            On::Persistent => !matches!(file_system, Tmpfs | Raw),
            On::InKernel => !matches!(file_system, LogfsFuse | Tmpfs | Raw),
        }
    }
}

const fn workload(
    name: &'static str,
    about: &'static str,
    suite: Suite,
    on: On,
    body: Body,
) -> Workload {
    Workload {
        name,
        about,
        suite,
        needs_input: false,
        waits: false,
        on,
        body,
    }
}

const fn waiting(workload: Workload) -> Workload {
    Workload {
        waits: true,
        ..workload
    }
}

const fn with_input(workload: Workload) -> Workload {
    Workload {
        needs_input: true,
        ..workload
    }
}

use On::{AlsoRaw, FileSystems, InKernel, LogfsAndExt4, Persistent};
use Suite::{Full, Quick};

/// All of them; see [`crate::turns`] for the order in which they run.
#[rustfmt::skip]
const WORKLOADS: &[Workload] = &[
    waiting(workload("append-1", "append 4 KiB and fsync, one file", Quick, FileSystems, append::by_1)),
    waiting(workload("append-8", "the same from 8 threads, a file each", Quick, FileSystems, append::by_8)),
    waiting(workload("new-files", "create a file of 4 KiB and fsync it", Quick, FileSystems, append::new_files)),
    waiting(workload("varmail", "a mail server: deliver, read, delete, with fsync (Filebench)", Quick, FileSystems, personality::varmail)),
    waiting(workload("sqlite-rollback", "sqlite3: a transaction for each insert, rollback journal", Quick, FileSystems, sql::sqlite_rollback)),
    waiting(workload("sqlite-wal", "the same with a write-ahead log", Full, FileSystems, sql::sqlite_wal)),
    waiting(workload("pgbench", "PostgreSQL: pgbench's standard transactions", Full, FileSystems, sql::pgbench)),
    with_input(workload("tree", "unpack, clone, find, grep, copy and remove a source tree", Quick, FileSystems, tree::all)),
    workload("names-4k-1", "create, list, stat, rename, unlink files of 4 KiB, one directory", Quick, FileSystems, names::full_flat_1),
    workload("names-4k-8", "the same from 8 threads", Full, FileSystems, names::full_flat_8),
    workload("names-4k-32", "the same from 32 threads", Full, FileSystems, names::full_flat_32),
    workload("names-4k-tree-1", "the same in a tree of directories", Full, FileSystems, names::full_tree_1),
    workload("names-4k-tree-8", "the same in a tree, from 8 threads", Full, FileSystems, names::full_tree_8),
    workload("names-4k-tree-32", "the same in a tree, from 32 threads", Full, FileSystems, names::full_tree_32),
    workload("names-empty-1", "create, list, stat, rename, unlink empty files, one directory", Quick, FileSystems, names::empty_flat_1),
    workload("names-empty-8", "the same from 8 threads", Full, FileSystems, names::empty_flat_8),
    workload("names-empty-32", "the same from 32 threads", Full, FileSystems, names::empty_flat_32),
    workload("names-empty-tree-1", "the same in a tree of directories", Full, FileSystems, names::empty_tree_1),
    workload("names-empty-tree-8", "the same in a tree, from 8 threads", Full, FileSystems, names::empty_tree_8),
    workload("names-empty-tree-32", "the same in a tree, from 32 threads", Full, FileSystems, names::empty_tree_32),
    workload("data-buffered-1", "write, overwrite, read, sequential and random, page cache", Quick, AlsoRaw, data::buffered_1),
    workload("data-buffered-8", "the same from 8 threads, a file each", Full, FileSystems, data::buffered_8),
    workload("data-direct-1", "the same with O_DIRECT", Quick, AlsoRaw, data::direct_1),
    workload("data-direct-8", "the same with O_DIRECT from 8 threads", Full, FileSystems, data::direct_8),
    workload("mmap-1", "read and write mapped files (fio)", Full, FileSystems, fio::mapped_1),
    workload("mmap-8", "the same from 8 threads", Full, FileSystems, fio::mapped_8),
    waiting(workload("one-file-direct", "random direct access to one file by many at a time (fio)", Full, FileSystems, fio::one_file)),
    workload("fio-buffered", "some of data-buffered-1 with fio: a second witness", Full, FileSystems, fio::buffered),
    workload("fileserver", "a file server: whole files written, read, appended to (Filebench)", Full, FileSystems, personality::fileserver),
    workload("webserver", "a web server: files read, one log appended to (Filebench)", Full, FileSystems, personality::webserver),
    with_input(workload("aged", "a disk filled to 80 % and churned", Full, Persistent, aged::all)),
    workload("mount-after-crash", "mount a file system that was shut down with a full log", Full, InKernel, recovery::mount_after_crash),
    workload("memory", "memory that a mount takes, empty and after looking at many files", Full, Persistent, footprint::mounted_memory),
    workload("make-large", "mkfs of 1 TiB, in a sparse file", Full, InKernel, footprint::make_large),
    workload("check", "fsck of many small files", Full, LogfsAndExt4, recovery::check),
];

/// Those that `names` names, or all of a suite; on a slowed device only those that wait for it.
pub(crate) fn chosen(
    names: &[String],
    suite: Suite,
    is_slowed: bool,
) -> Result<Vec<&'static Workload>> {
    let find = |name: &String| {
        let found = WORKLOADS.iter().find(|workload| workload.name == *name);
        match found {
            Some(workload) => Ok(workload),
            None => bail!("there is no workload {name}; --list names them"),
        }
    };
    if names.is_empty() {
        return Ok(WORKLOADS
            .iter()
            .filter(|workload| workload.suite <= suite && (workload.waits || !is_slowed))
            .collect());
    }
    let named: Vec<_> = names.iter().map(find).collect::<Result<_>>()?;
    Ok(named
        .into_iter()
        .filter(|workload| workload.waits || !is_slowed)
        .collect())
}

/// Which of all workloads it is.
pub(crate) fn place_of(workload: &Workload) -> usize {
    let is_it = |other: &Workload| other.name == workload.name;
    WORKLOADS.iter().position(is_it).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Suite, WORKLOADS, chosen};
    use std::collections::HashSet;

    #[test]
    fn names_are_names_of_one() {
        let names: HashSet<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), WORKLOADS.len());
    }

    #[test]
    fn a_quick_suite_is_part_of_the_full_one() {
        let quick = chosen(&[], Suite::Quick, false).expect("a suite").len();
        assert!(0 < quick && quick < WORKLOADS.len());
        assert_eq!(
            chosen(&[], Suite::Full, false).expect("a suite").len(),
            WORKLOADS.len()
        );
        let slowed = chosen(&[], Suite::Quick, true).expect("a suite").len();
        assert!(0 < slowed && slowed < quick);
        assert!(chosen(&["no-such".to_owned()], Suite::Full, false).is_err());
        let named = ["varmail", "aged"].map(str::to_owned);
        let slowed = chosen(&named, Suite::Full, true).expect("workloads");
        assert_eq!(slowed.len(), 1, "what does not wait is not measured twice");
    }
}
