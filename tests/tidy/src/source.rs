//! What single source files may hold.

use crate::Finding;

/// Directories whose crates may hold `unsafe` code.
const MAY_BE_UNSAFE: &[&str] = &["bento/kernel/", "kmod-shim/"];

/// The line that keeps `unsafe` out of a crate.
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Directories whose code runs on the stack of a thread of the kernel.
const IN_KERNEL: &[&str] = &[
    "logfs/src/",
    "logfs/format/",
    "bento/api/",
    "bento/kernel/",
    "bento/memfs/",
];

/// Sorts that recurse, or have kilobytes of scratch space on the stack.
const DEEP_SORTS: &[&str] = &[".sort", ".select_nth"];

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

/// Sorts outside of tests that a stack of the kernel has no room for.
pub fn check_sorts(file: &str, text: &str) -> Vec<Finding> {
    if !IN_KERNEL.iter().any(|dir| file.starts_with(dir)) || file.contains("/tests/") {
        return Vec::new();
    }
    text.lines()
        .enumerate()
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| DEEP_SORTS.iter().any(|sort| line.contains(sort)))
        .map(|(index, _)| {
            format!(
                "{file}:{}: this sort may overflow a stack of the kernel: take logfs/src/sort.rs",
                index + 1
            )
        })
        .collect()
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
    use super::{LINES_MAX, check_length, check_paths, check_sorts, check_unsafe};

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
    fn a_sort_without_room_is_found() {
        let text = "fn f() {\n    all.sort_unstable();\n}\n#[cfg(test)]\n    all.sort();\n";
        assert_eq!(check_sorts("logfs/src/space/a.rs", text).len(), 1);
        assert!(check_sorts("fsck/src/a.rs", text).is_empty());
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
