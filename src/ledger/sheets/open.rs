//! A new log: its tab, its first entry and its row in the registry come in one batch, or not at all.

use std::time::Duration;

use super::api::{Api, Ask, View};
use super::cells::{self, COLUMNS};
use super::errors::Failure;
use super::logs::Tail;
use super::registry::{HEADER, Note, Registry, Removal, Segment};
use super::state::State;
use super::{FIRST_LOG, LAST, Sheets, checkpoint, id, requests};
use crate::ledger::entry::{Entry, Position, Row, Start};
use crate::ledger::store::{OpenError, StoreError, check_terms};

/// Rows of a new log's grid. Every cell of a spreadsheet counts, empty ones too, and it has ten million.
pub(super) const ROWS: usize = 1_000;
/// Numbers that are drawn before it is an error that all are taken.
const DRAWS: usize = 5;

impl Sheets {
    pub(super) fn opened(&mut self, start: &Start) -> Result<u64, OpenError> {
        (self.log, self.start, self.is_doubtful) = (None, None, false);
        let (title, registry) = (self.registry_title(), self.registry_tab());
        let mut patience = self.settings.patience;
        let ledger = self.settings.ledger.clone();
        let api = self.connected()?;
        let tabs = with_registry(api, registry, (&ledger, &title), &mut patience)?;
        let view = api.call(&Ask::Read(vec![(registry, 0)]), true, &mut patience);
        let view = view.map_err(StoreError::from)?;
        check_tabs(&tabs, &registered(&view, registry)?, start, &self.settings.ledger)?;
        let registry_title = tabs.get(&registry).map_or(title, |tab| tab.title.clone());
        let titles = self.titles();
        let mut drawn = None;
        let api = self.api.as_mut().ok_or_else(|| StoreError::not_applied("not open"))?;
        for _ in 0..DRAWS {
            let log = FIRST_LOG + api.random() % (LAST + 1 - FIRST_LOG);
            if tabs.contains_key(&id(log)) {
                continue;
            }
            let segment = Segment { tab: id(log), log, base: 0, start: start.clone() };
            let ask = registration(&segment, &titles(segment.tab), registry, &registry_title);
            match api.call(&ask, false, &mut patience) {
                Ok(view) => {
                    drawn = Some((segment, view));
                    break;
                }
                // The number was taken meanwhile.
                Err(failure) if failure.is(400) && failure.text.contains("already exists") => {}
                Err(failure) => return Err(StoreError::from(failure).into()),
            }
        }
        let Some((segment, view)) = drawn else {
            let text = "no free number for a new tab was found: try again";
            return Err(StoreError::not_applied(text).into());
        };
        let read = registered(&view, registry)?;
        if !read.segments.contains_key(&segment.tab) {
            let text = "the registry does not show the new log: something else changes it";
            return Err(StoreError::unknown(text).into());
        }
        if let Err(error) = check_all_terms(&read, start) {
            // Two came at once under different terms: a log that stays would refuse everybody.
            give_up(api, registry, &segment, &mut patience);
            return Err(error);
        }
        let mut state =
            State { registry_tab: registry, registry_title, registry: read, ..State::default() };
        state.tails.insert(segment.log, Tail::new(&segment, titles(segment.tab)));
        self.state = state;
        (self.log, self.start) = (Some(segment.log), Some(start.clone()));
        self.recent.clear();
        Ok(segment.log)
    }
}

/// All tabs; makes the registry where there is none.
fn with_registry(
    api: &mut Api,
    registry: i32,
    (ledger, title): (&str, &str),
    patience: &mut Duration,
) -> Result<View, StoreError> {
    let tabs = api.call(&Ask::Tabs, true, patience)?;
    if tabs.contains_key(&registry) {
        return Ok(tabs);
    }
    let (mut new, first) = checkpoint::first(ledger);
    let rows = [HEADER.map(String::from).to_vec(), first];
    new.extend(requests::tab(registry, title, (rows.len(), HEADER.len()), &rows));
    match api.call(&Ask::Write(new, Vec::new()), false, patience) {
        Ok(_) => {}
        // Somebody else has made it meanwhile; or a person has a tab of this name.
        Err(failure) if failure.is(400) => {}
        Err(failure) => return Err(failure.into()),
    }
    let tabs = api.call(&Ask::Tabs, true, patience)?;
    if !tabs.contains_key(&registry) {
        return Err(StoreError::not_applied(format!(
            "the spreadsheet does not show the registry that was made in it, or has a tab {title:?} that \
             is not Lockside's: rename that tab, or try again"
        )));
    }
    Ok(tabs)
}

pub(super) fn registered(view: &View, registry: i32) -> Result<Registry, OpenError> {
    let shown = view.get(&registry).and_then(|tab| tab.shown.as_ref());
    let shown = shown.map_or(&[][..], |(_, rows)| rows);
    Registry::read(shown).map_err(|what| {
        OpenError::Mismatch(format!(
            "the tab #gid={registry} (hidden) should be the registry of Lockside's ledger: {what}"
        ))
    })
}

/// Terms must be the same, and no log may be there that the registry has lost.
fn check_tabs(
    tabs: &View,
    registry: &Registry,
    start: &Start,
    ledger: &str,
) -> Result<(), OpenError> {
    check_all_terms(registry, start)?;
    let prefix = format!("{ledger} log ");
    let unknown = tabs
        .iter()
        .find(|(id, tab)| tab.title.starts_with(&prefix) && !registry.segments.contains_key(id));
    match unknown {
        None => Ok(()),
        Some((_, tab)) => Err(StoreError::not_applied(format!(
            "the registry of Lockside's ledger does not name the tab {:?}: rows of it were deleted. A \
             sidecar that runs writes them again with its next entry; else restore a version of the \
             spreadsheet from before (File, Version history)",
            tab.title
        ))
        .into()),
    }
}

pub(super) fn check_all_terms(registry: &Registry, start: &Start) -> Result<(), OpenError> {
    let is_given_up = |tab: &i32| registry.removed.get(tab).is_some_and(|gone| gone.last == 0);
    let mut counting = registry.segments.values().filter(|segment| !is_given_up(&segment.tab));
    counting.try_for_each(|segment| check_terms(&segment.start, start))
}

/// The call that makes a log.
fn registration(segment: &Segment, title: &str, registry: i32, registry_title: &str) -> Ask {
    let at = Position { log: segment.log, seq: 1 };
    let first = Row { at, entry: Entry::Start(segment.start.clone()) };
    let rows = [cells::HEADER.map(String::from).to_vec(), cells::of_row(&first)];
    let mut batch = requests::tab(segment.tab, title, (ROWS, COLUMNS), &rows);
    batch.extend(requests::insert(registry, &Note::Log(segment.clone()).cells()));
    Ask::Write(batch, vec![requests::range(registry_title, 0, 'C')])
}

/// Best effort: what stays is told to whoever comes next.
fn give_up(api: &mut Api, registry: i32, segment: &Segment, patience: &mut Duration) {
    let gone = Note::Removed(Removal { tab: segment.tab, log: segment.log, last: 0 });
    let mut batch = requests::insert(registry, &gone.cells()).to_vec();
    batch.push(requests::delete(segment.tab));
    let given_up: Result<_, Failure> = api.call(&Ask::Write(batch, Vec::new()), false, patience);
    drop(given_up);
}
