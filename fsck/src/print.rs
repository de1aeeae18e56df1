//! What is printed at the end.

use crate::cli::{Answer, Cli};
use fsck_logfs::{Object, Report, Scope};
use serde_json::{Value, json};

/// Prints the outcome in words.
pub(crate) fn words(cli: &Cli, report: &Report) {
    let device = cli.device.display();
    let counts = &report.counts;
    let usage = format!(
        "{} inodes, {}/{} blocks",
        counts.inodes, counts.blocks, counts.blocks_total
    );
    for finding in &report.findings {
        let outcome = match finding.problem.remedy().action() {
            Some(action) if finding.is_fixed && report.written => action,
            Some(_) => "not corrected",
            None => "left",
        };
        println!("{finding} ({outcome})");
    }
    for (id, tally) in &report.totals {
        let shown = report.findings.iter().filter(|f| f.problem.id() == *id);
        let more = (tally.fixed + tally.left).saturating_sub(shown.count() as u64);
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
    if cli.answer() == Answer::Safe && report.needs_consent() {
        println!(
            "  not all of that is safe to do unasked: run fsck.logfs by hand, without -a or -p"
        );
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
    let (fixed, left) = (report.fixed(), report.left());
    let (corrected, left) = if report.written {
        (fixed, left)
    } else {
        (0, left + fixed)
    };
    format!("{corrected} problems corrected, {left} left, ")
}

/// The outcome as JSON.
pub(crate) fn json(cli: &Cli, report: &Report) -> Value {
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
                "remedy": finding.problem.remedy().name(),
                "action": finding.problem.remedy().action(),
                "repaired": report.written && finding.is_fixed,
            })
        })
        .collect();
    let totals: serde_json::Map<String, Value> = report
        .totals
        .iter()
        .map(|(id, tally)| ((*id).to_owned(), json!(tally.fixed + tally.left)))
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
        "exit_code": report.exit_code(),
    })
}
