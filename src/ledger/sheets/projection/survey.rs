//! A look at the tab for people without writing anything: for `lockside check`.

use std::time::Duration;

use super::moves::Projector;
use super::place;
use crate::ledger::sheets::api::{Api, Ask};
use crate::ledger::sheets::errors::Failure;

/// What was found of the tab for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TabSurvey {
    /// Lockside's own tab, which it will make.
    ToBeMade,
    /// A tab with the columns that are configured.
    There {
        /// Its title.
        title: String,
        /// Rows with a key.
        rows: usize,
        /// Workers in the look-up tab, where there is one.
        workers: Option<usize>,
    },
}

impl Projector {
    /// Reads the tab once.
    ///
    /// # Errors
    /// Which tab or column is missing, and which are there.
    pub(in crate::ledger::sheets) fn survey(
        &mut self,
        api: &mut Api,
        ledger: &str,
        patience: &mut Duration,
    ) -> Result<TabSurvey, Failure> {
        let tabs = api.call(&Ask::Tabs, true, patience)?;
        let Some(place) = place::seek(&tabs, &self.terms, ledger)? else {
            return Ok(TabSurvey::ToBeMade);
        };
        if tabs.get(&place.tab).is_some_and(|tab| tab.rows < 2) {
            return Ok(TabSurvey::There { title: place.title, rows: 0, workers: None });
        }
        let (title, has_lookup) = (place.title.clone(), place.lookup.is_some());
        self.place = Some(place);
        self.read_once(api, ledger, patience)?;
        let rows = self.grid.as_ref().map_or(0, |grid| grid.lines.len());
        Ok(TabSurvey::There { title, rows, workers: has_lookup.then_some(self.names.len()) })
    }
}
