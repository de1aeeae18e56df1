//! A file system in a few maps.

use bento_api::{Errno, FileKind, RenameFlags};
use logfs_tests::Mounted;
use std::collections::BTreeMap;

/// What an operation should answer.
pub(crate) type Outcome = Result<(), Errno>;

type Path = Vec<u8>;

const BLOCK: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    /// Names with one number are one link; its contents are the target.
    Symlink(u64),
    /// Names with one number are one file.
    File(u64),
}

/// Attributes and contents of an inode, for comparing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    contents: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    kind: u8,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    nodes: BTreeMap<Path, Node>,
    files: BTreeMap<u64, Vec<u8>>,
    xattrs: BTreeMap<Path, BTreeMap<Vec<u8>, Vec<u8>>>,
    next: u64,
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&b| b == b'/').unwrap_or(0);
    &path[..slash]
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/'
}

impl Model {
    /// The directory that a path is in must be there.
    fn parent_ok(&self, path: &[u8]) -> Outcome {
        let dir = parent(path);
        if dir.is_empty() {
            return Ok(());
        }
        self.parent_ok(dir)?;
        match self.nodes.get(dir) {
            Some(Node::Dir) => Ok(()),
            Some(_) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn free(&self, path: &[u8]) -> Outcome {
        self.parent_ok(path)?;
        if self.nodes.contains_key(path) {
            Err(Errno::EEXIST)
        } else {
            Ok(())
        }
    }

    fn node(&self, path: &[u8]) -> Result<&Node, Errno> {
        self.parent_ok(path)?;
        self.nodes.get(path).ok_or(Errno::ENOENT)
    }

    fn is_empty_dir(&self, path: &[u8]) -> bool {
        !self.nodes.keys().any(|other| is_below(other, path))
    }

    pub(crate) fn is_file(&self, path: &[u8]) -> bool {
        matches!(self.nodes.get(path), Some(Node::File(_)))
    }

    pub(crate) fn contents(&mut self, path: &[u8]) -> &mut Vec<u8> {
        let Some(Node::File(id)) = self.nodes.get(path) else {
            panic!("not a file")
        };
        self.files.get_mut(id).expect("every file has contents")
    }

    /// What is known of the inode under a path.
    pub(crate) fn view(&self, path: &[u8]) -> Option<View> {
        let node = self.nodes.get(path)?;
        let (contents, kind) = match node {
            Node::Dir => {
                let names = self.nodes.keys().filter(|other| parent(other) == path);
                (
                    names
                        .flat_map(|name| [name.as_slice(), b"\0"].concat())
                        .collect(),
                    0,
                )
            }
            Node::Symlink(id) => (self.files[id].clone(), 1),
            Node::File(id) => (self.files[id].clone(), 2),
        };
        let xattrs = self
            .xattrs
            .get(&self.xattr_key(path))
            .cloned()
            .unwrap_or_default();
        Some(View {
            contents,
            xattrs,
            kind,
        })
    }

    /// Attributes belong to the inode: those of a file are kept under its number.
    fn xattr_key(&self, path: &[u8]) -> Path {
        match self.nodes.get(path) {
            Some(Node::File(id) | Node::Symlink(id)) => format!("file {id}").into_bytes(),
            _ => path.to_vec(),
        }
    }

    pub(crate) fn create(&mut self, path: &[u8]) -> Outcome {
        self.free(path)?;
        self.next += 1;
        self.files.insert(self.next, Vec::new());
        self.nodes.insert(path.to_vec(), Node::File(self.next));
        Ok(())
    }

    pub(crate) fn mkdir(&mut self, path: &[u8]) -> Outcome {
        self.free(path)?;
        self.nodes.insert(path.to_vec(), Node::Dir);
        Ok(())
    }

    pub(crate) fn symlink(&mut self, target: &[u8], path: &[u8]) -> Outcome {
        self.free(path)?;
        self.next += 1;
        self.files.insert(self.next, target.to_vec());
        self.nodes.insert(path.to_vec(), Node::Symlink(self.next));
        Ok(())
    }

    pub(crate) fn link(&mut self, old: &[u8], new: &[u8]) -> Outcome {
        let node = self.node(old)?.clone();
        if node == Node::Dir {
            return Err(Errno::EPERM);
        }
        self.free(new)?;
        self.nodes.insert(new.to_vec(), node);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &[u8]) -> Outcome {
        if *self.node(path)? == Node::Dir {
            return Err(Errno::EISDIR);
        }
        self.remove(path);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, path: &[u8]) -> Outcome {
        if *self.node(path)? != Node::Dir {
            return Err(Errno::ENOTDIR);
        }
        if !self.is_empty_dir(path) {
            return Err(Errno::ENOTEMPTY);
        }
        self.remove(path);
        Ok(())
    }

    fn remove(&mut self, path: &[u8]) {
        self.xattrs.remove(path);
        self.nodes.remove(path);
    }

    pub(crate) fn rename(&mut self, from: &[u8], to: &[u8], flags: RenameFlags) -> Outcome {
        let node = self.node(from)?.clone();
        self.parent_ok(to)?;
        let target = self.nodes.get(to).cloned();
        match (&target, flags) {
            (Some(_), RenameFlags::NoReplace) => return Err(Errno::EEXIST),
            (None, RenameFlags::Exchange) => return Err(Errno::ENOENT),
            _ => {}
        }
        if is_below(to, from) {
            return Err(Errno::EINVAL);
        }
        if is_below(from, to) {
            let exchange = flags == RenameFlags::Exchange;
            return Err(if exchange {
                Errno::EINVAL
            } else {
                Errno::ENOTEMPTY
            });
        }
        let same = match (&node, &target) {
            (Node::File(a), Some(Node::File(b))) | (Node::Symlink(a), Some(Node::Symlink(b))) => {
                a == b
            }
            _ => from == to,
        };
        if same {
            return Ok(());
        }
        if flags == RenameFlags::Exchange {
            let spare = b"(exchange)";
            self.move_tree(from, spare);
            self.move_tree(to, from);
            self.move_tree(spare, to);
            return Ok(());
        }
        match (&node, &target) {
            (Node::Dir, Some(Node::Dir)) if !self.is_empty_dir(to) => return Err(Errno::ENOTEMPTY),
            (Node::Dir, Some(Node::Dir)) | (_, None) => {}
            (Node::Dir, Some(_)) => return Err(Errno::ENOTDIR),
            (_, Some(Node::Dir)) => return Err(Errno::EISDIR),
            _ => {}
        }
        if target.is_some() {
            self.remove(to);
        }
        self.move_tree(from, to);
        Ok(())
    }

    fn move_tree(&mut self, from: &[u8], to: &[u8]) {
        let moved = |path: &[u8]| {
            let inside = path == from || is_below(path, from);
            inside.then(|| [to, &path[from.len()..]].concat())
        };
        let rename = |path: Path| moved(&path).unwrap_or(path);
        self.nodes = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|(p, n)| (rename(p), n))
            .collect();
        self.xattrs = std::mem::take(&mut self.xattrs)
            .into_iter()
            .map(|(p, x)| (rename(p), x))
            .collect();
    }

    pub(crate) fn setxattr(&mut self, path: &[u8], name: &[u8], value: &[u8]) -> Outcome {
        self.node(path)?;
        let key = self.xattr_key(path);
        self.xattrs
            .entry(key)
            .or_default()
            .insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// Whether the file system is in this state, or between this one and `next`.
    pub(crate) fn matches(&self, sim: &Mounted, next: Option<&Model>) -> bool {
        self.difference(sim, next).is_none()
    }

    /// # Panics
    /// If the file system is not in this state.
    pub(crate) fn check(&self, sim: &Mounted, next: Option<&Model>) {
        if let Some(difference) = self.difference(sim, next) {
            panic!("{difference}");
        }
    }

    fn difference(&self, sim: &Mounted, next: Option<&Model>) -> Option<String> {
        let found = Model::read(sim);
        let names = |model: &Model| model.nodes.keys().cloned().collect::<Vec<_>>();
        if names(&found) != names(self) {
            return Some(format!(
                "names: found {:?}, not {:?}",
                show(&names(&found)),
                show(&names(self))
            ));
        }
        for path in self.nodes.keys() {
            let (is, should) = (found.view(path), self.view(path));
            let also = next.and_then(|next| next.view(path));
            let (Some(is), Some(should)) = (is, should) else {
                continue;
            };
            if is == should
                || also
                    .as_ref()
                    .is_some_and(|also| between(&is, &should, also))
            {
                continue;
            }
            let at = is
                .contents
                .iter()
                .zip(&should.contents)
                .position(|(a, b)| a != b);
            return Some(format!(
                "{}: kind {} / {}, {} / {} bytes, first difference at {at:?}, xattrs alike: {}",
                String::from_utf8_lossy(path),
                is.kind,
                should.kind,
                is.contents.len(),
                should.contents.len(),
                is.xattrs == should.xattrs
            ));
        }
        None
    }

    /// The state that the file system is in.
    pub(crate) fn read(sim: &Mounted) -> Model {
        let mut model = Model::default();
        let mut by_ino = BTreeMap::new();
        model.read_dir(sim, b"", &mut by_ino);
        model
    }

    fn read_dir(&mut self, sim: &Mounted, dir: &[u8], by_ino: &mut BTreeMap<u64, u64>) {
        let at = if dir.is_empty() { b"/" } else { dir };
        for entry in sim.readdir(at).expect("readdir") {
            let path = [dir, b"/", &entry.name].concat();
            let attr = sim.stat(&path).expect("stat of what readdir names");
            assert_eq!(attr.ino, entry.ino);
            let node = match attr.kind() {
                FileKind::Directory => Node::Dir,
                kind => {
                    let id = *by_ino.entry(attr.ino.0).or_insert_with(|| {
                        self.next += 1;
                        self.next
                    });
                    let is_link = kind == FileKind::Symlink;
                    let contents = if is_link {
                        sim.readlink(&path)
                    } else {
                        sim.read_file(&path)
                    };
                    let contents = contents.expect("what readdir names can be read");
                    assert_eq!(contents.len() as u64, attr.size_bytes);
                    self.files.insert(id, contents);
                    if is_link {
                        Node::Symlink(id)
                    } else {
                        Node::File(id)
                    }
                }
            };
            let is_dir = node == Node::Dir;
            self.nodes.insert(path.clone(), node);
            let xattrs: BTreeMap<_, _> = sim
                .listxattr(&path)
                .expect("listxattr")
                .into_iter()
                .map(|name| (name.clone(), sim.getxattr(&path, &name).expect("getxattr")))
                .collect();
            if !xattrs.is_empty() {
                let key = self.xattr_key(&path);
                self.xattrs.insert(key, xattrs);
            }
            if is_dir {
                self.read_dir(sim, &path, by_ino);
            }
        }
    }
}

/// Whether each block of a file is that of one state or the other.
fn between(is: &View, a: &View, b: &View) -> bool {
    let block = |view: &View, index: usize| -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let start = (index * BLOCK).min(view.contents.len());
        let end = (start + BLOCK).min(view.contents.len());
        block[..end - start].copy_from_slice(&view.contents[start..end]);
        block
    };
    let sizes = (a.contents.len(), b.contents.len());
    let len = is.contents.len();
    let blocks = len.div_ceil(BLOCK);
    is.kind == a.kind
        && is.kind == b.kind
        && (is.xattrs == a.xattrs || is.xattrs == b.xattrs)
        && len >= sizes.0.min(sizes.1)
        && len <= sizes.0.max(sizes.1)
        && (0..blocks).all(|n| {
            let found = block(is, n);
            let cut = |mut wanted: Vec<u8>| {
                let end = (len - n * BLOCK).min(BLOCK);
                wanted[end..].fill(0);
                wanted
            };
            found == cut(block(a, n)) || found == cut(block(b, n))
        })
}

fn show(names: &[Path]) -> Vec<String> {
    names
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}
