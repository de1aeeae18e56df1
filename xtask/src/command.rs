//! Running other programs: quietly with a spinner where nobody needs the output unless it fails,
//! openly where the output is the point.

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Steps shorter than this are not worth a line when nobody watches.
const NOTEWORTHY: Duration = Duration::from_secs(5);

/// Lines of a failed program's output that are shown.
const FAILURE_LINES: usize = 40;

/// Cargo, the one that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told us about ourselves must not reach the packages that we build.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        cargo.env_remove(name);
    }
    cargo
}

/// The program and its arguments, as one would type them.
pub(crate) fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    words.join(" ")
}

/// Runs a step of which only failure is of interest: a spinner on a terminal, one line otherwise
/// if it took long; the end of the output and an error if it fails.
pub(crate) fn step(title: &str, command: &mut Command) -> Result<Output> {
    let started = Instant::now();
    let spinner = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new_spinner().with_message(title.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    let output = command.stdin(Stdio::null()).output();
    if let Some(bar) = spinner {
        bar.finish_and_clear();
    }
    let output = output.with_context(|| cannot_run(command))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        bail!(
            "{title} failed: `{}` ended with {}:\n{}",
            describe(command),
            output.status,
            last_lines(&text, FAILURE_LINES)
        );
    }
    if started.elapsed() >= NOTEWORTHY {
        eprintln!("{title}: {:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(output)
}

/// Runs a program whose output goes to ours, and says whether it succeeded.
pub(crate) fn show(command: &mut Command) -> Result<bool> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| cannot_run(command))?;
    Ok(status.success())
}

/// What to say of a program that could not be started.
pub(crate) fn cannot_run(command: &Command) -> String {
    format!(
        "cannot run `{}`; is it installed? `cargo xtask deps` installs what is needed",
        command.get_program().to_string_lossy()
    )
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines.get(skipped..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{last_lines, step};
    use std::process::Command;

    #[test]
    fn the_end_of_a_text_is_its_last_lines() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_failed_step_names_itself_the_command_and_what_it_said() {
        let error = step(
            "Counting",
            Command::new("sh").args(["-c", "echo woe; exit 3"]),
        );
        let text = format!("{:#}", error.expect_err("the shell exits with 3"));
        for part in ["Counting", "sh -c", "exit status: 3", "woe"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_a_remedy() {
        let error = step("Trying", &mut Command::new("no-such-program"));
        let text = format!("{:#}", error.expect_err("there is no such program"));
        assert!(text.contains("no-such-program") && text.contains("cargo xtask deps"));
    }
}
