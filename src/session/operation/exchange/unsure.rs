//! `fast`, with others at the ledger: Redis shows another holder than the ledger knows. One of them is
//! behind: a grant may be unwritten, or a repair not made. The look waits until that was found out.

use std::time::Duration;

use crate::resp::reply::Reply;

use super::super::{Flow, Scope, hold, view};
use super::{Exchange, Purpose, look};

impl Exchange {
    /// What a look is told; nothing yet, where nobody knows.
    pub(super) fn show(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if let Purpose::Look(lock) = &self.purpose {
            return look::settled(lock, frame, scope);
        }
        let Purpose::View(keys) = &self.purpose else { return Flow::Close };
        let Some((reply, _)) = Reply::parse(frame) else { return Flow::Close };
        if !view::names_another(&reply, keys, scope) {
            return view::answer(frame, keys, scope);
        }
        self.unsure.get_or_insert(scope.release_until());
        Flow::Ledger { until: scope.cx.now + PAUSE }
    }

    /// Asks Redis again once the locks are repaired. None: nothing is waited for.
    pub(super) fn look_again(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let (until, Purpose::View(keys)) = (self.unsure?, &self.purpose) else { return None };
        let is_due = |key: &Vec<u8>| scope.shared().repairs.is_due(&scope.lock_key(key));
        if !keys.iter().flatten().any(is_due) {
            scope.cx.wires.to_upstream(&self.request);
            self.behind = scope.ask_counter();
            return Some(self.waiting());
        }
        if scope.cx.now >= until {
            return Some(scope.answer_error(hold::NOT_LOOKED));
        }
        Some(Flow::Ledger { until: scope.cx.now + PAUSE })
    }
}

/// Between two looks at whether it was found out.
const PAUSE: Duration = Duration::from_millis(5);
