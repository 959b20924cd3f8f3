//! What a pass asks the ledger about one key, in the terms of the table. Pure.

use crate::ledger::fold::Holder;
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;
use crate::lock::rule::Mode;

use super::super::plan::{Found, Hold, Left, Repair, Terms};
use super::super::{Standing, Truth};
use super::Pass;

/// What a repair takes away that the ledger, read up to now, may say more about: an unknown value in a
/// holder's place, and the content of a lock that is not a string, which its client's next acquire may
/// have again.
pub(super) fn doubtful(repair: Repair<'_>) -> Option<Guard<'_>> {
    match repair {
        Repair::Replace { theirs, conflict: true, .. } => Some(theirs),
        Repair::Delete(theirs @ Guard::Other(_))
        | Repair::Replace { theirs: theirs @ Guard::Other(_), .. } => Some(theirs),
        Repair::Delete(Guard::Value(_))
        | Repair::Replace { theirs: Guard::Value(_), conflict: false, .. }
        | Repair::Set { .. }
        | Repair::Persist(_)
        | Repair::Lengthen { .. }
        | Repair::Adopt(_)
        | Repair::Prefer(_) => None,
        // A change that is on its way to the ledger is there by the second look.
        Repair::Follow(theirs) => Some(Guard::Other(theirs)),
    }
}

/// What the ledger's holder has put into Redis, and for how long.
pub(super) fn hold_of(holder: &Holder, now_ms: u64) -> Hold<'_> {
    let claim = &holder.claim;
    let what = match &claim.other {
        Some(guard) => Guard::Other(guard),
        None => Guard::Value(&claim.stored),
    };
    let left = match claim.expires_at_ms.map(|at| at.saturating_sub(now_ms)) {
        None => Left::Forever,
        Some(0) => Left::RunOut,
        Some(ms) => Left::Ms(ms),
    };
    Hold { what, left }
}

/// What the ledger says of what was found.
pub(super) fn standing(truth: &dyn Truth, key: &LockKey, found: &Found) -> Standing {
    match found {
        Found::Missing => Standing::Unknown,
        Found::Value { stored, .. } => match truth.standing(key, stored) {
            Standing::Dead if truth.disputed(key, stored).is_some() => Standing::Disputed,
            standing => standing,
        },
        Found::Other { guard, .. } => truth.standing_other(key, guard),
    }
}

impl Pass {
    /// What the configuration says of the key.
    pub(super) fn terms(&self, key: &LockKey) -> Terms {
        // A key that no rule claims any more is handled with the greater care.
        let mode = self.policy.rules.find(key.key()).map_or(Mode::Persistent, |rule| rule.mode);
        Terms {
            persistent: mode == Mode::Persistent,
            guarantee: self.policy.guarantee,
            conflict: self.policy.conflict,
            is_asked: self.is_careful || self.is_following(),
        }
    }
}
