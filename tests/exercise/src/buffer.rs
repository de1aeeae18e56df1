//! Memory that O_DIRECT takes.

/// What offsets, lengths and memory of direct access are multiples of: enough for every disk.
pub(crate) const ALIGN_BYTES: usize = 4096;

/// Bytes that start at a multiple of [`ALIGN_BYTES`].
pub(crate) struct Buffer {
    /// Larger than it need be, so that it holds such a multiple.
    memory: Vec<u8>,
    start: usize,
    len_bytes: usize,
}

impl Buffer {
    /// A buffer of zeros.
    pub(crate) fn new(len_bytes: usize) -> Buffer {
        let memory = vec![0; len_bytes + ALIGN_BYTES];
        let start = memory.as_ptr().align_offset(ALIGN_BYTES);
        Buffer {
            memory,
            start,
            len_bytes,
        }
    }

    /// All of it, to be written to.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGN_BYTES, Buffer};

    #[test]
    fn a_buffer_is_aligned_and_as_long_as_asked() {
        for len_bytes in [0, 1, ALIGN_BYTES, 3 * ALIGN_BYTES + 7] {
            let mut buffer = Buffer::new(len_bytes);
            let bytes = buffer.bytes_mut();
            assert_eq!(bytes.len(), len_bytes);
            assert_eq!(bytes.as_ptr().addr() % ALIGN_BYTES, 0);
        }
    }
}
