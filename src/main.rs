//! The `lockside` command. Everything it does is in the library.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    lockside::cli::main(|_settings| {
        let _ = writeln!(std::io::stderr(), "lockside: serving clients is not wired in yet");
        ExitCode::FAILURE
    })
}
