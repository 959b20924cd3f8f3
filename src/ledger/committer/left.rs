//! Claims of other runs that are not decided, so far as is read (SPEC 8, `undecided`): they will be in a
//! moment, or their runs have ended between the claim and WON or LOST. Pure.
//!
//! Each blocks its lock as a holder would, and its client may have been told OK and ask here what it has.
//! So the table has it as a holder, with fence 0; for a repair it is nobody's lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::entry::Position;
use super::super::fold::{Change, Fold, Holder};
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
        let left: BTreeMap<_, _> = free
            .map(|(at, open)| {
                (at, Arc::new(Holder { at, claim: open.claim, fence: 0, heard: false }))
            })
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
}
