//! What the file must hold.

use anyhow::{Result, ensure};

/// The contents of the file as the operations make it.
#[derive(Default)]
pub(crate) struct Model {
    bytes: Vec<u8>,
}

impl Model {
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many of `len_bytes` bytes at `offset` are before the end of the file.
    pub(crate) fn readable(&self, offset: usize, len_bytes: usize) -> usize {
        self.size_bytes().saturating_sub(offset).min(len_bytes)
    }

    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        self.grow(offset + data.len());
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
    }

    pub(crate) fn truncate(&mut self, size_bytes: usize) {
        self.bytes.resize(size_bytes, 0);
    }

    /// Makes the file at least this large.
    pub(crate) fn grow(&mut self, size_bytes: usize) {
        self.truncate(self.size_bytes().max(size_bytes));
    }

    /// Zeros what of the range is before the end of the file.
    pub(crate) fn zero(&mut self, offset: usize, len_bytes: usize) {
        let len_bytes = self.readable(offset, len_bytes);
        if len_bytes > 0 {
            self.bytes[offset..offset + len_bytes].fill(0);
        }
    }

    /// Compares what was read at `offset`.
    pub(crate) fn compare(&self, offset: usize, found: &[u8]) -> Result<()> {
        let expected = self.bytes.get(offset..).unwrap_or_default();
        ensure!(
            found.len() <= expected.len(),
            "{} bytes were read at {offset} of a file of {}",
            found.len(),
            self.size_bytes()
        );
        let differs = |(expected, found): (&u8, &u8)| expected != found;
        let Some(first) = expected.iter().zip(found).position(differs) else {
            return Ok(());
        };
        let end = (first + 16).min(found.len());
        let count = expected
            .iter()
            .zip(found)
            .filter(|&pair| differs(pair))
            .count();
        anyhow::bail!(
            "{count} of {} bytes differ, the first at offset {}: expected {:02x?}, found {:02x?}; \
             the file has {}",
            found.len(),
            offset + first,
            &expected[first..end],
            &found[first..end],
            self.size_bytes()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Model;

    #[test]
    fn it_does_what_a_file_does() {
        let mut model = Model::default();
        model.write(3, b"abc");
        model.compare(0, b"\0\0\0abc").expect("a hole and data");
        model.zero(4, 100);
        model.truncate(8);
        model.grow(2);
        assert_eq!(model.size_bytes(), 8);
        model.compare(2, b"\0a\0\0\0\0").expect("zeros again");
        assert_eq!(model.readable(6, 10), 2);
        assert_eq!(model.readable(9, 10), 0);
    }

    #[test]
    fn a_difference_is_described() {
        let mut model = Model::default();
        model.write(0, b"abcdef");
        let error = model.compare(1, b"bcXe").expect_err("X is wrong");
        let text = error.to_string();
        for part in [
            "1 of 4",
            "offset 3",
            "expected [64, 65]",
            "found [58, 65]",
            "has 6",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(model.compare(4, b"efg").is_err());
    }
}
