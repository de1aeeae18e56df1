//! pjdfstest: what POSIX says of every system call on files.

use super::machine::run_script;
use super::subject::Subject;
use crate::cache::built_once;
use crate::command::{cargo, step};
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::vm::machine::tail;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::time::Duration;

const VERSION: &str = "0.2.2";

/// Everything that Linux has of the features that a file system may lack; the two users are made
/// in the guest.
const CONFIGURATION: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.02
allow_remount = false

[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
"#;

/// The second of those users, which Debian doesn't have.
const ADD_USER: &str = "echo tests:x:60001:60001::/:/usr/sbin/nologin >> /etc/passwd; \
                        echo tests:x:60001: >> /etc/group";

/// The tests that need the file system to be read-only for a moment. They run on their own: others
/// leave files open for writing, and then it can't become read-only.
const REMOUNTING: &str = "erofs";

/// On an emulated CPU the whole suite takes too long: the calls whose paths through the VFS are our
/// own there.
const STOCK_SUBSET: &str = "rename link unlink mkdir rmdir open truncate symlink";

pub(super) fn ext4(workspace: &Workspace) -> Result<Counts> {
    pjdfstest(workspace, Subject::Ext4, "")
}

pub(super) fn logfs_uml(workspace: &Workspace) -> Result<Counts> {
    pjdfstest(workspace, Subject::Logfs(Kernel::Uml), "")
}

pub(super) fn logfs_stock(workspace: &Workspace) -> Result<Counts> {
    pjdfstest(workspace, Subject::Logfs(Kernel::Stock), STOCK_SUBSET)
}

pub(super) fn logfs_fuse(workspace: &Workspace) -> Result<Counts> {
    pjdfstest(workspace, Subject::LogfsFuse, "")
}

/// The program, built if this version has not been built before.
fn program() -> Result<PathBuf> {
    let dir = built_once(&format!("pjdfstest-{VERSION}"), |dir| {
        let mut install = cargo();
        install.args([
            "install",
            "--locked",
            "pjdfstest",
            "--version",
            VERSION,
            "--root",
        ]);
        step("Building pjdfstest (once)", install.arg(dir)).map(drop)
    })?;
    Ok(dir.join("bin/pjdfstest"))
}

fn pjdfstest(workspace: &Workspace, subject: Subject, only: &str) -> Result<Counts> {
    let program = program()?;
    let machine = subject.machine(workspace, Duration::from_secs(1500))?;
    let program = program.display();
    let script = format!(
        "set -e; {ADD_USER}; printf '%s' '{CONFIGURATION}' > /run/pjdfstest.toml\n\
         sed 's/allow_remount = false/allow_remount = true/' /run/pjdfstest.toml > /run/remount.toml\n\
         {}; chmod 755 /mnt; mkdir /run/other; export NO_COLOR=1\n\
         {program} -c /run/pjdfstest.toml -p /mnt -s /run/other {only} || :\n\
         {program} -c /run/remount.toml -p /mnt -s /run/other {REMOUNTING} || :\n\
         {} >&2",
        subject.mount(),
        subject.unmount()
    );
    let outcome = run_script(workspace, &machine, &script)?;
    let stdout = String::from_utf8_lossy(&outcome.stdout);
    let (counts, report) = read_results(&stdout);
    println!("{report}");
    if outcome.code != 0 || !outcome.faults.is_empty() || counts == Counts::default() {
        bail!(
            "exit status {}, kernel faults: {:?}\n{}\n{}\nconsole:\n{}",
            outcome.code,
            outcome.faults,
            stdout,
            String::from_utf8_lossy(&outcome.stderr),
            tail(&outcome.console)
        );
    }
    Ok(counts)
}

/// Counts the results, and returns what failed and what was skipped, with the reasons.
fn read_results(output: &str) -> (Counts, String) {
    let mut counts = Counts::default();
    let mut report = String::new();
    let mut is_reporting = false;
    for line in output.lines() {
        let verdict = line.rsplit("  ").next().unwrap_or_default().trim();
        match verdict {
            "ok" => counts.passed += 1,
            "FAILED" => counts.failed += 1,
            _ => {}
        }
        // The reasons follow, indented.
        is_reporting = match verdict {
            "ok" => false,
            "FAILED" | "skipped" => true,
            _ => is_reporting && line.starts_with('\t'),
        };
        if is_reporting {
            report.push_str(line);
            report.push('\n');
        }
    }
    (counts, report)
}

#[cfg(test)]
mod tests {
    use super::read_results;

    #[test]
    fn results_are_counted_and_failures_shown() {
        let output = "chmod::ctime            ok\n\
                      chmod::eperm            FAILED\n\
                      \tassertion failed: left == right\n\
                      chflags::eperm          skipped\n\
                      \tno chflags\n\
                      open::ok                ok\n\
                      \tdescription\n";
        let (counts, report) = read_results(output);
        assert_eq!(counts.to_string(), "2 passed, 1 failed");
        assert_eq!(report.lines().count(), 4);
        assert!(report.contains("left == right") && !report.contains("ctime"));
    }
}
