//! What the repair thread knows of a lock: the ledger, with what only its door and this process know.

use std::sync::Arc;

use crate::ledger::fold::Holder;
use crate::ledger::{Door, Position};
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;
use crate::repair::{Dirty, Standing, Truth, Unheard, plan};

/// The ledger, with what only its door knows, and what was released here.
pub(super) struct Ledger<'a> {
    pub(super) truth: &'a dyn Truth,
    pub(super) door: &'a dyn Door,
    pub(super) dirty: &'a Dirty,
    pub(super) unheard: &'a Unheard,
}

impl Truth for Ledger<'_> {
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        self.truth.holder(key)
    }

    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        self.truth.standing(key, stored)
    }

    fn standing_other(&self, key: &LockKey, guard: &[u8]) -> Standing {
        let ended = self.dirty.ended(key);
        let is_same = |ended: &[u8]| plan::is_same(Guard::Other(ended), Guard::Other(guard));
        match self.truth.standing_other(key, guard) {
            // Of a content that the ledger does not have.
            Standing::Unknown if ended.as_deref().is_some_and(is_same) => Standing::Dead,
            standing => standing,
        }
    }

    fn disputed(&self, key: &LockKey, stored: &[u8]) -> Option<Position> {
        self.truth.disputed(key, stored)
    }

    fn is_observed(&self, key: &LockKey, claim: Position) -> bool {
        self.truth.is_observed(key, claim)
    }

    fn is_undecided(&self, key: &LockKey) -> bool {
        self.truth.is_undecided(key)
    }

    fn unheard_since(&self, key: &LockKey) -> Option<u64> {
        self.unheard.since(key)
    }

    fn is_dirty(&self, key: &LockKey) -> bool {
        self.truth.is_dirty(key) || self.dirty.contains(key)
    }

    fn room(&self) -> usize {
        self.truth.room()
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        self.truth.is_releasing(key) || self.door.is_releasing(key)
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.truth.holders()
    }

    fn fence_floor(&self) -> Option<u64> {
        self.truth.fence_floor()
    }
}
