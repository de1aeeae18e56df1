//! The machine's memory.

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::{self, File};
use std::io::Write;

/// How much of the memory that is free is touched beforehand, in percent.
const TOUCHED_PERCENT: u64 = 95;

/// What is written at once, in KiB.
const PIECE_KIB: u64 = 1 << 10;

/// Direct access wants buffers at such an address.
pub(crate) const ALIGNMENT_BYTES: usize = 4096;

/// A figure of /proc/meminfo, in KiB.
pub(crate) fn info_kib(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    parse(&text, name).with_context(|| format!("/proc/meminfo tells no {name}"))
}

fn parse(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        rest.strip_suffix("kB")?.trim().parse().ok()
    };
    text.lines().find_map(value)
}

/// Uses most of the memory once. A virtual machine gets its memory from the host page by page when it
/// first uses it, which whoever is measured first would have to pay for. A file in memory is written
/// rather than memory mapped: no page fault in the guest for each page.
pub(crate) fn touch() -> Result<()> {
    let wanted_kib = info_kib("MemAvailable")? * TOUCHED_PERCENT / 100;
    let file = memfd_create("touched", MemfdFlags::CLOEXEC).context("no file in memory")?;
    let mut file = File::from(file);
    let piece = vec![0x5a_u8; (PIECE_KIB << 10) as usize];
    for _ in 0..wanted_kib / PIECE_KIB {
        file.write_all(&piece).context("using the memory once")?;
    }
    Ok(())
}

/// A part of `memory` that direct access accepts.
pub(crate) fn aligned(memory: &mut [u8], len_bytes: usize) -> Result<&mut [u8]> {
    let skipped = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
    ensure!(skipped <= ALIGNMENT_BYTES, "no aligned address");
    memory
        .get_mut(skipped..skipped + len_bytes)
        .context("too little memory")
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT_BYTES, aligned, parse};

    #[test]
    fn buffers_are_where_direct_access_wants_them() {
        let mut memory = vec![0; 4096 + ALIGNMENT_BYTES];
        let buffer = aligned(&mut memory, 4096).expect("room");
        assert_eq!(buffer.as_ptr() as usize % ALIGNMENT_BYTES, 0);
        assert_eq!(buffer.len(), 4096);
    }

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "MemTotal:  300 kB\nMemFree:   200 kB\nHugePages: 3\n";
        assert_eq!(parse(text, "MemFree"), Some(200));
        assert_eq!(parse(text, "Mem"), None);
        assert_eq!(parse(text, "HugePages"), None);
    }
}
