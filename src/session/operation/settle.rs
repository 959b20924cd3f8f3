//! Step 4 for locks that a script or a transaction took: one guarded PERSIST for all of them, or
//! a guarded delete when their client has gone (SPEC 3 and 5).
//!
//! The driver of a [`Settlement`] hands it replies, and does what it says; both scripts may run
//! late or twice without harm, so a lost link is simply tried again.

use std::sync::Arc;

use crate::lock::envelope::scripts::{self, Script};
use crate::lock::record::Record;
use crate::resp::encode::CommandBuilder;
use crate::resp::reply::Reply;

use super::{Grant, Scope};
use crate::lock::record::LockKey;

/// How often a lost link is replaced before the outcome is called unknown.
const REOPENS: u8 = 2;

/// A lock that was taken and is still provisional.
#[derive(Debug, Clone)]
pub(super) struct Provisional {
    pub(super) lock: LockKey,
    /// What must still stand there: as the guarded scripts take it.
    pub(super) guard: Vec<u8>,
    /// What the table keeps once it is made persistent.
    pub(super) record: Record,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    Reopen,
    /// For each lock: true when it is held now.
    Settled(Vec<bool>),
    /// Nobody knows; or the client has gone, and nobody asks.
    Unknown,
}

/// The settlement of some locks of one database.
#[derive(Debug)]
pub(super) struct Settlement {
    locks: Vec<Provisional>,
    undo: bool,
    /// A PERSIST was sent: the keys may be permanent, whatever is heard of it.
    persist_sent: bool,
    by_text: bool,
    reopens_left: u8,
    /// Replies to SELECT, around the script, still to come and of no interest.
    before: usize,
    after: usize,
    answer: Option<Vec<bool>>,
}

impl Settlement {
    /// Starts: sends the script. `locks` are of one database.
    pub(super) fn begin(locks: Vec<Provisional>, scope: &mut Scope<'_, '_>) -> Self {
        let mut settlement = Self {
            locks,
            undo: scope.client_gone,
            persist_sent: false,
            by_text: false,
            reopens_left: REOPENS,
            before: 0,
            after: 0,
            answer: None,
        };
        settlement.send(scope);
        settlement
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Next {
        if self.before > 0 {
            self.before -= 1;
            return Next::Wait;
        }
        if self.answer.is_none() {
            let parsed = Reply::parse(frame).map(|(reply, _)| reply);
            if matches!(parsed, Some(Reply::Error(text)) if text.starts_with(b"NOSCRIPT"))
                && !self.by_text
            {
                self.by_text = true;
                self.send(scope);
                return Next::Wait;
            }
            self.answer = Some(self.read(parsed));
        } else {
            self.after -= 1;
        }
        if self.after > 0 { Next::Wait } else { self.finish(scope) }
    }

    /// The link was lost. When it was once too often, locks that may stand for good are kept as
    /// unconfirmed: seen by people, and open to a `SET NX` with the same token.
    pub(super) fn lost(&mut self, scope: &Scope<'_, '_>) -> Next {
        if self.reopens_left == 0 {
            for Provisional { lock, record, .. } in self.locks.iter().filter(|_| self.persist_sent)
            {
                scope.shared().table.suspect(lock.clone(), record.clone());
            }
            return Next::Unknown;
        }
        self.reopens_left -= 1;
        self.answer = None;
        Next::Reopen
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) {
        self.undo = scope.client_gone;
        self.send(scope);
    }

    fn send(&mut self, scope: &mut Scope<'_, '_>) {
        let here = scope.state.db;
        let db = self.locks.first().map_or(here, |provisional| provisional.lock.db());
        let elsewhere = db != here;
        (self.before, self.after) = if elsewhere { (1, 1) } else { (0, 0) };
        if elsewhere {
            scope.send(&[b"SELECT", db.to_string().as_bytes()]);
            // By its text at once: what is sent behind it can't wait for a second try.
            self.by_text = true;
        }
        self.persist_sent |= !self.undo;
        let script = if self.undo { &scripts::COMPARE_AND_DELETE } else { &scripts::PERSIST };
        let (name, script) = call(script, self.by_text);
        let mut command = CommandBuilder::new(name);
        command.arg(script);
        command.integer(i64::try_from(self.locks.len()).unwrap_or(i64::MAX));
        for provisional in &self.locks {
            command.arg(provisional.lock.key());
        }
        for provisional in &self.locks {
            command.arg(&provisional.guard);
        }
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        scope.cx.wires.to_upstream(&bytes);
        if elsewhere {
            scope.send(&[b"SELECT", here.to_string().as_bytes()]);
        }
    }

    fn read(&self, reply: Option<Reply<'_>>) -> Vec<bool> {
        let answers: Vec<bool> = reply.map_or_else(Vec::new, |reply| {
            let ours = |element| matches!(Reply::parse(element), Some((Reply::Integer(1), _)));
            reply.elements().map(ours).collect()
        });
        let known = answers.into_iter().chain(std::iter::repeat(false));
        known.take(self.locks.len()).map(|ours| ours && !self.undo).collect()
    }

    /// Puts what is held now into the table.
    fn finish(&mut self, scope: &mut Scope<'_, '_>) -> Next {
        let held = self.answer.take().unwrap_or_default();
        if self.undo {
            return Next::Unknown;
        }
        if scope.client_gone {
            self.undo = true;
            self.send(scope);
            return Next::Wait;
        }
        for (provisional, _) in self.locks.iter().zip(&held).filter(|(_, held)| **held) {
            let Provisional { lock, record, .. } = provisional;
            scope.shared().table.grant(lock.clone(), record.clone());
        }
        Next::Settled(held)
    }

    /// The grants that the client is about to be told of.
    pub(super) fn grants(&self, held: &[bool], reply_end: u64) -> Vec<Grant> {
        let held = self.locks.iter().zip(held).filter(|(_, held)| **held);
        held.map(|(Provisional { lock, record, .. }, _)| Grant {
            key: lock.clone(),
            stored: record.stored.clone(),
            reply_end,
        })
        .collect()
    }

    /// The keys of locks that could not be made persistent, for an error text.
    pub(super) fn lost_keys(&self, held: &[bool]) -> String {
        let lost = self.locks.iter().zip(held).filter(|(_, held)| !**held);
        let keys: Vec<_> =
            lost.map(|(lost, _)| String::from_utf8_lossy(lost.lock.key()).into_owned()).collect();
        keys.join(", ")
    }
}

/// A guarded script's command and its first argument.
pub(super) fn call(script: &Script, by_text: bool) -> (&'static [u8], &[u8]) {
    if by_text { (b"EVAL", script.text.as_bytes()) } else { (b"EVALSHA", &script.sha) }
}

/// A string's guard, as the guarded scripts take it.
pub(super) fn value_guard(stored: &[u8]) -> Vec<u8> {
    [b"s", stored].concat()
}

/// A record's stored value from a guard; empty for a lock that is not a string.
pub(super) fn stored_of(guard: &crate::lock::envelope::Guard<'_>) -> Arc<[u8]> {
    match guard {
        crate::lock::envelope::Guard::Value(stored) => Arc::from(*stored),
        crate::lock::envelope::Guard::Other(_) => Arc::from(&b""[..]),
    }
}
