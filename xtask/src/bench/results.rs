//! What was measured, summed up: a row for each step on each file system.

use anyhow::{Context, Result};
use bench_sample::{Failure, Line, Sample, Unit};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The file system that all are compared with, and ours.
pub(super) const REFERENCE: &str = "ext4";
pub(super) const OURS: &str = "logfs";

/// All rows, and where they were measured.
#[derive(Serialize)]
pub(super) struct Results {
    pub(super) machine: Value,
    /// How each but ext4 does beside it on the whole.
    pub(super) means: Vec<Mean>,
    /// What could not be measured.
    pub(super) failures: Vec<Failure>,
    pub(super) rows: Vec<Row>,
}

/// The geometric mean of a file system's ratios to ext4.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Mean {
    pub(super) file_system: String,
    /// Over which rows: [`ALL`], or those of one device.
    pub(super) device: String,
    pub(super) ratio_to_ext4: f64,
    /// How many rows both have.
    pub(super) rows: usize,
}

/// All rows, whatever the device; and what the device is called that is not slowed.
pub(super) const ALL: &str = "all";
const NOT_SLOWED: &str = "not slowed";

/// A step of a workload on a file system. Everything but `values` is a median.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) row: String,
    pub(super) amount: String,
    pub(super) file_system: String,
    pub(super) unit: Unit,
    pub(super) median: f64,
    /// Above 1: better than ext4.
    pub(super) ratio_to_ext4: Option<f64>,
    pub(super) values: Vec<f64>,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) flushes: f64,
    pub(super) writes: f64,
    pub(super) written_mib: f64,
    pub(super) read_mib: f64,
}

impl Results {
    /// Sums up a file of samples.
    pub(super) fn read(samples: &Path, machine: &Path) -> Result<Results> {
        let lines = read_lines(samples)?;
        let machine = fs::read_to_string(machine)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(Results::of(&lines, machine.unwrap_or(Value::Null)))
    }

    pub(super) fn of(lines: &[Line], machine: Value) -> Results {
        let failures = lines.iter().filter_map(|line| match line {
            Line::Failure(failure) => Some(failure.clone()),
            Line::Sample(_) => None,
        });
        let mut groups: Vec<Vec<&Sample>> = Vec::new();
        let mut places = HashMap::new();
        for sample in lines.iter().filter_map(sample_in) {
            let place = *places
                .entry((&sample.row, &sample.file_system))
                .or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(sample),
                None => groups.push(vec![sample]),
            }
        }
        let mut rows: Vec<_> = groups.iter().filter_map(|group| Row::of(group)).collect();
        let reference: HashMap<_, _> = rows
            .iter()
            .filter(|row| row.file_system == REFERENCE)
            .map(|row| (row.row.clone(), row.median))
            .collect();
        for row in &mut rows {
            let theirs = reference.get(&row.row).copied();
            row.ratio_to_ext4 = theirs.map(|theirs| row.unit.ratio(row.median, theirs));
        }
        Results {
            machine,
            means: means(&rows),
            failures: failures.collect(),
            rows,
        }
    }

    /// Writes them as JSON.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The names of the rows, in the order in which they were measured.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.row.as_str()) {
                names.push(&row.row);
            }
        }
        names
    }

    /// The names of the rows that both ours and ext4 have.
    pub(super) fn compared(&self) -> Vec<&str> {
        let ratio = |name: &&str| self.find(name, OURS).and_then(|row| row.ratio_to_ext4);
        let names = self.names().into_iter();
        names.filter(|name| ratio(name).is_some()).collect()
    }

    /// The file systems, in the order in which they were measured first.
    pub(super) fn file_systems(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.file_system.as_str()) {
                names.push(&row.file_system);
            }
        }
        names.sort_by_key(|&name| (name != OURS, name != REFERENCE));
        names
    }

    /// How a file system does beside ext4 on the whole.
    pub(super) fn mean(&self, file_system: &str) -> Option<&Mean> {
        self.means
            .iter()
            .find(|mean| mean.file_system == file_system && mean.device == ALL)
    }

    /// The row of a step on a file system.
    pub(super) fn find(&self, name: &str, file_system: &str) -> Option<&Row> {
        let is_it = |row: &&Row| row.row == name && row.file_system == file_system;
        self.rows.iter().find(is_it)
    }

    /// Ours beside ext4's, for a terminal.
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "{:<44} {:>10} {:>10} {:<6} {:>6} {:>9} {:>9} {:>9} {:>9}\n",
            "", OURS, REFERENCE, "", "ratio", "flushes", REFERENCE, "MiB", REFERENCE
        );
        for name in self.names() {
            let (Some(ours), Some(theirs)) = (self.find(name, OURS), self.find(name, REFERENCE))
            else {
                continue;
            };
            text += &format!(
                "{name:<44} {:>10} {:>10} {:<6} {:>6.2} {:>9} {:>9} {:>9.1} {:>9.1}\n",
                short(ours.median),
                short(theirs.median),
                ours.unit.symbol(),
                ours.ratio_to_ext4.unwrap_or(f64::NAN),
                ours.flushes,
                theirs.flushes,
                ours.written_mib,
                theirs.written_mib
            );
        }
        for failure in &self.failures {
            text += &format!(
                "FAILED: {} on {}: {}\n",
                failure.failed, failure.file_system, failure.error
            );
        }
        for mean in &self.means {
            text += &format!(
                "{}: geometric mean of {} ratios, device {}: {:.2}\n",
                mean.file_system, mean.rows, mean.device, mean.ratio_to_ext4
            );
        }
        text
    }
}

impl Row {
    fn of(samples: &[&Sample]) -> Option<Row> {
        let first = samples.first()?;
        let middle = |value: fn(&Sample) -> f64| median(samples.iter().map(|sample| value(sample)));
        Some(Row {
            row: first.row.clone(),
            amount: first.amount.clone(),
            file_system: first.file_system.clone(),
            unit: first.unit,
            median: middle(|sample| sample.value),
            ratio_to_ext4: None,
            values: samples.iter().map(|sample| sample.value).collect(),
            seconds: middle(|sample| sample.seconds),
            cpu_seconds: middle(|sample| sample.cpu_seconds),
            flushes: middle(|sample| sample.device.flushes as f64),
            writes: middle(|sample| sample.device.writes as f64),
            written_mib: middle(|sample| mib(sample.device.written_bytes)),
            read_mib: middle(|sample| mib(sample.device.read_bytes)),
        })
    }
}

impl Row {
    /// Flushes, and KiB written, for each operation; for rows of operations in a second.
    pub(super) fn per_operation(&self) -> (f64, f64) {
        let operations = self.median * self.seconds;
        (
            self.flushes / operations,
            self.written_mib * 1024.0 / operations,
        )
    }
}

/// How many turns a file of samples has; none if there is no such file.
pub(super) fn runs_in(samples: &Path) -> Result<u32> {
    if !samples.exists() {
        return Ok(0);
    }
    let lines = read_lines(samples)?;
    let runs = lines.iter().map(|line| match line {
        Line::Sample(sample) => sample.run + 1,
        Line::Failure(failure) => failure.run + 1,
    });
    Ok(runs.max().unwrap_or(0))
}

fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no sample: {line}")))
        .collect()
}

fn sample_in(line: &Line) -> Option<&Sample> {
    match line {
        Line::Sample(sample) => Some(sample),
        Line::Failure(_) => None,
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The middle one; of two in the middle, their mean.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn means(rows: &[Row]) -> Vec<Mean> {
    let mut logarithms: Vec<((&str, &str), Vec<f64>)> = Vec::new();
    for row in rows.iter().filter(|row| row.file_system != REFERENCE) {
        let ratio = row.ratio_to_ext4.filter(|ratio| ratio.is_finite());
        let Some(ratio) = ratio.filter(|ratio| *ratio > 0.0) else {
            continue;
        };
        let device = row.row.split_once(':').map_or(NOT_SLOWED, |(name, _)| name);
        for key in [ALL, device].map(|device| (row.file_system.as_str(), device)) {
            match logarithms.iter_mut().find(|(other, _)| *other == key) {
                Some((_, of_it)) => of_it.push(ratio.ln()),
                None => logarithms.push((key, vec![ratio.ln()])),
            }
        }
    }
    let means = logarithms
        .into_iter()
        .map(|((file_system, device), of_it)| Mean {
            file_system: file_system.to_owned(),
            device: device.to_owned(),
            ratio_to_ext4: (of_it.iter().sum::<f64>() / of_it.len() as f64).exp(),
            rows: of_it.len(),
        });
    means.collect()
}

/// A figure with three digits that count.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A sample whose device made three flushes.
#[cfg(test)]
pub(super) fn sample(row: &str, file_system: &str, run: u32, value: f64, unit: Unit) -> Line {
    Line::Sample(Sample {
        row: row.to_owned(),
        amount: "much".to_owned(),
        file_system: file_system.to_owned(),
        run,
        value,
        unit,
        seconds: 1.0,
        cpu_seconds: 0.5,
        device: bench_sample::DeviceWork {
            flushes: 3,
            ..Default::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{Results, median, runs_in, sample, short};
    use bench_sample::{Failure, Line, Unit};
    use serde_json::Value;
    use std::fs;

    #[test]
    fn rows_are_medians_and_ratios_are_above_one_where_ours_is_better() {
        let speed = Unit::OperationsPerSecond;
        let samples = [
            sample("a", "ext4", 0, 100.0, speed),
            sample("a", "logfs", 0, 150.0, speed),
            sample("a", "logfs", 1, 900.0, speed),
            sample("a", "logfs", 2, 200.0, speed),
            sample("b", "logfs", 0, 4.0, Unit::Seconds),
            sample("b", "ext4", 0, 2.0, Unit::Seconds),
            sample("c", "logfs", 0, 4.0, Unit::Seconds),
            sample("b", "xfs", 0, 8.0, Unit::Seconds),
            sample("flush-1ms:a", "xfs", 0, 8.0, speed),
        ];
        let results = Results::of(&samples, Value::Null);
        let row = |name| results.find(name, "logfs").expect("a row");
        assert_eq!(
            (row("a").median, row("a").ratio_to_ext4),
            (200.0, Some(2.0))
        );
        assert_eq!(row("b").ratio_to_ext4, Some(0.5));
        assert_eq!(row("c").ratio_to_ext4, None);
        let mean = |name| {
            results
                .mean(name)
                .map(|mean| (mean.ratio_to_ext4, mean.rows))
        };
        assert_eq!(
            [mean("logfs"), mean("xfs"), mean("ext4")],
            [Some((1.0, 2)), Some((0.25, 1)), None]
        );
        assert_eq!(results.names(), ["a", "b", "c", "flush-1ms:a"]);
        assert_eq!(results.file_systems(), ["logfs", "ext4", "xfs"]);
        assert_eq!(results.summary().lines().count(), 7);
    }

    #[test]
    fn what_failed_is_told_and_has_no_row() {
        let failure = Line::Failure(Failure {
            failed: "a".to_owned(),
            file_system: "xfs".to_owned(),
            run: 0,
            error: "disk full".to_owned(),
        });
        let results = Results::of(&[failure], Value::Null);
        assert!(results.rows.is_empty());
        assert!(results.summary().contains("FAILED: a on xfs: disk full"));
        let json = serde_json::to_value(&results).expect("JSON");
        assert_eq!(json["failures"][0]["error"], "disk full");
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        assert_eq!(median([4.0, 1.0, 2.0, 10.0].into_iter()), 3.0);
        assert!(median([].into_iter()).is_nan());
    }

    #[test]
    fn turns_go_on_where_they_ended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("samples.jsonl");
        assert_eq!(runs_in(&path).ok(), Some(0));
        let lines: Vec<_> = [0, 2, 1]
            .map(|run| sample("a", "logfs", run, 1.0, Unit::Seconds))
            .iter()
            .map(|sample| serde_json::to_string(sample).expect("JSON"))
            .collect();
        fs::write(&path, lines.join("\n")).expect("a file");
        assert_eq!(runs_in(&path).ok(), Some(3));
        fs::write(&path, "{").expect("a file");
        assert!(runs_in(&path).is_err());
    }

    #[test]
    fn figures_keep_three_digits() {
        let figures = [1234.5, 12.345, 1.2345, 0.12345].map(short);
        assert_eq!(figures, ["1234", "12.3", "1.23", "0.123"]);
    }
}
