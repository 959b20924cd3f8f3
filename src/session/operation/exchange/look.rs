//! TTL, TYPE and their kin of a lock: where Redis says that there is nothing, and the ledger has a holder,
//! the lock was lost by Redis alone, and the ledger is the truth (SPEC 2).

use crate::lock::content;
use crate::lock::record::LockKey;
use crate::lock::rule::Mode;

use super::super::{Flow, Scope, view};
use super::Exchange;

/// Redis's answers for a key that is not there.
const NO_TTL: &[u8] = b":-2\r\n";
const NO_TYPE: &[u8] = b"+none\r\n";

impl Exchange {
    /// Redis has answered. Where others write to the ledger it is read first.
    pub(super) fn look(&mut self, lock: &LockKey, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let rule = scope.shared().rules.find(lock.key());
        let is_persistent = rule.is_some_and(|rule| rule.mode == Mode::Persistent);
        if !(is_persistent && is_nothing(frame) && scope.believes_ledger()) {
            return scope.answer(frame);
        }
        match scope.read_for_look() {
            Some((ticket, until)) => {
                self.doubted = Some((ticket, until, frame.to_vec()));
                Flow::Ledger { until }
            }
            None => settled(lock, frame, scope),
        }
    }
}

/// The answer, by what the ledger has. Redis is brought in line.
pub(super) fn settled(lock: &LockKey, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
    match look_settled(lock, frame, scope) {
        Some(there) => scope.answer(&there),
        None => scope.answer(frame),
    }
}

/// What a client is told in place of Redis's "nothing", if the ledger has a holder. Redis is brought in
/// line.
pub(in crate::session::operation) fn look_settled(
    lock: &LockKey,
    frame: &[u8],
    scope: &Scope<'_, '_>,
) -> Option<Vec<u8>> {
    if !is_nothing(frame) || !scope.believes_ledger() {
        return None;
    }
    let record = scope.shared().table.find(lock);
    let record = record.filter(|record| view::is_held(lock, record, scope))?;
    scope.shared().repairs.touch(lock);
    if frame == NO_TTL {
        return Some(b":-1\r\n".to_vec());
    }
    let name = match record.other.as_deref() {
        None => "string",
        Some(mark) => content::type_of_mark(mark)?,
    };
    Some(format!("+{name}\r\n").into_bytes())
}

/// True for Redis's answer for a key that is not there.
pub(in crate::session::operation) fn is_nothing(frame: &[u8]) -> bool {
    [NO_TTL, NO_TYPE].contains(&frame)
}
