//! Grants that overlap (`fast`): which one lost, and how it holds all the same where Redis is to be
//! right (`conflict = "upstream"`, SPEC 7). Pure.

use super::super::entry::{Claim, Position};
use super::{CONFLICTS_KEPT, Change, Conflict, Fold, Outcome, Token, Verdict, is_same};
use crate::lock::record::LockKey;

impl Fold {
    /// The grant of this value that has lost to another by its fence, and whose release has not come;
    /// none if that is not known (any more).
    pub fn disputed(&self, key: &LockKey, stored: &[u8]) -> Option<Position> {
        let token = Token::new(key, stored, None)?;
        let conflict = self.conflicts.values().find(|conflict| conflict.value == Some(token))?;
        Some(conflict.lost)
    }

    /// The grant at `lost` holds, if its release has not come: then it is no lock to be given back to
    /// anybody. Whoever holds it now is the one in dispute.
    pub(super) fn prefer(
        &mut self,
        at: Position,
        claim: &Claim,
        lost: Position,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let holder = self.holders.get(&claim.key).map(|held| held.holder.clone());
        if !self.conflicts.contains_key(&lost) {
            return Outcome::Lost { holder };
        }
        if let Some(holder) = &holder {
            if is_same(&holder.claim, claim) {
                return Outcome::Won { claim: holder.at, fence: holder.fence };
            }
            self.bury(&holder.claim, holder.fence);
            self.dispute(&holder.claim, holder.at, at);
        }
        self.settle_dispute(lost);
        let verdict = self.hold(at, claim, self.fence_high() + 1, changes);
        if let Some(held) = self.holders.get_mut(&claim.key) {
            // A release that names the grant ends this hold. Both are the one claim of one client.
            held.confirmed_by.get_or_insert_default().names.push(lost);
            held.strike();
        }
        verdict
    }

    /// The grant `lost` of this value has a lower fence than that at `by`.
    pub(super) fn dispute(&mut self, claim: &Claim, lost: Position, by: Position) {
        let (key, value) = (claim.key.clone(), Token::of(claim));
        self.conflicts.insert(lost, Conflict { key, lost, by, value });
        if self.conflicts.len() > CONFLICTS_KEPT {
            self.conflicts.pop_first();
        }
    }

    /// The grants of this value have ended.
    pub(super) fn settle_disputes_of(&mut self, token: Token) {
        self.conflicts.retain(|_, conflict| conflict.value != Some(token));
    }

    /// The release of what has lost was read. False if there was nothing in dispute.
    pub(super) fn settle_dispute(&mut self, lost: Position) -> bool {
        self.conflicts.remove(&lost).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::{Cause, Entry};
    use crate::ledger::testing::{at, claim, key, row};

    /// B holds, A has lost to it by its fence.
    fn disputed() -> Fold {
        let mut fold = Fold::default();
        fold.apply(&row(1, 2, Entry::Claim(claim("k", "b"))));
        fold.apply(&row(2, 2, Entry::Grant(claim("k", "a"), 1)));
        fold
    }

    fn prefer(fold: &mut Fold, seq: u64) -> Verdict {
        fold.apply(&row(1, seq, Entry::Prefer(claim("k", "a"), at(2, 2))))
    }

    fn held(fold: &Fold) -> Option<&[u8]> {
        fold.holder(&key("k")).map(|holder| &*holder.claim.stored)
    }

    #[test]
    fn a_grant_that_lost_by_its_fence_holds_if_redis_is_right() {
        let mut fold = disputed();
        assert_eq!(
            (held(&fold), fold.disputed(&key("k"), b"a")),
            (Some(&b"b"[..]), Some(at(2, 2)))
        );
        assert_eq!(prefer(&mut fold, 3), Outcome::Won { claim: at(1, 3), fence: 2 });
        assert_eq!(held(&fold), Some(&b"a"[..]));
        assert!(fold.is_disputed(at(1, 2)) && !fold.is_disputed(at(2, 2)));
        // Once is enough.
        assert!(matches!(prefer(&mut fold, 4), Outcome::Lost { .. }));
        assert_eq!(held(&fold), Some(&b"a"[..]));
    }

    #[test]
    fn its_release_names_the_grant_or_the_hold() {
        for name in [at(2, 2), at(1, 3)] {
            let mut fold = disputed();
            prefer(&mut fold, 3);
            let release =
                Entry::Release { key: key("k"), claim: name, cause: Cause::Client, at_ms: 1 };
            assert_eq!(fold.apply(&row(2, 3, release)), Outcome::Released);
            assert_eq!(held(&fold), None);
        }
        // Of the one claim that was given up nothing stays.
        let mut fold = disputed();
        prefer(&mut fold, 3);
        fold.apply(&row(1, 4, Entry::Withdraw { key: key("k"), claim: at(1, 3) }));
        assert_eq!(held(&fold), None);
    }

    #[test]
    fn what_was_released_is_not_preferred() {
        let mut fold = disputed();
        let cause = Cause::Client;
        let release = Entry::Release { key: key("k"), claim: at(2, 2), cause, at_ms: 1 };
        fold.apply(&row(2, 3, release));
        assert_eq!(fold.disputed(&key("k"), b"a"), None);
        assert!(matches!(prefer(&mut fold, 3), Outcome::Lost { .. }));
        assert_eq!(held(&fold), Some(&b"b"[..]));
    }

    #[test]
    fn it_holds_a_key_whose_holder_has_gone_too() {
        let mut fold = disputed();
        let cause = Cause::Client;
        let release = Entry::Release { key: key("k"), claim: at(1, 2), cause, at_ms: 1 };
        fold.apply(&row(1, 3, release));
        assert!(matches!(prefer(&mut fold, 4), Outcome::Won { .. }));
        assert_eq!(held(&fold), Some(&b"a"[..]));
    }
}
