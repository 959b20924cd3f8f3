//! A script that says no to the holder of a lock, because Redis does not have the lock as the ledger
//! has it: lost since by Redis alone, and not put back yet. The ledger is the truth (SPEC 2), so the
//! script is carried out by that.

use std::sync::Arc;

use crate::ledger::Guarantee;
use crate::lock::record::LockKey;
use crate::lock::value;
use crate::resp::reply::Reply;
use crate::session::operation::Scope;

use super::Enveloped;

/// A lock whose holder's token a script was given.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lock: LockKey,
    stored: Arc<[u8]>,
}

impl Held {
    /// The first of a call's locks that is held by what one of its arguments names. Strings alone,
    /// and no `ttl` rule, whose locks Redis may let go.
    pub(super) fn presented(call: &Enveloped, scope: &Scope<'_, '_>) -> Option<Self> {
        let shared = scope.shared();
        if shared.guarantee != Guarantee::Strict {
            return None;
        }
        call.keys.iter().find_map(|key| {
            let lock = scope.lock_key(key);
            let record = shared.table.find(&lock)?;
            let stamp = shared.stamp_of(key);
            let is_held = record.claim.is_some()
                && record.expires_at_ms.is_none()
                && !record.stored.is_empty()
                && call.args.iter().any(|arg| value::matches(&record.stored, arg, stamp));
            is_held.then_some(Self { lock, stored: record.stored })
        })
    }

    /// True if Redis, asked for the lock's value, has not this one. A user who may not ask has
    /// Redis's word.
    pub(super) fn is_lost(&self, reply: Option<&Reply<'_>>) -> bool {
        match reply {
            Some(Reply::Null) => true,
            Some(Reply::Bulk(stored)) => **stored != *self.stored,
            _ => false,
        }
    }
}
