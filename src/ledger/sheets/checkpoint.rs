//! The state that stands for tabs that are gone: written, and read by whoever was left behind.
//!
//! A checkpoint is written into a tab of its own, which nobody knows yet. Then one batch does everything
//! else: it registers the checkpoint, deletes the one before, goes on with the own log in a new tab and
//! deletes the old one, and deletes the tabs of logs that have ended and were read to their end. Each
//! checkpoint deletes the one before, so of two that are made at once the second is refused whole: what is
//! gone is always covered by the checkpoint that is there. The first, an empty one, comes with the registry.
//!
//! Rows are never moved within a tab: a write that arrives late finds its tab gone and is refused.
//!
//! Tabs of logs without a last entry (their sidecar has died) stay: nobody here can tell them from those of
//! a sidecar that is only slow.

use std::time::Duration;

use google_sheets4::api as google;
use sha2::{Digest, Sha256};

use super::api::{Api, Ask};
use super::cells::{COLUMNS, texts};
use super::errors::Failure;
use super::exchange::{AROUND, BATCH};
use super::logs::Tail;
use super::open::ROWS;
use super::projection::{Trace, traces};
use super::registry::{Mark, Note, Removal, Segment};
use super::state::{Freshness, Look, State};
use super::{FIRST_LOG, FIRST_REGISTRY, LAST, Sheets, cells, id, requests, snapshot};
use crate::ledger::fold::{Fold, Snapshot};
use crate::ledger::store::{Applied, StoreError};
use crate::lock::record::LockKey;

/// Tabs of unfinished checkpoints that are remembered, to be deleted.
const RUBBISH: usize = 8;

/// The requests that make the first checkpoint, and its row of the registry.
pub(super) fn first(ledger: &str) -> (Vec<google::Request>, Vec<String>) {
    let hash = Sha256::digest(format!("{ledger} checkpoint"));
    let number = u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]));
    let tab = id(FIRST_REGISTRY + number % (FIRST_LOG - FIRST_REGISTRY));
    let mut rows = vec![snapshot::HEADER.map(String::from).to_vec()];
    rows.extend(snapshot::rows(&Fold::unordered().snapshot()));
    let mark =
        Mark { tab, number: 0, rows: rows.len() as u64 - 1, covers: std::iter::empty().collect() };
    let size = (rows.len(), COLUMNS);
    (
        requests::tab(tab, &format!("{ledger} checkpoint 0"), size, &rows),
        Note::Checkpoint(mark).cells(),
    )
}

/// A checkpoint, as it was read.
pub(super) struct Loaded {
    pub(super) mark: Mark,
    pub(super) snapshot: Snapshot,
    /// What holds before it have left in cells.
    pub(super) told: Vec<(LockKey, Trace)>,
}

/// Reads the best checkpoint.
pub(super) fn load(
    api: &mut Api,
    marks: &[Mark],
    patience: &mut Duration,
) -> Result<Loaded, Failure> {
    let Some(mark) = marks.first() else {
        return Err(Failure::no(
            "tabs of Lockside's ledger were removed, and no checkpoint in the registry stands for them: \
             restore a version of the spreadsheet from before (File, Version history)",
        ));
    };
    let view = api.call(&Ask::Read(vec![(mark.tab, 0)]), true, patience)?;
    let shown = view.get(&mark.tab).and_then(|tab| tab.shown.as_ref());
    let rows: Option<Vec<_>> =
        shown.and_then(|(_, rows)| rows.iter().map(|row| texts(row)).collect());
    let rows = rows.unwrap_or_default();
    let whole = rows
        .split_first()
        .filter(|(header, rows)| **header == snapshot::HEADER && rows.len() as u64 == mark.rows);
    let read = whole.and_then(|(_, rows)| Some((snapshot::read(rows)?, traces::read(rows)?)));
    read.map(|(snapshot, told)| Loaded { mark: mark.clone(), snapshot, told }).ok_or_else(|| {
        Failure::no(format!(
            "the checkpoint of Lockside's ledger in the hidden tab #gid={} is not what was written. If \
             this stays, a person has changed it: undo it, or restore a version of the spreadsheet from \
             before (File, Version history)",
            mark.tab
        ))
    })
}

impl Sheets {
    pub(super) fn compacted(&mut self, state_of_locks: &Snapshot) -> Result<(), StoreError> {
        let (Some(log), Some(start)) = (self.log, self.start.clone()) else { return Ok(()) };
        let Some(own) = self.state.tails.get(&log).cloned() else { return Ok(()) };
        let covers = self.state.covers();
        let before = self.state.registry.whole_marks().first().map(|mark| (*mark).clone());
        // Own rows of unknown fate may stand behind those that were read: not now.
        let before = before.filter(|mark| mark.covers != covers && !self.is_doubtful);
        let Some(before) = before else { return Ok(()) };
        let title = self.titles();
        let ledger = self.settings.ledger.clone();
        let mut patience = self.settings.patience;
        let Some(api) = &mut self.api else { return Ok(()) };
        sweep(api, &mut self.rubbish, &self.state, &mut patience);
        let draw = |api: &mut Api| id(FIRST_LOG + api.random() % (LAST + 1 - FIRST_LOG));
        let mut rows = snapshot::rows(state_of_locks);
        let projector = self.projector.as_mut();
        rows.extend(projector.map(|p| p.traces(&self.recent)).unwrap_or_default());
        let mark =
            Mark { tab: draw(api), number: before.number + 1, rows: rows.len() as u64, covers };
        if self.rubbish.len() < RUBBISH {
            self.rubbish.push(mark.tab);
        }
        write(api, &mark, &format!("{ledger} checkpoint {}", mark.number), rows, &mut patience)?;
        let segment = Segment { tab: draw(api), log, base: own.last, start };
        let batch = replacement(&self.state, &mark, &before, &own, (&segment, &title(segment.tab)));
        let range = requests::range(&self.state.registry_title, 0, 'C');
        let view =
            api.call(&Ask::Write(batch, vec![range]), false, &mut patience).map_err(|failure| {
                self.is_doubtful |= failure.applied == Applied::Unknown;
                StoreError::from(failure)
            })?;
        // What the registry says of the own log and of ended ones is true from now on.
        let looked = self.state.look(&view, Freshness::Now, &title);
        debug_assert!(!matches!(looked, Ok(Look::LeftBehind(_))));
        Ok(())
    }
}

/// Deletes what is left of checkpoints that were not finished.
fn sweep(api: &mut Api, rubbish: &mut Vec<i32>, state: &State, patience: &mut Duration) {
    rubbish.retain(|tab| !state.registry.marks.contains_key(tab));
    rubbish.retain(|tab| {
        let deleted =
            api.call(&Ask::Write(vec![requests::delete(*tab)], Vec::new()), true, patience);
        // A 400: there is no such tab.
        deleted.is_err_and(|failure| !failure.is(400))
    });
}

/// Writes the checkpoint's tab, in batches of a bounded size.
fn write(
    api: &mut Api,
    mark: &Mark,
    title: &str,
    rows: Vec<Vec<String>>,
    patience: &mut Duration,
) -> Result<(), StoreError> {
    let too_long = |row: &Vec<String>| row.iter().any(|cell| cells::length(cell) > cells::LONGEST);
    if rows.iter().any(too_long) {
        return Err(StoreError::not_applied("a cell of the checkpoint would be too long"));
    }
    let size = |row: &Vec<String>| row.iter().map(|cell| cell.len() + AROUND).sum::<usize>();
    let header = snapshot::HEADER.map(String::from).to_vec();
    let mut batch = requests::tab(mark.tab, title, (rows.len() + 1, COLUMNS), &[header]);
    let mut rest = &rows[..];
    let mut next = 1;
    while !rest.is_empty() || !batch.is_empty() {
        let mut taken = 0;
        let fits = |row: &&Vec<String>| {
            taken += size(row);
            taken <= BATCH
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (now, later) = rest.split_at(count);
        if !now.is_empty() {
            batch.push(requests::cells(mark.tab, next, now));
        }
        let ask = Ask::Write(std::mem::take(&mut batch), Vec::new());
        // Nobody knows of it yet, whatever becomes of it.
        api.call(&ask, next > 1, patience)
            .map_err(|failure| StoreError::not_applied(failure.text))?;
        (rest, next) = (later, next + count as u64);
    }
    Ok(())
}

/// The batch that puts a checkpoint in the place of what it stands for.
fn replacement(
    state: &State,
    mark: &Mark,
    before: &Mark,
    own: &Tail,
    (segment, title): (&Segment, &str),
) -> Vec<google::Request> {
    let first = [cells::HEADER.map(String::from).to_vec()];
    let mut batch = requests::tab(segment.tab, title, (ROWS, COLUMNS), &first);
    let mut notes = vec![Note::Checkpoint(mark.clone()), Note::Log(segment.clone())];
    let mut gone = vec![Removal { tab: before.tab, log: 0, last: 0 }];
    let ended = state.tails.values().filter(|tail| tail.ended && tail.log != own.log);
    let tails = ended.chain([own]);
    gone.extend(tails.map(|tail| Removal { tab: tail.tab, log: tail.log, last: tail.last }));
    batch.extend(gone.iter().map(|gone| requests::delete(gone.tab)));
    notes.extend(gone.into_iter().map(Note::Removed));
    batch.extend(notes.iter().flat_map(|note| requests::insert(state.registry_tab, &note.cells())));
    batch
}
