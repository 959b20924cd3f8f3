//! What a group of the ledger has to do with cells: rows of them ride along in its batch, and while Redis is away its
//! claims ask the cells of their locks, in the answer of that same batch.

use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};

use super::Mode;
use super::look;
use super::moves::Projector;
use super::past::Remnants;
use crate::ledger::entry::{Entry, IN_SHEET, Row};
use crate::ledger::sheets::api::{Api, Ask, Tab, View};
use crate::ledger::sheets::cells::Cell;
use crate::ledger::sheets::errors::Failure;
use crate::ledger::sheets::settings::Settings;
use crate::lock::record::LockKey;

/// Rows that one group asks for, at most; locks of further claims are not asked for.
const MOST_ROWS: usize = 200;

/// Which rows the claims of a group ask for, and what these have said.
pub(in crate::ledger::sheets) struct Question {
    /// The lock, its key's cell, and the row.
    rows: Vec<(LockKey, String, usize)>,
    ranges: Vec<String>,
    tab: i32,
    said: Option<Tab>,
}

impl Question {
    /// Nothing is asked while Redis decides. The first claim of a run may come before the tab was read: then it
    /// is read now.
    pub(in crate::ledger::sheets) fn of(
        projector: Option<&mut Projector>,
        api: &mut Api,
        settings: &Settings,
        own: &[Row],
    ) -> Self {
        let none = Self { rows: Vec::new(), ranges: Vec::new(), tab: 0, said: None };
        let Some(projector) = projector else { return none };
        projector.is_compared |= own.iter().any(|row| matches!(row.entry, Entry::Healthy(_)));
        if projector.mode == Mode::Healthy {
            return none;
        }
        if own.iter().any(|row| matches!(row.entry, Entry::Claim(_))) {
            projector.begin(api, settings);
        }
        let (Some(place), Some(grid)) = (&projector.place, &projector.grid) else { return none };
        let mut rows = Vec::new();
        for row in own {
            let Entry::Claim(claim) = &row.entry else { continue };
            let cell = projector.terms.cell_of(&claim.key).filter(|_| *claim.client != *IN_SHEET);
            let Some(cell) = cell else { continue };
            for line in grid.lines_of(&cell) {
                rows.push((claim.key.clone(), cell.clone(), line.row));
            }
        }
        rows.truncate(MOST_ROWS);
        let range = |(_, _, row): &(_, _, usize)| look::range(&place.title, grid.columns, *row);
        Self { ranges: rows.iter().map(range).collect(), rows, tab: place.tab, said: None }
    }

    /// The locks that people hold.
    pub(in crate::ledger::sheets) fn answer(
        self,
        projector: Option<&Projector>,
        recent: &VecDeque<Row>,
    ) -> BTreeSet<LockKey> {
        let (Some(projector), Some(said)) = (projector, &self.said) else { return BTreeSet::new() };
        let (terms, names, past) = (&projector.terms, &projector.names, &projector.past);
        let remnants = Remnants { past, recent, terms, names, index: OnceCell::new() };
        let held =
            self.rows.iter().filter(|(_, key, row)| projector.is_held(&remnants, said, key, *row));
        held.map(|(lock, ..)| lock.clone()).collect()
    }
}

impl Projector {
    /// What a row says now. One that another key has now says nothing certain, and that is not "free".
    fn is_held(&self, remnants: &Remnants<'_>, said: &Tab, key: &str, row: usize) -> bool {
        let Some(columns) = self.grid.as_ref().map(|grid| grid.columns) else { return false };
        let areas = said.shown.iter().chain(&said.also);
        let here = areas.into_iter().find(|(from, _)| usize::try_from(*from).ok() == Some(row));
        let first = columns.all().map(|(_, at)| at).min().unwrap_or_default();
        let cell = |column: usize| {
            let cells = here.and_then(|(_, rows)| rows.first());
            cells.and_then(|cells| cells.get(column - first)).unwrap_or(&Cell::Empty)
        };
        let text = |column: usize| match cell(column) {
            Cell::Empty => Some(""),
            Cell::Text(text) => Some(text.trim()),
            Cell::Other => None,
        };
        // A number is not told apart here.
        let is_row = text(columns.key).is_none_or(|text| text == key);
        let since = columns.since.map_or(Some(""), text).unwrap_or_default();
        match text(columns.holder) {
            _ if !is_row => true,
            Some(holder) => !self.terms.is_free(holder) && !remnants.has(key, holder, since),
            None => true,
        }
    }
}

/// Makes a call of the ledger; one that writes takes along what waits for people's cells, and asks them. What
/// Google refuses is sent again without.
pub(in crate::ledger::sheets) fn call(
    projector: &mut Option<Projector>,
    api: &mut Api,
    ask: Ask,
    question: &mut Question,
    patience: &mut std::time::Duration,
) -> Result<View, Failure> {
    let Ask::Write(mut batch, mut ranges) = ask else { return api.call(&ask, true, patience) };
    let riders = projector.as_mut().map(|p| std::mem::take(&mut p.riders)).unwrap_or_default();
    let own = (batch.len(), ranges.len());
    let has_riders = !riders.is_empty();
    let has_more = has_riders || !question.ranges.is_empty();
    batch.extend(riders);
    ranges.extend(question.ranges.iter().cloned());
    let mut ask = Ask::Write(batch, ranges);
    let called = api.call(&ask, true, patience);
    match called {
        Err(failure) if failure.is(400) && has_more => {
            if let Some(projector) = projector {
                projector.refused_beside_a_group(api.now());
            }
            question.ranges.clear();
            question.said = None;
            if let Ask::Write(batch, ranges) = &mut ask {
                batch.truncate(own.0);
                ranges.truncate(own.1);
            }
            api.call(&ask, true, patience)
        }
        Ok(mut view) => {
            if let Some(projector) = projector.as_mut().filter(|_| has_riders) {
                projector.rode();
            }
            if !question.ranges.is_empty() {
                question.said = view.remove(&question.tab);
            }
            Ok(view)
        }
        failed => failed,
    }
}
