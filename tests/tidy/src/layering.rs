//! Who may be built from whom.

use crate::Finding;
use crate::tree::Package;

/// The file system and its example neighbour: what they stand on, and nothing above it.
const FILE_SYSTEMS: &[&str] = &["logfs", "bento/memfs"];

/// A directory and those of our packages that a package in it (or below it, if it ends in `/`)
/// may be built from.
type Rule = (&'static str, &'static [&'static str]);

const RULES: &[Rule] = &[
    ("logfs/format", &[]),
    ("bento/api", &[]),
    ("logfs", &["logfs/format", "bento/api"]),
    ("bento/memfs", &["bento/api"]),
    // What the back ends in user space share.
    ("bento/host", &["bento/api"]),
    ("bento/kernel", &["bento/api"]),
    ("bento/fuse", &["bento/api", "bento/host"]),
    ("bento/sim", &["bento/api", "bento/host"]),
    (
        "mkfs",
        &["logfs/format", "logfs", "bento/api", "bento/host"],
    ),
    (
        "fsck",
        &["logfs/format", "logfs", "bento/api", "bento/host"],
    ),
    // The module entry crates join the kernel's back end with a file system.
    (
        "kmod-shim/",
        &["bento/api", "bento/kernel", "logfs", "bento/memfs"],
    ),
    // The FUSE binaries do the same in user space.
    (
        "logfs/fuse",
        &["bento/api", "bento/host", "bento/fuse", "logfs"],
    ),
    (
        "bento/memfs/fuse",
        &["bento/api", "bento/host", "bento/fuse", "bento/memfs"],
    ),
    ("bench/sample", &[]),
    ("xtask", &["bench/sample", "xtask/init", "xtask/log_writes"]),
    ("xtask/init", &[]),
    ("xtask/log_writes", &[]),
];

/// Directories whose packages may be built from anything: nothing is built from them.
const FREE: &[&str] = &["tests/", "bench", "bench/micro"];

fn covers(pattern: &str, dir: &str) -> bool {
    pattern == dir || (pattern.ends_with('/') && dir.starts_with(pattern))
}

/// Packages that are built from one they must not know.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let dir = package.dir.as_str();
    let onto_free = |used: &&String| FREE.iter().any(|free| covers(free, used));
    let mut findings: Vec<_> = package
        .built_from
        .iter()
        .filter(onto_free)
        .filter(|used| **used != package.dir)
        .map(|used| format!("{dir} is built from {used}, which is for tests: move what it needs"))
        .collect();
    if FREE.iter().any(|free| covers(free, dir)) {
        return findings;
    }
    let Some((_, allowed)) = RULES.iter().find(|(pattern, _)| covers(pattern, dir)) else {
        findings.push(format!(
            "no rule says what {dir} may be built from: add one to tests/tidy/src/layering.rs"
        ));
        return findings;
    };
    let strangers = package
        .built_from
        .iter()
        .filter(|used| !onto_free(used) && !allowed.contains(&used.as_str()));
    findings.extend(strangers.map(|used| {
        let reason = if FILE_SYSTEMS.contains(&used.as_str()) {
            "only module entry crates, FUSE binaries, tools and tests know a file system"
        } else {
            "the layers in docs/DESIGN.md don't have that"
        };
        format!("{dir} is built from {used}: {reason}")
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tree::Package;

    fn findings(dir: &str, built_from: &[&str]) -> Vec<String> {
        check(&[Package {
            dir: dir.to_owned(),
            built_from: built_from.iter().map(|&dir| dir.to_owned()).collect(),
            crate_roots: Vec::new(),
        }])
    }

    #[test]
    fn the_layers_as_designed_pass() {
        assert!(findings("logfs", &["logfs/format", "bento/api"]).is_empty());
        assert!(findings("kmod-shim/logfs", &["bento/kernel", "logfs"]).is_empty());
        assert!(findings("tests/model", &["bento/sim", "logfs"]).is_empty());
    }

    #[test]
    fn a_back_end_that_knows_a_file_system_is_found() {
        assert_eq!(findings("bento/kernel", &["bento/api", "logfs"]).len(), 1);
        assert_eq!(findings("bento/sim", &["bento/memfs"]).len(), 1);
    }

    #[test]
    fn a_lower_layer_that_knows_a_higher_one_is_found() {
        assert_eq!(findings("logfs/format", &["logfs"]).len(), 1);
        assert_eq!(findings("logfs", &["bento/host"]).len(), 1);
        assert_eq!(findings("bento/api", &["logfs/format"]).len(), 1);
    }

    #[test]
    fn a_product_that_is_built_from_tests_is_found() {
        assert_eq!(findings("mkfs", &["tests/model"]).len(), 1);
        assert_eq!(findings("tests/model", &["tests/images"]).len(), 1);
    }

    #[test]
    fn a_package_without_a_rule_is_found() {
        assert_eq!(findings("surprise", &[]).len(), 1);
    }
}
