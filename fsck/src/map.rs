//! Which blocks are in use: as the segment headers say, and as the check finds out.

use crate::in_use::{Bits, InUse};
use logfs_format::{Layout, SegmentKind, header_blocks};
use std::collections::HashMap;

/// What is known of a segment's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Known(SegmentKind),
    /// Table or header are damaged.
    Unknown,
}

/// Why a block can't belong to whoever says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Outside all segments.
    Outside,
    /// In the header or the summaries of a segment.
    Head,
    /// In a segment of inodes.
    Inodes,
    /// File data in a segment of metadata.
    Metadata,
    /// Something else has it already.
    Taken,
}

impl Refusal {
    /// The end of the sentence "block N ...".
    pub(crate) const fn place(self) -> &'static str {
        match self {
            Refusal::Outside => "is in no segment",
            Refusal::Head => "is in a segment's header or summary",
            Refusal::Inodes => "is in an inode segment",
            Refusal::Metadata => "is in a metadata segment",
            Refusal::Taken => "is used by something else as well",
        }
    }
}

/// The two views of what is in use, by segment.
pub(crate) struct BlockMap {
    layout: Layout,
    kinds: Vec<Kind>,
    /// As the headers say, of all segments in use whose header is sound.
    marked: HashMap<u64, InUse>,
    /// As found.
    claimed: HashMap<u64, InUse>,
}

impl BlockMap {
    pub(crate) fn new(layout: Layout) -> BlockMap {
        BlockMap {
            layout,
            kinds: Vec::new(),
            marked: HashMap::new(),
            claimed: HashMap::new(),
        }
    }

    /// Adds the next segment.
    pub(crate) fn push_kind(&mut self, kind: Kind) {
        self.kinds.push(kind);
    }

    pub(crate) fn kind(&self, segment: u64) -> Kind {
        usize::try_from(segment)
            .ok()
            .and_then(|segment| self.kinds.get(segment))
            .copied()
            .unwrap_or(Kind::Unknown)
    }

    pub(crate) fn set_kind(&mut self, segment: u64, kind: Kind) {
        let place = usize::try_from(segment)
            .ok()
            .and_then(|segment| self.kinds.get_mut(segment));
        if let Some(place) = place {
            *place = kind;
        }
    }

    /// The segments of a kind, in order.
    pub(crate) fn of_kind(&self, kind: SegmentKind) -> Vec<u64> {
        (0..)
            .zip(&self.kinds)
            .filter(|(_, known)| **known == Kind::Known(kind))
            .map(|(segment, _)| segment)
            .collect()
    }

    pub(crate) fn set_marked(&mut self, segment: u64, bits: &Bits) {
        self.marked.insert(segment, InUse::from_bits(bits));
    }

    /// The marks of a segment; `None` if its header is not known.
    pub(crate) fn marked(&self, segment: u64) -> Option<&InUse> {
        self.marked.get(&segment)
    }

    /// Changes a mark; answers whether it was different before.
    pub(crate) fn mark(&mut self, segment: u64, index: u32, value: bool) -> bool {
        match self.marked.get_mut(&segment) {
            Some(marked) if marked.has(index) != value => {
                marked.set(index, value);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn claimed(&self, segment: u64) -> Option<&InUse> {
        self.claimed.get(&segment)
    }

    /// Says that a block is in use, by something other than inodes.
    pub(crate) fn claim(&mut self, address: u64) -> Result<(), Refusal> {
        self.claim_run(address, 1)
    }

    /// The same for a run of blocks of one segment: of all of them, or of none.
    pub(crate) fn claim_run(&mut self, address: u64, count: u32) -> Result<(), Refusal> {
        let (segment, index) = self.place(address)?;
        self.claim_in(segment, index, count)
    }

    /// Segment and place of a block that something other than inodes can have.
    pub(crate) fn place(&self, address: u64) -> Result<(u64, u32), Refusal> {
        let (segment, index) = self.layout.segment_of(address).ok_or(Refusal::Outside)?;
        match self.kind(segment) {
            Kind::Known(SegmentKind::Inodes) => Err(Refusal::Inodes),
            Kind::Known(kind) if index < header_blocks(kind, self.layout.segment_blocks) => {
                Err(Refusal::Head)
            }
            Kind::Unknown if index == 0 => Err(Refusal::Head),
            _ => Ok((segment, index)),
        }
    }

    /// The same for inode blocks.
    pub(crate) fn claim_in(&mut self, segment: u64, index: u32, count: u32) -> Result<(), Refusal> {
        let end = index.saturating_add(count);
        if end > self.layout.segment_blocks {
            return Err(Refusal::Outside);
        }
        let claimed = self.claimed.entry(segment).or_default();
        if claimed.has_any(index, end) {
            return Err(Refusal::Taken);
        }
        claimed.add(index, end);
        Ok(())
    }

    /// Takes a claim back.
    pub(crate) fn release(&mut self, address: u64) {
        if let Some((segment, index)) = self.layout.segment_of(address)
            && let Some(claimed) = self.claimed.get_mut(&segment)
        {
            claimed.set(index, false);
        }
    }

    /// Whether a block is neither marked nor claimed.
    pub(crate) fn is_free(&self, segment: u64, index: u32) -> bool {
        let unused = |in_use: Option<&InUse>| !in_use.is_some_and(|in_use| in_use.has(index));
        unused(self.marked(segment)) && unused(self.claimed(segment))
    }
}
