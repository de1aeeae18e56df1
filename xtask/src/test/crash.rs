//! The short form of `cargo xtask crash`.

use super::checks::Checks;
use crate::command;
use crate::counts::Counts;
use crate::crash;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};

/// Crash states to judge, and for how long at most: on a busy machine there are fewer.
const STATES: &str = "--states=60000";
const MINUTES: &str = "--minutes=0.6";

pub(super) fn states_and_mutants(workspace: &Workspace) -> Result<Counts> {
    let mut checks = Checks::default();
    let mut check = |name: &str, options: &[&str]| {
        checks.check(name, || {
            // One build serves both: as long as none is planted, bugs on purpose do nothing.
            let mut program = crash::program(workspace, true);
            let held = command::show(program.args(options))?;
            ensure!(held, "see above");
            Ok(())
        });
    };
    check("power cuts lose nothing", &[STATES, MINUTES]);
    check("every bug on purpose is found", &["--mutants"]);
    Ok(checks.counts())
}
