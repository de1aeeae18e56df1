//! Going to the background, and logging from there.
//!
//! The program starts itself a second time with `--background` and ends when that one has
//! mounted. What goes wrong before goes to the common standard error.

use log::{LevelFilter, Log, Metadata, Record};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

/// What the second process writes to standard output when it has mounted.
const READY: u8 = b'+';

/// Starts the second process and waits until it has mounted or failed.
pub(crate) fn start() -> io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .arg("--background")
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(1).read_to_end(&mut answer)?;
    }
    if answer == [READY] {
        return Ok(ExitCode::SUCCESS);
    }
    let code = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|code| *code != 0).unwrap_or(1)))
}

/// In the second process: tells the first one that all is well and lets go of its terminal and
/// directory.
pub(crate) fn ready() -> io::Result<()> {
    // Fails only for the leader of a group, which has nothing to leave.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    io::stdout().write_all(&[READY])?;
    io::stdout().flush()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Where messages go.
pub(crate) enum LogTo {
    StandardError,
    /// The kernel's log, where those of other file systems are.
    Kernel,
}

struct Logger {
    to: LogTo,
    kernel: Option<Mutex<File>>,
}

/// Sends the program's log there.
pub(crate) fn start_log(to: LogTo, level: LevelFilter) {
    let kernel = match to {
        LogTo::StandardError => None,
        LogTo::Kernel => OpenOptions::new()
            .write(true)
            .open("/dev/kmsg")
            .ok()
            .map(Mutex::new),
    };
    log::set_max_level(level);
    // It is set once; who has set another before keeps it.
    let _ = log::set_boxed_logger(Box::new(Logger { to, kernel }));
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // A log that can't be written has nowhere to say so.
        let _ = match (&self.to, &self.kernel) {
            (LogTo::StandardError, _) => writeln!(io::stderr(), "{}", record.args()),
            (LogTo::Kernel, None) => Ok(()),
            (LogTo::Kernel, Some(kernel)) => {
                // One write is one line of the kernel's log; the number is the syslog level.
                let level = match record.level() {
                    log::Level::Error => 3,
                    log::Level::Warn => 4,
                    log::Level::Info => 6,
                    log::Level::Debug | log::Level::Trace => 7,
                };
                let line = format!("<{level}>{}\n", record.args());
                match kernel.lock() {
                    Ok(mut kernel) => kernel.write_all(line.as_bytes()),
                    Err(_) => Ok(()),
                }
            }
        };
    }

    fn flush(&self) {}
}
