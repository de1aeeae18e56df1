//! Image files and block devices.

use crate::errno;
use bento_api::{Device, Errno, Geometry, ReadRequest, Result, WriteRequest};
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::ReadWriteFlags;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The smallest unit of I/O of an image file.
const IMAGE_SECTOR_BYTES: u32 = 512;

/// A [`Device`] over an image file or a block device.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    geometry: Geometry,
}

impl FileDevice {
    /// Opens a device for nobody else to use: a block device exclusively (what is mounted is
    /// refused), an image file under an advisory lock (many readers or one writer).
    pub fn open(path: &Path, read_only: bool) -> io::Result<FileDevice> {
        let kind = path.metadata()?.file_type();
        if kind.is_block_device() {
            FileDevice::open_block_device(path, read_only, OFlags::EXCL)
        } else if kind.is_file() {
            FileDevice::open_image(path, read_only)
        } else {
            let text = "is neither a block device nor an image file";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }

    /// Opens a block device that the caller keeps others from using, by having it mounted.
    pub fn open_mounted(path: &Path, read_only: bool) -> io::Result<FileDevice> {
        FileDevice::open_block_device(path, read_only, OFlags::empty())
    }

    /// Lets others lock the image file from now on: for the time between the last use and the
    /// end of the process.
    pub fn release(&self) {
        // Without a lock there is nothing to release.
        let _ = self.file.unlock();
    }

    /// Stands for the device of a file system that has none: of size 0, all I/O fails.
    pub fn absent() -> io::Result<FileDevice> {
        let file = File::open("/dev/null")?;
        Ok(FileDevice::with_geometry(file, 0, IMAGE_SECTOR_BYTES, true))
    }

    fn open_block_device(path: &Path, read_only: bool, how: OFlags) -> io::Result<FileDevice> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .custom_flags(how.bits() as i32)
            .open(path)
            .map_err(
                |error| match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::EBUSY => in_use(),
                    _ => error,
                },
            )?;
        let sector_bytes = rustix::fs::ioctl_blksszget(&file)?;
        let size_bytes = file.seek(SeekFrom::End(0))?;
        Ok(FileDevice::with_geometry(
            file,
            size_bytes,
            sector_bytes,
            read_only,
        ))
    }

    fn open_image(path: &Path, read_only: bool) -> io::Result<FileDevice> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        let locked = if read_only {
            file.try_lock_shared()
        } else {
            file.try_lock()
        };
        locked.map_err(|error| match error {
            TryLockError::WouldBlock => in_use(),
            TryLockError::Error(error) => error,
        })?;
        let size_bytes = file.metadata()?.len();
        Ok(FileDevice::with_geometry(
            file,
            size_bytes,
            IMAGE_SECTOR_BYTES,
            read_only,
        ))
    }

    fn with_geometry(
        file: File,
        size_bytes: u64,
        sector_bytes: u32,
        read_only: bool,
    ) -> FileDevice {
        let geometry = Geometry {
            size_bytes: size_bytes - size_bytes % u64::from(sector_bytes),
            sector_bytes,
            read_only,
            can_discard: !read_only,
        };
        FileDevice { file, geometry }
    }

    /// The open file, for what [`Device`] does not offer.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn check_writable(&self) -> Result<()> {
        if self.geometry.read_only {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Writing behind the end would let an image file grow.
    fn check_range(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        match offset_bytes.checked_add(len_bytes) {
            Some(end_bytes) if end_bytes <= self.geometry.size_bytes => Ok(()),
            _ => Err(Errno::EIO),
        }
    }
}

fn in_use() -> io::Error {
    let text = "is in use: mounted, or opened by another program; unmount it first";
    io::Error::new(io::ErrorKind::ResourceBusy, text)
}

impl Device for FileDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, requests: &mut [ReadRequest<'_>]) -> Result<()> {
        for request in requests {
            let read = self
                .file
                .read_exact_at(request.buffer, request.offset_bytes);
            read.map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    fn read_ahead(&self, offset_bytes: u64, len_bytes: u64) {
        if let Some(len_bytes) = NonZeroU64::new(len_bytes) {
            // Without it, reading only takes longer.
            let _ =
                rustix::fs::fadvise(&self.file, offset_bytes, Some(len_bytes), Advice::WillNeed);
        }
    }

    fn write(&self, requests: &[WriteRequest<'_>]) -> Result<()> {
        self.check_writable()?;
        for request in requests {
            self.check_range(request.offset_bytes, request.data.len() as u64)?;
            let written = self.file.write_all_at(request.data, request.offset_bytes);
            written.map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    fn write_durable(&self, request: &WriteRequest<'_>) -> Result<()> {
        self.check_writable()?;
        self.check_range(request.offset_bytes, request.data.len() as u64)?;
        let mut written = 0;
        while let Some(rest) = request.data.get(written..).filter(|rest| !rest.is_empty()) {
            let offset_bytes = request.offset_bytes + written as u64;
            let slices = [IoSlice::new(rest)];
            match rustix::io::pwritev2(&self.file, &slices, offset_bytes, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Errno::from_raw(error.raw_os_error())),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| errno(&error))
    }

    /// A hole punched into a block device discards too, where that leaves zeros behind.
    fn discard(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        self.check_writable()?;
        self.check_range(offset_bytes, len_bytes)?;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, how, offset_bytes, len_bytes) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(Errno::from_raw(error.raw_os_error())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(size_bytes: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size_bytes).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read_and_the_end_holds() {
        let image = image(10_000);
        let device = FileDevice::open(image.path(), false).unwrap();
        assert_eq!(device.geometry().size_bytes, 9728);

        let data = [7; 512];
        device
            .write(&[WriteRequest {
                offset_bytes: 512,
                data: &data,
            }])
            .unwrap();
        device
            .write_durable(&WriteRequest {
                offset_bytes: 1024,
                data: &data,
            })
            .unwrap();
        device.flush().unwrap();
        let mut buffer = [0; 1536];
        device
            .read(&mut [ReadRequest {
                offset_bytes: 512,
                buffer: &mut buffer,
            }])
            .unwrap();
        assert!(buffer[..1024].iter().all(|byte| *byte == 7));
        assert!(buffer[1024..].iter().all(|byte| *byte == 0));

        device.discard(0, 4096).unwrap();
        device
            .read(&mut [ReadRequest {
                offset_bytes: 512,
                buffer: &mut buffer,
            }])
            .unwrap();
        assert!(buffer.iter().all(|byte| *byte == 0));

        let behind = WriteRequest {
            offset_bytes: 9728,
            data: &data,
        };
        assert_eq!(device.write(&[behind]), Err(Errno::EIO));
        assert_eq!(image.as_file().metadata().unwrap().len(), 10_000);
    }

    #[test]
    fn an_image_in_use_is_refused() {
        let image = image(4096);
        let writer = FileDevice::open(image.path(), false).unwrap();
        let refused = FileDevice::open(image.path(), true).unwrap_err();
        assert!(refused.to_string().contains("in use"), "{refused}");
        drop(writer);

        let _one = FileDevice::open(image.path(), true).unwrap();
        let reader = FileDevice::open(image.path(), true).unwrap();
        assert!(FileDevice::open(image.path(), false).is_err());
        let request = WriteRequest {
            offset_bytes: 0,
            data: &[0; 512],
        };
        assert_eq!(reader.write(&[request]), Err(Errno::EROFS));
    }

    #[test]
    fn a_directory_is_no_device() {
        let error = FileDevice::open(Path::new("/"), false).unwrap_err();
        assert!(error.to_string().contains("neither"), "{error}");
    }
}
