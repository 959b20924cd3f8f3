//! A script that says no to the holder of a lock, because Redis does not have the lock as the ledger
//! has it: lost since by Redis alone, and not put back yet. The ledger is the truth (SPEC 2), so the
//! script is carried out by that.

use std::sync::Arc;

use crate::lock::content::{self, Content};
use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Mode;
use crate::lock::value;
use crate::resp::reply::Reply;
use crate::session::operation::{Flow, Scope, TIMED, view};

use super::{Effect, Enveloped, Scripting, Step};

impl Scripting {
    /// What was asked has taken nothing. Another sidecar may have granted a lock of it a moment ago,
    /// so the ledger is read before its "no" is believed; who is alone need not. It has said no if it has
    /// changed nothing, and of the locks that it has left as they were if it has released others.
    pub(super) fn has_taken_nothing(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        let rules = &scope.shared().rules;
        let is_persistent =
            |key: &Vec<u8>| rules.find(key).is_some_and(|rule| rule.mode == Mode::Persistent);
        let has_changed = |key: &Vec<u8>| effect.has_changed(&scope.lock_key(key));
        let is_left = |key: &Vec<u8>| is_persistent(key) && !has_changed(key);
        let may_be_wrong = !self.call.is_acquire()
            && (!effect.releases.is_empty() || says_no(&effect.reply) || !self.call.is_command())
            && self.call.keys.iter().any(is_left);
        if may_be_wrong && let Some((ticket, until)) = scope.read_for_look() {
            self.step = Step::Reading(ticket, Box::new(effect));
            return Flow::Ledger { until };
        }
        self.doubt(effect, scope)
    }

    /// Asks Redis whether it has the ledger's holder; or answers.
    pub(super) fn doubt(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        let Some(held) = Held::doubted(&self.call, &effect, scope) else {
            return self.look_for_left(effect, scope);
        };
        scope.send(&held.question());
        self.step = Step::Doubting(held, Box::new(effect));
        TIMED
    }

    /// Redis's answer to that. None: it does not have the lock as the ledger has it, which carries the
    /// script out alone; what the script has released in Redis is put back or released by that.
    pub(super) fn doubted(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let Step::Doubting(held, effect) = &mut self.step else { return Some(Flow::Close) };
        let reply = Reply::parse(frame).map(|(reply, _)| reply);
        let effect = std::mem::take(&mut **effect);
        let serves = scope.names_only_locks(&self.call.words());
        if held.is_lost(reply.as_ref()) && serves {
            return None;
        }
        // A repair may have put the lock back after the "no": so that does not count.
        if held.is_named && serves && effect.releases.is_empty() && !self.is_repeated {
            self.is_repeated = true;
            return Some(self.send(false, scope));
        }
        Some(self.believe(effect, scope))
    }

    /// Goes on with what Redis has made of it.
    pub(super) fn believe(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        match effect.releases.is_empty() {
            true => scope.answer(&effect.reply),
            false => self.settle(effect, scope),
        }
    }
}

/// True for a reply that may mean that there is nobody, or that it is another: nothing, nothing found, an
/// error of the script's own.
pub(in crate::session::operation) fn says_no(own: &[u8]) -> bool {
    match Reply::parse(own).map(|(reply, _)| reply) {
        Some(Reply::Integer(number)) => number <= 0,
        Some(Reply::Bulk(text)) => text.is_empty(),
        Some(reply @ Reply::Aggregate { .. }) => reply.elements().all(says_no),
        Some(Reply::Null | Reply::Error(_)) => true,
        _ => own.starts_with(b"#f"),
    }
}

/// A lock that the ledger has a holder of.
#[derive(Debug, Clone)]
pub(in crate::session::operation) struct Held {
    lock: LockKey,
    stored: Arc<[u8]>,
    /// It is no string.
    other: Option<Other>,
    /// What was said no to names the holder, or takes no lock in any case: it can run once more.
    is_named: bool,
}

impl Held {
    /// The first of a call's locks that the ledger has a holder of and that the call has not changed, if
    /// that may be this client: one of its arguments names it, its value, or a field or member of a lock
    /// that is no string; or nothing is presented, and the answer is that there is nobody. No `ttl` rule,
    /// whose locks Redis may let go.
    fn doubted(call: &Enveloped, effect: &Effect, scope: &Scope<'_, '_>) -> Option<Self> {
        let shared = scope.shared();
        if !scope.believes_ledger() {
            return None;
        }
        let has_released = !effect.releases.is_empty();
        let looks = !has_released
            && says_no(&effect.reply)
            && !call.is_acquire()
            && (call.is_look() || shared.door.has_company());
        call.keys.iter().find_map(|key| {
            let lock = scope.lock_key(key);
            let record = shared.table.find(&lock).filter(|_| !effect.has_changed(&lock))?;
            let stamp = shared.stamp_of(key);
            let content = record.other.as_deref().map(content::of_mark);
            let names = |arg: &Vec<u8>| match &content {
                Some(content) => content.as_ref().is_some_and(|content| content.has_part(arg)),
                None => value::matches(&record.stored, arg, stamp),
            };
            let is_named = call.args.iter().any(names);
            let is_held = view::is_held(&lock, &record, scope) && (looks || is_named);
            // Who presents nothing takes nothing as his own.
            let only_looks = call.is_look() || call.args.is_empty();
            let is_named = (is_named || only_looks) && says_no(&effect.reply);
            let other = Other::of(&record);
            is_held.then_some(Self { lock, stored: record.stored, other, is_named })
        })
    }

    /// A lock that is held so.
    pub(in crate::session::operation) fn of(lock: LockKey, record: Record) -> Self {
        let other = Other::of(&record);
        Self { lock, stored: record.stored, other, is_named: false }
    }

    /// The lock.
    pub(in crate::session::operation) fn lock(&self) -> &LockKey {
        &self.lock
    }

    /// What Redis is asked: for the value, or the parts of the content; for the type of one that the ledger
    /// does not keep.
    pub(in crate::session::operation) fn question(&self) -> Vec<&[u8]> {
        let key = self.lock.key();
        match &self.other {
            None => vec![b"GET", key],
            Some(Other::Kept(Content::Hash(_))) => vec![b"HKEYS", key],
            Some(Other::Kept(Content::Sorted(_))) => vec![b"ZRANGE", key, b"0", b"-1"],
            Some(Other::Kept(Content::Set(_))) => vec![b"SMEMBERS", key],
            Some(Other::Kept(Content::List(_))) => vec![b"LRANGE", key, b"0", b"-1"],
            Some(Other::Typed(_)) => vec![b"TYPE", key],
        }
    }

    /// True if Redis has not this value; or nothing, or another type, or a content that shares nothing with
    /// this one, which can't have become of it. A user who may not ask has Redis's word.
    pub(in crate::session::operation) fn is_lost(&self, reply: Option<&Reply<'_>>) -> bool {
        match (&self.other, reply) {
            (_, Some(Reply::Null)) => true,
            (None, Some(Reply::Bulk(stored))) => **stored != *self.stored,
            (Some(Other::Kept(content)), Some(reply @ Reply::Aggregate { .. })) => {
                let text = |part| Reply::parse(part).and_then(|(part, _)| part.text());
                !reply.elements().filter_map(text).any(|part| content.has_part(part))
            }
            (Some(Other::Kept(_)), Some(Reply::Error(error))) => error.starts_with(b"WRONGTYPE"),
            (Some(Other::Typed(kind)), Some(Reply::Simple(there))) => {
                *there == b"none" || kind.is_some_and(|kind| kind.as_bytes() != *there)
            }
            _ => false,
        }
    }
}

/// A lock that is no string.
#[derive(Debug, Clone)]
enum Other {
    Kept(Content),
    /// Its type alone is known, in Redis's word; or not even that.
    Typed(Option<&'static str>),
}

impl Other {
    fn of(record: &Record) -> Option<Self> {
        let mark = record.other.as_deref()?;
        Some(match content::of_mark(mark) {
            Some(content) => Self::Kept(content),
            None => Self::Typed(content::type_of_mark(mark)),
        })
    }
}
