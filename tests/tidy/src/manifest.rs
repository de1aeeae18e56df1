//! What every package's `Cargo.toml` must say.

use crate::Finding;

/// Settings that a package takes from the workspace, by the section they stand in.
const INHERITED: &[(&str, &str)] = &[
    ("lints", "workspace = true"),
    ("package", "edition.workspace = true"),
    ("package", "license.workspace = true"),
    ("package", "publish.workspace = true"),
    ("package", "version.workspace = true"),
];

/// Settings that the manifest doesn't take from the workspace.
pub fn check(file: &str, text: &str) -> Vec<Finding> {
    INHERITED
        .iter()
        .filter(|(section, setting)| !has(text, section, setting))
        .map(|(section, setting)| format!("{file}: [{section}] lacks `{setting}`"))
        .collect()
}

fn has(text: &str, section: &str, setting: &str) -> bool {
    let header = format!("[{section}]");
    text.lines()
        .skip_while(|line| line.trim() != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.trim() == setting)
}

#[cfg(test)]
mod tests {
    use super::check;

    const GOOD: &str = "[package]
name = \"x\"
version.workspace = true
edition.workspace = true
license.workspace = true
publish.workspace = true

[lints]
workspace = true
";

    #[test]
    fn a_complete_manifest_passes() {
        assert!(check("x/Cargo.toml", GOOD).is_empty());
    }

    #[test]
    fn each_missing_setting_is_found() {
        for line in GOOD.lines().filter(|line| line.contains("workspace")) {
            let bad = GOOD.replace(line, "");
            assert!(!check("x/Cargo.toml", &bad).is_empty(), "without {line}");
        }
    }

    #[test]
    fn a_setting_in_another_section_does_not_count() {
        let bad = GOOD.replace("[lints]", "[features]");
        assert_eq!(check("x/Cargo.toml", &bad).len(), 1);
    }
}
