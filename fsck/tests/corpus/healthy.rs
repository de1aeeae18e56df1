//! The healthy file system, and what it holds.

use bento_api::{FallocateMode, FileKind, SetXattr, Time};
use bento_sim::{Image, Sim, SimDisk, SimEnv};
use logfs::LogFs;
use logfs_format::{BLOCK_BYTES, Superblock};
use mkfs_logfs::{Options, Plan, Sector};
use std::collections::BTreeMap;
use std::sync::OnceLock;

pub(crate) type Mounted = Sim<LogFs<SimEnv>>;

const SIZE_BYTES: u64 = 24 << 20;

/// Files in `/dir`: enough for several blocks and an index.
const MANY: u64 = 300;

/// What there is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    pub(crate) mode: u16,
    /// The contents of a file, the target of a symbolic link.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All there is, by path.
pub(crate) type Manifest = BTreeMap<String, Thing>;

/// The file system, unmounted, with what is to be known of it.
pub(crate) struct Healthy {
    pub(crate) image: Image,
    pub(crate) superblock: Superblock,
    pub(crate) manifest: Manifest,
    pub(crate) inos: BTreeMap<String, u64>,
}

/// The one healthy file system of all cases.
pub(crate) fn healthy() -> &'static Healthy {
    static HEALTHY: OnceLock<Healthy> = OnceLock::new();
    HEALTHY.get_or_init(make)
}

/// Contents that tell their place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (at / 7 + at * seed + seed * 31) as u8 | 1)
        .collect()
}

/// A formatted disk.
pub(crate) fn formatted() -> (SimDisk, Superblock) {
    let disk = SimDisk::new(SIZE_BYTES);
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
    let plan = Plan::new(SIZE_BYTES / BLOCK_BYTES as u64, Sector::new(512), &options).unwrap();
    mkfs_logfs::format(&disk, &plan).unwrap();
    (disk, plan.superblock)
}

fn make() -> Healthy {
    let (disk, superblock) = formatted();
    let sim = Mounted::mount(disk, 1).unwrap();
    fill(&sim);
    let mut manifest = Manifest::new();
    let mut inos = BTreeMap::new();
    walk(&sim, "", &mut manifest, &mut inos);
    let disk = sim.unmount().unwrap();
    Healthy {
        image: disk.image(),
        superblock,
        manifest,
        inos,
    }
}

fn fill(sim: &Mounted) {
    for dir in ["/dir", "/dir/sub", "/dir/sub/deep", "/a", "/a/b", "/a/b/c"] {
        sim.mkdir(dir.as_bytes(), 0o755).unwrap();
    }
    for index in 0..MANY {
        let path = format!("/dir/a-name-of-some-length-{index}");
        sim.write_file(path.as_bytes(), b"").unwrap();
    }
    sim.write_file(b"/dir/sub/deep/leaf", &pattern(3, 5000))
        .unwrap();
    sim.write_file(b"/a/b/c/leaf", &pattern(4, 6000)).unwrap();
    sim.write_file(b"/file", &pattern(5, 40_000)).unwrap();
    sim.link(b"/file", b"/second-name").unwrap();
    pieces(sim, "/scattered", 20, 20_000);
    pieces(sim, "/sieve", 400, 8192);
    let file = sim.create(b"/reserved", 0o644).unwrap();
    let mode = FallocateMode::Allocate { keep_size: true };
    sim.fallocate(&file, mode, 0, 100_000).unwrap();
    sim.close(file);
    sim.symlink(b"target", b"/symlink").unwrap();
    sim.symlink(&pattern(6, 300), b"/long-symlink").unwrap();
    sim.symlink(&pattern(7, 4090), b"/longest-symlink").unwrap();
    sim.mknod(b"/device", FileKind::CharDevice, 0o600, 0x103)
        .unwrap();
    sim.mknod(b"/pipe", FileKind::Fifo, 0o600, 0).unwrap();
    sim.write_file(b"/attributes", &pattern(8, 10)).unwrap();
    for (name, len) in [("user.small", 5), ("user.large", 9000), ("user.last", 50)] {
        let value = pattern(9, len);
        sim.setxattr(b"/attributes", name.as_bytes(), Some(&value), SetXattr::Any)
            .unwrap();
    }
    for index in 0..40 {
        let path = format!("/a/small-{index}");
        sim.write_file(path.as_bytes(), &pattern(10 + index, 3000))
            .unwrap();
    }
    sim.write_file(b"/removed", &pattern(1, 50_000)).unwrap();
    sim.unlink(b"/removed").unwrap();
}

/// A file of so many pieces with holes between them.
fn pieces(sim: &Mounted, path: &str, count: u64, distance: u64) {
    let file = sim.create(path.as_bytes(), 0o644).unwrap();
    for index in 0..count {
        sim.write(&file, index * distance, &pattern(index, 100))
            .unwrap();
    }
    sim.close(file);
}

/// Looks at everything.
pub(crate) fn walk(
    sim: &Mounted,
    dir: &str,
    manifest: &mut Manifest,
    inos: &mut BTreeMap<String, u64>,
) {
    let here = if dir.is_empty() { "/" } else { dir };
    inos.insert(here.to_owned(), sim.stat(here.as_bytes()).unwrap().ino.0);
    for entry in sim.readdir(here.as_bytes()).unwrap() {
        let path = format!("{dir}/{}", String::from_utf8_lossy(&entry.name));
        let bytes = [dir.as_bytes(), b"/", &entry.name].concat();
        let attr = sim
            .stat(&bytes)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let content = match attr.kind() {
            FileKind::Regular => sim.read_file(&bytes),
            FileKind::Symlink => sim.readlink(&bytes),
            _ => Ok(Vec::new()),
        };
        let content = content.unwrap_or_else(|error| panic!("{path}: {error}"));
        let names = sim.listxattr(&bytes).unwrap();
        let xattrs = names
            .into_iter()
            .map(|name| (name.clone(), sim.getxattr(&bytes, &name).unwrap()));
        let thing = Thing {
            mode: attr.mode,
            content,
            xattrs: xattrs.collect(),
        };
        manifest.insert(path.clone(), thing);
        if attr.kind() == FileKind::Directory {
            walk(sim, &path, manifest, inos);
        } else {
            inos.insert(path, attr.ino.0);
        }
    }
}
