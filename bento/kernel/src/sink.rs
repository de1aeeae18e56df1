//! Buffers of the kernel that a file system fills.

use crate::abi;
use bento_api::DirEntry;
use core::fmt;

/// A buffer from the ABI.
pub(crate) struct Sink<'a> {
    out: &'a mut abi::bento_sink,
}

const HEADER_BYTES: usize = size_of::<abi::bento_dirent>();

impl<'a> Sink<'a> {
    /// # Safety
    /// `out` is valid, and so are its `capacity_bytes` bytes of data; both are nobody else's.
    pub(crate) unsafe fn new(out: *mut abi::bento_sink) -> Self {
        // SAFETY: the caller promises it.
        let out = unsafe { &mut *out };
        out.len_bytes = 0;
        Sink { out }
    }

    fn room(&mut self) -> &mut [u8] {
        if self.out.data.is_null() || self.out.len_bytes >= self.out.capacity_bytes {
            return &mut [];
        }
        // SAFETY: `new` was promised `capacity_bytes` valid bytes; what remains of them is not
        // empty, by the check above.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.out.data.add(self.out.len_bytes),
                self.out.capacity_bytes - self.out.len_bytes,
            )
        }
    }

    /// Appends bytes, or merely counts them if there is no room for all.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.out.len_bytes = self.out.len_bytes.saturating_add(bytes.len());
    }

    /// Appends a directory entry; false if there is no room for it.
    pub(crate) fn put_entry(&mut self, entry: &DirEntry<'_>) -> bool {
        let len = HEADER_BYTES + entry.name.len().next_multiple_of(8);
        let header = abi::bento_dirent {
            ino: entry.ino.0,
            next_cookie: entry.next_cookie,
            name_len_bytes: entry.name.len() as u16,
            dirent_type: entry.dirent_type,
            reserved: [0; 5],
        };
        let Some(room) = self.room().get_mut(..len) else {
            return false;
        };
        let Some(name) = room.get_mut(HEADER_BYTES..HEADER_BYTES + entry.name.len()) else {
            return false;
        };
        name.copy_from_slice(entry.name);
        // SAFETY: `room` is at least as long as the header.
        unsafe {
            room.as_mut_ptr()
                .cast::<abi::bento_dirent>()
                .write_unaligned(header)
        };
        self.out.len_bytes += len;
        true
    }
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
