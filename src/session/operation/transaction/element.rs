//! The elements of EXEC's reply, as the client sees them, and what they mean for locks. A lock that Redis
//! alone has lost is there all the same (SPEC 2), but where the transaction itself has ended it.

use std::collections::BTreeSet;

use crate::ledger;
use crate::lock::record::LockKey;
use crate::lock::value;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::operation::acquire::{Ask, Form};
use crate::session::operation::exchange::{self, Purpose};
use crate::session::operation::settle::{Provisional, value_guard};
use crate::session::operation::{Scope, view};
use crate::session::state::Seen;

/// Locks that commands of the transaction have changed: what Redis says of those afterwards is so.
#[derive(Default)]
pub(super) struct Touched {
    locks: BTreeSet<LockKey>,
    /// All of them: a FLUSHALL.
    all: bool,
}

impl Touched {
    pub(super) fn has(&self, lock: &LockKey) -> bool {
        self.all || self.locks.contains(lock)
    }

    pub(super) fn note<'a>(&mut self, locks: impl Iterator<Item = &'a LockKey>) {
        self.locks.extend(locks.cloned());
    }

    /// Notes what a command that was queued as it came may have changed.
    pub(super) fn follow(&mut self, purpose: &Purpose, db: u32) {
        match purpose {
            Purpose::Delete(_) | Purpose::TakeOut(_) => self.locks.extend(purpose.locks(db)),
            Purpose::Keyspace(..) => self.all = true,
            _ => {}
        }
    }
}

/// GETDEL's element: of a lock that Redis alone had lost, as outside of a transaction.
fn take_out(
    lock: &LockKey,
    touched: &Touched,
    element: &[u8],
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) {
    let shared = scope.shared();
    let is_lost = scope.decides()
        && !touched.has(lock)
        && matches!(Reply::parse(element), Some((Reply::Null, _)));
    match shared.table.find(lock).filter(|record| is_lost && !record.stored.is_empty()) {
        Some(record) => {
            encode::bulk(out, value::strip(&record.stored, shared.stamp_of(lock.key())));
        }
        None => view::show(element, &[Some(lock.key().to_vec())], shared, out),
    }
}

/// An acquire's element: Redis has answered a SET NX.
pub(super) fn acquired(
    ask: &Ask,
    db: u32,
    element: &[u8],
    scope: &mut Scope<'_, '_>,
    out: &mut Vec<u8>,
) -> Vec<Provisional> {
    let reply = Reply::parse(element).map(|(reply, _)| reply);
    let granted = match (&reply, ask.form) {
        (Some(Reply::Simple(_)), _) => true,
        (Some(Reply::Null), Form::SetGet) => true,
        (Some(Reply::Null), Form::Setnx) => {
            encode::integer(out, 0);
            return Vec::new();
        }
        (Some(Reply::Bulk(_)), Form::SetGet) => {
            view::show(element, &[Some(ask.key.clone())], scope.shared(), out);
            return Vec::new();
        }
        _ => false,
    };
    if !granted {
        out.extend_from_slice(element);
        return Vec::new();
    }
    ask.granted_reply(scope.state.protocol, out);
    let lock = LockKey::new(db, &ask.key);
    let record = ask.record(scope.client(), scope.shared());
    vec![Provisional {
        lock,
        guard: value_guard(&ask.stored),
        record,
        safety_ttl: ask.safety_ttl(),
        persistent: ask.is_persistent(),
    }]
}

/// Where a queued command has worked, what its client has read of the locks that it watches, and what
/// the commands before it have changed.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) db: u32,
    pub(super) seen: &'a [Seen],
    pub(super) touched: &'a Touched,
}

/// The element of a command that was queued as it came, and what it has released. `taken` loses
/// the locks that it has released, and follows those that it has moved.
pub(super) fn passed(
    purpose: &Purpose,
    Place { db, seen, touched }: Place<'_>,
    element: &[u8],
    taken: &mut Vec<(usize, Provisional)>,
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) -> Vec<ledger::Ask> {
    let reply = Reply::parse(element).map(|(reply, _)| reply);
    match purpose {
        Purpose::TakeOut(lock) => take_out(lock, touched, element, scope, out),
        Purpose::View(keys) => {
            view::correct(element, keys, db, |lock| touched.has(lock), scope, out);
        }
        Purpose::Look(lock) if !touched.has(lock) => {
            match exchange::look_settled(lock, element, scope) {
                Some(there) => out.extend_from_slice(&there),
                None => out.extend_from_slice(element),
            }
        }
        Purpose::Delete(locks) if locks.iter().any(|lock| touched.has(lock)) => {
            out.extend_from_slice(element);
        }
        purpose if purpose.show_deleted(element, scope, out) => {}
        _ => out.extend_from_slice(element),
    }
    let has_ended = |lock: &LockKey| touched.has(lock);
    let releases = match (purpose, &reply) {
        // An earlier command has ended what the ledger still has.
        (Purpose::TakeOut(lock), Some(Reply::Null)) if has_ended(lock) => Vec::new(),
        (Purpose::Delete(locks), Some(Reply::Integer(0))) if locks.iter().all(has_ended) => {
            Vec::new()
        }
        (purpose, Some(reply)) => purpose.releases(reply, db, seen, scope),
        (_, None) => Vec::new(),
    };
    match (purpose, reply) {
        (Purpose::TakeOut(lock), Some(Reply::Bulk(_))) => {
            taken.retain(|(_, earlier)| earlier.lock != *lock);
        }
        (Purpose::Delete(locks), Some(Reply::Integer(_))) => {
            taken.retain(|(_, earlier)| !locks.contains(&earlier.lock));
        }
        (Purpose::Keyspace(keyspace_use, args), Some(Reply::Simple(_))) => {
            taken.retain_mut(|(_, earlier)| {
                let now = exchange::after_keyspace(*keyspace_use, args, db, &earlier.lock);
                now.map(|now| earlier.lock = now).is_some()
            });
        }
        _ => {}
    }
    releases
}
