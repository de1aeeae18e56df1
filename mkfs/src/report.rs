//! What was made, or would be.

use crate::cli::Cli;
use crate::size::human;
use anyhow::Result;
use logfs_format::BLOCK_BYTES;
use mkfs_logfs::Plan;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Prints the plan to standard output, as the options ask for. `found` is what would be
/// overwritten.
pub(crate) fn show(cli: &Cli, plan: &Plan, found: Option<&str>) -> Result<()> {
    if cli.quiet {
        return Ok(());
    }
    let text = if cli.json {
        json(cli, plan, found)
    } else {
        words(cli, plan, found)?
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn words(cli: &Cli, plan: &Plan, found: Option<&str>) -> Result<String> {
    let sb = &plan.superblock;
    let layout = sb.layout();
    let name = cli.device.display();
    let verb = if cli.dry_run { "would be" } else { "is" };
    let mut out = String::new();
    if let Some(found) = found {
        writeln!(out, "{name} contains a {found}.")?;
    }
    writeln!(
        out,
        "{name} {verb} a logfs file system of {} blocks of 4 KiB ({})",
        layout.total_blocks,
        in_blocks(layout.total_blocks)
    )?;
    let label = String::from_utf8_lossy(sb.label());
    let uuid = uuid::Uuid::from_bytes(sb.header.uuid);
    writeln!(out, "  uuid {uuid}, label \"{label}\"")?;
    writeln!(
        out,
        "  {} segments of {}, log of {} in units of {} bytes",
        layout.segment_count,
        in_blocks(layout.segment_blocks.into()),
        in_blocks(layout.log_blocks),
        sb.log_granule_bytes.get()
    )?;
    if cli.verbose {
        let parts = [
            ("superblock", logfs_format::SUPERBLOCK_ADDRESS, 1),
            ("segment table", layout.table_start, layout.table_blocks),
            ("log", layout.log_start, layout.log_blocks),
            ("superblock copy", layout.backups[0], 1),
            (
                "segments",
                layout.segments_start,
                layout.segment_count * u64::from(layout.segment_blocks),
            ),
            ("superblock copy", layout.backups[1], 1),
        ];
        for (part, start, len) in parts {
            writeln!(out, "  {part:<15} {start:>12} + {len}")?;
        }
        writeln!(
            out,
            "  reserved for root {} blocks",
            sb.root_reserved_blocks.get()
        )?;
    }
    Ok(out)
}

fn in_blocks(blocks: u64) -> String {
    human(blocks.saturating_mul(BLOCK_BYTES as u64))
}

fn json(cli: &Cli, plan: &Plan, found: Option<&str>) -> String {
    let sb = &plan.superblock;
    let layout = sb.layout();
    let value = serde_json::json!({
        "device": cli.device.to_string_lossy(),
        "dry_run": cli.dry_run,
        "found": found,
        "uuid": uuid::Uuid::from_bytes(sb.header.uuid).to_string(),
        "label": String::from_utf8_lossy(sb.label()),
        "block_bytes": BLOCK_BYTES,
        "total_blocks": layout.total_blocks,
        "table_start": layout.table_start,
        "table_blocks": layout.table_blocks,
        "log_start": layout.log_start,
        "log_blocks": layout.log_blocks,
        "log_granule_bytes": sb.log_granule_bytes.get(),
        "segments_start": layout.segments_start,
        "segment_blocks": layout.segment_blocks,
        "segment_count": layout.segment_count,
        "superblock_copies": layout.backups,
        "root_ino": sb.root_ino.get(),
        "root_reserved_blocks": sb.root_reserved_blocks.get(),
    });
    format!("{value:#}\n")
}
