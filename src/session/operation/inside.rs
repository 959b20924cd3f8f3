//! Reads of what stands under a lock that is no string (HGETALL, ZSCORE, ...): where Redis has nothing, and
//! the ledger has a holder, the lock was lost by Redis alone, and the ledger is the truth (SPEC 2).
//!
//! "No such field" may as well be so. The command goes to Redis as it came, and a question for the type of
//! the key behind it: that tells whether the lock is there at all. Where it is not, the command is
//! evaluated by what the ledger has of the lock, and Redis is brought in line. Nobody is told that there is
//! nothing under a lock whose content the ledger does not keep.

use std::time::Duration;

use crate::ledger::{Answer, Ticket};
use crate::lock::content;
use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Mode;
use crate::resp::reply::Reply;
use crate::resp::{Args, Command};

use super::script::{Held, says_no};
use super::{Flow, Operation, Scope, TIMED, serve, view};

/// Such a read under way.
pub(in crate::session) struct Inspecting {
    command: Command,
    lock: LockKey,
    /// Redis's reply, while the type of the key is still to come.
    reply: Option<Vec<u8>>,
    /// The ledger is being read before Redis is believed.
    reading: Option<Reading>,
    /// It has not been asked again yet.
    may_repeat: bool,
}

/// Redis's reply and its word on the type of the key, until the ledger was read.
struct Reading {
    ticket: Ticket,
    until: Duration,
    reply: Vec<u8>,
    there: Vec<u8>,
}

impl Inspecting {
    pub(super) fn begin(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let lock = scope.lock_key(args.get(1).unwrap_or_default());
        let command = args.to_command();
        let operation = Self { command, lock, reply: None, reading: None, may_repeat: true };
        operation.send(scope);
        (Some(Box::new(Operation::Inspect(operation))), TIMED)
    }

    fn send(&self, scope: &mut Scope<'_, '_>) {
        scope.cx.wires.to_upstream(self.command.args().frame());
        scope.send(&[b"TYPE", self.lock.key()]);
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let Some(reply) = self.reply.take() else {
            if let Some((Reply::Error(error), _)) = Reply::parse(frame) {
                scope.witness_error_on(self.lock.key(), error);
            }
            self.reply = Some(frame.to_vec());
            return TIMED;
        };
        if self.may_be_wrong(&reply, frame, scope)
            && let Some((ticket, until)) = scope.read_for_look()
        {
            self.reading = Some(Reading { ticket, until, reply, there: frame.to_vec() });
            return Flow::Ledger { until };
        }
        self.settle(&reply, frame, scope)
    }

    /// True if the ledger may know a holder of whom Redis says nothing. `there`: the type.
    fn may_be_wrong(&self, reply: &[u8], there: &[u8], scope: &Scope<'_, '_>) -> bool {
        let rule = scope.shared().rules.find(self.lock.key());
        let is_gone = || matches!(Reply::parse(there), Some((Reply::Simple(b"none"), _)));
        rule.is_some_and(|rule| rule.mode == Mode::Persistent)
            && finds_nothing(reply)
            && (is_gone() || reply.starts_with(b"-") || self.holder(there, scope).is_some())
    }

    /// Who holds the lock by the ledger, if Redis does not have it, or not as a lock of this type; or if
    /// it may have got it back only after its reply.
    fn holder(&self, there: &[u8], scope: &Scope<'_, '_>) -> Option<Record> {
        let record = held(&self.lock, scope)?;
        let there = Reply::parse(there).map(|(reply, _)| reply);
        let is_lost = Held::of(self.lock.clone(), record.clone()).is_lost(there.as_ref());
        let is_unsure = scope.has_repaired() && is_kept(&record);
        (is_lost || is_unsure).then_some(record)
    }

    /// Answers: by what the ledger has, where Redis has lost that.
    fn settle(&self, reply: &[u8], there: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let holder = if finds_nothing(reply) { self.holder(there, scope) } else { None };
        let Some(record) = holder.filter(|_| scope.believes_ledger()) else {
            return scope.answer(reply);
        };
        scope.shared().repairs.touch(&self.lock);
        match serve::look(self.command.args(), self.lock.db(), scope) {
            Some(told) => scope.answer(&told),
            None if is_kept(&record) => scope.answer_error(NOT_TOLD),
            None => scope.answer_error(NOT_KEPT),
        }
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let reading = self.reading.take_if(|reading| reading.ticket == answer.ticket)?;
        Some(self.settle(&reading.reply, &reading.there, scope))
    }

    /// The ledger has not answered in time: what is known is told (SPEC 2).
    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let Some(reading) = self.reading.take() else { return Flow::Close };
        scope.shared().door.forget(reading.ticket);
        self.settle(&reading.reply, &reading.there, scope)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.reply = None;
        self.send(scope);
        TIMED
    }

    /// The client's command, while the ledger alone may answer it.
    pub(super) fn unanswered(&self) -> Option<Vec<Vec<u8>>> {
        let is_open = self.reading.is_none();
        is_open.then(|| self.command.args().iter().map(<[u8]>::to_vec).collect())
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if let Some(reading) = &self.reading {
            return Flow::Ledger { until: reading.until };
        }
        if connected && std::mem::take(&mut self.may_repeat) {
            return Flow::Reopen;
        }
        let text = scope.shared().unavailable(reason);
        scope.answer_error(&text)
    }
}

/// Such a read in a transaction.
pub(super) struct Look {
    key: Vec<u8>,
    /// None: too long to be kept.
    command: Option<Command>,
}

impl Look {
    pub(super) fn new(args: Args<'_>) -> Self {
        let key = args.get(1).unwrap_or_default().to_vec();
        let is_short = args.frame().len() <= LONGEST;
        Self { key, command: is_short.then(|| args.to_command()) }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Who holds the lock by the ledger, where Redis's reply may have missed that.
    pub(super) fn doubted(
        &self,
        db: u32,
        element: &[u8],
        scope: &Scope<'_, '_>,
    ) -> Option<(LockKey, Record)> {
        let lock = LockKey::new(db, &self.key);
        let record = held(&lock, scope).filter(|_| finds_nothing(element))?;
        Some((lock, record))
    }

    /// What the ledger has in place of Redis's reply.
    pub(super) fn told(&self, db: u32, scope: &Scope<'_, '_>) -> Option<Vec<u8>> {
        serve::look(self.command.as_ref()?.args(), db, scope)
    }
}

/// Who holds it by the ledger.
fn held(lock: &LockKey, scope: &Scope<'_, '_>) -> Option<Record> {
    let record = scope.shared().table.find(lock)?;
    view::is_held(lock, &record, scope).then_some(record)
}

/// True for a lock that the ledger can put back.
pub(super) fn is_kept(record: &Record) -> bool {
    record.other.as_deref().is_some_and(|mark| content::of_mark(mark).is_some())
}

/// True for a reply that may mean that there is no such key, or none of this type.
pub(super) fn finds_nothing(frame: &[u8]) -> bool {
    match Reply::parse(frame).map(|(reply, _)| reply) {
        Some(Reply::Error(error)) => error.starts_with(b"WRONGTYPE"),
        // A cursor.
        Some(Reply::Bulk(b"0")) => true,
        Some(reply @ Reply::Aggregate { .. }) => reply.elements().all(finds_nothing),
        _ => says_no(frame),
    }
}

/// Bytes of a command that is kept until EXEC, so that the ledger can answer it.
const LONGEST: usize = 4096;
const NOT_TOLD: &str = "TRYAGAIN lockside: nothing was read: the lock is held, and Redis has lost it; it is \
    being put back; ask again";
const NOT_KEPT: &str = "TRYAGAIN lockside: nothing was read: the lock is held, and Redis has lost what stood \
    there, which was too large for the ledger to keep: it counts as held until it is released";
