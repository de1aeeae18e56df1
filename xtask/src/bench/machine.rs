//! The machines in which it is measured.

use super::{Arguments, Cost, Suite, Turns};
use crate::command::step;
use crate::input::Input;
use crate::kernel::Kernel;
use crate::kmod::LATENCY;
use crate::tools;
use crate::vm::disk::Disk;
use crate::vm::machine::{Machine, tail};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

/// Where the disk is: memory, so that the host's own disk is not what is measured.
const MEMORY_DIR: &str = "/dev/shm";

/// Blocks of stat(2), in bytes.
const STAT_BLOCK_BYTES: u64 = 512;

/// How long one machine may measure.
const TIME_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// Everything that the machines share.
pub(super) struct Bench<'a> {
    workspace: &'a Workspace,
    machine: Machine,
    /// The program that measures.
    program: PathBuf,
    arguments: &'a Arguments,
    samples: &'a Path,
    input: &'a Input,
    scale_percent: u32,
    disk_bytes: u64,
    // Has no name: however this ends, its memory is given back.
    disk: File,
}

impl<'a> Bench<'a> {
    /// Builds everything, and fills the disk with zeros: whoever comes first must not pay for memory
    /// that the others find there.
    pub(super) fn prepare(
        workspace: &'a Workspace,
        input: &'a Input,
        arguments: &'a Arguments,
        samples: &'a Path,
    ) -> Result<Bench<'a>> {
        let is_slow = arguments.is_slow();
        let disk_bytes = arguments
            .disk
            .unwrap_or(if is_slow { 2 << 30 } else { 8 << 30 });
        let mut machine = Machine::prepare(workspace, arguments.kernel)?;
        machine.load_modules(workspace, &["logfs".to_owned(), LATENCY.to_owned()])?;
        machine.hardware.mem_bytes = 3 << 30;
        machine.time_limit = TIME_LIMIT;
        let mut disk = tempfile::tempfile_in(MEMORY_DIR)
            .with_context(|| format!("cannot make a file in {MEMORY_DIR}"))?;
        fill(&mut disk, disk_bytes)?;
        let path = format!("/proc/{}/fd/{}", process::id(), disk.as_raw_fd());
        machine.disks = vec![Disk::File(path.into())];
        Ok(Bench {
            workspace,
            machine,
            program: tools::build_bench(workspace)?,
            arguments,
            samples,
            input,
            scale_percent: arguments.scale.unwrap_or(if is_slow { 10 } else { 100 }),
            disk_bytes,
            disk,
        })
    }

    /// Measures all workloads on a device of such cost, and adds to the samples; whether all went well.
    /// `first_run` turns are there already.
    pub(super) fn measure(&self, turns: &Turns, first_run: u32, cost: Cost) -> Result<bool> {
        let mut common = vec![
            format!("--fs={}", turns.file_systems.join(",")),
            format!("--first-run={first_run}"),
            format!("--runs={}", turns.runs),
        ];
        let cost = [
            format!("--flush-cost={}", cost.flush_us),
            format!("--write-cost={}", cost.write_us),
        ];
        common.extend(cost.clone());
        let mut all_worked = true;
        for workloads in self.machines(&cost)? {
            let mut options = common.clone();
            options.extend(workloads.iter().map(|name| format!("--workload={name}")));
            all_worked &= self.boot(&options)?;
        }
        Ok(all_worked)
    }

    /// Which workloads run in which machine. Each gets a fresh one, unless booting takes long.
    fn machines(&self, cost: &[String]) -> Result<Vec<Vec<String>>> {
        let mut list = Command::new(&self.program);
        list.args(["--list", "--suite", self.suite()?.as_str()]);
        list.args(cost);
        list.args(
            self.arguments
                .workload
                .iter()
                .map(|name| format!("--workload={name}")),
        );
        let output = step("Listing the workloads", &mut list)?;
        let output = String::from_utf8(output.stdout)?;
        let names: Vec<_> = output
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        Ok(match self.arguments.kernel {
            Kernel::Stock if names.is_empty() => Vec::new(),
            Kernel::Stock => vec![names],
            Kernel::Uml | Kernel::UmlDebug => names.into_iter().map(|name| vec![name]).collect(),
        })
    }

    /// The suite's name.
    fn suite(&self) -> Result<String> {
        let value = Suite::to_possible_value(&self.arguments.suite);
        Ok(value.context("a suite has a name")?.get_name().to_owned())
    }

    fn boot(&self, options: &[String]) -> Result<bool> {
        let output = self.machine.exchange.join("samples.jsonl");
        let mut command: Vec<OsString> = ["sh", "-c"].map(OsString::from).to_vec();
        // Not our standard output: what was measured before a fault must not be lost.
        command.push(r#"exec bench --device "$DISK0" "$@" > "$EXCHANGE/samples.jsonl""#.into());
        command.push("bench".into());
        command.push("--read-first".into());
        if self.arguments.is_slow() {
            command.push("--practise-each".into());
        }
        command.push(format!("--scale={}", self.scale_percent).into());
        command.push("--input".into());
        command.push(self.input.dir.clone().into());
        command.extend(options.iter().map(OsString::from));
        let _ = fs::remove_file(&output);
        let outcome = self.machine.run(self.workspace, &command);
        let measured = fs::read(&output).unwrap_or_default();
        OpenOptions::new()
            .append(true)
            .open(self.samples)?
            .write_all(&measured)?;
        let outcome = outcome?;
        ensure!(
            outcome.faults.is_empty(),
            "the kernel reported faults: {}\n{}",
            outcome.faults.join("; "),
            tail(&outcome.console)
        );
        self.check_whole()?;
        Ok(outcome.code == 0)
    }

    /// Makes sure that nobody has discarded parts of the disk: whoever writes there next would have to
    /// wait for memory.
    fn check_whole(&self) -> Result<()> {
        let there_bytes = self.disk.metadata()?.blocks() * STAT_BLOCK_BYTES;
        ensure!(
            there_bytes >= self.disk_bytes,
            "of the disk's {} MiB only {} are still there: a file system has discarded the others; \
             make and mount it without that",
            self.disk_bytes >> 20,
            there_bytes >> 20
        );
        Ok(())
    }

    /// Where and how it was measured.
    pub(super) fn description(&self) -> Result<Value> {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let kernel = self.machine.kernel.find()?;
        Ok(json!({
            "kernel": self.arguments.kernel.to_string(),
            "release": kernel.release,
            "cpu": cpu,
            "cpus": self.machine.hardware.cpus,
            "memory_mib": self.machine.hardware.mem_bytes >> 20,
            "disk_mib": self.disk_bytes >> 20,
            "suite": self.suite()?,
            "scale_percent": self.scale_percent,
            "commit": commit(self.workspace),
            "build_crc32": self.build_crc32()?,
        }))
    }

    /// Tells one build of the modules and programs from another.
    fn build_crc32(&self) -> Result<String> {
        let mut hasher = crc32fast::Hasher::new();
        let programs = self.machine.tools.iter().map(|(_, program)| program);
        for file in self.machine.modules.iter().chain(programs) {
            let bytes = fs::read(file);
            hasher.update(&bytes.with_context(|| format!("cannot read {}", file.display()))?);
        }
        Ok(format!("{:08x}", hasher.finalize()))
    }
}

/// What is measured, as git calls it; of a tree that git knows nothing of, nothing.
fn commit(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(workspace.root());
    let output = git
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether figures from such a machine can stand beside those of the one that a file describes: all
/// must be the same, the build too, but which workloads there are; another commit may give the same build.
pub(super) fn check_same(description: &Value, earlier: &Path) -> Result<()> {
    let text = fs::read_to_string(earlier)?;
    let earlier_description: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", earlier.display()))?;
    for (name, value) in description.as_object().into_iter().flatten() {
        let before = &earlier_description[name];
        ensure!(
            value == before || ["suite", "commit"].contains(&name.as_str()),
            "{} was measured with {name} {before}, not {value}: choose another --out",
            earlier.display()
        );
    }
    Ok(())
}

/// Fills a file with zeros, so that all of it is there.
fn fill(file: &mut File, len_bytes: u64) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    for _ in 0..len_bytes >> 20 {
        file.write_all(&zeros)
            .with_context(|| format!("no memory for a disk of {} MiB", len_bytes >> 20))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_same;
    use serde_json::json;

    #[test]
    fn only_figures_of_one_machine_are_put_together() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let earlier = dir.path().join("machine.json");
        let before = json!({ "kernel": "uml", "disk_mib": 8192, "suite": "full" });
        std::fs::write(&earlier, before.to_string()).expect("a file");
        let others = json!({ "kernel": "uml", "disk_mib": 8192, "suite": "quick" });
        check_same(&others, &earlier).expect("the same machine");
        let other = json!({ "kernel": "uml", "disk_mib": 2048, "suite": "full" });
        let error = check_same(&other, &earlier).expect_err("another disk");
        let rebuilt = json!({ "kernel": "uml", "disk_mib": 8192, "build_crc32": "0000002a" });
        check_same(&rebuilt, &earlier).expect_err("another build");
        assert!(
            error.to_string().contains("disk_mib 8192, not 2048"),
            "{error}"
        );
    }
}
