//! What single source files may hold.

use crate::Finding;

/// Directories whose crates may hold `unsafe` code.
const MAY_BE_UNSAFE: &[&str] = &["bento/kernel/", "kmod-shim/"];

/// The line that keeps `unsafe` out of a crate.
const FORBID: &str = "#![forbid(unsafe_code)]";

/// The longest source file, in lines.
const LINES_MAX: usize = 600;

/// What source files end in.
const SOURCE_ENDINGS: &[&str] = &[".rs", ".c", ".h", ".sh", ".py"];

/// Directories in which somebody's work lives, with the slashes left out.
const PRIVATE_DIRS: &[&str] = &["home", "root", "work", "Users"];

/// A crate's first file that lets `unsafe` in where it has no business.
pub fn check_unsafe(crate_root: &str, text: &str) -> Option<Finding> {
    let may = MAY_BE_UNSAFE.iter().any(|dir| crate_root.starts_with(dir));
    let forbidden = text.lines().any(|line| line.trim() == FORBID);
    (!may && !forbidden).then(|| {
        format!(
            "{crate_root}: `unsafe` is for bento/kernel and the module entry crates: add {FORBID}"
        )
    })
}

/// A source file that is too long to be about one thing.
pub fn check_length(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let is_source = SOURCE_ENDINGS.iter().any(|ending| file.ends_with(ending));
    (is_source && lines > LINES_MAX)
        .then(|| format!("{file}: {lines} lines, more than {LINES_MAX}: split it by noun"))
}

/// Lines that hold an absolute path of somebody's own machine.
pub fn check_paths(file: &str, text: &str) -> Vec<Finding> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| PRIVATE_DIRS.iter().any(|dir| holds_path(line, dir)))
        .map(|(index, line)| {
            format!(
                "{file}:{}: a path of one machine: `{}`",
                index + 1,
                line.trim()
            )
        })
        .collect()
}

/// Whether `line` holds `/dir/name` as the beginning of a path.
fn holds_path(line: &str, dir: &str) -> bool {
    let start = format!("/{dir}/");
    line.match_indices(&start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + start.len()..].chars().next();
        let begins = !before.is_some_and(|c| c.is_alphanumeric() || "_-./*}~$".contains(c));
        begins && after.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, check_length, check_paths, check_unsafe};

    #[test]
    fn a_crate_that_allows_unsafe_is_found() {
        assert!(check_unsafe("logfs/src/lib.rs", "//! Text.\n").is_some());
        assert!(check_unsafe("logfs/src/lib.rs", "// #![forbid(unsafe_code)]\n").is_some());
        assert!(check_unsafe("logfs/src/lib.rs", "#![forbid(unsafe_code)]\n").is_none());
        assert!(check_unsafe("bento/kernel/src/lib.rs", "").is_none());
    }

    #[test]
    fn a_long_source_file_is_found() {
        let longest = "x\n".repeat(LINES_MAX);
        assert!(check_length("a.rs", &longest).is_none());
        assert!(check_length("a.rs", &(longest.clone() + "x")).is_some());
        assert!(check_length("Cargo.lock", &(longest + "x")).is_none());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for dir in ["home", "root", "work"] {
            let line = format!("see \"/{dir}/ada/logfs\"");
            assert_eq!(check_paths("a.md", &line).len(), 1, "{line}");
        }
        for line in [
            "target/work/x",
            "$HOME/work/x",
            "/usr/src",
            "the /root/ directory",
        ] {
            assert!(check_paths("a.md", line).is_empty(), "{line}");
        }
    }
}
