//! What a pass tells the ledger of values that stand in Redis. Pure.

use std::sync::Arc;

use crate::ledger::entry::OBSERVED;
use crate::ledger::fold::Holder;
use crate::ledger::{Ask, Cause, Claim, Position};
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;
use crate::lock::value;

use super::super::plan::Found;
use super::{Note, Pass};

/// `fast`: how long a pass waits for the mirror of a grant that stands in Redis, while Redis is not
/// asked: ten times what a living sidecar takes at most to write it (`mirror_interval`).
const MIRROR_PATIENCE_MS: u64 = 10_000;

impl Pass {
    /// True if whoever made the grant that stands in Redis does not live any more: it would have
    /// written it by now. While locks are served by Redis nothing hangs on it.
    pub(super) fn is_overdue(&mut self, key: &LockKey, now_ms: u64) -> bool {
        if !self.is_full || self.is_careful {
            return false;
        }
        let since = *self.unheard.entry(key.clone()).or_insert(now_ms);
        now_ms.saturating_sub(since) >= MIRROR_PATIENCE_MS
    }

    /// Redis gave the lock to another after its holder, so the holder had released it: who had both
    /// still to write has died. The ledger is told, and the key looked at again.
    pub(super) fn supersede(
        &mut self,
        key: &LockKey,
        found: &Found,
        holder: Option<Arc<Holder>>,
        now_ms: u64,
    ) {
        self.later.insert(key.clone());
        let theirs = match found {
            Found::Value { stored, .. } => Guard::Value(stored),
            Found::Other { guard, .. } => Guard::Other(guard),
            Found::Missing => return,
        };
        self.unheard.remove(key);
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
