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
        let is_nothing = [NO_TTL, NO_TYPE].contains(&frame);
        if !(is_persistent && is_nothing && scope.believes_ledger()) {
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
    let record = scope.shared().table.find(lock);
    let Some(record) = record.filter(|record| view::is_held(lock, record, scope)) else {
        return scope.answer(frame);
    };
    scope.shared().repairs.touch(lock);
    if frame == NO_TTL {
        return scope.answer(b":-1\r\n");
    }
    let name = match record.other.as_deref() {
        None => Some("string"),
        Some(mark) => content::type_of_mark(mark),
    };
    match name {
        Some(name) => scope.answer(format!("+{name}\r\n").as_bytes()),
        None => scope.answer(frame),
    }
}
