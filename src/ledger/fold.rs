//! The state of all locks, from what the logs say. Pure. Told here for a store with one order; what is
//! otherwise without one stands in `undecided`.
//!
//! It is a function of the rows alone: every reader that has read the same rows has the same state,
//! whenever and in whatever portions it read them, and a row that it was given before changes
//! nothing. A [`Snapshot`] stands for all rows before it.
//!
//! The rules are those of `SPEC.md`, section 8:
//!
//! | entry | what becomes of it |
//! |---|---|
//! | claim | holds if the key is free; confirms the holder if it has the same stored value; else it has lost, and its value is dead |
//! | observation | as a claim, but never holds by a dead value, and makes none dead by losing |
//! | grant (fast) | the highest fence holds; the lower one is dead, and a conflict unless its release comes. One of a dead value holds if its fence is above all by which that value has died |
//! | gone (fast) | the value has died by this fence and all below: it ends such a hold, also one whose grant comes later |
//! | preference (fast) | a grant that is dead by its fence alone holds all the same, with a new fence: Redis has it |
//! | content | the hold goes on with it, if what has changed was as the change says; what stood there is dead |
//! | release, withdrawal | ends the hold of that claim, and of a holder that it confirmed |
//!
//! *Dead* binds observations, repairs, and grants up to the fence by which the value has died. It does
//! not bind a claim that is made later: a client may ask again with the value it lost with.
//!
//! Fences: one counter for the whole ledger. It grows with every hold, so it grows for each key, and
//! a snapshot carries one number. In `fast` it leaves room when a sidecar loses Redis ([`FENCE_GAP`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Outcome;
use super::entry::{Cause, Claim, Entry, Guarantee, Position, Row, Start};
use crate::lock::content::is_same_content;
use crate::lock::record::LockKey;

mod content;
mod dead;
mod grant;
mod held;
mod observed;
mod prefer;
mod snapshot;
mod undecided;

pub use dead::{DEAD_GENERATION, Dead, Token};
pub(super) use held::is_same;
use held::{Held, confirm};
pub use snapshot::Snapshot;
pub use undecided::{Open, Undecided, UndecidedParts, in_causal_order};

/// What a row has come to: the same words as the answer to whoever asked for it.
pub use super::Outcome as Verdict;

/// `fast`: when a sidecar loses Redis, fences go on at the next multiple of this. Redis's counter is
/// ahead of the ledger by the grants that are not written yet, which are far fewer: so the fences of
/// claims that are made without Redis are above all that it has given, also where that is never
/// written. There is room for 2^29 such steps in what Lua counts exactly.
pub const FENCE_GAP: u64 = 1 << 24;
/// Logs that are remembered. Past that the oldest ended one goes, or else the oldest: a crash loop
/// must not grow memory. Far more than sidecars that share one ledger.
pub const LOGS_KEPT: usize = 1_000;
/// Conflicts that are remembered; past that the oldest goes. Each was handed out when it arose.
pub const CONFLICTS_KEPT: usize = 1_000;
/// Claims of one value that one hold remembers beside its own; past that the oldest goes. More than
/// a client repeats a command whose reply it has lost.
pub const CONFIRMATIONS_KEPT: usize = 64;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The claim's place.
    pub at: Position,
    /// The claim.
    pub claim: Claim,
    /// Higher than that of every earlier holder of the key. 0: a claim of another run that is not decided,
    /// so far as is read (a store without order); no lock for a repair.
    pub fence: u64,
    /// The client was heard of after its OK.
    pub heard: bool,
}

/// What a row has changed, for whoever keeps a table of locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This holds the key now, in place of whatever held it; or what is known of it has changed.
    Held(Arc<Holder>),
    /// This claim does not hold the key any more, and nobody does.
    Freed(LockKey, Position),
}

impl Change {
    /// The lock.
    pub fn key(&self) -> &LockKey {
        match self {
            Self::Held(holder) => &holder.claim.key,
            Self::Freed(key, _) => key,
        }
    }
}

/// What the ledger knows of one value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds the lock.
    Holder,
    /// It has lost, or was released or withdrawn.
    Dead,
    /// The ledger does not know it (any more).
    Unknown,
}

/// Two grants that overlap (fast): the lower fence has no release (yet).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The lock.
    pub key: LockKey,
    /// The grant with the lower fence, which is no holder any more.
    pub lost: Position,
    /// What holds, or held, instead.
    pub by: Position,
    /// The value of the one that lost; none for what nothing tells from the next.
    pub value: Option<Token>,
}

/// What a log last said of Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogMode {
    /// Nothing.
    #[default]
    Unsaid,
    /// It has lost Redis.
    Degraded,
    /// It serves by this run of Redis.
    Healthy(Arc<str>),
}

/// One run of a sidecar, as its log shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Its first entry; none if that was before everything that is kept.
    pub start: Option<Arc<Start>>,
    /// Its last entry's number.
    pub last_seq: u64,
    /// It has ended in order.
    pub ended: bool,
    /// What it last said of Redis.
    pub mode: LogMode,
}

/// The state of all locks after the rows it was given.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    /// Never iterated where order can be seen: [`Fold::holders`] sorts.
    holders: HashMap<LockKey, Held>,
    dead: Dead,
    fence_high: u64,
    logs: BTreeMap<u64, Log>,
    conflicts: BTreeMap<Position, Conflict>,
    /// A store without order: what is not decided yet. `fence_high` is that of grants alone then.
    undecided: Option<Box<Undecided>>,
}

impl Fold {
    /// Applies the next row of the order. A row that was applied before is [`Outcome::Noted`].
    pub fn apply(&mut self, row: &Row) -> Verdict {
        self.follow(row, &mut Vec::new())
    }

    /// As [`Fold::apply`]; appends what has changed.
    pub fn follow(&mut self, row: &Row, changes: &mut Vec<Change>) -> Verdict {
        if !self.is_next(row) {
            return Outcome::Noted;
        }
        match &row.entry {
            Entry::Claim(claim) => self.claim(row.at, claim, changes),
            Entry::Observe(claim) => self.observe(row.at, claim, changes),
            Entry::Prefer(claim, lost) => self.prefer(row.at, claim, *lost, changes),
            Entry::Grant(claim, fence) => self.grant(row.at, claim, *fence, changes),
            Entry::Gone { key, stored, fence, .. } => self.let_go(key, stored, *fence, changes),
            Entry::Release { key, claim, cause: Cause::Expired, at_ms } => {
                self.expire(key, *claim, *at_ms, changes)
            }
            Entry::Release { key, claim, cause: Cause::Vanished, .. } => {
                self.vanish(key, *claim, changes)
            }
            Entry::Release { key, claim, cause: Cause::Undelivered, .. }
            | Entry::Withdraw { key, claim } => self.give_up(key, *claim, changes),
            Entry::Won { claim, fence, .. } => self.win(*claim, *fence, changes),
            Entry::Lost { key, claim } => self.end_entry(key, *claim, changes),
            Entry::Release { key, claim, .. } => self.end(key, *claim, changes),
            Entry::Extend { key, claim, expires_at_ms } => {
                self.amend(key, *claim, changes, |h| h.claim.expires_at_ms = Some(*expires_at_ms))
            }
            Entry::Content { key, claim, change } => self.change(key, *claim, change, changes),
            Entry::Heard { key, claim } => self.amend(key, *claim, changes, |h| h.heard = true),
            Entry::Degraded => self.leave_room(row.at.log),
            Entry::Start(_) | Entry::Healthy(_) | Entry::Heartbeat | Entry::End => Outcome::Noted,
        }
    }

    /// Who holds the lock.
    pub fn holder(&self, key: &LockKey) -> Option<&Arc<Holder>> {
        self.holders.get(key).map(|held| &held.holder)
    }

    /// The holder, if this claim names it: its own, or one that was won by having its value.
    pub fn holder_named(&self, key: &LockKey, claim: Position) -> Option<&Arc<Holder>> {
        self.holders.get(key).filter(|held| held.is_named(claim)).map(|held| &held.holder)
    }

    /// All holders, oldest first.
    pub fn holders(&self) -> Vec<Arc<Holder>> {
        let mut all: Vec<_> = self.holders.values().map(|held| held.holder.clone()).collect();
        all.sort_unstable_by_key(|holder| holder.at);
        all
    }

    /// Holds of these logs whose clients were not heard of since, oldest first.
    pub fn unheard_of(&self, logs: &BTreeSet<u64>) -> Vec<Arc<Holder>> {
        if logs.is_empty() {
            return Vec::new();
        }
        let is_one = |holder: &&Arc<Holder>| !holder.heard && logs.contains(&holder.at.log);
        let mut all: Vec<_> =
            self.holders.values().map(|held| &held.holder).filter(is_one).cloned().collect();
        all.sort_unstable_by_key(|holder| holder.at);
        all
    }

    /// How many locks are held.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// True when no lock is held.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// What the ledger knows of a string that stands in Redis.
    pub fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        self.standing_of(key, stored, None)
    }

    /// As [`Fold::standing`], also for a lock that is not a string: then `stored` is empty, and
    /// `other` is what tells it from the next.
    pub fn standing_of(&self, key: &LockKey, stored: &[u8], other: Option<&[u8]>) -> Standing {
        let holds = |held: &Held| {
            let claim = &held.holder.claim;
            *claim.stored == *stored
                && match (claim.other.as_deref(), other) {
                    (Some(one), Some(other)) => one == other || is_same_content(one, other),
                    (one, other) => one == other,
                }
        };
        if self.holders.get(key).is_some_and(holds) {
            return Standing::Holder;
        }
        let is_dead = Token::new(key, stored, other).is_some_and(|token| self.dead.has(&token));
        if is_dead { Standing::Dead } else { Standing::Unknown }
    }

    /// The highest fence given so far.
    pub fn fence_high(&self) -> u64 {
        self.fence_high + self.undecided.as_ref().map_or(0, |undecided| undecided.fences())
    }

    /// The logs that are known, oldest first, with their numbers.
    pub fn logs(&self) -> impl Iterator<Item = (u64, &Log)> {
        self.logs.iter().map(|(number, log)| (*number, log))
    }

    /// One log.
    pub fn log(&self, number: u64) -> Option<&Log> {
        self.logs.get(&number)
    }

    /// Grants that overlapped and whose release has not come (fast), by the place of the loser.
    pub fn conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.conflicts.values()
    }

    /// True if the grant at this place has lost to another, and its release has not come.
    pub fn is_disputed(&self, grant: Position) -> bool {
        self.conflicts.contains_key(&grant)
    }

    /// Notes the row in its log; false if it was there before.
    fn is_next(&mut self, row: &Row) -> bool {
        let log = self.logs.entry(row.at.log).or_default();
        if row.at.seq <= log.last_seq {
            return false;
        }
        log.last_seq = row.at.seq;
        match &row.entry {
            Entry::Start(start) => log.start = Some(Arc::new(start.clone())),
            Entry::Degraded => log.mode = LogMode::Degraded,
            Entry::Healthy(run_id) => log.mode = LogMode::Healthy(run_id.clone()),
            Entry::End => log.ended = true,
            _ => {}
        }
        if self.logs.len() > LOGS_KEPT {
            self.forget_a_log(row.at.log);
        }
        true
    }

    fn forget_a_log(&mut self, except: u64) {
        let mut others = self.logs.iter().filter(|(number, _)| **number != except);
        let oldest = others.clone().next().map(|(number, _)| *number);
        let ended = others.find(|(_, log)| log.ended).map(|(number, _)| *number);
        if let Some(number) = ended.or(oldest) {
            self.logs.remove(&number);
        }
    }

    fn claim(&mut self, at: Position, claim: &Claim, changes: &mut Vec<Change>) -> Verdict {
        if !self.is_ordered() {
            return self.open_claim(at, claim, false);
        }
        let Some(held) = self.holders.get_mut(&claim.key) else {
            return self.hold(at, claim, self.fence_high + 1, changes);
        };
        if is_same(&held.holder.claim, claim) {
            return confirm(held, at, claim, changes);
        }
        let holder = held.holder.clone();
        self.bury(claim, 0);
        Outcome::Lost { holder: Some(holder) }
    }

    fn observe(&mut self, at: Position, claim: &Claim, changes: &mut Vec<Change>) -> Verdict {
        if !self.is_ordered() {
            return self.open_claim(at, claim, true);
        }
        if let Some(held) = self.holders.get_mut(&claim.key) {
            if is_same(&held.holder.claim, claim) {
                // Nobody was told of it who could count on it.
                return Outcome::Won { claim: held.holder.at, fence: held.holder.fence };
            }
            return Outcome::Lost { holder: Some(held.holder.clone()) };
        }
        if self.is_dead(claim) && !claim.is_anew() {
            return Outcome::Lost { holder: None };
        }
        let verdict = self.hold(at, claim, self.fence_high + 1, changes);
        if let Some(held) = self.holders.get_mut(&claim.key) {
            held.strike();
        }
        verdict
    }

    fn release(&mut self, key: &LockKey, claim: Position, changes: &mut Vec<Change>) -> Verdict {
        // It held, and who came after it was read first: its end, which is this, is in the ledger.
        let was_disputed = self.settle_dispute(claim);
        if !self.is_ordered() {
            let ended = self.end_entry(key, claim, changes);
            return if was_disputed { Outcome::Released } else { ended };
        }
        if !self.holders.get(key).is_some_and(|held| held.is_named(claim)) {
            return Outcome::NotHeld;
        }
        // The line above has found it.
        let Some(held) = self.holders.remove(key) else { return Outcome::NotHeld };
        self.bury(&held.holder.claim, held.holder.fence);
        changes.push(Change::Freed(key.clone(), held.holder.at));
        Outcome::Released
    }

    /// One claim was given up, for its client was not told OK. A hold that other claims of the same
    /// value have confirmed since is theirs: a client that came again with its token may have been
    /// told OK for it.
    fn give_up(&mut self, key: &LockKey, claim: Position, changes: &mut Vec<Change>) -> Verdict {
        let held = self.holders.get_mut(key).filter(|held| held.is_named(claim));
        match held.filter(|_| self.undecided.is_none()) {
            // All names stay; how many claims stand behind them is what counts.
            Some(held) if held.standing() > 1 => {
                held.strike();
                Outcome::Released
            }
            _ => self.release(key, claim, changes),
        }
    }

    /// Ends a hold that has run out. Not one whose expiry was moved before this was written by a
    /// sidecar that did not know of it.
    fn expire(
        &mut self,
        key: &LockKey,
        claim: Position,
        at_ms: u64,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let held = self.holders.get(key).map(|held| &held.holder.claim);
        let expires = held.or(self.undecided_at(claim)).and_then(|claim| claim.expires_at_ms);
        if expires.is_none_or(|expires| expires > at_ms) {
            return Outcome::NotHeld;
        }
        self.release(key, claim, changes)
    }

    fn amend(
        &mut self,
        key: &LockKey,
        claim: Position,
        changes: &mut Vec<Change>,
        amend: impl FnOnce(&mut Holder),
    ) -> Verdict {
        match self.holders.get_mut(key) {
            Some(held) if held.is_named(claim) => {
                amend(Arc::make_mut(&mut held.holder));
                changes.push(Change::Held(held.holder.clone()));
                Outcome::Noted
            }
            _ => Outcome::NotHeld,
        }
    }

    fn hold(
        &mut self,
        at: Position,
        claim: &Claim,
        fence: u64,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        if let Some(token) = Token::of(claim) {
            self.dead.remove(&token);
        }
        self.fence_high = self.fence_high.max(fence);
        let holder = Arc::new(Holder { at, claim: claim.clone(), fence, heard: false });
        changes.push(Change::Held(holder.clone()));
        self.holders
            .insert(claim.key.clone(), Held { holder, is_granted: false, confirmed_by: None });
        Outcome::Won { claim: at, fence }
    }

    /// A sidecar that has lost Redis is going to claim: those claims' fences are above all that Redis
    /// has given and that is not written yet.
    fn leave_room(&mut self, log: u64) -> Verdict {
        let start = self.logs.get(&log).and_then(|log| log.start.as_ref());
        if start.is_none_or(|start| start.guarantee == Guarantee::Fast) {
            if let Some(undecided) = &mut self.undecided {
                undecided.leave_room();
                return Outcome::Noted;
            }
            self.fence_high = (self.fence_high / FENCE_GAP + 1) * FENCE_GAP;
        }
        Outcome::Noted
    }

    /// `fence`: that of its hold, zero if it had none.
    fn bury(&mut self, claim: &Claim, fence: u64) {
        if let Some(token) = Token::of(claim) {
            self.dead.insert(token, fence);
        }
    }

    fn is_dead(&self, claim: &Claim) -> bool {
        Token::of(claim).is_some_and(|token| self.dead.has(&token))
    }
}

#[cfg(test)]
mod tests;
