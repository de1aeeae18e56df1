//! The device or image file that the file system goes to.

use crate::{in_use, signature};
use anyhow::{Context, Result, bail};
use bento_api::Device;
use bento_host::FileDevice;
use logfs_format::BLOCK_BYTES;
use mkfs_logfs::Sector;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Discarded at a time, so that it can be interrupted.
const DISCARD_STEP_BYTES: u64 = 4 << 30;

/// A device or image file that may be written to.
pub(crate) struct Target {
    path: PathBuf,
    /// Size of the file system to be made.
    pub(crate) total_blocks: u64,
    kind: Kind,
}

enum Kind {
    BlockDevice(File),
    Image(File),
    /// An image file that is yet to be made.
    NewImage,
}

impl Target {
    /// Finds out what is there and that nobody uses it. Changes nothing.
    pub(crate) fn find(path: &Path, size_blocks: Option<u64>) -> Result<Target> {
        let name = path.display();
        let kind = match fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_block_device() => {
                Kind::BlockDevice(open_to_look(path)?)
            }
            Ok(metadata) if metadata.is_file() => Kind::Image(open_to_look(path)?),
            Ok(_) => bail!("{name} is neither a block device nor an image file"),
            Err(error) if error.kind() == ErrorKind::NotFound && size_blocks.is_some() => {
                Kind::NewImage
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("{name} does not exist: to make an image file, give its size in blocks")
            }
            Err(error) => return Err(error).with_context(|| name.to_string()),
        };
        if let Some(user) = in_use::find_user(path) {
            bail!("{name} is {user}: nothing was written");
        }
        let there_blocks = match &kind {
            Kind::BlockDevice(file) | Kind::Image(file) => size_bytes(file)? / BLOCK_BYTES as u64,
            Kind::NewImage => 0,
        };
        let total_blocks = size_blocks.unwrap_or(there_blocks);
        if matches!(kind, Kind::BlockDevice(_)) && total_blocks > there_blocks {
            bail!("{name} has {there_blocks} blocks, {total_blocks} are asked for");
        }
        Ok(Target {
            path: path.to_owned(),
            total_blocks,
            kind,
        })
    }

    /// The unit of log writes: the physical sector, since the device would have to read and write
    /// that for a smaller write anyway.
    pub(crate) fn sector(&self, asked_bytes: Option<u64>) -> Result<Sector> {
        let least_bytes = match &self.kind {
            Kind::BlockDevice(file) => rustix::fs::ioctl_blksszget(file)?,
            _ => 512,
        };
        let Some(bytes) = asked_bytes else {
            let physical_bytes = match &self.kind {
                Kind::BlockDevice(file) => rustix::fs::ioctl_blkpbszget(file)?,
                _ => 512,
            };
            return Ok(Sector::new(least_bytes.max(physical_bytes)));
        };
        let possible = bytes.is_power_of_two() && (512..=BLOCK_BYTES as u64).contains(&bytes);
        match u32::try_from(bytes) {
            Ok(bytes) if possible && bytes >= least_bytes => Ok(Sector::new(bytes)),
            _ => bail!(
                "sector size {bytes}: must be a power of two from {least_bytes} to {BLOCK_BYTES}"
            ),
        }
    }

    /// What is on it now, in words.
    pub(crate) fn signature(&self) -> Result<Option<&'static str>> {
        match &self.kind {
            Kind::BlockDevice(file) | Kind::Image(file) => {
                signature::detect(file, size_bytes(file)?)
                    .with_context(|| format!("reading {}", self.path.display()))
            }
            Kind::NewImage => Ok(None),
        }
    }

    /// Opens it for writing, for nobody else to use. An image file gets the size it needs.
    pub(crate) fn open(&self) -> Result<FileDevice> {
        let name = self.path.display();
        let needed_bytes = self.total_blocks * BLOCK_BYTES as u64;
        if !matches!(self.kind, Kind::BlockDevice(_)) {
            let image = OpenOptions::new()
                .create(matches!(self.kind, Kind::NewImage))
                .write(true)
                .truncate(false)
                .open(&self.path)
                .with_context(|| name.to_string())?;
            if size_bytes(&image)? < needed_bytes {
                image
                    .set_len(needed_bytes)
                    .with_context(|| format!("growing {name}"))?;
            }
        }
        FileDevice::open(&self.path, false).with_context(|| name.to_string())
    }
}

fn open_to_look(path: &Path) -> Result<File> {
    File::open(path).with_context(|| path.display().to_string())
}

/// The size of a file or block device.
fn size_bytes(mut file: &File) -> Result<u64> {
    Ok(file.seek(SeekFrom::End(0))?)
}

/// Tells the device that it holds nothing of worth. Only a favour: where it fails, no harm is
/// done.
pub(crate) fn discard(device: &FileDevice, total_blocks: u64) {
    let end_bytes = total_blocks * BLOCK_BYTES as u64;
    let mut offset_bytes = 0;
    while offset_bytes < end_bytes {
        let len_bytes = DISCARD_STEP_BYTES.min(end_bytes - offset_bytes);
        if device.discard(offset_bytes, len_bytes).is_err() {
            return;
        }
        offset_bytes += len_bytes;
    }
}
