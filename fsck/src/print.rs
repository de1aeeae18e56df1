//! What is printed at the end.

use crate::cli::Cli;
use fsck_logfs::{Object, Remedy, Report, Scope};
use serde_json::{Value, json};

/// Prints the problems, without what became of them.
pub(crate) fn findings(report: &Report) {
    for finding in &report.findings {
        println!("{finding}");
    }
}

/// Prints the outcome in words, with the problems if `list` says so.
pub(crate) fn words(cli: &Cli, report: &Report, list: bool) {
    let device = cli.device.display();
    let counts = &report.counts;
    let usage = format!(
        "{} inodes, {}/{} blocks",
        counts.inodes, counts.blocks, counts.blocks_total
    );
    for finding in report.findings.iter().filter(|_| list) {
        let outcome = match finding.problem.remedy() {
            Remedy::Repair(how) if report.written => how,
            Remedy::Repair(_) => "not corrected",
            Remedy::Leave => "left",
        };
        println!("{finding} ({outcome})");
    }
    for (id, (count, _)) in &report.totals {
        let shown = report.findings.iter().filter(|f| f.problem.id() == *id);
        let more = u64::from(*count).saturating_sub(shown.count() as u64);
        if more > 0 {
            println!("and {more} more of the kind {id}");
        }
    }
    let log = match (report.transactions, report.written) {
        (0, _) => String::new(),
        (count, true) => format!("log replayed ({count} transactions), "),
        (count, false) => format!("log not replayed ({count} transactions), "),
    };
    let state = match report.scope {
        Scope::Believed => "clean, ".to_owned(),
        Scope::LogOnly if report.transactions == 0 => {
            "was not unmounted, nothing lost, ".to_owned()
        }
        Scope::LogOnly => String::new(),
        Scope::Full => outcome(report),
    };
    println!("{device}: {log}{state}{usage}");
    if counts.orphans > 0 {
        let outcome = if report.orphans_freed {
            "freed"
        } else {
            "for the next mount to free"
        };
        println!("  {} inodes without names ({outcome})", counts.orphans);
    }
    if cli.verbose && report.scope == Scope::Full {
        println!("  {} directories", counts.directories);
        println!("  {} symbolic links", counts.symlinks);
    }
}

fn outcome(report: &Report) -> String {
    if report.is_clean() {
        return "no problems, ".to_owned();
    }
    let (repairable, left) = (report.repairable(), report.left());
    let (corrected, left) = if report.written {
        (repairable, left)
    } else {
        (0, left + repairable)
    };
    format!("{corrected} problems corrected, {left} left, ")
}

/// The outcome as JSON.
pub(crate) fn json(cli: &Cli, report: &Report, exit_code: u8) -> Value {
    let problems: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let ino = match finding.object {
                Object::Inode(ino) => Some(ino),
                _ => None,
            };
            json!({
                "id": finding.problem.id(),
                "class": finding.problem.class().name(),
                "object": finding.object.to_string(),
                "inode": ino,
                "path": finding.path,
                "message": finding.problem.to_string(),
                "repaired": report.written && finding.problem.remedy() != Remedy::Leave,
            })
        })
        .collect();
    let totals: serde_json::Map<String, Value> = report
        .totals
        .iter()
        .map(|(id, (count, _))| ((*id).to_owned(), json!(count)))
        .collect();
    json!({
        "device": cli.device.to_string_lossy(),
        "scope": match report.scope {
            Scope::Believed => "clean",
            Scope::LogOnly => "log",
            Scope::Full => "full",
        },
        "transactions": report.transactions,
        "written": report.written,
        "problems": problems,
        "totals": totals,
        "inodes": report.counts.inodes,
        "blocks": report.counts.blocks,
        "blocks_total": report.counts.blocks_total,
        "exit_code": exit_code,
    })
}
