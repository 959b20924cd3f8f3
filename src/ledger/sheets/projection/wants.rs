//! What cells are to say of the ledger's locks. Pure.

use std::collections::BTreeMap;

use super::moves::Projector;
use super::terms;
use super::watch::Want;
use crate::ledger::entry::{Claim, Position};
use crate::ledger::fold::Open;
use crate::ledger::store::Truth;

/// In place of an origin, for a claim that nobody will decide.
const UNDECIDED: &str = "undecided";

impl Projector {
    /// Who holds what; and what a run has left undecided when it died, for that blocks the lock as a
    /// holder does, and is to be seen and cleared as one.
    pub(super) fn wants(&self, truth: &Truth<'_>) -> BTreeMap<String, Want> {
        let want = |claim: &Claim, at: Position, origin: &'static str| {
            let cell = self.terms.cell_of(&claim.key)?;
            let want = Want {
                key: claim.key.clone(),
                claim: at,
                holder: self.terms.holder(claim, &self.names),
                since: self.terms.time(claim.at_ms),
                origin,
                at_ms: claim.at_ms,
            };
            Some((cell, want))
        };
        let is_left = |(at, open): &(Position, Open)| {
            !open.is_observed && at.log != truth.log && !truth.living.contains(&at.log)
        };
        let open = truth.fold.undecided().into_iter().filter(is_left);
        // Of several on one key the oldest.
        let open = open.rev().filter_map(|(at, open)| want(&open.claim, at, UNDECIDED));
        let holders = truth.fold.holders();
        let holders = holders.iter().map(|holder| (&holder.claim, holder.at));
        let holders = holders.filter_map(|(claim, at)| want(claim, at, terms::origin(claim)));
        open.chain(holders).collect()
    }
}
