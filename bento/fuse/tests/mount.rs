//! Real mounts. They need root and `/dev/fuse`; without them these tests say so and do nothing.
#![forbid(unsafe_code)]

use rustix::fs::{
    AtFlags, FallocateFlags, RenameFlags, SeekFrom, StatxFlags, Timespec, Timestamps,
};
use rustix::mount::UnmountFlags;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("skipped: needs root and /dev/fuse");
    }
    can
}

/// An example of this package.
fn server(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let mut program = tests.ancestors().nth(2).unwrap().join("examples");
    program.push(name);
    Command::new(program)
}

/// A mounted directory; unmounted when dropped.
struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    fn new(server_name: &str, device: &Path, options: &str) -> Mount {
        let dir = tempfile::tempdir().unwrap();
        let mut command = server(server_name);
        let output = command
            .arg(device)
            .arg(dir.path())
            .args(["-o", options])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        Mount { dir }
    }

    fn memfs() -> Mount {
        Mount::new("memfs-fuse", Path::new("memfs"), "rw")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn unmount(&self) {
        rustix::mount::unmount(self.dir.path(), UnmountFlags::empty()).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn image(size_bytes: u64) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(size_bytes).unwrap();
    image
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn names_in_memory() {
    if !can_mount() {
        return;
    }
    let mount = Mount::memfs();
    let (dir, file) = (mount.path("dir"), mount.path("dir/file"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "contents").unwrap();
    fs::hard_link(&file, mount.path("link")).unwrap();
    symlink("dir/file", mount.path("symlink")).unwrap();
    assert_eq!(
        fs::read_to_string(mount.path("symlink")).unwrap(),
        "contents"
    );
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    assert_eq!(errno(fs::remove_dir(&dir)), Some(39));
    assert_eq!(errno(File::create(mount.path(&"n".repeat(256)))), Some(36));

    let mut names: Vec<_> = fs::read_dir(mount.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["dir", "link", "symlink"]);

    let cwd = rustix::fs::CWD;
    let (from, to) = (mount.path("link"), mount.path("dir"));
    let refused = rustix::fs::renameat_with(cwd, &from, cwd, &to, RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(rustix::io::Errno::EXIST));
    rustix::fs::renameat_with(cwd, &from, cwd, &to, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(mount.path("dir")).unwrap(), "contents");
    assert!(mount.path("link/file").exists());

    let open = File::open(mount.path("dir")).unwrap();
    fs::remove_file(mount.path("dir")).unwrap();
    fs::remove_file(mount.path("link/file")).unwrap();
    let mut buffer = [0; 8];
    open.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"contents");
}

#[test]
fn many_names_are_all_listed_once() {
    if !can_mount() {
        return;
    }
    let mount = Mount::memfs();
    for number in 0..500 {
        fs::write(mount.path(&format!("a-name-of-some-length-{number}")), "").unwrap();
    }
    for _ in 0..2 {
        let mut names: Vec<_> = fs::read_dir(mount.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 500);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 500);
    }
}

#[test]
fn attributes_and_times() {
    if !can_mount() {
        return;
    }
    let mount = Mount::memfs();
    let path = mount.path("file");
    fs::write(&path, "x").unwrap();
    let mtime = Timespec {
        tv_sec: -3,
        tv_nsec: 123_456_789,
    };
    let times = Timestamps {
        last_access: mtime,
        last_modification: mtime,
    };
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty()).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-3, 123_456_789));

    // A time that was set holds when data that was written before reaches the file system.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"more").unwrap();
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty()).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mtime(), -3);

    let flags = StatxFlags::BTIME | StatxFlags::BASIC_STATS;
    let statx = rustix::fs::statx(rustix::fs::CWD, &path, AtFlags::empty(), flags).unwrap();
    assert_eq!(statx.stx_size, 5);
    if StatxFlags::from_bits_retain(statx.stx_mask).contains(StatxFlags::BTIME) {
        assert!(statx.stx_btime.tv_sec > 1_600_000_000);
    }

    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o6755);
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o755, 1234));
}

/// Everything that changes a file's contents, through the page cache, past it and by the kernel's
/// own calls, against a copy in memory.
#[test]
fn contents_on_a_device() {
    if !can_mount() {
        return;
    }
    let image = image(64 << 20);
    let mount = Mount::new("mappedfs-fuse", image.path(), "rw");
    let path = mount.path("file");
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true);
    let cached = open.open(&path).unwrap();
    const O_DIRECT: i32 = 0o40000;
    let direct = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_DIRECT)
        .open(&path);
    let direct = direct.unwrap();
    let mut model = vec![0; 0];
    let mut seed = 1_u64;
    let mut random = |bound: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize % bound
    };
    for round in 0..300 {
        let (offset, len) = (random(300_000), 1 + random(50_000));
        let end = offset + len;
        let byte = round as u8;
        match random(6) {
            0 | 1 => {
                model.resize(model.len().max(end), 0);
                model[offset..end].fill(byte);
                cached
                    .write_all_at(&vec![byte; len], offset as u64)
                    .unwrap();
            }
            2 => {
                let (offset, end) = (offset / 4096 * 4096, end.next_multiple_of(4096));
                model.resize(model.len().max(end), 0);
                model[offset..end].fill(byte);
                // O_DIRECT wants aligned memory as well: a file's pages are.
                let mut buffer = vec![byte; end - offset + 4096];
                let skip = buffer.as_ptr().align_offset(4096);
                let aligned = &mut buffer[skip..skip + end - offset];
                direct.write_all_at(aligned, offset as u64).unwrap();
            }
            3 => {
                model.resize(offset, 0);
                cached.set_len(offset as u64).unwrap();
            }
            4 => {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&cached, how, offset as u64, len as u64).unwrap();
                let size = model.len();
                model[offset.min(size)..end.min(size)].fill(0);
            }
            _ => {
                let how = FallocateFlags::ZERO_RANGE;
                rustix::fs::fallocate(&cached, how, offset as u64, len as u64).unwrap();
                model.resize(model.len().max(end), 0);
                model[offset..end].fill(0);
            }
        }
        if round % 10 == 0 {
            cached.sync_data().unwrap();
            fs::write("/proc/sys/vm/drop_caches", "1").unwrap_or(());
        }
        assert!(fs::read(&path).unwrap() == model, "round {round}");
    }
    drop((cached, direct));
    mount.unmount();
    assert_unmounted(image.path());
}

/// Right when `umount(2)` returns, the file system has written its last and the image is free.
fn assert_unmounted(image: &Path) {
    let mut mark = [0; 4096];
    File::open(image)
        .unwrap()
        .read_exact_at(&mut mark, 0)
        .unwrap();
    if Path::new("/dev/loop-control").exists() {
        assert_eq!(mark, [b'u'; 4096]);
        bento_host::FileDevice::open(image, false).unwrap();
    }
}

/// The kernel's cache takes more than the disk does, but not for ever.
#[test]
fn a_full_disk_ends_a_write() {
    if !can_mount() {
        return;
    }
    let image = image(8 << 20);
    let mount = Mount::new("mappedfs-fuse", image.path(), "rw");
    let mut file = File::create(mount.path("file")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        assert!(Instant::now() < deadline, "no error");
        match file.write_all(&[1; 1 << 16]) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(28));
}

#[test]
fn holes_are_found() {
    if !can_mount() {
        return;
    }
    let image = image(16 << 20);
    let mount = Mount::new("mappedfs-fuse", image.path(), "rw");
    let file = File::create_new(mount.path("file")).unwrap();
    file.write_all_at(&[1; 100], 40_960).unwrap();
    file.set_len(100_000).unwrap();
    file.sync_all().unwrap();
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(0)), Ok(40_960));
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(40_960)), Ok(45_056));
    assert_eq!(
        rustix::fs::seek(&file, SeekFrom::Data(50_000)),
        Err(rustix::io::Errno::NXIO)
    );
}

#[test]
fn a_signal_unmounts() {
    if !can_mount() {
        return;
    }
    let image = image(16 << 20);
    let dir = tempfile::tempdir().unwrap();
    let mut command = server("mappedfs-fuse");
    let mut child = command
        .arg("-f")
        .arg(image.path())
        .arg(dir.path())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !is_mounted(dir.path()) || fs::write(dir.path().join("file"), "x").is_err() {
        assert!(started.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!is_mounted(dir.path()));
    assert_unmounted(image.path());
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(&format!(" {} ", dir.display()))
}

#[test]
fn what_cannot_be_mounted_says_why() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = image(16 << 20);
    let fail = |device: &Path, dir: &Path| {
        let output = server("mappedfs-fuse")
            .arg(device)
            .arg(dir)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!is_mounted(dir));
        text(&output)
    };
    let said = fail(Path::new("/nonexistent"), dir.path());
    assert!(said.contains("/nonexistent: No such file"), "{said}");
    let said = fail(image.path(), Path::new("/nonexistent"));
    assert!(said.contains("/nonexistent: No such file"), "{said}");

    let other = Mount::new("mappedfs-fuse", image.path(), "rw");
    let said = fail(image.path(), dir.path());
    assert!(said.contains("in use"), "{said}");
    drop(other);
}

#[test]
fn reading_changes_the_access_time_once() {
    if !can_mount() {
        return;
    }
    for (options, changes) in [("rw", true), ("noatime", false)] {
        let mount = Mount::new("memfs-fuse", Path::new("memfs"), options);
        let path = mount.path("link");
        symlink("target", &path).unwrap();
        let before = fs::symlink_metadata(&path).unwrap();
        fs::read_link(&path).unwrap();
        // The kernel keeps attributes for a second.
        std::thread::sleep(Duration::from_millis(1100));
        let after = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            after.accessed().unwrap() > before.accessed().unwrap(),
            changes
        );
        assert_eq!(after.ctime_nsec(), before.ctime_nsec());
    }
}

#[test]
fn read_only_is_read_only() {
    if !can_mount() {
        return;
    }
    let mount = Mount::new("memfs-fuse", Path::new("memfs"), "noatime,ro");
    assert_eq!(errno(File::create(mount.path("file"))), Some(30));
}
