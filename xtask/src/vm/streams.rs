//! The standard streams of a command in a virtual machine: pipes that are handed to the process
//! that is the machine, and threads that carry between them and our own streams.
//!
//! Standard input goes over a socket: the guest asks for each piece with a byte. A serial line of
//! user-mode Linux loses what comes before somebody listens, and more than it has room for.

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

/// The descriptors under which the machine finds its ends.
pub(super) const STDIN_FD: i32 = 10;
pub(super) const STDOUT_FD: i32 = 11;
pub(super) const STDERR_FD: i32 = 12;
pub(super) const CONSOLE_FD: i32 = 13;

/// Bytes of output that are carried at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of input that are carried at a time: less than a terminal's buffer in the guest.
const FRAME_BYTES: usize = 2048;

/// Our ends.
pub(super) struct Streams {
    stdin: UnixStream,
    stdout: PipeReader,
    stderr: PipeReader,
}

impl Streams {
    /// Makes the pipes and gives their other ends, and the file for the console, to `command`.
    pub(super) fn attach(command: &mut Command, console: &Path) -> Result<Streams> {
        let console = File::create(console)
            .with_context(|| format!("cannot make the log {}", console.display()))?;
        let (input, stdin) = UnixStream::pair()?;
        let (stdout, output) = io::pipe()?;
        let (stderr, errors) = io::pipe()?;
        let mapping = |child_fd, fd: OwnedFd| FdMapping {
            parent_fd: fd,
            child_fd,
        };
        command.fd_mappings(vec![
            mapping(STDIN_FD, input.into()),
            mapping(STDOUT_FD, output.into()),
            mapping(STDERR_FD, errors.into()),
            mapping(CONSOLE_FD, console.into()),
        ])?;
        Ok(Streams {
            stdin,
            stdout,
            stderr,
        })
    }

    /// Starts to carry.
    pub(super) fn carry(self, capture: bool) -> Carriers {
        // Where the command's output is captured, nobody types.
        match capture {
            true => thread::spawn(move || send_frames(io::empty(), self.stdin)),
            false => thread::spawn(move || send_frames(io::stdin(), self.stdin)),
        };
        let (stdout, stderr) = (self.stdout, self.stderr);
        Carriers {
            stdout: thread::spawn(move || receive(stdout, capture.then(Vec::new), io::stdout())),
            stderr: thread::spawn(move || receive(stderr, capture.then(Vec::new), io::stderr())),
        }
    }
}

/// The threads that carry what the command says.
pub(super) struct Carriers {
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Carriers {
    /// Waits for the end of both streams and returns what was captured of them.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        (
            self.stdout.join().unwrap_or_default(),
            self.stderr.join().unwrap_or_default(),
        )
    }
}

/// Sends standard input, whenever asked, in frames of a length and as many bytes; length 0 is its
/// end. An error means that the machine or our input is gone.
fn send_frames(mut from: impl Read, mut to: UnixStream) {
    let mut send = || -> io::Result<()> {
        let mut chunk = [0; FRAME_BYTES];
        loop {
            to.read_exact(&mut [0])?;
            let len_bytes = from.read(&mut chunk).unwrap_or(0);
            to.write_all(&(len_bytes as u32).to_le_bytes())?;
            to.write_all(chunk.get(..len_bytes).unwrap_or_default())?;
        }
    };
    let _ = send();
}

/// Receives to the end of the stream. If our own output can't be written any more, the rest is
/// dropped: the machine must not wait for it.
fn receive(mut from: PipeReader, mut captured: Option<Vec<u8>>, mut to: impl Write) -> Vec<u8> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(len_bytes @ 1..) = from.read(&mut chunk) {
        let bytes = chunk.get(..len_bytes).unwrap_or_default();
        match &mut captured {
            Some(captured) => captured.extend_from_slice(bytes),
            None => {
                let _ = to.write_all(bytes).and_then(|()| to.flush());
            }
        }
    }
    captured.unwrap_or_default()
}
