//! The command line: that of a `mount(8)` helper.

use crate::server::AccessTimes;
use clap::Parser;
use rustix::mount::MountFlags;
use std::path::PathBuf;

/// Mounts a file system over FUSE.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// Block device or image file; a file system without a device takes any name
    pub(crate) device: PathBuf,
    /// Directory to mount it on
    pub(crate) directory: PathBuf,
    /// Mount options, comma-separated: ro, noatime and other general ones, and the file system's
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Log everything; implies --foreground
    #[arg(short, long)]
    pub(crate) debug: bool,
    /// Threads that serve requests
    #[arg(long, default_value_t = default_threads(), value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// Started by the same program to stay in the background
    #[arg(long, hide = true)]
    pub(crate) background: bool,
    /// Passed by mount(8)
    #[arg(short = 't', value_name = "TYPE", hide = true)]
    pub(crate) kind: Option<String>,
    /// Passed by mount(8): be tolerant, don't write mtab, be verbose
    #[arg(short = 's', hide = true)]
    pub(crate) sloppy: bool,
    #[arg(short = 'n', hide = true)]
    pub(crate) no_mtab: bool,
    #[arg(short = 'v', hide = true)]
    pub(crate) verbose: bool,
}

fn default_threads() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus * 2).clamp(4, 16) as u16
}

/// Mount options, sorted by whom they are for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// The kernel's.
    pub(crate) flags: MountFlags,
    /// The file system's, comma-separated.
    pub(crate) file_system: String,
}

impl MountOptions {
    pub(crate) fn parse<'a>(lists: impl IntoIterator<Item = &'a str>) -> MountOptions {
        let mut flags = MountFlags::empty();
        let mut file_system = Vec::new();
        for option in lists.into_iter().flat_map(|list| list.split(',')) {
            match flag(option) {
                Some((flag, on)) => flags.set(flag, on),
                None if is_for_mount(option) => {}
                None => file_system.push(option),
            }
        }
        MountOptions {
            flags,
            file_system: file_system.join(","),
        }
    }

    pub(crate) fn access_times(&self) -> AccessTimes {
        if self
            .flags
            .intersects(MountFlags::RDONLY | MountFlags::NOATIME)
        {
            AccessTimes::Off
        } else if self.flags.contains(MountFlags::STRICTATIME) {
            AccessTimes::Strict
        } else {
            AccessTimes::Relative
        }
    }

    pub(crate) fn read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }
}

fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "lazytime" => (MountFlags::LAZYTIME, true),
        "nolazytime" => (MountFlags::LAZYTIME, false),
        "silent" => (MountFlags::SILENT, true),
        _ => return None,
    })
}

/// Options that mount(8) has dealt with, or that hold always.
fn is_for_mount(option: &str) -> bool {
    let names = [
        "",
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "nofail",
        "_netdev",
        "loud",
        "allow_other",
        "default_permissions",
        "nonempty",
    ];
    let prefixes = ["x-", "X-", "user=", "fsname=", "subtype=", "comment="];
    names.contains(&option) || prefixes.iter().any(|prefix| option.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let options = MountOptions::parse(["ro,noatime,errors=shutdown", "x-gvfs,dev,rw,commit=5"]);
        assert_eq!(options.flags, MountFlags::NOATIME);
        assert_eq!(options.file_system, "errors=shutdown,commit=5");
        assert!(MountOptions::parse(["rw,suid,ro"]).read_only());
    }

    #[test]
    fn the_helper_form_is_understood() {
        let line = [
            "x",
            "/dev/vda",
            "/mnt",
            "-n",
            "-o",
            "rw,dev,suid",
            "-t",
            "fuse.x",
        ];
        let arguments = Arguments::try_parse_from(line).unwrap();
        assert_eq!(arguments.options, ["rw,dev,suid"]);
        assert!(Arguments::try_parse_from(["x", "/dev/vda"]).is_err());
    }
}
