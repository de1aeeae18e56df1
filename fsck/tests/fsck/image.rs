//! A small file system in an image file, with a bit of everything in it, to be damaged.

use bento_api::{FallocateMode, FileSystem, Ino, MountOptions, NewInode, SetXattr, Time};
use bento_host::{FileDevice, FileIo, HostEnv};
use logfs::LogFs;
use logfs_format::{
    BLOCK_BYTES, InoAddress, Inode, Layout, SegmentEntry, SegmentHeader, SegmentKind, Superblock,
    block,
};
use mkfs_logfs::{Options, Plan, Sector};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

type Host = HostEnv<FileDevice>;

/// Files in `/dir`: enough for several blocks and an index.
pub(crate) const MANY: usize = 300;

const IMAGE_BYTES: u64 = 24 << 20;

/// Held while this process has a device open, and while it forks: a child that is not yet another
/// program would hold on to the device's lock.
static FORK: Mutex<()> = Mutex::new(());

fn no_fork() -> MutexGuard<'static, ()> {
    FORK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What it holds, by path.
pub(crate) struct TestImage {
    dir: tempfile::TempDir,
    pub(crate) superblock: Superblock,
    inos: BTreeMap<String, u64>,
}

/// What a run of the command came to.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl TestImage {
    /// An image without anything in it.
    pub(crate) fn empty() -> TestImage {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        File::create(&path).unwrap().set_len(IMAGE_BYTES).unwrap();
        let options = Options {
            uuid: *b"0123456789abcdef",
            label: b"test".to_vec(),
            hash_key: [1, 2],
            now: Time {
                seconds: 1_000_000_000,
                nanoseconds: 0,
            },
            ..Options::default()
        };
        let blocks = IMAGE_BYTES / BLOCK_BYTES as u64;
        let plan = Plan::new(blocks, Sector::new(512), &options).unwrap();
        let _guard = no_fork();
        mkfs_logfs::format(&FileDevice::open(&path, false).unwrap(), &plan).unwrap();
        TestImage {
            dir,
            superblock: plan.superblock,
            inos: BTreeMap::new(),
        }
    }

    /// An image with a bit of everything in it.
    pub(crate) fn populated() -> TestImage {
        let mut image = TestImage::empty();
        let guard = no_fork();
        let device = FileDevice::open(&image.path(), false).unwrap();
        let env = HostEnv::new(device, "test");
        let fs = Arc::new(LogFs::mount(env.clone(), &MountOptions::default()).unwrap());
        let io = FileIo::new(env, Arc::clone(&fs)).unwrap();
        let mut fill = Fill {
            fs: &fs,
            io: &io,
            inos: &mut image.inos,
        };
        fill.everything();
        fs.unmount().unwrap();
        drop((io, fs, guard));
        image
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub(crate) fn layout(&self) -> Layout {
        self.superblock.layout()
    }

    /// The inode of a path that `populated` has made.
    pub(crate) fn ino(&self, path: &str) -> u64 {
        self.inos[path]
    }

    pub(crate) fn read(&self, address: u64) -> Vec<u8> {
        let mut image = vec![0; BLOCK_BYTES];
        let file = File::open(self.path()).unwrap();
        file.read_exact_at(&mut image, address * BLOCK_BYTES as u64)
            .unwrap();
        image
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(data, address * BLOCK_BYTES as u64)
            .unwrap();
    }

    /// Changes a metadata block and gives it a right checksum.
    pub(crate) fn edit(&self, address: u64, change: impl FnOnce(&mut [u8])) {
        let mut image = self.read(address);
        change(&mut image);
        block::seal(&mut image);
        self.write(address, &image);
    }

    /// Makes a block's checksum wrong.
    pub(crate) fn spoil(&self, address: u64) {
        let mut image = self.read(address);
        image[100] ^= 0xff;
        self.write(address, &image);
    }

    pub(crate) fn inode(&self, ino: u64) -> Inode {
        let place = InoAddress::from_ino(ino).unwrap();
        *block::view(&self.read(place.block), place.offset()).unwrap()
    }

    pub(crate) fn edit_inode(&self, ino: u64, change: impl FnOnce(&mut Inode)) {
        let place = InoAddress::from_ino(ino).unwrap();
        self.edit(place.block, |image| {
            change(block::view_mut(image, place.offset()).unwrap());
        });
    }

    pub(crate) fn edit_entry(&self, segment: u64, change: impl FnOnce(&mut SegmentEntry)) {
        let (address, offset) = self.layout().table_entry(segment);
        self.edit(address, |image| {
            change(block::view_mut(image, offset).unwrap())
        });
    }

    pub(crate) fn edit_header(&self, segment: u64, change: impl FnOnce(&mut SegmentHeader)) {
        self.edit(self.layout().segment_start(segment), |image| {
            change(block::view_mut(image, 0).unwrap());
        });
    }

    /// The first segment of a kind.
    pub(crate) fn segment(&self, kind: SegmentKind) -> u64 {
        let is_it = |segment: &u64| {
            let (address, offset) = self.layout().table_entry(*segment);
            let image = self.read(address);
            let entry: &SegmentEntry = block::view(&image, offset).unwrap();
            entry.kind == kind as u8
        };
        (0..self.layout().segment_count).find(is_it).unwrap()
    }

    /// Runs the command.
    pub(crate) fn fsck(&self, args: &[&str]) -> Outcome {
        fsck_on(&self.path(), args)
    }

    /// Ids of the problems that a run finds, with how many of each.
    pub(crate) fn problems(&self, args: &[&str]) -> (i32, BTreeMap<String, u64>) {
        let outcome = self.fsck(&[args, &["--json"]].concat());
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", outcome.stdout, outcome.stderr));
        let totals = report["totals"].as_object().unwrap();
        let totals = totals
            .iter()
            .map(|(id, count)| (id.clone(), count.as_u64().unwrap()));
        (outcome.code, totals.collect())
    }

    /// A first run repairs just these problems, a second one finds none; and a run that must not
    /// write doesn't.
    pub(crate) fn expect_repaired(&self, ids: &[&str]) {
        let before = fs::read(self.path()).unwrap();
        self.expect(&["-fn"], 4, ids);
        assert!(before == fs::read(self.path()).unwrap(), "-n has written");
        self.expect(&["-fy"], 1, ids);
        self.expect(&["-fn", "--check-data"], 0, &[]);
        self.expect_mountable();
    }

    pub(crate) fn expect(&self, args: &[&str], code: i32, ids: &[&str]) {
        let (found_code, found) = self.problems(args);
        let found: Vec<_> = found.keys().map(String::as_str).collect();
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        let text = || self.fsck(&["-fn"]).stdout;
        assert_eq!(found, ids, "{args:?}: {}", text());
        assert_eq!(found_code, code, "{args:?}: {}", text());
    }

    fn expect_mountable(&self) {
        let _guard = no_fork();
        let device = FileDevice::open(&self.path(), false).unwrap();
        let fs = LogFs::mount(HostEnv::new(device, "test"), &MountOptions::default()).unwrap();
        let root = fs.root();
        fs.load(root).unwrap();
        fs.readdir(root, 0, &mut |_| true).unwrap();
        fs.forget(root);
        fs.unmount().unwrap();
    }
}

/// Runs the command on a file.
pub(crate) fn fsck_on(path: &Path, args: &[&str]) -> Outcome {
    let guard = no_fork();
    let child = Command::new(env!("CARGO_BIN_EXE_fsck-logfs"))
        .args(args)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(guard);
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

struct Fill<'a> {
    fs: &'a LogFs<Host>,
    io: &'a FileIo<Host, LogFs<Host>>,
    inos: &'a mut BTreeMap<String, u64>,
}

impl Fill<'_> {
    fn everything(&mut self) {
        let root = self.fs.root();
        self.fs.load(root).unwrap();
        self.inos.insert("/".to_owned(), root.0);
        let dir = self.make(root, "/", "dir", 0o040755, b"");
        self.make(dir, "/dir/", "sub", 0o040755, b"");
        for index in 0..MANY {
            self.make(
                dir,
                "/dir/",
                &format!("a-name-of-some-length-{index}"),
                0o100644,
                b"",
            );
        }
        let file = self.make(root, "/", "file", 0o100644, b"");
        self.io.write(file, 0, &[7; 40_000], None).unwrap();
        let scattered = self.make(root, "/", "scattered", 0o100644, b"");
        for index in 0..20 {
            self.io
                .write(scattered, index * 20_000, &[9; 100], None)
                .unwrap();
        }
        let reserved = self.make(root, "/", "reserved", 0o100644, b"");
        let mode = FallocateMode::Allocate { keep_size: true };
        self.io.fallocate(reserved, mode, 0, 100_000).unwrap();
        self.make(root, "/", "symlink", 0o120777, b"target");
        self.make(root, "/", "long-symlink", 0o120777, &[b'x'; 300]);
        self.make(root, "/", "device", 0o020644, b"");
        self.fs.link(file, root, b"second-name").unwrap();
        let name = b"user.test";
        self.fs
            .setxattr(file, name, Some(&[5; 9000]), SetXattr::Any)
            .unwrap();
    }

    fn make(&mut self, dir: Ino, parent: &str, name: &str, mode: u16, target: &[u8]) -> Ino {
        let new = NewInode {
            mode,
            uid: 1,
            gid: 2,
            rdev: if mode & 0o170000 == 0o020000 {
                0x103
            } else {
                0
            },
            target,
            xattrs: &[],
        };
        let ino = self
            .fs
            .create(dir, name.as_bytes(), &new)
            .unwrap()
            .inode
            .ino;
        self.inos.insert(format!("{parent}{name}"), ino.0);
        ino
    }
}

/// Runs the command on a terminal at which somebody types.
pub(crate) fn fsck_in_terminal(path: &Path, args: &[&str], input: &str) -> Outcome {
    let guard = no_fork();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let open = || {
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap());
        Stdio::from(terminal.unwrap())
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_fsck-logfs"))
        .args(args)
        .arg(path)
        .stdin(open())
        .stdout(open())
        .stderr(open())
        .spawn()
        .unwrap();
    drop(guard);
    let mut master = File::from(master);
    master.write_all(input.as_bytes()).unwrap();
    let mut text = Vec::new();
    // When nobody has the terminal open any more, reading fails.
    let _ = master.read_to_end(&mut text);
    Outcome {
        code: child.wait().unwrap().code().expect("ended by a signal"),
        stdout: String::from_utf8_lossy(&text).into_owned(),
        stderr: String::new(),
    }
}
