//! Images damaged at random: a check must end, must not panic, and a second repair must have
//! nothing left to do.

use crate::image::TestImage;
use bento_api::{Device, Geometry, ReadRequest, Result, WriteRequest};
use bento_host::HostEnv;
use fsck_logfs::{Failure, Options, Silent, check};
use logfs_format::{BLOCK_BYTES, BLOCK_MAGIC, block};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Images per run; more with the environment variable.
const RUNS: u64 = 400;

/// What was changed of an image that is shared.
struct Overlay {
    base: Arc<Vec<u8>>,
    blocks: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl Overlay {
    fn block(&self, address: u64) -> Vec<u8> {
        let start = address as usize * BLOCK_BYTES;
        let changed = self.blocks.lock().unwrap().get(&address).cloned();
        changed.unwrap_or_else(|| self.base[start..start + BLOCK_BYTES].to_vec())
    }
}

impl Device for Overlay {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.base.len() as u64,
            sector_bytes: 512,
            read_only: false,
            can_discard: false,
        }
    }

    fn read(&self, requests: &mut [ReadRequest<'_>]) -> Result<()> {
        for request in requests {
            let mut offset = request.offset_bytes as usize;
            let mut rest = &mut *request.buffer;
            while !rest.is_empty() {
                let block = self.block((offset / BLOCK_BYTES) as u64);
                let from = offset % BLOCK_BYTES;
                let len = rest.len().min(BLOCK_BYTES - from);
                let (part, behind) = rest.split_at_mut(len);
                part.copy_from_slice(&block[from..from + len]);
                offset += len;
                rest = behind;
            }
        }
        Ok(())
    }

    fn write(&self, requests: &[WriteRequest<'_>]) -> Result<()> {
        for request in requests {
            assert_eq!(request.offset_bytes % BLOCK_BYTES as u64, 0);
            for (index, data) in (0..).zip(request.data.chunks(BLOCK_BYTES)) {
                let address = request.offset_bytes / BLOCK_BYTES as u64 + index;
                self.blocks.lock().unwrap().insert(address, data.to_vec());
            }
        }
        Ok(())
    }

    fn write_durable(&self, request: &WriteRequest<'_>) -> Result<()> {
        self.write(&[WriteRequest {
            offset_bytes: request.offset_bytes,
            data: request.data,
        }])
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Changes a few places in a few metadata blocks. The checksums are right again, mostly.
fn damage(random: &mut Random, disk: &Overlay, metadata: &[u64]) {
    for _ in 0..1 + random.below(3) {
        let address = metadata[random.below(metadata.len())];
        let mut data = disk.block(address);
        for _ in 0..1 + random.below(3) {
            // Fields stand at the start, records all over.
            let at = match random.below(3) {
                0 => 8 + random.below(56),
                1 => 64 + random.below(200),
                _ => random.below(BLOCK_BYTES),
            };
            data[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => data[at] ^ 1 << random.below(8),
                _ => random.next() as u8,
            };
        }
        if random.below(8) > 0 {
            block::seal(&mut data);
        }
        disk.blocks.lock().unwrap().insert(address, data);
    }
}

#[test]
fn wild_images_are_checked_to_the_end() {
    let image = TestImage::populated();
    let base = Arc::new(std::fs::read(image.path()).unwrap());
    let metadata: Vec<u64> = (0..)
        .zip(base.chunks(BLOCK_BYTES))
        .filter(|(_, data)| block::header(data).is_some_and(|h| h.magic.get() == BLOCK_MAGIC))
        .map(|(address, _)| address)
        .collect();
    let runs = std::env::var("WILD_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    for seed in 0..runs.unwrap_or(RUNS) {
        let mut random = Random(seed);
        let disk = Overlay {
            base: Arc::clone(&base),
            blocks: Mutex::default(),
        };
        damage(&mut random, &disk, &metadata);
        let env = HostEnv::new(disk, "wild");
        let repair = Options {
            force: true,
            write: true,
            check_data: true,
            superblock: None,
        };
        let first = check(&env, &repair, &mut Silent);
        let Ok(first) = first else {
            assert!(
                !matches!(first, Err(Failure::Io { .. } | Failure::Cancelled)),
                "{seed}"
            );
            continue;
        };
        if first.totals.contains_key("log-damaged") {
            // Nothing can be repaired.
            continue;
        }
        let second = check(&env, &repair, &mut Silent).unwrap();
        assert_eq!(
            second.repairable(),
            0,
            "seed {seed}: first {:#?}\nsecond {:#?}",
            first.findings,
            second.findings
        );
    }
}
