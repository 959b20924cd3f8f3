//! Claims in a store without order (SPEC 8): each is decided by who wrote it. Pure.
//!
//! | entry | what becomes of it |
//! |---|---|
//! | claim, observation | is *undecided*: nobody's lock, and every other value's claim on the key loses beside it |
//! | WON | holds, with its fence; of two the higher fence. Not that of an observation whose value has held and ended since |
//! | LOST, withdrawal | that entry is over, and its value dead unless another entry of the value stands |
//! | release | ends that entry; a hold ends with the last entry of its value |
//! | grant (fast) | as in a store with one order: a fact, the highest fence holds; what was found in Redis is the grant's then |
//!
//! Whoever wrote a claim decides it, by [`Fold::decide`], after an exchange that has shown it every
//! other log: it has won if and only if no other value is active on the key. Of two exchanges at least
//! one sees the other's entries, so two claims never both win; they may both lose.
//!
//! Entries of several logs come in any order, but each log's come in its own. What ends a claim may be
//! read before the claim: it is remembered. Who comes after a holder may be read before the holder's end:
//! the two are in dispute until that is read. A dispute that stays is a lock that was held twice.
//!
//! Fences: the highest grant that was read, plus all claims that were read. Whoever wins after another's
//! end was read has read all that the other one had read, and its own claim besides, so its fence is
//! higher, even where the other's WON was never written ("highest seen plus one" would repeat).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::super::Outcome;
use super::super::entry::{Claim, Entry, Position, Row};
use super::held::confirm;
use super::{Change, FENCE_GAP, Fold, Token, Verdict, is_same};
use crate::lock::record::LockKey;

/// Ends that were read before what they end; past that the oldest goes. A reader that is shown whole
/// exchanges has none.
const ENDED_KEPT: usize = 100_000;

/// A claim or observation that nobody has decided, so far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What is claimed.
    pub claim: Claim,
    /// It was found in Redis, and is nobody's claim.
    pub is_observed: bool,
}

/// What a store without order has beside the holders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undecided {
    open: BTreeMap<Position, Open>,
    /// Never iterated where order can be seen.
    by_key: HashMap<LockKey, BTreeSet<Position>>,
    /// Claims that have ended and were not read yet.
    ended: BTreeSet<Position>,
    /// Claims and observations that were ever read.
    claims: u64,
    /// How often a sidecar has lost Redis.
    gaps: u64,
}

/// [`Undecided`] in parts, as a store writes it down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UndecidedParts {
    /// What is not decided, by place.
    pub open: Vec<(Position, Open)>,
    /// Claims that have ended and were not read yet.
    pub ended: Vec<Position>,
    /// Claims and observations that were ever read.
    pub claims: u64,
    /// How often a sidecar has lost Redis.
    pub gaps: u64,
}

impl From<UndecidedParts> for Undecided {
    fn from(parts: UndecidedParts) -> Self {
        let ended = parts.ended.into_iter().collect();
        let mut undecided =
            Self { ended, claims: parts.claims, gaps: parts.gaps, ..Self::default() };
        parts.open.into_iter().for_each(|(at, open)| undecided.insert(at, open));
        undecided
    }
}

impl Undecided {
    /// All of it.
    pub fn parts(&self) -> UndecidedParts {
        let ended = self.ended.iter().copied().collect();
        UndecidedParts { open: self.list(), ended, claims: self.claims, gaps: self.gaps }
    }

    pub(super) fn insert(&mut self, at: Position, open: Open) {
        self.by_key.entry(open.claim.key.clone()).or_default().insert(at);
        self.open.insert(at, open);
    }

    fn remove(&mut self, at: Position) -> Option<Open> {
        let open = self.open.remove(&at)?;
        if let Some(places) = self.by_key.get_mut(&open.claim.key) {
            places.remove(&at);
            if places.is_empty() {
                self.by_key.remove(&open.claim.key);
            }
        }
        Some(open)
    }

    fn on(&self, key: &LockKey) -> impl Iterator<Item = (Position, &Open)> {
        let places = self.by_key.get(key).into_iter().flatten();
        places.filter_map(|at| Some((*at, self.open.get(at)?)))
    }

    fn end_unread(&mut self, at: Position) {
        self.ended.insert(at);
        if self.ended.len() > ENDED_KEPT {
            self.ended.pop_first();
        }
    }

    /// What fences have beside the highest grant.
    pub(super) fn fences(&self) -> u64 {
        self.claims.saturating_add(self.gaps.saturating_mul(FENCE_GAP))
    }

    pub(super) fn leave_room(&mut self) {
        self.gaps += 1;
    }

    pub(super) fn list(&self) -> Vec<(Position, Open)> {
        self.open.iter().map(|(at, open)| (*at, open.clone())).collect()
    }
}

impl Fold {
    /// An empty one, for a store without order.
    pub fn unordered() -> Self {
        Self { undecided: Some(Box::default()), ..Self::default() }
    }

    /// True if entries have one order, which decides by itself.
    pub fn is_ordered(&self) -> bool {
        self.undecided.is_none()
    }

    /// True for a claim or observation that was read and not decided.
    pub fn is_undecided(&self, at: Position) -> bool {
        self.undecided.as_ref().is_some_and(|undecided| undecided.open.contains_key(&at))
    }

    pub(super) fn undecided_at(&self, at: Position) -> Option<&Claim> {
        Some(&self.undecided.as_ref()?.open.get(&at)?.claim)
    }

    /// All that is undecided, by place.
    pub fn undecided(&self) -> Vec<(Position, Open)> {
        self.undecided.as_ref().map(|undecided| undecided.list()).unwrap_or_default()
    }

    /// The undecided claims on one lock, oldest logs first.
    pub fn undecided_on(&self, key: &LockKey) -> Vec<(Position, Open)> {
        let undecided = self.undecided.iter().flat_map(|undecided| undecided.on(key));
        undecided.map(|(at, open)| (at, open.clone())).collect()
    }

    /// The undecided claim of this value.
    pub fn undecided_of(&self, is_it: impl Fn(&Claim) -> bool, key: &LockKey) -> Option<Position> {
        let undecided = self.undecided.as_ref()?;
        let found = undecided.on(key).find(|(_, open)| is_it(&open.claim));
        found.map(|(at, _)| at)
    }

    /// Decides a claim of the own log, after an exchange that wrote it and showed every other log.
    /// Won: it holds from now on, and WON is to be written. Lost: LOST is to be written, and to be
    /// durable before anybody is told. None if it is undecided no more: it has ended.
    pub fn decide(&mut self, at: Position, changes: &mut Vec<Change>) -> Option<Verdict> {
        let undecided = self.undecided.as_ref()?;
        let open = undecided.open.get(&at)?;
        let claim = &open.claim;
        let holder = self.holders.get(&claim.key).map(|held| held.holder.clone());
        // Those of the own log are decided here as well, one after the other.
        let rival = holder.clone().filter(|holder| !is_same(&holder.claim, claim));
        let is_rival =
            |(other, open): (Position, &Open)| other.log != at.log && !is_same(&open.claim, claim);
        // What is found in Redis is nobody's claim: beside a claim of its value there is nothing to adopt.
        let is_known = || {
            let same =
                |(other, open): (Position, &Open)| other != at && is_same(&open.claim, claim);
            holder.is_some() || undecided.on(&claim.key).any(same)
        };
        let is_dead = || self.is_dead(claim) && !claim.is_anew();
        let is_void = open.is_observed && (is_known() || is_dead());
        if rival.is_some() || is_void || undecided.on(&claim.key).any(is_rival) {
            self.lose(at);
            return Some(Outcome::Lost { holder });
        }
        let fence = self.fence_high();
        Some(self.win(at, fence, changes))
    }

    /// Gives up a claim of the own log that was not decided: LOST is to be written.
    pub fn lose(&mut self, at: Position) {
        let Some(open) = self.undecided.as_mut().and_then(|undecided| undecided.remove(at)) else {
            return;
        };
        if !open.is_observed && !self.is_active(&open.claim) {
            self.bury(&open.claim, 0);
        }
    }

    pub(super) fn open_claim(&mut self, at: Position, claim: &Claim, is_observed: bool) -> Verdict {
        // Only a store without order comes here.
        let Some(undecided) = self.undecided.as_mut() else { return Outcome::Noted };
        undecided.claims += 1;
        if undecided.ended.remove(&at) {
            // Only a release is written by another log than what it ends.
            if is_observed && !self.is_active(claim) {
                self.bury(claim, 0);
            }
            return Outcome::Lost { holder: None };
        }
        undecided.insert(at, Open { claim: claim.clone(), is_observed });
        Outcome::Noted
    }

    /// A claim holds the lock, says who wrote it.
    pub(super) fn win(&mut self, at: Position, fence: u64, changes: &mut Vec<Change>) -> Verdict {
        let Some(open) = self.undecided.as_mut().and_then(|undecided| undecided.remove(at)) else {
            // It has ended, or was decided here.
            return Outcome::Noted;
        };
        let Open { claim, is_observed } = open;
        if is_observed && self.has_gone(&claim) {
            return Outcome::Lost { holder: self.holder(&claim.key).cloned() };
        }
        if let Some(held) = self.holders.get_mut(&claim.key) {
            if is_same(&held.holder.claim, &claim) {
                if is_observed {
                    return Outcome::Won { claim: held.holder.at, fence: held.holder.fence };
                }
                let verdict = confirm(held, at, &claim, changes);
                if fence <= held.holder.fence {
                    return verdict;
                }
                // The same in every order of reading.
                Arc::make_mut(&mut held.holder).fence = fence;
                changes.push(Change::Held(held.holder.clone()));
                return Outcome::Won { claim: held.holder.at, fence };
            }
            // The end of the one with the lower fence is in what is read after this.
            let holder = held.holder.clone();
            if fence <= holder.fence {
                self.bury(&claim, fence);
                self.dispute(&claim, at, holder.at);
                return Outcome::Lost { holder: Some(holder) };
            }
            self.bury(&holder.claim, holder.fence);
            self.dispute(&holder.claim, holder.at, at);
        }
        // `hold` raises the highest grant to this fence; of claims that is not true.
        let grants = self.fence_high;
        let verdict = self.hold(at, &claim, fence, changes);
        self.fence_high = grants;
        if is_observed && let Some(held) = self.holders.get_mut(&claim.key) {
            held.strike();
        }
        verdict
    }

    /// A client's release of what this claim names. A value that was found in Redis, and that nobody has
    /// decided, is nobody's claim, and [`Fold::lose`] leaves it as it is; but its client has let it go,
    /// so it is dead, and whoever finds it in Redis deletes it.
    pub(super) fn end(
        &mut self,
        key: &LockKey,
        claim: Position,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let released = self.undecided_at(claim).cloned();
        let ended = self.release(key, claim, changes);
        if let Some(value) = released.filter(|value| !self.is_active(value)) {
            self.bury(&value, 0);
        }
        ended
    }

    /// A value that was found in Redis has held the lock, and was let go. Whoever found it had not read
    /// that; one who reads the end after the finding ends it by that, so it is over in every order.
    fn has_gone(&self, found: &Claim) -> bool {
        let died = Token::of(found).and_then(|token| self.dead.fence(&token));
        died.is_some_and(|fence| fence > 0) && !found.is_anew()
    }

    /// The end of one entry, in a store without order: what it names, and nothing else, so that it does
    /// not matter what was read first. The hold ends with the last entry that stands behind it.
    pub(super) fn end_entry(
        &mut self,
        key: &LockKey,
        claim: Position,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        if self.is_undecided(claim) {
            self.lose(claim);
            return Outcome::Released;
        }
        let Some(held) = self.holders.get_mut(key).filter(|held| held.is_named(claim)) else {
            let is_unread = self.logs.get(&claim.log).is_none_or(|log| log.last_seq < claim.seq);
            if let Some(undecided) = self.undecided.as_mut().filter(|_| is_unread) {
                undecided.end_unread(claim);
            }
            return Outcome::NotHeld;
        };
        let was = held.holder.at;
        if held.goes_on_without(claim) {
            if held.holder.at != was {
                changes.push(Change::Held(held.holder.clone()));
            }
            return Outcome::Released;
        }
        // Dead also beside an open claim of the value, which lives again when it wins; an observation of
        // it does not.
        let (gone, fence) = (held.holder.claim.clone(), held.holder.fence);
        self.holders.remove(key);
        self.bury(&gone, fence);
        changes.push(Change::Freed(key.clone(), was));
        Outcome::Released
    }

    /// What is claimed by this entry, if it stands.
    pub fn claimed_at(&self, key: &LockKey, claim: Position) -> Option<&Claim> {
        let held = self.holders.get(key).filter(|held| held.is_named(claim));
        held.map(|held| &held.holder.claim).or_else(|| self.undecided_at(claim))
    }

    /// Every entry of the value that `claim` has: what a release of it is to name, for it ends "every
    /// claim of that key with that value" (SPEC 7) that its writer has seen.
    pub fn entries_beside(&self, key: &LockKey, claim: Position) -> Vec<Position> {
        let held = self.holders.get(key);
        let (Some(value), Some(undecided)) = (self.claimed_at(key, claim), &self.undecided) else {
            return Vec::new();
        };
        let open = undecided.on(key).filter(|(_, open)| is_same(&open.claim, value));
        let held = held.filter(|held| is_same(&held.holder.claim, value));
        let names = held.into_iter().flat_map(|held| held.names());
        let all: BTreeSet<_> = open.map(|(at, _)| at).chain(names).collect();
        all.into_iter().filter(|at| *at != claim).collect()
    }

    /// True while an entry of this value stands that `release` has not ended.
    pub fn stands(&self, value: &Claim) -> bool {
        self.is_active(value)
    }

    /// Something stands that says that this value holds, or may come to hold, the lock.
    fn is_active(&self, value: &Claim) -> bool {
        let held = self.holders.get(&value.key);
        held.is_some_and(|held| is_same(&held.holder.claim, value))
            || self.undecided_of(|claim| is_same(claim, value), &value.key).is_some()
    }
}

/// Rows of several logs, each behind what it names, where that is among them; those of one log in their
/// order; `own` as early as can be, so that what is released here is not taken over by whoever came after.
pub fn in_causal_order(rows: Vec<Row>, own: Option<u64>) -> Vec<Row> {
    let mut ordered = Vec::with_capacity(rows.len());
    let mut logs = BTreeMap::<_, VecDeque<Row>>::new();
    for row in rows {
        logs.entry((Some(row.at.log) != own, row.at.log)).or_default().push_back(row);
    }
    let waits_for = |logs: &BTreeMap<_, VecDeque<Row>>, claim: Position| {
        let rows = logs.get(&(Some(claim.log) != own, claim.log));
        let [first, last] = [rows.and_then(|rows| rows.front()), rows.and_then(|rows| rows.back())];
        first.is_some_and(|first| first.at.seq <= claim.seq)
            && last.is_some_and(|last| last.at.seq >= claim.seq)
    };
    let can_go = |logs: &BTreeMap<_, VecDeque<Row>>, row: &Row| {
        let named = named_by(&row.entry).filter(|claim| claim.log != row.at.log);
        named.is_none_or(|claim| !waits_for(logs, claim))
    };
    loop {
        let next = logs.iter().find(|(_, rows)| rows.front().is_some_and(|row| can_go(&logs, row)));
        let Some(name) = next.map(|(name, _)| *name) else { break };
        ordered.extend(logs.get_mut(&name).and_then(VecDeque::pop_front));
    }
    // Nothing is left; or some wait for each other, which no order in time can make.
    ordered.extend(logs.into_values().flatten());
    ordered
}

/// The claim of another entry that this one is about.
fn named_by(entry: &Entry) -> Option<Position> {
    match entry {
        Entry::Won { claim, .. }
        | Entry::Lost { claim, .. }
        | Entry::Release { claim, .. }
        | Entry::Withdraw { claim, .. }
        | Entry::Extend { claim, .. }
        | Entry::Content { claim, .. }
        | Entry::Heard { claim, .. }
        | Entry::Prefer(_, claim) => Some(*claim),
        Entry::Start(_)
        | Entry::Claim(_)
        | Entry::Grant(..)
        | Entry::Observe(_)
        | Entry::Gone { .. }
        | Entry::Degraded
        | Entry::Healthy(_)
        | Entry::Heartbeat
        | Entry::End => None,
    }
}

#[cfg(test)]
mod found;
#[cfg(test)]
mod tests;
