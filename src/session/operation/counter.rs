//! `guarantee = "fast"`: a flush of database 0 takes the counter of fences, too; it is set again behind
//! the flush, on the same link (SPEC 8).
//!
//! Without that the next acquire would find none, and Redis would not decide before a repair pass has
//! set it. What the ledger knows of fences may be behind what Redis has given, by the grants that are
//! not written yet: so the counter goes on well above that. Where the user may not set it, or another
//! client's acquire comes in between, the pass does it.

use crate::command::KeyspaceUse;
use crate::ledger::Guarantee;
use crate::ledger::fold::FENCE_GAP;
use crate::lock::envelope::scripts;
use crate::mode::Mode;
use crate::resp::reply::Reply;

use super::Scope;

/// More than there can be grants that are not written: each sidecar's queue has room for 100,000.
const ROOM: u64 = FENCE_GAP / 16;

/// What is sent behind a command, and the command's own reply until that is answered.
#[derive(Debug, Default)]
pub(super) struct Behind {
    is_owed: bool,
    reply: Option<Vec<u8>>,
    /// What the counter was, where that was asked.
    pub(super) counter: Option<u64>,
}

impl Behind {
    /// Takes a reply; gives the flush's, once both are there. None: the other is still to come.
    pub(super) fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        if self.is_owed && self.reply.is_none() {
            self.reply = Some(frame.to_vec());
            return None;
        }
        self.is_owed = false;
        let text = Reply::parse(frame).and_then(|(reply, _)| reply.text().map(<[u8]>::to_vec));
        self.counter = text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        Some(self.reply.take().unwrap_or_else(|| frame.to_vec()))
    }

    /// The link is gone: the flush's reply, if it has come.
    pub(super) fn lost(&mut self) -> Option<Vec<u8>> {
        self.is_owed = false;
        self.reply.take()
    }

    /// True while [`Behind::take`] wants to see replies.
    pub(super) fn is_owed(&self) -> bool {
        self.is_owed
    }
}

impl Scope<'_, '_> {
    /// Sets the counter again, behind a flush that was sent and takes it.
    pub(super) fn restore_counter(&mut self, flush: KeyspaceUse) -> Behind {
        let db = self.state.db;
        let takes_it = match flush {
            KeyspaceUse::FlushAll => true,
            KeyspaceUse::FlushDb => db == 0,
            KeyspaceUse::SwapDb => false,
        };
        let shared = self.shared();
        let decides =
            shared.guarantee == Guarantee::Fast && shared.board.view().mode == Mode::Healthy;
        let high = shared.door.fence_high();
        // Not into the room for claims that are made without Redis.
        if !takes_it || !decides || high % FENCE_GAP >= FENCE_GAP - ROOM {
            return Behind::default();
        }
        let (floor, counter) = ((high + ROOM).to_string(), shared.fence_counter.clone());
        let text = scripts::RESTORE_COUNTER.text.as_bytes();
        self.send(&[b"EVAL", text, b"1", &counter, floor.as_bytes(), db.to_string().as_bytes()]);
        Behind { is_owed: true, ..Behind::default() }
    }

    /// Asks for the counter behind a look at a watched lock: what is shown was granted with no higher
    /// fence, and its client's EXEC releases that and nothing later. From database 0 alone; elsewhere
    /// the release names its value.
    pub(super) fn ask_counter(&mut self) -> Behind {
        self.state.counter = None;
        if !self.state.is_watching() || self.state.db != 0 || !self.asks_for_fences() {
            return Behind::default();
        }
        let counter = self.shared().fence_counter.clone();
        self.send(&[b"GET", &counter]);
        Behind { is_owed: true, ..Behind::default() }
    }
}
