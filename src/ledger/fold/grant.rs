//! Grants that Redis has made, and values that it has let go (`fast`). Pure.
//!
//! Both may be written late, and by different sidecars, so that the end of a hold may stand before its
//! beginning. Their order is that of their fences: a value has died by a fence, and what was granted
//! with that fence or a lower one is dead, whenever it is written; a client that takes the lock again
//! with the same value has a higher one.

use std::sync::Arc;

use super::super::entry::{Claim, Position};
use super::{Change, FENCE_GAP, Fold, Held, Outcome, Token, Verdict, confirm, is_same};
use crate::lock::record::LockKey;

impl Fold {
    pub(super) fn grant(
        &mut self,
        at: Position,
        claim: &Claim,
        fence: u64,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let died = Token::of(claim).and_then(|token| self.dead.fence(&token));
        if died.is_some_and(|died| fence <= died) {
            return Outcome::Lost { holder: self.holder(&claim.key).cloned() };
        }
        let Some(held) = self.holders.get_mut(&claim.key) else {
            return self.hold_granted(at, claim, fence, changes);
        };
        // What was found in Redis, and is nobody's claim, has a fence that Redis has not given it.
        let is_found = held.standing() == 0;
        if is_same(&held.holder.claim, claim) {
            let own = &held.holder.claim;
            // The fence of a claim that has won: one acquire, that one release ends.
            let is_its_own = (own.at_ms, &own.client) == (claim.at_ms, &claim.client);
            if fence > held.holder.fence || is_found {
                Arc::make_mut(&mut held.holder).fence = fence;
                self.fence_high = self.fence_high.max(fence);
                changes.push(Change::Held(held.holder.clone()));
            }
            held.is_granted = true;
            let verdict = confirm(held, at, claim, changes);
            if is_its_own {
                held.strike();
            }
            let found = held.holder.at;
            if is_found && self.undecided.is_some() {
                // Without order each entry ends by itself, and the release names the grant alone if its
                // writer had not read of the finding.
                held.goes_on_without(found);
                changes.push(Change::Held(held.holder.clone()));
                return Outcome::Won { claim: held.holder.at, fence: held.holder.fence };
            }
            return verdict;
        }
        let holder = held.holder.clone();
        if is_found {
            // Redis has given the lock to another, before that or after. If it was a grant, that is
            // still to be written, and says which.
            return self.hold_granted(at, claim, fence, changes);
        }
        if fence <= holder.fence {
            self.bury(claim, fence);
            self.dispute(claim, at, holder.at);
            return Outcome::Lost { holder: Some(holder) };
        }
        self.bury(&holder.claim, holder.fence);
        self.dispute(&holder.claim, holder.at, at);
        self.hold_granted(at, claim, fence, changes)
    }

    fn hold_granted(
        &mut self,
        at: Position,
        claim: &Claim,
        fence: u64,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let verdict = self.hold(at, claim, fence, changes);
        if let Some(held) = self.holders.get_mut(&claim.key) {
            held.is_granted = true;
        }
        verdict
    }

    /// Redis has let go this value, as it was granted with fences up to this one. A hold with a higher
    /// one is a later grant of the same value. But Redis's counter knows nothing of the fence of a
    /// value that was found there, nor of those of claims.
    pub(super) fn let_go(
        &mut self,
        key: &LockKey,
        stored: &[u8],
        fence: u64,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let Some(token) = Token::new(key, stored, None) else { return Outcome::NotHeld };
        self.settle_disputes_of(token);
        let is_it = |held: &Held| {
            let claim = &held.holder.claim;
            claim.other.is_none() && *claim.stored == *stored
        };
        let is_later = |held: &Held| {
            let own = held.holder.fence;
            own > fence && own / FENCE_GAP == fence / FENCE_GAP && held.is_granted
        };
        match self.holders.get(key).filter(|held| is_it(held)) {
            Some(held) if is_later(held) => return Outcome::Released,
            Some(held) => {
                changes.push(Change::Freed(key.clone(), held.holder.at));
                let own = if held.is_granted { held.holder.fence } else { 0 };
                self.holders.remove(key);
                self.dead.insert(token, fence.max(own));
            }
            None => self.dead.insert(token, fence),
        }
        Outcome::Released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::{Cause, Entry};
    use crate::ledger::testing::{at, claim, key, row};

    fn grant(value: &str, fence: u64, at_ms: u64) -> Entry {
        Entry::Grant(Claim { at_ms, ..claim("k", value) }, fence)
    }

    fn gone(value: &str, fence: u64) -> Entry {
        let stored = value.as_bytes().into();
        Entry::Gone { key: key("k"), stored, cause: Cause::Client, fence, at_ms: 1 }
    }

    fn held(fold: &Fold) -> Option<(&[u8], u64)> {
        fold.holder(&key("k")).map(|holder| (&*holder.claim.stored, holder.fence))
    }

    /// Log 1 grants, log 2 lets go.
    fn fold(entries: &[Entry]) -> Fold {
        let mut fold = Fold::default();
        for (seq, entry) in (2..).zip(entries) {
            let log = if matches!(entry, Entry::Gone { .. }) { 2 } else { 1 };
            fold.apply(&row(log, seq, entry.clone()));
        }
        fold
    }

    #[test]
    fn a_release_that_is_written_before_its_grant_ends_it() {
        let state = fold(&[gone("a", 5), grant("a", 5, 1)]);
        assert_eq!((held(&state), state.conflicts().count()), (None, 0));
        let state = fold(&[grant("b", 6, 1), gone("a", 5), grant("a", 5, 1)]);
        assert_eq!((held(&state), state.conflicts().count()), (Some((&b"b"[..], 6)), 0));
        let mut again = Fold::from(fold(&[gone("a", 5)]).snapshot());
        again.apply(&row(1, 9, grant("a", 5, 1)));
        assert_eq!(held(&again), None, "a snapshot knows it, too");
    }

    /// One token for all acquires of a client: in whichever order the two sidecars write.
    #[test]
    fn a_value_that_is_granted_again_holds() {
        let (first, end, second) = (grant("a", 5, 1), gone("a", 7), grant("a", 9, 2));
        let orders = [
            [first.clone(), end.clone(), second.clone()],
            [end.clone(), first.clone(), second.clone()],
            [first, second, end],
        ];
        for order in orders {
            let state = fold(&order);
            assert_eq!(held(&state), Some((&b"a"[..], 9)), "{order:?}");
            assert_eq!(fold(&[&order[..], &[gone("a", 9)]].concat()).len(), 0, "{order:?}");
        }
    }

    /// Also where the ledger knows higher fences, of other locks.
    #[test]
    fn a_dead_value_is_dead_by_its_own_fence() {
        let other = Entry::Grant(claim("other", "b"), 100);
        let release =
            Entry::Release { key: key("k"), claim: at(1, 2), cause: Cause::Client, at_ms: 1 };
        let state = fold(&[grant("a", 5, 1), release, other, grant("a", 9, 2), grant("a", 4, 1)]);
        assert_eq!(held(&state), Some((&b"a"[..], 9)));
    }

    /// A claim that has lost had no fence.
    #[test]
    fn a_value_that_lost_as_a_claim_may_be_granted() {
        let release =
            Entry::Release { key: key("k"), claim: at(1, 2), cause: Cause::Client, at_ms: 1 };
        let claims = [Entry::Claim(claim("k", "b")), Entry::Claim(claim("k", "a")), release];
        let state = fold(&[&claims[..], &[grant("a", 1, 5)]].concat());
        assert_eq!(held(&state), Some((&b"a"[..], 1)));
    }

    /// Its release is no conflict's, though it is superseded before.
    #[test]
    fn what_has_let_go_is_in_no_dispute() {
        let state = fold(&[grant("a", 5, 1), grant("b", 6, 1), gone("a", 5)]);
        assert_eq!((held(&state), state.conflicts().count()), (Some((&b"b"[..], 6)), 0));
    }

    /// The fence that Redis has given to a claim that has won is the same acquire's.
    #[test]
    fn a_claim_and_its_fence_are_given_up_as_one() {
        let mine = Claim { at_ms: 7, ..claim("k", "a") };
        let give_up = Entry::Withdraw { key: key("k"), claim: at(1, 2) };
        let state = fold(&[Entry::Claim(mine.clone()), Entry::Grant(mine, 9), give_up]);
        assert_eq!(held(&state), None);
    }

    /// A repair pass finds a value before its grant is written, and gives it a fence of the ledger's own.
    #[test]
    fn a_grant_that_was_found_first_is_let_go_by_its_own_fence() {
        let found = [grant("b", 9, 1), gone("b", 9), Entry::Observe(claim("k", "a"))];
        assert_eq!(held(&fold(&found)), Some((&b"a"[..], 10)));
        assert_eq!(held(&fold(&[&found[..], &[gone("a", 7)]].concat())), None);
        let written = [&found[..], &[grant("a", 5, 1)]].concat();
        assert_eq!(held(&fold(&written)), Some((&b"a"[..], 5)));
        assert_eq!(held(&fold(&[&written[..], &[gone("a", 7)]].concat())), None);
        // Another was granted after it, by a fence that is below that of the ledger's own.
        let state =
            fold(&[&found[..], &[grant("c", 7, 2), grant("a", 5, 1), gone("a", 6)]].concat());
        assert_eq!((held(&state), state.conflicts().count()), (Some((&b"c"[..], 7)), 0));
    }

    /// A sidecar has died before Redis gave its claim a fence.
    #[test]
    fn a_claim_is_let_go_by_whatever_fence() {
        let claims = [grant("b", 9, 1), gone("b", 9), Entry::Claim(claim("k", "a"))];
        let mut state = fold(&claims);
        for state in [&mut Fold::from(state.snapshot()), &mut state] {
            assert_eq!(held(state), Some((&b"a"[..], 10)));
            state.apply(&row(2, 9, gone("a", 7)));
            assert_eq!(held(state), None);
        }
        let mut state = fold(&[grant("a", 9, 1)]);
        for state in [&mut Fold::from(state.snapshot()), &mut state] {
            state.apply(&row(2, 9, gone("a", 7)));
            assert_eq!(held(state), Some((&b"a"[..], 9)));
        }
    }

    /// Redis's counter knows nothing of claims that were made without it.
    #[test]
    fn a_claim_without_redis_is_let_go_by_a_lower_fence() {
        let claims = [Entry::Degraded, Entry::Claim(claim("k", "a"))];
        assert_eq!(held(&fold(&claims)), Some((&b"a"[..], FENCE_GAP + 1)));
        let state = fold(&[&claims[..], &[gone("a", 5)]].concat());
        assert_eq!(held(&state), None);
    }
}
