//! What a pass tells the ledger of values that stand in Redis. Pure.

use std::sync::Arc;

use crate::ledger::entry::OBSERVED;
use crate::ledger::fold::Holder;
use crate::ledger::{Ask, Claim, Position};
use crate::lock::record::LockKey;
use crate::lock::value;

use super::{Note, Pass};

impl Pass {
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
        let rule = self.policy.rules.find(key.key());
        let client_value = rule.map_or(stored, |rule| value::strip(stored, rule.stamp));
        let worker = value::worker_id(client_value).map(str::to_owned);
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
