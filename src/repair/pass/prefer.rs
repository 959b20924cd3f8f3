//! What a pass tells the ledger of values that stand in Redis. Pure.

use std::sync::Arc;

use crate::config::Conflict;
use crate::ledger::entry::OBSERVED;
use crate::ledger::fold::Holder;
use crate::ledger::{Ask, Cause, Claim, Guarantee, Position};
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;
use crate::lock::value;

use super::super::Truth;
use super::super::command::{Command, Order, counter};
use super::super::plan::{Found, Repair, put_right};
use super::judge::hold_of;
use super::{Note, Pass, UnderWay};

/// `fast`: how long a pass waits for the mirror of a grant that stands in Redis, while Redis is not
/// asked: ten times what a living sidecar takes at most to write it (`mirror_interval`).
const MIRROR_PATIENCE_MS: u64 = 10_000;
/// Where mirrors take longer (a sheet, and many who share its quota), so many times that.
const MIRRORS_AWAITED: u64 = 3;

/// `fast`: what others may still have to write, and what was found of it.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    /// As [`Pass::mirrors_within`] has it, in milliseconds.
    pub(super) lag_ms: u64,
    /// As [`Pass::alone`] has it.
    is_alone: bool,
    hearings: Vec<Hearing>,
    /// Grants whose mirror was waited for in vain, until the counter of fences is known.
    unsettled: Vec<(LockKey, Found)>,
    /// What the counter was after these were looked at.
    counter: Option<Counter>,
}

/// The counter of fences.
#[derive(Debug, Clone, Copy)]
enum Counter {
    /// No grant by Redis has a higher fence.
    Is(u64),
    /// It is gone, or may not be read.
    IsNotKnown,
}

impl Mirrors {
    /// How long a mirror is waited for.
    fn patience_ms(&self) -> u64 {
        MIRROR_PATIENCE_MS.max(self.lag_ms.saturating_mul(MIRRORS_AWAITED))
    }
}

/// What a look at a lock has shown, in `fast`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearing {
    /// Redis has a grant that the ledger has not heard of.
    Unheard(LockKey),
    /// Redis does not know more than the ledger.
    Settled(LockKey),
}

impl Pass {
    /// Whoever was there before this process is known to be dead, and this process has written what it
    /// was granted: for a grant that the ledger has not heard of nobody is waited for.
    pub fn alone(&mut self, is_alone: bool) {
        self.mirrors.is_alone = is_alone;
    }

    /// What was found since the last call. None in `strict`.
    pub fn take_hearings(&mut self) -> Vec<Hearing> {
        std::mem::take(&mut self.mirrors.hearings)
    }

    /// Nothing is left to do about this key.
    pub(super) fn hear_of(&mut self, key: &LockKey) {
        if self.policy.guarantee == Guarantee::Fast {
            self.mirrors.hearings.push(Hearing::Settled(key.clone()));
        }
    }

    /// A grant stands in Redis that the ledger has not heard of: its mirror is waited for. While locks
    /// are served by Redis nothing hangs on it. Then the fences decide, as far as they are known.
    pub(super) fn wait_for_mirror(
        &mut self,
        key: &LockKey,
        found: &Found,
        holder: Option<Arc<Holder>>,
        truth: &dyn Truth,
        now_ms: u64,
    ) -> Option<Order> {
        if self.is_careful || self.is_following() {
            self.later.insert(key.clone());
            return None;
        }
        self.mirrors.hearings.push(Hearing::Unheard(key.clone()));
        let age = truth.unheard_since(key).map_or(0, |since| now_ms.saturating_sub(since));
        if !self.mirrors.is_alone && age < self.mirrors.patience_ms() {
            self.later.insert(key.clone());
            return None;
        }
        let Some(counter) = self.mirrors.counter else {
            self.mirrors.unsettled.push((key.clone(), found.clone()));
            return None;
        };
        if let Some(holder) = &holder
            && let Some(repair) = self.put_back(found, holder, counter, now_ms)
        {
            return Order::new(key.clone(), Some(holder.at), repair);
        }
        self.later.insert(key.clone());
        self.supersede(key, found, holder, now_ms);
        None
    }

    /// The holder's value in the place of an older grant, if that is what stands there: no grant by
    /// Redis had a fence like the holder's when it was seen. Who had that grant still to write has died,
    /// and the ledger has given the lock to another while Redis was away.
    fn put_back<'a>(
        &self,
        found: &'a Found,
        holder: &'a Holder,
        counter: Counter,
        now_ms: u64,
    ) -> Option<Repair<'a>> {
        let is_older = match counter {
            Counter::Is(fence) => fence < holder.fence,
            Counter::IsNotKnown => false,
        };
        let is_asked_for = is_older && self.policy.conflict == Conflict::Ledger;
        is_asked_for.then(|| put_right(found, hold_of(holder, now_ms))).flatten()
    }

    /// Asks for the counter of fences, if a grant hangs on it.
    pub(super) fn ask_counter(&mut self) -> Option<Command> {
        if self.mirrors.unsettled.is_empty() {
            return None;
        }
        self.under_way = UnderWay::Counter;
        Some(counter(&self.policy.fence_counter))
    }

    /// What it is. Below zero, or nothing: not known.
    pub(super) fn counted(&mut self, count: Option<i64>) {
        let count = count.and_then(|count| u64::try_from(count).ok());
        self.mirrors.counter = Some(count.map_or(Counter::IsNotKnown, Counter::Is));
        self.found.extend(std::mem::take(&mut self.mirrors.unsettled));
    }

    /// It says nothing of what is looked at from now on.
    pub(super) fn forget_count(&mut self) {
        self.mirrors.counter = None;
    }

    /// The ledger was told of a value that it did not know: until it has taken that, it is wrong about the
    /// lock. A ledger that does not answer is not waited for any longer than a mirror.
    pub(super) fn wait_until_heard(&mut self, key: &LockKey, truth: &dyn Truth, now_ms: u64) {
        let is_asked = self.is_careful || self.is_following();
        if is_asked || self.policy.guarantee == Guarantee::Strict {
            return;
        }
        let age = truth.unheard_since(key).map_or(0, |since| now_ms.saturating_sub(since));
        if age >= self.mirrors.patience_ms() {
            return self.hear_of(key);
        }
        self.later.insert(key.clone());
        self.mirrors.hearings.push(Hearing::Unheard(key.clone()));
    }

    /// As far as fences tell, Redis gave the lock to another after its holder, so the holder had released
    /// it: who had both still to write has died. The ledger is told, and the key looked at again.
    fn supersede(
        &mut self,
        key: &LockKey,
        found: &Found,
        holder: Option<Arc<Holder>>,
        now_ms: u64,
    ) {
        let theirs = match found {
            Found::Value { stored, .. } => Guard::Value(stored),
            Found::Other { guard, .. } => Guard::Other(guard),
            Found::Missing => return,
        };
        if let Some(holder) = &holder {
            self.told.push(Ask::Release(key.clone(), holder.at, Cause::Superseded));
        }
        self.observe(key, theirs, now_ms);
        let worker = match found {
            Found::Value { stored, .. } => self.worker_of(key, stored),
            Found::Other { .. } | Found::Missing => None,
        };
        self.notes.push(Note::Preferred { key: key.clone(), holder, worker });
    }

    /// Who it is, as far as a value tells.
    fn worker_of(&self, key: &LockKey, stored: &[u8]) -> Option<String> {
        let rule = self.policy.rules.find(key.key());
        let client_value = rule.map_or(stored, |rule| value::strip(stored, rule.stamp));
        value::worker_id(client_value).map(str::to_owned)
    }

    /// Redis has a grant that lost by its fence, at `lost`, and Redis is right: the ledger is told,
    /// and the key looked at again.
    pub(super) fn prefer(
        &mut self,
        key: &LockKey,
        stored: &[u8],
        lost: Option<Position>,
        holder: Option<Arc<Holder>>,
        now_ms: u64,
    ) {
        self.later.insert(key.clone());
        // None: its release has come since it was planned.
        let Some(lost) = lost else { return };
        let claim = self.found_in_redis(key, stored, now_ms);
        self.told.push(Ask::Prefer(claim, lost));
        let worker = self.worker_of(key, stored);
        self.notes.push(Note::Preferred { key: key.clone(), holder, worker });
    }

    /// The claim of a value that was found in Redis.
    pub(super) fn found_in_redis(&self, key: &LockKey, stored: &[u8], now_ms: u64) -> Claim {
        let rule = self.policy.rules.find(key.key()).map_or("", |rule| &rule.name);
        Claim {
            key: key.clone(),
            stored: stored.into(),
            other: None,
            rule: rule.into(),
            client: OBSERVED.into(),
            at_ms: now_ms,
            asked_ttl_ms: None,
            expires_at_ms: None,
            marker: None,
        }
    }
}
