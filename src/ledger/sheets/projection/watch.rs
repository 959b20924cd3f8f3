//! What the cells should say, and what a cell that says something else means. Pure.
//!
//! A [`Watch`] is shown the tab as it was read, again and again, beside what the ledger has. What differs is
//! either behind (then it is written) or a person's word (then it becomes an [`Edit`]). A reading may lag
//! behind what was read before it, so nobody's word is taken from readings alone: it is a [`Doubt`] (a cleared cell
//! after two readings), which counts when an answer that can't lag shows the same row.
//!
//! What a person may do that is no word: cut, paste, sort, insert, delete, add a row again. So a cell counts
//! as cleared only where this watch has seen the same row (its place and its key) with this holder, its key
//! stands nowhere else, and the holder's text has not turned up elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::grid::{Cell, Grid, Line};
use super::terms::Terms;
use super::{Edit, Mode};
use crate::ledger::entry::Position;
use crate::lock::record::LockKey;

/// So many rows are written at once: each takes several requests, and a request is 30 KB of memory in the
/// library's form.
pub(super) const MOST_WRITES: usize = 100;
/// Readings after which a person's word that the ledger does not follow is written over.
const PATIENCE: u8 = 10;

/// What a row should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) key: LockKey,
    pub(super) claim: Position,
    pub(super) holder: String,
    pub(super) since: String,
    pub(super) origin: &'static str,
    pub(super) at_ms: u64,
}

/// What is to be written, if the row is still as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) line: Line,
    /// Lockside's own tab: a row that is free becomes another key's.
    pub(super) key: Option<String>,
    pub(super) holder: String,
    pub(super) since: String,
    pub(super) origin: &'static str,
}

/// A row that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Add {
    pub(super) key: String,
    pub(super) holder: String,
    pub(super) since: String,
    pub(super) origin: &'static str,
}

/// A person's word, if the row still says it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Doubt {
    pub(super) line: Line,
    pub(super) edit: Edit,
}

/// What one reading comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pass {
    pub(super) writes: Vec<Write>,
    pub(super) adds: Vec<Add>,
    pub(super) doubts: Vec<Doubt>,
    /// Rows that differ and can't be written: what they have is neither text nor a number.
    pub(super) unfit: usize,
}

impl Pass {
    /// Leaves only what can ride along with a group, and so many rows of that; true if there was more. The
    /// rest is found again by the next look.
    pub(super) fn keep(&mut self, riders: usize) -> bool {
        let is_more =
            self.writes.len() > riders || !self.adds.is_empty() || !self.doubts.is_empty();
        self.writes.truncate(riders);
        (self.adds, self.doubts) = (Vec::new(), Vec::new());
        is_more
    }
}

/// What a reading is held against.
pub(super) struct Look<'a> {
    pub(super) terms: &'a Terms,
    pub(super) grid: &'a Grid,
    /// False for a reading that was looked at before: then only the ledger can have changed.
    pub(super) is_new: bool,
    /// By what the key's cells say.
    pub(super) wants: &'a BTreeMap<String, Want>,
    /// True for (key, holder, since) of a hold that has ended: what is left of Lockside's own writing.
    pub(super) is_over: &'a dyn Fn(&str, &str, &str) -> bool,
    /// True for (key, since) of such a hold.
    pub(super) is_past: &'a dyn Fn(&str, &str) -> bool,
    pub(super) mode: Mode,
    /// Redis and the ledger were compared in this run: what the ledger does not know, Redis has not either.
    pub(super) is_compared: bool,
    pub(super) now_ms: u64,
    /// Holds that have begun since the last look.
    pub(super) acquires: usize,
}

/// A hold whose row was seen to say so.
#[derive(Debug, Clone)]
struct Sight {
    claim: Position,
    row: usize,
    /// Readings in a row that say it is free.
    frees: u8,
}

/// A cell that names somebody whom the ledger does not know.
#[derive(Debug, Clone)]
struct Named {
    line: Line,
    first_ms: u64,
    times: u8,
}

/// What was seen so far. See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// It has looked while Redis decided: from then on that writes over what people fill in meanwhile.
    has_begun: bool,
    sights: BTreeMap<String, Sight>,
    named: BTreeMap<String, Named>,
    /// Old holds whose cells were found free, and how often.
    aged: BTreeMap<String, (Position, u8)>,
    /// Old holds that may be released: at most one for each acquire.
    credit: usize,
    /// The key that was written last, where there was more to write than goes at once.
    cursor: String,
}

impl Watch {
    /// What this reading means.
    pub(super) fn look(&mut self, look: &Look<'_>) -> Pass {
        self.credit = (self.credit + look.acquires).min(look.wants.len());
        if look.is_new {
            self.forget(look);
        }
        let facts = Facts::of(look, &self.sights);
        let mut pass = Pass::default();
        for (key, lines) in look.grid.keys().filter(|(key, _)| !key.is_empty()) {
            match look.wants.get(key) {
                Some(want) => self.held(look, &facts, (key, want), &lines, &mut pass),
                None => self.free(look, &facts, key, &lines, &mut pass),
            }
        }
        if look.terms.adds_rows() {
            self.add(look, &mut pass);
        }
        self.has_begun |= look.mode == Mode::Healthy;
        self.bound(&mut pass.writes);
        pass
    }

    /// Rows for keys that have none: in Lockside's own tab those of locks that are free, else new ones.
    fn add(&self, look: &Look<'_>, pass: &mut Pass) {
        let is_missing = |key: &str| look.grid.lines_of(key).next().is_none();
        let missing = look.wants.iter().filter(|(key, _)| is_missing(key)).take(MOST_WRITES);
        let is_left = |key: &str, line: &Line| {
            let is_free = line.holder.text().is_some_and(|holder| look.terms.is_free(&holder));
            is_free && line.since == Cell::Empty && !look.wants.contains_key(key)
        };
        let is_own = look.terms.settings().is_own_tab();
        let keys = look.grid.keys().filter(|_| is_own);
        let mut left = keys
            .flat_map(|(key, lines)| lines.into_iter().map(move |line| (key, line)))
            .filter(|(key, line)| is_left(key, line));
        for (key, want) in missing {
            let (holder, since, origin) = (want.holder.clone(), want.since.clone(), want.origin);
            match left.next() {
                Some((_, line)) => {
                    let line = line.clone();
                    pass.writes.push(Write { line, key: Some(key.clone()), holder, since, origin });
                }
                None => pass.adds.push(Add { key: key.clone(), holder, since, origin }),
            }
        }
    }

    /// What was seen of a row counts no longer when its key has gone, or somebody else holds the lock.
    fn forget(&mut self, look: &Look<'_>) {
        let has_row = |key: &str| look.grid.lines_of(key).next().is_some();
        let is_claim =
            |key: &str, claim| look.wants.get(key).is_some_and(|want| want.claim == claim);
        self.sights.retain(|key, sight| has_row(key) && is_claim(key, sight.claim));
        self.aged.retain(|key, (claim, _)| has_row(key) && is_claim(key, *claim));
        self.named.retain(|key, _| has_row(key) && !look.wants.contains_key(key));
    }

    fn held(
        &mut self,
        look: &Look<'_>,
        facts: &Facts,
        (key, want): (&str, &Want),
        lines: &[&Line],
        pass: &mut Pass,
    ) {
        let is_all_shown = lines.iter().all(|line| is_shown(look, line, want));
        if is_all_shown && !look.is_new {
            return;
        }
        if is_all_shown {
            let sight = Sight { claim: want.claim, row: lines[0].row, frees: 0 };
            self.sights.insert(key.to_owned(), sight);
            self.aged.remove(key);
            return;
        }
        let is_free =
            |line: &&Line| line.holder.text().is_some_and(|holder| look.terms.is_free(&holder));
        let is_cleared = lines.iter().all(is_free);
        if !look.is_new {
            // A row that may have a person's word of this hold waits for the next reading.
            let waits = self.sights.get(key).is_some_and(|sight| sight.claim == want.claim)
                || self.aged.get(key).is_some_and(|(claim, _)| *claim == want.claim);
            if is_cleared && waits {
                return;
            }
        } else if let ([line], true) = (lines, is_cleared) {
            if let Some(sight) = self.sights.get_mut(key) {
                let is_cleared = sight.row == line.row
                    && !facts.moved.contains(&want.holder)
                    && sight.frees < PATIENCE;
                if is_cleared {
                    sight.frees += 1;
                    let edit = Edit::Cleared { key: want.key.clone(), claim: want.claim };
                    let doubt = Doubt { line: (*line).clone(), edit };
                    pass.doubts.extend((sight.frees > 1).then_some(doubt));
                    return;
                }
            } else if self.is_abandoned(look, (key, want), line, pass) {
                return;
            }
        }
        if look.is_new {
            self.sights.remove(key);
        }
        let differing = lines.iter().filter(|line| !is_shown(look, line, want));
        for line in differing {
            write(look, line, (&want.holder, &want.since, want.origin), pass);
        }
    }

    /// True for an old hold whose cell says free and was never seen to say otherwise.
    fn is_abandoned(
        &mut self,
        look: &Look<'_>,
        (key, want): (&str, &Want),
        line: &Line,
        pass: &mut Pass,
    ) -> bool {
        let age = look.now_ms.saturating_sub(want.at_ms);
        if age <= look.terms.abandoned_after_ms() {
            return false;
        }
        let (_, times) = self.aged.entry(key.to_owned()).or_insert((want.claim, 0));
        *times = times.saturating_add(1);
        if *times > 1 && self.credit > 0 {
            self.credit -= 1;
            let edit = Edit::Abandoned { key: want.key.clone(), claim: want.claim };
            pass.doubts.push(Doubt { line: line.clone(), edit });
        }
        true
    }

    fn free(
        &mut self,
        look: &Look<'_>,
        facts: &Facts,
        key: &str,
        lines: &[&Line],
        pass: &mut Pass,
    ) {
        let mut filled = None;
        for line in lines {
            let (Some(holder), Some(since)) = (line.holder.text(), line.since.text()) else {
                pass.unfit += 1;
                continue;
            };
            if look.terms.is_free(&holder) {
                // Who cleared the holder left the time of his hold beside it.
                if !since.is_empty() && (look.is_past)(key, &since) {
                    write(look, line, (look.terms.free(), "", ""), pass);
                }
                continue;
            }
            let time = look.terms.read_time(&line.since);
            // While Redis is away nobody knows better than the cell.
            let is_old = look.mode == Mode::Healthy
                && time.is_some_and(|at| {
                    look.now_ms.saturating_sub(at) > look.terms.abandoned_after_ms()
                });
            let is_word = !is_old
                && !(look.is_over)(key, &holder, &since)
                && !facts.lost.contains(&holder)
                && (look.mode == Mode::Degraded || !self.has_begun || self.named.contains_key(key));
            if is_word {
                filled = filled.or(Some((*line, holder, time)));
            } else {
                write(look, line, (look.terms.free(), "", ""), pass);
            }
        }
        if !look.is_new {
            return;
        }
        match filled.zip(look.terms.key_of(key)) {
            Some(((line, holder, time), lock)) => {
                let named = self.name(key, line, look);
                if look.is_compared && named.times % 4 == 1 {
                    let at_ms = time.unwrap_or(named.first_ms).min(look.now_ms);
                    let edit = Edit::Filled { key: lock, holder, at_ms };
                    pass.doubts.push(Doubt { line: line.clone(), edit });
                }
            }
            None => drop(self.named.remove(key)),
        }
    }

    fn name(&mut self, key: &str, line: &Line, look: &Look<'_>) -> &Named {
        let new = || Named { line: line.clone(), first_ms: look.now_ms, times: 0 };
        let named = self.named.entry(key.to_owned()).or_insert_with(new);
        if named.line.holder != line.holder || named.line.since != line.since {
            *named = new();
        }
        // Until it can be asked for, each look is the first.
        named.times = if look.is_compared { named.times.wrapping_add(1) } else { 0 };
        named
    }

    /// So many as go at once, beginning behind the last that were written: what can't be written, for
    /// whatever reason, does not stand before the others.
    fn bound(&mut self, writes: &mut Vec<Write>) {
        if writes.len() <= MOST_WRITES {
            self.cursor.clear();
            return;
        }
        let key = |write: &Write| write.line.key.text().unwrap_or_default();
        let behind = writes.partition_point(|write| key(write) <= self.cursor);
        let count = writes.len();
        writes.rotate_left(behind % count);
        writes.truncate(MOST_WRITES);
        self.cursor = writes.last().map(key).unwrap_or_default();
    }
}

/// What all rows together say.
struct Facts {
    /// Holders' texts in rows where they don't belong.
    moved: BTreeSet<String>,
    /// Holders' texts that have gone from rows where they were seen.
    lost: BTreeSet<String>,
}

impl Facts {
    fn of(look: &Look<'_>, sights: &BTreeMap<String, Sight>) -> Self {
        let (mut moved, mut lost) = (BTreeSet::new(), BTreeSet::new());
        for line in &look.grid.lines {
            let want = line.key.text().and_then(|key| look.wants.get(&key));
            let holder = line.holder.text().unwrap_or_default();
            if want.is_none_or(|want| want.holder != holder) {
                moved.insert(holder);
            }
        }
        for key in sights.keys() {
            let Some(want) = look.wants.get(key) else { continue };
            let is_there =
                |line: &Line| line.holder.text().as_deref() == Some(want.holder.as_str());
            if !look.grid.lines_of(key).any(is_there) {
                lost.insert(want.holder.clone());
            }
        }
        Self { moved, lost }
    }
}

fn is_shown(look: &Look<'_>, line: &Line, want: &Want) -> bool {
    line.holder.text().as_deref() == Some(want.holder.as_str())
        && (look.grid.columns.since.is_none()
            || line.since.text().as_deref() == Some(want.since.as_str()))
        && (look.grid.columns.origin.is_none()
            || line.origin.text().as_deref() == Some(want.origin))
}

fn write(
    look: &Look<'_>,
    line: &Line,
    (holder, since, origin): (&str, &str, &'static str),
    pass: &mut Pass,
) {
    if [&line.key, &line.holder, &line.since, &line.origin].iter().any(|cell| cell.text().is_none())
    {
        pass.unfit += 1;
        return;
    }
    let since = if look.grid.columns.since.is_some() { since } else { "" };
    let line = line.clone();
    let (holder, since) = (holder.to_owned(), since.to_owned());
    pass.writes.push(Write { line, key: None, holder, since, origin });
}
