//! Releases of holds that were over: another had ended them in the ledger, and Redis did not know. Nobody
//! is told that such a release was his (SPEC 2: the ledger is the truth).

use crate::ledger::Guarantee;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;
use crate::session::state::Seen;

use super::{Scope, view};

/// Takes so many releases back from a reply that counts them, or shows what was released.
pub(super) fn disclaim(reply: &mut Vec<u8>, releases: usize, protocol: Protocol) {
    if releases == 0 {
        return;
    }
    let mut out = Vec::new();
    match Reply::parse(reply) {
        Some((Reply::Integer(count), _)) => {
            let releases = i64::try_from(releases).unwrap_or(i64::MAX);
            encode::integer(&mut out, count.saturating_sub(releases).max(0));
        }
        Some((Reply::Bulk(_), _)) => encode::null(&mut out, protocol),
        _ => return,
    }
    *reply = out;
}

/// True if a lock that the client has seen while it watched has another holder since, or none, as far as
/// the ledger was read: then a watched key has changed, whatever Redis has.
pub(super) fn has_changed(scope: &Scope<'_, '_>) -> bool {
    let shared = scope.shared();
    let is_over = |seen: &Seen| {
        let record = shared.table.find(&seen.lock);
        match seen.claim {
            Some(claim) => record.and_then(|record| record.claim) != Some(claim),
            None => record.is_some_and(|record| {
                view::is_held(&seen.lock, &record, scope)
                    && !record.stored.is_empty()
                    && record.stored != seen.stored
            }),
        }
    };
    shared.guarantee == Guarantee::Strict && scope.state.seen().iter().any(is_over)
}
