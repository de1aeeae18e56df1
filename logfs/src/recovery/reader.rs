//! Reading records out of the ring.

use crate::journal::Ring;
use alloc::vec;
use alloc::vec::Vec;
use bento_api::{Device, Env, ReadRequest, Result};
use bytemuck::Zeroable;
use logfs_format::log::{RECORD_HEAD_BYTES, RecordHead};

/// Bytes read from the ring at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// A record that is whole.
pub(super) struct Record {
    pub(super) sequence: u64,
    /// Transactions known to be durable when it was written.
    pub(super) durable_sequence: u64,
    position: u64,
    len_bytes: usize,
    /// Where the next one starts.
    pub(super) end_position: u64,
    /// What follows its head, as long as it is kept in memory.
    body: Option<Vec<u8>>,
}

impl Record {
    /// Byte position of what follows its head.
    fn body_bytes(&self, granule_bytes: u64) -> u64 {
        self.position * granule_bytes + RECORD_HEAD_BYTES as u64
    }

    /// Bytes that are kept in memory.
    pub(super) fn kept_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Vec::len)
    }
}

/// Reads the ring through a window.
pub(super) struct Reader<'a, E: Env> {
    env: &'a E,
    ring: Ring,
    uuid: [u8; 16],
    window: Vec<u8>,
    /// Byte position of the window.
    window_start: u64,
}

impl<'a, E: Env> Reader<'a, E> {
    pub(super) fn new(env: &'a E, ring: Ring, uuid: [u8; 16]) -> Self {
        Reader {
            env,
            ring,
            uuid,
            window: Vec::new(),
            window_start: 0,
        }
    }

    pub(super) fn granules(&self) -> u64 {
        self.ring.granules
    }

    /// Copies bytes from a position on.
    fn read(&mut self, mut position_bytes: u64, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let inside = position_bytes
                .checked_sub(self.window_start)
                .and_then(|skip| self.window.get(skip as usize..))
                .filter(|rest| !rest.is_empty());
            let Some(source) = inside else {
                self.load(position_bytes)?;
                continue;
            };
            let len = source.len().min(out.len());
            let (now, later) = out.split_at_mut(len);
            if let Some(source) = source.get(..len) {
                now.copy_from_slice(source);
            }
            out = later;
            position_bytes += len as u64;
        }
        Ok(())
    }

    fn load(&mut self, position_bytes: u64) -> Result<()> {
        let aligned = position_bytes - position_bytes % self.ring.granule_bytes;
        let (offset_bytes, room) = self.ring.place(aligned);
        self.window = vec![0; WINDOW_BYTES.min(room as usize)];
        self.window_start = aligned;
        self.env.device().read(&mut [ReadRequest {
            offset_bytes,
            buffer: &mut self.window,
        }])
    }

    /// What stands at a position, whether it is the head of a record or not.
    pub(super) fn head(&mut self, position: u64) -> Result<RecordHead> {
        let mut head = RecordHead::zeroed();
        self.read(
            position * self.ring.granule_bytes,
            bytemuck::bytes_of_mut(&mut head),
        )?;
        Ok(head)
    }

    /// The record of a transaction at a position, if it is there and whole. It may not reach beyond
    /// `limit`. Its body is kept if it has no more than `keep_bytes_max`.
    pub(super) fn record(
        &mut self,
        position: u64,
        sequence: u64,
        limit: u64,
        keep_bytes_max: usize,
    ) -> Result<Option<Record>> {
        if position >= limit {
            return Ok(None);
        }
        let head = self.head(position)?;
        let room = (limit - position) * self.ring.granule_bytes;
        if !head.check(&self.uuid, sequence, room) {
            return Ok(None);
        }
        let len_bytes = head.len_bytes.get() as usize;
        let mut record = Record {
            sequence,
            durable_sequence: head.durable_sequence.get(),
            position,
            len_bytes,
            end_position: position + (len_bytes as u64).div_ceil(self.ring.granule_bytes),
            body: None,
        };
        let unsummed = RecordHead {
            checksum: 0.into(),
            ..head
        };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytemuck::bytes_of(&unsummed));
        if len_bytes - RECORD_HEAD_BYTES <= keep_bytes_max {
            let body = self.read_body(&record)?;
            hasher.update(&body);
            record.body = Some(body);
        } else {
            self.each_part(&record, |part| hasher.update(part))?;
        }
        let is_whole = hasher.finalize() == head.checksum.get() || planted!(RecordsUnverified);
        Ok(is_whole.then_some(record))
    }

    fn each_part(&mut self, record: &Record, mut use_part: impl FnMut(&[u8])) -> Result<()> {
        let mut at = record.body_bytes(self.ring.granule_bytes);
        let mut left = record.len_bytes - RECORD_HEAD_BYTES;
        let mut part = vec![0; left.min(WINDOW_BYTES)];
        while left > 0 {
            let len = left.min(part.len());
            let Some(buffer) = part.get_mut(..len) else {
                break;
            };
            self.read(at, buffer)?;
            use_part(buffer);
            at += len as u64;
            left -= len;
        }
        Ok(())
    }

    fn read_body(&mut self, record: &Record) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let len = record.len_bytes - RECORD_HEAD_BYTES;
        body.try_reserve_exact(len)
            .map_err(|_| bento_api::Errno::ENOMEM)?;
        body.resize(len, 0);
        self.read(record.body_bytes(self.ring.granule_bytes), &mut body)?;
        Ok(body)
    }

    /// What follows a record's head. It is no longer kept.
    pub(super) fn take_body(&mut self, record: &mut Record) -> Result<Vec<u8>> {
        match record.body.take() {
            Some(body) => Ok(body),
            None => self.read_body(record),
        }
    }
}
