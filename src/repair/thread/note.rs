//! What becomes of what a pass notes: others are told, and counters count.

use super::tell::tell;
use super::{LINES, Purpose, Thread};
use crate::ledger::Guarantee;
use crate::repair::counters::Counters;
use crate::repair::pass::{Hearing, Note, Pass};

impl Thread {
    /// The pass that is made when a process begins, or after an outage, has asked Redis for all that
    /// there is: what it has found is noted.
    pub(super) fn looked(&mut self, pass: &mut Pass, purpose: Purpose) {
        self.note(pass, purpose);
        if purpose == Purpose::Asked && pass.failure().is_none() {
            self.unheard().all_looked_at();
        }
    }

    pub(super) fn note(&mut self, pass: &mut Pass, purpose: Purpose) {
        let now_ms = (self.shared.parts.unix_ms)();
        for hearing in pass.take_hearings() {
            match hearing {
                Hearing::Unheard(key) => self.unheard().note(&key, now_ms),
                Hearing::Settled(key) => self.unheard().settled(&key),
            }
        }
        for note in pass.take_notes() {
            self.count(&note, purpose);
            if let Note::CannotRestore(key) = &note
                && purpose != Purpose::Dirty
                && self.shared.parts.policy.guarantee == Guarantee::Fast
            {
                // Redis would say yes to the next one: the ledger has to be asked for this key.
                self.dirty().touch(key.clone());
            }
            if self.lines < LINES {
                self.lines += u32::from(tell(&note, purpose));
            }
        }
    }

    fn count(&self, note: &Note, purpose: Purpose) {
        let counters = &self.shared.parts.counters;
        match note {
            Note::Repaired { kind, conflict, .. } => counters.repaired(*kind, *conflict),
            Note::Adopted(_) | Note::Followed(_) => Counters::add(&counters.adopted),
            Note::Preferred { .. } => Counters::add(&counters.conflicts),
            // A dirty one is met again and again.
            Note::CannotRestore(_) if matches!(purpose, Purpose::Dirty | Purpose::Watched) => {}
            Note::Vanished(_) => Counters::add(&counters.vanished),
            Note::NotSearched(_) | Note::TooMany => {}
            Note::CannotRestore(_) => Counters::add(&counters.not_restored),
        }
    }
}
