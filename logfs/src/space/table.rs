//! Reading the segment table at mount.

use super::{Balance, Segment, Space, State, Stays};
use crate::corrupt::Reporter;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bento_api::{Device, Env, Errno, Mutex, ReadRequest, Result};
use core::sync::atomic::AtomicBool;
use hashbrown::HashMap;
use logfs_format::{
    BLOCK_BYTES, BlockKind, ENTRIES_PER_TABLE_BLOCK, HEADER_BYTES, Layout, SegmentEntry,
    SegmentKind, Superblock, block,
};

/// Blocks of the table read at a time.
const BATCH_BLOCKS: u64 = 64;

/// The pool is this part of the space, within bounds: what a full disk needs to free things.
const POOL_PART: u64 = 64;
const POOL_MIN_BLOCKS: u64 = 128;
const POOL_MAX_BLOCKS: u64 = 16_384;

impl<E: Env> Space<E> {
    /// Reads the segment table.
    pub(crate) fn load(
        env: &E,
        superblock: &Superblock,
        reporter: Arc<Reporter<E>>,
    ) -> Result<Box<Self>> {
        let layout = superblock.layout();
        let uuid = superblock.header.uuid;
        let mut state = State {
            segments: Vec::new(),
            busy: HashMap::new(),
            spare_busy: None,
            balance: Balance {
                root_only: superblock.root_reserved_blocks.get(),
                ..Balance::default()
            },
            clean: 0,
            clean_hint: 0,
            empty: 0,
            data: None,
            metadata: None,
            moved: None,
            victim: None,
            to_discard: Vec::new(),
            unsettled: Vec::new(),
            inode_segment: None,
            inode_block: None,
            inodes_used: 0,
        };
        let count = usize::try_from(layout.segment_count).map_err(|_| Errno::ENOMEM)?;
        state
            .segments
            .try_reserve_exact(count)
            .map_err(|_| Errno::ENOMEM)?;
        let mut at = layout.table_start;
        let end = at
            + layout
                .segment_count
                .div_ceil(ENTRIES_PER_TABLE_BLOCK as u64);
        while at < end {
            let blocks = BATCH_BLOCKS.min(end - at);
            let mut buffer = vec![0; blocks as usize * BLOCK_BYTES];
            let offset_bytes = at * BLOCK_BYTES as u64;
            env.device().read(&mut [ReadRequest {
                offset_bytes,
                buffer: &mut buffer,
            }])?;
            for (data, address) in buffer.chunks(BLOCK_BYTES).zip(at..) {
                let checked = block::verify(data, BlockKind::SegmentTable, &uuid, address);
                checked.map_err(|fault| {
                    reporter.corrupt(format_args!("segment table block {address}: {fault}"))
                })?;
                state.load_block(&layout, data, &reporter)?;
            }
            at += blocks;
        }
        state.set_pool();
        Ok(Box::new(Space {
            env: env.clone(),
            layout,
            uuid,
            reporter,
            state: Mutex::new(state),
            discards: AtomicBool::new(false),
        }))
    }
}

impl State {
    fn load_block<E: Env>(
        &mut self,
        layout: &Layout,
        data: &[u8],
        reporter: &Reporter<E>,
    ) -> Result<()> {
        let left = layout.segment_count as usize - self.segments.len();
        let count = left.min(ENTRIES_PER_TABLE_BLOCK);
        let entries: &[SegmentEntry] =
            block::array(data, HEADER_BYTES, count).ok_or(Errno::EUCLEAN)?;
        for entry in entries {
            let index = self.segments.len() as u32;
            let live = entry.live_blocks.get();
            let kind = SegmentKind::from_byte(entry.kind)
                .filter(|&kind| live <= layout.usable_blocks(kind))
                .filter(|&kind| kind != SegmentKind::Free || live == 0)
                .ok_or_else(|| {
                    reporter.corrupt(format_args!(
                        "segment {index}: kind {} with {live} live blocks",
                        entry.kind
                    ))
                })?;
            let unused = Segment {
                kind: SegmentKind::Free,
                live: 0,
                busy: 0,
                age: 0,
                has_room: true,
                stays: Stays::No,
            };
            self.balance.free_data += State::free_of(layout, &unused).0;
            self.segments.push(unused);
            self.clean += 1;
            self.empty += 1;
            let age = entry.age.get();
            self.account(layout, index, |segment| {
                *segment = Segment {
                    kind,
                    live,
                    busy: 0,
                    age,
                    has_room: true,
                    stays: Stays::No,
                };
            });
            if kind == SegmentKind::Inodes {
                self.inodes_used = self.inodes_used.saturating_add(age);
            }
        }
        Ok(())
    }

    fn set_pool(&mut self) {
        let total: u64 = self.balance.free_data
            + self.balance.free_metadata
            + self
                .segments
                .iter()
                .map(|entry| u64::from(entry.live))
                .sum::<u64>();
        self.balance.pool = (total / POOL_PART).clamp(POOL_MIN_BLOCKS, POOL_MAX_BLOCKS);
    }
}
