//! Which blocks of a segment are in use.

use logfs_format::MAX_SEGMENT_BLOCKS;

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

/// The blocks in use. Segments are filled front to back: as long as no hole is in it, a run is all that
/// is kept.
#[derive(Clone, Debug)]
pub(crate) enum InUse {
    Run { start: u32, end: u32 },
    Bits(Box<Bits>),
}

impl Default for InUse {
    fn default() -> InUse {
        InUse::Run { start: 0, end: 0 }
    }
}

impl InUse {
    pub(crate) fn from_bits(bits: &Bits) -> InUse {
        let count: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        let zeros = bits.iter().take_while(|byte| **byte == 0).count();
        let partial = bits.get(zeros).map_or(0, |byte| byte.trailing_zeros());
        let start = zeros as u32 * 8 + partial;
        let run = InUse::Run {
            start,
            end: start + count,
        };
        match run.to_bits() == *bits {
            true => run,
            false => InUse::Bits(Box::new(*bits)),
        }
    }

    pub(crate) fn to_bits(&self) -> Bits {
        match self {
            InUse::Run { start, end } => {
                let mut bits = [0; BYTES];
                (*start..*end).for_each(|index| set_bit(&mut bits, index, true));
                bits
            }
            InUse::Bits(bits) => **bits,
        }
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        match self {
            InUse::Run { start, end } => (*start..*end).contains(&index),
            InUse::Bits(bits) => bit(bits, index),
        }
    }

    /// Whether any of these blocks is in use.
    pub(crate) fn has_any(&self, start: u32, end: u32) -> bool {
        match self {
            InUse::Run { start: a, end: b } => start.max(*a) < end.min(*b),
            InUse::Bits(bits) => (start..end).any(|index| bit(bits, index)),
        }
    }

    /// Says that a run of blocks is in use.
    pub(crate) fn add(&mut self, start: u32, end: u32) {
        match self {
            InUse::Run { start: a, end: b } if a == b => (*a, *b) = (start, end),
            InUse::Run { start: a, end: b } if start <= *b && *a <= end => {
                (*a, *b) = (start.min(*a), end.max(*b));
            }
            _ => self.edit(|bits| (start..end).for_each(|index| set_bit(bits, index, true))),
        }
    }

    /// Says of a block whether it is in use.
    pub(crate) fn set(&mut self, index: u32, value: bool) {
        if value {
            self.add(index, index + 1);
        } else if self.has(index) {
            self.edit(|bits| set_bit(bits, index, false));
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Bits)) {
        let mut bits = match std::mem::take(self) {
            InUse::Bits(bits) => bits,
            run => Box::new(run.to_bits()),
        };
        change(&mut bits);
        *self = InUse::Bits(bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every step is compared with plain bits.
    #[test]
    fn runs_and_bits_say_the_same() {
        let mut in_use = InUse::default();
        let mut bits = [0; BYTES];
        let steps = [
            (50, 60, true),
            (60, 61, true),
            (40, 50, true),
            (45, 70, true),
            (0, 8192, false),
            (8191, 8192, true),
            (3, 8, true),
            (5, 6, false),
        ];
        for (start, end, value) in steps {
            for index in start..end {
                set_bit(&mut bits, index, value);
                if !value {
                    in_use.set(index, false);
                }
            }
            if value {
                in_use.add(start, end);
            }
            assert!(in_use.to_bits() == bits);
            assert!((0..8192).all(|index| in_use.has(index) == bit(&bits, index)));
            assert_eq!(
                in_use.has_any(0, 40),
                (0..40).any(|index| bit(&bits, index))
            );
            assert!(InUse::from_bits(&bits).to_bits() == bits);
        }
        let run = InUse::from_bits(&[0xff; BYTES]);
        assert!(matches!(
            run,
            InUse::Run {
                start: 0,
                end: 8192
            }
        ));
    }
}
