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
    /// Claims that were won by this holder's having the same value, oldest first. The holder's own
    /// place stands among them once for each claim that was given up, and for an observation, which
    /// is nobody's claim. Boxed, for nearly no lock has any.
    pub(super) confirmed_by: Option<Box<Confirmations>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Confirmations(pub(super) Vec<Position>);

impl Held {
    /// True if `claim` names this hold: it is the holder's, or one that it has confirmed.
    pub(super) fn is_named(&self, claim: Position) -> bool {
        self.holder.at == claim
            || self.confirmed_by.as_ref().is_some_and(|others| others.0.contains(&claim))
    }

    /// Claims of this value that nobody has given up.
    pub(super) fn standing(&self) -> usize {
        let others = self.confirmed_by.as_ref().map_or(&[][..], |others| &others.0);
        let struck = others.iter().filter(|other| **other == self.holder.at).count();
        (1 + others.len()).saturating_sub(2 * struck)
    }

    /// One claim less stands behind this hold.
    pub(super) fn strike(&mut self) {
        self.confirmed_by.get_or_insert_default().0.push(self.holder.at);
    }
}

/// A claim of the holder's own value: it has won under the holder's name.
pub(super) fn confirm(
    held: &mut Held,
    at: Position,
    claim: &Claim,
    changes: &mut Vec<Change>,
) -> Verdict {
    let others = &mut held.confirmed_by.get_or_insert_default().0;
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
pub(super) fn is_same(one: &Claim, other: &Claim) -> bool {
    match (&one.other, &other.other) {
        (Some(one), Some(other)) => content::is_same_take(one, other),
        (None, None) => !one.stored.is_empty() && one.stored == other.stored,
        _ => false,
    }
}
