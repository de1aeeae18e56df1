//! Sizes as the user writes them.

use logfs_format::BLOCK_BYTES;

/// Bytes: a number with an optional suffix K, M, G, T, P (powers of 1024).
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &text[digits.len()..];
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "p" | "pib" => 50,
        _ => return Err(format!("unknown unit `{suffix}`: use K, M, G, T or P")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a size"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is too large"))
}

/// Blocks: a plain number counts blocks, one with a suffix bytes.
pub(crate) fn parse_blocks(text: &str) -> Result<u64, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let blocks: u64 = text
            .parse()
            .map_err(|_| format!("`{text}` is not a number of blocks"))?;
        return match blocks.checked_mul(BLOCK_BYTES as u64) {
            Some(_) => Ok(blocks),
            None => Err(format!("`{text}` blocks are too many")),
        };
    }
    Ok(parse_bytes(text)? / BLOCK_BYTES as u64)
}

/// A size in the largest unit in which it is a whole number, or nearly so.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value.fract() == 0.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("2M"), Ok(2 << 20));
        assert_eq!(parse_blocks("25600"), Ok(25600));
        assert_eq!(parse_blocks("100m"), Ok(25600));
        for wrong in ["", "M", "12x", "-1", "99999999999P", "1.5G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert!(parse_blocks("").is_err());
        assert!(parse_blocks("18446744073709551615").is_err());
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(human(100 << 20), "100 MiB");
        assert_eq!(human(3 << 29), "1.5 GiB");
        assert_eq!(human(512), "512 bytes");
    }
}
