//! Claims of other runs that are not decided, so far as is read (SPEC 8, `undecided`): they will be in a
//! moment, or their runs have ended between the claim and WON or LOST. Pure.
//!
//! Each blocks its lock as a holder would, and its client may have been told OK and ask here what it has.
//! So the table has it as a holder, with fence 0; for a repair it is nobody's lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::entry::{Claim, Position};
use super::super::fold::{Change, Fold, Holder, Open};
use super::{Committer, Done};
use crate::lock::record::LockKey;

/// What stands in the table in place of a holder.
pub(super) type Shown = BTreeMap<Position, LockKey>;

impl Committer {
    /// Tells what has changed of the undecided claims of other runs.
    pub(super) fn show_undecided(&mut self, fold: &Fold, done: &mut Done) {
        if fold.is_ordered() {
            return;
        }
        let is_others = |at: &Position| Some(at.log) != self.log;
        let open = fold.undecided().into_iter();
        let open = open.filter(|(at, open)| is_others(at) && !open.is_observed);
        let free = open.filter(|(_, open)| fold.holder(&open.claim.key).is_none());
        let left: BTreeMap<_, _> = self
            .first_of_each(free)
            .map(|(at, claim)| (at, Arc::new(Holder { at, claim, fence: 0, heard: false })))
            .collect();
        for (at, key) in &self.shown {
            if !left.contains_key(at) && fold.holder_named(key, *at).is_none() {
                done.changes.push(Change::Freed(key.clone(), *at));
            }
        }
        let new = left.iter().filter(|(at, _)| !self.shown.contains_key(at));
        done.changes.extend(new.map(|(_, holder)| Change::Held(holder.clone())));
        self.shown = left.iter().map(|(at, holder)| (*at, holder.claim.key.clone())).collect();
        done.undecided = left.into_values().collect();
    }

    /// Of several claims on one lock the one that was there first: who came later has seen it, and loses.
    /// What was shown before was there first; of those that are read together, the older one is shown.
    fn first_of_each(
        &self,
        open: impl Iterator<Item = (Position, Open)>,
    ) -> impl Iterator<Item = (Position, Claim)> {
        let mut first = BTreeMap::<LockKey, (Position, Claim)>::new();
        let age = |at: &Position, claim: &Claim| (!self.shown.contains_key(at), claim.at_ms, *at);
        for (at, Open { claim, .. }) in open {
            let known = first.get(&claim.key);
            if known.is_none_or(|(other, theirs)| age(&at, &claim) < age(other, theirs)) {
                first.insert(claim.key.clone(), (at, claim));
            }
        }
        first.into_values()
    }
}
