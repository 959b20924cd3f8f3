//! The ledger's part of an acquire: the claim, its answer, and what is left to do after it.

use crate::crash;
use crate::ledger::{Answer, Ask, Cause, Guarantee, Outcome as Booked, Withdrawal};
use crate::lock::acquire::{Acquire, Effect, Input, Ledger, Outcome};
use crate::lock::record::{Confidence, Position};
use crate::mode::Mode;
use crate::session::operation::{Flow, Scope, durable};

use super::{Acquiring, replicas};

impl Acquiring {
    /// Hands the claim to the ledger.
    pub(super) fn claim(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        // Redis has not let the client in yet, if it has not set the key.
        if !self.machine.has_set() && !scope.may_use(self.lock.key()) {
            self.trouble = Some(NOT_SEEN.to_owned());
            return self.feed(Input::NoLedger, scope);
        }
        if let Some(reason) = self.unclaimable(scope) {
            self.trouble = Some(reason.to_owned());
            return self.feed(Input::NoLedger, scope);
        }
        let record = self.ask.record(scope.client(), scope.shared());
        let ask = scope.claim_of(&self.lock, &record);
        match scope.book(vec![ask]) {
            Ok(ticket) => {
                self.ticket = Some(ticket);
                self.until = self.patience(scope);
                self.expect_refresh(scope);
                crash::here("ledger-asked");
                self.waiting()
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
        if self.raising.take_if(|ticket| *ticket == answer.ticket).is_some() {
            return Some(self.raised(answer.outcomes.first(), scope));
        }
        if let Some((_, outcome)) = self.leaving.take_if(|(ticket, _)| *ticket == answer.ticket) {
            return Some(self.end(outcome, scope));
        }
        if self.ticket != Some(answer.ticket) || !self.machine.is_claiming() {
            return None;
        }
        self.refresh.at_rest();
        let input = match answer.outcomes.first() {
            // From before it was given up: it is void.
            Some(Booked::Won { .. }) if self.withdrawing => return None,
            Some(Booked::Lost { holder: None }) if self.withdrawing => Input::Unheard,
            Some(Booked::Won { claim, fence }) => {
                (self.won, self.won_fence) = (Some(*claim), *fence);
                crash::here("ledger-answered");
                Input::Won
            }
            Some(Booked::Lost { holder }) => {
                if let Some(holder) = holder {
                    self.note_holder(&holder.claim.stored, scope);
                }
                // Redis did not know of the holder, or this would not have come so far. One who takes
                // and releases it there has taken it away.
                let by = holder.as_ref().map(|holder| &*holder.claim.client);
                if !by.is_some_and(|by| scope.is_foreign(self.lock.key(), by)) {
                    scope.shared().repairs.touch(&self.lock);
                }
                Input::Beaten
            }
            _ => return None,
        };
        Some(self.feed(input, scope))
    }

    /// `acquire_timeout` has passed: the claim is withdrawn, and when that is durable the client is told
    /// "not acquired" (SPEC 3). It gets an answer in bounded time all the same, which says what is
    /// not known.
    pub(in crate::session::operation) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if self.waits {
            return self.has_waited(scope);
        }
        if self.refresh.is_due() {
            return self.send_refresh(scope);
        }
        if let Some(ticket) = self.raising.take() {
            scope.shared().door.forget(ticket);
            return self.end(Outcome::Undecided, scope);
        }
        if let Some((ticket, _)) = self.leaving.take() {
            scope.shared().door.forget(ticket);
            return self.end(Outcome::Undecided, scope);
        }
        if std::mem::replace(&mut self.withdrawing, true) {
            return self.feed(Input::Undecided, scope);
        }
        let door = &scope.shared().door;
        if self.ticket.map(|ticket| door.withdraw(ticket)) != Some(Withdrawal::UnderWay) {
            return self.feed(Input::Unheard, scope);
        }
        self.until = scope.withdrawal_until();
        crash::here("withdrawal-asked");
        self.waiting()
    }

    /// A claim that has won and whose client is told no is released before it is told. None if there is
    /// nothing to wait for.
    pub(super) fn leave(&mut self, outcome: Outcome, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let claim = self.won.filter(|_| outcome != Outcome::Granted)?;
        let release = Ask::Release(self.lock.clone(), claim, Cause::Undelivered);
        let ticket = scope.book(vec![release]).ok()?;
        scope.shared().repairs.touch(&self.lock);
        (self.won, self.leaving) = (None, Some((ticket, outcome)));
        self.until = scope.withdrawal_until();
        Some(self.waiting())
    }

    /// The claim is withdrawn, or was not made.
    pub(super) fn answer_blocked(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match self.trouble.take() {
            Some(trouble) => {
                let text = format!("TRYAGAIN lockside: not acquired: {trouble}");
                scope.answer_error(&text)
            }
            None => {
                let flow = scope.answer_error(durable::NOT_ACQUIRED);
                crash::here("refusal-told");
                flow
            }
        }
    }

    /// What the ledger and the repairs have to know of an acquire that has ended.
    pub(super) fn tidy(&self, outcome: Outcome, scope: &Scope<'_, '_>) {
        match self.won {
            Some(claim) if outcome == Outcome::Granted && self.resumes == Some(claim) => {
                let table = &scope.shared().table;
                table.set_confidence(&self.lock, &self.ask.stored, Confidence::Held);
                scope.shared().repairs.touch(&self.lock);
            }
            Some(_) if outcome == Outcome::Granted && self.machine.is_in_line() => {}
            Some(_) if outcome == Outcome::Granted => scope.shared().repairs.touch(&self.lock),
            // The ledger does not answer.
            Some(claim) => scope.give_up(&self.lock, claim),
            None => {}
        }
    }

    /// The ledger knows of an unconfirmed grant of this very token: it is the same grant (SPEC 3), if
    /// it still stands. In strict its value is claimed once more: the table may not have heard yet
    /// that another sidecar has released it, and that it is another's lock now.
    pub(super) fn resume_claimed(
        &mut self,
        claim: Option<Position>,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if scope.shared().guarantee == Guarantee::Strict {
            self.resumes = claim;
            let (machine, effect) = Acquire::by_claim(scope.cx.now, self.ask.lifetime);
            self.machine = machine;
            return self.carry_out(effect, scope);
        }
        let table = &scope.shared().table;
        table.set_confidence(&self.lock, &self.ask.stored, Confidence::Held);
        self.answer_granted(scope)
    }

    /// The machine for a fresh acquire.
    pub(super) fn machine(&self, scope: &Scope<'_, '_>) -> (Acquire, Effect) {
        let (now, lifetime) = (scope.cx.now, self.ask.lifetime);
        let (machine, effect) = match self.ask.persistent {
            true => Acquire::start(now, lifetime),
            false => Acquire::start_with_ttl(now, lifetime),
        };
        let mut ledger = scope.shared().ledger_use();
        // Only the guarded PERSIST gives a fence.
        if ledger == Ledger::Follows && !self.ask.persistent {
            ledger = Ledger::DecidesWithRedis;
        }
        (machine.by_ledger(ledger).on_replicas(replicas::are_wanted(scope)), effect)
    }

    /// `fast`: a claim without Redis waits until this sidecar has said that it has lost Redis (SPEC
    /// 8, lock-delay): others may have granted the lock. Why there is none now.
    fn unclaimable(&self, scope: &Scope<'_, '_>) -> Option<&'static str> {
        let shared = scope.shared();
        let is_early = shared.guarantee == Guarantee::Fast
            && shared.board.view().mode == Mode::Healthy
            && !self.machine.has_set();
        is_early.then_some("Redis did not answer")
    }
}

const NOT_SEEN: &str = "upstream is unavailable, and was not seen to let this client in";
