//! The session's link to Redis: what a new one begins with, and what its end means.

use std::time::Duration;

use super::operation::Operation;
use super::{Cx, End, Session};
use crate::mode::{Mode, Report, View};
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;

/// An outage is known by then: a refused connection at once, a process that hangs never closes one.
const VERDICT: Duration = Duration::from_millis(300);

impl Session {
    /// The link has failed: refused, timed out while connecting, reset, or closed by Redis.
    /// `connected`: whether it ever stood.
    pub fn link_failed(&mut self, reason: &str, connected: bool, cx: &mut Cx<'_>) {
        let report = if connected { Report::Reset } else { Report::Refused };
        cx.shared.reports.note(report);
        let half = !self.replies.at_boundary();
        self.forget_link();
        if self.operation.is_some() {
            self.step(|operation, scope| operation.link_failed(reason, connected, scope), cx);
            return;
        }
        let unanswered = self.pipeline.abandon();
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
        self.queued.clear();
        self.wait_for_verdict(connected, cx);
        let text = match connected {
            true => cx.shared.unknown_outcome(reason),
            false => cx.shared.unavailable(reason),
        };
        let mut replies = Vec::new();
        for _ in 0..unanswered {
            encode::error(&mut replies, text.as_bytes());
        }
        cx.wires.to_client(&replies);
        self.settle_end(cx);
    }

    /// Redis has closed the link by itself. If it turns out to be there all the same, it meant this
    /// connection (CLIENT KILL, `timeout`), and the client sees what Redis's own would.
    fn wait_for_verdict(&mut self, connected: bool, cx: &Cx<'_>) {
        if connected && cx.shared.reports.expects() {
            self.deadline = Some(cx.now + VERDICT);
            self.awaits_ledger = true;
            self.orphaned = true;
        }
    }

    /// The time for the health thread to find out has passed.
    pub(super) fn verdict_is_due(&mut self, cx: &Cx<'_>) {
        self.deadline = None;
        self.awaits_ledger = false;
        let view = cx.shared.board.view();
        if std::mem::take(&mut self.orphaned) && view.reachable && view.mode == Mode::Healthy {
            self.end = Some(End::Now);
        }
    }

    /// True if the link is no use with this view: Redis does not answer, and may never.
    pub fn gives_up_link(&self, view: View) -> bool {
        !view.reachable && self.linked
    }

    /// An operation wants a new link.
    pub(super) fn reopen(&mut self, cx: &mut Cx<'_>) {
        if !self.state.is_replayable() {
            self.end = Some(End::AfterOperation);
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
            self.link_failed(reason.trim_end(), false, cx);
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
        self.reopening = false;
    }
}
