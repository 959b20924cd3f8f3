//! The state that handles of the store in memory share: a value, cheap to clone (rows share what is
//! large in them), so that a model can take it back.

use std::collections::BTreeMap;

use crate::ledger::entry::{Entry, Position, Row, Start};
use crate::ledger::fold::{Fold, Snapshot};
use crate::ledger::store::{OpenError, Seen, check_terms, key_of};
use crate::lock::record::LockKey;

/// How far one reader has read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Its own log, if it has one.
    log: Option<u64>,
    /// Rows of the order that it has seen.
    place: usize,
    /// In a store without order: rows before `place` of other logs that it has not seen.
    hidden: Vec<usize>,
}

impl Cursor {
    /// One that has read nothing and writes this log.
    pub fn of(log: u64) -> Self {
        Self { log: Some(log), ..Self::default() }
    }
}

/// All logs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Medium {
    is_unordered: bool,
    /// Says that it has one order, and has not: a mistake for tests to find.
    claims_order: bool,
    /// In the order in which they were written; those before `removed` are gone.
    rows: Vec<Row>,
    removed: usize,
    /// The state before a place of the order.
    snapshot: Option<(usize, Snapshot)>,
    /// Of each log the terms and the last number.
    logs: BTreeMap<u64, (Start, u64)>,
    /// Writes that are still on their way.
    late: Vec<Vec<Row>>,
}

impl Medium {
    /// An empty one whose entries have one order.
    pub fn ordered() -> Self {
        Self::default()
    }

    /// An empty one in which each reader may see other logs late and in another order.
    pub fn unordered() -> Self {
        Self { is_unordered: true, ..Self::default() }
    }

    /// The same, but it says that it has one order: a store that breaks its promise.
    pub fn reordering() -> Self {
        Self { claims_order: true, ..Self::unordered() }
    }

    /// As [`crate::ledger::store::Store::is_ordered`].
    pub fn is_ordered(&self) -> bool {
        !self.is_unordered || self.claims_order
    }

    /// Registers a log.
    ///
    /// # Errors
    /// When the terms are not those of the other logs.
    pub fn open(&mut self, start: &Start) -> Result<u64, OpenError> {
        self.logs.values().try_for_each(|(known, _)| check_terms(known, start))?;
        let log = self.logs.keys().next_back().map_or(1, |last| last + 1);
        self.logs.insert(log, (start.clone(), 0));
        self.write(&[Row { at: Position { log, seq: 1 }, entry: Entry::Start(start.clone()) }]);
        Ok(log)
    }

    /// Writes what is not there yet.
    pub fn write(&mut self, own: &[Row]) {
        for row in own {
            let Some((_, last)) = self.logs.get_mut(&row.at.log) else { continue };
            if row.at.seq == *last + 1 {
                *last = row.at.seq;
                self.rows.push(row.clone());
            }
        }
    }

    /// Takes a write that arrives when [`Medium::land`] is called.
    pub fn write_later(&mut self, own: &[Row]) {
        self.late.push(own.to_vec());
    }

    /// How many writes are on their way.
    pub fn on_their_way(&self) -> usize {
        self.late.len()
    }

    /// The oldest write that was on its way arrives; false if there was none.
    pub fn land(&mut self) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let own = self.late.remove(0);
        self.write(&own);
        true
    }

    /// Writes, and shows what this reader has not seen, but for the last `hidden` rows (of other
    /// logs).
    pub fn exchange(&mut self, cursor: &mut Cursor, own: &[Row], hidden: usize) -> Seen {
        self.write(own);
        let mut seen = Seen::default();
        let first = cursor.hidden.first().copied().unwrap_or(cursor.place);
        if first < self.removed
            && let Some((place, snapshot)) = &self.snapshot
        {
            seen.snapshot = Some(snapshot.clone());
            cursor.place = *place;
            cursor.hidden.clear();
        }
        if self.is_unordered {
            self.read_unordered(cursor, hidden, &mut seen);
        } else {
            let end = self.removed + self.rows.len();
            let end = if own.is_empty() { end.saturating_sub(hidden) } else { end };
            let end = end.max(cursor.place);
            let places = cursor.place - self.removed..end - self.removed;
            seen.rows.extend_from_slice(&self.rows[places]);
            cursor.place = end;
        }
        seen
    }

    /// All rows that are kept, in the order in which they were written.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The state after everything that is written.
    pub fn fold(&self) -> Fold {
        let (place, mut fold) = match &self.snapshot {
            Some((place, snapshot)) => (*place, Fold::from(snapshot.clone())),
            None if self.is_unordered => (0, Fold::unordered()),
            None => (0, Fold::default()),
        };
        for row in &self.rows[place.saturating_sub(self.removed)..] {
            fold.apply(row);
        }
        fold
    }

    /// As [`crate::ledger::store::Store::compact`]. Nothing while this reader waits for hidden rows.
    pub fn compact(&mut self, cursor: &Cursor, snapshot: &Snapshot) {
        let is_newer = self.snapshot.as_ref().is_none_or(|(place, _)| *place < cursor.place);
        if !is_newer || !cursor.hidden.is_empty() || cursor.place < self.removed {
            return;
        }
        self.rows.drain(..cursor.place - self.removed);
        self.removed = cursor.place;
        self.snapshot = Some((cursor.place, snapshot.clone()));
    }

    /// As [`crate::ledger::store::Store::history`].
    pub fn history(&self, key: &LockKey, count: usize) -> Vec<Row> {
        let on_key = |row: &&Row| key_of(&row.entry) == Some(key);
        let mut last: Vec<_> = self.rows.iter().rev().filter(on_key).take(count).cloned().collect();
        last.reverse();
        last
    }

    fn read_unordered(&self, cursor: &mut Cursor, hidden: usize, seen: &mut Seen) {
        let end = self.removed + self.rows.len();
        let mut places = std::mem::take(&mut cursor.hidden);
        places.extend(cursor.place..end);
        let is_own = |place: &usize| Some(self.rows[*place - self.removed].at.log) == cursor.log;
        let (own, others): (Vec<_>, Vec<_>) = places.into_iter().partition(is_own);
        let shown = others.len().saturating_sub(hidden);
        let (shown, late) = others.split_at(shown);
        let all = own.iter().chain(shown);
        seen.rows.extend(all.map(|place| self.rows[*place - self.removed].clone()));
        cursor.hidden = late.to_vec();
        cursor.place = end;
    }
}
