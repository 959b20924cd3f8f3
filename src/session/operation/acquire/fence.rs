//! `guarantee = "fast"`: the guarded PERSIST that gives the fence too, and what becomes of it
//! (SPEC 2, 3 and 8).
//!
//! While it is calm Redis decides: the fence comes with the yes, and the grant is handed to the
//! ledger before the client is told. If Redis has no counter, or the ledger's door takes no grants
//! any more, that yes is none, and the acquire goes on by a claim.

use crate::ledger::{Ask, Guarantee, Outcome as Booked};
use crate::lock::acquire::{Input, Outcome, Request};
use crate::lock::envelope::scripts;
use crate::lock::record::Confidence;
use crate::mode::Report;
use crate::resp::reply::Reply;
use crate::session::operation::{Flow, Scope};

use super::{Acquiring, is_forbidden, settle};

impl Acquiring {
    pub(super) fn send_persist(&self, scope: &mut Scope<'_, '_>) {
        if !self.fenced {
            return self.send_guarded(&scripts::PERSIST, scope);
        }
        let (name, script) = settle::call(&scripts::PERSIST_FENCED, self.sent_text);
        let counter = scope.shared().fence_counter.clone();
        let floor = scope.shared().door.fence_high().max(self.won_fence);
        scope.send(&[
            name,
            script,
            b"2",
            &self.ask.key,
            &counter,
            &settle::value_guard(&self.ask.stored),
            scope.state.db.to_string().as_bytes(),
            floor.to_string().as_bytes(),
        ]);
    }

    /// The fenced script from the first SET on, for a lock that is to be made persistent.
    pub(super) fn expect_fence(&mut self, scope: &Scope<'_, '_>) {
        self.fenced = scope.shared().guarantee == Guarantee::Fast && self.ask.persistent;
    }

    /// The reply to the fenced script; none if the same is to be asked without the fence.
    pub(super) fn read_fenced(
        &mut self,
        reply: &Reply<'_>,
        frame: &[u8],
        scope: &mut Scope<'_, '_>,
    ) -> Option<Input> {
        let first = reply.elements().next().and_then(Reply::parse).map(|(reply, _)| reply);
        match first {
            Some(Reply::Integer(fence @ 1..)) => {
                Some(self.fence_given(fence.unsigned_abs(), scope))
            }
            Some(Reply::Integer(-2)) => {
                scope.shared().reports.note(Report::NoCounter);
                self.do_without_fence()
            }
            _ if is_forbidden(reply) => self.do_without_fence(),
            _ => Some(self.read_guarded(reply, frame)),
        }
    }

    fn do_without_fence(&mut self) -> Option<Input> {
        self.fenced = false;
        self.machine.follows().then_some(Input::Uncalm)
    }

    fn fence_given(&mut self, fence: u64, scope: &Scope<'_, '_>) -> Input {
        self.fence = Some(fence);
        if !self.machine.follows() || scope.client_gone {
            return Input::Ours;
        }
        let mut record = self.ask.record(scope.client(), scope.shared());
        record.fence = self.fence;
        self.granted = scope.grant(&self.lock, &record);
        if self.granted { Input::Ours } else { Input::Uncalm }
    }

    /// A claim has won, and Redis has given it a fence: the ledger has it before the client is told. A
    /// grant by another sidecar that is still on its way there may have a higher one than the claim's
    /// own, though it is over: it would end this hold. And who releases it by another sidecar must
    /// not find this written behind. None if there is nothing to wait for.
    pub(super) fn raise(&mut self, outcome: Outcome, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let fence = self.fence.filter(|_| outcome == Outcome::Granted && self.won.is_some())?;
        let record = self.ask.record(scope.client(), scope.shared());
        let grant = match scope.claim_of(&self.lock, &record) {
            Ask::Claim(claim) | Ask::ClaimExpiring(claim) => Ask::Grant(claim, fence),
            _ => return None,
        };
        // Not while Redis does not decide: then the counter is raised above all of these.
        self.raising = Some(scope.book(vec![grant]).ok()?);
        self.until = scope.claim_until(self.ask.safety_ttl);
        Some(self.waiting())
    }

    /// The ledger has that fence; or another has the lock by now.
    pub(super) fn raised(&mut self, raised: Option<&Booked>, scope: &mut Scope<'_, '_>) -> Flow {
        if matches!(raised, Some(Booked::Won { .. })) {
            return self.end(Outcome::Granted, scope);
        }
        // A repair takes the key back.
        scope.shared().repairs.touch(&self.lock);
        self.finish(Outcome::RanOut, scope)
    }

    /// The table and the ledger have what the client is about to be told.
    pub(super) fn note_granted(&self, scope: &Scope<'_, '_>) {
        let table = &scope.shared().table;
        let record = || self.ask.record(scope.client(), scope.shared());
        match (self.won, self.fence) {
            // A claim that has won stands in the table already.
            (Some(_), Some(fence)) => table.raise_fence(&self.lock, &self.ask.stored, fence),
            (Some(_), None) => {}
            (None, _) if self.granted => {}
            (None, _) if self.resumed => {
                table.set_confidence(&self.lock, &self.ask.stored, Confidence::Held);
            }
            (None, _) => table.grant(self.lock.clone(), record()),
        }
    }

    /// Sends the second step again, without the fence.
    pub(super) fn persist_again(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.sent_text = false;
        self.send(Request::Persist, scope)
    }
}
