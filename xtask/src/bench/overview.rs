//! The result in short: a table in Markdown and a plot of the rows that people ask for first.

use super::plot::{self, Plot};
use super::results::{OURS, REFERENCE, Results, Row, short};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The file systems of the table; those that were not measured are left out.
const SHOWN: &[&str] = &[OURS, REFERENCE, "xfs", "f2fs", "logfs-fuse"];

/// The rows, and what they are called here.
const ROWS: &[(&str, &str)] = &[
    (
        "flush-1ms:append-1/append+fsync",
        "append 4 KiB + fsync, a flush takes 1 ms",
    ),
    (
        "flush-1ms:append-8/append+fsync",
        "the same from 8 threads, a file each",
    ),
    (
        "flush-1ms:new-files/create+fsync",
        "create a file + fsync, a flush takes 1 ms",
    ),
    (
        "flush-1ms:varmail/turns",
        "mail server (varmail), a flush takes 1 ms",
    ),
    (
        "flush-1ms:sqlite-wal/insert",
        "SQLite inserts, WAL, a flush takes 1 ms",
    ),
    (
        "flush-1ms:sqlite-rollback/insert",
        "the same, rollback journal",
    ),
    ("names-empty-1/create", "create 100,000 empty files"),
    ("names-empty-1/rename", "rename them"),
    ("names-empty-1/unlink", "unlink them"),
    ("tree/unpack", "unpack part of the kernel's source"),
    ("tree/clone", "git clone of it"),
    ("tree/git-status", "git status, cold"),
    ("tree/find", "find, cold"),
    ("tree/grep", "grep -r, cold"),
    ("tree/remove", "rm -r"),
    ("data-buffered-1/write-1m", "write sequentially, 1 MiB"),
    ("data-buffered-1/read-1m", "read sequentially, 1 MiB, cold"),
    (
        "data-buffered-1/random-read-4k",
        "read at random, 4 KiB, cold",
    ),
    ("data-buffered-1/random-write-4k", "write at random, 4 KiB"),
    ("fileserver/turns", "file server (fileserver)"),
    ("aged/create", "create files on an aged disk, 80 % full"),
    ("check/fsck", "fsck of 500,000 files"),
];

/// Writes `overview.md` and `overview.svg` into a directory, if any of those rows was measured.
pub(super) fn write(results: &Results, dir: &Path) -> Result<()> {
    let rows = measured(results);
    if rows.is_empty() {
        return Ok(());
    }
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("overview.md", table(results, &rows))?;
    write("overview.svg", plot(results)?)
}

/// The plot of those rows that were measured; nothing if none was.
pub(super) fn plot(results: &Results) -> Result<String> {
    let rows = measured(results);
    if rows.is_empty() {
        return Ok(String::new());
    }
    plot::ratios(&Plot {
        results,
        rows: &rows,
        shown: 0.4..4.0,
    })
}

fn measured(results: &Results) -> Vec<(&'static str, &'static str)> {
    let rows = ROWS.iter().copied();
    rows.filter(|(row, _)| results.find(row, OURS).is_some())
        .collect()
}

fn table(results: &Results, rows: &[(&str, &str)]) -> String {
    let measured = results.file_systems();
    let shown: Vec<_> = SHOWN
        .iter()
        .filter(|name| measured.contains(name))
        .copied()
        .collect();
    let mut text = format!("| | {} | {OURS} : {REFERENCE} |\n", shown.join(" | "));
    text += &format!("|---|{}---:|\n", "---:|".repeat(shown.len()));
    for (row, label) in rows {
        let figures: Vec<_> = shown
            .iter()
            .map(|name| results.find(row, name).map_or_else(String::new, figure))
            .collect();
        let ratio = results.find(row, OURS).and_then(|row| row.ratio_to_ext4);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("**{ratio:.2}**"));
        text += &format!("| {label} | {} | {ratio} |\n", figures.join(" | "));
    }
    text + &mean_line(results, &shown)
}

/// How each does beside ext4 on the whole.
fn mean_line(results: &Results, shown: &[&str]) -> String {
    let Some(ours) = results.mean(OURS) else {
        return String::new();
    };
    let others = shown.iter().map(|&name| match results.mean(name) {
        Some(mean) if name != OURS => format!(" {:.2} |", mean.ratio_to_ext4),
        _ => " |".to_owned(),
    });
    format!(
        "| ratio to {REFERENCE}, geometric mean of all {} rows |{} **{:.2}** |\n",
        ours.rows,
        others.collect::<String>(),
        ours.ratio_to_ext4
    )
}

fn figure(row: &Row) -> String {
    format!("{} {}", short(row.median), row.unit.symbol())
}

#[cfg(test)]
mod tests {
    use super::{ROWS, table};
    use crate::bench::results::{Results, sample};
    use bench_sample::Unit;
    use serde_json::Value;
    use std::collections::HashSet;

    #[test]
    fn rows_stand_once() {
        let names: HashSet<_> = ROWS.iter().map(|(row, _)| row).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn the_table_has_a_column_for_who_was_measured() {
        let speed = Unit::OperationsPerSecond;
        let samples = [
            sample("a/b", "logfs", 0, 300.0, speed),
            sample("a/b", "ext4", 0, 200.0, speed),
            sample("a/b", "f2fs", 0, 400.0, speed),
            sample("c/d", "f2fs", 0, 400.0, speed),
        ];
        let results = Results::of(&samples, Value::Null);
        let wanted = "\
            | | logfs | ext4 | f2fs | logfs : ext4 |\n\
            |---|---:|---:|---:|---:|\n\
            | this | 300 op/s | 200 op/s | 400 op/s | **1.50** |\n\
            | ratio to ext4, geometric mean of all 1 rows | | | 2.00 | **1.50** |\n";
        assert_eq!(table(&results, &[("a/b", "this")]), wanted);
    }
}
