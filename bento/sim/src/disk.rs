//! A disk in memory that can lose power and fail.

use crate::{Change, Image, Recording};
use bento_api::{Device, Errno, Geometry, ReadRequest, Result, WriteRequest};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// The smallest unit of I/O.
const SECTOR_BYTES: u32 = 512;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads, each request of a call for itself.
    Read,
    /// Writes, each request of a call for itself, durable ones too.
    Write,
    /// Flushes.
    Flush,
    /// Discards.
    Discard,
}

/// What was done to a disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Read requests.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Write requests, durable ones too.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Write requests that were durable when they returned.
    pub durable_writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards.
    pub discards: u64,
}

/// A disk in memory. Cloning gives another handle to the same disk; [`fork`](SimDisk::fork) gives
/// another disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    current: Image,
    /// What was done, as far back as `kept` says.
    recording: Recording,
    kept: Kept,
    read_only: bool,
    faults: Vec<Fault>,
    /// Where bytes can't be read.
    unreadable: Vec<u64>,
    /// Writes and flushes until the power goes.
    power: Option<u64>,
    counts: DiskCounts,
}

/// Which changes are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Those since the last flush.
    Unflushed,
    /// All.
    All,
    /// None: each is durable at once.
    Nothing,
}

#[derive(Clone, Debug)]
struct Fault {
    operation: Operation,
    /// Operations that succeed before.
    countdown: u64,
    /// All further ones fail too.
    lasting: bool,
}

impl SimDisk {
    /// A disk full of zeros.
    pub fn new(size_bytes: u64) -> SimDisk {
        SimDisk::from_image(Image::new(size_bytes))
    }

    /// A disk with contents, all of it durable.
    pub fn from_image(image: Image) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            recording: Recording::from(&image),
            current: image,
            kept: Kept::Unflushed,
            read_only: false,
            faults: Vec::new(),
            unreadable: Vec::new(),
            power: None,
            counts: DiskCounts::default(),
        })))
    }

    /// Another disk with the same contents, history and faults to come.
    pub fn fork(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// What reads see now.
    pub fn image(&self) -> Image {
        self.state().current.clone()
    }

    /// What a power cut now leaves, by `seed`: see [`Recording::crash`].
    pub fn crash_image(&self, seed: u64) -> Image {
        let recording = self.recording();
        recording.crash(recording.changes.len(), seed)
    }

    /// Starts to keep everything that is done from now on for [`recording`](SimDisk::recording).
    /// What is on the disk now counts as durable.
    pub fn record(&self) {
        let mut state = self.state();
        state.kept = Kept::All;
        state.recording = Recording::from(&state.current);
    }

    /// From now on each change is durable at once and nothing is remembered, which makes the disk as
    /// fast as it can be: for those who measure something else.
    pub fn forget(&self) {
        let mut state = self.state();
        state.kept = Kept::Nothing;
        // It must not share pages with what is there now: they would be copied before they change.
        state.recording = Recording::from(&Image::new(0));
    }

    /// What was done since [`record`](SimDisk::record), or without that since the last flush.
    pub fn recording(&self) -> Recording {
        let state = self.state();
        match state.kept {
            Kept::Nothing => Recording::from(&state.current),
            Kept::Unflushed | Kept::All => state.recording.clone(),
        }
    }

    /// How many changes [`recording`](SimDisk::recording) would have.
    pub fn recorded(&self) -> usize {
        self.state().recording.changes.len()
    }

    /// From now on writes are refused, or not any more.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Lets one operation fail with `EIO` after `countdown` more of its kind have succeeded; all
    /// that follow too if `lasting`. A write that fails changes nothing.
    pub fn fail(&self, operation: Operation, countdown: u64, lasting: bool) {
        self.state().faults.push(Fault {
            operation,
            countdown,
            lasting,
        });
    }

    /// From now on the byte at this offset can't be read, nor any range that it is in.
    pub fn make_unreadable(&self, offset_bytes: u64) {
        self.state().unreadable.push(offset_bytes);
    }

    /// Takes all faults back and brings the power back.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.unreadable.clear();
        state.power = None;
    }

    /// Cuts the power after `count` more writes and flushes: from then on everything fails with
    /// `EIO`, and [`crash_image`](SimDisk::crash_image) tells what is left.
    pub fn cut_power_after(&self, count: u64) {
        self.state().power = Some(count);
    }

    /// Whether the power was cut.
    pub fn has_no_power(&self) -> bool {
        self.state().power == Some(0)
    }

    /// What was done so far.
    pub fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn write_one(&self, request: &WriteRequest<'_>, durable: bool) -> Result<()> {
        let mut state = self.state();
        state.check_range(request.offset_bytes, request.data.len() as u64)?;
        state.before_change(Operation::Write)?;
        state.counts.writes += 1;
        state.counts.durable_writes += u64::from(durable);
        state.counts.written_bytes += request.data.len() as u64;
        state.current.write(request.offset_bytes, request.data);
        state.remember(|| Change::Write {
            offset_bytes: request.offset_bytes,
            data: request.data.into(),
            durable,
        });
        Ok(())
    }
}

impl State {
    fn check_range(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        let sector_bytes = u64::from(SECTOR_BYTES);
        let end_bytes = offset_bytes.checked_add(len_bytes).ok_or(Errno::EIO)?;
        let aligned = (offset_bytes | len_bytes).is_multiple_of(sector_bytes);
        assert!(
            aligned,
            "I/O of {len_bytes} bytes at {offset_bytes}: not in whole sectors"
        );
        if end_bytes > self.current.size_bytes() {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    fn before_change(&mut self, operation: Operation) -> Result<()> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        self.inject(operation)?;
        if let Some(left) = &mut self.power {
            *left = left.checked_sub(1).ok_or(Errno::EIO)?;
        }
        Ok(())
    }

    fn inject(&mut self, operation: Operation) -> Result<()> {
        let mut result = Ok(());
        self.faults.retain_mut(|fault| {
            if fault.operation != operation {
                return true;
            }
            if fault.countdown > 0 {
                fault.countdown -= 1;
                return true;
            }
            result = Err(Errno::EIO);
            fault.lasting
        });
        result
    }

    fn remember(&mut self, change: impl FnOnce() -> Change) {
        if self.kept != Kept::Nothing {
            self.recording.changes.push(change());
        }
    }
}

impl Device for SimDisk {
    fn geometry(&self) -> Geometry {
        let state = self.state();
        Geometry {
            size_bytes: state.current.size_bytes(),
            sector_bytes: SECTOR_BYTES,
            read_only: state.read_only,
            can_discard: true,
        }
    }

    fn read(&self, requests: &mut [ReadRequest<'_>]) -> Result<()> {
        let mut state = self.state();
        for request in requests {
            let len_bytes = request.buffer.len() as u64;
            state.check_range(request.offset_bytes, len_bytes)?;
            state.inject(Operation::Read)?;
            let range = request.offset_bytes..request.offset_bytes + len_bytes;
            if state.unreadable.iter().any(|bad| range.contains(bad)) {
                return Err(Errno::EIO);
            }
            if state.power == Some(0) {
                return Err(Errno::EIO);
            }
            state.counts.reads += 1;
            state.counts.read_bytes += len_bytes;
            state.current.read(request.offset_bytes, request.buffer);
        }
        Ok(())
    }

    fn write(&self, requests: &[WriteRequest<'_>]) -> Result<()> {
        requests
            .iter()
            .try_for_each(|request| self.write_one(request, false))
    }

    fn write_durable(&self, request: &WriteRequest<'_>) -> Result<()> {
        self.write_one(request, true)
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.state();
        if state.read_only {
            return Ok(());
        }
        state.before_change(Operation::Flush)?;
        state.counts.flushes += 1;
        match state.kept {
            Kept::All => state.recording.changes.push(Change::Flush),
            Kept::Unflushed => state.recording = Recording::from(&state.current),
            Kept::Nothing => {}
        }
        Ok(())
    }

    fn discard(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        let mut state = self.state();
        state.check_range(offset_bytes, len_bytes)?;
        state.before_change(Operation::Discard)?;
        state.counts.discards += 1;
        state.current.zero(offset_bytes, len_bytes);
        state.remember(|| Change::Discard {
            offset_bytes,
            len_bytes,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SimDisk, offset_bytes: u64, byte: u8) -> Result<()> {
        disk.write(&[WriteRequest {
            offset_bytes,
            data: &[byte; 4096],
        }])
    }

    fn byte_at(disk: &SimDisk, offset_bytes: u64) -> Result<u8> {
        let mut buffer = [0; 512];
        disk.read(&mut [ReadRequest {
            offset_bytes,
            buffer: &mut buffer,
        }])?;
        Ok(buffer[0])
    }

    #[test]
    fn the_nth_operation_fails() {
        let disk = SimDisk::new(1 << 20);
        disk.fail(Operation::Write, 1, false);
        disk.fail(Operation::Flush, 0, true);
        write(&disk, 0, 1).unwrap();
        assert_eq!(write(&disk, 4096, 2), Err(Errno::EIO));
        write(&disk, 8192, 3).unwrap();
        assert_eq!(byte_at(&disk, 4096), Ok(0));
        assert_eq!([disk.flush(), disk.flush()], [Err(Errno::EIO); 2]);
        disk.heal();
        disk.flush().unwrap();
        assert_eq!(disk.counts().writes, 2);
    }

    #[test]
    fn without_power_nothing_goes() {
        let disk = SimDisk::new(1 << 20);
        disk.cut_power_after(2);
        write(&disk, 0, 1).unwrap();
        disk.flush().unwrap();
        assert!(disk.has_no_power());
        assert_eq!(write(&disk, 0, 2), Err(Errno::EIO));
        assert_eq!(byte_at(&disk, 0), Err(Errno::EIO));
        let after = SimDisk::from_image(disk.crash_image(1));
        assert_eq!(byte_at(&after, 0), Ok(1));
    }

    #[test]
    fn what_is_not_remembered_is_durable() {
        let disk = SimDisk::new(1 << 20);
        disk.forget();
        write(&disk, 0, 1).unwrap();
        assert_eq!(disk.recorded(), 0);
        let after = SimDisk::from_image(disk.crash_image(1));
        assert_eq!(byte_at(&after, 0), Ok(1));
    }

    #[test]
    fn a_fork_goes_its_own_way_and_a_recording_reaches_back() {
        let disk = SimDisk::new(1 << 20);
        disk.record();
        write(&disk, 0, 1).unwrap();
        disk.flush().unwrap();
        let fork = disk.fork();
        write(&fork, 0, 2).unwrap();
        assert_eq!([byte_at(&disk, 0), byte_at(&fork, 0)], [Ok(1), Ok(2)]);
        assert_eq!(fork.recording().changes.len(), 3);
        let before = SimDisk::from_image(fork.recording().crash(0, 9));
        assert_eq!(byte_at(&before, 0), Ok(0));
    }
}
