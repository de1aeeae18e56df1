//! Writing an empty file system.
//!
//! The superblock goes away first and comes back last, each with a flush in between: whatever
//! happens on the way, there is never a superblock over something unfinished.

use crate::Plan;
use crate::plan::{INODE_SEGMENT, METADATA_SEGMENT};
use bento_api::{Device, Errno, FileKind, ReadRequest, Result, WriteRequest};
use bytemuck::Pod;
use logfs_format::log::CHECKPOINT_BLOCKS;
use logfs_format::{
    BLOCK_BYTES, BlockHeader, BlockKind, Checkpoint, ENTRIES_PER_TABLE_BLOCK, InoAddress, Inode,
    InodeBlockHead, Layout, SUPERBLOCK_ADDRESS, SegmentEntry, SegmentHeader, SegmentKind,
    Superblock, Timestamp, block,
};

/// What is wiped at the start of the device: signatures of other file systems lie in its first
/// 128 KiB or so, labels of ZFS in its first 512 KiB.
const WIPE_START_BLOCKS: u64 = 512;

/// What is wiped at the end: GPT copies, RAID superblocks and ZFS labels.
const WIPE_END_BLOCKS: u64 = 256;

/// Blocks handed to the device in one call.
const BATCH_BLOCKS: u64 = 256;

/// Place of the only metadata block in each of the first two segments: behind the header.
const FIRST_USED: u64 = 1;

/// The permissions of the root directory.
const ROOT_PERMISSIONS: u16 = 0o755;

type Block = Vec<u8>;

/// Makes the file system and returns when it is durable.
pub fn format<D: Device>(device: &D, plan: &Plan) -> Result<()> {
    let sb = &plan.superblock;
    let layout = sb.layout();
    if layout.total_blocks > device.geometry().size_bytes / BLOCK_BYTES as u64 {
        return Err(Errno::ENOSPC);
    }
    write_blocks(device, SUPERBLOCK_ADDRESS, &[0; BLOCK_BYTES])?;
    device.flush()?;
    wipe(device, 0, WIPE_START_BLOCKS.min(layout.total_blocks))?;
    let device_blocks = device.geometry().size_bytes / BLOCK_BYTES as u64;
    let end = device_blocks.saturating_sub(WIPE_END_BLOCKS);
    wipe(device, end, device_blocks - end)?;
    write_table(device, sb, &layout)?;
    for (address, image) in images(plan, &layout) {
        write_blocks(device, address, &image)?;
    }
    for copy in layout.backups {
        write_blocks(device, copy, &superblock_image(sb, copy))?;
    }
    device.flush()?;
    write_blocks(
        device,
        SUPERBLOCK_ADDRESS,
        &superblock_image(sb, SUPERBLOCK_ADDRESS),
    )?;
    device.flush()
}

fn write_blocks<D: Device>(device: &D, address: u64, data: &[u8]) -> Result<()> {
    let offset_bytes = address * BLOCK_BYTES as u64;
    device.write(&[WriteRequest { offset_bytes, data }])
}

/// Makes a range zero. What is zero already is left alone, so that a sparse image stays sparse.
fn wipe<D: Device>(device: &D, start: u64, len_blocks: u64) -> Result<()> {
    let mut address = start;
    let end = start + len_blocks;
    while address < end {
        let blocks = BATCH_BLOCKS.min(end - address);
        let mut buffer = vec![0; blocks as usize * BLOCK_BYTES];
        let offset_bytes = address * BLOCK_BYTES as u64;
        device.read(&mut [ReadRequest {
            offset_bytes,
            buffer: &mut buffer,
        }])?;
        for (at, image) in (address..).zip(buffer.chunks(BLOCK_BYTES)) {
            if image.iter().any(|&byte| byte != 0) {
                write_blocks(device, at, &[0; BLOCK_BYTES])?;
            }
        }
        address += blocks;
    }
    Ok(())
}

fn write_table<D: Device>(device: &D, sb: &Superblock, layout: &Layout) -> Result<()> {
    let mut first = 0;
    while first < layout.table_blocks {
        let last = layout.table_blocks.min(first + BATCH_BLOCKS);
        let images: Vec<u8> = (first..last)
            .flat_map(|index| table_image(sb, layout, index))
            .collect();
        write_blocks(device, layout.table_start + first, &images)?;
        first = last;
    }
    Ok(())
}

/// Block `index` of the segment table: all segments free but the first two.
fn table_image(sb: &Superblock, layout: &Layout, index: u64) -> Block {
    let per_block = ENTRIES_PER_TABLE_BLOCK as u64;
    let entries = layout.segment_count.saturating_sub(index * per_block);
    let mut header = header(sb, BlockKind::SegmentTable, layout.table_start + index);
    header.count = (entries.min(per_block) as u32).into();
    let mut image = new_block(&header);
    if index == 0 {
        for (segment, kind) in [
            (INODE_SEGMENT, SegmentKind::Inodes),
            (METADATA_SEGMENT, SegmentKind::Metadata),
        ] {
            let entry = SegmentEntry {
                kind: kind as u8,
                flags: 0,
                reserved: 0.into(),
                live_blocks: 1.into(),
                age: if kind == SegmentKind::Inodes { 1 } else { 0 }.into(),
            };
            put(&mut image, layout.table_entry(segment).1, &entry);
        }
    }
    block::seal(&mut image);
    image
}

/// Every other block of an empty file system, the superblocks apart.
fn images(plan: &Plan, layout: &Layout) -> Vec<(u64, Block)> {
    let sb = &plan.superblock;
    let checkpoint = checkpoint_image(sb, layout.log_start + 1);
    let orphans = sb.orphans.get();
    let mut orphan_image = new_block(&header(sb, BlockKind::Orphans, orphans));
    block::seal(&mut orphan_image);
    let mut images = vec![
        (layout.log_start, vec![0; BLOCK_BYTES]),
        (layout.log_start + 1, checkpoint),
        (layout.log_start + CHECKPOINT_BLOCKS, vec![0; BLOCK_BYTES]),
        (orphans, orphan_image),
    ];
    for (segment, kind) in [
        (INODE_SEGMENT, SegmentKind::Inodes),
        (METADATA_SEGMENT, SegmentKind::Metadata),
    ] {
        images.push((
            layout.segment_start(segment),
            segment_image(sb, layout, segment, kind),
        ));
    }
    if let Some(root) = InoAddress::from_ino(sb.root_ino.get()) {
        images.push((root.block, root_image(plan, root)));
    }
    images
}

fn superblock_image(sb: &Superblock, address: u64) -> Block {
    let mut image = vec![0; BLOCK_BYTES];
    sb.write_to(&mut image, address);
    image
}

/// The first checkpoint: nothing to replay.
fn checkpoint_image(sb: &Superblock, address: u64) -> Block {
    let mut image = vec![0; BLOCK_BYTES];
    let checkpoint = Checkpoint {
        header: header(sb, BlockKind::Checkpoint, address),
        number: 1.into(),
        tail_sequence: 1.into(),
        tail_granule: 0.into(),
        flags: Checkpoint::CLEAN.into(),
    };
    checkpoint.write_to(&mut image, sb.header.uuid, address);
    image
}

/// Header of a segment in which only the block behind it is live.
fn segment_image(sb: &Superblock, layout: &Layout, segment: u64, kind: SegmentKind) -> Block {
    let address = layout.segment_start(segment);
    let mut image = new_block(&header(sb, BlockKind::SegmentHeader, address));
    if let Some(head) = block::view_mut::<SegmentHeader>(&mut image, 0) {
        head.segment = segment.into();
        head.kind = kind as u8;
        head.live[0] = 1 << FIRST_USED;
    }
    block::seal(&mut image);
    image
}

/// The first inode block, with the root directory in it.
fn root_image(plan: &Plan, root: InoAddress) -> Block {
    let mut image = new_block(&header(&plan.superblock, BlockKind::Inodes, root.block));
    if let Some(head) = block::view_mut::<InodeBlockHead>(&mut image, 0) {
        head.used = (1 << root.slot).into();
    }
    let now = Timestamp {
        seconds: plan.now.seconds.into(),
        nanoseconds: plan.now.nanoseconds.into(),
    };
    if let Some(inode) = block::view_mut::<Inode>(&mut image, root.offset()) {
        inode.mode = (FileKind::Directory.mode_bits() | ROOT_PERMISSIONS).into();
        inode.nlink = 2.into();
        inode.generation = 1.into();
        inode.parent = root.ino().into();
        inode.atime = now;
        inode.mtime = now;
        inode.ctime = now;
        inode.btime = now;
    }
    block::seal(&mut image);
    image
}

fn header(sb: &Superblock, kind: BlockKind, address: u64) -> BlockHeader {
    BlockHeader::new(kind, sb.header.uuid, address)
}

fn new_block(header: &BlockHeader) -> Block {
    let mut image = vec![0; BLOCK_BYTES];
    put(&mut image, 0, header);
    image
}

/// Puts a structure into a block, where it is known to fit.
fn put<T: Pod>(image: &mut [u8], offset: usize, value: &T) {
    if let Some(place) = block::view_mut::<T>(image, offset) {
        *place = *value;
    }
}
