//! A real Lockside whose ledger is a spreadsheet, at an emulated Google and a real redis-server: what
//! docs/sheets.md promises.

mod away;
mod check;
mod fleet;
mod outage;
mod people;
mod probe;
mod quota;
mod start;

use std::sync::Arc;

use emulated_sheets::{Emulator, Options, Quota};
use tempfile::TempDir;

use crate::support::lockside::command;
use crate::support::process::{Process, directory, free_port};
use crate::support::{Redis, Settings, wait_until};

/// Times of a ledger that answers in milliseconds, so that no test waits for what a real one needs.
pub(crate) const SOON: &str = "mirror_interval = \"300ms\"\npoll = \"150ms\"\nheartbeat = \"1s\"\n\
                    acquire_timeout = \"5s\"\nwrites_a_minute = 60000\nreads_a_minute = 60000\n";

/// A Lockside that may end by itself.
fn launch(redis: &Redis, tables: &str, folder: &TempDir) -> Process {
    let config = folder.path().join("l.toml");
    let settings = Settings { tables, ..Settings::default() };
    std::fs::write(&config, settings.text(free_port(), &redis.url())).unwrap();
    let mut command = command();
    command.arg("--config").arg(&config).env("LOCKSIDE_STATE_DIR", folder.path().join("state"));
    Process::start_in("lockside", &mut command, directory("launched").into())
}

/// A spreadsheet of its own, and a key for it.
pub(crate) struct Sheet {
    pub(crate) google: Arc<Emulator>,
    folder: TempDir,
}

impl Sheet {
    /// Without quota.
    pub(crate) fn new() -> Self {
        Self::with(Quota::unlimited())
    }

    fn with(quota: Quota) -> Self {
        Self::of(Options { quota, ..Options::default() })
    }

    /// As the options say, with a key for each account.
    pub(crate) fn of(options: Options) -> Self {
        let accounts = options.accounts.max(1);
        let google = Emulator::start(options).unwrap();
        let folder = directory("key");
        for account in 1..=accounts {
            let name = if account == 1 { "key.json".into() } else { format!("key-{account}.json") };
            std::fs::write(folder.path().join(name), google.key(account).to_string()).unwrap();
        }
        Self { google: Arc::new(google), folder }
    }

    fn key_file(&self) -> String {
        self.folder.path().join("key.json").display().to_string()
    }

    /// As `table`, with another account than the first.
    pub(crate) fn table_of(&self, account: usize, lines: &str) -> String {
        let file = self.folder.path().join(format!("key-{account}.json"));
        if account == 1 {
            return self.table(lines);
        }
        format!("{}credentials = \"{}\"\n{lines}", self.anonymous(), file.display())
    }

    /// The configuration's table of the ledger; `lines` may be more of it.
    pub(crate) fn table(&self, lines: &str) -> String {
        format!("{}credentials = \"{}\"\n{lines}", self.anonymous(), self.key_file())
    }

    /// The same without credentials.
    fn anonymous(&self) -> String {
        format!(
            "[ledger]\nkind = \"sheets\"\nspreadsheet = \"https://docs.google.com/spreadsheets/d/{}/edit\"\n\
             api_url = \"{}\"\n",
            self.google.spreadsheet_id(),
            self.google.base_url()
        )
    }

    /// All rows of all logs.
    pub(crate) fn rows(&self) -> Vec<String> {
        let tabs = self.google.tabs();
        let titles = tabs.iter().filter_map(|tab| tab["title"].as_str());
        let logs = titles.filter(|title| title.starts_with("lockside log "));
        let rows = logs.flat_map(|log| self.google.look(&format!("'{log}'!A2:E")).unwrap());
        rows.map(|cells| cells.join(" | ")).collect()
    }

    /// Waits until a log has a row with all these words.
    fn wait_row(&self, words: &[&str]) {
        wait_until(&format!("a row with {words:?}"), || {
            self.rows().iter().any(|row| words.iter().all(|word| row.contains(word)))
        });
    }
}
