//! One client: its commands in, its replies out, in order.
//!
//! Sans-io. The worker feeds a session what it read ([`Session::client_bytes`],
//! [`Session::upstream_bytes`]) and what happened ([`Session::client_gone`],
//! [`Session::link_failed`], [`Session::timed_out`], [`Session::verdict`]), and the session acts on
//! the world through [`Wires`]. Time is a duration since the process began, handed in.
//!
//! Commands that have nothing to do with locks are forwarded as they came, many to a write, and
//! their replies only counted. A command that can touch a lock waits until nothing is
//! outstanding, then has the link to itself as an `operation`; so its view of the connection's
//! state is exact, and its replies cannot be confused with others.

mod alone;
mod change;
mod commands;
pub mod flights;
mod link;
mod operation;
mod pipeline;
mod replies;
mod shared;
mod stamper;
mod state;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Answer, Told};
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;
use crate::resp::request::{RequestScanner, Skimmer};

use flights::{Flights, SessionId, Verdict};
pub use link::CLOSED_BY_REDIS;
pub use operation::Locals;
use operation::{Flow, Grant, Operation, Queued, Scope};
use pipeline::Pipeline;
use replies::Treatment;
pub use replies::Unusable;
pub use shared::{Access, Bell, Clock, Gate, Repairs, Replicas, Shared};
pub use stamper::Stamper;
use state::State;
use witness::Witness;

/// What a session does to the world. The worker carries it out at once.
pub trait Wires {
    /// Bytes for Redis, on the session's own link, which is opened if there is none.
    fn to_upstream(&mut self, bytes: &[u8]);
    /// Bytes for the client.
    fn to_client(&mut self, bytes: &[u8]);
    /// Drops the link, if there is one, with all that waits on it, and opens another.
    fn reopen(&mut self);
    /// How many bytes for the client were handed over so far.
    fn client_accepted(&self) -> u64;
    /// True while so much waits for the client that no operation may begin: its reply would not
    /// be read in time, or add to what waits.
    fn client_is_behind(&self) -> bool;
}

/// Everything outside of a session that it works with.
pub struct Cx<'a> {
    /// The time since the process began.
    pub now: Duration,
    /// The worker's number: where the ledger's answers go.
    pub worker: usize,
    /// What all sessions of the process share.
    pub shared: &'a Shared,
    /// The session's two connections.
    pub wires: &'a mut dyn Wires,
    /// The acquires under way in this worker.
    pub flights: &'a mut Flights,
}

/// Why a session is to end, once the client has its last reply.
#[derive(Debug)]
enum End {
    /// When Redis closes the link, as it does after QUIT; commands behind that are not run.
    ByRedis,
    /// As soon as nothing is outstanding: with this error.
    Words(Vec<u8>),
    /// As soon as the operation under way has answered.
    AfterOperation,
    /// Now.
    Now,
}

/// One client's connection.
pub struct Session {
    id: SessionId,
    peer: Arc<str>,
    requests: RequestScanner,
    replies: ReplyScanner,
    treatment: Treatment,
    captured: Vec<u8>,
    skimmer: Option<Skimmer>,
    state: State,
    witness: Witness,
    pipeline: Pipeline,
    operation: Option<Box<Operation>>,
    /// Lock commands of the open MULTI, by their place in EXEC's reply.
    queued: Vec<Queued>,
    /// Grants whose client has not been heard of since.
    grants: Vec<Grant>,
    /// Grants whose client has been heard of, until the ledger is told.
    heard: Vec<Grant>,
    /// False until something was sent on the present link.
    linked: bool,
    /// The link has met the run of Redis that the last repair pass was made for.
    verified: bool,
    /// Replies to what a new link begins with, still to come.
    preamble: usize,
    /// An operation waits for the new link.
    reopening: bool,
    /// The link carries a replication stream: bytes, not replies.
    raw: bool,
    deadline: Option<Duration>,
    /// The deadline is the ledger's, not the link's.
    awaits_ledger: bool,
    /// Commands in flight wait for a Redis that does not answer them; not for ever. How many were
    /// answered, and how many probes were good, when that began.
    doomed: Option<(u64, u64)>,
    /// Redis has closed the link, and nobody knows yet whether it meant this one: how many good
    /// probes there were before.
    orphaned: Option<u64>,
    /// A complete command waits for what is outstanding.
    command_waits: bool,
    client_gone: bool,
    end: Option<End>,
}

impl Session {
    /// A session for a client that has just connected from `peer`.
    pub fn new(id: SessionId, peer: Arc<str>) -> Self {
        Self {
            id,
            peer,
            requests: RequestScanner::default(),
            replies: ReplyScanner::default(),
            treatment: Treatment::Pass,
            captured: Vec::new(),
            skimmer: None,
            state: State::default(),
            witness: Witness::default(),
            pipeline: Pipeline::default(),
            operation: None,
            queued: Vec::new(),
            grants: Vec::new(),
            heard: Vec::new(),
            linked: false,
            verified: false,
            preamble: 0,
            reopening: false,
            raw: false,
            deadline: None,
            awaits_ledger: false,
            doomed: None,
            orphaned: None,
            command_waits: false,
            client_gone: false,
            end: None,
        }
    }

    /// Bytes of a reply that is being collected whole.
    pub fn buffered(&self) -> usize {
        self.captured.len()
    }

    /// When [`Session::timed_out`] is to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// True when the connection is to be closed as soon as the client has what was sent.
    pub fn has_ended(&self) -> bool {
        matches!(self.end, Some(End::Now))
    }

    /// True while client bytes would be taken. When false they wait with the worker.
    pub fn takes_commands(&self) -> bool {
        self.operation.is_none() && self.end.is_none() && !self.pipeline.is_full()
    }

    /// True when nothing is under way: no reply outstanding, no operation.
    pub fn is_idle(&self) -> bool {
        self.operation.is_none() && self.pipeline.is_empty() && self.skimmer.is_none()
    }

    /// True while a complete command waits for replies to those before it.
    pub fn command_waits(&self) -> bool {
        self.command_waits
    }

    /// True for a session that only listens: a subscriber, a MONITOR, a replica. It has no end
    /// of its own.
    pub fn only_listens(&self) -> bool {
        self.raw || self.state.monitor || self.state.subscriptions.any()
    }

    /// True while a lock operation is under way, which outlives its client.
    pub fn has_operation(&self) -> bool {
        self.operation.is_some()
    }

    /// The client was heard of: it has the grants whose replies are among the `written` bytes
    /// that its socket took.
    pub fn heard_of_client(&mut self, written: u64) {
        let is_heard = |grant: &mut Grant| grant.reply_end <= written;
        self.heard.extend(self.grants.extract_if(.., is_heard));
    }

    /// Has the ledger note of which grants the client was heard: not of those that it has just
    /// released, so what it sent is carried out first.
    fn note_heard(&mut self, cx: &Cx<'_>) {
        if !self.heard.is_empty() && self.operation.is_none() && !self.command_waits {
            operation::note_heard(std::mem::take(&mut self.heard), cx.shared);
        }
    }

    /// The client's connection has ended, in one direction or both.
    pub fn client_gone(&mut self, cx: &mut Cx<'_>) {
        if std::mem::replace(&mut self.client_gone, true) {
            return;
        }
        // The deadline of what is under way stays as it is.
        if let Some(mut operation) = self.operation.take() {
            let mut scope = self.scope(cx);
            let flow = operation.client_gone(&mut scope);
            if flow == Flow::Done {
                self.follow(flow, cx);
            } else {
                self.operation = Some(operation);
            }
        }
    }

    /// The connection is about to be closed; `written` bytes of what was handed over for the
    /// client were taken by its socket. Grants whose reply went out become unconfirmed. True when
    /// there were others: they are being taken back, and the connection has to live until
    /// [`Session::has_operation`] says no.
    pub fn last_rites(&mut self, written: u64, cx: &mut Cx<'_>) -> bool {
        let grants = std::mem::take(&mut self.grants);
        // Under way is something that needs the link to itself: then all of them stay.
        let written = if self.has_operation() { u64::MAX } else { written };
        let here = operation::settle_grants(grants, written, self.state.db, cx.shared);
        if here.is_empty() {
            return false;
        }
        self.pipeline.abandon();
        self.renew_link(cx);
        self.run(|scope| operation::give_back(here, scope), cx);
        self.has_operation()
    }

    /// True while what is waited for is the ledger's answer: then the link is not to blame for a
    /// deadline that passes.
    pub fn awaits_ledger(&self) -> bool {
        self.awaits_ledger
    }

    /// The deadline has passed; the worker has dropped the link, unless
    /// [`Session::awaits_ledger`].
    pub fn timed_out(&mut self, cx: &mut Cx<'_>) {
        if self.operation.is_none() && self.doomed.is_some() {
            self.doom_is_due(cx);
        } else if self.operation.is_none() && self.orphaned.is_some() {
            self.verdict_is_due(cx);
        } else if self.operation.is_none() {
            // What it was for has ended otherwise. It must not be due again.
            self.deadline = None;
            self.awaits_ledger = false;
        } else if self.awaits_ledger {
            self.step(Operation::ledger_late, cx);
        } else {
            self.forget_link();
            self.step(Operation::timed_out, cx);
        }
    }

    /// The ledger's answer to something that this session asked for. What nobody waits for any
    /// more has been forgotten or withdrawn before, and is no matter here.
    pub fn ledger_answered(&mut self, answer: &Answer, cx: &mut Cx<'_>) {
        if let Some(mut operation) = self.operation.take() {
            let flow = operation.answered(answer, &mut self.scope(cx));
            self.operation = Some(operation);
            if let Some(flow) = flow {
                self.follow(flow, cx);
            }
        }
    }

    /// The ledger's answer to a question of this session, if that is still of interest.
    pub fn ledger_told(&mut self, told: &Told, cx: &mut Cx<'_>) {
        if let Some(mut operation) = self.operation.take() {
            let flow = operation.told(told, &mut self.scope(cx));
            self.operation = Some(operation);
            if let Some(flow) = flow {
                self.follow(flow, cx);
            }
        }
    }

    /// A companion key that this session may block on has changed.
    pub fn rung(&mut self, cx: &mut Cx<'_>) {
        if let Some(mut operation) = self.operation.take() {
            let flow = operation.rung(&mut self.scope(cx));
            self.operation = Some(operation);
            if let Some(flow) = flow {
                self.follow(flow, cx);
            }
        }
    }

    /// The answer to an acquire that waited for another. False if there is none any more.
    pub fn verdict(&mut self, verdict: Verdict, cx: &mut Cx<'_>) -> bool {
        let waits = self.operation.as_ref().is_some_and(|operation| operation.waits_for_another());
        if waits {
            if verdict == Verdict::Ask {
                // Its own link may have been lost while it waited.
                self.ensure_link(cx);
            }
            self.step(|operation, scope| operation.verdict(verdict, scope), cx);
        }
        waits
    }

    /// Ends the session with this error, once the client has what it is owed.
    pub fn refuse_more(&mut self, text: &str, cx: &mut Cx<'_>) {
        self.skimmer = None;
        self.end = Some(End::Words(text.as_bytes().to_vec()));
        self.settle_end(cx);
    }

    /// Runs a step that may leave an operation under way, and acts on what it says.
    fn run(
        &mut self,
        step: impl FnOnce(&mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow),
        cx: &mut Cx<'_>,
    ) {
        let (operation, flow) = step(&mut self.scope(cx));
        self.operation = operation;
        self.follow(flow, cx);
    }

    fn scope<'s, 'c>(&'s mut self, cx: &'s mut Cx<'c>) -> Scope<'s, 'c> {
        Scope {
            id: self.id,
            peer: &self.peer,
            client_gone: self.client_gone,
            state: &mut self.state,
            witness: &mut self.witness,
            queued: &mut self.queued,
            grants: &mut self.grants,
            cx,
        }
    }

    /// Runs a step of the operation under way.
    fn step(
        &mut self,
        step: impl FnOnce(&mut Operation, &mut Scope<'_, '_>) -> Flow,
        cx: &mut Cx<'_>,
    ) {
        if let Some(mut operation) = self.operation.take() {
            let and_flow = |scope: &mut Scope<'_, '_>| {
                let flow = step(&mut operation, scope);
                (Some(operation), flow)
            };
            self.run(and_flow, cx);
        }
    }

    fn follow(&mut self, flow: Flow, cx: &mut Cx<'_>) {
        self.deadline = None;
        self.awaits_ledger = false;
        match flow {
            Flow::Ledger { until } => {
                self.deadline = Some(until);
                self.awaits_ledger = true;
            }
            Flow::Wait { timed } => {
                self.deadline = timed.then(|| cx.now + cx.shared.command_timeout);
            }
            Flow::Reopen => self.reopen(cx),
            Flow::Done => {
                let verified = self.operation.take().is_some_and(|ended| ended.has_verified());
                self.verified |= verified;
                if matches!(self.end, Some(End::AfterOperation)) {
                    self.end = Some(End::Now);
                }
                self.note_heard(cx);
            }
            Flow::Close => {
                self.operation = None;
                self.end = Some(End::Now);
            }
        }
    }

    /// Ends the session with its last words once nothing else is owed to the client.
    fn settle_end(&mut self, cx: &mut Cx<'_>) {
        if let Some(End::Words(text)) = &self.end
            && self.pipeline.is_empty()
            && self.operation.is_none()
        {
            let mut reply = Vec::new();
            encode::error(&mut reply, text);
            cx.wires.to_client(&reply);
            self.end = Some(End::Now);
        }
    }

    fn forward(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        if !bytes.is_empty() {
            cx.wires.to_upstream(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
