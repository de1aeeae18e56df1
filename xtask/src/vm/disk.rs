//! Disks of a virtual machine.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{self, Path, PathBuf};
use std::str::FromStr;

/// Where a disk's contents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// In a sparse file that is made empty and goes away with the machine.
    Temporary {
        /// The size in bytes.
        size_bytes: u64,
    },
    /// In a file or block device that stays.
    File(PathBuf),
}

impl FromStr for Disk {
    type Err = anyhow::Error;

    /// What starts with a digit is a size; a file of such a name can be given as `./NAME`.
    fn from_str(text: &str) -> Result<Disk> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let size_bytes = parse_size(text)?;
            return Ok(Disk::Temporary { size_bytes });
        }
        Ok(Disk::File(text.into()))
    }
}

impl Disk {
    /// The file behind the disk; a temporary one is made as `path`.
    pub(crate) fn open(&self, path: &Path) -> Result<PathBuf> {
        match self {
            Disk::Temporary { size_bytes } => {
                let file = File::create_new(path)
                    .with_context(|| format!("cannot make the disk {}", path.display()))?;
                file.set_len(*size_bytes)
                    .with_context(|| format!("cannot make a disk of {size_bytes} bytes"))?;
                Ok(path.to_path_buf())
            }
            // Links are not followed: one in /proc leads to an open file, whether it has a name or not.
            Disk::File(file) => {
                let found = path::absolute(file);
                found
                    .and_then(|found| found.metadata().map(|_| found))
                    .with_context(|| format!("there is no disk image {}", file.display()))
            }
        }
    }
}

/// Reads a size: a number with an optional unit K, M, G or T (powers of 1024), else bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => bail!("`{text}` is no size; give a number and K, M, G or T, such as 8G"),
    };
    let number: u64 = digits
        .parse()
        .with_context(|| format!("`{text}` is no size; give a number and K, M, G or T"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("`{text}` is more than a disk can have"))
}

#[cfg(test)]
mod tests {
    use super::{Disk, parse_size};

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("512").ok(), Some(512));
        assert_eq!(parse_size("8G").ok(), Some(8 << 30));
        assert_eq!(parse_size("1t").ok(), Some(1 << 40));
        assert_eq!(parse_size("100MiB").ok(), Some(100 << 20));
        for bad in ["8X", "G", "", "99999999999T", "1.5G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_disk_is_a_size_or_a_file() {
        assert_eq!(
            "1K".parse::<Disk>().ok(),
            Some(Disk::Temporary { size_bytes: 1024 })
        );
        assert_eq!("./1K".parse::<Disk>().ok(), Some(Disk::File("./1K".into())));
        assert!("1Q".parse::<Disk>().is_err());
    }
}
