//! Holds that are nobody's claim: values that were found in Redis and that no client of Lockside was
//! told it holds (SPEC 6, `observe`). Pure.

use super::{Change, Fold, Outcome, Position, Verdict};
use crate::lock::record::LockKey;

impl Fold {
    /// True if `claim` holds the lock and no claim stands behind it: it was observed, and that is all.
    pub fn is_observed(&self, key: &LockKey, claim: Position) -> bool {
        self.holders.get(key).is_some_and(|held| held.is_named(claim) && held.standing() == 0)
    }

    /// Its owner has deleted it in Redis. A hold that a client of Lockside was told of since is not
    /// ended by that. The value stays alive: a later observation of it is a new lock.
    pub(super) fn vanish(
        &mut self,
        key: &LockKey,
        claim: Position,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        if !self.is_observed(key, claim) {
            return Outcome::NotHeld;
        }
        // The line above has found it.
        let Some(held) = self.holders.remove(key) else { return Outcome::NotHeld };
        changes.push(Change::Freed(key.clone(), held.holder.at));
        Outcome::Released
    }
}
