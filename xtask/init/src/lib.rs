//! What xtask and the first process of a virtual machine tell each other.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;

/// The kernel hands this parameter of its command line to its first process as an environment
/// variable: where the [`Spec`] is.
pub const SPEC_PARAMETER: &str = "vm_spec";

/// Where the guest sees the directory that the [`Status`] goes to.
pub const CONTROL_DIR: &str = "/run/vm";

/// The file in [`CONTROL_DIR`] that holds the [`Status`].
pub const STATUS_FILE: &str = "status.json";

/// What to set up and what to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Modules in the initial file system that have to be there first, in this order.
    pub early_modules: Vec<PathBuf>,
    /// The host's root directory, unless the kernel has mounted it already.
    pub host_root: Option<Mount>,
    /// Directories of the host below `/tmp` that stay visible although `/tmp` is a fresh one.
    pub visible: Vec<PathBuf>,
    /// Directories shared with the host, to be written to.
    pub shares: Vec<Mount>,
    /// Modules to load once the host's files are there, in this order.
    pub modules: Vec<PathBuf>,
    /// Programs under their system names: name and file.
    pub tools: Vec<(String, PathBuf)>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its current directory.
    pub current_dir: PathBuf,
    /// Its standard streams.
    pub streams: Streams,
}

/// A file system to be mounted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Mount {
    /// The device or tag.
    pub source: String,
    /// The type, as `mount -t` takes it.
    pub kind: String,
    /// Options of the file system, as `mount -o` takes them.
    pub options: String,
    /// Where.
    pub target: PathBuf,
    /// Nothing may be written.
    pub read_only: bool,
}

/// The devices that carry the standard streams of the command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Streams {
    /// Each byte written here asks for a frame: a length of four bytes, little-endian, and as many
    /// bytes; the length 0 is the end.
    pub stdin: PathBuf,
    /// Plain bytes.
    pub stdout: PathBuf,
    /// Plain bytes.
    pub stderr: PathBuf,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub enum Status {
    /// The command ran.
    Ended {
        /// Its exit status, or 128 and the number of the signal that ended it.
        code: u8,
        /// `/proc/sys/kernel/tainted` afterwards.
        tainted: u64,
    },
    /// The machine could not be set up, or the command not be started, and why.
    Failed(String),
}
