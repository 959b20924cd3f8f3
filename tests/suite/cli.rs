//! The command line and signals: bad configurations, `check`, questions to a running Lockside,
//! the orderly end.

mod adopt;
mod advice;
mod asks;
mod check;
mod ledger;
mod start;

use std::process::Output;

use crate::support::lockside::command;
use crate::support::process::{Process, directory};

/// Exit code for a wrong configuration or usage, as in sysexits.h.
const USAGE: i32 = 64;

/// Runs a command line of Lockside to its end.
fn run(arguments: &[&str]) -> Output {
    let state = directory("cli");
    command().args(arguments).env("LOCKSIDE_STATE_DIR", state.path()).output().unwrap()
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// A command line beside the settings of this sidecar.
fn beside(process: &Process, arguments: &[&str]) -> Output {
    let mut asking = command();
    asking.args(arguments).arg("--config").arg(process.path("lockside.toml"));
    asking.env("LOCKSIDE_STATE_DIR", process.path("state")).output().unwrap()
}
