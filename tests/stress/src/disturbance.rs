//! What the rest of the system does to a file system meanwhile.

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// The longest time between two disturbances.
const INTERVAL_MAX: Duration = Duration::from_millis(150);

/// How long a file system stays frozen at most.
const FROZEN_MAX: Duration = Duration::from_millis(30);

/// Disturbs until `finished`. Whoever holds `gate` for reading sees a file system that can be written
/// to. Only of a `mount_point` that is given is known what can be frozen and remounted.
pub(crate) fn disturb(
    mount_point: Option<&Path>,
    gate: &RwLock<()>,
    finished: &AtomicBool,
) -> Result<()> {
    while !finished.load(Ordering::Relaxed) {
        sleep(INTERVAL_MAX.mul_f32(fastrand::f32()));
        match (fastrand::u8(0..6), mount_point) {
            (0 | 1, _) => rustix::fs::sync(),
            (2, Some(mount_point)) => freeze(mount_point)?,
            (3, Some(mount_point)) => make_read_only(mount_point, gate)?,
            // Only root may; without it this is left out.
            _ => drop(fs::write("/proc/sys/vm/drop_caches", "3")),
        }
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<bool> {
    let mut command = Command::new(program);
    let output = command.args(arguments).arg(path).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    Ok(output.status.success())
}

/// One process does both, which holds none of our files: started on a frozen file system, its thaw
/// could be the last to hold an unlinked one, and would have to wait for itself.
fn freeze(mount_point: &Path) -> Result<()> {
    let seconds = FROZEN_MAX.as_secs_f32() * fastrand::f32();
    let script = format!("fsfreeze -f \"$0\" && sleep {seconds} && fsfreeze -u \"$0\"");
    ensure!(
        run("sh", &["-c", &script], mount_point)?,
        "`{script}` failed"
    );
    Ok(())
}

/// Remounts read-only, if no file that is open keeps it from that, and back.
fn make_read_only(mount_point: &Path, gate: &RwLock<()>) -> Result<()> {
    // A thread that failed while it held the gate has said so.
    let _closed = gate
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if !run("mount", &["-o", "remount,ro"], mount_point)? {
        return Ok(());
    }
    let made = File::create(mount_point.join("on a read-only file system"));
    let errno = made.err().and_then(|error| Errno::from_io_error(&error));
    ensure!(
        errno == Some(Errno::ROFS),
        "read-only, and making a file: {errno:?}"
    );
    let is_back = run("mount", &["-o", "remount,rw"], mount_point)?;
    ensure!(is_back, "remounting read-write failed");
    Ok(())
}
