//! What the check remembers of each inode.

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeInfo {
    pub(crate) ino: u64,
    pub(crate) generation: u32,
    pub(crate) mode: u16,
    /// Something about it is not understood: it is left alone, but it exists.
    pub(crate) damaged: bool,
    /// Link count as stored.
    pub(crate) nlink: u32,
    /// Names found.
    pub(crate) names: u32,
    /// Directories: directories found in it.
    pub(crate) subdirs: u32,
    /// Directories: parent as stored.
    pub(crate) parent: u64,
    /// Directories: the directory that its (first) name is in; 0 if none was found.
    pub(crate) found_in: u64,
    /// Block count as stored.
    pub(crate) blocks: u64,
    /// Blocks found.
    pub(crate) counted: u64,
}

impl InodeInfo {
    pub(crate) fn is_dir(&self) -> bool {
        bento_api::FileKind::from_mode(self.mode) == Some(bento_api::FileKind::Directory)
    }

    pub(crate) fn owner(&self) -> crate::context::Owner {
        crate::context::Owner {
            ino: self.ino,
            generation: self.generation,
        }
    }
}

/// All inodes in use, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct InodeTable {
    sorted: Vec<InodeInfo>,
}

impl InodeTable {
    /// Adds an inode. They come almost in order: the sweep goes over the device once.
    pub(crate) fn insert(&mut self, info: InodeInfo) {
        match self.sorted.last() {
            Some(last) if last.ino >= info.ino => {
                if let Err(at) = self.position(info.ino) {
                    self.sorted.insert(at, info);
                }
            }
            _ => self.sorted.push(info),
        }
    }

    fn position(&self, ino: u64) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&ino, |info| info.ino)
    }

    pub(crate) fn get(&self, ino: u64) -> Option<&InodeInfo> {
        self.position(ino).ok().and_then(|at| self.sorted.get(at))
    }

    pub(crate) fn get_mut(&mut self, ino: u64) -> Option<&mut InodeInfo> {
        self.position(ino)
            .ok()
            .and_then(|at| self.sorted.get_mut(at))
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn at(&self, index: usize) -> Option<InodeInfo> {
        self.sorted.get(index).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &InodeInfo> {
        self.sorted.iter()
    }
}
