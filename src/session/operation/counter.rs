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

use super::Scope;

/// More than there can be grants that are not written: each sidecar's queue has room for 100,000.
const ROOM: u64 = FENCE_GAP / 16;

/// What is sent behind a flush, and the flush's own reply until that is answered.
#[derive(Debug, Default)]
pub(super) struct Behind {
    is_owed: bool,
    reply: Option<Vec<u8>>,
}

impl Behind {
    /// Takes a reply; gives the flush's, once both are there. None: the other is still to come.
    pub(super) fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        if self.is_owed && self.reply.is_none() {
            self.reply = Some(frame.to_vec());
            return None;
        }
        self.is_owed = false;
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
        Behind { is_owed: true, reply: None }
    }
}
