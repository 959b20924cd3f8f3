//! The Google Sheets API on this machine: a spreadsheet, service accounts, quotas, latency and faults,
//! without Google. What it does is in `tests/support/emulated-sheets`; here is only its command line.
//!
//! ```text
//! cargo run --example sheets-emulator -- --help
//! ```

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use emulated_sheets::{Emulator, Latency, Options, Quota};

/// The Google Sheets API v4, emulated on this machine.
///
/// Prints the address that takes the place of https://sheets.googleapis.com/, the spreadsheet's id, and where
/// it has put a service-account key for it. Any client of the API can be pointed at it by the two. It is plain
/// HTTP without protection: it listens on 127.0.0.1 unless told otherwise, and should.
#[derive(Parser)]
#[command(name = "sheets-emulator", after_help = AFTER)]
struct Arguments {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 9431)]
    port: u16,

    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,

    /// Keep the spreadsheet in this file: read at the start, written after changes
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Where to write the service-account key; with more accounts -2, -3, … come before its extension
    #[arg(long, value_name = "FILE", default_value = "sheets-emulator-key.json")]
    key: PathBuf,

    /// Service accounts, each with a key and a quota of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    accounts: u16,

    /// Answer at once, instead of after 0.25 s (reads) and 0.8 s (writes) in the median
    #[arg(long)]
    fast: bool,

    /// No quota, instead of 60 reads and 60 writes a minute for each account and 300 for the project
    #[arg(long)]
    no_quota: bool,

    /// Locale of the spreadsheet: how dates are read that people type (es_CL: the day first)
    #[arg(long, default_value = "en_US")]
    locale: String,

    /// Id of the spreadsheet
    #[arg(long, value_name = "ID")]
    spreadsheet: Option<String>,

    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const AFTER: &str = "\
While it runs:
  curl http://127.0.0.1:9431/_emulator/                    what can be set: faults, quotas, a person
  curl 'http://127.0.0.1:9431/_emulator/table'             the first tab as text
  curl -X PUT 'http://127.0.0.1:9431/_emulator/table?range=B2' -d 'DISPONIBLE'
                                                           type into a cell, as a person would
  curl http://127.0.0.1:9431/_emulator/faults -d '{\"on\": \"writes\", \"kind\": \"cut_after\"}'
                                                           lose the answer of the next write
  curl http://127.0.0.1:9431/_emulator/minutes             calls by the minute

The key is the same for everybody and stands in a public repository: it protects nothing.";

impl Arguments {
    fn options(&self) -> Options {
        let default = Options::default();
        Options {
            listen: SocketAddr::new(self.address, self.port),
            spreadsheet: self.spreadsheet.clone().unwrap_or(default.spreadsheet),
            locale: self.locale.clone(),
            accounts: usize::from(self.accounts),
            quota: if self.no_quota { Quota::unlimited() } else { Quota::default() },
            latency: (!self.fast).then(Latency::default),
            seed: self.seed,
            save: self.save.clone(),
            ..default
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sheets-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let emulator = Emulator::start(arguments.options()).map_err(|error| {
        let place = SocketAddr::new(arguments.address, arguments.port);
        io::Error::new(error.kind(), format!("{place}: {error}"))
    })?;
    let mut out = io::stdout();
    writeln!(out, "base URL     {}", emulator.base_url())?;
    writeln!(out, "spreadsheet  {}", emulator.spreadsheet_id())?;
    for account in 1..=usize::from(arguments.accounts) {
        let file = key_file(&arguments.key, account);
        std::fs::write(&file, format!("{:#}\n", emulator.key(account))).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", file.display()))
        })?;
        writeln!(out, "key          {} ({})", file.display(), emulator.account(account))?;
    }
    writeln!(out, "control      {}_emulator/", emulator.base_url())?;
    writeln!(out, "ready; Ctrl-C ends it")?;
    out.flush()?;
    until_told()
}

/// `key.json` for the first account, `key-2.json` for the second.
fn key_file(path: &Path, account: usize) -> PathBuf {
    if account == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let dot = if extension.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}-{account}{dot}{extension}"))
}

/// Waits for SIGINT or SIGTERM. The emulator is dropped behind it, and writes its file.
fn until_told() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
