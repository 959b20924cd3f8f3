//! The `lockside` command. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockside::cli::main(lockside::app::run)
}
