//! File I/O over mappings against a vector of bytes.
#![forbid(unsafe_code)]

mod mapped_fs;

use bento_api::{Errno, FallocateMode, FileSystem};
use bento_memfs::MemFs;
use bento_sim::{File, Operation, Rng, Sim, SimDisk, SimEnv};
use mapped_fs::{BLOCK_BYTES, MappedFs};

const MAX_BYTES: u64 = 100_000;

/// What the file should hold.
#[derive(Default)]
struct Model(Vec<u8>);

impl Model {
    fn grow(&mut self, size: u64) {
        let size = (size as usize).max(self.0.len());
        self.0.resize(size, 0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.grow(offset + data.len() as u64);
        self.0[offset as usize..][..data.len()].copy_from_slice(data);
    }

    fn zero(&mut self, offset: u64, len: u64) {
        let end = (offset + len).min(self.0.len() as u64);
        if offset < end {
            self.0[offset as usize..end as usize].fill(0);
        }
    }
}

fn step<FS: FileSystem<SimEnv>>(
    sim: &Sim<FS>,
    file: &File,
    model: &mut Model,
    rng: &mut Rng,
) -> Result<(), Errno> {
    let offset = rng.below(MAX_BYTES);
    let len = 1 + rng.below(20_000);
    let keep_size = rng.below(2) == 0;
    match rng.below(8) {
        0..3 => {
            let data: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            let count = sim.write(file, offset, &data)?;
            model.write(offset, &data[..count]);
        }
        3 => {
            let size = rng.below(MAX_BYTES);
            sim.truncate(file, size)?;
            model.0.resize(size as usize, 0);
        }
        4 => {
            sim.fallocate(file, FallocateMode::Allocate { keep_size }, offset, len)?;
            if !keep_size {
                model.grow(offset + len);
            }
        }
        5 => {
            sim.fallocate(file, FallocateMode::Punch, offset, len)?;
            model.zero(offset, len);
        }
        6 => {
            sim.fallocate(file, FallocateMode::Zero { keep_size }, offset, len)?;
            model.zero(offset, len);
            if !keep_size {
                model.grow(offset + len);
            }
        }
        _ => {
            let expected = model.0.iter().skip(offset as usize).take(len as usize);
            let expected: Vec<u8> = expected.copied().collect();
            assert_eq!(sim.read(file, offset, len as usize)?, expected);
        }
    }
    Ok(())
}

fn check<FS: FileSystem<SimEnv>>(sim: &Sim<FS>, file: &File, model: &Model) {
    assert_eq!(sim.fstat(file).unwrap().size_bytes, model.0.len() as u64);
    assert!(
        sim.read(file, 0, 2 * MAX_BYTES as usize).unwrap() == model.0,
        "contents differ"
    );
}

#[test]
fn files_on_a_device_hold_what_was_written() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let sim = Sim::<MappedFs<SimEnv>>::mount(SimDisk::new(1 << 20), seed).unwrap();
        let file = sim.create(b"/file", 0o644).unwrap();
        let mut model = Model::default();
        for _ in 0..200 {
            step(&sim, &file, &mut model, &mut rng).unwrap();
            assert_eq!(sim.fs().unfinished(), 0);
            check(&sim, &file, &model);
        }
        sim.close(file);
        sim.unmount().unwrap();
    }
}

#[test]
fn files_in_memory_hold_what_was_written() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let sim = Sim::<MemFs<SimEnv>>::mount(SimDisk::new(0), seed).unwrap();
        let file = sim.create(b"/file", 0o644).unwrap();
        let mut model = Model::default();
        for _ in 0..200 {
            step(&sim, &file, &mut model, &mut rng).unwrap();
        }
        check(&sim, &file, &model);
        sim.close(file);
        sim.unmount().unwrap();
    }
}

/// What fails must leave nothing reserved, and nothing but the failed write's range changed.
#[test]
fn failures_leave_nothing_behind() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(1 << 20);
        let sim = Sim::<MappedFs<SimEnv>>::mount(disk.clone(), seed).unwrap();
        let file = sim.create(b"/file", 0o644).unwrap();
        sim.write(&file, 0, &[7; 50_000]).unwrap();
        disk.fail(Operation::Write, rng.below(5), false);
        let offset = 10_000 + rng.below(5_000);
        if let Err(error) = sim.write(&file, offset, &[9; 20_000]) {
            assert_eq!(error, Errno::EIO);
        }
        assert_eq!(sim.fs().unfinished(), 0);
        disk.heal();
        let contents = sim.read(&file, 0, 50_000).unwrap();
        assert_eq!(contents.len(), 50_000);
        for (position, byte) in (0..).zip(&contents) {
            let written = (offset..offset + 20_000).contains(&position);
            assert!(*byte == 7 || written && *byte == 9, "{byte} at {position}");
        }
        sim.close(file);
    }
}

#[test]
fn a_full_device_takes_what_fits() {
    let sim = Sim::<MappedFs<SimEnv>>::mount(SimDisk::new(20 * BLOCK_BYTES), 1).unwrap();
    let file = sim.create(b"/file", 0o644).unwrap();
    let data = vec![5; 30 * BLOCK_BYTES as usize];
    let count = sim.write(&file, 100, &data).unwrap() as u64;
    assert!(count > 10 * BLOCK_BYTES, "{count}");
    assert_eq!((count + 100) % BLOCK_BYTES, 0);
    assert_eq!(
        sim.read(&file, 100, data.len()).unwrap(),
        &data[..count as usize]
    );
    assert_eq!(sim.fs().unfinished(), 0);
    let size = sim.fstat(&file).unwrap().size_bytes;
    assert_eq!(sim.write(&file, size, &[1; 100_000]), Err(Errno::ENOSPC));
    sim.truncate(&file, 0).unwrap();
    assert_eq!(sim.write(&file, 0, &[1; 4096]), Ok(4096));
    sim.close(file);
}

#[test]
fn holes_are_found() {
    let sim = Sim::<MappedFs<SimEnv>>::mount(SimDisk::new(1 << 20), 1).unwrap();
    let file = sim.create(b"/file", 0o644).unwrap();
    sim.write(&file, 5 * BLOCK_BYTES, &[1; 100]).unwrap();
    sim.truncate(&file, 20 * BLOCK_BYTES).unwrap();
    assert_eq!(sim.seek_data(&file, 0), Ok(5 * BLOCK_BYTES));
    assert_eq!(sim.seek_hole(&file, 0), Ok(0));
    assert_eq!(
        sim.seek_hole(&file, 5 * BLOCK_BYTES + 7),
        Ok(6 * BLOCK_BYTES)
    );
    assert_eq!(sim.seek_data(&file, 6 * BLOCK_BYTES), Err(Errno::ENXIO));
    assert_eq!(sim.seek_hole(&file, 20 * BLOCK_BYTES), Err(Errno::ENXIO));
    sim.write(&file, 20 * BLOCK_BYTES - 1, &[1]).unwrap();
    assert_eq!(sim.seek_hole(&file, 19 * BLOCK_BYTES), Ok(20 * BLOCK_BYTES));
    sim.close(file);
}
