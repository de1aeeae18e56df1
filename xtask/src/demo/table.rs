//! Two file systems side by side.

use anyhow::{Context, Result};

/// One kind of work, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    what: String,
    seconds: f64,
    flushes: f64,
    mib_written: f64,
}

/// Reads lines of: what, and before and after it the time in seconds, flushes and sectors written.
pub(super) fn read(output: &str) -> Result<Vec<Row>> {
    output
        .lines()
        .map(|line| read_row(line).with_context(|| format!("`{line}`")))
        .collect()
}

fn read_row(line: &str) -> Result<Row> {
    let (what, numbers) = line.split_once(' ').context("no numbers")?;
    let numbers: Vec<f64> = numbers
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [start, flushes_before, sectors_before, end, flushes, sectors] = numbers[..] else {
        anyhow::bail!("not six numbers");
    };
    Ok(Row {
        what: what.to_owned(),
        seconds: end - start,
        flushes: flushes - flushes_before,
        mib_written: (sectors - sectors_before) / 2048.0,
    })
}

/// The rows of `ours` and `theirs` as a table.
pub(super) fn compare(name: &str, ours: &[Row], theirs: &[Row]) -> String {
    let mut table = format!(
        "{:<14} {:>9} {:>9} {:>7} {:>11} {:>11} {:>11} {:>11}\n",
        "", "seconds", "seconds", "time", "flushes", "flushes", "MiB", "MiB"
    );
    table += &format!(
        "{:<14} {name:>9} {:>9} {:>7} {name:>11} {:>11} {name:>11} {:>11}\n",
        "", "ext4", "/ ext4", "ext4", "ext4"
    );
    for (our, their) in ours.iter().zip(theirs) {
        table += &format!(
            "{:<14} {:>9.2} {:>9.2} {:>7.2} {:>11} {:>11} {:>11.1} {:>11.1}\n",
            our.what,
            our.seconds,
            their.seconds,
            our.seconds / their.seconds.max(0.001),
            our.flushes,
            their.flushes,
            our.mib_written,
            their.mib_written
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{compare, read};

    #[test]
    fn counters_become_differences_and_ratios() {
        let ours = read("unpack 10.0 3 4096 12.5 7 8192").expect("well formed");
        let theirs = read("unpack 20.0 0 0 25.0 1 2048").expect("well formed");
        let table = compare("logfs", &ours, &theirs);
        let row: Vec<_> = table
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(
            row,
            ["unpack", "2.50", "5.00", "0.50", "4", "1", "2.0", "1.0"]
        );
    }

    #[test]
    fn a_line_that_is_no_measurement_is_refused() {
        assert!(read("unpack 1 2 3").is_err());
        assert!(read("oops").is_err());
    }
}
