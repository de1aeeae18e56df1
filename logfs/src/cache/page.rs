//! The contents of one block.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use bento_api::{Errno, Result};
use logfs_format::{BLOCK_BYTES, block};

/// Four KiB of memory. Shared as `Arc<Page>`: whoever holds one has a snapshot that never changes,
/// since a writer copies a page that others hold ([`Arc::make_mut`]).
#[derive(Clone)]
pub(crate) struct Page(Box<[u8]>);

impl Page {
    /// A page of zeros.
    pub(crate) fn zeroed() -> Page {
        Page(vec![0; BLOCK_BYTES].into_boxed_slice())
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All bytes, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// A structure in the page; `EUCLEAN` if it would not fit.
    pub(crate) fn view<T: bytemuck::Pod>(&self, offset: usize) -> Result<&T> {
        block::view(&self.0, offset).ok_or(Errno::EUCLEAN)
    }

    /// A copy with the right checksum, as it goes to the device.
    pub(crate) fn sealed(self: &Arc<Page>) -> Page {
        let mut copy = Page::clone(self);
        block::seal(copy.bytes_mut());
        copy
    }
}
