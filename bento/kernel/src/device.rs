//! The block device of a mount.

use crate::{abi, convert};
use alloc::vec::Vec;
use bento_api::{Device, Geometry, ReadRequest, Result, WriteRequest};

/// How many requests go down in one call: their list is an allocation that can't fail.
const BATCH: usize = 256;

/// The device that a mount is on, by way of the mount.
#[derive(Clone)]
pub struct KernelDevice {
    mount: *mut abi::bento_mount,
}

// SAFETY: the pointer is a handle; bento.ko lets every thread use it.
unsafe impl Send for KernelDevice {}
// SAFETY: as above.
unsafe impl Sync for KernelDevice {}

impl KernelDevice {
    pub(crate) fn new(mount: *mut abi::bento_mount) -> Self {
        KernelDevice { mount }
    }

    pub(crate) fn mount(&self) -> *mut abi::bento_mount {
        self.mount
    }

    fn io(&self, operation: u32, requests: impl Iterator<Item = abi::bento_io>) -> Result<()> {
        let mut requests = requests.peekable();
        while requests.peek().is_some() {
            let batch: Vec<_> = requests.by_ref().take(BATCH).collect();
            // SAFETY: the mount outlives its file system; the buffers are borrowed by the
            // caller until this returns, and only a read writes to them.
            convert::result(unsafe {
                abi::bento_device_io(self.mount, operation, batch.as_ptr(), batch.len())
            })?;
        }
        Ok(())
    }
}

fn write_io(request: &WriteRequest<'_>) -> abi::bento_io {
    abi::bento_io {
        offset_bytes: request.offset_bytes,
        buffer: request.data.as_ptr().cast_mut(),
        len_bytes: request.data.len(),
    }
}

impl Device for KernelDevice {
    fn geometry(&self) -> Geometry {
        let mut geometry = abi::bento_geometry::default();
        // SAFETY: the mount outlives its file system. Without a device all of it stays zero.
        unsafe { abi::bento_device_geometry(self.mount, &mut geometry) };
        Geometry {
            size_bytes: geometry.size_bytes,
            sector_bytes: geometry.sector_bytes,
            read_only: geometry.read_only,
            can_discard: geometry.can_discard,
        }
    }

    fn read(&self, requests: &mut [ReadRequest<'_>]) -> Result<()> {
        self.io(
            abi::BENTO_IO_READ,
            requests.iter_mut().map(|request| abi::bento_io {
                offset_bytes: request.offset_bytes,
                buffer: request.buffer.as_mut_ptr(),
                len_bytes: request.buffer.len(),
            }),
        )
    }

    fn write(&self, requests: &[WriteRequest<'_>]) -> Result<()> {
        self.io(abi::BENTO_IO_WRITE, requests.iter().map(write_io))
    }

    fn write_durable(&self, request: &WriteRequest<'_>) -> Result<()> {
        self.io(
            abi::BENTO_IO_WRITE_DURABLE,
            core::iter::once(write_io(request)),
        )
    }

    fn flush(&self) -> Result<()> {
        // SAFETY: the mount outlives its file system.
        convert::result(unsafe { abi::bento_device_flush(self.mount) })
    }

    fn discard(&self, offset_bytes: u64, len_bytes: u64) -> Result<()> {
        // SAFETY: the mount outlives its file system.
        convert::result(unsafe { abi::bento_device_discard(self.mount, offset_bytes, len_bytes) })
    }
}
