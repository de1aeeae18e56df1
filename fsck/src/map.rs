//! Which blocks are in use: as the segment headers say, and as the check finds out.

use logfs_format::{Layout, MAX_SEGMENT_BLOCKS, SegmentKind, header_blocks};
use std::collections::HashMap;

const BYTES: usize = MAX_SEGMENT_BLOCKS as usize / 8;

/// One bit for each block of a segment, as in a segment header.
pub(crate) type Bits = [u8; BYTES];

/// The bit of a block.
pub(crate) fn bit(bits: &Bits, index: u32) -> bool {
    bits.get(index as usize / 8)
        .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

pub(crate) fn set_bit(bits: &mut Bits, index: u32, value: bool) {
    if let Some(byte) = bits.get_mut(index as usize / 8) {
        let mask = 1 << (index % 8);
        *byte = *byte & !mask | if value { mask } else { 0 };
    }
}

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
    marked: HashMap<u64, Box<Bits>>,
    /// As found.
    claimed: HashMap<u64, Box<Bits>>,
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

    pub(crate) fn set_marked(&mut self, segment: u64, bits: Box<Bits>) {
        self.marked.insert(segment, bits);
    }

    /// The marks of a segment; `None` if its header is not known.
    pub(crate) fn marked(&self, segment: u64) -> Option<&Bits> {
        self.marked.get(&segment).map(Box::as_ref)
    }

    /// Changes a mark; answers whether it was different before.
    pub(crate) fn mark(&mut self, segment: u64, index: u32, value: bool) -> bool {
        match self.marked.get_mut(&segment) {
            Some(bits) if bit(bits, index) != value => {
                set_bit(bits, index, value);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn claimed(&self, segment: u64) -> Option<&Bits> {
        self.claimed.get(&segment).map(Box::as_ref)
    }

    /// Says that a block is in use, by something other than inodes.
    pub(crate) fn claim(&mut self, address: u64) -> Result<(), Refusal> {
        let (segment, index) = self.layout.segment_of(address).ok_or(Refusal::Outside)?;
        match self.kind(segment) {
            Kind::Known(SegmentKind::Inodes) => return Err(Refusal::Inodes),
            Kind::Known(kind) if index < header_blocks(kind, self.layout.segment_blocks) => {
                return Err(Refusal::Head);
            }
            Kind::Known(_) => {}
            Kind::Unknown if index == 0 => return Err(Refusal::Head),
            Kind::Unknown => {}
        }
        self.claim_in(segment, index)
    }

    /// The same for an inode block.
    pub(crate) fn claim_in(&mut self, segment: u64, index: u32) -> Result<(), Refusal> {
        let bits = self
            .claimed
            .entry(segment)
            .or_insert_with(|| Box::new([0; BYTES]));
        if bit(bits, index) {
            return Err(Refusal::Taken);
        }
        set_bit(bits, index, true);
        Ok(())
    }

    /// Takes a claim back.
    pub(crate) fn release(&mut self, address: u64) {
        if let Some((segment, index)) = self.layout.segment_of(address)
            && let Some(bits) = self.claimed.get_mut(&segment)
        {
            set_bit(bits, index, false);
        }
    }

    /// Whether a block is neither marked nor claimed.
    pub(crate) fn is_free(&self, segment: u64, index: u32) -> bool {
        let unused = |bits: Option<&Bits>| !bits.is_some_and(|bits| bit(bits, index));
        unused(self.marked(segment)) && unused(self.claimed(segment))
    }
}
