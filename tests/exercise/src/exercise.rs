//! Operations on a file and its model, side by side.

use crate::buffer::{ALIGN_BYTES, Buffer};
use crate::model::Model;
use crate::operation::{Kind, Operation};
use crate::subject::{Subject, read_full};
use anyhow::{Context, Result, ensure};
use rustix::fs::FallocateFlags;
use std::collections::VecDeque;
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many operations are shown when something is wrong.
const HISTORY: usize = 20;

/// A file that is exercised.
pub(crate) struct Exercise {
    path: PathBuf,
    max_bytes: usize,
    chance: fastrand::Rng,
    subject: Subject,
    model: Model,
    count: u64,
    last: VecDeque<(u64, Operation)>,
}

impl Exercise {
    /// Starts with an empty file.
    pub(crate) fn new(path: &Path, max_bytes: u64, seed: u64) -> Result<Exercise> {
        File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let max_bytes = usize::try_from(max_bytes)?;
        Ok(Exercise {
            path: path.to_path_buf(),
            max_bytes: max_bytes - max_bytes % ALIGN_BYTES,
            chance: fastrand::Rng::with_seed(seed),
            subject: Subject::open(path)?,
            model: Model::default(),
            count: 0,
            last: VecDeque::new(),
        })
    }

    /// Does this many operations.
    pub(crate) fn run(&mut self, operations: u64) -> Result<()> {
        for _ in 0..operations {
            let operation = Operation::draw(&mut self.chance, self.max_bytes);
            self.count += 1;
            self.last.truncate(HISTORY - 1);
            self.last.push_front((self.count, operation));
            self.apply(operation)
                .and_then(|()| self.check_size())
                .with_context(|| format!("operation {}, {operation}", self.count))?;
        }
        Ok(())
    }

    /// Compares all of the file, through the page cache and past it.
    pub(crate) fn compare_all(&self) -> Result<()> {
        self.check_size()?;
        self.read(&self.subject.buffered, 0, self.max_bytes)
            .context("all of the file, buffered")?;
        self.subject.buffered.sync_all()?;
        self.read(&self.subject.direct, 0, self.max_bytes)
            .context("all of the file, direct")?;
        self.subject.drop_pages()?;
        self.read(&self.subject.buffered, 0, self.max_bytes)
            .context("all of the file, buffered, after dropping its pages")
    }

    /// Closes the file, runs a command, and compares all of it again.
    pub(crate) fn remount(&mut self, command: &str) -> Result<()> {
        // The null device takes the file's place, so that nothing keeps it from being unmounted.
        let null = || File::open("/dev/null");
        self.subject = Subject {
            buffered: null()?,
            direct: null()?,
        };
        let status = Command::new("sh").args(["-c", command]).status()?;
        ensure!(status.success(), "`{command}` ended with {status}");
        self.subject = Subject::open(&self.path)?;
        self.compare_all()
            .with_context(|| format!("after `{command}`"))
    }

    /// The last operations, as text.
    pub(crate) fn history(&self) -> String {
        let mut text = String::from("The last operations:");
        for (number, operation) in self.last.iter().rev() {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{number:>9} {operation}");
        }
        text
    }

    fn apply(&mut self, operation: Operation) -> Result<()> {
        let Operation {
            kind,
            offset,
            len_bytes,
        } = operation;
        match kind {
            Kind::Write | Kind::DirectWrite => self.write(operation),
            Kind::Read => self.read(&self.subject.buffered, offset, len_bytes),
            Kind::DirectRead => self.read(&self.subject.direct, offset, len_bytes),
            Kind::Append => self.append(len_bytes),
            Kind::Truncate => {
                self.subject.buffered.set_len(offset as u64)?;
                self.model.truncate(offset);
                Ok(())
            }
            Kind::Allocate
            | Kind::AllocateKeepSize
            | Kind::PunchHole
            | Kind::ZeroRange
            | Kind::ZeroRangeKeepSize => self.fallocate(operation),
            Kind::SeekData => self.compare_holes(),
            Kind::Fsync => Ok(self.subject.buffered.sync_all()?),
            Kind::Fdatasync => Ok(self.subject.buffered.sync_data()?),
            Kind::DropPages => self.subject.drop_pages(),
            Kind::Reopen => {
                self.subject = Subject::open(&self.path)?;
                Ok(())
            }
        }
    }

    fn write(&mut self, operation: Operation) -> Result<()> {
        let offset = operation.offset;
        let mut buffer = Buffer::new(operation.len_bytes);
        let data = buffer.bytes_mut();
        self.chance.fill(data);
        let file = match operation.kind {
            Kind::DirectWrite => &self.subject.direct,
            _ => &self.subject.buffered,
        };
        file.write_all_at(data, offset as u64)?;
        self.model.write(offset, data);
        Ok(())
    }

    fn append(&mut self, len_bytes: usize) -> Result<()> {
        let end = self.model.size_bytes();
        let mut data = vec![0; len_bytes.min(self.max_bytes - end)];
        self.chance.fill(&mut data);
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(&data)?;
        self.model.write(end, &data);
        Ok(())
    }

    fn read(&self, file: &File, offset: usize, len_bytes: usize) -> Result<()> {
        let mut buffer = Buffer::new(len_bytes);
        let bytes = buffer.bytes_mut();
        // A direct read that goes on where the file ended would not be aligned.
        let found = if len_bytes > self.model.readable(offset, len_bytes) {
            file.read_at(bytes, offset as u64)?
        } else {
            read_full(file, bytes, offset)?
        };
        let expected = self.model.readable(offset, len_bytes);
        ensure!(found == expected, "{found} bytes read, expected {expected}");
        self.model.compare(offset, &bytes[..found])
    }

    fn fallocate(&mut self, operation: Operation) -> Result<()> {
        let Operation {
            kind,
            offset,
            len_bytes,
        } = operation;
        let keep_size = FallocateFlags::KEEP_SIZE;
        let mode = match kind {
            Kind::AllocateKeepSize => keep_size,
            Kind::PunchHole => FallocateFlags::PUNCH_HOLE | keep_size,
            Kind::ZeroRange => FallocateFlags::ZERO_RANGE,
            Kind::ZeroRangeKeepSize => FallocateFlags::ZERO_RANGE | keep_size,
            _ => FallocateFlags::empty(),
        };
        self.subject.fallocate(mode, offset, len_bytes)?;
        if !mode.contains(keep_size) {
            self.model.grow(offset + len_bytes);
        }
        if mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            self.model.zero(offset, len_bytes);
        }
        Ok(())
    }

    /// What the file system says is a hole must be zeros.
    fn compare_holes(&self) -> Result<()> {
        let mut at = 0;
        while let Some((start, end)) = self.subject.next_hole(at)? {
            ensure!(start >= at && end > start, "a hole {start}..{end}");
            let zeros = vec![0; usize::try_from(end - start)?];
            self.model
                .compare(usize::try_from(start)?, &zeros)
                .with_context(|| format!("a hole {start}..{end}"))?;
            at = end;
        }
        Ok(())
    }

    fn check_size(&self) -> Result<()> {
        let (found, expected) = (self.subject.size_bytes()?, self.model.size_bytes());
        ensure!(
            found == expected as u64,
            "the file's size is {found}, expected {expected}"
        );
        Ok(())
    }
}
