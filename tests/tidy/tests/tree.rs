//! The checks, on this source tree.
#![forbid(unsafe_code)]

use std::fs;
use tidy::{Finding, layering, manifest, source, tree};

fn assert_clean(findings: &[Finding]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

fn packages() -> Vec<tree::Package> {
    let packages = tree::packages(&tree::root()).expect("cargo describes the workspace");
    assert!(packages.iter().any(|package| package.dir == "bento/api"));
    packages
}

/// The text files of the tree: name and contents.
fn texts() -> Vec<(String, String)> {
    let root = tree::root();
    let files = tree::files(&root).expect("git lists the tree");
    assert!(files.iter().any(|file| file == "Cargo.toml"));
    files
        .into_iter()
        .filter_map(|file| Some((fs::read_to_string(root.join(&file)).ok()?, file)))
        .map(|(text, file)| (file, text))
        .collect()
}

#[test]
fn packages_know_only_the_layers_below_them() {
    assert_clean(&layering::check(&packages()));
}

#[test]
fn unsafe_code_stays_at_the_kernel_boundary() {
    let root = tree::root();
    let findings: Vec<_> = packages()
        .iter()
        .flat_map(|package| &package.crate_roots)
        .filter_map(|file| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            source::check_unsafe(file, &text)
        })
        .collect();
    assert_clean(&findings);
}

#[test]
fn source_files_are_short() {
    let findings: Vec<_> = texts()
        .iter()
        .filter_map(|(file, text)| source::check_length(file, text))
        .collect();
    assert_clean(&findings);
}

#[test]
fn what_runs_in_the_kernel_sorts_without_recursion() {
    let findings: Vec<_> = texts()
        .iter()
        .flat_map(|(file, text)| source::check_sorts(file, text))
        .collect();
    assert_clean(&findings);
}

#[test]
fn no_file_holds_a_path_of_one_machine() {
    let findings: Vec<_> = texts()
        .iter()
        .flat_map(|(file, text)| source::check_paths(file, text))
        .collect();
    assert_clean(&findings);
}

#[test]
fn every_package_takes_its_settings_from_the_workspace() {
    let findings: Vec<_> = texts()
        .iter()
        .filter(|(file, _)| file.ends_with("/Cargo.toml"))
        .flat_map(|(file, text)| manifest::check(file, text))
        .collect();
    assert_clean(&findings);
}
