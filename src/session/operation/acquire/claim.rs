//! The ledger's part of an acquire: the claim, its answer, and what is left to do after it.

use crate::ledger::{Answer, Outcome as Booked};
use crate::lock::acquire::{Acquire, Effect, Input, Outcome};
use crate::lock::record::{Confidence, Position};
use crate::session::operation::{Flow, Scope};

use super::Acquiring;

impl Acquiring {
    /// Hands the claim to the ledger.
    pub(super) fn claim(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        // Redis has not let the client in yet, if it has not set the key.
        if !self.machine.has_set() && !scope.may_use(self.lock.key()) {
            self.trouble = Some(NOT_SEEN.to_owned());
            return self.feed(Input::NoLedger, scope);
        }
        let record = self.ask.record(scope.client(), scope.shared());
        let ask = scope.claim_of(&self.lock, &record);
        match scope.book(vec![ask]) {
            Ok(ticket) => {
                self.ticket = Some(ticket);
                self.until = scope.claim_until(self.ask.safety_ttl);
                Flow::Ledger { until: self.until }
            }
            Err(error) => {
                self.trouble = Some(error.to_string());
                self.feed(Input::NoLedger, scope)
            }
        }
    }

    /// The ledger's answer; none for a claim that was given up.
    pub(in crate::session::operation) fn answered(
        &mut self,
        answer: &Answer,
        scope: &mut Scope<'_, '_>,
    ) -> Option<Flow> {
        if self.ticket != Some(answer.ticket) || !self.machine.is_claiming() {
            return None;
        }
        let input = match answer.outcomes.first() {
            Some(Booked::Won { claim, .. }) => {
                self.won = Some(*claim);
                Input::Won
            }
            Some(Booked::Lost { holder }) => {
                if let Some(holder) = holder {
                    self.note_holder(&holder.claim.stored, scope);
                }
                // Redis did not know of the holder, or this would not have come so far.
                scope.shared().repairs.touch(&self.lock);
                Input::Beaten
            }
            _ => return None,
        };
        Some(self.feed(input, scope))
    }

    /// `acquire_timeout` has passed (SPEC 3).
    pub(in crate::session::operation) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if let Some(ticket) = self.ticket.take() {
            scope.shared().door.withdraw(ticket);
        }
        self.feed(Input::Unheard, scope)
    }

    /// What the ledger and the repairs have to know of an acquire that has ended.
    pub(super) fn tidy(&self, outcome: Outcome, scope: &Scope<'_, '_>) {
        match self.won {
            Some(claim) if outcome == Outcome::Granted => {
                if self.resumes == Some(claim) {
                    let table = &scope.shared().table;
                    table.set_confidence(&self.lock, &self.ask.stored, Confidence::Held);
                }
                if !self.machine.is_in_line() {
                    scope.shared().repairs.touch(&self.lock);
                }
            }
            Some(claim) => scope.give_up(&self.lock, claim),
            None => {}
        }
    }

    /// The ledger knows of an unconfirmed grant of this very token: it is the same grant (SPEC 3), if
    /// it still stands. The table may not have heard yet that it was released by another sidecar and
    /// is another's lock now, so the same value is claimed once more.
    pub(super) fn resume_claimed(&mut self, claim: Position, scope: &mut Scope<'_, '_>) -> Flow {
        self.resumes = Some(claim);
        let (machine, effect) = Acquire::by_claim(scope.cx.now, self.ask.lifetime);
        self.machine = machine;
        self.carry_out(effect, scope)
    }

    /// The machine for a fresh acquire.
    pub(super) fn machine(&self, scope: &Scope<'_, '_>) -> (Acquire, Effect) {
        let (now, lifetime) = (scope.cx.now, self.ask.lifetime);
        let (machine, effect) = match self.ask.persistent {
            true => Acquire::start(now, lifetime),
            false => Acquire::start_with_ttl(now, lifetime),
        };
        (machine.by_ledger(scope.shared().ledger_use()), effect)
    }
}

const NOT_SEEN: &str = "upstream is unavailable, and was not seen to let this client in";
