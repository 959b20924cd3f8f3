//! Step 4 for locks that a script or a transaction took: one guarded PERSIST for all of a
//! database, or a guarded delete when their client has gone (SPEC 3 and 5).
//!
//! The driver of a [`Settlement`] hands it replies, and does what it says; both scripts may run
//! late or twice without harm, so a lost link is simply tried again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::lock::envelope::Guard;
use crate::lock::envelope::scripts::{self, Script};
use crate::lock::record::{LockKey, Record};
use crate::resp::encode::CommandBuilder;
use crate::resp::reply::Reply;

use super::{Grant, Scope};

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
    /// They were given back.
    GivenBack,
    /// Nobody knows; or the client has gone, and nobody asks.
    Unknown,
}

/// A reply that is still to come.
#[derive(Debug)]
enum Awaited {
    /// A SELECT's, of no interest.
    Select,
    /// The script's, for these locks.
    Script(Range<usize>),
}

/// The settlement of some locks.
#[derive(Debug)]
pub(super) struct Settlement {
    /// Those of one database stand together.
    locks: Vec<Provisional>,
    held: Vec<bool>,
    awaited: VecDeque<Awaited>,
    /// They are to be given back, whatever their client does.
    refused: bool,
    undo: bool,
    /// A PERSIST was sent: the keys may be permanent, whatever is heard of it.
    persist_sent: bool,
    by_text: bool,
    reopens_left: u8,
}

impl Settlement {
    /// Starts: sends the scripts.
    pub(super) fn begin(locks: Vec<Provisional>, scope: &mut Scope<'_, '_>) -> Self {
        Self::start(locks, false, scope)
    }

    /// Starts to give the locks back: more than may be held.
    pub(super) fn give_back(locks: Vec<Provisional>, scope: &mut Scope<'_, '_>) -> Self {
        Self::start(locks, true, scope)
    }

    fn start(mut locks: Vec<Provisional>, refused: bool, scope: &mut Scope<'_, '_>) -> Self {
        locks.sort_by_key(|provisional| provisional.lock.db());
        let mut settlement = Self {
            locks,
            held: Vec::new(),
            awaited: VecDeque::new(),
            refused,
            undo: false,
            persist_sent: false,
            by_text: false,
            reopens_left: REOPENS,
        };
        settlement.reopened(scope);
        settlement
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Next {
        if let Some(Awaited::Script(locks)) = self.awaited.pop_front() {
            let reply = Reply::parse(frame).map(|(reply, _)| reply);
            let missing =
                matches!(reply, Some(Reply::Error(text)) if text.starts_with(b"NOSCRIPT"));
            if missing && !self.by_text {
                self.by_text = true;
                self.send(scope);
                return Next::Wait;
            }
            self.read(reply, locks);
        }
        if self.awaited.is_empty() { self.finish(scope) } else { Next::Wait }
    }

    /// The link was lost with what it owed. When it was once too often, locks that may stand for
    /// good are kept as unconfirmed: seen by people, and open to a `SET NX` with the same token.
    pub(super) fn lost(&mut self, scope: &Scope<'_, '_>) -> Next {
        if self.reopens_left == 0 {
            for Provisional { lock, record, .. } in self.locks.iter().filter(|_| self.persist_sent)
            {
                scope.shared().table.suspect(lock.clone(), record.clone());
            }
            return Next::Unknown;
        }
        self.reopens_left -= 1;
        Next::Reopen
    }

    /// Sends everything, at first or again on a new link.
    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) {
        self.undo = self.refused || scope.client_gone;
        self.send(scope);
    }

    fn send(&mut self, scope: &mut Scope<'_, '_>) {
        self.awaited.clear();
        self.held = vec![false; self.locks.len()];
        let here = scope.state.db;
        let mut selected = here;
        let mut from = 0;
        while let Some(db) = self.locks.get(from).map(|provisional| provisional.lock.db()) {
            let count = self.locks[from..].iter().take_while(|lock| lock.lock.db() == db).count();
            // By its text at once: what is sent behind it can't wait for a second try.
            self.by_text |= db != here || count < self.locks.len();
            self.select(&mut selected, db, scope);
            self.send_script(from..from + count, scope);
            from += count;
        }
        self.select(&mut selected, here, scope);
    }

    fn select(&mut self, selected: &mut u32, db: u32, scope: &mut Scope<'_, '_>) {
        if *selected != db {
            *selected = db;
            scope.send(&[b"SELECT", db.to_string().as_bytes()]);
            self.awaited.push_back(Awaited::Select);
        }
    }

    fn send_script(&mut self, locks: Range<usize>, scope: &mut Scope<'_, '_>) {
        self.persist_sent |= !self.undo;
        let script = if self.undo { &scripts::COMPARE_AND_DELETE } else { &scripts::PERSIST };
        let (name, script) = call(script, self.by_text);
        let mut command = CommandBuilder::new(name);
        command.arg(script);
        command.integer(i64::try_from(locks.len()).unwrap_or(i64::MAX));
        for provisional in &self.locks[locks.clone()] {
            command.arg(provisional.lock.key());
        }
        for provisional in &self.locks[locks.clone()] {
            command.arg(&provisional.guard);
        }
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        scope.cx.wires.to_upstream(&bytes);
        self.awaited.push_back(Awaited::Script(locks));
    }

    fn read(&mut self, reply: Option<Reply<'_>>, locks: Range<usize>) {
        let Some(reply) = reply else { return };
        for (held, element) in self.held[locks].iter_mut().zip(reply.elements()) {
            *held = matches!(Reply::parse(element), Some((Reply::Integer(1), _)));
        }
    }

    /// Puts what is held now into the table.
    fn finish(&mut self, scope: &mut Scope<'_, '_>) -> Next {
        if self.undo {
            return if self.refused { Next::GivenBack } else { Next::Unknown };
        }
        if scope.client_gone {
            self.undo = true;
            self.send(scope);
            return Next::Wait;
        }
        for (provisional, _) in self.locks.iter().zip(&self.held).filter(|(_, held)| **held) {
            let Provisional { lock, record, .. } = provisional;
            scope.shared().table.grant(lock.clone(), record.clone());
        }
        Next::Settled(std::mem::take(&mut self.held))
    }

    /// True when this lock could not be made persistent.
    pub(super) fn has_lost(&self, lock: &LockKey, held: &[bool]) -> bool {
        self.locks.iter().zip(held).any(|(lost, held)| !held && lost.lock == *lock)
    }

    /// The grants that the client was told of, in a reply that ends at `reply_end`.
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
pub(super) fn stored_of(guard: &Guard<'_>) -> Arc<[u8]> {
    match guard {
        Guard::Value(stored) => Arc::from(*stored),
        Guard::Other(_) => Arc::from(&b""[..]),
    }
}
