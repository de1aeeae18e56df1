//! `mkfs.logfs` as its users see it.
#![forbid(unsafe_code)]

use bento_api::{FileSystem, Ino, MountOptions};
use bento_host::{FileDevice, FileIo, HostEnv};
use logfs::LogFs;
use logfs_format::{BLOCK_BYTES, SUPERBLOCK_ADDRESS, Superblock};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Held while this process has a device open, and while it forks: a child that is not yet another
/// program would hold on to the device's lock.
static FORK: Mutex<()> = Mutex::new(());

fn no_fork() -> MutexGuard<'static, ()> {
    FORK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the command with this on its standard input.
fn mkfs_with_input(args: &[&str], path: &Path, rest: &[&str], input: &str) -> Outcome {
    let guard = no_fork();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mkfs-logfs"))
        .args(args)
        .arg(path)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(guard);
    // It need not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn mkfs(args: &[&str], path: &Path) -> Outcome {
    mkfs_with_input(args, path, &[], "")
}

/// A directory with an image file of this size in it.
fn image(size_bytes: u64) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(size_bytes).unwrap();
    (dir, path)
}

fn superblock(path: &Path, address: u64) -> Superblock {
    let mut data = vec![0; BLOCK_BYTES];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut data, address * BLOCK_BYTES as u64)
        .unwrap();
    Superblock::parse(&data, address).unwrap()
}

#[test]
fn success_says_little_and_nothing_on_standard_error() {
    let (_dir, path) = image(100 << 20);
    let outcome = mkfs(&[], &path);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(
        outcome.stdout.contains("25600 blocks"),
        "{}",
        outcome.stdout
    );
    let sb = superblock(&path, SUPERBLOCK_ADDRESS);
    assert_eq!(sb.total_blocks.get(), 25600);
    for copy in sb.layout().backups {
        assert_eq!(superblock(&path, copy).header.uuid, sb.header.uuid);
    }
    let outcome = mkfs(&["-f", "-q"], &path);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
}

#[test]
fn the_options_that_any_mkfs_has() {
    let (_dir, path) = image(64 << 20);
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let args = [
        "-F",
        "-v",
        "-K",
        "-b",
        "4096",
        "-L",
        "a label",
        "-U",
        uuid,
        "--log-size",
        "4M",
    ];
    let outcome = mkfs(&[&args[..], &["--segment-size", "2M"]].concat(), &path);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let sb = superblock(&path, SUPERBLOCK_ADDRESS);
    assert_eq!(sb.label(), b"a label");
    assert_eq!(sb.header.uuid[..4], [1, 0x23, 0x45, 0x67]);
    assert_eq!(sb.segment_blocks.get(), 512);
    assert_eq!(sb.log_blocks.get(), 1024);

    let version = mkfs(&["-V"], &path);
    assert_eq!(version.code, 0);
    assert!(
        version.stdout.starts_with("mkfs.logfs "),
        "{}",
        version.stdout
    );
}

#[test]
fn wrong_options_are_refused() {
    let (_dir, path) = image(64 << 20);
    let long = "x".repeat(65);
    for args in [
        &["-b", "1024"][..],
        &["-U", "no-uuid"],
        &["-U", "00000000-0000-0000-0000-000000000000"],
        &["-L", &long],
        &["--segment-size", "3M"],
        &["--segment-size", "64M"],
        &["--log-size", "100K"],
        &["--log-size", "40M"],
        &["-s", "100"],
        &["-m", "90"],
        &["--no-such-option"],
        &["-q", "-v"],
    ] {
        let outcome = mkfs(args, &path);
        assert_eq!(outcome.code, 1, "{args:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(
        fs::metadata(&path).unwrap().blocks(),
        0,
        "something was written"
    );
}

#[test]
fn sizes_that_cannot_be() {
    for size_bytes in [0, 4096, 1 << 20, (16 << 20) - 4096] {
        let (_dir, path) = image(size_bytes);
        let outcome = mkfs(&[], &path);
        assert_eq!(outcome.code, 1);
        assert!(outcome.stderr.contains("too small"), "{}", outcome.stderr);
    }
    let (dir, path) = image(16 << 20);
    assert_eq!(mkfs(&[], &path).code, 0);
    assert_eq!(mkfs(&[], dir.path()).code, 1);
    assert_eq!(mkfs(&[], Path::new("/dev/null")).code, 1);
}

#[test]
fn a_size_makes_and_grows_images() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    assert_eq!(mkfs(&[], &path).code, 1);
    assert_eq!(mkfs_with_input(&["-n"], &path, &["25600"], "").code, 0);
    assert_eq!(mkfs_with_input(&[], &path, &["100"], "").code, 1);
    assert!(!path.exists());
    assert_eq!(mkfs_with_input(&[], &path, &["25600"], "").code, 0);
    assert_eq!(fs::metadata(&path).unwrap().len(), 100 << 20);
    assert_eq!(mkfs_with_input(&["-f"], &path, &["20M"], "").code, 0);
    assert_eq!(
        superblock(&path, SUPERBLOCK_ADDRESS).total_blocks.get(),
        5120
    );
    assert_eq!(fs::metadata(&path).unwrap().len(), 100 << 20);
    assert_eq!(mkfs_with_input(&["-f"], &path, &["200M"], "").code, 0);
    assert_eq!(fs::metadata(&path).unwrap().len(), 200 << 20);
}

#[test]
fn a_dry_run_writes_nothing() {
    let (_dir, path) = image(64 << 20);
    let outcome = mkfs(&["-n"], &path);
    assert_eq!(outcome.code, 0);
    assert!(outcome.stdout.contains("would be"), "{}", outcome.stdout);
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
    let outcome = mkfs(&["-n", "--json"], &path);
    let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(plan["total_blocks"], 16384);
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
}

#[test]
fn what_is_there_is_asked_about() {
    let (_dir, path) = image(64 << 20);
    let put = |offset: u64, bytes: &[u8]| {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    };
    put(0, b"XFSB");
    let before = fs::read(&path).unwrap();
    for input in ["", "n\n", "\n", "no\n", "what\n"] {
        let outcome = mkfs_with_input(&[], &path, &[], input);
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.stdout.contains("xfs file system"),
            "{}",
            outcome.stdout
        );
        assert!(before == fs::read(&path).unwrap());
    }
    assert_eq!(mkfs_with_input(&[], &path, &[], "y\n").code, 0);
    assert_eq!(
        mkfs_with_input(&[], &path, &[], "").code,
        1,
        "a logfs is there now"
    );
    for flag in ["-f", "-F", "--force"] {
        assert_eq!(mkfs_with_input(&[flag], &path, &[], "").code, 0);
    }
}

#[test]
fn old_signatures_are_wiped() {
    let (_dir, path) = image(64 << 20);
    let places: [(u64, &[u8]); 6] = [
        (0, b"XFSB"),
        (1080, &[0x53, 0xef]),
        (65536 + 64, b"_BHRfS_M"),
        (32769, b"CD001"),
        (65536 - 10, b"SWAPSPACE2"),
        ((64 << 20) - 512, b"EFI PART"),
    ];
    let file = File::options().write(true).open(&path).unwrap();
    for (offset, bytes) in places {
        file.write_all_at(bytes, offset).unwrap();
    }
    drop(file);
    assert_eq!(mkfs(&["-f", "-K"], &path).code, 0);
    let after = fs::read(&path).unwrap();
    for (offset, bytes) in places {
        let found = &after[offset as usize..offset as usize + bytes.len()];
        assert_ne!(found, bytes, "at {offset}");
    }
}

#[test]
fn a_huge_device_is_quick() {
    let (_dir, path) = image(1 << 40);
    let started = Instant::now();
    assert_eq!(mkfs(&["-q"], &path).code, 0);
    assert!(started.elapsed() < Duration::from_secs(1));
    let written_bytes = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(written_bytes < 2 << 20, "{written_bytes} bytes");
}

#[test]
fn a_device_in_use_is_refused() {
    let (_dir, path) = image(64 << 20);
    let outcome = {
        let _device = FileDevice::open(&path, false).unwrap();
        mkfs(&["-f"], &path)
    };
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("in use"), "{}", outcome.stderr);
}

#[test]
fn the_same_seeds_make_the_same_image() {
    let make = || {
        let (_dir, path) = image(32 << 20);
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        let guard = no_fork();
        let status = Command::new(env!("CARGO_BIN_EXE_mkfs-logfs"))
            .args(["-q", "-U", uuid, "--hash-seed", uuid])
            .arg(&path)
            .env("SOURCE_DATE_EPOCH", "1000000000")
            .status()
            .unwrap();
        drop(guard);
        assert!(status.success());
        fs::read(&path).unwrap()
    };
    assert!(make() == make());
}

#[test]
fn a_directory_is_copied() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path();
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), b"contents").unwrap();
    fs::hard_link(root.join("dir/file"), root.join("second")).unwrap();
    std::os::unix::fs::symlink("dir/file", root.join("link")).unwrap();
    fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o1710)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 10 << 20).unwrap();

    let (_dir, path) = image(32 << 20);
    let outcome = mkfs(&["-d", root.to_str().unwrap()], &path);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));

    let _guard = no_fork();
    let env = HostEnv::new(FileDevice::open(&path, true).unwrap(), "test");
    let options = MountOptions {
        read_only: true,
        options: b"",
    };
    let fs = Arc::new(LogFs::mount(env.clone(), &options).unwrap());
    let io = FileIo::new(env, Arc::clone(&fs)).unwrap();
    let find = |dir: Ino, name: &str| {
        fs.load(dir).unwrap();
        let ino = fs.lookup(dir, name.as_bytes()).unwrap();
        fs.load(ino).unwrap()
    };
    let dir = find(fs.root(), "dir");
    let metadata = fs::metadata(root.join("dir")).unwrap();
    assert_eq!(dir.mode, metadata.mode() as u16);
    assert_eq!(dir.mtime.seconds, metadata.mtime());
    assert_eq!(i64::from(dir.mtime.nanoseconds), metadata.mtime_nsec());
    let file = find(dir.ino, "file");
    assert_eq!((file.nlink, file.size_bytes), (2, 8));
    assert_eq!(find(fs.root(), "second").ino, file.ino);
    let mut contents = [0; 8];
    io.read(file.ino, 0, &mut contents).unwrap();
    assert_eq!(&contents, b"contents");
    let mut target = Vec::new();
    fs.readlink(find(fs.root(), "link").ino, &mut target)
        .unwrap();
    assert_eq!(target, b"dir/file");
    let sparse = find(fs.root(), "sparse");
    assert_eq!(sparse.size_bytes, (10 << 20) + 3);
    assert!(sparse.sectors < 64);
}

#[test]
fn a_directory_that_does_not_fit() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("large"), vec![1; 20 << 20]).unwrap();
    let (_dir, path) = image(16 << 20);
    let outcome = mkfs(&["-d", source.path().to_str().unwrap()], &path);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("no space left"),
        "{}",
        outcome.stderr
    );

    let before = fs::read(&path).unwrap();
    assert_eq!(mkfs(&["-f", "-d", "/no/such/directory"], &path).code, 1);
    assert!(before == fs::read(&path).unwrap(), "found out too late");
}
