//! What is on a device already, told by the signatures that others leave.

use std::io;
use std::os::unix::fs::FileExt;

/// Bytes at a place.
struct Magic {
    name: &'static str,
    offset: u64,
    bytes: &'static [u8],
}

const fn magic(name: &'static str, offset: u64, bytes: &'static [u8]) -> Magic {
    Magic {
        name,
        offset,
        bytes,
    }
}

/// What is found by one look from the start of the device.
const AT_START: &[Magic] = &[
    magic("logfs file system", 4096 + 64, b"logfs-01"),
    magic("xfs file system", 0, b"XFSB"),
    magic("btrfs file system", 65536 + 64, b"_BHRfS_M"),
    magic("f2fs file system", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    magic("bcachefs file system", 4096 + 24, &BCACHEFS),
    magic("vfat file system", 82, b"FAT32   "),
    magic("vfat file system", 54, b"FAT12   "),
    magic("vfat file system", 54, b"FAT16   "),
    magic("exfat file system", 3, b"EXFAT   "),
    magic("ntfs file system", 3, b"NTFS    "),
    magic("iso9660 file system", 32768 + 1, b"CD001"),
    magic("udf file system", 32768 + 1, b"BEA01"),
    magic("squashfs file system", 0, b"hsqs"),
    magic("erofs file system", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    magic("jfs file system", 32768, b"JFS1"),
    magic("reiserfs file system", 65536 + 52, b"ReIsEr"),
    magic("nilfs2 file system", 1024 + 6, &[0x34, 0x34]),
    magic("swap space", 4096 - 10, b"SWAPSPACE2"),
    magic("swap space", 8192 - 10, b"SWAPSPACE2"),
    magic("swap space", 16384 - 10, b"SWAPSPACE2"),
    magic("swap space", 65536 - 10, b"SWAPSPACE2"),
    magic("suspended system", 4096 - 10, b"S1SUSPEND"),
    magic("LUKS encrypted volume", 0, b"LUKS\xba\xbe"),
    magic("LVM physical volume", 0, b"LABELONE"),
    magic("LVM physical volume", 512, b"LABELONE"),
    magic("LVM physical volume", 1024, b"LABELONE"),
    magic("LVM physical volume", 1536, b"LABELONE"),
    magic("RAID member", 0, &[0xfc, 0x4e, 0x2b, 0xa9]),
    magic("RAID member", 4096, &[0xfc, 0x4e, 0x2b, 0xa9]),
    magic("GPT partition table", 512, b"EFI PART"),
    magic("GPT partition table", 4096, b"EFI PART"),
];

const BCACHEFS: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef,
];

/// The magic number of ext2 and its descendants has two bytes only; what makes it sure is the rest
/// of their superblock.
const EXT_SUPERBLOCK: u64 = 1024;

/// Bytes looked at from the start of the device.
const LOOK_BYTES: usize = 68 << 10;

/// What lies on the device, in words; `None` if it is nothing that is known.
pub(crate) fn detect(device: &impl FileExt, size_bytes: u64) -> io::Result<Option<&'static str>> {
    let mut start = vec![0; LOOK_BYTES.min(usize::try_from(size_bytes).unwrap_or(LOOK_BYTES))];
    device.read_exact_at(&mut start, 0)?;
    let known = AT_START
        .iter()
        .find(|magic| bytes_at(&start, magic.offset, magic.bytes.len()) == Some(magic.bytes));
    if let Some(magic) = known {
        return Ok(Some(magic.name));
    }
    if let Some(name) = ext(&start) {
        return Ok(Some(name));
    }
    if let Some(name) = at_end(device, size_bytes)? {
        return Ok(Some(name));
    }
    Ok(has_mbr(&start).then_some("DOS partition table"))
}

fn bytes_at(start: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let offset = usize::try_from(offset).ok()?;
    start.get(offset..offset + len)
}

fn le32(start: &[u8], offset: u64) -> Option<u32> {
    let bytes = bytes_at(start, offset, 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Which of the ext family, by its features.
fn ext(start: &[u8]) -> Option<&'static str> {
    const HAS_JOURNAL: u32 = 4;
    const EXTENTS: u32 = 0x40;
    let magic = bytes_at(start, EXT_SUPERBLOCK + 56, 2)?;
    let block_log2 = le32(start, EXT_SUPERBLOCK + 24)?;
    if magic != [0x53, 0xef] || block_log2 > 6 {
        return None;
    }
    let compat = le32(start, EXT_SUPERBLOCK + 92)?;
    let incompat = le32(start, EXT_SUPERBLOCK + 96)?;
    Some(if incompat & EXTENTS != 0 {
        "ext4 file system"
    } else if compat & HAS_JOURNAL != 0 {
        "ext3 file system"
    } else {
        "ext2 file system"
    })
}

/// Signatures that stand at the end of the device.
fn at_end(device: &impl FileExt, size_bytes: u64) -> io::Result<Option<&'static str>> {
    const RAID: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
    let places: [(&'static str, u64, &[u8]); 4] = [
        (
            "GPT partition table",
            size_bytes.saturating_sub(512),
            b"EFI PART",
        ),
        (
            "GPT partition table",
            size_bytes.saturating_sub(4096),
            b"EFI PART",
        ),
        // Version 0.90 lies at the last multiple of 64 KiB that leaves room for it, version 1.0 at
        // the last multiple of 4 KiB that is 8 KiB from the end.
        (
            "RAID member",
            (size_bytes & !0xffff).saturating_sub(65536),
            &RAID,
        ),
        (
            "RAID member",
            size_bytes.saturating_sub(8192) & !0xfff,
            &RAID,
        ),
    ];
    for (name, offset, bytes) in places {
        let mut found = [0; 8];
        let found = &mut found[..bytes.len()];
        let inside = offset + bytes.len() as u64 <= size_bytes;
        if inside && offset > 0 {
            device.read_exact_at(found, offset)?;
            if found == bytes {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}

/// A boot signature alone says little; a table has an entry that looks like one.
fn has_mbr(start: &[u8]) -> bool {
    const FIRST_ENTRY: u64 = 446;
    const ENTRY_BYTES: u64 = 16;
    if bytes_at(start, 510, 2) != Some(&[0x55, 0xaa]) {
        return false;
    }
    (0..4).any(|index| {
        let Some(entry) = bytes_at(start, FIRST_ENTRY + index * ENTRY_BYTES, 16) else {
            return false;
        };
        matches!(entry[0], 0 | 0x80) && entry[4] != 0
    })
}

#[cfg(test)]
mod tests {
    use super::detect;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    const SIZE_BYTES: u64 = 1 << 20;

    fn image(bytes: &[(u64, &[u8])]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0; SIZE_BYTES as usize]).unwrap();
        for (offset, data) in bytes {
            file.write_all_at(data, *offset).unwrap();
        }
        file
    }

    fn found(bytes: &[(u64, &[u8])]) -> Option<&'static str> {
        detect(&image(bytes), SIZE_BYTES).unwrap()
    }

    #[test]
    fn an_empty_device_has_no_signature() {
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn the_ext_family_is_told_apart() {
        let magic: (u64, &[u8]) = (1024 + 56, &[0x53, 0xef]);
        assert_eq!(found(&[magic]), Some("ext2 file system"));
        assert_eq!(found(&[magic, (1024 + 92, &[4])]), Some("ext3 file system"));
        let extents: (u64, &[u8]) = (1024 + 96, &[0x40]);
        assert_eq!(found(&[magic, extents]), Some("ext4 file system"));
        assert_eq!(found(&[magic, (1024 + 24, &[99])]), None);
    }

    #[test]
    fn signatures_at_the_end_are_seen() {
        assert_eq!(
            found(&[(SIZE_BYTES - 512, b"EFI PART")]),
            Some("GPT partition table")
        );
    }

    #[test]
    fn a_boot_signature_is_not_a_partition_table() {
        let boot: (u64, &[u8]) = (510, &[0x55, 0xaa]);
        assert_eq!(found(&[boot]), None);
        assert_eq!(found(&[boot, (450, &[0x83])]), Some("DOS partition table"));
    }
}
