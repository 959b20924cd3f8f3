//! Values of locks as their clients wrote them (SPEC 4).

use std::sync::Arc;

use crate::ledger::Guarantee;
use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Mode;
use crate::lock::value;
use crate::resp::encode;
use crate::resp::reply::{Kind, Reply};
use crate::session::Shared;
use crate::session::state::Seen;

use super::{Flow, Scope};

/// Writes a reply with the values of lock keys stripped: `keys` has one entry for a single value,
/// or one for each element of an array; `None` where the element belongs to no lock.
pub(super) fn show(frame: &[u8], keys: &[Option<Vec<u8>>], shared: &Shared, out: &mut Vec<u8>) {
    show_with(frame, keys, &[], shared, out);
}

/// True if the ledger is read before what Redis says of these locks is believed, where there is company:
/// in strict, and not for the locks of a `ttl` rule, which Redis may let go.
pub(super) fn is_doubtful(reply: &Reply<'_>, keys: &[Option<Vec<u8>>], shared: &Shared) -> bool {
    let is_persistent =
        |key: &Vec<u8>| shared.rules.find(key).is_some_and(|rule| rule.mode == Mode::Persistent);
    !matches!(reply, Reply::Error(_)) && keys.iter().flatten().any(is_persistent)
}

/// The values of locks in Redis's reply; or of who holds the lock by the ledger, as far as that was
/// read: that is the truth (SPEC 2). What Redis has else is brought in line.
pub(super) fn answer(frame: &[u8], keys: &[Option<Vec<u8>>], scope: &mut Scope<'_, '_>) -> Flow {
    let Some((reply, _)) = Reply::parse(frame) else { return Flow::Close };
    let holders = contradictions(&reply, keys, scope.state.db, scope);
    holders.iter().for_each(|Contradiction { lock, .. }| scope.shared().repairs.touch(lock));
    let seen = seen(&reply, keys, &holders, scope);
    seen.into_iter().for_each(|one| scope.state.saw(one));
    let mut out = Vec::new();
    show_with(frame, keys, &holders, scope.shared(), &mut out);
    scope.answer(&out)
}

/// The same for a look in a transaction that worked in database `db`; not of locks that the transaction
/// has changed before. In `fast` another holder than the ledger's is shown as Redis has it, and looked at.
pub(super) fn correct(
    frame: &[u8],
    keys: &[Option<Vec<u8>>],
    db: u32,
    is_changed: impl Fn(&LockKey) -> bool,
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) {
    let Some((reply, _)) = Reply::parse(frame) else { return };
    let is_open = |key: &&Vec<u8>| !is_changed(&LockKey::new(db, key));
    let open: Vec<Option<Vec<u8>>> =
        keys.iter().map(|key| key.as_ref().filter(is_open).cloned()).collect();
    let mut holders = contradictions(&reply, &open, db, scope);
    holders.iter().for_each(|holder| scope.shared().repairs.touch(&holder.lock));
    if scope.shared().guarantee != Guarantee::Strict {
        holders.retain(|holder| !has_value(&reply, holder.place));
    }
    show_with(frame, keys, &holders, scope.shared(), out);
}

/// True if the reply has a value there.
fn has_value(reply: &Reply<'_>, place: usize) -> bool {
    match reply {
        Reply::Aggregate { .. } => {
            let element = reply.elements().nth(place).and_then(Reply::parse);
            matches!(element, Some((Reply::Bulk(_), _)))
        }
        single => matches!(single, Reply::Bulk(_)),
    }
}

/// `fast`: true if Redis shows another holder of one of these locks than the ledger has. They are looked
/// at: either may be behind (SPEC 8).
pub(super) fn names_another(
    reply: &Reply<'_>,
    keys: &[Option<Vec<u8>>],
    scope: &Scope<'_, '_>,
) -> bool {
    if scope.shared().guarantee == Guarantee::Strict {
        return false;
    }
    let mut others = contradictions(reply, keys, scope.state.db, scope);
    others.retain(|other| has_value(reply, other.place));
    others.iter().for_each(|other| scope.shared().repairs.touch(&other.lock));
    !others.is_empty()
}

/// A lock of which Redis says something else than the ledger.
struct Contradiction {
    /// Its place among the command's keys.
    place: usize,
    lock: LockKey,
    /// Who holds it by the ledger.
    record: Record,
}

/// None for what is not the answer to a look at locks, and where Redis has the last word: for the
/// locks of a `ttl` rule, which it may let go, and in `fast`.
fn contradictions(
    reply: &Reply<'_>,
    keys: &[Option<Vec<u8>>],
    db: u32,
    scope: &Scope<'_, '_>,
) -> Vec<Contradiction> {
    let shared = scope.shared();
    if !scope.believes_ledger() {
        return Vec::new();
    }
    let held = |(place, key): (usize, &Option<Vec<u8>>)| {
        let lock = LockKey::new(db, key.as_ref()?);
        let record = shared.table.find(&lock).filter(|record| is_held(&lock, record, scope))?;
        Some(Contradiction { place, lock, record })
    };
    let held = keys.iter().enumerate().filter_map(held);
    let is_other = |reply: &Reply<'_>, record: &Record| match reply {
        Reply::Null => !record.stored.is_empty(),
        Reply::Bulk(stored) => !record.stored.is_empty() && **stored != *record.stored,
        _ => false,
    };
    match reply {
        Reply::Aggregate { .. } => {
            let elements: Vec<_> = reply.elements().filter_map(Reply::parse).collect();
            let is_wrong = |held: &Contradiction| {
                elements.get(held.place).is_some_and(|(element, _)| is_other(element, &held.record))
            };
            held.filter(is_wrong).collect()
        }
        // How many of them exist.
        Reply::Integer(count) => {
            let held: Vec<_> = held.collect();
            let has_fewer = usize::try_from(*count).is_ok_and(|count| count < held.len());
            if has_fewer { held } else { Vec::new() }
        }
        single => held.filter(|held| is_other(single, &held.record)).collect(),
    }
}

/// True for a hold that the ledger knows and that only Lockside ends.
pub(super) fn is_held(lock: &LockKey, record: &Record, scope: &Scope<'_, '_>) -> bool {
    record.claim.is_some()
        && record.expires_at_ms.is_none()
        && !scope.is_foreign(lock.key(), &record.client)
        // What is being released is Redis's already.
        && !scope.shared().door.is_releasing(lock)
}

fn show_with(
    frame: &[u8],
    keys: &[Option<Vec<u8>>],
    holders: &[Contradiction],
    shared: &Shared,
    out: &mut Vec<u8>,
) {
    let holder = |place| holders.iter().find(|holder| holder.place == place);
    let one = |place, element: &[u8], key: Option<&[u8]>, out: &mut Vec<u8>| match holder(place) {
        Some(Contradiction { lock, record, .. }) => {
            encode::bulk(out, value::strip(&record.stored, shared.stamp_of(lock.key())));
        }
        None => show_one(element, key, shared, out),
    };
    match Reply::parse(frame) {
        Some((Reply::Aggregate { kind: Kind::Array, count, .. }, _)) => {
            let Some((reply, _)) = Reply::parse(frame) else { return };
            encode::array(out, usize::try_from(count).unwrap_or(usize::MAX));
            let keys = keys.iter().chain(std::iter::repeat(&None));
            for (place, (element, key)) in reply.elements().zip(keys).enumerate() {
                one(place, element, key.as_deref(), out);
            }
        }
        Some((Reply::Integer(_), _)) if !holders.is_empty() => {
            encode::integer(out, i64::try_from(holders.len()).unwrap_or(i64::MAX));
        }
        _ => one(0, frame, keys.first().and_then(|key| key.as_deref()), out),
    }
}

/// What a client that watches is shown of locks, on which its EXEC depends.
fn seen(
    reply: &Reply<'_>,
    keys: &[Option<Vec<u8>>],
    holders: &[Contradiction],
    scope: &Scope<'_, '_>,
) -> Vec<Seen> {
    if !scope.state.is_watching() {
        return Vec::new();
    }
    let values: Vec<Reply<'_>> = match reply {
        Reply::Aggregate { .. } => {
            reply.elements().filter_map(|element| Some(Reply::parse(element)?.0)).collect()
        }
        single => vec![*single],
    };
    let one = |(place, (key, value)): (usize, (&Option<Vec<u8>>, &Reply<'_>))| {
        let lock = LockKey::new(scope.state.db, key.as_ref()?);
        if let Some(Contradiction { record, .. }) = holders.iter().find(|h| h.place == place) {
            return Some(Seen {
                lock,
                stored: record.stored.clone(),
                claim: record.claim,
                fence: None,
            });
        }
        let Reply::Bulk(stored) = value else { return None };
        let record = scope.shared().table.find(&lock);
        let record = record.filter(|record| *record.stored == **stored);
        let claim = record.and_then(|record| record.claim);
        Some(Seen { lock, stored: Arc::from(*stored), claim, fence: None })
    };
    keys.iter().zip(&values).enumerate().filter_map(one).collect()
}

fn show_one(frame: &[u8], key: Option<&[u8]>, shared: &Shared, out: &mut Vec<u8>) {
    match (Reply::parse(frame), key) {
        (Some((Reply::Bulk(stored), _)), Some(key)) => {
            encode::bulk(out, value::strip(stored, shared.stamp_of(key)));
        }
        _ => out.extend_from_slice(frame),
    }
}
