//! What a step of an operation works with, and what it says of how to go on.

use std::sync::Arc;
use std::time::Duration;

use crate::lock::record::LockKey;
use crate::resp::encode;
use crate::session::flights::SessionId;
use crate::session::state::{ReplyMode, State};
use crate::session::witness::Witness;
use crate::session::{Cx, Shared};

use super::transaction::Queued;
use super::{Grant, gate};

/// How a session goes on after a step of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Flow {
    /// Something is still to come. `timed`: within the command timeout, or the link is given up.
    Wait { timed: bool },
    /// The ledger's answer is still to come; [`Operation::ledger_late`] follows when it is not
    /// there by then. The link stays as it is.
    Ledger { until: Duration },
    /// A new link is wanted; [`Operation::reopened`] or [`Operation::link_failed`] follows.
    Reopen,
    /// The client has its reply.
    Done,
    /// The client can't be given a reply that makes sense: its connection ends.
    Close,
}

/// A lock command that waits for an answer.
pub(super) const TIMED: Flow = Flow::Wait { timed: true };
/// What may rightly take long: a client's script, a FLUSHALL, another session's acquire.
pub(super) const UNTIMED: Flow = Flow::Wait { timed: false };

/// What a step of an operation works with.
pub(in crate::session) struct Scope<'s, 'c> {
    pub(in crate::session) id: SessionId,
    pub(in crate::session) peer: &'s Arc<str>,
    pub(in crate::session) client_gone: bool,
    pub(in crate::session) state: &'s mut State,
    pub(in crate::session) witness: &'s mut Witness,
    pub(in crate::session) queued: &'s mut Vec<Queued>,
    pub(in crate::session) grants: &'s mut Vec<Grant>,
    pub(in crate::session) cx: &'s mut Cx<'c>,
}

impl Scope<'_, '_> {
    pub(super) fn shared(&self) -> &Shared {
        self.cx.shared
    }

    /// The lock `key` of the database that the command works in.
    pub(super) fn lock_key(&self, key: &[u8]) -> LockKey {
        LockKey::new(self.state.next_db(), key)
    }

    /// True if this client may use the locks of any rule while Redis can't be asked.
    pub(super) fn may_use_some_locks(&self) -> bool {
        gate::may_use_some_locks(self.witness.who(self.state), self.shared())
    }

    pub(super) fn send(&mut self, args: &[&[u8]]) {
        // With its header no argument is longer than this, but for huge ones.
        let len = args.iter().map(|arg| arg.len() + 16).sum::<usize>() + 16;
        let mut command = Vec::with_capacity(len);
        encode::command(&mut command, args);
        self.cx.wires.to_upstream(&command);
    }

    /// The client's one reply to its command, unless it wants none.
    pub(super) fn answer(&mut self, reply: &[u8]) -> Flow {
        match self.state.reply_mode {
            ReplyMode::On => self.cx.wires.to_client(reply),
            ReplyMode::Off => {}
            ReplyMode::Skip => self.state.reply_mode = ReplyMode::On,
        }
        Flow::Done
    }

    pub(super) fn answer_error(&mut self, text: &str) -> Flow {
        let mut reply = Vec::new();
        encode::error(&mut reply, text.as_bytes());
        self.answer(&reply)
    }

    /// The command was sent and never answered: it may have released a lock, so that no "held" is
    /// remembered over it.
    pub(super) fn answer_unknown(&mut self, reason: &str) -> Flow {
        self.shared().table.suspect_release();
        let text = self.shared().unknown_outcome(reason);
        self.answer_error(&text)
    }

    /// Who the client is, for people: its name if it has set one, and its address.
    pub(super) fn client(&self) -> Arc<str> {
        match &self.state.name {
            Some(name) => format!("{} ({})", String::from_utf8_lossy(name), self.peer).into(),
            None => self.peer.clone(),
        }
    }
}
