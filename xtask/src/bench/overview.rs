//! The result in short: a table in Markdown and a plot of the rows that people ask for first.

use super::plot::{self, Plot};
use super::results::{OURS, REFERENCE, Results, Row, short};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The file systems of the table; those that were not measured are left out.
const SHOWN: &[&str] = &[OURS, REFERENCE, "xfs", "f2fs", "logfs-fuse"];

/// The rows, and what they are called here; `{}` is how many.
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
    ("names-empty-1/create", "create {} empty files"),
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
    ("check/fsck", "fsck of {} files"),
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

/// The rows that somebody has, with what they are called.
fn measured(results: &Results) -> Vec<(&'static str, String)> {
    let rows = ROWS.iter().filter_map(|&(row, label)| {
        let mut of_all = SHOWN.iter().filter_map(|name| results.find(row, name));
        Some((row, label.replace("{}", &count_in(&of_all.next()?.amount))))
    });
    rows.collect()
}

/// The number at the start of an amount, for people: 100000 is 100,000.
fn count_in(amount: &str) -> String {
    let digits: Vec<char> = amount.chars().take_while(char::is_ascii_digit).collect();
    let groups = digits.rchunks(3).rev().map(String::from_iter);
    groups.collect::<Vec<_>>().join(",")
}

fn table(results: &Results, rows: &[(&str, String)]) -> String {
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
    text + &mean_line(results, &shown) + &notes(results)
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

/// How often each was measured, and what could not be.
fn notes(results: &Results) -> String {
    let turns = results.file_systems().into_iter().map(|name| {
        let rows = results.rows.iter().filter(|row| row.file_system == name);
        let turns = rows.map(|row| row.values.len());
        let (least, most) = (turns.clone().min(), turns.max());
        match (least, most) {
            (Some(least), Some(most)) if least < most => format!("{name} {least} to {most}"),
            (_, most) => format!("{name} {}", most.unwrap_or(0)),
        }
    });
    let turns: Vec<_> = turns.collect();
    let mut text = format!("\nTurns: {}.\n", turns.join(", "));
    for failure in &results.failures {
        text += &format!("Failed: {} on {}.\n", failure.failed, failure.file_system);
    }
    text
}

fn figure(row: &Row) -> String {
    format!("{} {}", short(row.median), row.unit.symbol())
}

#[cfg(test)]
mod tests {
    use super::{ROWS, count_in, measured, table};
    use crate::bench::results::{Results, sample};
    use bench_sample::{Failure, Line, Unit};
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
            | ratio to ext4, geometric mean of all 1 rows | | | 2.00 | **1.50** |\n\n\
            Turns: logfs 1, ext4 1, f2fs 1.\n";
        assert_eq!(table(&results, &[("a/b", "this".to_owned())]), wanted);
    }

    #[test]
    fn what_failed_and_what_ours_lacks_is_told() {
        let seconds = Unit::Seconds;
        let mut samples = vec![
            sample("check/fsck", "ext4", 0, 2.0, seconds),
            sample("check/fsck", "ext4", 1, 2.0, seconds),
            sample("tree/find", "ext4", 0, 2.0, seconds),
        ];
        samples.push(Line::Failure(Failure {
            failed: "check".to_owned(),
            file_system: "logfs".to_owned(),
            run: 0,
            error: "it ended badly".to_owned(),
        }));
        let results = Results::of(&samples, Value::Null);
        let text = table(&results, &measured(&results));
        assert!(text.contains("| fsck of "), "{text}");
        assert!(
            text.contains("Turns: ext4 1 to 2.\nFailed: check on logfs.\n"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        let counts = ["500000 files", "99 files", "source tree"].map(count_in);
        assert_eq!(counts, ["500,000", "99", ""]);
    }
}
