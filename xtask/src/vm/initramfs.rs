//! Initial file systems: cpio archives in the `newc` format, as the kernel unpacks them.

use anyhow::{Result, ensure};

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

/// File modes: a directory, and a file that can be executed.
const DIRECTORY: u32 = 0o040755;
const EXECUTABLE: u32 = 0o100755;

impl Initramfs {
    /// Adds a directory; `name` without a leading slash.
    pub(crate) fn dir(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, &[])
    }

    /// Adds a file; `name` without a leading slash.
    pub(crate) fn file(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        self.entry(name, EXECUTABLE, contents)
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        ensure!(
            u32::try_from(contents.len()).is_ok(),
            "{name} is too large for an initial file system"
        );
        self.entries += 1;
        let links = 1;
        let fields = [
            self.entries, // inode
            mode,
            0, // owner
            0, // group
            links,
            0, // time
            contents.len() as u32,
            0, // device, major
            0, // device, minor
            0, // own number, major
            0, // own number, minor
            name.len() as u32 + 1,
            0, // checksum, which this format leaves 0
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Initramfs;

    #[test]
    fn an_archive_has_the_layout_of_newc() {
        let mut archive = Initramfs::default();
        archive.file("init", b"hello").expect("small enough");
        let bytes = archive.finish().expect("small enough");
        assert_eq!(&bytes[..22], b"07070100000001000081ed");
        // The header is 110 bytes, the name with its end 5 more, padded to 116.
        assert_eq!(&bytes[110..121], b"init\0\0hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
