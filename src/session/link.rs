//! The session's link to Redis: what a new one begins with, and what its end means.

use std::time::Duration;

use super::operation::{Operation, Scope};
use super::pipeline::Expectation;
use super::state::{Change, HeldBack};
use super::{Cx, End, Session};
use crate::mode::{Mode, Report, Sign, View};
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;

/// How often to look whether the health thread has found out why a link was closed.
const VERDICT: Duration = Duration::from_millis(300);
/// Why a link has ended that Redis closed in good order.
pub const CLOSED_BY_REDIS: &str = "Redis closed the connection";

impl Session {
    /// The link has failed: refused, timed out while connecting, reset, or closed by Redis.
    /// `connected`: whether it ever stood.
    pub fn link_failed(&mut self, reason: &str, connected: bool, cx: &mut Cx<'_>) {
        let report = if connected { Report::Reset } else { Report::Refused };
        cx.shared.reports.note(report);
        self.link_ended(reason, connected, cx);
    }

    /// The same, of an end that says nothing of Redis, or of which it was told.
    fn link_ended(&mut self, reason: &str, connected: bool, cx: &mut Cx<'_>) {
        let half = !self.replies.at_boundary();
        self.forget_link();
        if self.operation.is_some() {
            self.step(|operation, scope| operation.link_failed(reason, connected, scope), cx);
            return;
        }
        let blocked = self.pipeline.changes().find_map(|change| match change {
            Change::Block(words) => Some(words.clone()),
            _ => None,
        });
        let ends =
            |change: &Change| matches!(change, Change::Exec | Change::Discard | Change::Reset);
        let transaction_ends = self.pipeline.changes().any(ends);
        // Nobody knows which replies the client wants from there on.
        let changes_replies = |change: &Change| matches!(change, Change::Reply(_));
        let half = half || self.pipeline.changes().any(changes_replies);
        let multi = self.pipeline.open_multi();
        let mut unanswered = self.pipeline.abandon();
        // Blocked on something of Redis's own: closed, as Redis would.
        let half = half || matches!(blocked, Some(None));
        if half || self.raw || self.skimmer.is_some() || self.state.ends_with_link() {
            // Nothing that could be said would be understood: as a client of Redis would see it.
            self.end = Some(End::Now);
            return;
        }
        if matches!(self.end, Some(End::ByRedis)) {
            self.end = Some(End::Now);
            return;
        }
        self.state.lose_link();
        if transaction_ends {
            // Its last word was sent; the client is told that nobody knows.
            self.state.held_back = None;
            self.state.watched = None;
        }
        if let Some(place) = multi {
            // Its transaction goes on without Redis; not if commands of it were lost.
            let aborted = place + 1 < unanswered;
            self.state.held_back = Some(Box::new(HeldBack { aborted, ..HeldBack::default() }));
        }
        self.queued.clear();
        let carried = blocked.flatten().filter(|_| unanswered == 1);
        unanswered -= u64::from(carried.is_some());
        self.wait_for_verdict(reason, cx);
        let text = match connected {
            true => cx.shared.unknown_outcome(reason),
            false => cx.shared.unavailable(reason),
        };
        let mut replies = Vec::new();
        for place in 0..unanswered {
            match self.state.takes_reply() {
                true if Some(place) == multi => encode::simple(&mut replies, b"OK"),
                true => encode::error(&mut replies, text.as_bytes()),
                false => {}
            }
        }
        cx.wires.to_client(&replies);
        if let Some((words, since)) = carried {
            self.orphaned = None;
            self.run(|scope| Operation::carry(words, since, scope), cx);
        }
        self.settle_end(cx);
    }

    /// The mode has changed.
    pub fn view_changed(&mut self, cx: &mut Cx<'_>) {
        if let Some(mut operation) = self.operation.take() {
            let flow = operation.view_changed(&self.scope(cx));
            self.operation = Some(operation);
            if let Some(flow) = flow {
                self.follow(flow, cx);
            }
        }
    }

    /// Redis has closed the link in good order. If it turns out to be there all the same, it meant
    /// this connection (CLIENT KILL, `timeout`), and the client sees what Redis's own would.
    fn wait_for_verdict(&mut self, reason: &str, cx: &Cx<'_>) {
        if reason == CLOSED_BY_REDIS && cx.shared.reports.expects() {
            self.orphaned = Some(cx.shared.reports.good_probes());
            self.ask_again(cx);
        }
    }

    fn ask_again(&mut self, cx: &Cx<'_>) {
        self.deadline = Some(cx.now + VERDICT);
        self.awaits_ledger = true;
    }

    /// Its client goes on over a new link, and Redis has answered there: it has lost nothing that it
    /// could see, and whom the end was meant for is no matter any more.
    pub(super) fn goes_on(&mut self) {
        self.orphaned = None;
    }

    /// Has the health thread found out? Of two good probes the second began after the end.
    pub(super) fn verdict_is_due(&mut self, cx: &Cx<'_>) {
        self.deadline = None;
        self.awaits_ledger = false;
        let Some(before) = self.orphaned.take() else { return };
        let view = cx.shared.board.view();
        if !view.reachable || view.mode != Mode::Healthy {
            // What was sent on a new link meanwhile waits no longer than on any other.
            if !view.reachable && self.linked && !self.pipeline.is_empty() {
                self.doom(cx);
            }
            return;
        }
        if !self.pipeline.is_empty() {
            // What it has asked on a new link is answered there, and then it has gone on.
            self.watch_over_state(cx);
        } else if cx.shared.reports.good_probes() >= before + 2 {
            self.end = Some(End::Now);
        } else {
            self.orphaned = Some(before);
            self.ask_again(cx);
        }
    }

    /// True if the link is no use with this view: Redis does not answer, and may never. Ordinary
    /// commands in flight are given as long as a lock command would be: a Redis that was only busy
    /// answers them, and their client would have waited for it. One that only blocks on companions
    /// goes on at once where its signal comes from now on, or its own time would run out meanwhile.
    pub fn gives_up_link(&mut self, view: View, cx: &Cx<'_>) -> bool {
        if view.reachable || !self.linked {
            return false;
        }
        let carried = self.pipeline.only_blocks_on_companions() && self.state.transaction.is_none();
        if self.operation.is_some() || self.pipeline.is_empty() || carried {
            return true;
        }
        self.doom(cx);
        false
    }

    /// What is in flight is given its time, from now on.
    fn doom(&mut self, cx: &Cx<'_>) {
        if self.deadline.is_none() {
            self.deadline = Some(cx.now + cx.shared.command_timeout);
            self.awaits_ledger = true;
            self.doomed = Some((self.pipeline.done(), cx.shared.reports.good_probes()));
        }
    }

    /// A command on the connection's state never takes long at Redis: if it has no reply in time
    /// while Redis answers others, the link is dead. Watched in every mode: a link that died with an
    /// outage may be noticed after it.
    pub(super) fn watch_over_state(&mut self, cx: &Cx<'_>) {
        if self.pipeline.head().is_some_and(Expectation::is_quick) {
            self.doom(cx);
        }
    }

    /// What was in flight when Redis ceased to answer has been given its time.
    pub(super) fn doom_is_due(&mut self, cx: &mut Cx<'_>) {
        let Some((done, probes)) = self.doomed.take() else { return };
        self.deadline = None;
        self.awaits_ledger = false;
        let away = !cx.shared.board.view().reachable;
        let quick = self.pipeline.head().is_some_and(Expectation::is_quick);
        let others = cx.shared.reports.good_probes() >= probes + 2;
        let dead = quick && others && self.pipeline.done() == done;
        if !(away || dead) {
            self.watch_over_state(cx);
        } else if self.linked && !self.pipeline.is_empty() {
            cx.wires.reopen();
            self.link_failed("Redis does not answer", true, cx);
        }
    }

    /// An operation wants a new link.
    pub(super) fn reopen(&mut self, cx: &mut Cx<'_>) {
        if !self.state.is_replayable() {
            self.end = Some(End::AfterOperation);
        }
        if !cx.shared.board.view().reachable {
            // A process that hangs still takes connections, and answers on none.
            self.forget_link();
            let away = |operation: &mut Operation, scope: &mut Scope<'_, '_>| {
                operation.link_failed("Redis does not answer", false, scope)
            };
            self.step(away, cx);
            return;
        }
        self.renew_link(cx);
        if self.preamble == 0 {
            self.step(Operation::reopened, cx);
        } else {
            self.reopening = true;
            self.deadline = Some(cx.now + cx.shared.command_timeout);
        }
    }

    /// Drops the link for another one, and brings that to this session's state.
    pub(super) fn renew_link(&mut self, cx: &mut Cx<'_>) {
        self.forget_link();
        cx.wires.reopen();
        self.ensure_link(cx);
    }

    /// What a new link begins with. A session in its first state sends nothing here, and so opens
    /// no link before it has a command for it.
    pub(super) fn ensure_link(&mut self, cx: &mut Cx<'_>) {
        if self.linked {
            return;
        }
        self.linked = true;
        self.witness.link_opened(&*cx.shared.gate);
        let mut commands = Vec::new();
        self.preamble = self.state.replay(&mut commands);
        self.forward(&commands, cx);
    }

    /// A reply to what the new link began with.
    pub(super) fn preamble_reply(&mut self, frame: &[u8], cx: &mut Cx<'_>) {
        self.preamble -= 1;
        // What a client says of its library is no matter: a Redis before 7.2 knows no SETINFO, and
        // Lockside has taken it alone.
        let matters = self.preamble >= self.state.library_facts();
        if frame.first() == Some(&b'-') && matters {
            // A password that is wrong, or a user that was removed since.
            let credentials = self.state.credentials();
            self.witness.refused(credentials, &frame[1..], &self.state, &*cx.shared.gate);
            let text = String::from_utf8_lossy(frame);
            let reason = format!("it refused the connection's credentials or state: {text}");
            // A wrong password says nothing of Redis: it is no connection that was refused.
            if let Some(sign) = Sign::of_error(&frame[1..]) {
                cx.shared.reports.note(Report::Error(sign));
            }
            self.link_ended(reason.trim_end(), false, cx);
            let over = self.operation.is_none();
            self.end = Some(if over { End::Now } else { End::AfterOperation });
        } else if self.preamble == 0 {
            if let Some(credentials) = self.state.credentials() {
                self.witness.accepted(credentials, &*cx.shared.gate);
            }
            if std::mem::take(&mut self.reopening) {
                self.step(Operation::reopened, cx);
            }
        }
    }

    pub(super) fn forget_link(&mut self) {
        self.replies = ReplyScanner::default();
        self.captured = Vec::new();
        self.preamble = 0;
        self.linked = false;
        self.verified = false;
        if self.doomed.take().is_some() {
            self.deadline = None;
            self.awaits_ledger = false;
        }
        self.reopening = false;
    }
}
