//! What has to be installed: Debian packages and rustup components.

use crate::command;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Install everything that the other commands need (apt packages, rustup components).
///
/// The other commands install what they need by themselves; this installs all of it at once.
/// Installing packages needs root.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name what is missing, and install nothing; exit status 1 if something is.
    #[arg(long)]
    dry_run: bool,
}

/// Something that is there if a file is, and comes with a Debian package if it is not.
pub(crate) struct Dependency {
    /// A file of the package, or a name to be found on PATH.
    file: &'static str,
    package: &'static str,
}

pub(crate) const fn dependency(file: &'static str, package: &'static str) -> Dependency {
    Dependency { file, package }
}

/// To compile anything.
pub(crate) const BUILD: &[Dependency] = &[dependency("cc", "gcc"), dependency("make", "make")];

/// Rustup's components; `rust-toolchain.toml` names them too, but a toolchain installed before
/// with the minimal profile may lack them.
const COMPONENTS: &[&str] = &["rustfmt", "clippy", "rust-src"];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let packages = missing_packages(BUILD);
    let components = missing_components()?;
    if arguments.dry_run {
        for name in packages.iter().chain(&components) {
            println!("{name}");
        }
        let complete = packages.is_empty() && components.is_empty();
        return Ok(if complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    need(BUILD)?;
    need_components()?;
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing of these.
pub(crate) fn need(dependencies: &[Dependency]) -> Result<()> {
    let missing = missing_packages(dependencies);
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    match dependencies
        .iter()
        .find(|dependency| !is_present(dependency.file))
    {
        Some(Dependency { file, package }) => {
            bail!(
                "{package} is installed, but {file} is still missing; look for it with `dpkg -L {package}`"
            )
        }
        None => Ok(()),
    }
}

/// Installs Debian packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    eprintln!("Installing Debian packages: {list}");
    // A failed update need not matter: the lists that are there may do.
    let _ = command::step("apt-get update", apt_get().arg("update"));
    command::step(
        "apt-get install",
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
    .map(drop)
    .with_context(|| {
        format!("cannot install {list}; install them as root (apt-get install {list}) and run this again")
    })
}

/// Installs the rustup components that are missing. Without rustup, whatever is installed has to do.
pub(crate) fn need_components() -> Result<()> {
    let missing = missing_components()?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Installing rustup components: {}", missing.join(" "));
    command::step(
        "rustup component add",
        Command::new("rustup")
            .args(["component", "add"])
            .args(&missing),
    )?;
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn missing_packages(dependencies: &[Dependency]) -> Vec<&'static str> {
    dependencies
        .iter()
        .filter(|dependency| !is_present(dependency.file))
        .map(|dependency| dependency.package)
        .collect()
}

fn missing_components() -> Result<Vec<&'static str>> {
    if !is_present("rustup") {
        return Ok(Vec::new());
    }
    let output = command::step(
        "rustup component list",
        Command::new("rustup").args(["component", "list", "--installed"]),
    )?;
    let installed = String::from_utf8_lossy(&output.stdout);
    Ok(COMPONENTS
        .iter()
        .copied()
        .filter(|component| !installed.lines().any(|line| line.starts_with(component)))
        .collect())
}

/// Whether a file exists: anywhere by its path, on PATH or among the system's own programs by its
/// name.
fn is_present(file: &str) -> bool {
    if file.starts_with('/') {
        return Path::new(file).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::{dependency, missing_packages};

    #[test]
    fn only_what_is_absent_is_missing() {
        let wanted = [
            dependency("sh", "dash"),
            dependency("/", "base-files"),
            dependency("no-such-program", "nothing"),
            dependency("/no/such/file", "nowhere"),
        ];
        assert_eq!(missing_packages(&wanted), ["nothing", "nowhere"]);
    }
}
