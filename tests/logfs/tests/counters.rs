//! What logfs counts, and that the list of it in docs/COUNTERS.md is right.
#![forbid(unsafe_code)]

use bento_api::{Counter, FileSystem};
use bento_sim::SimEnv;
use logfs::LogFs;
use logfs_tests::{Mounted, fresh};

const MIB: u64 = 1 << 20;

fn counters() -> &'static [Counter<LogFs<SimEnv>>] {
    <LogFs<SimEnv> as FileSystem<SimEnv>>::COUNTERS
}

fn text(sim: &Mounted, name: &str) -> String {
    let counter = counters().iter().find(|counter| counter.name == name);
    let mut text = String::new();
    counter
        .unwrap_or_else(|| panic!("there is no counter {name}"))
        .show(sim.fs(), &mut text)
        .unwrap();
    text
}

fn number(sim: &Mounted, name: &str) -> u64 {
    text(sim, name).parse().unwrap()
}

#[test]
fn an_fsync_with_something_to_do_is_a_record_and_a_flush() {
    let sim = fresh(64 * MIB);
    let file = sim.create(b"/file", 0o644).unwrap();
    let names = [
        "log_force_requests",
        "log_forces",
        "log_records",
        "device_flushes",
    ];
    let now = || names.map(|name| number(&sim, name));
    for n in 0..10 {
        let before = now();
        let bytes = number(&sim, "log_written_bytes");
        sim.write(&file, n * 4096, &[7; 4096]).unwrap();
        sim.fsync(&file).unwrap();
        assert_eq!(now(), before.map(|count| count + 1));
        let record = number(&sim, "log_written_bytes") - bytes;
        assert!(record > 0 && record.is_multiple_of(512), "{record}");
        sim.fsync(&file).unwrap();
        assert_eq!(now(), before.map(|count| count + 1), "nothing has changed");
    }
    sim.close(file);
}

#[test]
fn errors_are_counted_and_the_last_is_named() {
    let sim = fresh(64 * MIB);
    let now = || (number(&sim, "errors"), text(&sim, "last_error"));
    assert_eq!(now(), (0, String::new()));
    sim.fs().shutdown();
    sim.fs().shutdown();
    assert_eq!(now(), (1, "shut down: on request".to_owned()));
}

/// The first table has a line for each counter, in the same order.
#[test]
fn the_documentation_names_every_counter() {
    let page = include_str!("../../../docs/COUNTERS.md");
    let (first, _) = page.split_once("\n## ").unwrap();
    let listed = first
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name);
    let there = counters().iter().map(|counter| counter.name);
    assert!(
        listed.eq(there),
        "docs/COUNTERS.md and logfs/src/counters.rs differ"
    );
}
