//! The first process in a virtual machine: lays a writable layer of memory over the host's files,
//! loads modules, runs one command, reports its exit status, and powers off.
//!
//! It is linked statically, since it also starts from an initial file system that holds nothing
//! else.
#![forbid(unsafe_code)]

mod root;
mod run;

use anyhow::{Context, Result};
use rustix::system::{RebootCommand, reboot};
use std::path::Path;
use std::{env, fs};
use vm_init::{CONTROL_DIR, SPEC_PARAMETER, STATUS_FILE, Spec, Status};

fn main() {
    let status = work().unwrap_or_else(|error| Status::Failed(format!("{error:#}")));
    if let Err(error) = report(&status) {
        // Nobody but the kernel's log is left to tell.
        let _ = fs::write("/dev/kmsg", format!("vm-init: {error:#}: {status:?}"));
    }
    rustix::fs::sync();
    if env::var_os(SPEC_PARAMETER).is_some() {
        let _ = reboot(RebootCommand::PowerOff);
    }
}

fn work() -> Result<Status> {
    let path = env::var_os(SPEC_PARAMETER)
        .with_context(|| format!("no {SPEC_PARAMETER}: only xtask starts this program"))?;
    let path = Path::new(&path);
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let spec: Spec = serde_json::from_slice(&text)
        .with_context(|| format!("cannot understand {}", path.display()))?;
    root::set_up(&spec)?;
    run::run(&spec)
}

fn report(status: &Status) -> Result<()> {
    let path = Path::new(CONTROL_DIR).join(STATUS_FILE);
    let text = serde_json::to_vec(status)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
