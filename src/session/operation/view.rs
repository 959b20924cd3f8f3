//! Values of locks as their clients wrote them (SPEC 4).

use std::sync::Arc;

use crate::ledger::Guarantee;
use crate::lock::record::LockKey;
use crate::lock::value;
use crate::resp::encode;
use crate::resp::reply::{Kind, Reply};
use crate::session::Shared;
use crate::session::state::Seen;

use super::Scope;

/// Writes a reply with the values of lock keys stripped: `keys` has one entry for a single value,
/// or one for each element of an array; `None` where the element belongs to no lock.
pub(super) fn show(frame: &[u8], keys: &[Option<Vec<u8>>], shared: &Shared, out: &mut Vec<u8>) {
    match Reply::parse(frame) {
        Some((Reply::Aggregate { kind: Kind::Array, count, .. }, _)) => {
            let Some((reply, _)) = Reply::parse(frame) else { return };
            encode::array(out, usize::try_from(count).unwrap_or(usize::MAX));
            let keys = keys.iter().chain(std::iter::repeat(&None));
            for (element, key) in reply.elements().zip(keys) {
                show_one(element, key.as_deref(), shared, out);
            }
        }
        _ => show_one(frame, keys.first().and_then(|key| key.as_deref()), shared, out),
    }
}

/// GET of a lock that Redis has lost and the ledger has not: that is the truth (SPEC 2), and Redis is
/// brought in line. False for everything else: nothing is written. Not where another sidecar may have
/// released it a moment ago.
pub(super) fn show_lost(
    reply: &Reply<'_>,
    keys: &[Option<Vec<u8>>],
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) -> bool {
    let ([Some(key)], Reply::Null) = (keys, reply) else { return false };
    let (lock, shared) = (LockKey::new(scope.state.db, key), scope.shared());
    let Some(record) = shared.table.find(&lock) else { return false };
    let is_truth = shared.guarantee == Guarantee::Strict
        && record.claim.is_some()
        && record.expires_at_ms.is_none()
        && !record.stored.is_empty()
        && !shared.door.has_company()
        && !shared.door.is_releasing(&lock);
    if is_truth {
        shared.repairs.touch(&lock);
        encode::bulk(out, value::strip(&record.stored, shared.stamp_of(key)));
    }
    is_truth
}

/// The stored values of locks in a reply: `keys` as for [`show`].
pub(super) fn seen(
    reply: &Reply<'_>,
    keys: &[Option<Vec<u8>>],
    scope: &Scope<'_, '_>,
) -> Vec<Seen> {
    if !scope.state.is_watching() {
        return Vec::new();
    }
    let one = |key: &Option<Vec<u8>>, value: &Reply<'_>| match (key, value) {
        (Some(key), Reply::Bulk(stored)) => {
            Some((LockKey::new(scope.state.db, key), Arc::from(*stored)))
        }
        _ => None,
    };
    match reply {
        Reply::Aggregate { .. } => {
            let elements = reply.elements().filter_map(Reply::parse);
            keys.iter().zip(elements).filter_map(|(key, (value, _))| one(key, &value)).collect()
        }
        single => keys.first().and_then(|key| one(key, single)).into_iter().collect(),
    }
}

fn show_one(frame: &[u8], key: Option<&[u8]>, shared: &Shared, out: &mut Vec<u8>) {
    match (Reply::parse(frame), key) {
        (Some((Reply::Bulk(stored), _)), Some(key)) => {
            encode::bulk(out, value::strip(stored, shared.stamp_of(key)));
        }
        _ => out.extend_from_slice(frame),
    }
}
