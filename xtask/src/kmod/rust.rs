//! The Rust side: a static library with its own `core` and `alloc`, linked into one object.

use super::Target;
use crate::command::{cargo, step};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What every kernel wants of its modules' code. With the bitcode embedded the whole program is
/// optimised as one (fat LTO), and nothing stays that objtool has to complain of.
const COMMON_FLAGS: &[&str] = &[
    "-Crelocation-model=static",
    "-Cforce-frame-pointers=yes",
    "-Cembed-bitcode=yes",
];

/// User-mode Linux loads modules far from itself.
const UML_FLAGS: &[&str] = &["-Ccode-model=large"];

/// No global offset table, which the module loader doesn't have; the mitigations that Debian's
/// kernels are built with; landing pads for indirect branches.
const STOCK_FLAGS: &[&str] = &[
    "-Ccode-model=kernel",
    "-Zplt=yes",
    "-Zdirect-access-external-data=yes",
    "-Zfunction-return=thunk-extern",
    "-Zretpoline",
    "-Zretpoline-external-thunk",
    "-Zcf-protection=branch",
    "--cfg=bento_stock_kernel",
];

const TRIPLE: &str = "x86_64-unknown-none";

/// The table that the C side looks for; all that it does not lead to is dropped.
const ENTRY: &str = "bento_fs_operations";

/// The crate whose functions the kernel has as well.
const BUILTINS: &str = "compiler_builtins-";

/// Builds the module crate of the file system `name` and puts it as `rust.o` into `dir`.
pub(super) fn build(workspace: &Workspace, target: Target, name: &str, dir: &Path) -> Result<()> {
    let package = format!("{name}-module");
    let kernel_flags = match target {
        Target::Uml | Target::UmlDebug => UML_FLAGS,
        Target::Stock | Target::Host => STOCK_FLAGS,
    };
    // Of its own: what cargo builds for another kernel or the host must not replace it.
    let target_dir = workspace
        .target()
        .join("kmod")
        .join(target.name())
        .join("rust");
    step(
        &format!("Building the Rust side of {name}.ko for {}", target.name()),
        cargo()
            .current_dir(workspace.root())
            .args([
                "build",
                "--release",
                "--package",
                &package,
                "--target",
                TRIPLE,
            ])
            .arg("-Zbuild-std=core,alloc,compiler_builtins")
            .env("CARGO_TARGET_DIR", &target_dir)
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", [COMMON_FLAGS, kernel_flags].concat().join(" ")),
    )?;
    let library = format!("lib{}.a", package.replace('-', "_"));
    let built = target_dir.join(TRIPLE).join("release").join(library);
    let library = dir.join("rust.a");
    fs::copy(&built, &library).with_context(|| format!("cannot copy {}", built.display()))?;
    drop_builtins(&library)?;
    link(target, &library, dir)
}

/// Takes out of a library what copies, fills and compares memory: the kernel's own functions do that
/// several times as fast where it is little, and under KASAN they find what goes wrong. Whatever else
/// would be missing then, modpost names.
fn drop_builtins(library: &Path) -> Result<()> {
    let list = step(
        "Listing the Rust library",
        Command::new("ar").arg("t").arg(library),
    )?;
    let list = String::from_utf8(list.stdout)?;
    let builtins = list.lines().filter(|name| name.starts_with(BUILTINS));
    step(
        "Dropping what the kernel has",
        Command::new("ar").arg("d").arg(library).args(builtins),
    )
    .map(drop)
}

/// Links the library into one object. An object that comes out the same is left alone, so that make
/// has nothing to do.
fn link(target: Target, library: &Path, dir: &Path) -> Result<()> {
    let new = dir.join("rust.new");
    let mut ld = Command::new("ld");
    ld.args(["-r", "--gc-sections", "-u", ENTRY]);
    // Stock kernels turn the modules' debug information into BTF, and pahole knows C only.
    if !target.is_uml() {
        ld.arg("--strip-debug");
    }
    ld.arg("--whole-archive").arg(library).arg("-o").arg(&new);
    step("Linking the Rust side", &mut ld)?;
    step(
        "Dropping the bitcode",
        Command::new("objcopy")
            .args(["-R", ".llvmbc", "-R", ".llvmcmd"])
            .arg(&new),
    )?;
    let object = dir.join("rust.o");
    if fs::read(&object).ok() == fs::read(&new).ok() {
        fs::remove_file(&new)?;
    } else {
        fs::rename(&new, &object).with_context(|| format!("cannot write {}", object.display()))?;
    }
    // Kbuild wants to know how it was made, and that it need not make it.
    fs::write(dir.join(".rust.o.cmd"), "")?;
    Ok(())
}
