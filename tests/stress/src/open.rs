//! Opening files, and input and output past the page cache.

use anyhow::Result;
use bytemuck::{Pod, Zeroable};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What offsets, lengths and memory of direct access are multiples of: enough for every disk.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Memory that direct access takes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// Opens a file that is there.
pub(crate) fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Writes whole pages past the page cache, as `fill` makes them.
pub(crate) fn write_direct(
    path: &Path,
    offset: u64,
    pages: usize,
    fill: impl FnOnce(&mut [u8]),
) -> io::Result<()> {
    let mut memory = vec![Page::zeroed(); pages];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
    fill(bytes);
    open(path, OFlags::DIRECT)?.write_all_at(bytes, offset)
}

/// All of a file up to `max_bytes`, past the page cache or through it.
pub(crate) fn read_all(file: &File, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut memory = vec![Page::zeroed(); max_bytes.div_ceil(PAGE_BYTES) + 1];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64)? {
            0 => break,
            count => done += count,
        }
        // Past a file's end, direct reads are not aligned any more.
        if !done.is_multiple_of(PAGE_BYTES) {
            break;
        }
    }
    Ok(bytes[..done].to_vec())
}

/// The error number of an operation, if it failed in the system.
pub(crate) fn errno(error: &anyhow::Error) -> Option<rustix::io::Errno> {
    error.chain().find_map(|cause| {
        let of_io = cause.downcast_ref::<io::Error>();
        of_io
            .and_then(rustix::io::Errno::from_io_error)
            .or_else(|| cause.downcast_ref().copied())
    })
}

/// What a directory lists, sorted.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in dir.read_dir()? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
