//! A workload while it is done: on logfs, and on the model beside it.

use crate::model::{Model, State};
use crate::op::{NumberOp, Op, PairOp, PathOp, RangeOp, WholeOp};
use crate::pages::{Arrived, Dirty, write_direct};
use crate::stamp;
use crate::tree::{BLOCK_BYTES, Mounted, Tree};
use bento_api::{
    Errno, FallocateMode, FileKind, FileSystem, Level, RenameFlags, Result, SetAttr, SetXattr,
};
use bento_sim::{File, Image, Recording, Sim, SimDisk};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where clocks and randomness of all runs start.
const SEED: u64 = 1;

/// Name of the extended attribute that workloads use.
const XATTR: &[u8] = b"user.crash";

/// What `Wait` lets pass: more than the time between two commits.
const WAIT: Duration = Duration::from_secs(60);

/// What a workload may meet: a name is missing or taken, there is no space.
const EXPECTED: &[Errno] = &[
    Errno::ENOENT,
    Errno::EEXIST,
    Errno::ENOTDIR,
    Errno::EISDIR,
    Errno::ENOTEMPTY,
    Errno::EINVAL,
    Errno::EPERM,
    Errno::ELOOP,
    Errno::ENXIO,
    Errno::ENODATA,
    Errno::ENOSPC,
];

/// Whether an operation may end with this error without anything being wrong.
pub fn is_expected(errno: Errno) -> bool {
    EXPECTED.contains(&errno)
}

/// A disk with a file system that was unmounted, and what is in it.
#[derive(Clone)]
pub struct Base {
    /// Its short name.
    pub name: &'static str,
    /// The disk.
    pub image: Image,
    /// What is in it.
    pub model: Model,
    /// Writes so far, so that none is taken for another.
    pub version: u32,
}

/// Something that the file system has promised by returning.
#[derive(Clone, Copy, Debug)]
struct Promise {
    /// Changes of the disk at that time.
    changes: usize,
    /// The oldest state that a crash may go back to from then on.
    oldest: usize,
}

/// What a workload did to the disk, and what must be left of it.
pub struct History {
    /// The writes.
    pub recording: Recording,
    /// The states that the file system went through.
    pub states: Vec<State>,
    /// Changes of the disk when each operation started.
    pub starts: Vec<usize>,
    promises: Vec<Promise>,
}

impl Base {
    /// What a crash has left, whatever that is. Writes get numbers from `version` on.
    pub fn found(image: &Image, version: u32) -> Result<Base> {
        let sim: Mounted = Sim::mount(SimDisk::from_image(image.clone()), SEED)?;
        let model = Model::read(&sim)?;
        sim.unmount()?;
        Ok(Base {
            name: "found",
            image: image.clone(),
            model,
            version,
        })
    }
}

impl History {
    /// Of the same workload on another file system that did all of it alike: what that did to its
    /// disk, and how many changes that were when it had made each promise.
    pub fn elsewhere(mut self, recording: Recording, promised: &[usize]) -> History {
        let positions = promised
            .iter()
            .copied()
            .chain(std::iter::repeat(usize::MAX));
        for (promise, changes) in self.promises.iter_mut().zip(positions) {
            promise.changes = changes;
        }
        self.recording = recording;
        self.starts.clear();
        self
    }

    /// The oldest state that may be found after a power cut behind the first `cut` changes.
    pub fn oldest(&self, cut: usize) -> usize {
        let made = self.promises.iter().filter(|it| it.changes <= cut);
        made.map(|it| it.oldest).max().unwrap_or(0)
    }
}

/// See the module.
pub struct Run {
    sim: Mounted,
    model: Model,
    states: Vec<State>,
    promises: Vec<Promise>,
    starts: Vec<usize>,
    dirty: BTreeMap<u64, Dirty>,
    held: Vec<(u64, File)>,
    version: u32,
}

impl Run {
    /// Mounts a disk and starts to record.
    pub fn start(base: &Base) -> Result<Run> {
        let sim: Mounted = Sim::mount(SimDisk::from_image(base.image.clone()), SEED)?;
        sim.disk().record();
        let model = base.model.clone();
        let states = vec![model.state(false)];
        Ok(Run {
            sim,
            model,
            states,
            promises: Vec::new(),
            starts: Vec::new(),
            dirty: BTreeMap::new(),
            held: Vec::new(),
            version: base.version,
        })
    }

    /// Writes so far: the next one has the number behind it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How much was promised so far.
    pub fn promised(&self) -> usize {
        self.promises.len()
    }

    /// The mounted file system.
    pub fn sim(&self) -> &Mounted {
        &self.sim
    }

    /// Does one operation. What it could not do, since a name is missing or space, is an error
    /// that changes nothing; the workload can go on.
    pub fn apply(&mut self, op: &Op) -> Result<()> {
        self.starts.push(self.sim.disk().recorded());
        match op {
            Op::Range(op, path, range) => self.range(*op, path, range.offset, range.len),
            Op::Path(op, path) => self.path(*op, path),
            Op::Pair(op, from, to) => self.pair(*op, from.as_bytes(), to.as_bytes()),
            Op::Number(op, path, number) => self.number(*op, path.as_bytes(), *number),
            Op::Whole(op) => self.whole(*op),
        }
    }

    /// Makes everything durable, compares what is there with the model, unmounts, and returns what
    /// was recorded.
    pub fn finish(mut self) -> std::result::Result<History, String> {
        let failed = |errno: Errno| format!("at the end: {errno}");
        self.whole(WholeOp::Sync).map_err(failed)?;
        let found = Tree::read(&self.sim).map_err(failed)?;
        if let Some(state) = self.states.last()
            && state.tree != found
        {
            let difference = found.difference(&state.tree);
            return Err(format!("without a crash: {difference}"));
        }
        self.starts.push(self.sim.disk().recorded());
        self.close_all();
        let errors = self.errors();
        let disk = self.sim.unmount().map_err(failed)?;
        if let Some(line) = errors.first() {
            return Err(format!("logged an error: {line}"));
        }
        Ok(History {
            recording: disk.recording(),
            states: self.states,
            starts: self.starts,
            promises: self.promises,
        })
    }

    /// Unmounts, which may fail as anything else on a disk that fails, and returns what was recorded.
    pub fn abandon(mut self) -> History {
        self.close_all();
        let disk = self.sim.disk().clone();
        // What could not be made durable was not promised either.
        let _ = self.sim.unmount();
        History {
            recording: disk.recording(),
            states: self.states,
            starts: self.starts,
            promises: self.promises,
        }
    }

    /// Unmounts what is to be the start of other workloads.
    pub fn into_base(mut self, name: &'static str) -> Result<Base> {
        self.whole(WholeOp::Sync)?;
        self.close_all();
        let image = self.sim.unmount()?.image();
        let (model, version) = (self.model, self.version);
        Ok(Base {
            name,
            image,
            model,
            version,
        })
    }

    fn errors(&self) -> Vec<String> {
        let logged = self.sim.env().logged().into_iter();
        logged
            .filter(|(level, _)| *level <= Level::Error)
            .map(|(_, line)| line)
            .collect()
    }

    fn close_all(&mut self) {
        for (_, file) in self.held.drain(..) {
            self.sim.close(file);
        }
        for (_, dirty) in std::mem::take(&mut self.dirty) {
            self.sim.close(dirty.into_file());
        }
    }

    /// The model has changed.
    fn changed(&mut self, is_gradual: bool) {
        let (held, dirty) = (&self.held, &self.dirty);
        self.model.retain(|number| {
            dirty.contains_key(&number) || held.iter().any(|(held, _)| *held == number)
        });
        self.states.push(self.model.state(is_gradual));
    }

    /// The file system has promised to keep every state from `oldest` on.
    fn promise(&mut self, oldest: usize) {
        self.promises.push(Promise {
            changes: self.sim.disk().recorded(),
            oldest,
        });
    }

    fn find(&self, path: &[u8]) -> Result<u64> {
        self.model.find(path).ok_or(Errno::ENOENT)
    }

    fn data(&mut self, offset_bytes: u64, len_bytes: u64) -> Vec<u8> {
        self.version += 1;
        stamp::fill(self.version, offset_bytes, len_bytes as usize)
    }

    fn range(&mut self, op: RangeOp, path: &str, offset: u64, len: u64) -> Result<()> {
        let path = path.as_bytes();
        let file = self.sim.open(path)?;
        let number = self.find(path)?;
        if op == RangeOp::Buffer {
            return self.buffer(number, file, offset, len);
        }
        let result = self
            .write_back(number)
            .and_then(|()| self.range_of(op, number, &file, offset, len));
        self.sim.close(file);
        result
    }

    fn range_of(
        &mut self,
        op: RangeOp,
        number: u64,
        file: &File,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let end = (offset + len) as usize;
        let fallocate = |mode| self.sim.fallocate(file, mode, offset, len);
        match op {
            RangeOp::Write => {
                let data = self.data(offset, len);
                let written = self.sim.write(file, offset, &data)?;
                self.model.write(number, offset, &data[..written]);
                self.changed(true);
                if written < data.len() {
                    return Err(Errno::ENOSPC);
                }
                return Ok(());
            }
            RangeOp::Direct => {
                let data = self.data(offset, len);
                let mut pieces = Vec::new();
                let result = write_direct(&self.sim, file, offset, &data, |piece| {
                    pieces.push(piece);
                });
                pieces.into_iter().for_each(|it| self.arrived(number, it));
                return result;
            }
            RangeOp::Allocate => fallocate(FallocateMode::Allocate { keep_size: false })?,
            RangeOp::AllocateBeyond => fallocate(FallocateMode::Allocate { keep_size: true })?,
            RangeOp::Punch => fallocate(FallocateMode::Punch)?,
            RangeOp::Zero => fallocate(FallocateMode::Zero { keep_size: false })?,
            RangeOp::Buffer => {}
        }
        let (grows, zeroes) = match op {
            RangeOp::Allocate => (true, false),
            RangeOp::Punch => (false, true),
            RangeOp::Zero => (true, true),
            _ => (false, false),
        };
        self.model.change(number, |contents| {
            if grows {
                contents.resize(contents.len().max(end), 0);
            }
            let end = end.min(contents.len());
            if zeroes && let Some(part) = contents.get_mut(offset as usize..end) {
                part.fill(0);
            }
        });
        self.changed(true);
        Ok(())
    }

    fn buffer(&mut self, number: u64, file: File, offset: u64, len: u64) -> Result<()> {
        if self.is_in_flight(number)
            && let Err(errno) = self.write_back(number)
        {
            self.sim.close(file);
            return Err(errno);
        }
        let data = self.data(offset, len);
        let mut dirty = match self.dirty.remove(&number) {
            Some(dirty) => {
                self.sim.close(file);
                dirty
            }
            None => Dirty::new(&self.sim, file)?,
        };
        let result = dirty.write(&self.sim, offset, &data);
        self.dirty.insert(number, dirty);
        if result? < data.len() {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn arrived(&mut self, number: u64, piece: Arrived) {
        self.model.change(number, |contents| {
            let start = piece.offset_bytes as usize;
            let size = contents.len().max(piece.size_bytes as usize);
            contents.resize(size, 0);
            let len = piece.data.len().min(size - start);
            contents[start..start + len].copy_from_slice(&piece.data[..len]);
        });
        self.changed(false);
    }

    fn write_back(&mut self, number: u64) -> Result<()> {
        let Some(mut dirty) = self.dirty.remove(&number) else {
            return Ok(());
        };
        let mut pieces = Vec::new();
        let result = dirty.write_back(&self.sim, |piece| pieces.push(piece));
        self.sim.background_if_due();
        pieces.into_iter().for_each(|it| self.arrived(number, it));
        self.sim.close(dirty.into_file());
        result
    }

    fn is_in_flight(&self, number: u64) -> bool {
        self.dirty.get(&number).is_some_and(Dirty::is_in_flight)
    }

    fn write_all_back(&mut self) -> Result<()> {
        let numbers: Vec<u64> = self.dirty.keys().copied().collect();
        numbers
            .into_iter()
            .try_for_each(|number| self.write_back(number))
    }

    /// What is not open and has no name is gone, its dirty data too.
    fn drop_unnamed(&mut self) {
        let numbers: Vec<u64> = self.dirty.keys().copied().collect();
        for number in numbers {
            if !self.model.is_named(number)
                && let Some(mut dirty) = self.dirty.remove(&number)
            {
                // What is under way ends first, and then nobody can see it.
                let _ = dirty.finish(&self.sim, |_| ());
                self.sim.close(dirty.into_file());
            }
        }
    }

    fn path(&mut self, op: PathOp, path: &str) -> Result<()> {
        let path = path.as_bytes();
        match op {
            PathOp::Create => {
                let file = self.sim.create(path, 0o644)?;
                self.sim.close(file);
                self.model.make(Some(path), FileKind::Regular, b"");
            }
            PathOp::Mkdir => {
                self.sim.mkdir(path, 0o755)?;
                self.model.make(Some(path), FileKind::Directory, b"");
            }
            PathOp::Symlink | PathOp::LongSymlink => {
                let len = if op == PathOp::Symlink { 20 } else { 1000 };
                let target = vec![b'x'; len];
                self.sim.symlink(&target, path)?;
                self.model.make(Some(path), FileKind::Symlink, &target);
            }
            PathOp::Tmpfile => {
                let file = self.sim.tmpfile(path, 0o600)?;
                let data = self.data(0, 3 * BLOCK_BYTES as u64);
                let number = self.model.make(None, FileKind::Regular, b"");
                let written = self.sim.write(&file, 0, &data);
                self.held.push((number, file));
                self.changed(false);
                return written.map(drop);
            }
            PathOp::Unlink | PathOp::UnlinkOpen => {
                if op == PathOp::UnlinkOpen {
                    let file = self.sim.open(path)?;
                    let number = self.find(path)?;
                    self.held.push((number, file));
                }
                self.sim.unlink(path)?;
                self.model.remove(path);
                self.drop_unnamed();
            }
            PathOp::Rmdir => {
                self.sim.rmdir(path)?;
                self.model.remove(path);
            }
            PathOp::Fsync | PathOp::Fdatasync => return self.fsync(path, op == PathOp::Fdatasync),
            PathOp::Writeback => {
                let number = self.find(path)?;
                return self.write_back(number);
            }
            PathOp::StartWriteback => {
                let number = self.find(path)?;
                let dirty = self.dirty.get_mut(&number);
                return dirty.map_or(Ok(()), |dirty| dirty.start(&self.sim));
            }
        }
        self.changed(false);
        Ok(())
    }

    fn fsync(&mut self, path: &[u8], data_only: bool) -> Result<()> {
        let number = self.find(path)?;
        self.write_back(number)?;
        match (data_only, self.sim.open(path)) {
            (true, Ok(file)) => {
                let synced = self.sim.fdatasync(&file);
                self.sim.close(file);
                synced?;
            }
            (_, opened) => {
                if let Ok(file) = opened {
                    self.sim.close(file);
                }
                self.sim.fsync_path(path)?;
            }
        }
        let last = self.states.len() - 1;
        let now = &self.states[last];
        let older = self
            .states
            .iter()
            .rposition(|state| state.differs(now, number, data_only));
        self.promise(older.map_or(0, |older| older + 1));
        Ok(())
    }

    fn pair(&mut self, op: PairOp, from: &[u8], to: &[u8]) -> Result<()> {
        match op {
            PairOp::Link => {
                self.sim.link(from, to)?;
                self.model.link(from, to);
            }
            PairOp::Rename | PairOp::Exchange => {
                let flags = match op {
                    PairOp::Exchange => RenameFlags::Exchange,
                    _ => RenameFlags::Replace,
                };
                self.sim.rename(from, to, flags)?;
                self.model.rename(from, to, flags);
                self.drop_unnamed();
            }
        }
        self.changed(false);
        Ok(())
    }

    fn number(&mut self, op: NumberOp, path: &[u8], number: u64) -> Result<()> {
        let inode = self.find(path)?;
        match op {
            NumberOp::Truncate => {
                let file = self.sim.open(path)?;
                let is_cut = number < self.model.contents(inode).len() as u64;
                let partial = self
                    .dirty
                    .get(&inode)
                    .map(|dirty| dirty.has_block_of(number));
                if is_cut && partial == Some(true) || self.is_in_flight(inode) {
                    // The rest of this block is zeroed on the device, as the kernel does it.
                    self.write_back(inode)?;
                }
                if let Some(dirty) = self.dirty.get_mut(&inode) {
                    dirty.truncate(number);
                }
                let result = self.sim.truncate(&file, number);
                self.sim.close(file);
                result?;
                self.model
                    .change(inode, |contents| contents.resize(number as usize, 0));
                self.changed(true);
                return Ok(());
            }
            NumberOp::Chmod => {
                let mode = Some(number as u16);
                let set = SetAttr {
                    mode,
                    ..SetAttr::default()
                };
                self.sim.setattr(path, &set)?;
                self.model.set_permissions(inode, number as u16);
            }
            NumberOp::SetXattr => {
                let value = self.data(0, number);
                self.sim
                    .setxattr(path, XATTR, Some(&value), SetXattr::Any)?;
                self.model.set_xattr(inode, XATTR, Some(&value));
            }
            NumberOp::RemoveXattr => {
                self.sim.setxattr(path, XATTR, None, SetXattr::Any)?;
                self.model.set_xattr(inode, XATTR, None);
            }
        }
        self.changed(false);
        Ok(())
    }

    fn whole(&mut self, op: WholeOp) -> Result<()> {
        match op {
            WholeOp::Sync => {
                self.write_all_back()?;
                self.sim.sync()?;
            }
            WholeOp::Checkpoint => {
                self.write_all_back()?;
                self.sim.fs().freeze()?;
                self.sim.fs().thaw();
            }
            WholeOp::Wait => {
                self.sim.env().advance_clock(WAIT);
                self.sim.background();
                return Ok(());
            }
            WholeOp::Clean => {
                self.sim.clean();
                return Ok(());
            }
        }
        self.promise(self.states.len() - 1);
        Ok(())
    }
}
