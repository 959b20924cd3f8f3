//! The one primitive: own rows are written and every log's tail is read in one batch.
//!
//! An exchange counts only if its own answer shows every log that the registry names in that answer. So it
//! goes on in rounds: a log that was not known is asked for in the next one, a row of the registry that a
//! person took away is written again, a tab that was renamed is found by its id. A round that writes writes
//! the same rows to the same places, so it may be made as often as need be; and each round asks from where
//! the exchange began, so the last one shows everything as it stood after that write. It must be a write:
//! that of two *batches* one shows the other's rows is what the ledger stands on, and a plain read may lag.

use std::time::Duration;

use google_sheets4::api as google;

use super::api::{Api, Ask};
use super::cells::{self, LONGEST, length};
use super::errors::Failure;
use super::logs::Tail;
use super::registry::HEADER;
use super::state::{Freshness, Look, State};
use super::{Sheets, projection, requests};
use crate::ledger::entry::Row;
use crate::ledger::store::{Applied, Seen, StoreError};

/// Rounds of one exchange; more need logs that come and go faster than calls are made.
const ROUNDS: usize = 8;
/// The most bytes of cells in one batch: Google advises 2 MB for a whole payload, and cells are not all.
pub(super) const BATCH: usize = 1_000_000;
/// A cell is so many bytes longer on its way.
pub(super) const AROUND: usize = 50;
/// Rows that a grid grows by, at least.
const GROWTH: u64 = 1_000;

/// Own rows that are to be written, as cells.
struct New<'a> {
    rows: &'a [Row],
    /// The number of the first one that `cells` has.
    first: u64,
    cells: Vec<Vec<String>>,
}

impl<'a> New<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let first = rows.first().map_or(0, |row| row.at.seq);
        Self { rows, first, cells: rows.iter().map(cells::of_row).collect() }
    }
}

impl Sheets {
    pub(super) fn exchanged(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        let seen = self.in_rounds(own);
        if !own.is_empty() {
            let is_unknown = |error: &StoreError| error.applied == Applied::Unknown;
            self.is_doubtful =
                seen.as_ref().map_or_else(|error| self.is_doubtful || is_unknown(error), |_| false);
        }
        seen
    }

    pub(super) fn in_rounds(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        let new = self.unwritten(own)?;
        let mut state = self.state.clone();
        let mut patience = self.settings.patience;
        let title = self.titles();
        let api = self.api.as_mut().ok_or_else(not_open)?;
        let mut new = New::of(new);
        check_lengths(&new)?;
        let mut is_written = write_ahead(api, &mut state, self.log, &mut new, &mut patience)?;
        let (mut snapshot, mut has_names) = (None, false);
        let mut people =
            projection::Question::of(self.projector.as_mut(), api, &self.settings, own);
        for _ in 0..ROUNDS {
            let ask = ask(&state, self.log, &new).map_err(|text| StoreError {
                applied: if is_written { Applied::Unknown } else { Applied::No },
                text,
            })?;
            let freshness = freshness(&ask);
            let failed = |failure: Failure| doubtful(failure, is_written);
            let own_last =
                self.log.and_then(|log| state.tails.get(&log)).map_or(0, |tail| tail.last);
            let called =
                projection::call(&mut self.projector, api, ask, &mut people, &mut patience);
            let look = match called {
                Ok(view) => {
                    is_written |= freshness == Freshness::Now;
                    state.look(&view, freshness, &title)
                }
                Err(failure) if failure.is(400) && !has_names => Ok(Look::Renamed),
                Err(failure) => return Err(failed(failure)),
            };
            let failed = |failure: Failure| doubtful(failure, is_written);
            match look.map_err(|text| failed(Failure::no(text)))? {
                Look::Whole(_) if freshness == Freshness::Lagging && !new.cells.is_empty() => {}
                Look::Whole(rows) => {
                    check_own(&rows, &new, own_last)?;
                    self.keep(&rows);
                    let people = people.answer(self.projector.as_ref(), &self.recent);
                    self.state = state;
                    return Ok(Seen { snapshot, rows, people });
                }
                Look::Again => {
                    has_names = false;
                }
                Look::Renamed => {
                    let tabs = api.call(&Ask::Tabs, true, &mut patience).map_err(failed)?;
                    state.rename(&tabs);
                    has_names = true;
                }
                Look::LeftBehind(marks) => {
                    let loaded = super::checkpoint::load(api, &marks, &mut patience);
                    let loaded = loaded.map_err(failed)?;
                    state.start_from(&loaded.mark, &loaded.snapshot, &title);
                    if let Some(projector) = &mut self.projector {
                        projector.start_from(&loaded.snapshot, loaded.told);
                    }
                    snapshot = Some(loaded.snapshot);
                }
            }
        }
        let text = "the registry of Lockside's ledger, or the names of its tabs, change too fast";
        Err(doubtful(Failure::no(text), is_written))
    }

    /// The rows that are not known to be in the sheet.
    fn unwritten<'a>(&self, own: &'a [Row]) -> Result<&'a [Row], StoreError> {
        let Some(first) = own.first() else { return Ok(own) };
        let Some(tail) = self.log.and_then(|log| self.state.tails.get(&log)) else {
            return Err(not_open());
        };
        if own.iter().any(|row| row.at.log != tail.log) {
            return Err(StoreError::not_applied(
                "rows of another log are not this store's to write",
            ));
        }
        let skip = usize::try_from((tail.last + 1).saturating_sub(first.at.seq));
        let new = own.get(skip.unwrap_or(usize::MAX)..).unwrap_or_default();
        // The first entry came with the tab, and may not have been read yet.
        let written = tail.last.max(1);
        match new.first() {
            Some(first) if first.at.seq > written + 1 => Err(StoreError::not_applied(format!(
                "the tab {:?} has lost entries of this run: restart Lockside to go on with what it has",
                tail.title
            ))),
            _ => Ok(new),
        }
    }
}

fn not_open() -> StoreError {
    StoreError::not_applied("the ledger in the spreadsheet is not open")
}

/// A failure after which the own rows may be there.
fn doubtful(failure: Failure, is_written: bool) -> StoreError {
    let applied = if is_written { Applied::Unknown } else { failure.applied };
    StoreError { applied, text: failure.text }
}

/// Sees that no cell is longer than Google takes.
fn check_lengths(new: &New<'_>) -> Result<(), StoreError> {
    for (row, cells) in new.rows.iter().zip(&new.cells) {
        if let Some(cell) = cells.iter().find(|cell| length(cell) > LONGEST) {
            return Err(StoreError::not_applied(format!(
                "entry {} is not written: {} characters are more than the {LONGEST} that a cell of a \
                 spreadsheet takes. Locks with such long keys or values need another ledger",
                row.at.seq,
                length(cell)
            )));
        }
    }
    Ok(())
}

/// Writes so much ahead, without looking, that what is left fits into one batch. True if it did.
fn write_ahead(
    api: &mut Api,
    state: &mut State,
    log: Option<u64>,
    new: &mut New<'_>,
    patience: &mut Duration,
) -> Result<bool, StoreError> {
    let mut is_written = false;
    let Some(tail) = log.and_then(|log| state.tails.get_mut(&log)) else { return Ok(false) };
    let size = |cells: &Vec<String>| cells.iter().map(|cell| cell.len() + AROUND).sum::<usize>();
    let mut at = 0;
    let mut left: usize = new.cells.iter().map(size).sum();
    while left > BATCH {
        let mut taken = 0;
        let mut end = at;
        // One row always fits: it has few cells, and those are bounded.
        while end < new.cells.len() && (end == at || taken + size(&new.cells[end]) <= BATCH) {
            taken += size(&new.cells[end]);
            end += 1;
        }
        if end == new.cells.len() {
            break;
        }
        let requests = written(tail, new.first + at as u64, &new.cells[at..end]);
        api.call(&Ask::Write(requests, Vec::new()), true, patience)
            .map_err(|failure| doubtful(failure, is_written))?;
        is_written = true;
        tail.rows = tail.rows.max(tail.row_of(new.first + end as u64));
        (at, left) = (end, left - taken);
    }
    new.cells.drain(..at);
    new.first += at as u64;
    Ok(is_written)
}

/// Requests that put rows to their places, in a grid that is large enough.
fn written(tail: &Tail, first: u64, cells: &[Vec<String>]) -> Vec<google::Request> {
    let row = tail.row_of(first);
    let end = row + cells.len() as u64;
    let grow = (end > tail.rows).then(|| requests::grow(tail.tab, (end - tail.rows).max(GROWTH)));
    grow.into_iter().chain([requests::cells(tail.tab, row, cells)]).collect()
}

fn freshness(ask: &Ask) -> Freshness {
    if let Ask::Write(..) = ask { Freshness::Now } else { Freshness::Lagging }
}

/// The call of a round.
fn ask(state: &State, log: Option<u64>, new: &New<'_>) -> Result<Ask, String> {
    let registry = state.registry_tab;
    let own = log.and_then(|log| state.tails.get(&log)).filter(|_| !new.cells.is_empty());
    if own.is_none() && !new.cells.is_empty() {
        return Err(
            "this run's log was removed from Lockside's ledger: restart Lockside to go on with \
                    what is there"
                .into(),
        );
    }
    // A tab that is gone may have another in its place: the registry says so.
    let Some(tail) = own.filter(|tail| !tail.is_missing) else {
        if state.is_registry_missing {
            return Err(
                "the registry of Lockside's ledger was deleted: it is written again with the \
                        next entry"
                    .into(),
            );
        }
        let tails = state.read_tails().map(|tail| (tail.tab, tail.from()));
        return Ok(Ask::Read([(registry, 0)].into_iter().chain(tails).collect()));
    };
    let mut batch = Vec::new();
    let mut missing = state.missing.clone();
    if state.is_registry_missing {
        let header = [HEADER.map(String::from).to_vec()];
        batch.extend(requests::tab(registry, &state.registry_title, (2, HEADER.len()), &header));
        missing.extend(state.registry.rows.iter().cloned());
    }
    batch.extend(missing.iter().flat_map(|row| requests::insert(registry, row)));
    batch.extend(written(tail, new.first, &new.cells));
    let tails = state.read_tails().map(|tail| requests::range(&tail.title, tail.from(), 'E'));
    let ranges = [requests::range(&state.registry_title, 0, 'C')].into_iter().chain(tails);
    Ok(Ask::Write(batch, ranges.collect()))
}

/// The own rows must be there as they were written; but for those that a checkpoint has: another sidecar
/// has read them, though this one was not told that they were written.
fn check_own(shown: &[Row], new: &New<'_>, known: u64) -> Result<(), StoreError> {
    let mut wanted = new.rows.iter().filter(|row| row.at.seq > known);
    let Some(first) = new.rows.first() else { return Ok(()) };
    let own = shown.iter().filter(|row| row.at.log == first.at.log);
    let mut own = own.skip_while(|row| row.at.seq < first.at.seq);
    match wanted.all(|row| own.next() == Some(row)) {
        true => Ok(()),
        false => Err(StoreError::unknown(
            "the spreadsheet does not show entries of this run as they were written: it is written again",
        )),
    }
}
