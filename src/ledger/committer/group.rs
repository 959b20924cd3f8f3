//! What one exchange writes, and for whom. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::Ask;
use super::super::entry::{Cause, Claim, Entry, OBSERVED, Position, Row};
use super::super::fold::{Fold, Token};
use super::request::{Fate, Part, Request, Size};
use super::{GROUP_BYTES, Now, Ticket};
use crate::lock::content;
use crate::lock::record::LockKey;

/// What a group is formed by.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) fold: &'a Fold,
    pub(super) now: Now,
    pub(super) skew: Duration,
    /// Own grants that were no holders when they were read.
    pub(super) beaten: &'a VecDeque<(Token, Position)>,
    /// The own log.
    pub(super) log: u64,
    /// The other logs that live.
    pub(super) living: &'a BTreeSet<u64>,
}

impl Facts<'_> {
    /// A claim that no living run will ever decide (a store without order).
    fn left_over(&self, key: &LockKey) -> Option<Position> {
        let is_left = |at: &Position| at.log != self.log && !self.living.contains(&at.log);
        self.fold.undecided_on(key).into_iter().map(|(at, _)| at).find(is_left)
    }
}

impl super::Committer {
    /// The same with groups of at most so many rows: what group commit is worth is measured so.
    pub fn with_groups_of(mut self, rows: usize) -> Self {
        self.group_rows = rows;
        self
    }
}

/// Rows that are written together, until their fate is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Group {
    pub(super) rows: Arc<Vec<Row>>,
    /// For each row the request and the part that it decides.
    pub(super) parts: Vec<Option<(usize, usize)>>,
    /// In the order of tickets.
    pub(super) requests: Vec<Request>,
    bytes: usize,
    most_rows: usize,
    /// For each withdrawal in it, the request that it is for.
    pub(super) withdraws: Vec<Ticket>,
    /// Claims that it says have lost, and their requests (a store without order).
    pub(super) losses: Vec<(Ticket, Position)>,
    /// It may have been written, by an exchange of unknown fate.
    pub(super) may_stand: bool,
    /// It has the log's last entry.
    pub(super) is_last: bool,
}

impl Group {
    /// An empty one, for so many rows.
    pub(super) fn of(most_rows: usize) -> Self {
        Self { most_rows, ..Self::default() }
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// True if this much more fits. Something always fits into an empty group.
    pub(super) fn has_room(&self, more: Size) -> bool {
        let is_empty = self.rows.is_empty() && self.requests.is_empty();
        is_empty
            || (self.rows.len() + more.rows <= self.most_rows
                && self.bytes + more.bytes <= GROUP_BYTES)
    }

    /// The request of this ticket.
    pub(super) fn request(&mut self, ticket: Ticket) -> Option<&mut Request> {
        let place = self.requests.binary_search_by_key(&ticket, |request| request.ticket).ok()?;
        self.requests.get_mut(place)
    }

    /// Which row of the group stands at this place.
    pub(super) fn index_of(&self, at: Position) -> Option<usize> {
        let first = self.rows.first()?.at;
        let index = usize::try_from(at.seq.checked_sub(first.seq)?).ok()?;
        (at.log == first.log && index < self.rows.len()).then_some(index)
    }

    /// Adds an entry that nobody waits for.
    pub(super) fn add_alone(&mut self, entry: Entry, at: Position) {
        self.push(entry, at, None);
    }

    /// Adds what a request has still to write.
    pub(super) fn add(
        &mut self,
        mut request: Request,
        facts: Facts<'_>,
        mut position: impl FnMut() -> Position,
    ) {
        self.bytes += request.size().bytes;
        let place = self.requests.len();
        for (number, part) in request.parts.iter_mut().enumerate() {
            if part.outcome.is_some() {
                continue;
            }
            for expired in expired(&part.ask, facts) {
                self.push(expired, position(), None);
            }
            part.tries += 1;
            let entry = entry(part, facts, &self.rows);
            let beside = entry.as_ref().map(|entry| entries_beside(entry, facts.fold));
            part.value = entry.as_ref().and_then(|entry| value_of(entry, facts.fold)).map(Box::new);
            part.at = entry.map(|entry| {
                let at = position();
                self.push(entry, at, Some((place, number)));
                at
            });
            for entry in beside.into_iter().flatten() {
                self.push(entry, position(), Some((place, number)));
            }
        }
        self.requests.push(request);
    }

    /// Takes out what was given up, where it is known that nothing was written yet: the rows' places
    /// stay.
    pub(super) fn strike(&mut self) -> Vec<Request> {
        let mut struck = Vec::new();
        for (place, request) in self.requests.iter_mut().enumerate() {
            if request.fate != Fate::Withdraw {
                continue;
            }
            let rows = Arc::make_mut(&mut self.rows).iter_mut().zip(&mut self.parts);
            for (row, part) in rows.filter(|(_, part)| part.is_some_and(|(of, _)| of == place)) {
                (row.entry, *part) = (Entry::Heartbeat, None);
            }
            struck.push(request.clone());
            request.parts.clear();
            request.fate = Fate::Forget;
        }
        struck
    }

    fn push(&mut self, entry: Entry, at: Position, part: Option<(usize, usize)>) {
        // Nobody else has the rows while the group forms, so this copies nothing.
        Arc::make_mut(&mut self.rows).push(Row { at, entry });
        self.parts.push(part);
    }
}

/// What an ask says in the log; nothing for a release of a lock that nobody holds.
fn entry(part: &Part, facts: Facts<'_>, earlier: &[Row]) -> Option<Entry> {
    let at_ms = facts.now.unix_ms;
    Some(match &part.ask {
        Ask::Claim(claim) | Ask::ClaimExpiring(claim) => Entry::Claim(claim.clone()),
        Ask::Grant(claim, fence) => Entry::Grant(claim.clone(), *fence),
        Ask::Observe(claim) => Entry::Observe(claim.clone()),
        Ask::Prefer(claim, lost) => Entry::Prefer(claim.clone(), *lost),
        Ask::Release(key, claim, cause) => {
            // A hold may go on under another name than the asker's (a store without order).
            let named = facts.fold.holder_named(key, *claim).filter(|_| !facts.fold.is_ordered());
            let claim = named.map_or(*claim, |holder| holder.at);
            Entry::Release { key: key.clone(), claim, cause: *cause, at_ms }
        }
        Ask::ReleaseAny(key, cause) => {
            let holder = facts.fold.holder(key).map(|holder| holder.at);
            let claim = holder.or_else(|| facts.left_over(key))?;
            Entry::Release { key: key.clone(), claim, cause: *cause, at_ms }
        }
        Ask::ReleaseValue { key, stored, other: None, cause, fence: Some(fence) } => Entry::Gone {
            key: key.clone(),
            stored: stored.clone(),
            cause: *cause,
            fence: *fence,
            at_ms,
        },
        Ask::ReleaseValue { key, stored, other, cause, .. } => {
            let value = Value { key, stored, other: other.as_deref() };
            let claim = claim_of(value, facts, earlier)?;
            Entry::Release { key: key.clone(), claim, cause: *cause, at_ms }
        }
        Ask::Extend(key, claim, expires_at_ms) => {
            Entry::Extend { key: key.clone(), claim: *claim, expires_at_ms: *expires_at_ms }
        }
        Ask::Renew(claim) => renewal(claim, facts, earlier),
        Ask::Content { key, claim, change } => {
            let claim = claim.or_else(|| holder_of(key, facts, earlier))?;
            Entry::Content { key: key.clone(), claim, change: change.clone() }
        }
        Ask::Heard(key, claim) => Entry::Heard { key: key.clone(), claim: *claim },
        Ask::Degraded => Entry::Degraded,
        Ask::Healthy(run_id) => Entry::Healthy(run_id.clone()),
    })
}

/// What a new end of this value's lock says. The fold has the last word on what is dead by then.
fn renewal(claim: &Claim, facts: Facts<'_>, earlier: &[Row]) -> Entry {
    let Claim { key, stored, other, .. } = claim;
    let value = Value { key, stored, other: other.as_deref() };
    match (claim_of(value, facts, earlier), claim.expires_at_ms) {
        (Some(holder), Some(expires_at_ms)) => {
            Entry::Extend { key: key.clone(), claim: holder, expires_at_ms }
        }
        _ => Entry::Observe(Claim { client: OBSERVED.into(), ..claim.clone() }),
    }
}

/// A store without order: what else a release is to name, for its value to be over.
fn entries_beside(entry: &Entry, fold: &Fold) -> Vec<Entry> {
    match entry {
        Entry::Release { cause: Cause::Undelivered | Cause::Vanished, .. } => Vec::new(),
        Entry::Release { key, claim, cause, at_ms } if !fold.is_ordered() => {
            let (cause, at_ms) = (*cause, *at_ms);
            let others = fold.entries_beside(key, *claim).into_iter();
            others.map(|claim| Entry::Release { key: key.clone(), claim, cause, at_ms }).collect()
        }
        _ => Vec::new(),
    }
}

/// A store without order: the value that a release ends.
fn value_of(entry: &Entry, fold: &Fold) -> Option<Claim> {
    match entry {
        Entry::Release { cause: Cause::Undelivered | Cause::Vanished, .. } => None,
        Entry::Release { key, claim, .. } if !fold.is_ordered() => {
            fold.claimed_at(key, *claim).cloned()
        }
        _ => None,
    }
}

/// A value of a lock.
#[derive(Clone, Copy)]
struct Value<'a> {
    key: &'a LockKey,
    stored: &'a [u8],
    other: Option<&'a [u8]>,
}

impl Value<'_> {
    fn is_of(&self, claim: &Claim) -> bool {
        claim.key == *self.key
            && *claim.stored == *self.stored
            && match (claim.other.as_deref(), self.other) {
                // What stands there may have changed since.
                (Some(one), Some(other)) => content::is_same_hold(one, other),
                (one, other) => one == other,
            }
    }
}

/// Who holds the lock: a grant in the group that forms, or the holder.
fn holder_of(key: &LockKey, facts: Facts<'_>, earlier: &[Row]) -> Option<Position> {
    let own = earlier.iter().rev().find(
        |row| matches!(&row.entry, Entry::Grant(claim, _) | Entry::Claim(claim) if claim.key == *key),
    );
    own.map(|row| row.at).or_else(|| Some(facts.fold.holder(key)?.at))
}

/// The claim of this value: in the group that forms, as the holder, or one that was beaten.
fn claim_of(value: Value<'_>, facts: Facts<'_>, earlier: &[Row]) -> Option<Position> {
    let mut earlier = earlier.iter().rev();
    let own = earlier.clone().find(|row| {
        matches!(&row.entry, Entry::Grant(claim, _) | Entry::Claim(claim) if value.is_of(claim))
    });
    if let Some(own) = own {
        return Some(own.at);
    }
    let holder = facts.fold.holder(value.key).filter(|holder| value.is_of(&holder.claim));
    if let Some(holder) = holder {
        return Some(holder.at);
    }
    if let Some(open) = facts.fold.undecided_of(|claim| value.is_of(claim), value.key) {
        return Some(open);
    }
    // Last, for an observation of what is held already is no name of that hold.
    let seen =
        earlier.find(|row| matches!(&row.entry, Entry::Observe(claim) if value.is_of(claim)));
    if let Some(seen) = seen {
        return Some(seen.at);
    }
    let token = Token::new(value.key, value.stored, value.other)?;
    facts.beaten.iter().rev().find(|(beaten, _)| *beaten == token).map(|(_, at)| *at)
}

/// The end of a holder that has run out by the time of the claim, clocks being what they are.
fn expired(ask: &Ask, facts: Facts<'_>) -> Vec<Entry> {
    let Ask::ClaimExpiring(Claim { key, at_ms, .. }) = ask else { return Vec::new() };
    let skew = u64::try_from(facts.skew.as_millis()).unwrap_or(u64::MAX);
    let is_over = |claim: &Claim| {
        claim.expires_at_ms.is_some_and(|expires| expires.saturating_add(skew) < *at_ms)
    };
    let holder = facts.fold.holder(key).filter(|holder| is_over(&holder.claim));
    let undecided = facts.fold.undecided_on(key);
    let undecided = undecided.iter().filter(|(_, open)| is_over(&open.claim)).map(|(at, _)| *at);
    let all = holder.map(|holder| holder.at).into_iter().chain(undecided);
    all.map(|claim| Entry::Release {
        key: key.clone(),
        claim,
        cause: Cause::Expired,
        at_ms: *at_ms,
    })
    .collect()
}
