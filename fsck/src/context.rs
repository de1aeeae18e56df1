//! What all passes share: the device under what is to be changed, and what has been found.

use crate::inode_table::InodeTable;
use crate::map::BlockMap;
use crate::{Failure, Object, Observer, Problem, Report};
use bento_api::{Device, Errno, ReadRequest};
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, Fault, HEADER_BYTES, InoAddress, Inode, Layout, Superblock,
    block,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// Blocks read from the device at a time.
pub(crate) const RUN_BLOCKS: u64 = 16;

/// Images of blocks, by address.
pub(crate) type Images = BTreeMap<u64, Box<[u8]>>;

/// Why a block is of no use.
#[derive(Clone, Debug)]
pub(crate) enum Unusable {
    Unreadable(Errno),
    Outside,
    Faulty(Fault),
    /// The header names another inode.
    Foreign {
        owner: u64,
        generation: u32,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Unreadable(error) => write!(f, "unreadable: {error}"),
            Unusable::Outside => write!(f, "is not on the device"),
            Unusable::Faulty(fault) => fault.fmt(f),
            Unusable::Foreign { owner, generation } => {
                write!(f, "belongs to inode {owner}, generation {generation}")
            }
        }
    }
}

/// An inode by number and generation, as the headers of its blocks name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) ino: u64,
    pub(crate) generation: u32,
}

impl Owner {
    pub(crate) fn of(ino: u64, inode: &Inode) -> Owner {
        Owner {
            ino,
            generation: inode.generation.get(),
        }
    }
}

/// The owner of blocks that belong to no inode.
pub(crate) const NOBODY: Owner = Owner {
    ino: 0,
    generation: 0,
};

/// What could not be read, so that the opposite of a finding can't be concluded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gaps {
    /// Inodes may exist that were not found: names may lead to them.
    pub(crate) inodes: bool,
    /// Blocks may be in use that were not found: what is marked stays marked.
    pub(crate) blocks: bool,
    /// Names may exist that were not found: links and reachability are left alone.
    pub(crate) names: bool,
}

/// CRC-32C of a block.
pub(crate) type Checksum<'a> = &'a dyn Fn(&[u8]) -> u32;

impl Gaps {
    /// Nothing can be concluded from what was not found.
    pub(crate) fn everything(&mut self) {
        *self = Gaps {
            inodes: true,
            blocks: true,
            names: true,
        };
    }
}

/// What pass 2 leaves to be mended before anything else is concluded.
#[derive(Debug, Default)]
pub(crate) struct Torn {
    /// Inodes whose mapping is damaged, with the parts of it that make sense.
    pub(crate) inodes: BTreeMap<u64, Vec<Extent>>,
    /// Blocks that two have claimed.
    pub(crate) contested: BTreeSet<u64>,
    /// Inode blocks that were made anew: what their inodes owned says so itself.
    pub(crate) inode_blocks: BTreeSet<u64>,
}

impl Torn {
    pub(crate) fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.contested.is_empty() && self.inode_blocks.is_empty()
    }
}

/// See the module.
pub(crate) struct Context<'a> {
    device: &'a dyn Device,
    /// The run that was loaded last: its address and what it holds on the device.
    loaded: RefCell<(u64, Vec<u8>)>,
    /// What stands for the blocks on the device: first from the log, then changed by repairs.
    pub(crate) images: Images,
    /// File data to be copied when the repairs are written: to a free block, from which one.
    pub(crate) copies: BTreeMap<u64, u64>,
    pub(crate) crc32c: Checksum<'a>,
    /// Summary blocks that were made anew: they say what the inodes say, and bear no witness.
    pub(crate) rebuilt_summaries: HashSet<u64>,
    pub(crate) superblock: Superblock,
    pub(crate) layout: Layout,
    pub(crate) map: BlockMap,
    pub(crate) inodes: InodeTable,
    /// Inodes on the orphan list.
    pub(crate) orphans: BTreeSet<u64>,
    pub(crate) gaps: Gaps,
    pub(crate) torn: Torn,
    /// A repair has changed what an earlier pass has counted: the round starts again.
    pub(crate) restart: bool,
    /// Names that inodes had whose entries were removed or have no directory any more.
    pub(crate) old_names: HashMap<u64, Box<[u8]>>,
    pub(crate) report: Report,
    pub(crate) observer: &'a mut dyn Observer,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        device: &'a dyn Device,
        crc32c: Checksum<'a>,
        superblock: Superblock,
        report: Report,
        observer: &'a mut dyn Observer,
    ) -> Context<'a> {
        let layout = superblock.layout();
        Context {
            device,
            loaded: RefCell::default(),
            images: Images::new(),
            copies: BTreeMap::new(),
            crc32c,
            rebuilt_summaries: HashSet::new(),
            superblock,
            layout,
            map: BlockMap::new(layout),
            inodes: InodeTable::default(),
            orphans: BTreeSet::new(),
            gaps: Gaps::default(),
            torn: Torn::default(),
            restart: false,
            old_names: HashMap::new(),
            report,
            observer,
        }
    }

    /// Forgets what the passes have found out, but not what they have repaired.
    pub(crate) fn begin_round(&mut self) {
        self.map = BlockMap::new(self.layout);
        self.inodes = InodeTable::default();
        self.orphans.clear();
        self.gaps = Gaps::default();
        self.torn = Torn::default();
        self.restart = false;
        self.report.begin_round();
    }

    pub(crate) fn uuid(&self) -> [u8; 16] {
        self.superblock.header.uuid
    }

    /// Reports a problem; answers whether the caller is to put it right, and now.
    #[must_use]
    pub(crate) fn fix(&mut self, object: Object, problem: Problem) -> bool {
        let observer = &mut self.observer;
        self.report
            .add(object, problem, |finding| observer.approve(finding))
    }

    /// Reports a problem that nothing can be done about, or everything has been done already.
    pub(crate) fn found(&mut self, object: Object, problem: Problem) {
        self.report.add(object, problem, |_| true);
    }

    /// Tells how far a pass has come; ends the check if the user wants that.
    pub(crate) fn progress(&mut self, pass: u32, current: u64, max: u64) -> Result<(), Failure> {
        if self.observer.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        self.observer.progress(pass, current, max);
        Ok(())
    }

    /// Says that blocks will be read soon; those that follow each other are asked for at once.
    pub(crate) fn read_ahead(&self, blocks: impl IntoIterator<Item = u64>) {
        let is_inside = |address: &u64| *address < self.layout.total_blocks;
        let mut blocks = blocks.into_iter().filter(is_inside).peekable();
        while let Some(start) = blocks.next() {
            let mut end = start + 1;
            while let Some(next) = blocks.next_if(|next| (start..=end).contains(next)) {
                end = end.max(next + 1);
            }
            let bytes = |blocks: u64| blocks * BLOCK_BYTES as u64;
            self.device.read_ahead(bytes(start), bytes(end - start));
        }
    }

    /// Reads a run of blocks as they will be.
    pub(crate) fn read_run(&self, address: u64, count: u64) -> Result<Vec<u8>, Unusable> {
        let end = address.checked_add(count).ok_or(Unusable::Outside)?;
        if end > self.layout.total_blocks {
            return Err(Unusable::Outside);
        }
        let mut buffer = vec![0; count as usize * BLOCK_BYTES];
        self.device
            .read(&mut [ReadRequest {
                offset_bytes: address * BLOCK_BYTES as u64,
                buffer: &mut buffer,
            }])
            .map_err(Unusable::Unreadable)?;
        self.apply_images(address, &mut buffer);
        Ok(buffer)
    }

    /// Makes blocks that were read before what they will be.
    pub(crate) fn apply_images(&self, address: u64, blocks: &mut [u8]) {
        let end = address + (blocks.len() / BLOCK_BYTES) as u64;
        for (at, image) in self.images.range(address..end) {
            let start = (at - address) as usize * BLOCK_BYTES;
            if let Some(place) = blocks.get_mut(start..start + BLOCK_BYTES) {
                place.copy_from_slice(image);
            }
        }
    }

    /// Reads a run of blocks from the device that will be read one by one. If that fails, so will
    /// they.
    pub(crate) fn load(&self, address: u64, count: usize) {
        if self.is_loaded(address) && self.is_loaded(address + count as u64 - 1) {
            return;
        }
        let mut loaded = self.loaded.borrow_mut();
        let (_, mut buffer) = std::mem::take(&mut *loaded);
        buffer.resize(count * BLOCK_BYTES, 0);
        let request = ReadRequest {
            offset_bytes: address.saturating_mul(BLOCK_BYTES as u64),
            buffer: &mut buffer,
        };
        if self.device.read(&mut [request]).is_ok() {
            *loaded = (address, buffer);
        }
    }

    fn is_loaded(&self, address: u64) -> bool {
        let loaded = self.loaded.borrow();
        let end = loaded.0 + (loaded.1.len() / BLOCK_BYTES) as u64;
        (loaded.0..end).contains(&address)
    }

    fn loaded(&self, address: u64) -> Option<Box<[u8]>> {
        if !self.is_loaded(address) {
            return None;
        }
        let loaded = self.loaded.borrow();
        let start = (address - loaded.0) as usize * BLOCK_BYTES;
        loaded.1.get(start..start + BLOCK_BYTES).map(Box::from)
    }

    /// Reads a block as it will be, whatever it holds.
    pub(crate) fn read_raw(&self, address: u64) -> Result<Box<[u8]>, Unusable> {
        if let Some(image) = self.images.get(&address) {
            return Ok(image.clone());
        }
        match self.loaded(address) {
            Some(image) => Ok(image),
            None => self.read_run(address, 1).map(Vec::into_boxed_slice),
        }
    }

    /// Reads a metadata block and checks its header and checksum.
    pub(crate) fn read(&self, address: u64, kind: BlockKind) -> Result<Box<[u8]>, Unusable> {
        let image = self.read_raw(address)?;
        self.verify(&image, address, kind)?;
        Ok(image)
    }

    /// The same for a block that belongs to an inode.
    pub(crate) fn read_owned(
        &self,
        address: u64,
        kind: BlockKind,
        owner: Owner,
    ) -> Result<Box<[u8]>, Unusable> {
        let image = self.read(address, kind)?;
        let header = block::header(&image).ok_or(Unusable::Faulty(Fault::Length))?;
        let stored = Owner {
            ino: header.owner.get(),
            generation: header.owner_generation.get(),
        };
        if stored != owner {
            return Err(Unusable::Foreign {
                owner: stored.ino,
                generation: stored.generation,
            });
        }
        Ok(image)
    }

    pub(crate) fn verify(
        &self,
        image: &[u8],
        address: u64,
        kind: BlockKind,
    ) -> Result<(), Unusable> {
        block::verify(image, kind, &self.uuid(), address).map_err(Unusable::Faulty)
    }

    /// Puts a block in place of what is there.
    pub(crate) fn replace(&mut self, address: u64, mut image: Box<[u8]>) {
        block::seal(&mut image);
        self.images.insert(address, image);
    }

    /// Changes a block that was read before; one that has become unreadable stays as it is.
    pub(crate) fn edit(&mut self, address: u64, change: impl FnOnce(&mut [u8])) {
        if let Ok(mut image) = self.read_raw(address) {
            change(&mut image);
            self.replace(address, image);
        }
    }

    /// Changes an inode.
    pub(crate) fn edit_inode(&mut self, ino: u64, change: impl FnOnce(&mut Inode)) {
        if let Some(place) = InoAddress::from_ino(ino) {
            self.edit(place.block, |image| {
                if let Some(inode) = block::view_mut(image, place.offset()) {
                    change(inode);
                }
            });
        }
    }

    /// Reads an inode that the sweep has found.
    pub(crate) fn read_inode(&self, ino: u64) -> Option<Inode> {
        let place = InoAddress::from_ino(ino)?;
        let image = self.read(place.block, BlockKind::Inodes).ok()?;
        block::view(&image, place.offset()).copied()
    }

    /// An inode that the sweep has found, as the headers of its blocks name it.
    pub(crate) fn owner(&self, ino: u64) -> Option<Owner> {
        self.inodes.get(ino)?;
        Some(Owner::of(ino, &self.read_inode(ino)?))
    }

    /// A new block with its header.
    pub(crate) fn new_block(&self, kind: BlockKind, address: u64, owner: Owner) -> Box<[u8]> {
        let header = logfs_format::BlockHeader::new(kind, self.uuid(), address)
            .owned(owner.ino, owner.generation);
        let mut image = vec![0; BLOCK_BYTES].into_boxed_slice();
        if let Some(place) = image.get_mut(..HEADER_BYTES) {
            place.copy_from_slice(bytemuck::bytes_of(&header));
        }
        image
    }
}
