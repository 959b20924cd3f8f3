//! `SET NX` and `SETNX` on a lock key: drives the acquire machine over the session's link.

mod ask;
mod claim;
mod fence;
mod refresh;
mod replicas;
mod replies;
mod waiting;
mod words;

use std::time::Duration;

use crate::command::LockUse;
use crate::crash;
use crate::ledger::{Guarantee, Ticket};
use crate::lock::acquire::{Acquire, Effect, Input, Outcome, Request};
use crate::lock::envelope::scripts::{self, Script};
use crate::lock::record::{Confidence, LockKey, Position};
use crate::lock::value;
use crate::resp::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::flights::{Ended, Question, Turn};

use super::exchange::Exchange;
use super::script::Scripting;
use super::settle;
use super::{Flow, Grant, Operation, Scope, TIMED};
pub(super) use ask::{Ask, Form, Read, read};
use refresh::Refresh;
pub(super) use replicas::{LINK_LOST, are_wanted, judge as judge_replicas, send as send_wait};
pub(super) use words::{CLIENT_GONE, TABLE_FULL, UNCONFIRMED, is_error, is_forbidden};
use words::{HELD_BY_OTHER_TYPE, RAN_OUT, UNKNOWN};

/// An acquire under way.
pub(in crate::session) struct Acquiring {
    ask: Box<Ask>,
    lock: LockKey,
    question: Option<Question>,
    /// The token is unique by itself and is the one that the table has for this lock: if Redis
    /// says that the lock is held, it may be this client's own grant of a moment ago.
    known_token: bool,
    /// Waits for another session's acquire of the same key.
    waits: bool,
    machine: Acquire,
    sent: Request,
    /// Replies of no interest before the one that answers what was sent.
    skip: u8,
    /// The script was sent by its text, because Redis did not have it.
    sent_text: bool,
    /// Redis's own words, for the client.
    error: Vec<u8>,
    /// What the client would see as the holder's value (`SET … NX GET`).
    held_value: Option<Vec<u8>>,
    /// The claim is with the ledger under this name.
    ticket: Option<Ticket>,
    /// When the claim is given up, or what takes it back is waited for no more.
    until: Duration,
    /// When an acquire that has waited for another's is given up: counted from its arrival.
    waited_until: Option<Duration>,
    /// So many replicas had the key in time.
    replicas: Option<i64>,
    /// The claim is being withdrawn.
    withdrawing: bool,
    /// The claim had won, and is being released under this name; the acquire ends so then.
    leaving: Option<(Ticket, Outcome)>,
    /// The fence that Redis has given to a claim is being written, under this name.
    raising: Option<Ticket>,
    refresh: Refresh,
    /// The claim that has won; the grant that it goes on with.
    won: Option<Position>,
    resumes: Option<Position>,
    /// Why the ledger did not take the claim.
    trouble: Option<String>,
    /// The claim's fence, before Redis has given one.
    won_fence: u64,
    /// The link was lost while the ledger was being asked.
    link_lost: bool,
    /// The second step asks for the fence too (`fast`).
    fenced: bool,
    /// The fence that Redis has given.
    fence: Option<u64>,
    /// The ledger has taken the grant that Redis has made.
    granted: bool,
    /// This is a grant that the table had.
    resumed: bool,
}

impl Acquiring {
    pub(super) fn begin(
        lock_use: &LockUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let ask = match read(lock_use, args, scope) {
            Read::Acquire(ask) => ask,
            Read::Overwrite => return Scripting::begin_command(args, scope),
            Read::Other => return Exchange::pass(args, scope),
        };
        if scope.client_gone {
            return (None, scope.answer_error(CLIENT_GONE));
        }
        let lock = scope.lock_key(&ask.key);
        if scope.shared().table.is_full_for(&lock) {
            return (None, scope.answer_error(TABLE_FULL));
        }
        let mut operation = Self::new(ask, lock, args, scope);
        let flow = operation.start(scope);
        (Some(Box::new(Operation::Acquire(operation))), flow)
    }

    fn new(ask: Box<Ask>, lock: LockKey, args: Args<'_>, scope: &Scope<'_, '_>) -> Self {
        let shared = scope.shared();
        let presented = args.get(2).unwrap_or_default();
        // SET … NX GET answers with the holder's value, which is this client's own if the grant is.
        let known_token = ask.persistent
            && ask.form != Form::SetGet
            && value::is_unique(presented)
            && shared.table.find(&lock).is_some_and(|record| {
                value::matches(&record.stored, presented, shared.stamp_of(&ask.key))
            });
        let coalesced = ask.form != Form::SetGet && !known_token;
        let question =
            coalesced.then(|| Question { user: scope.state.user.clone(), key: lock.clone() });
        let (machine, _) = Acquire::start(scope.cx.now, ask.lifetime);
        Self {
            ask,
            lock,
            question,
            known_token,
            waits: false,
            machine,
            sent: Request::SetNx,
            skip: 0,
            sent_text: false,
            error: Vec::new(),
            held_value: None,
            ticket: None,
            until: Duration::ZERO,
            waited_until: None,
            replicas: None,
            withdrawing: false,
            leaving: None,
            raising: None,
            refresh: Refresh::default(),
            won: None,
            resumes: None,
            trouble: None,
            won_fence: 0,
            link_lost: false,
            fenced: false,
            fence: None,
            granted: false,
            resumed: false,
        }
    }

    /// Goes on with an unconfirmed grant of the same token, if that is what stands (SPEC 3).
    fn resume(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        if !self.known_token {
            return None;
        }
        let record = scope.shared().table.find(&self.lock)?;
        let is_contested = || !scope.shared().door.contested(&self.lock).is_empty();
        if record.confidence != Confidence::Unconfirmed || is_contested() {
            return None;
        }
        self.known_token = false;
        self.ask.stored = record.stored;
        if record.claim.is_some() && scope.decides() {
            return Some(self.resume_claimed(record.claim, scope));
        }
        self.resume_unclaimed(record.claim.is_some() || record.fence.is_some(), scope)
    }

    /// Asks Redis for a grant that the table has. `is_booked`: the ledger has, or will have it.
    fn resume_unclaimed(&mut self, is_booked: bool, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let is_fast = scope.shared().guarantee == Guarantee::Fast;
        if is_fast && scope.decides() {
            return None;
        }
        let (machine, effect) = Acquire::resume(scope.cx.now, self.ask.lifetime);
        (self.machine, self.resumed) =
            (machine.on_replicas(replicas::are_wanted(scope)), is_booked);
        self.fenced = is_fast && !is_booked;
        Some(self.carry_out(effect, scope))
    }

    fn start(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        // In strict Redis goes first: it knows whether the client may.
        if scope.shared().guarantee != Guarantee::Strict
            && let Some(flow) = self.resume(scope)
        {
            return flow;
        }
        let turn = match &self.question {
            Some(question) => {
                let (now, releases) = (scope.cx.now, scope.shared().table.releases_seen());
                scope.cx.flights.join(question, scope.id, now, releases)
            }
            None => Turn::Ask,
        };
        match turn {
            Turn::Ask => self.ask_redis(scope),
            Turn::Held => {
                self.question = None;
                self.answer_held(scope)
            }
            Turn::Wait => self.begin_to_wait(scope),
        }
    }

    fn ask_redis(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let (machine, effect) = self.machine(scope);
        self.machine = machine;
        self.carry_out(effect, scope)
    }

    /// A client that has only ended its side still reads: it gets an answer, or the reply to its
    /// next command would pass for this one's.
    pub(super) fn client_gone(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if self.waits {
            return self.stop_waiting(CLIENT_GONE, scope);
        }
        self.machine.on(Input::ClientGone, scope.cx.now);
        self.waiting()
    }

    fn waiting(&self) -> Flow {
        let is_booked =
            self.machine.is_claiming() || self.leaving.is_some() || self.raising.is_some();
        if is_booked || self.waits {
            Flow::Ledger { until: self.refresh.or(self.until) }
        } else {
            TIMED
        }
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if self.refresh.is_answered() {
            return self.waiting();
        }
        if self.skip > 0 {
            self.skip -= 1;
            return TIMED;
        }
        // What can't be read is no yes.
        let reply = Reply::parse(frame).map_or(Reply::Error(b""), |(reply, _)| reply);
        if is_error(&reply, b"NOSCRIPT") && !self.sent_text {
            self.sent_text = true;
            return self.send(self.sent, scope);
        }
        if self.sent == Request::Persist && self.fenced {
            return match self.read_fenced(&reply, frame, scope) {
                Some(input) => self.feed(input, scope),
                None => self.persist_again(scope),
            };
        }
        if self.sent == Request::SetNx {
            scope.witness_reply(&self.ask.rule, &reply);
            crash::here("set-answered");
        }
        let input = self.read_reply(&reply, frame, scope);
        self.feed(input, scope)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.feed(Input::Reopened, scope)
    }

    pub(super) fn timed_out(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.refresh.stop();
        self.feed(Input::TimedOut, scope)
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if self.waits {
            // Another session's link asks for both; this one's own is not needed yet.
            return self.waiting();
        }
        self.refresh.stop();
        if matches!(self.waiting(), Flow::Ledger { .. }) {
            self.link_lost = true;
            return self.waiting();
        }
        if connected {
            return self.feed(Input::Lost, scope);
        }
        encode::error(&mut self.error, scope.shared().unavailable(reason).as_bytes());
        self.feed(Input::ReopenFailed, scope)
    }

    fn feed(&mut self, input: Input, scope: &mut Scope<'_, '_>) -> Flow {
        let effect = self.machine.on(input, scope.cx.now);
        self.carry_out(effect, scope)
    }

    fn carry_out(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        match effect {
            // What Redis may have is put right by a repair.
            Effect::Send(_) if self.link_lost => self.feed(Input::Lost, scope),
            Effect::Send(request) => {
                self.sent_text = false;
                self.send(request, scope)
            }
            Effect::Claim => self.claim(scope),
            Effect::Reopen => Flow::Reopen,
            Effect::Wait => self.waiting(),
            Effect::Finish(outcome) => self.finish(outcome, scope),
        }
    }

    fn send(&mut self, request: Request, scope: &mut Scope<'_, '_>) -> Flow {
        self.sent = request;
        self.skip = if request == Request::Confirm { 3 } else { 0 };
        let key = self.ask.key.as_slice();
        match request {
            Request::SetNx => {
                self.resumed = false;
                self.expect_fence(scope);
                scope.cx.wires.to_upstream(&self.ask.command());
                crash::here("set-sent");
            }
            Request::Replicas => replicas::send(scope),
            Request::ReadBack => scope.send(&[b"GET", key]),
            Request::PlainPersist => scope.send(&[b"PERSIST", key]),
            Request::Confirm => {
                let commands: [&[&[u8]]; 4] =
                    [&[b"MULTI"], &[b"GET", key], &[b"PTTL", key], &[b"EXEC"]];
                commands.iter().for_each(|command| scope.send(command));
            }
            Request::Persist => {
                self.send_persist(scope);
                crash::here("persist-sent");
            }
            Request::CompareAndDelete => self.send_guarded(&scripts::COMPARE_AND_DELETE, scope),
        }
        TIMED
    }

    fn send_guarded(&self, script: &Script, scope: &mut Scope<'_, '_>) {
        let (name, script) = settle::call(script, self.sent_text);
        scope.send(&[name, script, b"1", &self.ask.key, &settle::value_guard(&self.ask.stored)]);
    }

    fn finish(&mut self, outcome: Outcome, scope: &mut Scope<'_, '_>) -> Flow {
        // Looked for again: the end of the client's earlier connection may have been noticed
        // only while Redis was being asked.
        if outcome == Outcome::Held
            && let Some(flow) = self.resume(scope)
        {
            return flow;
        }
        if let Some(flow) = self.raise(outcome, scope).or_else(|| self.leave(outcome, scope)) {
            return flow;
        }
        // A claim that has won can't be released now: it will be.
        let is_open = self.won.is_some() && outcome != Outcome::Granted;
        self.end(if is_open { Outcome::Undecided } else { outcome }, scope)
    }

    /// Says how it has ended: to the table, to those who wait for it, and to the client.
    fn end(&mut self, outcome: Outcome, scope: &mut Scope<'_, '_>) -> Flow {
        self.tidy(outcome, scope);
        let ended = match outcome {
            Outcome::Granted => Ended::Granted,
            Outcome::Held => Ended::Held,
            Outcome::TooFewReplicas => self.replicas.map_or(Ended::Unclear, Ended::TooFew),
            _ => Ended::Unclear,
        };
        let record = || self.ask.record(scope.client(), scope.shared());
        match outcome {
            Outcome::Granted => self.note_granted(scope),
            Outcome::Unconfirmed => scope.shared().table.suspect(self.lock.clone(), record()),
            _ => {}
        }
        if let Some(question) = self.question.take() {
            let (now, releases) = (scope.cx.now, scope.shared().table.releases_seen());
            scope.cx.flights.ended(&question, ended, now, releases);
        }
        match outcome {
            Outcome::Granted => self.answer_granted(scope),
            Outcome::Held => self.answer_held(scope),
            Outcome::Refused => scope.answer(&self.error),
            Outcome::RanOut => scope.answer_error(RAN_OUT),
            Outcome::Unknown => scope.answer_error(UNKNOWN),
            Outcome::Unconfirmed => scope.answer_error(UNCONFIRMED),
            Outcome::Abandoned => scope.answer_error(CLIENT_GONE),
            Outcome::TooFewReplicas => self.answer_too_few(scope),
            Outcome::Blocked => self.answer_blocked(scope),
            Outcome::Undecided => scope.answer_error(super::durable::WITHDRAWING),
        }
    }

    fn answer_granted(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let mut reply = Vec::new();
        self.ask.granted_reply(scope.state.protocol, &mut reply);
        let flow = scope.answer(&reply);
        crash::here("acquire-told");
        scope.grants.push(Grant {
            key: self.lock.clone(),
            stored: self.ask.stored.clone(),
            reply_end: scope.cx.wires.client_accepted(),
            claim: self.won,
            is_resumed: self.won.is_some() && self.won == self.resumes,
        });
        flow
    }

    fn answer_held(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let contested = scope.shared().door.contested(&self.lock);
        if contested.iter().any(|holder| holder.claim.stored == self.ask.stored) {
            return scope.answer_error(super::serve::CONTESTED);
        }
        let mut reply = Vec::new();
        match (self.ask.form, self.held_value.take()) {
            (Form::SetGet, Some(value)) => encode::bulk(&mut reply, &value),
            // A null would say that the lock was taken.
            (Form::SetGet, None) => return scope.answer_error(HELD_BY_OTHER_TYPE),
            (Form::Setnx, _) => encode::integer(&mut reply, 0),
            _ => encode::null(&mut reply, scope.state.protocol),
        }
        scope.answer(&reply)
    }
}

/// The acquire that a command asks for, if it is one.
pub(super) fn acquire_of(args: Args<'_>, scope: &mut Scope<'_, '_>) -> Option<Box<Ask>> {
    let setnx = args.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"setnx"));
    let lock_use = if setnx { LockUse::Setnx } else { LockUse::Set };
    match read(&lock_use, args, scope) {
        Read::Acquire(ask) => Some(ask),
        Read::Overwrite | Read::Other => None,
    }
}
