//! Who is measured when: every workload on every file system in turn, the whole of it several times,
//! each time with another file system first. What disturbs the machine for a while thus disturbs all.

use crate::Arguments;
use crate::device::Device;
use crate::file_system::FileSystem;
use crate::input::Input;
use crate::stage::Stage;
use crate::workload::{Workload, place_of};
use anyhow::{Context, Error, Result};
use bench_sample::{Failure, Line, Sample};
use std::process::ExitCode;
use std::time::Instant;

/// Of the work that a practice turn does.
const PRACTICE_PERCENT: u32 = 1;

/// Measures, and prints each sample as soon as it is there. A workload that fails on one file system
/// is told there and on standard error, and makes the exit status 1; the others are measured all the same.
///
/// Before all that comes a short turn that nobody measures: what runs for the first time in a machine
/// waits for programs and memory that the second finds there. With `--practise-each` every file system
/// has one.
pub(crate) fn take(
    device: &Device,
    workloads: &[&Workload],
    arguments: &Arguments,
) -> Result<ExitCode> {
    let is_wanted = workloads.iter().any(|workload| workload.needs_input);
    let input = arguments.input.as_deref().filter(|_| is_wanted);
    let input = input.map(Input::open).transpose()?;
    let mut failed = false;
    let practisers = match arguments.practise_each {
        true => arguments.fs.len(),
        false => 1,
    };
    let mut practised = Vec::new();
    for run in (arguments.first_run..).take(arguments.runs as usize) {
        for workload in workloads {
            if workload.needs_input && input.is_none() {
                continue;
            }
            let mut file_systems = arguments.fs.clone();
            file_systems.retain(|&file_system| workload.is_for(file_system));
            let turns = order(&file_systems, run as usize, place_of(workload))
                .into_iter()
                .map(|file_system| Turn {
                    device,
                    workload,
                    file_system,
                    input: input.as_ref(),
                    scale_percent: arguments.scale,
                    run: Some(run),
                });
            let turns: Vec<_> = turns.collect();
            let newcomers = turns.iter().rev();
            let newcomers = newcomers.filter(|turn| !practised.contains(&turn.file_system));
            let newcomers = newcomers.take(practisers.saturating_sub(practised.len()));
            let practice: Vec<_> = newcomers.map(Turn::practice).collect();
            practised.extend(practice.iter().map(|turn| turn.file_system));
            for turn in practice.iter().chain(&turns) {
                if let Err(error) = turn.take() {
                    eprintln!(
                        "bench: {} on {}: {error:#}",
                        workload.name, turn.file_system
                    );
                    failed = true;
                    turn.print_failure(&error)?;
                }
            }
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// The file systems in the order of this run of a workload. Over the runs of a workload, and over the
/// workloads of a run, all come first about as often, and of two each before the other.
fn order(file_systems: &[FileSystem], run: usize, workload: usize) -> Vec<FileSystem> {
    let mut order = file_systems.to_vec();
    if !order.is_empty() {
        let first = (run + workload) % order.len();
        order.rotate_left(first);
    }
    if order.len() > 2 && run % 2 == 1 {
        order.reverse();
    }
    order
}

struct Turn<'a> {
    device: &'a Device,
    workload: &'a Workload,
    file_system: FileSystem,
    input: Option<&'a Input>,
    scale_percent: u32,
    /// Its number; practice has none.
    run: Option<u32>,
}

impl Turn<'_> {
    fn practice(&self) -> Self {
        Turn {
            scale_percent: PRACTICE_PERCENT,
            run: None,
            ..*self
        }
    }

    fn take(&self) -> Result<()> {
        let started = Instant::now();
        let mut stage = Stage::open(self.device, self.file_system, self.scale_percent)?;
        let worked = (self.workload.body)(&mut stage, self.input);
        // Also after an error: the next file system wants the device.
        let samples = stage.close();
        worked?;
        let samples = samples.context("unmounting")?;
        let name = match self.run {
            Some(run) => format!("run {}", run + 1),
            None => "practice".to_owned(),
        };
        eprintln!(
            "{name}: {} on {}: {:.1} s",
            self.workload.name,
            self.file_system,
            started.elapsed().as_secs_f64()
        );
        match self.run {
            Some(run) => self.print(samples, run),
            None => Ok(()),
        }
    }

    fn print(&self, samples: Vec<Sample>, run: u32) -> Result<()> {
        let name = self.name();
        for mut sample in samples {
            sample.row = format!("{name}/{}", sample.row);
            sample.run = run;
            print(&Line::Sample(sample))?;
        }
        Ok(())
    }

    /// Practice fails in silence: it will again when it is measured.
    fn print_failure(&self, error: &Error) -> Result<()> {
        let Some(run) = self.run else {
            return Ok(());
        };
        print(&Line::Failure(Failure {
            failed: self.name(),
            file_system: self.file_system.to_string(),
            run,
            error: format!("{error:#}"),
        }))
    }

    /// The workload's, behind what was done to the device.
    fn name(&self) -> String {
        format!("{}{}", self.device.set_up(), self.workload.name)
    }
}

fn print(line: &Line) -> Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::order;
    use crate::file_system::FileSystem::{Ext4, Logfs, Xfs};

    #[test]
    fn nobody_is_always_before_another() {
        let all = [Logfs, Ext4, Xfs];
        assert_eq!(order(&all, 0, 0), [Logfs, Ext4, Xfs]);
        assert_eq!(order(&all, 1, 0), [Logfs, Xfs, Ext4]);
        assert_eq!(order(&all, 0, 5), [Xfs, Logfs, Ext4]);
        assert_eq!(order(&all[..2], 0, 0), [Logfs, Ext4]);
        assert_eq!(order(&all[..2], 1, 0), [Ext4, Logfs]);
        assert_eq!(order(&all[..2], 0, 1), [Ext4, Logfs]);
        assert!(order(&[], 1, 1).is_empty());
    }
}
