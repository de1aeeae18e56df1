//! Running other programs.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// A program and its arguments.
pub(crate) fn program<S: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

/// Runs it to its end, and returns its output; an error with what it complained of if it fails.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    run_expecting(command, &[0])
}

/// The same of one that may end with any of these exit codes.
pub(crate) fn run_expecting(command: &mut Command, codes: &[i32]) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{name}`; is it installed?"))?;
    if !output
        .status
        .code()
        .is_some_and(|code| codes.contains(&code))
    {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{name}` ended with {}: {}",
            output.status,
            complaint.trim()
        );
    }
    Ok(output.stdout)
}
