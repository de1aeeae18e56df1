//! Contents that say where they come from.
//!
//! Every eight bytes that a workload writes name the write and the place in the file, and carry a
//! check byte: bytes of another file, of an older write or of nobody are told apart.

use crate::tree::{BLOCK_BYTES, hash_bytes};
use std::sync::OnceLock;

/// Bytes in a stamp.
const STAMP_BYTES: usize = 8;

/// Contents of a range as write number `version` leaves them.
pub(crate) fn fill(version: u32, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
    let skipped = (offset_bytes % STAMP_BYTES as u64) as usize;
    let first = offset_bytes / STAMP_BYTES as u64;
    let stamps = (skipped + len_bytes).div_ceil(STAMP_BYTES) as u64;
    let bytes = (first..first + stamps).flat_map(|unit| stamp(version, unit));
    bytes.skip(skipped).take(len_bytes).collect()
}

/// The write and the offset that eight bytes name, if they are a stamp.
pub(crate) fn read(bytes: &[u8]) -> Option<(u32, u64)> {
    let (head, _) = bytes.split_first_chunk::<STAMP_BYTES>()?;
    let version = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let unit = u64::from(u32::from_le_bytes([head[4], head[5], head[6], 0]));
    (stamp(version, unit) == *head).then_some((version, unit * STAMP_BYTES as u64))
}

fn stamp(version: u32, unit: u64) -> [u8; STAMP_BYTES] {
    let mut bytes = [0; STAMP_BYTES];
    bytes[..4].copy_from_slice(&version.to_le_bytes());
    bytes[4..7].copy_from_slice(&unit.to_le_bytes()[..3]);
    bytes[7] = bytes[..7]
        .iter()
        .fold(0x5a, |sum: u8, byte| sum.rotate_left(1) ^ byte);
    bytes
}

/// The hash of a block of zeros.
pub(crate) fn zero_hash() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| hash_bytes(&[0; BLOCK_BYTES]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_names_its_write_and_place() {
        let bytes = fill(7, 13, 30);
        assert_eq!(read(&bytes[3..]), Some((7, 16)));
        assert_eq!(read(&bytes[4..]), None);
        assert_eq!(fill(7, 0, 43)[13..], bytes);
        assert_eq!(read(&[0; 8]), None);
    }
}
