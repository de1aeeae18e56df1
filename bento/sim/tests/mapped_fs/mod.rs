//! A file system for testing back ends: names and attributes are those of memfs, contents lie on
//! the device, out of place, in small pieces. It asserts that its back end keeps to the contract;
//! nothing of it survives an unmount.

use bento_api::*;
use bento_memfs::MemFs;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) const BLOCK_BYTES: u64 = 4096;

pub(crate) struct MappedFs<E: Env> {
    names: MemFs<E>,
    env: E,
    state: E::Mutex<State>,
}

struct State {
    free: BTreeSet<u64>,
    files: HashMap<Ino, File>,
}

#[derive(Default)]
struct File {
    blocks: BTreeMap<u64, Block>,
    reserved: BTreeSet<u64>,
    placed: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, PartialEq)]
struct Block {
    address: u64,
    written: bool,
}

impl File {
    fn kind(&self, number: u64) -> MappingKind {
        match self.blocks.get(&number) {
            None => MappingKind::Hole,
            Some(block) => {
                let address_bytes = block.address * BLOCK_BYTES;
                match block.written {
                    true => MappingKind::Mapped { address_bytes },
                    false => MappingKind::Unwritten { address_bytes },
                }
            }
        }
    }

    /// The blocks from `number` on that go on like the first, at most three.
    fn mapping(&self, number: u64, end: u64) -> Mapping {
        let kind = self.kind(number);
        let goes_on = |count: &u64| {
            let shifted = |address_bytes| address_bytes + count * BLOCK_BYTES;
            let expected = match kind {
                MappingKind::Mapped { address_bytes } => MappingKind::Mapped {
                    address_bytes: shifted(address_bytes),
                },
                MappingKind::Unwritten { address_bytes } => MappingKind::Unwritten {
                    address_bytes: shifted(address_bytes),
                },
                kind => kind,
            };
            self.kind(number + count) == expected
        };
        let count = (1..3.min(end - number)).take_while(goes_on).count() as u64 + 1;
        Mapping {
            offset_bytes: number * BLOCK_BYTES,
            len_bytes: count * BLOCK_BYTES,
            kind,
        }
    }
}

fn blocks(offset_bytes: u64, len_bytes: u64) -> std::ops::Range<u64> {
    assert_eq!(
        (offset_bytes % BLOCK_BYTES, len_bytes % BLOCK_BYTES),
        (0, 0),
        "not in blocks"
    );
    assert_ne!(len_bytes, 0);
    offset_bytes / BLOCK_BYTES..(offset_bytes + len_bytes) / BLOCK_BYTES
}

impl<E: Env> MappedFs<E> {
    /// Blocks reserved or placed now: none between operations.
    pub(crate) fn unfinished(&self) -> usize {
        let state = self.state.lock();
        state
            .files
            .values()
            .map(|file| file.reserved.len() + file.placed.len())
            .sum()
    }

    fn read_block(&self, address: u64) -> Vec<u8> {
        let mut buffer = vec![0; BLOCK_BYTES as usize];
        let request = ReadRequest {
            offset_bytes: address * BLOCK_BYTES,
            buffer: &mut buffer,
        };
        self.env.device().read(&mut [request]).unwrap();
        buffer
    }

    fn cut(&self, ino: Ino, size_bytes: u64) {
        let mut state = self.state.lock();
        let State { free, files } = &mut *state;
        let Some(file) = files.get_mut(&ino) else {
            return;
        };
        let cut = file.blocks.split_off(&size_bytes.div_ceil(BLOCK_BYTES));
        free.extend(cut.values().map(|block| block.address));
        let within = (size_bytes % BLOCK_BYTES) as usize;
        if let Some(last) = file.blocks.get(&(size_bytes / BLOCK_BYTES))
            && within > 0
            && last.written
        {
            let block = self.read_block(last.address);
            assert!(
                block[within..].iter().all(|byte| *byte == 0),
                "not zeroed before truncation"
            );
        }
    }

    fn part_written(&self, ino: Ino, written: &Written<'_>) {
        let range = blocks(written.offset_bytes, written.len_bytes);
        let mut state = self.state.lock();
        let State { free, files } = &mut *state;
        let file = files.entry(ino).or_default();
        assert_eq!(written.checksums.len(), range.clone().count());
        for (number, checksum) in range.zip(written.checksums) {
            let address = file
                .placed
                .remove(&number)
                .expect("only what is placed is written");
            if written.result.is_err() {
                free.insert(address);
                continue;
            }
            assert_eq!(self.env.crc32c(0, &self.read_block(address)), *checksum);
            if let Some(old) = file.blocks.insert(
                number,
                Block {
                    address,
                    written: true,
                },
            ) {
                free.insert(old.address);
            }
        }
    }
}

impl<E: Env> FileSystem<E> for MappedFs<E> {
    const NAME: &'static str = "mappedfs";

    fn mount(env: E, options: &MountOptions<'_>) -> Result<Self> {
        let end = env.device().geometry().size_bytes / BLOCK_BYTES;
        let state = State {
            free: (1..end).collect(),
            files: HashMap::new(),
        };
        Ok(MappedFs {
            names: MemFs::mount(env.clone(), options)?,
            env,
            state: Mutex::new(state),
        })
    }

    /// Leaves a mark on the device, for those who want to know when it was done.
    fn unmount(&self) -> Result<()> {
        assert_eq!(self.unfinished(), 0);
        let data = [b'u'; BLOCK_BYTES as usize];
        self.env.device().write_durable(&WriteRequest {
            offset_bytes: 0,
            data: &data,
        })
    }

    fn map(&self, ino: Ino, offset_bytes: u64, len_bytes: u64, _: bool) -> Result<Mapping> {
        let range = blocks(offset_bytes, len_bytes);
        let mut state = self.state.lock();
        Ok(state
            .files
            .entry(ino)
            .or_default()
            .mapping(range.start, range.end))
    }

    fn reserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        let range = blocks(offset_bytes, len_bytes);
        let mut state = self.state.lock();
        let reserved: usize = state.files.values().map(|file| file.reserved.len()).sum();
        let room = state.free.len() - reserved;
        let file = state.files.entry(ino).or_default();
        let mapping = file.mapping(range.start, range.end);
        let wanted = blocks(mapping.offset_bytes, mapping.len_bytes);
        if wanted.clone().count() > room {
            return Err(Errno::ENOSPC);
        }
        file.reserved.extend(wanted);
        Ok(mapping)
    }

    fn unreserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) {
        let mut state = self.state.lock();
        if len_bytes > 0
            && let Some(file) = state.files.get_mut(&ino)
        {
            let range = blocks(offset_bytes, len_bytes);
            file.reserved.retain(|number| !range.contains(number));
        }
    }

    fn place(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        let range = blocks(offset_bytes, len_bytes);
        let mut state = self.state.lock();
        let State { free, files } = &mut *state;
        let file = files.entry(ino).or_default();
        let first = *free.first().expect("what is reserved can be placed");
        let fits = |count: &u64| *count < 2 && free.contains(&(first + count));
        let count = (0..range.end - range.start).take_while(fits).count() as u64;
        for (number, address) in (range.start..).zip(first..first + count) {
            assert!(
                file.reserved.remove(&number),
                "placed without a reservation"
            );
            file.placed.insert(number, address);
            free.remove(&address);
        }
        let kind = MappingKind::Mapped {
            address_bytes: first * BLOCK_BYTES,
        };
        Ok(Mapping {
            offset_bytes,
            len_bytes: count * BLOCK_BYTES,
            kind,
        })
    }

    fn written(&self, ino: Ino, parts: &[Written<'_>], mtime: Option<Time>) -> Result<()> {
        for part in parts {
            self.part_written(ino, part);
        }
        let done: Vec<Written<'_>> = parts
            .iter()
            .filter(|part| part.result.is_ok())
            .copied()
            .collect();
        self.names.written(ino, &done, mtime)
    }

    fn fallocate(&self, ino: Ino, mode: FallocateMode, offset: u64, len: u64) -> Result<Attr> {
        let range = blocks(offset, len);
        let mut state = self.state.lock();
        let State { free, files } = &mut *state;
        let file = files.entry(ino).or_default();
        for number in range {
            if !matches!(mode, FallocateMode::Allocate { .. })
                && let Some(old) = file.blocks.remove(&number)
            {
                free.insert(old.address);
            }
            if mode != FallocateMode::Punch && !file.blocks.contains_key(&number) {
                let address = free.pop_last().ok_or(Errno::ENOSPC)?;
                file.blocks.insert(
                    number,
                    Block {
                        address,
                        written: false,
                    },
                );
            }
        }
        drop(state);
        self.names.getattr(ino)
    }

    fn setattr(&self, ino: Ino, set: &SetAttr) -> Result<Attr> {
        if let Some(size_bytes) = set.size_bytes {
            self.cut(ino, size_bytes);
        }
        self.names.setattr(ino, set)
    }

    fn forget(&self, ino: Ino) {
        self.names.forget(ino);
        match self.names.load(ino) {
            Ok(_) => self.names.forget(ino),
            Err(_) => {
                self.cut(ino, 0);
                self.state.lock().files.remove(&ino);
            }
        }
    }

    fn statfs(&self) -> Result<StatFs> {
        let blocks_free = self.state.lock().free.len() as u64;
        Ok(StatFs {
            blocks_free,
            blocks_available: blocks_free,
            ..self.names.statfs()?
        })
    }

    fn root(&self) -> Ino {
        self.names.root()
    }

    fn sync(&self, _: bool) -> Result<()> {
        self.env.device().flush()
    }

    fn fsync(&self, _: Ino, _: bool) -> Result<()> {
        self.env.device().flush()
    }

    fn load(&self, ino: Ino) -> Result<Attr> {
        self.names.load(ino)
    }

    fn getattr(&self, ino: Ino) -> Result<Attr> {
        self.names.getattr(ino)
    }

    fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.names.lookup(dir, name)
    }

    fn parent(&self, dir: Ino) -> Result<Ino> {
        self.names.parent(dir)
    }

    fn create(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Created> {
        self.names.create(dir, name, new)
    }

    fn link(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result<Created> {
        self.names.link(ino, dir, name)
    }

    fn unlink(&self, dir: Ino, name: &[u8]) -> Result<Unlinked> {
        self.names.unlink(dir, name)
    }

    fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<Unlinked> {
        self.names.rmdir(dir, name)
    }

    fn rename(&self, a: Ino, from: &[u8], b: Ino, to: &[u8], how: RenameFlags) -> Result<Renamed> {
        self.names.rename(a, from, b, to, how)
    }

    fn readdir(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.names.readdir(dir, cookie, emit)
    }

    fn readlink(&self, ino: Ino, target: &mut Vec<u8>) -> Result<()> {
        self.names.readlink(ino, target)
    }
}
