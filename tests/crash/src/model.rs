//! A file system in a few maps: what logfs should show after each operation that it has done.

use crate::tree::{Mounted, Node, Tree, block_hashes, hash_bytes, hash_of, walk};
use bento_api::{Errno, FileKind, RenameFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The root directory's number.
pub const ROOT: u64 = 0;

type Path = Vec<u8>;

#[derive(Clone, Debug)]
struct Inode {
    kind: FileKind,
    permissions: u16,
    /// Of a symbolic link its target.
    contents: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, u64>,
    node: Arc<Node>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Model {
    names: BTreeMap<Path, u64>,
    inodes: BTreeMap<u64, Inode>,
    last: u64,
}

/// A state that the file system went through, and what fsync of each inode would make durable.
#[derive(Clone, Debug)]
pub struct State {
    /// What there is to see.
    pub tree: Tree,
    /// Whether it may have been reached in steps from the state before, block by block.
    pub is_gradual: bool,
    views: BTreeMap<u64, View>,
}

/// What must survive of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    /// Names, attributes, contents, and of a directory its entries.
    all: u64,
    /// Contents and size, and of a directory its entries.
    data: u64,
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    slash.map_or(b"", |slash| &path[..slash])
}

fn base_name(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    slash.map_or(path, |slash| &path[slash + 1..])
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/'
}

impl Inode {
    fn new(kind: FileKind, contents: Vec<u8>) -> Inode {
        let permissions = match kind {
            FileKind::Directory => 0o755,
            FileKind::Symlink => 0o777,
            _ => 0o644,
        };
        let node = Arc::new(Node {
            kind,
            permissions,
            size_bytes: 0,
            blocks: Vec::new(),
            xattrs: Vec::new(),
        });
        let mut inode = Inode {
            kind,
            permissions,
            contents,
            xattrs: BTreeMap::new(),
            node,
        };
        inode.update();
        inode
    }

    fn update(&mut self) {
        self.node = Arc::new(Node {
            kind: self.kind,
            permissions: self.permissions,
            size_bytes: self.contents.len() as u64,
            blocks: block_hashes(&self.contents),
            xattrs: self.xattrs.clone().into_iter().collect(),
        });
    }
}

impl Model {
    /// What a mounted file system shows.
    pub fn read(sim: &Mounted) -> Result<Model, Errno> {
        let mut model = Model::default();
        let mut numbers = BTreeMap::new();
        for (path, attr) in walk(sim)? {
            let number = *numbers.entry(attr.ino.0).or_insert(model.last + 1);
            if number <= model.last {
                model.names.insert(path, number);
                continue;
            }
            let contents = match attr.kind() {
                FileKind::Regular => sim.read_file(&path)?,
                FileKind::Symlink => sim.readlink(&path)?,
                _ => Vec::new(),
            };
            model.make(Some(&path), attr.kind(), &contents);
            model.set_permissions(number, attr.mode & bento_api::mode::PERMISSION_MASK);
            for name in sim.listxattr(&path)? {
                let value = sim.getxattr(&path, &name)?;
                model.set_xattr(number, &name, Some(&value));
            }
        }
        Ok(model)
    }

    /// The inode that a path leads to.
    pub fn find(&self, path: &[u8]) -> Option<u64> {
        if path.is_empty() {
            return Some(ROOT);
        }
        self.names.get(path).copied()
    }

    /// Whether an inode has a name.
    pub fn is_named(&self, number: u64) -> bool {
        self.names.values().any(|named| *named == number)
    }

    /// Contents of an inode.
    pub fn contents(&self, number: u64) -> &[u8] {
        self.inodes
            .get(&number)
            .map_or(&[], |inode| &inode.contents)
    }

    /// Whether a path leads to a regular file.
    pub fn is_file(&self, path: &[u8]) -> bool {
        let inode = self.find(path).and_then(|number| self.inodes.get(&number));
        inode.is_some_and(|inode| inode.kind == FileKind::Regular)
    }

    /// Makes something; without a path it has no name.
    pub fn make(&mut self, path: Option<&[u8]>, kind: FileKind, contents: &[u8]) -> u64 {
        self.last += 1;
        let inode = Inode::new(kind, contents.to_vec());
        self.inodes.insert(self.last, inode);
        if let Some(path) = path {
            self.names.insert(path.to_vec(), self.last);
        }
        self.last
    }

    /// Gives an inode one more name.
    pub fn link(&mut self, old: &[u8], new: &[u8]) {
        if let Some(number) = self.find(old) {
            self.names.insert(new.to_vec(), number);
        }
    }

    /// Takes a name away.
    pub fn remove(&mut self, path: &[u8]) {
        self.names.remove(path);
    }

    /// Moves a name, and what is below it.
    pub fn rename(&mut self, from: &[u8], to: &[u8], flags: RenameFlags) {
        if self.find(from) == self.find(to) {
            return;
        }
        if flags == RenameFlags::Exchange {
            let spare = b"\0";
            self.move_tree(from, spare);
            self.move_tree(to, from);
            self.move_tree(spare, to);
        } else {
            self.remove(to);
            self.move_tree(from, to);
        }
    }

    fn move_tree(&mut self, from: &[u8], to: &[u8]) {
        let moved = |path: Path| {
            let inside = path == from || is_below(&path, from);
            if inside {
                [to, &path[from.len()..]].concat()
            } else {
                path
            }
        };
        self.names = std::mem::take(&mut self.names)
            .into_iter()
            .map(|(path, number)| (moved(path), number))
            .collect();
    }

    /// Changes an inode's contents.
    pub fn change(&mut self, number: u64, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            change(&mut inode.contents);
            inode.update();
        }
    }

    /// Puts bytes into a file.
    pub fn write(&mut self, number: u64, offset_bytes: u64, data: &[u8]) {
        let (start, end) = (offset_bytes as usize, offset_bytes as usize + data.len());
        self.change(number, |contents| {
            contents.resize(contents.len().max(end), 0);
            contents[start..end].copy_from_slice(data);
        });
    }

    /// Sets an extended attribute; `None` removes it.
    pub fn set_xattr(&mut self, number: u64, name: &[u8], value: Option<&[u8]>) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            match value {
                Some(value) => inode.xattrs.insert(name.to_vec(), hash_bytes(value)),
                None => inode.xattrs.remove(name),
            };
            inode.update();
        }
    }

    /// Sets permission bits.
    pub fn set_permissions(&mut self, number: u64, permissions: u16) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.permissions = permissions;
            inode.update();
        }
    }

    /// Forgets inodes that nobody can reach.
    pub fn retain(&mut self, is_held: impl Fn(u64) -> bool) {
        let names = &self.names;
        self.inodes
            .retain(|number, _| is_held(*number) || names.values().any(|named| named == number));
    }

    /// The state now.
    pub fn state(&self, is_gradual: bool) -> State {
        let named = self.names.iter();
        let tree = Tree::build(
            named.map(|(path, number)| (path.clone(), *number, &self.inodes[number].node)),
        );
        State {
            tree,
            is_gradual,
            views: self.views(),
        }
    }

    fn views(&self) -> BTreeMap<u64, View> {
        // In an order of their own: that of the paths changes with the names of directories above.
        let mut names: BTreeMap<u64, BTreeSet<(u64, &[u8])>> = BTreeMap::new();
        let mut entries: BTreeMap<u64, BTreeSet<(&[u8], u64)>> = BTreeMap::new();
        for (path, number) in &self.names {
            let (dir, name) = (self.find(parent(path)).unwrap_or(ROOT), base_name(path));
            names.entry(*number).or_default().insert((dir, name));
            entries.entry(dir).or_default().insert((name, *number));
        }
        let view = |number: u64, node: Option<&Node>| {
            let (names, entries) = (names.get(&number), entries.get(&number));
            let contents = node.map(|node| (node.size_bytes, &node.blocks));
            View {
                all: hash_of(&(names, node, entries)),
                data: hash_of(&(contents, entries)),
            }
        };
        let mut views: BTreeMap<u64, View> = self
            .inodes
            .iter()
            .map(|(number, inode)| (*number, view(*number, Some(&inode.node))))
            .collect();
        views.insert(ROOT, view(ROOT, None));
        views
    }
}

impl State {
    /// Whether an inode is in another state here than there.
    pub fn differs(&self, other: &State, number: u64, data_only: bool) -> bool {
        match (self.views.get(&number), other.views.get(&number)) {
            (Some(a), Some(b)) if data_only => a.data != b.data,
            (a, b) => a != b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Model;
    use bento_api::{FileKind, RenameFlags};

    #[test]
    fn a_file_stays_as_it_is_when_the_directory_above_gets_another_name() {
        let mut model = Model::default();
        model.make(Some(b"A"), FileKind::Directory, b"");
        let file = model.make(Some(b"A/file"), FileKind::Regular, b"");
        model.link(b"A/file", b"bar");
        let before = model.state(false);
        model.rename(b"A", b"foo", RenameFlags::Replace);
        assert!(!model.state(false).differs(&before, file, false));
        model.rename(b"bar", b"foo/bar", RenameFlags::Replace);
        assert!(model.state(false).differs(&before, file, false));
    }
}
