//! Locks that a script took and that do not count, whatever the ledger would say of them.

use crate::ledger::Ask;
use crate::lock::record::LockKey;
use crate::session::operation::Scope;

use super::{Next, Provisional, Settlement};

impl Settlement {
    /// Locks of which a hold was to be released that had ended before.
    pub(in crate::session::operation) fn ended_before(&self) -> &[LockKey] {
        self.booking.as_ref().map_or(&[], |booking| &booking.ended_before)
    }

    /// What is taken back because of this, once [`Settlement::reopened`]; what was released stays so.
    pub(in crate::session::operation) fn withdraw(
        locks: Vec<Provisional>,
        releases: Vec<Ask>,
        why: String,
        scope: &Scope<'_, '_>,
    ) -> Self {
        match scope.decides() {
            true if releases.is_empty() => {}
            true => scope.book_unattended(releases),
            false => scope.follow_up(releases),
        }
        let mut settlement = Self::new(locks);
        settlement.refused = true;
        settlement.refusal = Some(Next::Blocked(why));
        settlement
    }
}
