//! Summaries of file data.

use crate::harness::{Case, Damaged, NOTHING_LOST, run};
use logfs_format::{SummaryEntry, block};

fn summary_of(d: &Damaged, path: &str) -> (u64, usize) {
    d.layout()
        .summary_entry(d.extent(path).start.get())
        .unwrap()
}

fn edit_summary(d: &mut Damaged, path: &str, change: impl FnOnce(&mut SummaryEntry)) {
    let (address, offset) = summary_of(d, path);
    d.edit(address, |data| {
        change(block::view_mut(data, offset).unwrap())
    });
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a summary has a wrong checksum",
        damage: |d| d.spoil(summary_of(d, "/file").0),
        finds: &["summary-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a summary is gone",
        damage: |d| d.wipe(summary_of(d, "/file").0),
        finds: &["summary-damaged"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a summary names another generation",
        damage: |d| edit_summary(d, "/file", |entry| entry.generation = 99.into()),
        finds: &["summary-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "a summary names another inode",
        damage: |d| {
            let other = d.ino("/scattered");
            edit_summary(d, "/file", |entry| entry.ino = other.into());
        },
        finds: &["summary-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "a summary names another place in the file",
        damage: |d| {
            let (ino, generation) = (d.ino("/file"), d.inode("/file").generation.get());
            edit_summary(d, "/file", |entry| {
                *entry = SummaryEntry::new(ino, generation, 77, None);
            });
        },
        finds: &["summary-differs"],
        ..NOTHING_LOST
    },
];

#[test]
fn summaries() {
    run(CASES);
}
