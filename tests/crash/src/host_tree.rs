//! The tree of a directory of this system.

use crate::tree::{Node, Tree, block_hashes, hash_bytes};
use bento_api::FileKind;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Longest list of names, and longest value, of extended attributes.
const XATTR_BYTES: usize = 64 << 10;

/// Everything under a directory.
///
/// # Errors
/// If something in it can't be read.
pub fn read(root: &Path) -> io::Result<Tree> {
    let mut found = Vec::new();
    read_dir(root, b"", &mut found)?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let names = found
        .iter()
        .map(|(path, number, node)| (path.clone(), *number, node));
    Ok(Tree::build(names))
}

fn read_dir(dir: &Path, name: &[u8], found: &mut Vec<(Vec<u8>, u64, Arc<Node>)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let path = match name {
            b"" => entry_name.as_bytes().to_vec(),
            _ => [name, b"/", entry_name.as_bytes()].concat(),
        };
        let (number, node) = read_node(&entry.path())?;
        let is_dir = node.kind == FileKind::Directory;
        found.push((path.clone(), number, Arc::new(node)));
        if is_dir {
            read_dir(&entry.path(), &path, found)?;
        }
    }
    Ok(())
}

fn read_node(path: &Path) -> io::Result<(u64, Node)> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = FileKind::from_mode(metadata.mode() as u16)
        .ok_or_else(|| io::Error::other(format!("{} is of no kind", path.display())))?;
    let contents = match kind {
        FileKind::Regular => fs::read(path)?,
        FileKind::Symlink => fs::read_link(path)?.into_os_string().into_vec(),
        _ => Vec::new(),
    };
    let is_dir = kind == FileKind::Directory;
    let node = Node {
        kind,
        permissions: metadata.mode() as u16 & bento_api::mode::PERMISSION_MASK,
        size_bytes: if is_dir { 0 } else { metadata.size() },
        blocks: block_hashes(&contents),
        xattrs: read_xattrs(path)?,
    };
    Ok((metadata.ino(), node))
}

fn read_xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, u64)>> {
    let mut names = vec![0; XATTR_BYTES];
    let len = rustix::fs::llistxattr(path, names.as_mut_slice())?;
    names.truncate(len);
    let mut xattrs = Vec::new();
    let mut value = vec![0; XATTR_BYTES];
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let len = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
        xattrs.push((name.to_vec(), hash_bytes(&value[..len])));
    }
    xattrs.sort();
    Ok(xattrs)
}
