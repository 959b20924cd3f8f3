//! The ledger in a Google spreadsheet, for sidecars that share nothing else.
//!
//! Each log is a hidden tab of its own that only its owner writes; the entry of a number stands in a fixed
//! row, so writing it again, or its late arrival, changes nothing. (Google's ways to append choose the
//! row themselves, and lose rows when several writers append at once.) A registry tab lists the logs. An
//! exchange is one `batchUpdate`, which Google applies as a whole: it writes the own rows, and its answer
//! has the registry and what is new of every log (`exchange` says when that counts). Tabs are found by their
//! ids, which renaming and moving do not change; every cell is text.
//!
//! Such a store has no order: its claims are decided by who wrote them (SPEC 8). What that rests on, that of
//! two batches at least one shows the other's rows, is not documented by Google.
//!
//! Errors say whether the rows may be there. What Google refuses before it looks (400 to 404, 429) and what
//! was never sent is not applied; a 408, a 5xx, a time-out, a connection or an answer that broke off is
//! unknown, and the same rows are handed in again. Texts have no tokens, keys or values in them.
//!
//! Reading order: `settings`; `cells` (entries as text), `registry`, `logs`, `state` (what is known; all
//! pure); `errors`, `quota`, `auth`, `requests`, `api` (Google); `open`, `exchange`, `checkpoint` (the store);
//! `projection` (the tab that people look at); `meter`, `probe` (is it as it has to be?).

use std::collections::VecDeque;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Ask;
use super::entry::{Row, Start};
use super::fold::Snapshot;
use super::store::{OpenError, Seen, Store, StoreError, Truth, key_of};
use crate::lock::record::LockKey;

mod api;
mod auth;
mod cells;
mod checkpoint;
mod errors;
mod exchange;
mod logs;
mod meter;
mod open;
pub mod probe;
pub mod projection;
mod quota;
mod registry;
mod requests;
mod settings;
mod snapshot;
mod state;
mod survey;

use api::Api;
use projection::Projector;
pub use quota::{Pace, Quota, RealPace};
pub use settings::{Credentials, GOOGLE, Settings, checked_url};
use state::State;
pub use survey::Survey;

/// Rows that are kept in memory for [`Store::history`]; past that the oldest goes.
const HISTORY: usize = 10_000;
/// Ids of logs' tabs begin here; those of registries lie below.
const FIRST_LOG: u64 = 1 << 20;
/// Ids of registries begin here.
const FIRST_REGISTRY: u64 = 1 << 16;
/// Ids of tabs by which cells of people are written begin here.
const FIRST_SIEVE: u64 = 1 << 15;
/// Ids end here: Google's are positive numbers of 32 bits.
const LAST: u64 = (1 << 31) - 1;

/// A ledger in a spreadsheet.
///
/// Blocks while Google is asked, on a runtime of its own: not to be used on a thread that drives another
/// tokio runtime.
#[derive(Debug)]
pub struct Sheets {
    settings: Settings,
    /// Until it is used.
    pace: Option<Box<dyn Pace>>,
    api: Option<Api>,
    state: State,
    log: Option<u64>,
    start: Option<Start>,
    /// The last rows that were read, oldest first, for questions about one lock: from memory, since
    /// people ask most when Google does not answer, and reading all tabs again costs quota.
    recent: VecDeque<Row>,
    /// Own rows may be in the sheet that were not read back yet.
    is_doubtful: bool,
    /// What people see, where that is set up.
    projector: Option<Projector>,
    /// Tabs of checkpoints of this run, which are to go if they were not finished.
    rubbish: Vec<i32>,
}

impl Sheets {
    /// A ledger under these settings. Nothing is read or asked before [`Store::open`].
    pub fn new(settings: Settings) -> Self {
        Self::with_pace(settings, Box::new(RealPace::default()))
    }

    /// The same, with another clock and another way to wait: for tests that must not sleep.
    pub fn with_pace(settings: Settings, pace: Box<dyn Pace>) -> Self {
        Self {
            settings,
            pace: Some(pace),
            api: None,
            state: State::default(),
            log: None,
            start: None,
            recent: VecDeque::new(),
            is_doubtful: false,
            projector: None,
            rubbish: Vec::new(),
        }
    }

    /// The same, with a tab of the spreadsheet that shows people who holds what.
    #[must_use]
    pub fn with_projection(self, setup: projection::Setup) -> Self {
        Self { projector: Some(Projector::new(setup)), ..self }
    }

    /// What a tab is called when it is made; people may rename it.
    fn titles(&self) -> impl Fn(i32) -> String + use<> {
        let ledger = self.settings.ledger.clone();
        move |tab| format!("{ledger} log {tab}")
    }

    fn registry_title(&self) -> String {
        format!("{} registry", self.settings.ledger)
    }

    /// The id of the registry's tab: the ledger's name says it, so all sidecars find the same one.
    fn registry_tab(&self) -> i32 {
        let hash = Sha256::digest(self.settings.ledger.as_bytes());
        let number = u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]));
        id(FIRST_REGISTRY + number % (FIRST_LOG - FIRST_REGISTRY))
    }

    /// Remembers rows for questions.
    fn keep(&mut self, rows: &[Row]) {
        self.recent.extend(rows.iter().cloned());
        let over = self.recent.len().saturating_sub(HISTORY);
        let gone: Vec<_> = self.recent.drain(..over).collect();
        if let Some(projector) = self.projector.as_mut().filter(|_| over > 0) {
            projector.read_past(&gone, &self.recent);
        }
    }
}

/// A tab's id of a number that is one.
fn id(number: u64) -> i32 {
    i32::try_from(number.min(LAST)).unwrap_or(i32::MAX)
}

impl Store for Sheets {
    fn is_ordered(&self) -> bool {
        false
    }

    fn open(&mut self, start: &Start) -> Result<u64, OpenError> {
        self.opened(start)
    }

    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        self.exchanged(own)
    }

    /// Writes the snapshot into a tab of its own, goes on with the own log in a new tab, and removes the
    /// tabs of logs that have ended and are wholly in the snapshot. Tabs of logs that ended without a word
    /// (a crash) stay.
    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.compacted(snapshot)
    }

    fn share(&mut self, sidecars: usize) {
        if let Some(api) = &mut self.api {
            api.share(sidecars);
        }
    }

    fn rest(&mut self, writes: bool) -> Duration {
        let kind = if writes { quota::Kind::Write } else { quota::Kind::Read };
        self.api.as_mut().map_or(Duration::ZERO, |api| api.missing(kind))
    }

    fn history(&mut self, key: &LockKey, count: usize) -> Result<Vec<Row>, StoreError> {
        let on_key = |row: &&Row| key_of(&row.entry) == Some(key);
        let mut last: Vec<_> =
            self.recent.iter().rev().filter(on_key).take(count).cloned().collect();
        last.reverse();
        Ok(last)
    }

    fn project(&mut self, truth: &Truth<'_>) -> Result<Vec<Ask>, StoreError> {
        let (Some(projector), Some(api)) = (&mut self.projector, &mut self.api) else {
            return Ok(Vec::new());
        };
        projector.project(api, &self.settings, &self.recent, truth)
    }

    fn has_more_to_project(&self) -> bool {
        self.projector.as_ref().is_some_and(Projector::has_more)
    }
}

#[cfg(test)]
mod tests;
