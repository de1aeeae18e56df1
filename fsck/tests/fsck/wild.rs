//! Images and logs damaged at random: a check must end, must not panic, and a second repair must
//! have nothing left to do. A mount must not panic either.

use crate::image::TestImage;
use bento_api::{FileKind, FileSystem};
use bento_sim::{Image, Rng, Sim, SimDisk, SimEnv};
use fsck_logfs::{Failure, Mode, Options, Silent, check};
use logfs::LogFs;
use logfs_format::log::{CHECKPOINT_BLOCKS, RECORD_MAGIC};
use logfs_format::{BLOCK_BYTES, BLOCK_MAGIC, Superblock, block};

/// Images per run; more with the environment variable.
const RUNS: u64 = 200;

/// Changes a few places in a few metadata blocks. The checksums are right again, mostly.
fn damage(rng: &mut Rng, image: &mut Image, metadata: &[u64]) {
    let mut below = |end: usize| rng.below(end as u64) as usize;
    for _ in 0..1 + below(3) {
        let offset_bytes = metadata[below(metadata.len())] * BLOCK_BYTES as u64;
        let mut data = vec![0; BLOCK_BYTES];
        image.read(offset_bytes, &mut data);
        for _ in 0..1 + below(3) {
            // Fields stand at the start, records all over.
            let at = match below(3) {
                0 => 8 + below(56),
                1 => 64 + below(200),
                _ => below(BLOCK_BYTES),
            };
            data[at] = match below(4) {
                0 => 0,
                1 => 0xff,
                2 => data[at] ^ 1 << below(8),
                _ => below(256) as u8,
            };
        }
        if below(8) > 0 {
            block::seal(&mut data);
        }
        image.write(offset_bytes, &data);
    }
}

/// Where the metadata blocks of an image are.
fn metadata_of(bytes: &[u8]) -> Vec<u64> {
    (0..)
        .zip(bytes.chunks(BLOCK_BYTES))
        .filter(|(_, data)| block::header(data).is_some_and(|h| h.magic.get() == BLOCK_MAGIC))
        .map(|(address, _)| address)
        .collect()
}

fn runs() -> u64 {
    let runs = std::env::var("WILD_RUNS").ok();
    runs.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

#[test]
fn wild_images_are_checked_to_the_end() {
    let bytes = std::fs::read(TestImage::populated().path()).unwrap();
    let metadata = metadata_of(&bytes);
    let base = Image::from_bytes(&bytes);
    let runs = std::env::var("WILD_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    for seed in 0..runs.unwrap_or(RUNS) {
        let mut image = base.clone();
        damage(&mut Rng::new(seed), &mut image, &metadata);
        let env = SimEnv::new(SimDisk::from_image(image), seed);
        let repair = Options {
            force: true,
            mode: Mode::Repair,
            check_data: true,
            superblock: None,
        };
        let first = match check(&env, &repair, &mut Silent) {
            Ok(first) => first,
            Err(failure @ (Failure::Io { .. } | Failure::Cancelled)) => panic!("{seed}: {failure}"),
            Err(_) => continue,
        };
        let second = check(&env, &repair, &mut Silent).unwrap();
        let is_settled = second.fixed() == 0 && (first.left() > 0 || second.is_clean());
        assert!(
            is_settled,
            "seed {seed}: first {:#?}\nsecond {:#?}",
            first.findings, second.findings
        );
    }
}

/// Where records start in the log of an image.
fn records(image: &Image, superblock: &Superblock) -> Vec<u64> {
    let start = (superblock.log_start.get() + CHECKPOINT_BLOCKS) * BLOCK_BYTES as u64;
    let end = (superblock.log_start.get() + superblock.log_blocks.get()) * BLOCK_BYTES as u64;
    let granule = superblock.log_granule_bytes.get() as usize;
    let is_record = |&offset_bytes: &u64| {
        let mut magic = [0; 4];
        image.read(offset_bytes, &mut magic);
        u32::from_le_bytes(magic) == RECORD_MAGIC
    };
    (start..end).step_by(granule).filter(is_record).collect()
}

/// Changes a record, and mostly makes its checksum right again.
fn damage_record(rng: &mut Rng, image: &mut Image, offset_bytes: u64) {
    let mut below = |end: usize| rng.below(end as u64) as usize;
    let mut data = vec![0; 64 << 10];
    let room = (image.size_bytes() - offset_bytes).min(data.len() as u64);
    data.truncate(room as usize);
    image.read(offset_bytes, &mut data);
    let len = u32::from_le_bytes(data[40..44].try_into().unwrap()) as usize;
    for _ in 0..1 + below(4) {
        let at = match below(3) {
            0 => 24 + below(32),
            1 => 56 + below(40),
            _ => below(len.clamp(64, data.len())),
        };
        data[at] = match below(4) {
            0 => 0,
            1 => 0xff,
            2 => data[at] ^ 1 << below(8),
            _ => below(256) as u8,
        };
    }
    if below(8) > 0 {
        let len = u32::from_le_bytes(data[40..44].try_into().unwrap()) as usize;
        data[4..8].fill(0);
        let sum = crc32fast::hash(&data[..len.min(data.len())]);
        data[4..8].copy_from_slice(&sum.to_le_bytes());
    }
    image.write(offset_bytes, &data);
}

/// A disk that was written to and then lost its power, its log full of records.
fn unclean_image() -> (Image, Superblock) {
    let image = TestImage::populated();
    let bytes = std::fs::read(image.path()).unwrap();
    let disk = SimDisk::from_image(Image::from_bytes(&bytes));
    let sim = Sim::<LogFs<SimEnv>>::mount(disk, 1).unwrap();
    for index in 0..30 {
        let path = format!("/new-{index}").into_bytes();
        let file = sim.create(&path, 0o644).unwrap();
        sim.write(&file, 0, &vec![1; index * 1000]).unwrap();
        sim.fsync(&file).unwrap();
        sim.close(file);
    }
    (sim.disk().crash_image(1), image.superblock)
}

#[test]
fn wild_logs_are_checked_to_the_end() {
    let (base, superblock) = unclean_image();
    let records = records(&base, &superblock);
    assert!(records.len() > 10, "{} records", records.len());
    for seed in 0..runs() {
        let mut rng = Rng::new(seed);
        let mut image = base.clone();
        for _ in 0..1 + rng.below(2) {
            let at = records[rng.below(records.len() as u64) as usize];
            damage_record(&mut rng, &mut image, at);
        }
        let disk = SimDisk::from_image(image);
        if let Ok(mounted) = Sim::<LogFs<SimEnv>>::mount(disk.fork(), seed) {
            // What it finds is its own affair.
            let _ = mounted.readdir(b"/");
            let _ = mounted.unmount();
        }
        let env = SimEnv::new(disk, seed);
        let options = Options {
            mode: Mode::Repair,
            ..Options::default()
        };
        if check(&env, &options, &mut Silent).is_ok() {
            let options = Options {
                force: true,
                ..options
            };
            let _ = check(&env, &options, &mut Silent);
        }
    }
}

/// The names in a directory. Of kinds that do not exist the simulator thinks better of a file system.
fn names(sim: &Sim<LogFs<SimEnv>>, path: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let Ok(attr) = sim.stat(path) else {
        return names;
    };
    if sim.fs().load(attr.ino).is_ok() {
        let _ = sim.fs().readdir(attr.ino, 0, &mut |entry| {
            names.push(entry.name.to_vec());
            names.len() < 1000
        });
        sim.fs().forget(attr.ino);
    }
    names
}

/// Looks at what there is, and changes some of it.
fn use_all(sim: &Sim<LogFs<SimEnv>>) {
    let mut dirs = vec![b"".to_vec()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        for name in names(sim, if dir.is_empty() { b"/" } else { &dir }) {
            let path = [dir.as_slice(), b"/", &name].concat();
            seen += 1;
            if seen > 500 || path.len() > 200 {
                return;
            }
            let Ok(attr) = sim.stat(&path) else { continue };
            if attr.kind() == FileKind::Directory {
                dirs.push(path);
                continue;
            }
            let _ = sim.readlink(&path);
            let _ = sim.listxattr(&path);
            if let Ok(file) = sim.open(&path) {
                let _ = sim.read(&file, 0, 100_000);
                let _ = sim.write(&file, 5000, &[1; 9000]);
                let _ = sim.truncate(&file, 100);
                sim.close(file);
            }
            if seen % 3 == 0 {
                let _ = sim.unlink(&path);
            }
        }
    }
    for index in 0..50 {
        let path = format!("/new-{index}").into_bytes();
        if let Ok(file) = sim.create(&path, 0o644) {
            sim.close(file);
        }
    }
    let _ = sim.sync();
}

#[test]
fn wild_images_are_mounted_and_used() {
    let bytes = std::fs::read(TestImage::populated().path()).unwrap();
    let base = Image::from_bytes(&bytes);
    let metadata = metadata_of(&bytes);
    for seed in 0..runs() / 4 {
        let mut image = base.clone();
        damage(&mut Rng::new(seed), &mut image, &metadata);
        if let Ok(mounted) = Sim::<LogFs<SimEnv>>::mount(SimDisk::from_image(image), seed) {
            use_all(&mounted);
            let _ = mounted.unmount();
        }
    }
}
