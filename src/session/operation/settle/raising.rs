//! What becomes of claims that have won, once Redis has answered (SPEC 3): in `fast` the fences that it
//! has given are in the ledger before the client is told, as for a single acquire
//! (`operation::acquire::fence`).

use std::time::Duration;

use crate::ledger::{Answer, Ask, Guarantee, Outcome, Ticket};
use crate::lock::record::Position;
use crate::session::operation::{Scope, durable};

use super::{Next, Provisional, Settlement};

/// Fences with the ledger.
#[derive(Debug)]
pub(super) struct Raising {
    ticket: Ticket,
    pub(super) until: Duration,
    /// Whose they are, by their places among the locks, with their claims.
    claims: Vec<(usize, Position)>,
}

impl Settlement {
    /// The claims have won, and Redis has answered. What it has not as it should be is put right by
    /// a repair; in `fast` another's value there is another's grant, on its way to the ledger. Until
    /// when the ledger is waited for, if it is.
    pub(super) fn settle_claims(
        &mut self,
        won: Vec<Option<Position>>,
        scope: &Scope<'_, '_>,
    ) -> Option<Duration> {
        let with_redis = scope.shared().guarantee == Guarantee::Fast;
        let (mut claims, mut grants) = (Vec::new(), Vec::new());
        let all = self.held.iter_mut().zip(&self.fences).zip(won).zip(&self.locks).enumerate();
        for (place, (((held, fence), claim), Provisional { lock, record, .. })) in all {
            match (claim, fence) {
                (Some(claim), Some(fence)) if *held => {
                    scope.shared().table.raise_fence(lock, &record.stored, *fence);
                    if let Ask::Claim(of) | Ask::ClaimExpiring(of) = scope.claim_of(lock, record) {
                        grants.push(Ask::Grant(of, *fence));
                        claims.push((place, claim));
                    }
                }
                _ if *held => {}
                (Some(claim), _) if with_redis => scope.give_up(lock, claim),
                _ => {
                    scope.shared().repairs.touch(lock);
                    *held = true;
                }
            }
        }
        if grants.is_empty() {
            return None;
        }
        // Not while Redis does not decide: then the counter is raised above all of these.
        let ticket = scope.book(grants).ok()?;
        let lifetime = self.locks.iter().map(|taken| taken.safety_ttl).max().unwrap_or_default();
        let until = scope.claim_until(lifetime);
        self.raising = Some(Box::new(Raising { ticket, until, claims }));
        Some(until)
    }

    /// The ledger's answer to that, if this is it. Locks that another has by now are not held.
    pub(super) fn raised(&mut self, answer: &Answer, scope: &Scope<'_, '_>) -> Option<Next> {
        let raising = self.raising.take_if(|raising| raising.ticket == answer.ticket)?;
        for ((place, claim), outcome) in raising.claims.iter().zip(&answer.outcomes) {
            if !matches!(outcome, Outcome::Won { .. }) {
                self.held[*place] = false;
                scope.give_up(&self.locks[*place].lock, *claim);
            }
        }
        Some(Next::Settled(std::mem::take(&mut self.held)))
    }

    /// The ledger has not answered in time: what is not known to be held is given up.
    pub(super) fn raise_is_late(&mut self, scope: &Scope<'_, '_>) -> Option<Next> {
        let raising = self.raising.take()?;
        scope.shared().door.forget(raising.ticket);
        for (place, claim) in raising.claims {
            scope.give_up(&self.locks[place].lock, claim);
        }
        Some(Next::Blocked(durable::WITHDRAWING.to_owned()))
    }
}
