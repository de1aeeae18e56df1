//! A page cache: data that was written but has no place on the device yet.
//!
//! It drives the file system as the kernel's does: a write reserves, writeback places, writes and
//! reports, and in between anything may happen.

use crate::tree::{BLOCK_BYTES, Mounted};
use bento_api::{Device, Env, Errno, FileSystem, Ino, MappingKind, Result, WriteRequest, Written};
use bento_sim::File;
use std::collections::{BTreeMap, VecDeque};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Dirty data of one file.
pub(crate) struct Dirty {
    file: File,
    size_bytes: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_BYTES]>>,
    flights: VecDeque<Flight>,
}

/// A run of blocks that has become the file's contents, and the size with it.
pub(crate) struct Arrived {
    /// Where it starts.
    pub(crate) offset_bytes: u64,
    /// Whole blocks.
    pub(crate) data: Vec<u8>,
    /// The file's size if it was smaller.
    pub(crate) size_bytes: u64,
}

impl Dirty {
    /// Nothing yet, of an open file.
    pub(crate) fn new(sim: &Mounted, file: File) -> Result<Dirty> {
        let size_bytes = sim.fstat(&file)?.size_bytes;
        Ok(Dirty {
            file,
            size_bytes,
            blocks: BTreeMap::new(),
            flights: VecDeque::new(),
        })
    }

    /// The open file.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Puts data into the cache; returns how much there was space for.
    pub(crate) fn write(&mut self, sim: &Mounted, offset_bytes: u64, data: &[u8]) -> Result<usize> {
        let ino = sim.fstat(&self.file)?.ino;
        let mut done = 0;
        while done < data.len() {
            let at = offset_bytes + done as u64;
            let (number, within) = (at / BLOCK, (at % BLOCK) as usize);
            let part = (data.len() - done).min(BLOCK_BYTES - within);
            if !self.blocks.contains_key(&number) {
                let old = sim.read(&self.file, number * BLOCK, BLOCK_BYTES)?;
                match sim.fs().reserve(ino, number * BLOCK, BLOCK) {
                    Err(Errno::ENOSPC) if done > 0 => break,
                    reserved => reserved?,
                };
                let mut block = Box::new([0; BLOCK_BYTES]);
                block[..old.len()].copy_from_slice(&old);
                self.blocks.insert(number, block);
            }
            if let Some(block) = self.blocks.get_mut(&number) {
                block[within..within + part].copy_from_slice(&data[done..done + part]);
            }
            done += part;
            self.size_bytes = self.size_bytes.max(at + part as u64);
        }
        Ok(done)
    }

    /// Whether the block is dirty in which a byte lies.
    pub(crate) fn has_block_of(&self, offset_bytes: u64) -> bool {
        self.blocks.contains_key(&(offset_bytes / BLOCK))
    }

    /// The file is about to be cut off or extended, which the file system is told by others.
    pub(crate) fn truncate(&mut self, size_bytes: u64) {
        self.blocks
            .retain(|number, _| *number < size_bytes.div_ceil(BLOCK));
        let within = (size_bytes % BLOCK) as usize;
        if within > 0
            && let Some(block) = self.blocks.get_mut(&(size_bytes / BLOCK))
        {
            block[within..].fill(0);
        }
        self.size_bytes = size_bytes;
    }

    /// Whether the file system has not been told yet that data was written.
    pub(crate) fn is_in_flight(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Writes all dirty data, and does not tell the file system yet that it was written.
    pub(crate) fn start(&mut self, sim: &Mounted) -> Result<()> {
        let ino = sim.fstat(&self.file)?.ino;
        while let Some((&first, _)) = self.blocks.first_key_value() {
            let mut data = Vec::new();
            for number in first.. {
                let Some(block) = self.blocks.get(&number) else {
                    break;
                };
                data.extend_from_slice(block.as_slice());
            }
            let flight = Flight::send(sim, ino, first * BLOCK, &data, self.size_bytes)?;
            let end = first + flight.data.len() as u64 / BLOCK;
            self.blocks
                .retain(|number, _| !(first..end).contains(number));
            self.flights.push_back(flight);
        }
        Ok(())
    }

    /// Tells the file system what was written, and `arrived` of each piece that it knows then.
    pub(crate) fn finish(&mut self, sim: &Mounted, mut arrived: impl FnMut(Arrived)) -> Result<()> {
        let ino = sim.fstat(&self.file)?.ino;
        let flights: Vec<Flight> = self.flights.drain(..).collect();
        Flight::land(sim, ino, &flights, true)?;
        let failed = flights.iter().try_for_each(|flight| flight.result);
        for flight in flights.into_iter().filter(|it| it.result.is_ok()) {
            arrived(flight.arrived());
        }
        failed
    }

    /// Writes everything back; tells `arrived` of each piece once the file system knows it.
    pub(crate) fn write_back(
        &mut self,
        sim: &Mounted,
        mut arrived: impl FnMut(Arrived),
    ) -> Result<()> {
        self.finish(sim, &mut arrived)?;
        self.start(sim)?;
        self.finish(sim, &mut arrived)
    }
}

/// Blocks that were placed and written, of which the file system has not been told.
struct Flight {
    offset_bytes: u64,
    data: Vec<u8>,
    size_bytes: u64,
    result: Result<()>,
}

impl Flight {
    /// Places reserved blocks, or the first of them that lie side by side, and writes them.
    fn send(
        sim: &Mounted,
        ino: Ino,
        offset_bytes: u64,
        data: &[u8],
        size_bytes: u64,
    ) -> Result<Flight> {
        let mapping = sim.fs().place(ino, offset_bytes, data.len() as u64)?;
        let MappingKind::Mapped { address_bytes } = mapping.kind else {
            return Err(Errno::EIO);
        };
        let data = &data[..data.len().min(mapping.len_bytes as usize)];
        let request = WriteRequest {
            offset_bytes: address_bytes,
            data,
        };
        Ok(Flight {
            offset_bytes,
            data: data.to_vec(),
            size_bytes: size_bytes.min(offset_bytes + data.len() as u64),
            result: sim.env().device().write(&[request]),
        })
    }

    /// Tells the file system of all of them.
    fn land(sim: &Mounted, ino: Ino, flights: &[Flight], with_checksums: bool) -> Result<()> {
        let checksums_of = |flight: &Flight| -> Vec<u32> {
            let blocks = flight.data.chunks(BLOCK_BYTES);
            blocks
                .filter(|_| with_checksums)
                .map(|block| sim.env().crc32c(0, block))
                .collect()
        };
        let checksums: Vec<Vec<u32>> = flights.iter().map(checksums_of).collect();
        let written: Vec<Written<'_>> = flights
            .iter()
            .zip(&checksums)
            .map(|(flight, checksums)| Written {
                offset_bytes: flight.offset_bytes,
                len_bytes: flight.data.len() as u64,
                result: flight.result,
                size_bytes: flight.size_bytes,
                checksums,
            })
            .collect();
        sim.fs().written(ino, &written, Some(sim.env().now()))
    }

    fn arrived(self) -> Arrived {
        Arrived {
            offset_bytes: self.offset_bytes,
            data: self.data,
            size_bytes: self.size_bytes,
        }
    }
}

/// Writes whole blocks past the page cache and without checksums.
pub(crate) fn write_direct(
    sim: &Mounted,
    file: &File,
    offset_bytes: u64,
    data: &[u8],
    mut arrived: impl FnMut(Arrived),
) -> Result<()> {
    let ino = sim.fstat(file)?.ino;
    let end_bytes = offset_bytes + data.len() as u64;
    let mut at = offset_bytes;
    while at < end_bytes {
        let mut until = at;
        while until < end_bytes {
            match sim.fs().reserve(ino, until, end_bytes - until) {
                Ok(there) => until = end_bytes.min(there.offset_bytes + there.len_bytes),
                Err(_) if until > at => break,
                Err(errno) => return Err(errno),
            }
        }
        while at < until {
            let range = (at - offset_bytes) as usize..(until - offset_bytes) as usize;
            let piece = Flight::send(sim, ino, at, &data[range], until).and_then(|flight| {
                Flight::land(sim, ino, core::slice::from_ref(&flight), false)?;
                flight.result.map(|()| flight.arrived())
            });
            let piece = piece.inspect_err(|_| sim.fs().unreserve(ino, at, until - at))?;
            at += piece.data.len() as u64;
            until = until.max(at);
            arrived(piece);
        }
    }
    Ok(())
}
