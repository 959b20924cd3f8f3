//! Lock commands inside MULTI: queued in their translated form, settled when EXEC has run them
//! and before the client sees its reply (SPEC 3 and 5).

mod disclaim;
mod queueing;

use crate::crash;
use crate::ledger::{self, Answer, Ticket};
use crate::lock::record::LockKey;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::state::Seen;

use super::acquire::{self, Ask, Form};
use super::durable;
use super::exchange::{self, Purpose};
use super::over;
use super::script::{self, Enveloped, RAN_OUT};
use super::settle::{Loss, Next, Provisional, Settlement, value_guard};
use super::view;
use super::{Flow, Operation, Scope, TIMED};
use disclaim::Said;
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
}

impl What {
    /// The keys that it names and that may be locks.
    fn locks(&self, db: u32) -> Vec<LockKey> {
        match self {
            Self::Acquire(ask) => vec![LockKey::new(db, &ask.key)],
            Self::Enveloped(call) => call.locks(db),
            Self::Other(purpose) => purpose.locks(db),
        }
    }
}

enum Step {
    /// The ledger is being read, before EXEC is sent.
    Reading(Ticket),
    Executing,
    /// DISCARD was sent in EXEC's place; this is the client's reply.
    Refusing(Vec<u8>),
    Settling(Box<Settlement>),
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
            Step::Reading(_) => Flow::Close,
            Step::Executing => self.executed(frame, scope),
            Step::Refusing(reply) => {
                scope.state.executed(false);
                scope.answer(reply)
            }
            Step::Settling(settlement) => {
                let next = settlement.reply(frame, scope);
                self.go_on(next, scope)
            }
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
        self.elements = reply.elements().map(<[u8]>::to_vec).collect();
        for queued in std::mem::take(&mut self.queued) {
            self.translate(queued, scope);
        }
        let releases = std::mem::take(&mut self.releases);
        if self.taken.is_empty() && releases.is_empty() {
            return self.answer(scope);
        }
        let locks = self.taken.iter().map(|(_, provisional)| provisional.clone()).collect();
        let (settlement, next) = Settlement::begin(locks, releases, scope);
        self.step = Step::Settling(Box::new(settlement));
        self.go_on(next, scope)
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        if matches!(self.step, Step::Reading(ticket) if ticket == answer.ticket) {
            return Some(self.send(scope));
        }
        let Step::Settling(settlement) = &mut self.step else { return None };
        let next = settlement.answered(answer, scope)?;
        Some(self.go_on(next, scope))
    }

    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if let Step::Reading(ticket) = self.step {
            scope.shared().door.forget(ticket);
            let mut reply = Vec::new();
            encode::error(&mut reply, ABORTED.as_bytes());
            return self.refuse(reply, scope);
        }
        let Step::Settling(settlement) = &mut self.step else { return Flow::Close };
        let next = settlement.ledger_late(scope);
        self.go_on(next, scope)
    }

    /// Claims have lost, and all that was taken is given back: their elements say so.
    fn answer_lost(&mut self, losses: &[Loss], scope: &mut Scope<'_, '_>) -> Flow {
        let mut error = Vec::new();
        encode::error(&mut error, script::lost_to(losses, scope).as_bytes());
        for (place, _) in &self.taken {
            self.elements[*place].clone_from(&error);
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
                acquired(&ask, db, &element, scope, &mut out)
            }
            What::Enveloped(call) => {
                let Some(effect) = call.read(&element, scope) else {
                    self.elements[place] = script::unreadable();
                    return;
                };
                scope.witness_script(call.keys(), &effect);
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
                if matches!(*purpose, Purpose::View(_)) {
                    self.said.looks.push(place);
                }
                let (taken, seen) = (&mut self.taken, &*self.said.seen);
                let at = Place { db, seen };
                let releases = passed(&purpose, at, &element, taken, scope, &mut out);
                self.release(place, releases);
                Vec::new()
            }
        };
        self.elements[place] = out;
        for provisional in locks {
            self.taken.retain(|(_, earlier)| earlier.lock != provisional.lock);
            self.taken.push((place, provisional));
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

    fn go_on(&mut self, next: Next, scope: &mut Scope<'_, '_>) -> Flow {
        let Step::Settling(settlement) = &self.step else { return Flow::Close };
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
                let flow = self.disclaim(&ended, scope);
                crash::here("exec-told");
                let end = scope.cx.wires.client_accepted();
                if let Step::Settling(settlement) = &self.step {
                    scope.grants.extend(settlement.grants(&held, end));
                }
                flow
            }
        }
    }

    fn answer(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let mut out = Vec::new();
        encode::array(&mut out, self.elements.len());
        self.elements.iter().for_each(|element| out.extend_from_slice(element));
        scope.answer(&out)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match &mut self.step {
            Step::Settling(settlement) => {
                settlement.reopened(scope);
                TIMED
            }
            Step::Reading(_) | Step::Executing | Step::Refusing(_) => Flow::Close,
        }
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        match &mut self.step {
            Step::Settling(settlement) => {
                let next = settlement.lost(scope);
                self.go_on(next, scope)
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

/// An acquire's element: Redis has answered a SET NX.
fn acquired(
    ask: &Ask,
    db: u32,
    element: &[u8],
    scope: &mut Scope<'_, '_>,
    out: &mut Vec<u8>,
) -> Vec<Provisional> {
    let reply = Reply::parse(element).map(|(reply, _)| reply);
    let granted = match (&reply, ask.form) {
        (Some(Reply::Simple(_)), _) => true,
        (Some(Reply::Null), Form::SetGet) => true,
        (Some(Reply::Null), Form::Setnx) => {
            encode::integer(out, 0);
            return Vec::new();
        }
        (Some(Reply::Bulk(_)), Form::SetGet) => {
            view::show(element, &[Some(ask.key.clone())], scope.shared(), out);
            return Vec::new();
        }
        _ => false,
    };
    if !granted {
        out.extend_from_slice(element);
        return Vec::new();
    }
    ask.granted_reply(scope.state.protocol, out);
    let lock = LockKey::new(db, &ask.key);
    let record = ask.record(scope.client(), scope.shared());
    vec![Provisional {
        lock,
        guard: value_guard(&ask.stored),
        record,
        safety_ttl: ask.safety_ttl(),
        persistent: ask.is_persistent(),
    }]
}

/// Where a queued command has worked, and what its client has read of the locks that it watches.
#[derive(Clone, Copy)]
struct Place<'a> {
    db: u32,
    seen: &'a [Seen],
}

/// The element of a command that was queued as it came, and what it has released. `taken` loses
/// the locks that it has released, and follows those that it has moved.
fn passed(
    purpose: &Purpose,
    Place { db, seen }: Place<'_>,
    element: &[u8],
    taken: &mut Vec<(usize, Provisional)>,
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) -> Vec<ledger::Ask> {
    let reply = Reply::parse(element).map(|(reply, _)| reply);
    let shared = scope.shared();
    if let Purpose::TakeOut(lock) = purpose {
        view::show(element, &[Some(lock.key().to_vec())], shared, out);
    } else if let Purpose::View(keys) = purpose {
        view::show(element, keys, shared, out);
    } else if !purpose.show_deleted(element, scope, out) {
        out.extend_from_slice(element);
    }
    let releases = reply.map_or_else(Vec::new, |reply| purpose.releases(&reply, db, seen, scope));
    match (purpose, reply) {
        (Purpose::TakeOut(lock), Some(Reply::Bulk(_))) => {
            taken.retain(|(_, earlier)| earlier.lock != *lock);
        }
        (Purpose::Delete(locks), Some(Reply::Integer(_))) => {
            taken.retain(|(_, earlier)| !locks.contains(&earlier.lock));
        }
        (Purpose::Keyspace(keyspace_use, args), Some(Reply::Simple(_))) => {
            taken.retain_mut(|(_, earlier)| {
                let now = exchange::after_keyspace(*keyspace_use, args, db, &earlier.lock);
                now.map(|now| earlier.lock = now).is_some()
            });
        }
        _ => {}
    }
    releases
}

const CHANGED: &str = "EXECABORT Transaction discarded: lockside: a lock of it is being repaired; nothing \
    was done; ask again";
const ABORTED: &str = "EXECABORT Transaction discarded: lockside: the ledger does not answer; nothing \
    was done";
const UNKNOWN: &str = "TRYAGAIN lockside: unknown outcome: EXEC ran, but Redis did not say \
    whether its locks were made persistent; they are shown as unconfirmed until they are released";
