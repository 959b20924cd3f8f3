//! Claims of other runs that are not decided, so far as is read (SPEC 8, `undecided`): they will be in a
//! moment, or their runs have ended between the claim and WON or LOST. Pure.
//!
//! Each blocks its lock as a holder would, and its client may have been told OK and ask here what it has.
//! So the table has it as a holder, with fence 0; for a repair it is nobody's lock.
//!
//! # Which of several
//! Of two exchanges at least one shows the other's rows. So of two claims that were written one after the
//! other, who wrote the later one has met the earlier one, and has lost, whether it lived to say so or not: at
//! most the client of the first was told OK. Which one was first is known to who has made an exchange that shows one
//! without the other, and by the order of one log. (A reading that writes nothing may lag, and proves
//! nothing.) To all others, such as a run that starts later, both look alike, whatever their clocks say: they
//! are *contested*, and nobody is told of them that it holds the lock, or that it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::entry::{Claim, Position};
use super::super::fold::{Change, Fold, Holder, Open, is_same};
use super::{Committer, Done};
use crate::lock::record::LockKey;

/// Locks of which several clients may have been told that they hold them, and their claims, with fence 0.
pub type Contested = BTreeMap<LockKey, Vec<Arc<Holder>>>;

/// What is known of undecided claims of other runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Left {
    /// What stands in the table in place of a holder, as was told last.
    pub(super) shown: BTreeMap<Position, LockKey>,
    /// By which exchange that wrote something each was known.
    known_by: BTreeMap<Position, u64>,
    /// Exchanges that have written something, and were answered.
    exchanges: u64,
    contested: Arc<Contested>,
}

impl Left {
    /// Takes what is open now. What was not known before is known from now on.
    fn know(&mut self, open: &[(Position, Open)], has_written: bool) {
        self.exchanges += u64::from(has_written);
        // What only a reading shows counts as shown by the exchange behind it.
        let by = self.exchanges + u64::from(!has_written);
        let known_by = open.iter().map(|(at, _)| {
            let known = self.known_by.get(at).copied();
            (*at, known.unwrap_or(by))
        });
        self.known_by = known_by.collect();
    }

    /// When it was known, and what tells those apart that were known together: their own clocks.
    fn age(&self, (at, claim): &(Position, Claim)) -> (u64, u64, Position) {
        (self.known_by.get(at).copied().unwrap_or(u64::MAX), claim.at_ms, *at)
    }

    /// Of the claims on one lock, oldest first, those of which any may have been the first.
    fn first(&self, claims: &[(Position, Claim)]) -> Vec<(Position, Claim)> {
        let oldest = claims.first().map(|first| self.age(first).0);
        let together = claims.iter().filter(|claim| Some(self.age(claim).0) == oldest);
        // A log has an order of its own.
        let is_first_of_log = |(at, _): &&(Position, Claim)| {
            !claims.iter().any(|(other, _)| other.log == at.log && other.seq < at.seq)
        };
        together.filter(is_first_of_log).cloned().collect()
    }
}

impl Committer {
    /// Tells what has changed of the undecided claims of other runs. `has_written`: the exchange that was
    /// read has written something.
    pub(super) fn show_undecided(&mut self, fold: &Fold, has_written: bool, done: &mut Done) {
        if fold.is_ordered() {
            return;
        }
        let is_others = |at: &Position| Some(at.log) != self.log;
        let open: Vec<_> = fold.undecided().into_iter().filter(|(at, _)| is_others(at)).collect();
        self.left.know(&open, has_written);
        let (mut shown, mut contested) = (BTreeMap::new(), Contested::new());
        for (key, claims) in self.by_key(open, fold) {
            let holder = |(at, claim): &(Position, Claim)| {
                Arc::new(Holder { at: *at, claim: claim.clone(), fence: 0, heard: false })
            };
            let first = self.left.first(&claims);
            shown.extend(first.first().map(|first| (first.0, holder(first))));
            if first.iter().any(|(_, claim)| !is_same(claim, &first[0].1)) {
                contested.insert(key, first.iter().map(holder).collect());
            }
        }
        for (at, key) in &self.left.shown {
            if !shown.contains_key(at) && fold.holder_named(key, *at).is_none() {
                done.changes.push(Change::Freed(key.clone(), *at));
            }
        }
        let new = shown.iter().filter(|(at, _)| !self.left.shown.contains_key(at));
        done.changes.extend(new.map(|(_, holder)| Change::Held(holder.clone())));
        let names = shown.iter().map(|(at, holder)| (*at, holder.claim.key.clone()));
        self.left.shown = names.collect();
        if *self.left.contested != contested {
            self.left.contested = Arc::new(contested);
        }
        done.undecided = shown.into_values().collect();
    }

    /// The claims on each lock that nobody holds, oldest first.
    fn by_key(
        &self,
        open: Vec<(Position, Open)>,
        fold: &Fold,
    ) -> BTreeMap<LockKey, Vec<(Position, Claim)>> {
        let mut by_key = BTreeMap::<LockKey, Vec<_>>::new();
        for (at, Open { claim, is_observed }) in open {
            if !is_observed && fold.holder(&claim.key).is_none() {
                by_key.entry(claim.key.clone()).or_default().push((at, claim));
            }
        }
        by_key.values_mut().for_each(|claims| claims.sort_by_key(|claim| self.left.age(claim)));
        by_key
    }

    /// Locks of which nobody can say here which of several clients holds them. The same until it changes.
    pub fn contested(&self) -> &Arc<Contested> {
        &self.left.contested
    }
}
