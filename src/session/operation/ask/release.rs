//! `LOCKSIDE RELEASE key claim`: a person ends a hold that is shown by `LOCKSIDE OWNER`.
//!
//! It goes by the ledger alone, so that it works in every mode; Redis follows by a repair. It names
//! the claim that was shown, so a holder that has changed meanwhile keeps its lock. Who may use the
//! lock's rule may do it.

use std::time::Duration;

use crate::ledger::entry::Position;
use crate::ledger::{Answer, Ask, Cause, Outcome, Ticket};
use crate::lock::record::LockKey;
use crate::mode::Mode;
use crate::resp::encode;
use crate::session::operation::{Flow, Operation, Scope, durable};

/// A release by a person, with the ledger.
pub(in crate::session) struct Releasing {
    lock: LockKey,
    ticket: Ticket,
    until: Duration,
    /// It is released; who asks is told once Redis has followed, or by `until`.
    released: bool,
}

/// How long Redis may take to follow before who asked is told all the same.
const FOLLOWS: Duration = Duration::from_secs(1);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(5);

/// A claim as `LOCKSIDE OWNER` shows it.
pub(super) fn read_claim(text: &[u8]) -> Option<Position> {
    let (log, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(Position { log: log.parse().ok()?, seq: seq.parse().ok()? })
}

impl Releasing {
    /// Ends the hold of `claim` on `key`, for a client that may.
    pub(in crate::session::operation) fn begin(
        key: &[u8],
        claim: Position,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let lock = scope.lock_key(key);
        let record = scope.shared().table.find(&lock);
        let Some(record) = record.filter(|record| record.claim == Some(claim)) else {
            return (None, answer(0, scope));
        };
        let ask = Ask::Release(lock.clone(), claim, Cause::Operator);
        let ticket = match scope.book(vec![ask]) {
            Ok(ticket) => ticket,
            Err(error) => {
                let text = format!("TRYAGAIN lockside: nothing was done: {error}");
                return (None, scope.answer_error(&text));
            }
        };
        // Behind the booking: a repair waits for the release now, and is told what has ended.
        let repairs = &scope.shared().repairs;
        match record.other {
            Some(guard) => repairs.touch_ended(&lock, guard),
            None => repairs.touch(&lock),
        }
        tracing::warn!(
            key = %String::from_utf8_lossy(key),
            db = lock.db(),
            holder = %record.client,
            by = %scope.client(),
            "a lock is released by a person"
        );
        let until = scope.release_until();
        let releasing = Self { lock, ticket, until, released: false };
        (Some(Box::new(Operation::Release(releasing))), Flow::Ledger { until })
    }

    pub(in crate::session::operation) fn answered(
        &mut self,
        told: &Answer,
        scope: &mut Scope<'_, '_>,
    ) -> Option<Flow> {
        if told.ticket != self.ticket {
            return None;
        }
        scope.shared().repairs.touch(&self.lock);
        self.released = told.outcomes.first() == Some(&Outcome::Released);
        if !self.released {
            return Some(answer(0, scope));
        }
        self.until = scope.cx.now + FOLLOWS;
        Some(self.await_redis(scope))
    }

    /// People look into Redis next: it has followed, if it is usable.
    fn await_redis(&self, scope: &mut Scope<'_, '_>) -> Flow {
        let shared = scope.shared();
        let follows =
            shared.board.view().mode == Mode::Healthy && shared.repairs.is_due(&self.lock);
        if follows && scope.cx.now < self.until {
            return Flow::Ledger { until: scope.cx.now + PAUSE };
        }
        answer(1, scope)
    }

    /// It stays with the ledger.
    pub(in crate::session::operation) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if self.released {
            return self.await_redis(scope);
        }
        scope.shared().door.forget(self.ticket);
        scope.answer_error(durable::RELEASING)
    }

    /// Redis has no part in it.
    pub(in crate::session::operation) fn waiting(&self) -> Flow {
        Flow::Ledger { until: self.until }
    }
}

/// 1: the hold has ended by this. 0: there was no such hold any more.
fn answer(count: i64, scope: &mut Scope<'_, '_>) -> Flow {
    let mut reply = Vec::new();
    encode::integer(&mut reply, count);
    scope.answer(&reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_as_they_are_shown() {
        assert_eq!(read_claim(b"3-17"), Some(Position { log: 3, seq: 17 }));
        for wrong in ["", "3", "3-", "-17", "3-17-1", "3-x", " 3-17"] {
            assert_eq!(read_claim(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
