//! A script that says no to the holder of a lock, because Redis does not have the lock as the ledger
//! has it: lost since by Redis alone, and not put back yet. The ledger is the truth (SPEC 2), so the
//! script is carried out by that.

use std::sync::Arc;

use crate::lock::content;
use crate::lock::record::LockKey;
use crate::lock::rule::Mode;
use crate::lock::value;
use crate::resp::reply::Reply;
use crate::session::operation::{Flow, Scope, TIMED, view};

use super::{Enveloped, Scripting, Step};

impl Scripting {
    /// What was asked has changed nothing. Another sidecar may have granted a lock of it a moment ago,
    /// so the ledger is read before its "no" is believed; who is alone need not.
    pub(super) fn has_changed_nothing(&mut self, own: Vec<u8>, scope: &mut Scope<'_, '_>) -> Flow {
        let rules = &scope.shared().rules;
        let is_persistent =
            |key: &Vec<u8>| rules.find(key).is_some_and(|rule| rule.mode == Mode::Persistent);
        let may_be_wrong = !self.call.is_acquire()
            && (says_no(&own) || !self.call.is_command())
            && self.call.keys.iter().any(is_persistent);
        if may_be_wrong && let Some((ticket, until)) = scope.read_for_look() {
            self.step = Step::Reading(ticket, own);
            return Flow::Ledger { until };
        }
        self.doubt(own, scope)
    }

    /// Asks Redis whether it has the ledger's holder; or answers.
    pub(super) fn doubt(&mut self, own: Vec<u8>, scope: &mut Scope<'_, '_>) -> Flow {
        let Some(held) = Held::doubted(&self.call, &own, scope) else {
            return scope.answer(&own);
        };
        scope.send(&held.question());
        self.step = Step::Doubting(held, own);
        TIMED
    }
}

/// True for a reply that may mean that there is nobody, or that it is another: nothing, nothing found, an
/// error of the script's own.
fn says_no(own: &[u8]) -> bool {
    match Reply::parse(own).map(|(reply, _)| reply) {
        Some(Reply::Integer(number)) => number <= 0,
        Some(Reply::Bulk(text)) => text.is_empty(),
        Some(reply @ Reply::Aggregate { .. }) => reply.elements().all(says_no),
        Some(Reply::Null | Reply::Error(_)) => true,
        _ => own.starts_with(b"#f"),
    }
}

/// A lock that the ledger has a holder of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lock: LockKey,
    stored: Arc<[u8]>,
    /// It is no string.
    is_other: bool,
}

impl Held {
    /// The first of a call's locks that the ledger has a holder of, if that may be this client: one of
    /// its arguments names it, its value, or a field or member of a lock that is no string; or nothing
    /// is presented, and the answer is that there is nobody. No `ttl` rule, whose locks Redis may let
    /// go.
    fn doubted(call: &Enveloped, own: &[u8], scope: &Scope<'_, '_>) -> Option<Self> {
        let shared = scope.shared();
        if !scope.believes_ledger() {
            return None;
        }
        let looks =
            says_no(own) && !call.is_acquire() && (call.is_look() || shared.door.has_company());
        call.keys.iter().find_map(|key| {
            let lock = scope.lock_key(key);
            let record = shared.table.find(&lock)?;
            let stamp = shared.stamp_of(key);
            let content = record.other.as_deref().map(content::of_mark);
            let names = |arg: &Vec<u8>| match &content {
                Some(content) => content.as_ref().is_some_and(|content| content.has_part(arg)),
                None => value::matches(&record.stored, arg, stamp),
            };
            let is_held =
                view::is_held(&lock, &record, scope) && (looks || call.args.iter().any(names));
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
