//! The command: its streams, its end, and what it leaves behind.

use crate::root::{mount_count, unmount_leftovers};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};
use rustix::termios::{OptionalActions, isatty, tcdrain, tcgetattr, tcsetattr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeWriter, Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;
use vm_init::{Spec, Status};

/// Exit statuses of a shell for a command that isn't there, and for one that can't be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Runs the command to its end and leaves nothing running or mounted.
pub(crate) fn run(spec: &Spec) -> Result<Status> {
    let stdin = open_stream(&spec.streams.stdin)?;
    let stdout = open_stream(&spec.streams.stdout)?;
    let stderr = open_stream(&spec.streams.stderr)?;
    let mounts_before = mount_count();
    let (program, arguments) = spec.command.split_first().context("there is no command")?;
    let (input, feed) = io::pipe()?;
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.current_dir)
        .stdin(input)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            writeln!(&stderr, "cannot run {}: {error}", program.display())?;
            drain(&stderr);
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let code = if is_missing {
                NOT_FOUND
            } else {
                NOT_EXECUTABLE
            };
            return Ok(Status::Ended { code, tainted: 0 });
        }
    };
    thread::spawn(move || feed_stdin(stdin, feed));
    let code = wait_for(Pid::from_child(&child))?;
    // To process "group" 1 means to everybody but ourselves.
    let _ = kill_process_group(Pid::INIT, Signal::KILL);
    drain(&stdout);
    drain(&stderr);
    unmount_leftovers(mounts_before);
    look_for_leaks();
    let tainted = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    let tainted = tainted.trim().parse().unwrap_or_default();
    Ok(Status::Ended { code, tainted })
}

/// Lets a kernel that has kmemleak tell of memory that nobody knows any more: its log is what the
/// host looks at. What is new is looked at only after some seconds, and twice.
fn look_for_leaks() {
    const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
    const YOUTH: Duration = Duration::from_secs(6);
    if fs::write(KMEMLEAK, "scan").is_err() {
        return;
    }
    thread::sleep(YOUTH);
    let _ = fs::write(KMEMLEAK, "scan");
    let report = fs::read_to_string(KMEMLEAK).unwrap_or_default();
    for line in report.lines() {
        let _ = fs::write("/dev/kmsg", line);
    }
}

/// Waits until a terminal has passed everything on.
fn drain(stream: &File) {
    if isatty(stream) {
        let _ = tcdrain(stream);
    }
}

/// Opens a stream's device. A terminal among them must pass every byte as it is.
fn open_stream(device: &Path) -> Result<File> {
    let open = || -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(device)?;
        if isatty(&file) {
            let mut settings = tcgetattr(&file)?;
            settings.make_raw();
            tcsetattr(&file, OptionalActions::Now, &settings)?;
        }
        Ok(file)
    };
    open().with_context(|| format!("cannot open {}", device.display()))
}

/// Unpacks the frames that carry standard input. An error means that one of the two sides is gone.
fn feed_stdin(mut frames: File, mut feed: PipeWriter) {
    let mut feed_all = || -> io::Result<()> {
        loop {
            frames.write_all(b"+")?;
            let mut length = [0; 4];
            frames.read_exact(&mut length)?;
            let len_bytes = u64::from(u32::from_le_bytes(length));
            if len_bytes == 0 {
                return Ok(());
            }
            let copied = io::copy(&mut Read::by_ref(&mut frames).take(len_bytes), &mut feed)?;
            if copied < len_bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    let _ = feed_all();
}

/// Waits for one process, and reaps all that lose their parents meanwhile.
fn wait_for(wanted: Pid) -> Result<u8> {
    loop {
        let ended = match wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            ended => ended.context("cannot wait for the command")?,
        };
        let Some((pid, status)) = ended else { continue };
        if pid == wanted {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            let code = signal.or(status.exit_status()).unwrap_or(255);
            return Ok(u8::try_from(code).unwrap_or(255));
        }
    }
}
