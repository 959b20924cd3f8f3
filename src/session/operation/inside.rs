//! Reads of what stands under a lock that is no string (HGETALL, ZSCORE, ...): Redis alone may have lost such a
//! lock, and the ledger is the truth (SPEC 2).
//!
//! The command goes to Redis as it came, and its reply is believed where the ledger says the same. Else the
//! ledger may be behind, or have fields in another order: so Redis is asked what it has there. Where that is
//! nothing, or shares nothing with what the ledger has, the client is told what the ledger says, and Redis is
//! brought in line. Nobody is told that there is nothing under a lock whose content the ledger does not keep.

use std::time::Duration;

use crate::ledger::{Answer, Ticket};
use crate::lock::content;
use crate::lock::record::{LockKey, Position, Record};
use crate::lock::rule::Mode;
use crate::mode;
use crate::resp::reply::Reply;
use crate::resp::{Args, Command};

use super::script::{Held, says_no};
use super::{Flow, Operation, Scope, TIMED, serve, view};

/// Such a read under way.
pub(in crate::session) struct Inspecting {
    command: Command,
    lock: LockKey,
    step: Step,
    /// It has not been asked again yet.
    may_repeat: bool,
}

enum Step {
    /// The command was sent.
    Asking,
    /// Redis has this reply: the ledger is being read.
    Reading(Ticket, Duration, Vec<u8>),
    /// The ledger says something else, or can't tell: Redis is asked what it has there.
    Doubting(Box<Doubt>),
}

struct Doubt {
    held: Held,
    /// The claim that the lock is held by.
    claim: Option<Position>,
    /// Redis's reply.
    reply: Vec<u8>,
    /// The ledger's; none where that can't be told.
    told: Option<Vec<u8>>,
    /// The ledger can put the lock back.
    is_kept: bool,
}

impl Inspecting {
    pub(super) fn begin(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let lock = scope.lock_key(args.get(1).unwrap_or_default());
        scope.cx.wires.to_upstream(args.frame());
        let (command, step) = (args.to_command(), Step::Asking);
        let operation = Self { command, lock, step, may_repeat: true };
        (Some(Box::new(Operation::Inspect(operation))), TIMED)
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        match &self.step {
            Step::Asking => {}
            Step::Reading(..) => return Flow::Close,
            Step::Doubting(doubt) => return self.doubted(doubt, frame, scope),
        }
        if let Some((Reply::Error(error), _)) = Reply::parse(frame) {
            scope.witness_error_on(self.lock.key(), error);
        }
        if is_read_first(&self.lock, frame, scope)
            && let Some((ticket, until)) = scope.read_for_look()
        {
            self.step = Step::Reading(ticket, until, frame.to_vec());
            return Flow::Ledger { until };
        }
        self.settle(frame, scope)
    }

    /// Answers, where the ledger does not say otherwise; else Redis is asked what it has.
    fn settle(&mut self, reply: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let record = held(&self.lock, scope);
        let Some(record) = record.filter(|_| is_doubtful(reply) && scope.believes_ledger()) else {
            return scope.answer(reply);
        };
        let told = serve::look(self.command.args(), self.lock.db(), scope);
        if says_the_same(reply, told.as_deref()) {
            return scope.answer(reply);
        }
        let (claim, is_kept, reply) = (record.claim, is_kept(&record), reply.to_vec());
        let held = Held::of(self.lock.clone(), record);
        scope.send(&held.question());
        self.step = Step::Doubting(Box::new(Doubt { held, claim, reply, told, is_kept }));
        TIMED
    }

    /// Redis has said what it has. It may have got the lock back only after its reply.
    fn doubted(&self, doubt: &Doubt, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let there = Reply::parse(frame).map(|(reply, _)| reply);
        let is_unsure = scope.has_repaired() && doubt.is_kept && finds_nothing(&doubt.reply);
        // Somebody may have released it since.
        let stands = held(&self.lock, scope).is_some_and(|record| record.claim == doubt.claim);
        if !stands || !(doubt.held.is_lost(there.as_ref()) || is_unsure) {
            return scope.answer(&doubt.reply);
        }
        scope.shared().repairs.touch(&self.lock);
        match &doubt.told {
            Some(told) => scope.answer(told),
            None if doubt.is_kept => scope.answer_error(NOT_TOLD),
            None => scope.answer_error(NOT_KEPT),
        }
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        match &mut self.step {
            Step::Reading(ticket, _, reply) if *ticket == answer.ticket => {
                let reply = std::mem::take(reply);
                Some(self.settle(&reply, scope))
            }
            _ => None,
        }
    }

    /// The ledger has not answered in time: what is known is told (SPEC 2).
    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let Step::Reading(ticket, _, reply) = &mut self.step else { return Flow::Close };
        scope.shared().door.forget(*ticket);
        let reply = std::mem::take(reply);
        self.settle(&reply, scope)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.step = Step::Asking;
        scope.cx.wires.to_upstream(self.command.args().frame());
        TIMED
    }

    /// The client's command, while the ledger alone may answer it.
    pub(super) fn unanswered(&self) -> Option<Vec<Vec<u8>>> {
        let is_open = !matches!(self.step, Step::Reading(..));
        is_open.then(|| self.command.args().iter().map(<[u8]>::to_vec).collect())
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if let Step::Reading(_, until, _) = self.step {
            return Flow::Ledger { until };
        }
        if connected && std::mem::take(&mut self.may_repeat) {
            return Flow::Reopen;
        }
        let text = scope.shared().unavailable(reason);
        scope.answer_error(&text)
    }
}

/// The error of a read of a lock that is being repaired, and that the ledger can't answer either. None also
/// where another waits for the repair, or says that there is no Redis.
pub(super) fn refusal(args: Args<'_>, scope: &Scope<'_, '_>) -> Option<&'static str> {
    let lock = scope.lock_key(args.get(1)?);
    if scope.shared().board.view().mode != mode::Mode::Healthy
        || scope.is_held_back(std::iter::once(lock.key()))
    {
        return None;
    }
    let record = held(&lock, scope)?;
    let is_told = serve::look(args, lock.db(), scope).is_some();
    (!is_told).then_some(if is_kept(&record) { NOT_TOLD } else { NOT_KEPT })
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

    /// Who holds the lock by the ledger, where Redis's reply may have missed that; and what is told then,
    /// if that can be told.
    pub(super) fn doubted(
        &self,
        db: u32,
        element: &[u8],
        scope: &Scope<'_, '_>,
    ) -> Option<(LockKey, Record, Option<Vec<u8>>)> {
        let lock = LockKey::new(db, &self.key);
        let record = held(&lock, scope).filter(|_| is_doubtful(element))?;
        let command = self.command.as_ref();
        let told = command.and_then(|command| serve::look(command.args(), db, scope));
        (!says_the_same(element, told.as_deref())).then_some((lock, record, told))
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

/// True if the ledger is read before Redis's reply is believed, where others write to it: of a persistent
/// lock, and not where Redis has something that nobody is known to hold, which may be a client's own data.
pub(super) fn is_read_first(lock: &LockKey, frame: &[u8], scope: &Scope<'_, '_>) -> bool {
    let rule = scope.shared().rules.find(lock.key());
    rule.is_some_and(|rule| rule.mode == Mode::Persistent)
        && is_doubtful(frame)
        && (finds_nothing(frame) || scope.shared().table.find(lock).is_some())
}

/// True for a reply of a client that may read the lock.
fn is_doubtful(frame: &[u8]) -> bool {
    !frame.starts_with(b"-") || finds_nothing(frame)
}

/// True if the ledger speaks as Redis does; or can't, and Redis has found something.
fn says_the_same(reply: &[u8], told: Option<&[u8]>) -> bool {
    told.map_or_else(|| !finds_nothing(reply), |told| told == reply)
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
