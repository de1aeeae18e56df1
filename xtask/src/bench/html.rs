//! The report: tables and plots on one page that needs nothing from elsewhere.

use super::overview;
use super::plot::{self, Plot};
use super::results::{REFERENCE, Results, Row, short};
use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

const STYLE: &str = "
    body { font-family: sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
    table { border-collapse: collapse; margin: 1em 0; font-size: 90% }
    th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid #ddd }
    th { background: #f3f3f3 } td:first-child, th:first-child { text-align: left }
    .better { color: #006400; font-weight: bold } .worse { color: #b00020; font-weight: bold }
    .small { color: #777; font-size: 85% } svg { max-width: 100%; height: auto }
";

/// A ratio that differs from 1 by less is called equal.
const NOISE: f64 = 0.1;

/// The page.
pub(super) fn report(results: &Results) -> Result<String> {
    let groups = groups(&results.names());
    let groups = groups.into_iter();
    let groups = groups.map(|(workload, rows)| Ok((workload, plot(results, &rows)?, rows)));
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "logfs beside its peers" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "logfs beside its peers" }
                (machine(&results.machine))
                p { "Ratios are to ext4; above 1, here and below, is better than ext4." }
                (means(results))
                (failures(results))
                (PreEscaped(overview::plot(results)?))
                @for (workload, plot, rows) in groups {
                    h2 { (workload) }
                    (PreEscaped(plot))
                    (table(results, &rows))
                }
            }
        }
    };
    Ok(page.into_string())
}

/// Rows of the same workload.
fn groups<'a>(names: &[&'a str]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in names {
        let workload = name.split_once('/').map_or(*name, |(workload, _)| workload);
        match groups.iter_mut().find(|(other, _)| *other == workload) {
            Some((_, rows)) => rows.push(name),
            None => groups.push((workload, vec![name])),
        }
    }
    groups
}

/// The plot of the rows that are compared with ext4; nothing if none is.
fn plot(results: &Results, names: &[&str]) -> Result<String> {
    let compared = results.compared();
    let rows = names.iter().filter(|name| compared.contains(name));
    let rows: Vec<_> = rows.map(|name| (*name, step(name).to_owned())).collect();
    if rows.is_empty() {
        return Ok(String::new());
    }
    plot::ratios(&Plot {
        results,
        rows: &rows,
        shown: 0.1..10.0,
    })
}

/// What is measured, without the workload that it is a step of.
fn step(row: &str) -> &str {
    row.split_once('/').map_or(row, |(_, step)| step)
}

fn machine(machine: &Value) -> Markup {
    let Value::Object(facts) = machine else {
        return html! { p { "How it was measured is not known: machine.json is not there." } };
    };
    html! {
        table {
            @for (name, value) in facts {
                tr {
                    td { (name.replace('_', " ")) }
                    td { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) }
                }
            }
        }
    }
}

fn means(results: &Results) -> Markup {
    html! {
        table {
            tr {
                th { "file system" } th { "device" } th { "geometric mean of ratios" } th { "rows" }
            }
            @for mean in &results.means {
                tr {
                    td { (mean.file_system) } td { (mean.device) }
                    td { (short(mean.ratio_to_ext4)) } td { (mean.rows) }
                }
            }
        }
    }
}

fn failures(results: &Results) -> Markup {
    html! {
        @for failure in &results.failures {
            p class="worse" {
                (failure.failed) " failed on " (failure.file_system) ", turn " (failure.run + 1) ": "
                (failure.error)
            }
        }
    }
}

fn table(results: &Results, names: &[&str]) -> Markup {
    html! {
        table {
            tr {
                th { "step" } th { "file system" } th { "turns" } th { "median" } th { "" } th { "ratio" }
                th { "lowest – highest" } th { "flushes" } th { "writes" } th { "MiB written" }
                th { "MiB read" } th { "CPU s" }
            }
            @for name in names {
                @for (place, row) in of_all(results, name).into_iter().enumerate() {
                    (line(row, place == 0))
                }
            }
        }
    }
}

fn of_all<'a>(results: &'a Results, name: &str) -> Vec<&'a Row> {
    let file_systems = results.file_systems();
    file_systems
        .iter()
        .filter_map(|file_system| results.find(name, file_system))
        .collect()
}

fn line(row: &Row, is_first: bool) -> Markup {
    let lowest = row.values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = row.values.iter().copied().fold(0.0, f64::max);
    html! {
        tr {
            td {
                @if is_first {
                    (step(&row.row))
                    " " span class="small" { (row.amount) }
                }
            }
            td { (row.file_system) }
            td { (row.values.len()) }
            td { (short(row.median)) }
            td { (row.unit.symbol()) }
            (ratio(row))
            td class="small" { (short(lowest)) " – " (short(highest)) }
            td { (row.flushes) }
            td { (row.writes) }
            td { (short(row.written_mib)) }
            td { (short(row.read_mib)) }
            td { (short(row.cpu_seconds)) }
        }
    }
}

fn ratio(row: &Row) -> Markup {
    let Some(ratio) = row.ratio_to_ext4.filter(|_| row.file_system != REFERENCE) else {
        return html! { td {} };
    };
    let class = match ratio {
        ratio if ratio > 1.0 + NOISE => "better",
        ratio if ratio < 1.0 - NOISE => "worse",
        _ => "",
    };
    html! { td class=(class) { (short(ratio)) } }
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn steps_of_a_workload_stand_together() {
        let groups = groups(&["a/x", "b/x", "a/y", "c"]);
        assert_eq!(
            groups,
            [
                ("a", vec!["a/x", "a/y"]),
                ("b", vec!["b/x"]),
                ("c", vec!["c"])
            ]
        );
    }
}
