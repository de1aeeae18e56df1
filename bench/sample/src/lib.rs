//! What a benchmark measured. The program that measures writes one [`Line`] for each step, as JSON, and
//! whoever compares file systems reads them.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What is told at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A step was measured.
    Sample(Sample),
    /// A workload failed.
    Failure(Failure),
}

/// A workload that did not come to its end: none of its steps in that run is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its name, behind `flush-1ms:` or the like if the device was slowed.
    pub failed: String,
    /// The file system, under the name that `--fs` knows.
    pub file_system: String,
    /// Which turn, from 0.
    pub run: u32,
    /// What went wrong, for people.
    pub error: String,
}

/// One step of a workload, on one file system, in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What is compared: `WORKLOAD/STEP`, behind `flush-1ms:` or the like if the device was slowed.
    pub row: String,
    /// How much was done, for people: `100,000 files of 4 KiB`.
    pub amount: String,
    /// The file system, under the name that `--fs` knows.
    pub file_system: String,
    /// Which turn, from 0.
    pub run: u32,
    /// The result, in `unit`.
    pub value: f64,
    /// What `value` counts.
    pub unit: Unit,
    /// How long it took.
    pub seconds: f64,
    /// Processor time of the whole machine, in seconds.
    pub cpu_seconds: f64,
    /// What the device was asked for.
    pub device: DeviceWork,
}

/// Requests to a device, as `/sys/block/DEVICE/stat` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWork {
    /// Flushes of its cache.
    pub flushes: u64,
    /// Writes, merged ones counted once.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Operations in a second.
    #[serde(rename = "op/s")]
    OperationsPerSecond,
    /// 2^20 bytes in a second.
    #[serde(rename = "MiB/s")]
    MebibytesPerSecond,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes that went to the device for each byte of a program's.
    #[serde(rename = "x")]
    Amplification,
    /// 2^20 bytes of memory.
    #[serde(rename = "MiB")]
    Mebibytes,
}

impl Unit {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::OperationsPerSecond => "op/s",
            Unit::MebibytesPerSecond => "MiB/s",
            Unit::Seconds => "s",
            Unit::Amplification => "x",
            Unit::Mebibytes => "MiB",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        match self {
            Unit::OperationsPerSecond | Unit::MebibytesPerSecond => true,
            Unit::Seconds | Unit::Amplification | Unit::Mebibytes => false,
        }
    }

    /// By how much `ours` is better than `theirs`: above 1 it is, below it is worse.
    pub fn ratio(self, ours: f64, theirs: f64) -> f64 {
        if self.more_is_better() {
            ours / theirs
        } else {
            theirs / ours
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Unit};

    #[test]
    fn more_is_better_of_speed_and_worse_of_time() {
        assert_eq!(Unit::OperationsPerSecond.ratio(300.0, 200.0), 1.5);
        assert_eq!(Unit::Seconds.ratio(2.0, 3.0), 1.5);
    }

    #[test]
    fn a_failure_is_told_from_a_sample() {
        let json = r#"{"failed":"tree","file_system":"xfs","run":1,"error":"disk full"}"#;
        let line: Line = serde_json::from_str(json).expect("a line");
        assert!(matches!(&line, Line::Failure(failure) if failure.run == 1));
        assert_eq!(serde_json::to_string(&line).expect("JSON"), json);
        assert!(serde_json::from_str::<Line>(r#"{"failed":"tree"}"#).is_err());
    }

    #[test]
    fn units_are_told_by_their_symbols() {
        for unit in [Unit::OperationsPerSecond, Unit::Seconds, Unit::Mebibytes] {
            let json = serde_json::to_string(&unit).expect("a name");
            assert_eq!(json, format!("{:?}", unit.symbol()));
        }
    }
}
