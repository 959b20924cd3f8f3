//! Values of locks as their clients wrote them (SPEC 4).

use std::sync::Arc;

use crate::ledger::Guarantee;
use crate::lock::record::{LockKey, Record};
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

/// A lock of which Redis says something else than the ledger, as far as that was read: who holds it
/// by the ledger. None for what is not the answer to a GET of one lock, and where Redis has the last
/// word: for the locks of a `ttl` rule, which it may let go, and in `fast`.
pub(super) fn contradicted(
    reply: &Reply<'_>,
    keys: &[Option<Vec<u8>>],
    scope: &Scope<'_, '_>,
) -> Option<(LockKey, Record)> {
    let ([Some(key)], shared) = (keys, scope.shared()) else { return None };
    if shared.guarantee != Guarantee::Strict {
        return None;
    }
    let lock = LockKey::new(scope.state.db, key);
    let record = shared.table.find(&lock)?;
    let is_other = match reply {
        Reply::Null => true,
        Reply::Bulk(stored) => **stored != *record.stored,
        _ => false,
    };
    let is_held = record.claim.is_some()
        && record.expires_at_ms.is_none()
        && !scope.is_foreign(key, &record.client)
        && !record.stored.is_empty()
        // What is being released is Redis's already.
        && !shared.door.is_releasing(&lock);
    (is_other && is_held).then_some((lock, record))
}

/// The ledger is the truth (SPEC 2): shows who holds the lock, and has Redis brought in line.
pub(super) fn show_holder(lock: &LockKey, record: &Record, shared: &Shared, out: &mut Vec<u8>) {
    shared.repairs.touch(lock);
    encode::bulk(out, value::strip(&record.stored, shared.stamp_of(lock.key())));
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
