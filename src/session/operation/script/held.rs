//! A script that says no to the holder of a lock, because Redis does not have the lock as the ledger
//! has it: lost since by Redis alone, and not put back yet. The ledger is the truth (SPEC 2), so the
//! script is carried out by that.

use std::sync::Arc;

use crate::ledger::Guarantee;
use crate::lock::content;
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
    /// It is no string.
    is_other: bool,
}

impl Held {
    /// The first of a call's locks that is held by what one of its arguments names: its value, or a
    /// field or member of a lock that is no string. No `ttl` rule, whose locks Redis may let go.
    pub(super) fn presented(call: &Enveloped, scope: &Scope<'_, '_>) -> Option<Self> {
        let shared = scope.shared();
        if shared.guarantee != Guarantee::Strict {
            return None;
        }
        call.keys.iter().find_map(|key| {
            let lock = scope.lock_key(key);
            let record = shared.table.find(&lock)?;
            let stamp = shared.stamp_of(key);
            let content = record.other.as_deref().map(content::of_mark);
            let names = |arg: &Vec<u8>| match &content {
                Some(content) => content.as_ref().is_some_and(|content| content.has_part(arg)),
                None => value::matches(&record.stored, arg, stamp),
            };
            let is_held = record.claim.is_some()
                && record.expires_at_ms.is_none()
                && !scope.is_foreign(key, &record.client)
                && call.args.iter().any(names);
            let is_other = content.is_some();
            is_held.then_some(Self { lock, stored: record.stored, is_other })
        })
    }

    /// What Redis is asked.
    pub(super) fn question(&self) -> [&[u8]; 2] {
        [if self.is_other { b"EXISTS" } else { b"GET" }, self.lock.key()]
    }

    /// True if Redis, asked for the lock's value, has not this one; or nothing, of one that is no
    /// string. A user who may not ask has Redis's word.
    pub(super) fn is_lost(&self, reply: Option<&Reply<'_>>) -> bool {
        match reply {
            Some(Reply::Null | Reply::Integer(0)) => true,
            Some(Reply::Bulk(stored)) => **stored != *self.stored,
            _ => false,
        }
    }
}
