//! Questions to Lockside itself: `LOCKSIDE …`, and what it adds to INFO and SCRIPT EXISTS.
//!
//! While Redis answers, it is asked first, on the client's own link: whom it does not let in, or who
//! may not read the key, gets Redis's own error. While it does not answer, those may ask whom the
//! gate lets use locks (SPEC 6). What is told is what the lock table and the ledger have.

mod fence;
mod info;
mod locks;
mod release;
mod shown;

use std::time::Duration;

use crate::ledger::Query;
use crate::lock::record::{Confidence, LockKey, Record};
use crate::mode::Sign;
use crate::resp::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::Shared;

use super::knock::{Knocking, Wish};
use super::{Flow, Operation, Scope, TIMED, gate};

pub(in crate::session) use fence::FENCE_IN_TRANSACTION;
use fence::Fences;
pub(in crate::session::operation) use fence::begin_fence;
pub(in crate::session) use info::info_alone;
pub(super) use info::{extend_info, info_wants_lockside, mask_script_exists};
use locks::{Heard, Listing};
pub(in crate::session) use release::Releasing;

/// How long HISTORY waits for the ledger.
const HISTORY_WAIT: Duration = Duration::from_secs(5);
/// Entries of HISTORY where no count is given...
const HISTORY_COUNT: usize = 10;
/// ...and at most: they are read on the ledger's own thread.
const MOST_HISTORY: usize = 1000;

const HELP: [&str; 18] = [
    "LOCKSIDE <subcommand> [<arg> ...]. Subcommands are:",
    "MODE [<count>]",
    "    Tell whether locks are served, and why not; with so many of the last changes.",
    "LOCKS [<glob>]",
    "    List the held locks whose key matches, with their holders.",
    "OWNER <key>",
    "    Tell who holds a lock of the selected database; nil when nobody does.",
    "FENCE <key>",
    "    Tell the holder's fence: higher than that of every earlier holder; nil when it is free.",
    "HISTORY <key> [<count>]",
    "    List the last entries of the ledger on a lock, the newest last.",
    "RELEASE <key> <claim>",
    "    End the hold of the claim that OWNER shows: 1, or 0 when it holds no more.",
    "REPAIR",
    "    Compare Redis with the ledger now, or as soon as it is usable.",
    "HELP",
    "    Print this help.",
    "A lock is released by its own client, or by 'lockside release KEY'.",
];

/// What is asked.
enum Question {
    /// With so many of the last changes.
    Mode(usize),
    Locks(Listing),
    Owner(Vec<u8>),
    Fence(Vec<u8>),
    History(Vec<u8>, usize),
    Repair,
    Fences(Fences),
}

/// A question under way.
pub(in crate::session) struct Asking {
    question: Question,
    /// A lost link was replaced once.
    asked_again: bool,
    /// The ledger was asked too.
    query: Option<Query>,
}

/// Answers a LOCKSIDE command. It is never sent upstream.
pub(super) fn begin(args: Args<'_>, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
    if scope.state.transaction.is_some() {
        return (None, scope.answer_error("ERR lockside: LOCKSIDE is not allowed inside MULTI"));
    }
    let word = args.get(1).unwrap_or_default().to_ascii_uppercase();
    match (word.as_slice(), args.len()) {
        (b"HELP", 2) => (None, help(scope)),
        (b"RELEASE", 4) => begin_release(args, scope),
        _ => match Question::read(&word, args) {
            Some(question) => Asking::begin(question, scope),
            None => (None, scope.answer_error(UNKNOWN_SUBCOMMAND)),
        },
    }
}

fn begin_release(args: Args<'_>, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
    let key = args.get(2).unwrap_or_default();
    let Some(claim) = args.get(3).and_then(release::read_claim) else {
        return (None, scope.answer_error(NO_CLAIM));
    };
    if scope.shared().rules.find(key).is_none() {
        return (None, scope.answer_error(NO_LOCK));
    }
    Knocking::begin(Wish::Release(key.to_vec(), claim), scope)
}

fn help(scope: &mut Scope<'_, '_>) -> Flow {
    let mut out = Vec::new();
    encode::array(&mut out, HELP.len());
    HELP.iter().for_each(|line| encode::simple(&mut out, line.as_bytes()));
    scope.answer(&out)
}

impl Question {
    fn read(word: &[u8], args: Args<'_>) -> Option<Self> {
        let key = || args.get(2).unwrap_or_default().to_vec();
        let count = |at: usize| -> Option<usize> {
            let number = std::str::from_utf8(args.get(at)?).ok()?.parse::<usize>().ok()?;
            (number > 0).then_some(number.min(MOST_HISTORY))
        };
        Some(match (word, args.len()) {
            (b"MODE", 2) => Self::Mode(0),
            (b"MODE", 3) => Self::Mode(count(2)?),
            (b"LOCKS", 2 | 3) => Self::Locks(Listing::new(args.get(2))),
            (b"OWNER", 3) => Self::Owner(key()),
            (b"FENCE", 3) => Self::Fence(key()),
            (b"HISTORY", 3) => Self::History(key(), HISTORY_COUNT),
            (b"HISTORY", 4) => Self::History(key(), count(3)?),
            (b"REPAIR", 2) => Self::Repair,
            _ => return None,
        })
    }

    /// The lock that is asked about, if it is one.
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Owner(key) | Self::Fence(key) | Self::History(key, _) => Some(key),
            Self::Mode(_) | Self::Locks(_) | Self::Repair | Self::Fences(_) => None,
        }
    }
}

impl Asking {
    fn begin(question: Question, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        let mut asking = Self { question, asked_again: false, query: None };
        let flow = match scope.shared().board.view().reachable {
            true => asking.ask_redis(scope),
            false => asking.alone(scope),
        };
        (Some(Box::new(Operation::Ask(asking))), flow)
    }

    /// Whom Redis does not let in is told nothing here either.
    fn ask_redis(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if let Question::Locks(listing) = &mut self.question {
            listing.ask(scope);
            return TIMED;
        }
        match (&self.question, self.question.key()) {
            (Question::Fences(fences), _) => fences.send(scope),
            (_, Some(key)) => scope.send(&[b"GET", key]),
            (_, None) => scope.send(&[b"PING"]),
        }
        TIMED
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.ask_redis(scope)
    }

    /// Redis's answer.
    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let Some((reply, _)) = Reply::parse(frame) else { return Flow::Close };
        if let Question::Locks(listing) = &mut self.question {
            return match listing.heard(&reply, frame, scope) {
                Heard::More => TIMED,
                Heard::Refused(frame) => scope.answer(&frame),
                Heard::All => self.answer(Some(&reply), scope),
            };
        }
        let is_error = match (&reply, &self.question) {
            // Redis can't be asked for the rights of who asks.
            (Reply::Error(text), Question::Fences(_)) if Sign::of_error(text).is_some() => {
                return self.alone(scope);
            }
            (Reply::Error(_), Question::Fences(_)) => true,
            // A lock of another type (a hash, a sorted set) has no value to read.
            (Reply::Error(text), _) if text.starts_with(b"WRONGTYPE") => false,
            (Reply::Error(_), question) if question.key().is_some() => true,
            // What Redis has to say besides is no matter of who asks.
            (reply, _) => is_stranger(reply),
        };
        if is_error {
            return scope.answer(frame);
        }
        self.answer(Some(&reply), scope)
    }

    /// Without Redis, for whom the gate lets use locks.
    fn alone(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        // The mode says nothing of locks, nor of who uses them.
        if !matches!(self.question, Question::Mode(_)) {
            let (who, shared) = (scope.witness.who(scope.state), scope.cx.shared);
            if !scope.may_use_some_locks() {
                return scope.answer_error(super::NOAUTH);
            }
            let keys = match &self.question {
                Question::Fences(fences) => fences.locks(&shared.rules),
                question => question.key().into_iter().collect(),
            };
            if let Some(refusal) = gate::gate_refusal(keys.into_iter(), who, shared) {
                return scope.answer_error(refusal);
            }
        }
        self.answer(None, scope)
    }

    /// Answers who may ask. `there`: what Redis has, where it was asked.
    fn answer(&mut self, there: Option<&Reply<'_>>, scope: &mut Scope<'_, '_>) -> Flow {
        let mut out = Vec::new();
        match &self.question {
            Question::Mode(count) => told_mode(*count, scope.shared(), &mut out),
            Question::Locks(listing) => listing.show(there.is_some(), scope, &mut out),
            Question::Owner(key) => owner(key, there, scope, &mut out),
            Question::Fence(key) => fence(key, scope, &mut out),
            Question::History(key, count) => {
                let (lock, count) = (scope.lock_key(key), *count);
                return self.ask_ledger(&lock, count, scope);
            }
            Question::Fences(fences) => fences.show(there, scope, &mut out),
            Question::Repair => {
                scope.shared().repairs.start_pass();
                encode::simple(&mut out, b"OK");
            }
        }
        scope.answer(&out)
    }

    fn ask_ledger(&mut self, lock: &LockKey, count: usize, scope: &mut Scope<'_, '_>) -> Flow {
        let asker = (scope.cx.worker, scope.id);
        match scope.shared().door.ask_history(lock, count, asker) {
            Ok(query) => {
                self.query = Some(query);
                Flow::Ledger { until: scope.cx.now + HISTORY_WAIT }
            }
            Err(error) => scope.answer_error(&format!("TRYAGAIN lockside: {error}")),
        }
    }

    /// The ledger's answer to HISTORY.
    pub(super) fn told(
        &mut self,
        told: &crate::ledger::Told,
        scope: &mut Scope<'_, '_>,
    ) -> Option<Flow> {
        let Question::History(key, _) = &self.question else { return None };
        if self.query != Some(told.query) {
            return None;
        }
        Some(match &told.rows {
            Ok(rows) => {
                let (mut out, shared) = (Vec::new(), scope.shared());
                let holder = standing(&scope.lock_key(key), shared);
                shown::history(rows, holder.as_ref(), shared, scope.state.protocol, &mut out);
                scope.answer(&out)
            }
            Err(error) => scope.answer_error(&format!("TRYAGAIN lockside: {error}")),
        })
    }

    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        scope.answer_error("TRYAGAIN lockside: the ledger has not answered in time")
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if self.query.is_some() {
            return Flow::Ledger { until: scope.cx.now + HISTORY_WAIT };
        }
        if connected && !std::mem::replace(&mut self.asked_again, true) {
            return Flow::Reopen;
        }
        if matches!(self.question, Question::Mode(_)) || scope.may_use_some_locks() {
            return self.alone(scope);
        }
        let text = scope.shared().unavailable(reason);
        scope.answer_error(&text)
    }
}

/// True for the errors of a client that has not proved who it is.
fn is_stranger(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"NOAUTH") || text.starts_with(b"NOPERM"))
}

/// The mode in one line; asked for changes, that line and theirs, the newest first.
fn told_mode(count: usize, shared: &Shared, out: &mut Vec<u8>) {
    let line = shown::mode_line(shared);
    if count == 0 {
        return encode::bulk(out, line.as_bytes());
    }
    let events = shared.history.events();
    let changes = events.iter().rev().take(count).map(shown::change_line);
    let lines: Vec<String> = std::iter::once(line).chain(changes).collect();
    encode::array(out, lines.len());
    lines.iter().for_each(|line| encode::bulk(out, line.as_bytes()));
}

/// The record of a lock that has not run out.
fn standing(lock: &LockKey, shared: &Shared) -> Option<Record> {
    let now_ms = shared.clock.unix_ms();
    shared.table.find(lock).filter(|record| record.expires_at_ms.is_none_or(|at| at > now_ms))
}

fn fence(key: &[u8], scope: &Scope<'_, '_>, out: &mut Vec<u8>) {
    match standing(&scope.lock_key(key), scope.shared()).and_then(|record| record.fence) {
        Some(fence) => encode::integer(out, i64::try_from(fence).unwrap_or(i64::MAX)),
        None => encode::null(out, scope.state.protocol),
    }
}

/// The record of who holds the lock. A claim in the ledger is the truth, whatever Redis has; else
/// Redis tells.
fn owner(key: &[u8], there: Option<&Reply<'_>>, scope: &Scope<'_, '_>, out: &mut Vec<u8>) {
    let (shared, protocol) = (scope.shared(), scope.state.protocol);
    let lock = scope.lock_key(key);
    let known = standing(&lock, shared);
    let claimed = known.as_ref().is_some_and(|record| record.claim.is_some());
    let record = match there {
        _ if claimed => known,
        Some(Reply::Bulk(value)) => {
            let same = known.filter(|record| *record.stored == **value);
            Some(same.unwrap_or_else(|| unknown_record(value, key, shared)))
        }
        Some(Reply::Error(_)) => Some(known.unwrap_or_else(|| unknown_record(b"", key, shared))),
        Some(_) => {
            // Gone without a release through this process.
            shared.table.release(&lock);
            None
        }
        None => known,
    };
    match record {
        Some(record) => shown::describe(&lock, &record, shared, protocol, out),
        None => encode::null(out, protocol),
    }
}

/// A lock that was not granted through this process: what its value tells.
fn unknown_record(stored: &[u8], key: &[u8], shared: &Shared) -> Record {
    Record {
        stored: stored.into(),
        rule: shared.rules.find(key).map_or_else(|| "".into(), |rule| shared.rule_name(rule)),
        granted_at_ms: shared.stamper.read_timestamp(stored).unwrap_or(shared.clock.unix_ms()),
        asked_ttl_ms: None,
        confidence: Confidence::Held,
        client: "unknown: not granted through this process".into(),
        expires_at_ms: None,
        claim: None,
        fence: None,
        other: None,
        marker: None,
    }
}

const UNKNOWN_SUBCOMMAND: &str =
    "ERR lockside: unknown subcommand or wrong arguments; try LOCKSIDE HELP";
const NO_CLAIM: &str = "ERR lockside: a claim is named as LOCKSIDE OWNER shows it, such as 3-17";
const NO_LOCK: &str = "ERR lockside: no rule makes this key a lock";
