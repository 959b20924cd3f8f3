//! Own claims in a store without order: what an exchange has shown decides them (SPEC 8). Pure.
//!
//! Won: the client may be told at once; WON goes before everything else into the next group. Lost: the
//! client is told when LOST is durable, for a sidecar that dies before would leave a claim that nobody
//! ever decides, whose client was told no.

use std::collections::BTreeSet;

use super::super::Outcome;
use super::super::entry::{Claim, IN_SHEET, Position};
use super::super::fold::{Fold, is_same};
use super::super::{Ask, Ticket};
use super::request::{Fate, Part, Request, Want};
use super::{Committer, Done};
use crate::lock::record::LockKey;

impl Part {
    /// A claim that is written, and of which nobody was told yet.
    fn awaits_decision(&self) -> Option<(Position, &LockKey)> {
        let (Ask::Claim(claim) | Ask::ClaimExpiring(claim) | Ask::Observe(claim)) = &self.ask
        else {
            return None;
        };
        let at = self.at.filter(|_| self.outcome.is_none())?;
        Some((at, &claim.key))
    }
}

impl Part {
    /// What a person wrote into a cell.
    fn is_of_people(&self) -> bool {
        matches!(&self.ask, Ask::Claim(claim) if *claim.client == *IN_SHEET)
    }
}

impl Request {
    /// A claim of it is written and not decided.
    pub(super) fn awaits_decision(&self) -> bool {
        self.parts.iter().any(|part| part.awaits_decision().is_some())
    }
}

impl Committer {
    /// Decides all own claims that are written: the last exchange has shown every other log.
    /// What people hold, by their own word, is nobody else's.
    pub(super) fn decide(&mut self, fold: &mut Fold, people: &BTreeSet<LockKey>, done: &mut Done) {
        let (mut decided, mut keys) = (Vec::new(), BTreeSet::new());
        for (ticket, request) in &mut self.deciding {
            let is_given_up = request.fate == Fate::Withdraw;
            for part in request.parts.iter_mut().filter(|part| part.losing.is_none()) {
                let Some((at, key)) = part.awaits_decision() else { continue };
                let key = key.clone();
                let known = fold.is_undecided(at);
                if is_given_up || (people.contains(&key) && !part.is_of_people()) {
                    fold.lose(at);
                }
                keys.insert(key.clone());
                match fold.decide(at, &mut done.changes) {
                    Some(won @ Outcome::Won { fence, .. }) => {
                        if part.is_of_people() {
                            // Redis knows nothing of it.
                            done.doubtful.insert(key.clone());
                        }
                        self.urgent.push_back(Want::Won(key, at, fence));
                        (part.outcome, part.is_news) = (Some(won), true);
                    }
                    verdict => {
                        let none = || Outcome::Lost { holder: fold.holder(&key).cloned() };
                        let lost = verdict.unwrap_or_else(none);
                        if known {
                            self.urgent.push_back(Want::Lost(key, at, *ticket));
                            part.losing = Some(lost);
                        } else {
                            // Its end stands in the ledger already.
                            part.outcome = Some(lost);
                        }
                    }
                }
            }
            if !request.awaits_decision() {
                decided.push(*ticket);
            }
        }
        decided.into_iter().for_each(|ticket| self.decided(ticket, done));
        self.refuse_late_comers(&keys, fold, done);
    }

    /// Claims that wait for a later group, and whose lock has a holder without end, as was seen just now
    /// when another claim on it was decided: they have lost as well, and need not be written.
    fn refuse_late_comers(&mut self, keys: &BTreeSet<LockKey>, fold: &Fold, done: &mut Done) {
        if keys.is_empty() {
            return;
        }
        let holder = |claim: &Claim| {
            let holder = fold.holder(&claim.key).filter(|_| keys.contains(&claim.key))?;
            let stands = holder.claim.expires_at_ms.is_none() && !is_same(&holder.claim, claim);
            stands.then(|| holder.clone())
        };
        let has_lost = |request: &Request| request.unwritten_claim().and_then(holder).is_some();
        for mut request in self.queue.extract(has_lost) {
            let holder = request.unwritten_claim().and_then(holder);
            if let [part] = request.parts.as_mut_slice() {
                part.outcome = Some(Outcome::Lost { holder });
            }
            self.finish(request, done);
        }
    }

    /// LOST of this claim is durable.
    pub(super) fn lost_one(&mut self, ticket: Ticket, at: Position, done: &mut Done) {
        let Some(request) = self.deciding.get_mut(&ticket) else { return };
        for part in request.parts.iter_mut().filter(|part| part.at == Some(at)) {
            part.outcome = part.losing.take();
        }
        if !request.awaits_decision() {
            self.decided(ticket, done);
        }
    }

    fn decided(&mut self, ticket: Ticket, done: &mut Done) {
        if let Some(mut request) = self.deciding.remove(&ticket) {
            request.parts.iter_mut().for_each(|part| part.is_news = false);
            self.finish(request, done);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
