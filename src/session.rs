//! One client: its commands in, its replies out, in order.
//!
//! Sans-io. The worker feeds a session what it read ([`Session::client_bytes`],
//! [`Session::upstream_bytes`]) and what happened ([`Session::client_gone`],
//! [`Session::link_failed`], [`Session::timed_out`], [`Session::verdict`]), and the session acts on
//! the world through [`Wires`]. Time is a duration since the process began, handed in.
//!
//! Commands that have nothing to do with locks are forwarded as they came, many to a write, and
//! their replies only counted. A command that can touch a lock waits until nothing is
//! outstanding, then has the link to itself as an [`operation`]; so its view of the connection's
//! state is exact, and its replies cannot be confused with others.

mod change;
pub mod flights;
mod operation;
mod pipeline;
mod replies;
mod shared;
mod state;

use std::sync::Arc;
use std::time::Duration;

use crate::resp::Args;
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;
use crate::resp::request::{RequestScanner, Scanned, Skimmer};
use crate::router::{self, Route};

use flights::{Flights, SessionId, Verdict};
use operation::{Flow, Grant, Operation, Queued, Scope};
use pipeline::Pipeline;
use replies::Treatment;
pub use shared::{Clock, Shared};
use state::State;

/// What a session does to the world. The worker carries it out at once.
pub trait Wires {
    /// Bytes for Redis, on the session's own link, which is opened if there is none.
    fn to_upstream(&mut self, bytes: &[u8]);
    /// Bytes for the client.
    fn to_client(&mut self, bytes: &[u8]);
    /// Drops the link, if there is one, with all that waits on it, and opens another.
    fn reopen(&mut self, cx: &mut Cx<'_>) {
        if !self.state.is_replayable() {
            self.end = Some(End::AfterOperation);
        }
        self.forget_link();
        cx.wires.reopen();
        self.ensure_link(cx);
        if self.preamble == 0 {
            self.step(Operation::reopened, cx);
        } else {
            self.reopening = true;
            self.deadline = Some(cx.now + cx.shared.command_timeout);
        }
    }

    /// Brings a new link to the state that this session is in. A session in its first state
    /// sends nothing here, and so opens no link before it has a command for it.
    fn ensure_link(&mut self, cx: &mut Cx<'_>) {
        if self.linked {
            return;
        }
        self.linked = true;
        let mut commands = Vec::new();
        self.preamble = self.state.replay(&mut commands);
        self.forward(&commands, cx);
    }

    /// The new link has the session's state.
    fn link_replayed(&mut self, cx: &mut Cx<'_>) {
        if std::mem::take(&mut self.reopening) {
            self.step(Operation::reopened, cx);
        }
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut Operation, &mut Scope<'_, '_>) -> Flow,
        cx: &mut Cx<'_>,
    ) {
        if let Some(mut operation) = self.operation.take() {
            self.begin(
                |scope| {
                    let flow = step(&mut operation, scope);
                    (Some(operation), flow)
                },
                cx,
            );
        }
    }

    /// The client's connection has ended, in one direction or both.
    pub fn client_gone(&mut self, cx: &mut Cx<'_>) {
        if std::mem::replace(&mut self.client_gone, true) {
            return;
        }
        if let Some(operation) = &mut self.operation
            && operation.client_gone(self.id, cx) == Flow::Done
        {
            self.operation = None;
        }
    }

    /// The connection is about to be closed; `written` bytes of what was handed over for the
    /// client were taken by its socket. Grants whose reply went out become unconfirmed. True when
    /// there were others: they are being taken back, and the connection has to live until
    /// [`Session::has_operation`] says no.
    pub fn last_rites(&mut self, written: u64, cx: &mut Cx<'_>) -> bool {
        let grants = std::mem::take(&mut self.grants);
        let unsent = operation::settle_grants(grants, written, cx.shared);
        let here = unsent.into_iter().filter(|grant| grant.key.db() == self.state.db);
        let here: Vec<Grant> = here.collect();
        if here.is_empty() || self.has_operation() {
            return false;
        }
        self.pipeline.abandon();
        self.reopen_for(here, cx);
        self.has_operation()
    }

    /// On a link of its own: the old one may be stuck behind replies that nobody reads.
    fn reopen_for(&mut self, grants: Vec<Grant>, cx: &mut Cx<'_>) {
        self.forget_link();
        cx.wires.reopen();
        self.ensure_link(cx);
        self.begin(|scope| operation::give_back(grants, scope), cx);
    }

    /// The link has failed: refused, timed out while connecting, reset, or closed by Redis.
    /// `connected`: whether it ever stood.
    pub fn link_failed(&mut self, reason: &str, connected: bool, cx: &mut Cx<'_>) {
        self.forget_link();
        if self.operation.is_some() {
            self.step(|operation, scope| operation.link_failed(reason, connected, scope), cx);
            return;
        }
        let unanswered = self.pipeline.abandon();
        if connected || self.skimmer.is_some() || !self.state.is_replayable() {
            self.end = Some(End::Now);
            return;
        }
        let mut replies = Vec::new();
        for _ in 0..unanswered {
            encode::error(&mut replies, cx.shared.unavailable(reason).as_bytes());
        }
        cx.wires.to_client(&replies);
    }

    /// The deadline has passed.
    pub fn timed_out(&mut self, cx: &mut Cx<'_>) {
        self.deadline = None;
        self.forget_link();
        self.step(Operation::timed_out, cx);
    }

    /// The answer to an acquire that waited for another. False if there is none any more.
    pub fn verdict(&mut self, verdict: Verdict, cx: &mut Cx<'_>) -> bool {
        let waits = self.operation.as_ref().is_some_and(|operation| operation.waits_for_another());
        if waits {
            self.step(|operation, scope| operation.verdict(verdict, scope), cx);
        }
        waits
    }

    /// Takes in the worker's reason to end: a limit was passed. The client gets this error.
    pub fn refuse_more(&mut self, text: &str, cx: &mut Cx<'_>) {
        self.end = Some(End::Protocol(text.as_bytes().to_vec()));
        self.settle_end(cx);
    }

    fn forget_link(&mut self) {
        self.replies = ReplyScanner::default();
        self.captured = Vec::new();
        self.preamble = 0;
        self.linked = false;
        self.reopening = false;
    }

    /// A huge frame is passed on before it is complete, once its key is known not to be a lock's.
    fn stream(&mut self, requests: &mut RequestScanner, rest: &[u8], cx: &mut Cx<'_>) -> bool {
        if rest.len() < cx.shared.stream_above {
            return false;
        }
        let Some(partial) = requests.partial(rest) else { return false };
        if !router::may_stream(partial.args, &cx.shared.rules) {
            return false;
        }
        self.pipeline.expect_plain();
        self.skimmer = Some(requests.into_skim(rest.len()));
        true
    }

    fn protocol_error(&mut self, error: &impl std::fmt::Display) {
        self.skimmer = None;
        self.end = Some(End::Protocol(format!("ERR {error}").into_bytes()));
    }

    /// Ends the session with its last words once nothing else is owed to the client.
    fn settle_end(&mut self, cx: &mut Cx<'_>) {
        if let Some(End::Protocol(text)) = &self.end
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

/// What becomes of a complete command.
enum Taken {
    /// Its bytes go upstream with those around it.
    Forward,
    /// Something else is done instead, now.
    Instead,
    /// Not before what is outstanding has been answered.
    Later,
}
