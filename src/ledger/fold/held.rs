//! One hold, and what stands behind it. Pure.

use std::sync::Arc;

use super::super::Outcome;
use super::super::entry::{Claim, Position};
use super::{CONFIRMATIONS_KEPT, Change, Holder, Verdict};
use crate::lock::content;

/// A holder, and the other claims of its value.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) holder: Arc<Holder>,
    /// Its fence was given by Redis (`fast`); else by the ledger, and Redis's counter knows nothing of it.
    pub(super) is_granted: bool,
    /// Claims that were won by this holder's having the same value, oldest first. The holder's own
    /// place stands among them once for each claim that was given up, and for an observation, which
    /// is nobody's claim. Boxed, for nearly no lock has any.
    pub(super) confirmed_by: Option<Box<Confirmations>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Confirmations {
    pub(super) names: Vec<Position>,
    /// A store without order: names that it had, for those who know it by them. Not in a snapshot: its
    /// readers have seen none of them.
    once: Vec<Position>,
}

impl Confirmations {
    fn has(&self, claim: Position) -> bool {
        self.names.contains(&claim) || self.once.contains(&claim)
    }
}

impl Held {
    /// True if `claim` names this hold: it is the holder's, or one that it has confirmed.
    pub(super) fn is_named(&self, claim: Position) -> bool {
        self.holder.at == claim
            || self.confirmed_by.as_ref().is_some_and(|others| others.has(claim))
    }

    /// The places of the entries behind this hold, each once.
    pub(super) fn names(&self) -> impl Iterator<Item = Position> {
        let others = self.confirmed_by.iter().flat_map(|others| &others.names).copied();
        let at = self.holder.at;
        std::iter::once(at).chain(others.filter(move |other| *other != at))
    }

    /// A store without order: one entry has ended. False if it was the last. The hold goes on under the
    /// name of another.
    pub(super) fn goes_on_without(&mut self, claim: Position) -> bool {
        let mut left: Vec<_> = self.names().filter(|name| *name != claim).collect();
        if left.len() == self.names().count() {
            return true;
        }
        if left.is_empty() {
            return false;
        }
        if claim == self.holder.at {
            Arc::make_mut(&mut self.holder).at = left[0];
        }
        let others = self.confirmed_by.get_or_insert_default();
        // The strikes go with the name that stood for them: what is left are claims.
        left.retain(|name| *name != self.holder.at);
        others.names = left;
        others.once.push(claim);
        if others.once.len() > CONFIRMATIONS_KEPT {
            others.once.remove(0);
        }
        true
    }

    /// Claims of this value that nobody has given up.
    pub(super) fn standing(&self) -> usize {
        let others = self.confirmed_by.as_ref().map_or(&[][..], |others| &others.names);
        let struck = others.iter().filter(|other| **other == self.holder.at).count();
        (1 + others.len()).saturating_sub(2 * struck)
    }

    /// One claim less stands behind this hold.
    pub(super) fn strike(&mut self) {
        self.confirmed_by.get_or_insert_default().names.push(self.holder.at);
    }
}

/// A claim of the holder's own value: it has won under the holder's name.
pub(super) fn confirm(
    held: &mut Held,
    at: Position,
    claim: &Claim,
    changes: &mut Vec<Change>,
) -> Verdict {
    let others = &mut held.confirmed_by.get_or_insert_default().names;
    if others.len() >= CONFIRMATIONS_KEPT {
        others.remove(0);
    }
    others.push(at);
    // The later one of two expiries is the one that its client counts on.
    let expires = held.holder.claim.expires_at_ms.max(claim.expires_at_ms);
    if expires != held.holder.claim.expires_at_ms && held.holder.claim.expires_at_ms.is_some() {
        Arc::make_mut(&mut held.holder).claim.expires_at_ms = expires;
        changes.push(Change::Held(held.holder.clone()));
    }
    Outcome::Won { claim: held.holder.at, fence: held.holder.fence }
}

/// True if the two are one value. Locks that nothing tells from the next never are.
pub(in crate::ledger) fn is_same(one: &Claim, other: &Claim) -> bool {
    match (&one.other, &other.other) {
        (Some(one), Some(other)) => content::is_same_take(one, other),
        (None, None) => !one.stored.is_empty() && one.stored == other.stored,
        _ => false,
    }
}
