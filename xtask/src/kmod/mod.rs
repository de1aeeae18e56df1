//! `cargo xtask kmod`: the kernel modules.
//!
//! A module is C from `kmod-shim`, built by the kernel's own Kbuild, and (but for `bento.ko`) a
//! Rust crate that is linked into a single object beforehand. Nothing is built in the source tree.

mod frames;
mod modinfo;
mod relocation;
mod rust;
mod shim;

use crate::command::step;
use crate::deps::{self, Dependency, dependency};
use crate::kernel::uml::Flavour;
use crate::kernel::{Installed, Kernel, host, stock, uml};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Build the kernel modules: bento.ko, and one for each file system.
///
/// They are put into kmod/KERNEL in cargo's target directory, and their paths printed in the order
/// in which they have to be loaded.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The kernel to build for
    #[arg(long, value_enum, default_value_t = Target::Stock)]
    kernel: Target,

    /// Build only this file system's module beside bento.ko; can be given more than once [default:
    /// all but those for tests and benchmarks]
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
}

/// What modules are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Debian's own 6.12
    Stock,
    /// User-mode Linux 6.12
    Uml,
    /// The same with KASAN, lockdep and kmemleak
    UmlDebug,
    /// The kernel that is running here
    Host,
}

impl From<Kernel> for Target {
    fn from(kernel: Kernel) -> Target {
        match kernel {
            Kernel::Stock => Target::Stock,
            Kernel::Uml => Target::Uml,
            Kernel::UmlDebug => Target::UmlDebug,
        }
    }
}

impl Target {
    fn is_uml(self) -> bool {
        matches!(self, Target::Uml | Target::UmlDebug)
    }

    fn name(self) -> &'static str {
        match self {
            Target::Stock => "stock",
            Target::Uml => "uml",
            Target::UmlDebug => "uml-debug",
            Target::Host => "host",
        }
    }

    fn find(self) -> Result<Installed> {
        match self {
            Target::Stock => stock::find_or_install(),
            Target::Uml => uml::find_or_build(Flavour::Plain),
            Target::UmlDebug => uml::find_or_build(Flavour::Debug),
            Target::Host => host::find_or_install(),
        }
    }
}

/// A finished module.
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// The names of the modules that must be loaded before it, ours and the kernel's.
    pub(crate) depends: Vec<String>,
}

impl Module {
    /// Whether this is the module that others depend on by this name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.file.file_stem().is_some_and(|stem| stem == name)
    }
}

/// What it takes to build modules, beside the kernel.
pub(crate) const BUILD: &[Dependency] = &[
    dependency("cc", "gcc"),
    dependency("make", "make"),
    dependency("ld", "binutils"),
    // bindgen's; the library's place depends on its version, dpkg's record does not.
    dependency("/var/lib/dpkg/info/libclang-dev.list", "libclang-dev"),
];

/// Modules that nobody gets who has not asked for them by name.
const ONLY_IF_NAMED: &[&str] = &["faulty", LATENCY];

/// The module that makes a device slow, for benchmarks: it is no file system, and has no Rust in it.
pub(crate) const LATENCY: &str = "latency";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    for module in build(&workspace, arguments.kernel, &arguments.module)? {
        println!("{}", module.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the tree has kernel modules.
pub(crate) fn is_there(workspace: &Workspace) -> bool {
    workspace.root().join("kmod-shim/Kbuild").exists()
}

/// Builds the modules of the file systems in `only` (if it is empty, all but those for tests and
/// benchmarks),
/// and returns their files in the order in which they have to be loaded.
pub(crate) fn build(workspace: &Workspace, target: Target, only: &[String]) -> Result<Vec<Module>> {
    deps::need(BUILD)?;
    deps::need_components()?;
    let kernel = target.find()?;
    let out = workspace.target().join("kmod").join(target.name());
    let tree = out.join("build");
    fs::create_dir_all(&tree)?;
    let lock = File::create(out.join("lock"))?;
    lock.lock().context("cannot lock the modules' directory")?;

    let names = module_names(workspace, only)?;
    shim::copy(&workspace.root().join("kmod-shim"), &tree)?;
    for name in names.iter().filter(|name| *name != LATENCY) {
        rust::build(workspace, target, name, &tree.join(name))?;
    }
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&kernel.build_dir)
        .arg(format!("M={}", tree.display()));
    if target.is_uml() {
        make.arg("ARCH=um");
    }
    step(
        &format!("Building the modules for {}", kernel.release),
        make.arg(format!("BENTO_MODULES={}", names.join(" ")))
            .arg("modules"),
    )?;
    std::iter::once("bento")
        .chain(names.iter().map(String::as_str))
        .map(|name| publish(&tree, &out, name))
        .collect()
}

/// The modules that there are beside bento.ko, in a stable order.
fn module_names(workspace: &Workspace, only: &[String]) -> Result<Vec<String>> {
    let mut names: Vec<_> = workspace
        .package_names()
        .filter_map(|package| package.strip_suffix("-module").map(str::to_owned))
        .chain([LATENCY.to_owned()])
        .collect();
    names.sort();
    if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
        anyhow::bail!(
            "there is no module {unknown}; there are: {}",
            names.join(", ")
        );
    }
    names.retain(|name| match only {
        [] => !ONLY_IF_NAMED.contains(&name.as_str()),
        only => only.contains(name),
    });
    Ok(names)
}

/// Checks a finished module and puts it where it is looked for.
fn publish(tree: &Path, out: &Path, name: &str) -> Result<Module> {
    let file_name = format!("{name}.ko");
    let built = tree.join(name).join(&file_name);
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    relocation::check(&bytes)
        .with_context(|| format!("the kernel would not load {}", built.display()))?;
    frames::check(&bytes)
        .with_context(|| format!("the stack may not be enough for {}", built.display()))?;
    let file = out.join(&file_name);
    let unfinished = out.join(format!("{file_name}.unfinished"));
    fs::write(&unfinished, &bytes)?;
    fs::rename(&unfinished, &file)?;
    let depends = modinfo::depends(&bytes)?;
    Ok(Module { file, depends })
}
