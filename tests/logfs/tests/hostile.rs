//! Damaged images, their checksums made right again: whatever is on the disk, logfs answers with an
//! error or with something, but it neither panics nor goes on for ever. So does the check.
#![forbid(unsafe_code)]

use bento_api::{FileKind, Result, SetXattr};
use bento_sim::{Image, Rng, Sim, SimDisk, SimEnv};
use fsck_logfs::{Mode, Options, Silent};
use logfs_tests::{Mounted, fresh};
use std::panic::{AssertUnwindSafe, catch_unwind};

const BLOCK: usize = 4096;
/// `LgFS`: metadata blocks start with it.
const MAGIC: [u8; 4] = *b"LgFS";
/// What a walk may visit before it is called endless. Damage may give a directory many names.
const VISITS_MAX: usize = 20_000;

/// An image with something of everything, with records in its log if `dirty`.
fn image(dirty: bool) -> Image {
    let sim = fresh(24 << 20);
    for dir in 0..3 {
        sim.mkdir(format!("/d{dir}").as_bytes(), 0o755).unwrap();
        for n in 0..120 {
            let path = format!("/d{dir}/a-file-with-a-name-{n}").into_bytes();
            sim.write_file(&path, &vec![n as u8; 3000 * (n % 4)])
                .unwrap();
        }
    }
    let file = sim.create(b"/sparse", 0o644).unwrap();
    for n in 0..400u64 {
        sim.write(&file, n * 8192, b"x").unwrap();
    }
    sim.close(file);
    sim.symlink(&[b'l'; 3000], b"/link").unwrap();
    sim.symlink(b"short", b"/short").unwrap();
    sim.setxattr(b"/sparse", b"user.x", Some(&[1; 9000]), SetXattr::Any)
        .unwrap();
    sim.link(b"/sparse", b"/d1/hard").unwrap();
    sim.sync().unwrap();
    if dirty {
        sim.disk().image()
    } else {
        sim.unmount().unwrap().image()
    }
}

/// Addresses of blocks that carry the magic.
fn metadata_blocks(image: &Image) -> Vec<u64> {
    let mut block = [0; 4];
    (0..image.size_bytes() / BLOCK as u64)
        .filter(|address| {
            image.read(address * BLOCK as u64, &mut block);
            block == MAGIC
        })
        .collect()
}

/// Changes a few fields of a block to values that tend to hurt, and seals it again.
fn damage(image: &mut Image, address: u64, rng: &mut Rng) {
    let mut block = vec![0; BLOCK];
    image.read(address * BLOCK as u64, &mut block);
    for _ in 0..=rng.below(3) {
        let width = [1, 2, 4, 8][rng.below(4) as usize];
        // Most fields that matter are near the start or in the first records.
        let limit = if rng.below(2) == 0 { 512 } else { BLOCK };
        let at = 8 + rng.below((limit - 16) as u64) as usize;
        let mut old = [0; 8];
        old[..width].copy_from_slice(&block[at..at + width]);
        let old = u64::from_le_bytes(old);
        let new = match rng.below(7) {
            0 => 0,
            1 => u64::MAX,
            2 => old.wrapping_add(1),
            3 => old.wrapping_sub(1),
            4 => 1 << rng.below(64),
            5 => old ^ (1 << rng.below(64)),
            _ => rng.next_u64(),
        };
        block[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
    }
    logfs_format::block::seal(&mut block);
    image.write(address * BLOCK as u64, &block);
}

/// Changes bytes of the log's records and makes their checksums right.
fn damage_log(image: &mut Image, rng: &mut Rng) {
    let mut block = vec![0; BLOCK];
    image.read(BLOCK as u64, &mut block);
    let superblock = logfs_format::Superblock::parse(&block, 1).unwrap();
    let start = (superblock.log_start.get() + 2) * BLOCK as u64;
    let len = superblock.log_blocks.get() * BLOCK as u64;
    let mut ring = vec![0; len as usize];
    image.read(start, &mut ring);
    let mut at = 0;
    while at + 512 <= ring.len() {
        let head: logfs_format::log::RecordHead =
            *logfs_format::block::view(&ring, at).expect("inside");
        let record_len = head.len_bytes.get() as usize;
        if head.magic.get() != logfs_format::log::RECORD_MAGIC || at + record_len > ring.len() {
            break;
        }
        let record = &mut ring[at..at + record_len];
        if rng.below(3) == 0 {
            for _ in 0..=rng.below(4) {
                let place = 24 + rng.below((record_len - 24) as u64) as usize;
                record[place] = rng.next_u64() as u8;
            }
            record[4..8].fill(0);
            let sum = crc32(record);
            record[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        at += record_len.next_multiple_of(512);
    }
    image.write(start, &ring);
}

fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Uses the file system as a visitor would, then as somebody who changes things.
fn use_it(disk: &SimDisk) -> Result<()> {
    let sim: Mounted = Sim::mount(disk.clone(), 7)?;
    let mut visits = 0;
    let mut dirs = vec![b"".to_vec()];
    while let Some(dir) = dirs.pop() {
        let at = if dir.is_empty() {
            b"/".to_vec()
        } else {
            dir.clone()
        };
        for entry in sim.readdir(&at).unwrap_or_default() {
            visits += 1;
            if visits > VISITS_MAX || dir.len() > 3000 {
                break;
            }
            let path = [&dir[..], b"/", &entry.name].concat();
            let Ok(attr) = sim.stat(&path) else { continue };
            let _ = sim.listxattr(&path);
            match attr.kind() {
                FileKind::Directory => dirs.push(path),
                FileKind::Symlink => drop(sim.readlink(&path)),
                FileKind::Regular => {
                    if let Ok(file) = sim.open(&path) {
                        let _ = sim.read(&file, 0, 100_000);
                        let _ = sim.read(&file, attr.size_bytes.saturating_sub(5000), 5000);
                        sim.close(file);
                    }
                }
                _ => {}
            }
        }
    }
    let _ = sim.write_file(b"/d0/new", &[3; 50_000]);
    let _ = sim.mkdir(b"/d1/new", 0o755);
    let _ = sim.rename(b"/d0/new", b"/d1/new2", bento_api::RenameFlags::Replace);
    let _ = sim.unlink(b"/d1/hard");
    if let Ok(file) = sim.open(b"/sparse") {
        let _ = sim.write(&file, 40_000, &[1; 9000]);
        let _ = sim.truncate(&file, 100_000);
        sim.close(file);
    }
    for n in 0..120 {
        let _ = sim.unlink(format!("/d2/a-file-with-a-name-{n}").as_bytes());
    }
    let _ = sim.rmdir(b"/d2");
    let _ = sim.setxattr(b"/sparse", b"user.y", Some(b"1"), SetXattr::Any);
    let _ = sim.sync();
    let _ = sim.unmount();
    Ok(())
}

fn check(disk: &SimDisk, write: bool) {
    let env = SimEnv::new(disk.clone(), 0);
    let options = Options {
        force: true,
        check_data: true,
        mode: if write { Mode::Repair } else { Mode::Check },
        superblock: None,
    };
    let _ = fsck_logfs::check(&env, &options, &mut Silent);
}

/// Cases per test; more by the environment variable `HOSTILE_CASES`.
fn cases() -> u64 {
    std::env::var("HOSTILE_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

fn survive(base: &Image, mut harm: impl FnMut(&mut Image, &mut Rng)) {
    for seed in 0..cases() {
        let mut image = base.clone();
        harm(&mut image, &mut Rng::new(seed));
        let result = catch_unwind(AssertUnwindSafe(|| {
            check(&SimDisk::from_image(image.clone()), false);
            let _ = use_it(&SimDisk::from_image(image.clone()));
            check(&SimDisk::from_image(image), true);
        }));
        assert!(result.is_ok(), "seed {seed} ends in a panic");
    }
}

#[test]
fn metadata_of_every_kind() {
    let base = image(false);
    let blocks = metadata_blocks(&base);
    survive(&base, |image, rng| {
        for _ in 0..=rng.below(2) {
            let address = blocks[rng.below(blocks.len() as u64) as usize];
            damage(image, address, rng);
        }
    });
}

#[test]
fn records_in_the_log() {
    let base = image(true);
    survive(&base, damage_log);
}

#[test]
fn superblock_and_checkpoints() {
    let base = image(true);
    let mut block = vec![0; BLOCK];
    base.read(BLOCK as u64, &mut block);
    let log_start = logfs_format::Superblock::parse(&block, 1)
        .unwrap()
        .log_start
        .get();
    let blocks = [1, log_start, log_start + 1];
    survive(&base, |image, rng| {
        damage(image, blocks[rng.below(3) as usize], rng)
    });
}
