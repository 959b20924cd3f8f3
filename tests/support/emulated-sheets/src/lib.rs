//! The Google Sheets API v4, emulated: for tests, and to try things out without Google.
//!
//! It is written from Google's documentation and discovery document, and from what people published of
//! Google's answers; not from what any client here happens to send. It serves the REST methods of
//! `spreadsheets`, `spreadsheets.values` and `spreadsheets.developerMetadata` over plain HTTP, gives out
//! tokens (JWT bearer grant, metadata server), keeps quotas, takes its time if told to, and goes wrong on
//! demand. Google's servers are not here: where the documentation is silent ([`Rules`], texts of rare
//! errors), this is a guess that says so.
//!
//! Reading order: `error`, `messages`, `mask`, `a1` (the language of the API); `cell`, `sheet`, `book`,
//! `metadata` (what is kept); `values`, `batch`, `render`, `api` (what calls do to it: pure); `clock`, `random`,
//! `quota`, `fault`, `journal`, `tokens`, `person`, `world` (the state); `service`, `control`, `server` (HTTP).
//!
//! ```no_run
//! let emulator = emulated_sheets::Emulator::start(Default::default())?;
//! println!("{} {}", emulator.base_url(), emulator.spreadsheet_id());
//! # Ok::<(), std::io::Error>(())
//! ```

mod a1;
mod api;
mod batch;
mod book;
mod cell;
mod clock;
mod control;
mod emulator;
mod error;
mod fault;
mod format;
mod formula;
mod input;
mod journal;
mod mask;
mod messages;
mod metadata;
mod person;
mod quota;
mod random;
mod render;
mod save;
mod server;
mod service;
mod sheet;
mod tokens;
mod values;
mod world;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use control::HELP;
pub use emulator::Emulator;
pub use error::ApiError;
pub use fault::{Fault, Kind, Target};
pub use journal::{Entry, Minute};
pub use person::Act;
pub use quota::Quota;
pub use random::Latency;

pub(crate) use emulator::{share, type_values};

/// What the documentation leaves open, and a test may want either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// True if metadata of rows goes with them when they are sorted, as two reports say; else it stays at
    /// its place.
    pub metadata_follows_sort: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { metadata_follows_sort: true }
    }
}

/// How an emulator starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 is any free one. There is no protection: stay on the own machine.
    pub listen: SocketAddr,
    /// The id of its spreadsheet.
    pub spreadsheet: String,
    /// The title of its spreadsheet.
    pub title: String,
    /// The locale: says how typed dates are read (`es_CL`: day first) and shown.
    pub locale: String,
    /// Service accounts, all of them editors of the spreadsheet.
    pub accounts: usize,
    /// Calls a minute.
    pub quota: Quota,
    /// How long calls take; none for not at all.
    pub latency: Option<Latency>,
    /// What everything random follows from.
    pub seed: u64,
    /// True for a clock that stands still until [`Emulator::advance`]: then nothing waits but for that.
    pub manual_clock: bool,
    /// What the documentation leaves open.
    pub rules: Rules,
    /// How long a token lasts.
    pub token_lifetime: Duration,
    /// A file that keeps the spreadsheets: read at the start, written after changes.
    pub save: Option<PathBuf>,
}

impl Default for Options {
    /// For tests: a free port, one account, Google's quotas, no latency.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            spreadsheet: "1EmulatedSpreadsheet_0000000000000000000000".to_owned(),
            title: "Emulated spreadsheet".to_owned(),
            locale: "en_US".to_owned(),
            accounts: 1,
            quota: Quota::default(),
            latency: None,
            seed: 1,
            manual_clock: false,
            rules: Rules::default(),
            token_lifetime: Duration::from_secs(3600),
            save: None,
        }
    }
}
