//! Copying a directory tree into a new file system, by the file system's own code.

use anyhow::{Context, Result};
use bento_api::{
    Attr, Errno, FileKind, FileSystem, Ino, MountOptions, NewInode, SetAttr, SetTime, SetXattr,
    Time,
};
use bento_host::{FileDevice, FileIo, HostEnv};
use logfs::LogFs;
use rustix::fs::{SeekFrom, seek};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

type Host = HostEnv<FileDevice>;

/// Copies what is in `source` into the root directory of the file system on `device`.
pub(crate) fn populate(device: FileDevice, source: &Path) -> Result<()> {
    let env = HostEnv::new(device, "logfs");
    let fs = Arc::new(LogFs::mount(env.clone(), &MountOptions::default())?);
    let copy = Copy {
        io: FileIo::new(env, Arc::clone(&fs))?,
        fs,
    };
    let mut linked = HashMap::new();
    let root = copy.fs.root();
    copy.fs.load(root)?;
    let copied = copy.directory(source, root, &mut linked).and_then(|()| {
        let metadata = fs::symlink_metadata(source)?;
        copy.attributes(source, root, &metadata)
            .with_context(|| source.display().to_string())
    });
    copy.fs.forget(root);
    // Even after an error: the file system is to be sound, if not complete.
    let unmounted = copy.fs.unmount();
    copied?;
    Ok(unmounted?)
}

/// Inodes copied that have more names: device and number in the source, and their new number.
type Linked = HashMap<(u64, u64), Ino>;

struct Copy {
    fs: Arc<LogFs<Host>>,
    io: FileIo<Host, LogFs<Host>>,
}

impl Copy {
    fn directory(&self, source: &Path, dir: Ino, linked: &mut Linked) -> Result<()> {
        let read = || -> std::io::Result<Vec<fs::DirEntry>> { fs::read_dir(source)?.collect() };
        let mut entries = read().with_context(|| source.display().to_string())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            self.entry(&path, &entry.file_name(), dir, linked)
                .with_context(|| path.display().to_string())?;
            self.fs.background();
        }
        Ok(())
    }

    fn entry(&self, path: &Path, name: &OsStr, dir: Ino, linked: &mut Linked) -> Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        let name = name.as_bytes();
        let key = (metadata.dev(), metadata.ino());
        let has_names = metadata.nlink() > 1 && !metadata.is_dir();
        if let Some(&ino) = linked.get(&key).filter(|_| has_names) {
            self.fs.load(ino)?;
            let result = self.fs.link(ino, dir, name);
            self.fs.forget(ino);
            result?;
            return Ok(());
        }
        let attr = self.create(path, name, dir, &metadata)?;
        if has_names {
            linked.insert(key, attr.ino);
        }
        let filled = match attr.kind() {
            FileKind::Directory => self.directory(path, attr.ino, linked),
            FileKind::Regular => self.contents(path, attr.ino, metadata.len()),
            _ => Ok(()),
        };
        let result = filled.and_then(|()| self.attributes(path, attr.ino, &metadata));
        self.fs.forget(attr.ino);
        result
    }

    fn create(&self, path: &Path, name: &[u8], dir: Ino, metadata: &Metadata) -> Result<Attr> {
        let is_link = metadata.file_type().is_symlink();
        let target = if is_link {
            fs::read_link(path)?.into_os_string()
        } else {
            Default::default()
        };
        let is_device =
            metadata.file_type().is_block_device() || metadata.file_type().is_char_device();
        let new = NewInode {
            mode: metadata.mode() as u16,
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: if is_device {
                encode_device(metadata.rdev())
            } else {
                0
            },
            target: target.as_bytes(),
            xattrs: &[],
        };
        Ok(self.fs.create(dir, name, &new)?.inode)
    }

    /// Copies the data of a file and leaves its holes out.
    fn contents(&self, path: &Path, ino: Ino, size_bytes: u64) -> Result<()> {
        let file = File::open(path)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < size_bytes {
            let start = match seek(&file, SeekFrom::Data(at)) {
                Ok(start) => start,
                // A hole up to the end.
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = seek(&file, SeekFrom::Hole(start))?.min(size_bytes);
            at = start;
            while at < end {
                let want = buffer.len().min((end - at) as usize);
                let count = file.read_at(&mut buffer[..want], at)?;
                if count == 0 {
                    return Ok(());
                }
                self.write(ino, at, &buffer[..count])?;
                at += count as u64;
            }
        }
        let size_bytes = Some(size_bytes);
        self.io.setattr(
            ino,
            &SetAttr {
                size_bytes,
                ..SetAttr::default()
            },
        )?;
        Ok(())
    }

    fn write(&self, ino: Ino, offset_bytes: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let count = self.io.write(ino, offset_bytes + done as u64, rest, None)?;
            if count == 0 {
                return Err(Errno::ENOSPC.into());
            }
            done += count;
        }
        Ok(())
    }

    /// Extended attributes, and the times that all else has changed.
    fn attributes(&self, path: &Path, ino: Ino, metadata: &Metadata) -> Result<()> {
        for (name, value) in xattrs(path)? {
            self.fs.setxattr(ino, &name, Some(&value), SetXattr::Any)?;
        }
        let time = |seconds, nanoseconds| {
            let nanoseconds = nanoseconds as u32;
            Some(SetTime::To(Time {
                seconds,
                nanoseconds,
            }))
        };
        let set = SetAttr {
            mode: Some(metadata.mode() as u16 & bento_api::mode::PERMISSION_MASK),
            uid: Some(metadata.uid()),
            gid: Some(metadata.gid()),
            atime: time(metadata.atime(), metadata.atime_nsec()),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            size_bytes: None,
        };
        self.fs.setattr(ino, &set)?;
        Ok(())
    }
}

/// A device number as Linux stores it in inodes (`new_encode_dev`).
fn encode_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The extended attributes of a file; none where they are not supported.
fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = Vec::with_capacity(64 << 10);
    match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut out = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = Vec::with_capacity(64 << 10);
        rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value))?;
        out.push((name.to_vec(), value));
    }
    Ok(out)
}
