//! Images damaged at random: a check must end, must not panic, and a second repair must have
//! nothing left to do.

use crate::image::TestImage;
use bento_sim::{Image, Rng, SimDisk, SimEnv};
use fsck_logfs::{Failure, Options, Silent, check};
use logfs_format::{BLOCK_BYTES, BLOCK_MAGIC, block};

/// Images per run; more with the environment variable.
const RUNS: u64 = 400;

/// Changes a few places in a few metadata blocks. The checksums are right again, mostly.
fn damage(rng: &mut Rng, image: &mut Image, metadata: &[u64]) {
    let mut below = |end: usize| rng.below(end as u64) as usize;
    for _ in 0..1 + below(3) {
        let offset_bytes = metadata[below(metadata.len())] * BLOCK_BYTES as u64;
        let mut data = vec![0; BLOCK_BYTES];
        image.read(offset_bytes, &mut data);
        for _ in 0..1 + below(3) {
            // Fields stand at the start, records all over.
            let at = match below(3) {
                0 => 8 + below(56),
                1 => 64 + below(200),
                _ => below(BLOCK_BYTES),
            };
            data[at] = match below(4) {
                0 => 0,
                1 => 0xff,
                2 => data[at] ^ 1 << below(8),
                _ => below(256) as u8,
            };
        }
        if below(8) > 0 {
            block::seal(&mut data);
        }
        image.write(offset_bytes, &data);
    }
}

#[test]
fn wild_images_are_checked_to_the_end() {
    let bytes = std::fs::read(TestImage::populated().path()).unwrap();
    let metadata: Vec<u64> = (0..)
        .zip(bytes.chunks(BLOCK_BYTES))
        .filter(|(_, data)| block::header(data).is_some_and(|h| h.magic.get() == BLOCK_MAGIC))
        .map(|(address, _)| address)
        .collect();
    let base = Image::from_bytes(&bytes);
    let runs = std::env::var("WILD_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    for seed in 0..runs.unwrap_or(RUNS) {
        let mut image = base.clone();
        damage(&mut Rng::new(seed), &mut image, &metadata);
        let env = SimEnv::new(SimDisk::from_image(image), seed);
        let repair = Options {
            force: true,
            write: true,
            check_data: true,
            superblock: None,
        };
        let first = match check(&env, &repair, &mut Silent) {
            Ok(first) => first,
            Err(failure @ (Failure::Io { .. } | Failure::Cancelled)) => panic!("{seed}: {failure}"),
            Err(_) => continue,
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
