//! Lock commands inside MULTI: queued in their translated form, settled when EXEC has run them
//! and before the client sees its reply (SPEC 3 and 5).

mod disclaim;
mod doubt;
mod element;
mod queueing;

use crate::crash;
use crate::ledger::{self, Answer, Ticket};
use crate::lock::record::LockKey;
use crate::resp::encode;
use crate::resp::reply::Reply;

use super::acquire::{self, Ask};
use super::durable;
use super::exchange::Purpose;
use super::inside::Look;
use super::over;
use super::script::{self, Enveloped, RAN_OUT};
use super::settle::{Loss, Next, Provisional, Settlement};
use super::{Flow, Operation, Scope, TIMED};
use disclaim::Said;
use doubt::Doubts;
use element::{Place, Touched, acquired, passed};
pub(in crate::session) use queueing::Queueing;

/// A lock command of the open transaction.
pub(in crate::session) struct Queued {
    /// Its place in EXEC's reply.
    place: usize,
    /// The database that it works in.
    db: u32,
    what: What,
}

/// What its part of EXEC's reply means.
pub(super) enum What {
    Acquire(Box<Ask>),
    Enveloped(Box<Enveloped>),
    Other(Box<Purpose>),
    Inside(Box<Look>),
}

impl What {
    /// The keys that it names and that may be locks.
    fn locks(&self, db: u32) -> Vec<LockKey> {
        match self {
            Self::Acquire(ask) => vec![LockKey::new(db, &ask.key)],
            Self::Enveloped(call) => call.locks(db),
            Self::Other(purpose) => purpose.locks(db),
            Self::Inside(look) => vec![LockKey::new(db, look.key())],
        }
    }
}

enum Step {
    /// The ledger is being read, before EXEC is sent.
    Reading(Ticket),
    Executing,
    /// EXEC has run: the ledger is being read before what this reply says of locks is believed.
    Looking(Ticket, Vec<u8>),
    /// DISCARD was sent in EXEC's place; this is the client's reply.
    Refusing(Vec<u8>),
    Settling,
    /// Redis is asked whether it has the locks at all that scripts have said no to.
    Doubting,
}

/// An EXEC with lock commands in it.
pub(in crate::session) struct Executing {
    queued: Vec<Queued>,
    step: Step,
    /// The client's reply, element by element.
    elements: Vec<Vec<u8>>,
    /// Locks that the transaction took and still has, each with its place in the reply.
    taken: Vec<(usize, Provisional)>,
    /// Holds that the transaction has ended.
    releases: Vec<ledger::Ask>,
    /// What its reply says of locks.
    said: Box<Said>,
    /// Locks that the commands before this one have changed.
    touched: Touched,
    /// What was said no to though the ledger has a holder.
    doubts: Box<Doubts>,
    /// Of what was taken and released; and of what was taken, what is held now.
    settlement: Option<Box<Settlement>>,
    held: Vec<bool>,
    /// The link was lost, and there is no new one.
    link_lost: bool,
}

impl Executing {
    pub(super) fn begin(scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        if let Some(refusal) = Self::refusal(scope) {
            scope.queued.clear();
            let mut operation = Self::new(Vec::new(), Step::Executing);
            let flow = operation.refuse(refusal, scope);
            return (Some(Box::new(Operation::Exec(operation))), flow);
        }
        let is_blind = |queued: &Queued| match &queued.what {
            What::Other(purpose) => purpose.is_blind(),
            _ => false,
        };
        let depends = !scope.state.seen().is_empty() || scope.queued.iter().any(is_blind);
        let reading = if depends { scope.read_ledger() } else { None };
        let mut operation = Self::new(std::mem::take(scope.queued), Step::Executing);
        let flow = match reading {
            Some((ticket, until)) => {
                operation.step = Step::Reading(ticket);
                Flow::Ledger { until }
            }
            None => operation.send(scope),
        };
        (Some(Box::new(Operation::Exec(operation))), flow)
    }

    fn new(queued: Vec<Queued>, step: Step) -> Self {
        Self {
            queued,
            step,
            elements: Vec::new(),
            taken: Vec::new(),
            releases: Vec::new(),
            said: Box::default(),
            touched: Touched::default(),
            doubts: Box::default(),
            settlement: None,
            held: Vec::new(),
            link_lost: false,
        }
    }

    fn send(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if over::has_changed(scope) {
            let mut reply = Vec::new();
            encode::null_array(&mut reply, scope.state.protocol);
            return self.refuse(reply, scope);
        }
        self.step = Step::Executing;
        scope.send(&[b"EXEC"]);
        crash::here("exec-sent");
        TIMED
    }

    /// Why EXEC is not sent, as the client's reply.
    fn refusal(scope: &Scope<'_, '_>) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        let due = |queued: &Queued| {
            let is_due = |key: &LockKey| scope.shared().repairs.is_due(key);
            queued.what.locks(queued.db).iter().any(is_due)
        };
        if !scope.queued.is_empty() && scope.is_blocked() {
            encode::error(&mut reply, ABORTED.as_bytes());
        } else if scope.shared().repairs.any_is_due() && scope.queued.iter().any(due) {
            // Redis may not have these locks as the ledger has them, since they were queued.
            match scope.state.is_watching() {
                true => encode::null_array(&mut reply, scope.state.protocol),
                false => encode::error(&mut reply, CHANGED.as_bytes()),
            }
        } else {
            return None;
        }
        Some(reply)
    }

    /// As a transaction that Redis aborts: nothing is applied.
    fn refuse(&mut self, reply: Vec<u8>, scope: &mut Scope<'_, '_>) -> Flow {
        self.step = Step::Refusing(reply);
        scope.send(&[b"DISCARD"]);
        TIMED
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        match &mut self.step {
            Step::Reading(_) | Step::Looking(..) => Flow::Close,
            Step::Executing => self.executed(frame, scope),
            Step::Refusing(reply) => {
                scope.state.executed(false);
                scope.answer(reply)
            }
            Step::Settling => {
                let next = self.settlement.as_mut().map(|it| it.reply(frame, scope));
                self.go_on(next, scope)
            }
            Step::Doubting => self.doubted(frame, scope),
        }
    }

    fn executed(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let reply = Reply::parse(frame).map(|(reply, _)| reply);
        let executed = matches!(reply, Some(Reply::Aggregate { .. }));
        self.said.seen = scope.state.take_seen();
        if let Some(reply) = &reply {
            scope.state.forget_refused(reply.elements());
        }
        scope.state.executed(executed);
        let Some(reply) = reply.filter(|_| executed) else { return scope.answer(frame) };
        crash::here("exec-answered");
        if self.may_be_wrong(&reply, scope)
            && let Some((ticket, until)) = scope.read_for_look()
        {
            self.step = Step::Looking(ticket, frame.to_vec());
            return Flow::Ledger { until };
        }
        self.settle(frame, scope)
    }

    /// EXEC has run and has this reply: makes good what it has done.
    fn settle(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let Some((reply, _)) = Reply::parse(frame) else { return Flow::Close };
        self.elements = reply.elements().map(<[u8]>::to_vec).collect();
        for queued in std::mem::take(&mut self.queued) {
            self.translate(queued, scope);
        }
        let releases = std::mem::take(&mut self.releases);
        if self.taken.is_empty() && releases.is_empty() {
            return self.doubt(scope);
        }
        let locks = self.taken.iter().map(|(_, provisional)| provisional.clone()).collect();
        let (settlement, next) = Settlement::begin(locks, releases, scope);
        self.step = Step::Settling;
        self.settlement = Some(Box::new(settlement));
        self.go_on(Some(next), scope)
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        match &mut self.step {
            Step::Reading(ticket) if *ticket == answer.ticket => Some(self.send(scope)),
            Step::Looking(ticket, frame) if *ticket == answer.ticket => {
                let frame = std::mem::take(frame);
                Some(self.settle(&frame, scope))
            }
            Step::Settling => {
                let next = self.settlement.as_mut()?.answered(answer, scope)?;
                Some(self.go_on(Some(next), scope))
            }
            _ => None,
        }
    }

    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match &mut self.step {
            Step::Reading(ticket) => {
                scope.shared().door.forget(*ticket);
                let mut reply = Vec::new();
                encode::error(&mut reply, ABORTED.as_bytes());
                self.refuse(reply, scope)
            }
            Step::Looking(ticket, frame) => {
                scope.shared().door.forget(*ticket);
                let frame = std::mem::take(frame);
                self.settle(&frame, scope)
            }
            _ => {
                let next = self.settlement.as_mut().map(|it| it.ledger_late(scope));
                self.go_on(next, scope)
            }
        }
    }

    /// Claims have lost, and all that was taken is given back: their elements say so.
    fn answer_lost(&mut self, losses: &[Loss], scope: &mut Scope<'_, '_>) -> Flow {
        let mut error = Vec::new();
        encode::error(&mut error, script::lost_to(losses, scope).as_bytes());
        // Looks behind it have shown what was given back.
        let taken = self.taken.iter().map(|(place, _)| *place);
        for place in taken.chain(self.said.own.iter().copied()) {
            self.elements[place].clone_from(&error);
        }
        let flow = self.answer(scope);
        crash::here("exec-refused");
        flow
    }

    /// Turns a lock command's element into what the client sees. A later command of the same
    /// transaction may have released or overwritten what an earlier one took: that is no loss.
    fn translate(&mut self, queued: Queued, scope: &mut Scope<'_, '_>) {
        let Queued { place, db, what } = queued;
        let Some(element) = self.elements.get(place).cloned() else { return };
        let mut out = Vec::new();
        let locks = match what {
            What::Acquire(ask) => {
                if let Some((reply, _)) = Reply::parse(&element) {
                    scope.witness_reply(&ask.rule, &reply);
                }
                let taken = acquired(&ask, db, &element, scope, &mut out);
                self.touched.note(taken.iter().map(|taken| &taken.lock));
                taken
            }
            What::Enveloped(call) => {
                let Some(effect) = call.read(&element, scope) else {
                    self.elements[place] = script::unreadable();
                    return;
                };
                scope.witness_script(call.keys(), &effect);
                self.doubts.note(place, db, &call, &effect, &self.touched, scope);
                self.touched.note(effect.changed());
                out = effect.reply;
                self.said.scripts.push(place);
                self.release(place, effect.releases);
                self.taken.retain(|(_, earlier)| !effect.released.contains(&earlier.lock));
                effect.taken
            }
            What::Other(purpose) => {
                if let Some((reply, _)) = Reply::parse(&element) {
                    scope.witness_answer(&purpose, &reply);
                }
                if matches!(*purpose, Purpose::View(_) | Purpose::Look(_)) {
                    self.note_look(place, &purpose.locks(db));
                }
                let (taken, seen) = (&mut self.taken, &*self.said.seen);
                let at = Place { db, seen, touched: &self.touched };
                let releases = passed(&purpose, at, &element, taken, scope, &mut out);
                self.touched.follow(&purpose, db);
                self.release(place, releases);
                Vec::new()
            }
            What::Inside(look) => {
                self.note_look(place, &[LockKey::new(db, look.key())]);
                self.doubts.note_look(place, db, &look, &element, &self.touched, scope);
                out = element;
                Vec::new()
            }
        };
        self.elements[place] = out;
        for provisional in locks {
            self.taken.retain(|(_, earlier)| earlier.lock != provisional.lock);
            self.taken.push((place, provisional));
        }
    }

    fn note_look(&mut self, place: usize, locks: &[LockKey]) {
        self.said.looks.push(place);
        if self.taken.iter().any(|(_, taken)| locks.contains(&taken.lock)) {
            self.said.own.push(place);
        }
    }

    fn release(&mut self, place: usize, releases: Vec<ledger::Ask>) {
        let named = releases.iter().filter_map(|ask| match ask {
            ledger::Ask::Release(lock, ..) => Some((place, lock.clone())),
            _ => None,
        });
        self.said.released.extend(named);
        self.releases.extend(releases);
    }

    /// None: there is nothing to settle.
    fn go_on(&mut self, next: Option<Next>, scope: &mut Scope<'_, '_>) -> Flow {
        let (Some(next), Some(settlement)) = (next, &self.settlement) else { return Flow::Close };
        let ended = settlement.ended_before().to_vec();
        match next {
            Next::Blocked(text) if text == durable::NOT_RELEASED && self.has_seen(&ended) => {
                self.disclaim(&ended, scope)
            }
            Next::Wait => TIMED,
            Next::Ledger(until) => Flow::Ledger { until },
            Next::Reopen => Flow::Reopen,
            Next::Lost(losses) => self.answer_lost(&losses, scope),
            Next::Blocked(text) => scope.answer_error(&script::blocked(&text)),
            Next::Unknown if scope.client_gone => scope.answer_error(acquire::CLIENT_GONE),
            Next::GivenBack => Flow::Close,
            Next::Unknown => scope.answer_error(UNKNOWN),
            Next::Settled(held) => {
                let lost = settlement.lost_keys(&held);
                let is_lost = |lock: &LockKey| settlement.has_lost(lock, &held);
                for (place, _) in self.taken.iter().filter(|(_, taken)| is_lost(&taken.lock)) {
                    let mut error = Vec::new();
                    encode::error(&mut error, format!("{RAN_OUT}: {lost}").as_bytes());
                    self.elements[*place] = error;
                }
                self.held = held;
                self.doubt(scope)
            }
        }
    }

    /// All is settled.
    fn tell(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let ended = self.settlement.as_ref().map_or_else(Vec::new, |it| it.ended_before().to_vec());
        let flow = self.disclaim(&ended, scope);
        if let Some(settlement) = &self.settlement {
            crash::here("exec-told");
            let end = scope.cx.wires.client_accepted();
            scope.grants.extend(settlement.grants(&self.held, end));
        }
        flow
    }

    fn answer(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let mut out = Vec::new();
        encode::array(&mut out, self.elements.len());
        self.elements.iter().for_each(|element| out.extend_from_slice(element));
        scope.answer(&out)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let (Step::Settling, Some(settlement)) = (&self.step, &mut self.settlement) else {
            return Flow::Close;
        };
        self.link_lost = false;
        settlement.reopened(scope);
        TIMED
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        self.link_lost = true;
        match &mut self.step {
            Step::Settling => {
                let next = self.settlement.as_mut().map(|it| it.lost(scope));
                self.go_on(next, scope)
            }
            Step::Doubting => self.doubt(scope),
            Step::Looking(ticket, frame) => {
                scope.shared().door.forget(*ticket);
                let frame = std::mem::take(frame);
                match self.settle(&frame, scope) {
                    // What it has just sent went nowhere.
                    Flow::Wait { .. } | Flow::Ledger { .. } => {
                        let next = self.settlement.as_mut().map(|it| it.lost(scope));
                        self.go_on(next, scope)
                    }
                    flow => flow,
                }
            }
            // EXEC was sent, or the whole transaction was never heard of.
            Step::Refusing(reply) => {
                scope.state.executed(false);
                scope.answer(reply)
            }
            Step::Reading(_) | Step::Executing => {
                let was_sent = matches!(self.step, Step::Executing);
                scope.state.executed(false);
                if connected && was_sent {
                    return scope.answer_unknown(reason);
                }
                let text = scope.shared().unavailable(reason);
                scope.answer_error(&text)
            }
        }
    }
}

const CHANGED: &str = "EXECABORT Transaction discarded: lockside: a lock of it is being repaired; nothing \
    was done; ask again";
const ABORTED: &str = "EXECABORT Transaction discarded: lockside: the ledger does not answer; nothing \
    was done";
const UNKNOWN: &str = "TRYAGAIN lockside: unknown outcome: EXEC ran, but Redis did not say \
    whether its locks were made persistent; they are shown as unconfirmed until they are released";
