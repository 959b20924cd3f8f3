//! Grants whose client has not been heard of since (SPEC 3, `unconfirmed`).

use std::sync::Arc;

use crate::ledger::{Ask, Asker};
use crate::lock::record::{Confidence, LockKey, Position};
use crate::session::Shared;

use super::Scope;

/// A lock that was granted, and where its reply ended in the stream to the client.
#[derive(Debug, Clone)]
pub(in crate::session) struct Grant {
    pub(in crate::session) key: LockKey,
    /// What stands in Redis.
    pub(in crate::session) stored: Arc<[u8]>,
    /// How many bytes the client must have been sent to have the whole reply.
    pub(in crate::session) reply_end: u64,
    /// The claim that has won, where one was needed.
    pub(in crate::session) claim: Option<Position>,
    /// An older grant that the client asked for again: it is not taken back with this connection.
    pub(in crate::session) is_resumed: bool,
}

/// The connection has ended after `written` bytes reached its socket. Given back, to be released,
/// are the grants of database `db` whose reply could not be written; the others become unconfirmed.
/// One that is to be released is not: the same token would be told that it is the same grant.
pub(in crate::session) fn settle_grants(
    grants: Vec<Grant>,
    written: u64,
    db: u32,
    shared: &Shared,
) -> Vec<Grant> {
    let is_unwritten =
        |grant: &Grant| grant.reply_end > written && grant.key.db() == db && !grant.is_resumed;
    let (unwritten, stay): (Vec<_>, Vec<_>) = grants.into_iter().partition(is_unwritten);
    leave_unconfirmed(&stay, shared);
    unwritten
}

/// The client of these was heard of: after a crash they are not in doubt. Rides along with what else
/// is written, and what there is no room for is not worth an error.
pub(in crate::session) fn note_heard(grants: Vec<Grant>, shared: &Shared) {
    let ask = |grant: Grant| {
        let record = shared.table.find(&grant.key)?;
        let stands = record.stored == grant.stored && !shared.door.is_releasing(&grant.key);
        stands.then_some(Ask::Heard(grant.key, record.claim?))
    };
    let asks: Vec<Ask> = grants.into_iter().filter_map(ask).collect();
    if !asks.is_empty() {
        drop(shared.door.submit(Asker::Nobody, asks));
    }
}

/// Nobody knows whether the client has heard of these, and they stay.
pub(in crate::session) fn leave_unconfirmed(grants: &[Grant], shared: &Shared) {
    for grant in grants {
        shared.table.set_confidence(&grant.key, &grant.stored, Confidence::Unconfirmed);
    }
}

/// The ledger ends a grant whose reply could not be written. From now on nobody is told that it is
/// the same grant as the one asked for.
pub(super) fn give_up(grant: &Grant, scope: &Scope<'_, '_>) {
    let table = &scope.shared().table;
    // The same token may have been granted once more since.
    let is_it = |claim| grant.claim.is_none() || grant.claim == claim;
    let stands = table
        .find(&grant.key)
        .filter(|record| record.stored == grant.stored && is_it(record.claim));
    if let Some(claim) = stands.and_then(|record| record.claim) {
        table.release_if(&grant.key, &grant.stored);
        scope.give_up(&grant.key, claim);
    }
}
