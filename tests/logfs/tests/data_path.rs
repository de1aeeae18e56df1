//! The data path as the kernel drives it: reserve, place and written in orders that file I/O over
//! mappings never produces.
#![forbid(unsafe_code)]

use bento_api::{
    Device, Env, FallocateMode, FileSystem, MappingKind, SetAttr, SetTime, Time, WriteRequest,
    Written,
};
use bento_sim::{Change, Image, Sim, SimDisk};
use logfs_tests::{Mounted, fresh, pinned_file};

const BLOCK: u64 = 4096;

/// Writes a block of this byte to where `place` said, and returns its checksum.
fn write_block(sim: &Mounted, kind: MappingKind, byte: u8) -> u32 {
    let MappingKind::Mapped { address_bytes } = kind else {
        panic!("{kind:?}")
    };
    let data = [byte; BLOCK as usize];
    let request = WriteRequest {
        offset_bytes: address_bytes,
        data: &data,
    };
    sim.env().device().write(&[request]).unwrap();
    sim.env().crc32c(0, &data)
}

fn done(checksums: &[u32]) -> Written<'_> {
    Written {
        offset_bytes: 0,
        len_bytes: BLOCK,
        result: Ok(()),
        size_bytes: BLOCK,
        checksums,
    }
}

#[test]
fn a_block_dirtied_again_while_its_preallocated_space_is_written() {
    let sim = fresh(64 << 20);
    let (fs, ino) = (sim.fs(), pinned_file(&sim, b"file"));
    fs.fallocate(ino, FallocateMode::Allocate { keep_size: false }, 0, BLOCK)
        .unwrap();
    fs.reserve(ino, 0, BLOCK).unwrap();
    let first = fs.place(ino, 0, BLOCK).unwrap();
    fs.reserve(ino, 0, BLOCK).unwrap();
    let sum = write_block(&sim, first.kind, 1);
    fs.written(ino, &[done(&[sum])], None).unwrap();
    let second = fs.place(ino, 0, BLOCK).unwrap();
    assert_ne!(
        first.kind, second.kind,
        "a mapped block is never overwritten"
    );
    let sum = write_block(&sim, second.kind, 2);
    fs.written(ino, &[done(&[sum])], None).unwrap();
    assert_eq!(fs.map(ino, 0, BLOCK, true).unwrap().kind, second.kind);
    fs.forget(ino);
    assert_eq!(sim.read_file(b"/file").unwrap(), [2; BLOCK as usize]);
}

#[test]
fn a_change_of_attributes_during_a_write_keeps_its_ctime() {
    let sim = fresh(64 << 20);
    let (fs, ino) = (sim.fs(), pinned_file(&sim, b"file"));
    let at = |seconds| Time {
        seconds,
        nanoseconds: 0,
    };
    fs.reserve(ino, 0, BLOCK).unwrap();
    let sum = write_block(&sim, fs.place(ino, 0, BLOCK).unwrap().kind, 1);
    let set = SetAttr {
        ctime: Some(SetTime::To(at(i64::MAX))),
        ..SetAttr::default()
    };
    fs.setattr(ino, &set).unwrap();
    fs.written(ino, &[done(&[sum])], Some(at(1000))).unwrap();
    let attr = fs.getattr(ino).unwrap();
    assert_eq!((attr.mtime, attr.ctime), (at(1000), at(i64::MAX)));
}

#[test]
fn a_failed_write_leaves_the_old_contents_and_no_space_taken() {
    let sim = fresh(64 << 20);
    let (fs, ino) = (sim.fs(), pinned_file(&sim, b"file"));
    fs.reserve(ino, 0, BLOCK).unwrap();
    let sum = write_block(&sim, fs.place(ino, 0, BLOCK).unwrap().kind, 1);
    fs.written(ino, &[done(&[sum])], None).unwrap();
    fs.sync(true).unwrap();
    let free = fs.statfs().unwrap().blocks_free;
    fs.reserve(ino, 0, BLOCK).unwrap();
    let placed = fs.place(ino, 0, BLOCK).unwrap();
    write_block(&sim, placed.kind, 9);
    let failed = Written {
        result: Err(bento_api::Errno::EIO),
        ..done(&[])
    };
    fs.written(ino, &[failed], None).unwrap();
    assert_eq!(fs.statfs().unwrap().blocks_free, free);
    fs.forget(ino);
    assert_eq!(sim.read_file(b"/file").unwrap(), [1; BLOCK as usize]);
}

#[test]
fn what_is_reserved_and_given_up_is_free_again() {
    let sim = fresh(64 << 20);
    let (fs, ino) = (sim.fs(), pinned_file(&sim, b"file"));
    let free = fs.statfs().unwrap().blocks_free;
    fs.reserve(ino, 0, 100 * BLOCK).unwrap();
    assert_eq!(fs.statfs().unwrap().blocks_free, free - 100);
    fs.reserve(ino, 50 * BLOCK, 100 * BLOCK).unwrap();
    assert_eq!(fs.statfs().unwrap().blocks_free, free - 150);
    fs.unreserve(ino, 0, 120 * BLOCK);
    assert_eq!(fs.statfs().unwrap().blocks_free, free - 30);
    fs.forget(ino);
    assert_eq!(fs.statfs().unwrap().blocks_free, free);
}

/// The disk after a power cut: what was flushed, and of the rest only what `keep` says.
fn cut(sim: &Mounted, keep: impl Fn(u64) -> bool) -> Image {
    let recording = sim.disk().recording();
    let last_flush = recording
        .changes
        .iter()
        .rposition(|change| matches!(change, Change::Flush));
    let mut image = recording.base.clone();
    for (index, change) in recording.changes.iter().enumerate() {
        let unflushed = last_flush.is_none_or(|flush| index > flush);
        let kept = match change {
            Change::Write { offset_bytes, .. } if unflushed => keep(*offset_bytes),
            _ => true,
        };
        if kept {
            change.apply(&mut image);
        }
    }
    image
}

#[test]
fn a_record_without_its_data_in_preallocated_space_does_not_count() {
    let sim = fresh(64 << 20);
    let (fs, ino) = (sim.fs(), pinned_file(&sim, b"file"));
    fs.fallocate(ino, FallocateMode::Allocate { keep_size: false }, 0, BLOCK)
        .unwrap();
    // What the space held before: somebody's deleted data.
    let MappingKind::Unwritten { address_bytes } = fs.map(ino, 0, BLOCK, false).unwrap().kind
    else {
        panic!("preallocated space is unwritten")
    };
    let data = [9; BLOCK as usize];
    let offset_bytes = address_bytes;
    sim.env()
        .device()
        .write(&[WriteRequest {
            offset_bytes,
            data: &data,
        }])
        .unwrap();
    fs.freeze().unwrap();
    fs.thaw();
    sim.disk().record();
    fs.reserve(ino, 0, BLOCK).unwrap();
    let placed = fs.place(ino, 0, BLOCK).unwrap();
    let sum = write_block(&sim, placed.kind, 1);
    fs.written(ino, &[done(&[sum])], None).unwrap();
    // The data's write is the first, the record's the second; the power goes before the flush.
    sim.disk().cut_power_after(1);
    assert!(fs.fsync(ino, false).is_err());
    let left = cut(&sim, |offset| offset != address_bytes);
    let sim: Mounted = Sim::mount(SimDisk::from_image(left), 2).unwrap();
    assert_eq!(sim.read_file(b"/file").unwrap(), [0; BLOCK as usize]);
}
