//! Damaged disks, made by libFuzzer: it learns which damage leads to code that it has not seen yet.
//! `cargo xtask fuzz` builds and runs it.
#![forbid(unsafe_code)]
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use logfs_tests::damage::{Edit, Victims};
use logfs_tests::hostile::visit;
use std::sync::LazyLock;

/// More says nothing new, and takes longer.
const EDITS_MAX: usize = 16;

static VICTIMS: LazyLock<Victims> = LazyLock::new(Victims::new);

/// An [`Edit`], as bytes tell it.
#[derive(Arbitrary, Debug)]
enum Change {
    Field(u16, u16, u8, u64),
    Raw(u16, u16, u8, u64),
    Copy(u16, u16),
    Record(u16, u16, u8, u64),
}

impl From<&Change> for Edit {
    fn from(change: &Change) -> Edit {
        match *change {
            Change::Field(block, at, width, value) => Edit::Metadata {
                block,
                at,
                width,
                value,
                sealed: true,
            },
            Change::Raw(block, at, width, value) => Edit::Metadata {
                block,
                at,
                width,
                value,
                sealed: false,
            },
            Change::Copy(from, to) => Edit::Copy { from, to },
            Change::Record(record, at, width, value) => Edit::Record {
                record,
                at,
                width,
                value,
            },
        }
    }
}

fuzz_target!(|input: (bool, Vec<Change>)| {
    let (dirty, changes) = input;
    let edits: Vec<Edit> = changes.iter().take(EDITS_MAX).map(Edit::from).collect();
    visit(&VICTIMS.edited(dirty, &edits));
});
