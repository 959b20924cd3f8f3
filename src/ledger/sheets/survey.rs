//! A look at the spreadsheet without a log of one's own: is it there, may it be written, what does the
//! ledger hold. For `lockside check` and `lockside ledger export`.

use std::time::{Duration, Instant};

use super::api::{Api, Ask};
use super::open::{check_all_terms, registered};
use super::projection::TabSurvey;
use super::state::State;
use super::{FIRST_LOG, LAST, RealPace, Sheets, id, requests};
use crate::ledger::entry::Start;
use crate::ledger::store::{OpenError, Seen, StoreError};

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// The account's address, where the credentials have it.
    pub account: Option<String>,
    /// Tabs of the spreadsheet.
    pub tabs: usize,
    /// What the ledger holds; none where there is none yet.
    pub seen: Option<Seen>,
    /// Logs in it that have not ended: of sidecars that run, or that have crashed.
    pub logs: usize,
    /// How long a read took.
    pub read: Duration,
}

impl Sheets {
    /// Reads the ledger, as somebody who would go on with it under these terms.
    ///
    /// # Errors
    /// As [`crate::ledger::store::Store::open`].
    pub fn survey(&mut self, start: &Start) -> Result<Survey, OpenError> {
        let mut patience = self.settings.patience;
        let (registry, title) = (self.registry_tab(), self.registry_title());
        let api = self.connected()?;
        let account = api.account();
        let (tabs, read) = timed(|| api.call(&Ask::Tabs, true, &mut patience));
        let tabs = tabs.map_err(StoreError::from)?;
        let count = tabs.len();
        let Some(tab) = tabs.get(&registry) else {
            return Ok(Survey { account, tabs: count, seen: None, logs: 0, read });
        };
        let view = api.call(&Ask::Read(vec![(registry, 0)]), true, &mut patience);
        check_all_terms(&registered(&view.map_err(StoreError::from)?, registry)?, start)?;
        let registry_title = if tab.title.is_empty() { title } else { tab.title.clone() };
        self.state = State { registry_tab: registry, registry_title, ..State::default() };
        let seen = self.in_rounds(&[])?;
        let logs = self.state.tails.values().filter(|tail| !tail.ended).count();
        Ok(Survey { account, tabs: count, seen: Some(seen), logs, read })
    }

    /// Makes a tab and removes it, in one batch that nobody sees a trace of: how long that takes.
    ///
    /// # Errors
    /// Why it can't be written, in words that say what to do.
    pub fn try_to_write(&mut self) -> Result<Duration, OpenError> {
        let mut patience = self.settings.patience;
        let ledger = self.settings.ledger.clone();
        let api = self.connected()?;
        let tab = id(FIRST_LOG + api.random() % (LAST + 1 - FIRST_LOG));
        let title = format!("{ledger} check {tab}");
        let mut batch = requests::tab(tab, &title, (1, 1), &[]);
        batch.push(requests::delete(tab));
        let (written, took) =
            timed(|| api.call(&Ask::Write(batch, Vec::new()), false, &mut patience));
        written.map_err(StoreError::from)?;
        Ok(took)
    }

    /// Reads the tab that people look at, as it is configured.
    ///
    /// # Errors
    /// Which tab or column is missing, and which are there.
    pub fn survey_projection(&mut self) -> Result<Option<TabSurvey>, OpenError> {
        let Some(mut projector) = self.projector.take() else { return Ok(None) };
        let (mut patience, ledger) = (self.settings.patience, self.settings.ledger.clone());
        let found = projector.survey(self.connected()?, &ledger, &mut patience);
        Ok(Some(found.map_err(StoreError::from)?))
    }

    /// What calls are made by. Nobody is asked yet: what is wrong here is so until somebody changes it.
    pub(super) fn connected(&mut self) -> Result<&mut Api, OpenError> {
        let api = match self.api.take() {
            Some(api) => api,
            None => {
                let pace = self.pace.take().unwrap_or_else(|| Box::new(RealPace::default()));
                let made = Api::new(&self.settings, pace);
                made.map_err(|failure| OpenError::Mismatch(failure.text))?
            }
        };
        Ok(self.api.insert(api))
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}
