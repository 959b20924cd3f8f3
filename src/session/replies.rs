//! Redis's replies on their way to the client.
//!
//! Most are only counted and passed on. Some are collected whole, because they change what
//! Lockside knows, or belong to an operation. Messages that Redis sends out of order (pushes, a
//! subscriber's messages, MONITOR's lines) are told apart from replies and passed on.

use super::operation::Operation;
use super::pipeline::Expectation;
use super::state::{Change, ReplyMode, Topic};
use super::{Cx, Session};
use crate::resp::reply::{Reply, ReplyError};

/// What happens to the frame that is coming in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Replies to a run of plain commands: counted, passed on.
    Run,
    /// Something out of order: passed on.
    Pass,
    /// The reply that is expected next: passed on.
    PassReply,
    /// The reply that is expected next, which the client does not want.
    DropReply,
    /// Collected whole.
    Capture,
}

/// Why a link can't be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// What Redis sends makes no sense.
    #[error("its reply made no sense: {0}")]
    Nonsense(#[from] ReplyError),
    /// A reply on lock keys, which has to be read as a whole, is too large for that.
    #[error("its reply is larger than limits.client_buffer allows for a command on lock keys")]
    TooLarge,
}

impl Session {
    /// Takes bytes of Redis; all of them. An error means that the link is to be dropped.
    pub fn upstream_bytes(&mut self, buf: &[u8], cx: &mut Cx<'_>) -> Result<(), Unusable> {
        if self.raw {
            self.pass_on(buf, cx);
            return Ok(());
        }
        let (mut pass, mut at) = (0, 0);
        // The client is owed nothing that comes after the session's end.
        while at < buf.len() && !self.has_ended() {
            if self.replies.at_boundary() {
                self.treatment = self.treat(buf[at]);
            }
            if self.treatment == Treatment::Run {
                let Some(Expectation::Plain(count)) = self.pipeline.head() else { break };
                let run = self.replies.run(&buf[at..], *count)?;
                at += run.consumed;
                self.pipeline.plain_done(run.replies);
                self.state.plain_replied(run.replies);
                self.goes_on();
                continue;
            }
            let progress = self.replies.scan(&buf[at..])?;
            let piece = &buf[at..at + progress.consumed];
            at += progress.consumed;
            if matches!(self.treatment, Treatment::Capture | Treatment::DropReply) {
                self.pass_on(&buf[pass..at - piece.len()], cx);
                pass = at;
            }
            if self.treatment == Treatment::Capture {
                if self.captured.len() + piece.len() > cx.shared.max_captured {
                    return Err(Unusable::TooLarge);
                }
                self.capture(piece, progress.done, cx);
            } else if progress.done && self.treatment != Treatment::Pass {
                self.reply_passed();
            }
        }
        let end = if self.has_ended() { at } else { buf.len() };
        self.pass_on(&buf[pass..end], cx);
        self.settle_end(cx);
        Ok(())
    }

    fn treat(&self, kind: u8) -> Treatment {
        let head = self.pipeline.head();
        let confirms =
            matches!(head, Some(Expectation::Change(change)) if change.is_subscription());
        match kind {
            b'>' if confirms => Treatment::Capture,
            b'>' => Treatment::Pass,
            _ if self.preamble > 0 || self.operation.is_some() => Treatment::Capture,
            b'+' if self.state.monitor => Treatment::Capture,
            b'*' if self.state.mixes_messages() => Treatment::Capture,
            _ => self.treat_reply(kind),
        }
    }

    fn treat_reply(&self, kind: u8) -> Treatment {
        let wanted = self.state.reply_mode == ReplyMode::On;
        match self.pipeline.head() {
            None => Treatment::Pass,
            Some(Expectation::Plain(_)) if wanted => Treatment::Run,
            Some(Expectation::Change(Change::Reply(mode))) if kind == b'+' => match mode {
                ReplyMode::On => Treatment::PassReply,
                ReplyMode::Off | ReplyMode::Skip => Treatment::DropReply,
            },
            Some(Expectation::Change(change)) if self.state.has_to_see(change) => {
                Treatment::Capture
            }
            _ if wanted => Treatment::PassReply,
            _ => Treatment::DropReply,
        }
    }

    /// The expected reply has gone by without being looked at.
    fn reply_passed(&mut self) {
        let kind = self.replies.kind();
        if self.treatment == Treatment::DropReply && self.state.reply_mode == ReplyMode::Skip {
            self.state.reply_mode = ReplyMode::On;
        }
        self.reply_done(kind != b'-' && kind != b'_');
    }

    fn reply_done(&mut self, ok: bool) {
        self.goes_on();
        match self.pipeline.head() {
            Some(Expectation::Plain(_)) => {
                self.pipeline.plain_done(1);
                self.state.plain_replied(1);
            }
            Some(Expectation::Change(_)) => {
                if let Some(change) = self.pipeline.change_done() {
                    self.state.replied(change, ok);
                    // DISCARD or RESET: what was queued is no part of the next transaction.
                    if self.state.transaction.is_none() {
                        self.queued.clear();
                    }
                }
                if self.state.transaction.is_none() {
                    self.queued.clear();
                }
            }
            None => {}
        }
    }

    fn capture(&mut self, piece: &[u8], done: bool, cx: &mut Cx<'_>) {
        if !done {
            self.captured.extend_from_slice(piece);
        } else if self.captured.is_empty() {
            self.captured_frame(piece, cx);
        } else {
            let mut frame = std::mem::take(&mut self.captured);
            frame.extend_from_slice(piece);
            self.captured_frame(&frame, cx);
        }
    }

    fn captured_frame(&mut self, frame: &[u8], cx: &mut Cx<'_>) {
        let push = frame.first() == Some(&b'>');
        if self.preamble > 0 && !push {
            self.preamble_reply(frame, cx);
        } else if self.is_message(frame) || self.confirmed(frame) || push {
            self.pass_on(frame, cx);
        } else if self.operation.is_some() {
            self.goes_on();
            self.step(|operation: &mut Operation, scope| operation.reply(frame, scope), cx);
        } else {
            self.changed(frame, cx);
        }
    }

    /// True for what Redis sends out of order to a MONITOR or a RESP2 subscriber.
    fn is_message(&self, frame: &[u8]) -> bool {
        if self.state.monitor && frame.first() == Some(&b'+') {
            return frame.get(1).is_some_and(u8::is_ascii_digit);
        }
        frame.first() == Some(&b'*')
            && self.state.mixes_messages()
            && matches!(first_text(frame), Some(b"message" | b"pmessage" | b"smessage"))
    }

    /// Takes the confirmation of a subscription; true if it was one.
    fn confirmed(&mut self, frame: &[u8]) -> bool {
        let asked = self.pipeline.head_change().is_some_and(|change| change.is_subscription());
        if !asked && !self.state.mixes_messages() {
            return false;
        }
        let Some((topic, on)) = first_text(frame).and_then(confirmation) else { return false };
        let Some(total) = last_integer(frame) else { return false };
        let before = self.state.subscriptions.of(topic);
        self.state.subscriptions.confirm(topic, total);
        let done = match (self.pipeline.head_change(), on) {
            (Some(Change::Subscribe(left)), true) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            (Some(Change::Unsubscribe(of, left)), false) if *of == topic => {
                let now_left = left.unwrap_or(before).saturating_sub(1);
                *left = Some(now_left);
                now_left == 0
            }
            // Unasked: Redis ended it.
            _ => false,
        };
        if done {
            self.reply_done(true);
        }
        true
    }

    /// Subscriptions that were made inside MULTI are confirmed inside EXEC's reply.
    fn confirmed_inside(&mut self, frame: &[u8]) {
        let Some((reply, _)) = Reply::parse(frame) else { return };
        let nested = |element: &&[u8]| matches!(element.first(), Some(b'*' | b'>'));
        for element in reply.elements().filter(nested) {
            let confirmed = first_text(element).and_then(confirmation);
            if let (Some((topic, _)), Some(total)) = (confirmed, last_integer(element)) {
                self.state.subscriptions.confirm(topic, total);
            }
        }
    }

    /// The reply of a change that has to be looked at.
    fn changed(&mut self, frame: &[u8], cx: &mut Cx<'_>) {
        let ok = !matches!(frame.first(), Some(b'-' | b'_')) && frame != b"*-1\r\n";
        let queued = self.state.transaction.is_some();
        match self.pipeline.head_change() {
            Some(Change::ScriptLoad(text)) if ok && !queued => {
                let text = std::mem::take(text);
                cx.shared.scripts.insert(&text);
            }
            Some(Change::ScriptFlush) if ok && !queued => cx.shared.scripts.clear(),
            Some(Change::Auth(credentials)) if !queued => {
                self.witness.greeted(Some(credentials), frame, &self.state, &*cx.shared.gate);
            }
            Some(Change::Hello(hello)) if !queued => {
                let credentials = hello.auth.as_ref();
                self.witness.greeted(credentials, frame, &self.state, &*cx.shared.gate);
            }
            Some(Change::Exec) => {
                if let Some((reply, _)) = Reply::parse(frame) {
                    self.state.forget_refused(reply.elements());
                }
            }
            _ => {}
        }
        let wanted = self.state.reply_mode == ReplyMode::On;
        if self.state.reply_mode == ReplyMode::Skip {
            self.state.reply_mode = ReplyMode::On;
        }
        self.reply_done(ok);
        self.confirmed_inside(frame);
        if wanted {
            self.pass_on(frame, cx);
        }
    }

    fn pass_on(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        if !bytes.is_empty() {
            cx.wires.to_client(bytes);
        }
    }
}

fn first_text(frame: &[u8]) -> Option<&[u8]> {
    let (reply, _) = Reply::parse(frame)?;
    let first = reply.elements().next()?;
    Reply::parse(first)?.0.text()
}

fn last_integer(frame: &[u8]) -> Option<u64> {
    let (reply, _) = Reply::parse(frame)?;
    match Reply::parse(reply.elements().last()?)?.0 {
        Reply::Integer(total) => u64::try_from(total).ok(),
        _ => None,
    }
}

fn confirmation(word: &[u8]) -> Option<(Topic, bool)> {
    Some(match word {
        b"subscribe" => (Topic::Channel, true),
        b"psubscribe" => (Topic::Pattern, true),
        b"ssubscribe" => (Topic::Shard, true),
        b"unsubscribe" => (Topic::Channel, false),
        b"punsubscribe" => (Topic::Pattern, false),
        b"sunsubscribe" => (Topic::Shard, false),
        _ => return None,
    })
}
