//! Damaged images, their checksums made right again, in the hands of visitors.
#![forbid(unsafe_code)]

use logfs_tests::damage::{Harm, Victims};
use logfs_tests::hostile::visit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Cases per test; more by the environment variable `HOSTILE_CASES`.
fn cases() -> u64 {
    std::env::var("HOSTILE_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

fn survive(harm: Harm) {
    let victims = Victims::new();
    for seed in 0..cases() {
        let image = victims.harmed(harm, seed);
        let result = catch_unwind(AssertUnwindSafe(|| visit(&image)));
        assert!(result.is_ok(), "{harm:?}, seed {seed} ends in a panic");
    }
}

#[test]
fn metadata_of_every_kind() {
    survive(Harm::Fields);
}

#[test]
fn records_in_the_log() {
    survive(Harm::Log);
}

#[test]
fn superblock_and_checkpoints() {
    survive(Harm::Heads);
}

#[test]
fn bytes_anywhere() {
    survive(Harm::Bytes);
}
