//! Grants whose client has not been heard of since (SPEC 3, `unconfirmed`).

use std::sync::Arc;

use crate::ledger::{Ask, Asker, Cause};
use crate::lock::acquire::Ledger;
use crate::lock::record::{Confidence, LockKey, Position};
use crate::session::Shared;

/// A lock that was granted, and where its reply ended in the stream to the client.
#[derive(Debug, Clone)]
pub(in crate::session) struct Grant {
    pub(in crate::session) key: LockKey,
    /// What stands in Redis.
    pub(in crate::session) stored: Arc<[u8]>,
    /// How many bytes the client must have been sent to have the whole reply.
    pub(in crate::session) reply_end: u64,
    /// The claim that has won; none where the ledger was not asked, or the grant is an older one that
    /// the client asked for again.
    pub(in crate::session) claim: Option<Position>,
}

/// The connection has ended after `written` bytes reached its socket. Grants whose reply could not be
/// written are released (SPEC 3, step 5): by the ledger, where that has them. The others become
/// unconfirmed. Given back, to be released by Redis alone, are those of database `db`.
pub(in crate::session) fn settle_grants(
    mut grants: Vec<Grant>,
    written: u64,
    db: u32,
    shared: &Shared,
) -> Vec<Grant> {
    for claimed in grants.extract_if(.., |grant| grant.reply_end > written && grant.claim.is_some())
    {
        release(&claimed, shared);
    }
    leave_unconfirmed(&grants, shared);
    let by_redis = shared.ledger_use() == Ledger::Follows;
    grants.retain(|grant| by_redis && grant.reply_end > written && grant.key.db() == db);
    grants
}

/// Has the ledger end the hold; Redis is brought in line by a repair.
fn release(grant: &Grant, shared: &Shared) {
    let Some(claim) = grant.claim else { return };
    let release = Ask::Release(grant.key.clone(), claim, Cause::Undelivered);
    if shared.door.submit(Asker::Nobody, vec![release]).is_err() {
        tracing::error!("the ledger's queue is full: a grant that nobody heard of stays");
        shared.table.set_confidence(&grant.key, &grant.stored, Confidence::Unconfirmed);
    }
    shared.repairs.touch(&grant.key);
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
