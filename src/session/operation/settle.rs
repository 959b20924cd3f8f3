//! Step 4 for locks that a script or a transaction took: one guarded PERSIST for all of a
//! database, or a guarded delete when their client has gone (SPEC 3 and 5).
//!
//! The driver of a [`Settlement`] hands it replies, and does what it says; both scripts may run
//! late or twice without harm, so a lost link is simply tried again.

mod booking;
mod raising;
mod withdraw;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Answer, Ask, Guarantee};
use crate::lock::acquire::Ledger;
use crate::lock::envelope::Guard;
use crate::lock::envelope::scripts::{self, Script};
use crate::lock::record::{LockKey, Record};
use crate::mode::Report;
use crate::resp::encode::CommandBuilder;
use crate::resp::reply::Reply;

use super::durable;
use super::{Grant, Scope};
pub(super) use booking::{Booking, Loss, releases};
use raising::Raising;

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
    /// The rule's.
    pub(super) safety_ttl: Duration,
    /// False for a lock of a `ttl` rule, which keeps its TTL.
    pub(super) persistent: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    /// For the ledger, until then.
    Ledger(Duration),
    Reopen,
    /// Claims have lost; everything that was taken is given back.
    Lost(Vec<Loss>),
    /// The ledger did not take the claims, or did not answer in time; everything that was taken is
    /// given back. Why, for the client.
    Blocked(String),
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
    /// Those of one database and one kind of rule stand together.
    locks: Vec<Provisional>,
    held: Vec<bool>,
    /// The fences that Redis has given with it (`fast`).
    fences: Vec<Option<u64>>,
    /// The script asks for fences too.
    fenced: bool,
    /// It could not: Redis has no counter, or this user may not use it. Nothing was done.
    uncounted: bool,
    awaited: VecDeque<Awaited>,
    /// They are to be given back, whatever their client does.
    refused: bool,
    undo: bool,
    /// A PERSIST was sent: the keys may be permanent, whatever is heard of it.
    persist_sent: bool,
    by_text: bool,
    reopens_left: u8,
    /// What the ledger has to say of them; none when it only follows.
    booking: Option<Box<Booking>>,
    /// The fences that Redis has given to claims are being written (`fast`).
    raising: Option<Box<Raising>>,
    /// The link was lost while the ledger was being asked.
    link_lost: bool,
    /// Given back because of this.
    refusal: Option<Next>,
    /// Keys that Redis has let go: a repair that was made before the ledger heard of it may have
    /// put them back.
    released: Vec<LockKey>,
}

impl Settlement {
    /// Starts: has the ledger release what was released and claim what was taken, if it has a
    /// say, then makes good in Redis what was taken.
    pub(super) fn begin(
        locks: Vec<Provisional>,
        releases: Vec<Ask>,
        scope: &mut Scope<'_, '_>,
    ) -> (Self, Next) {
        let mut settlement = Self::new(locks);
        settlement.fenced = scope.shared().guarantee == Guarantee::Fast;
        settlement.released = scope.doubtful(&releases);
        // Only the guarded PERSIST gives a fence.
        let is_persistent = settlement.locks.iter().all(|lock| lock.persistent);
        if scope.shared().ledger_use() == Ledger::Follows && is_persistent {
            scope.follow_up(releases);
            let next = settlement.go_to_redis(scope);
            return (settlement, next);
        }
        let next = match Booking::begin(&settlement.locks, releases, scope) {
            Ok(booking) if booking.is_done() => settlement.go_to_redis(scope),
            Ok(booking) => {
                let until = booking.until;
                settlement.booking = Some(Box::new(booking));
                Next::Ledger(until)
            }
            Err(trouble) => settlement.take_back(Next::Blocked(trouble), scope),
        };
        (settlement, next)
    }

    /// Starts to give the locks back: more than may be held.
    pub(super) fn give_back(locks: Vec<Provisional>, scope: &mut Scope<'_, '_>) -> Self {
        let mut settlement = Self::new(locks);
        settlement.refused = true;
        settlement.reopened(scope);
        settlement
    }

    fn new(mut locks: Vec<Provisional>) -> Self {
        locks.sort_by_key(|provisional| (provisional.lock.db(), provisional.persistent));
        Self {
            locks,
            held: Vec::new(),
            fences: Vec::new(),
            fenced: false,
            uncounted: false,
            awaited: VecDeque::new(),
            refused: false,
            undo: false,
            persist_sent: false,
            by_text: false,
            reopens_left: REOPENS,
            booking: None,
            raising: None,
            link_lost: false,
            refusal: None,
            released: Vec::new(),
        }
    }

    /// The ledger's answer; none if it was not for this.
    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Next> {
        if let Some(next) = self.raised(answer, scope) {
            return Some(next);
        }
        let booking = self.booking.as_mut()?;
        if !booking.answered(answer, &self.locks) {
            return None;
        }
        if booking.is_withdrawn() && booking.lost.is_empty() {
            booking.give_up(scope);
            let text = durable::NOT_ACQUIRED.to_owned();
            return Some(self.take_back(Next::Blocked(text), scope));
        }
        if !booking.is_done() {
            return Some(Next::Ledger(booking.until));
        }
        scope.look_again(&self.released);
        if booking.was_behind(scope) {
            self.released.iter().for_each(|key| scope.shared().repairs.touch(key));
            return Some(self.take_back(Next::Blocked(durable::NOT_RELEASED.to_owned()), scope));
        }
        if booking.lost.is_empty() {
            return Some(self.go_to_redis(scope));
        }
        if booking.give_back_rest(&self.locks, scope) {
            return Some(Next::Ledger(booking.until));
        }
        let lost = std::mem::take(&mut booking.lost);
        // Redis did not know of the holders.
        for Loss { lock, holder, .. } in &lost {
            let client = holder.as_ref().map(|holder| &*holder.claim.client);
            if !client.is_some_and(|client| scope.is_foreign(lock.key(), client)) {
                scope.shared().repairs.touch(lock);
            }
        }
        Some(self.take_back(Next::Lost(lost), scope))
    }

    /// The ledger has not answered in time.
    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Next {
        if let Some(next) = self.raise_is_late(scope) {
            return next;
        }
        let text = match self.booking.as_mut().map(|booking| booking.late(scope)) {
            Some(Ok(until)) => return Next::Ledger(until),
            Some(Err(text)) => text,
            None => durable::RELEASING,
        };
        self.take_back(Next::Blocked(text.to_owned()), scope)
    }

    fn go_to_redis(&mut self, scope: &mut Scope<'_, '_>) -> Next {
        // What was only released stays so, whether or not its client is still there.
        if self.locks.is_empty() {
            return Next::Settled(Vec::new());
        }
        if scope.client_gone && self.booking.is_some() {
            return self.take_back(Next::Unknown, scope);
        }
        if self.link_lost {
            return self.settled_by_ledger(scope);
        }
        self.reopened(scope);
        if self.awaited.is_empty() { self.finish(scope) } else { Next::Wait }
    }

    /// Nobody will be told of what was taken: claims that have won are given up, and the keys are
    /// taken back.
    fn take_back(&mut self, why: Next, scope: &mut Scope<'_, '_>) -> Next {
        let won = self.booking.iter_mut().flat_map(|booking| std::mem::take(&mut booking.won));
        let mut is_lost = self.persist_sent && self.link_lost;
        for (provisional, claim) in self.locks.iter().zip(won) {
            if let Some(claim) = claim {
                is_lost = false;
                scope.give_up(&provisional.lock, claim);
            }
        }
        if is_lost {
            return self.leave_unconfirmed(scope);
        }
        if self.link_lost || self.locks.is_empty() {
            return why;
        }
        self.refusal = Some(why);
        self.undo = true;
        self.send(scope);
        Next::Wait
    }

    /// The claims have won, and Redis can't be asked to follow: a repair sees to that.
    fn settled_by_ledger(&mut self, scope: &Scope<'_, '_>) -> Next {
        self.locks.iter().for_each(|taken| scope.shared().repairs.touch(&taken.lock));
        Next::Settled(vec![true; self.locks.len()])
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
            self.read(reply, locks, scope);
        }
        if self.awaited.is_empty() { self.finish(scope) } else { Next::Wait }
    }

    /// The link was lost with what it owed. When it was once too often, locks that may stand for
    /// good are kept as unconfirmed: seen by people, and open to a `SET NX` with the same token.
    pub(super) fn lost(&mut self, scope: &Scope<'_, '_>) -> Next {
        if let Some(refusal) = self.refusal.take() {
            return refusal;
        }
        if let Some(raising) = &self.raising {
            return Next::Ledger(raising.until);
        }
        if let Some(booking) = &self.booking {
            self.link_lost = true;
            if !booking.is_done() {
                return Next::Ledger(booking.until);
            }
            return self.settled_by_ledger(scope);
        }
        if self.reopens_left == 0 {
            return self.leave_unconfirmed(scope);
        }
        self.reopens_left -= 1;
        Next::Reopen
    }

    /// They may stand in Redis for good, and nobody can say so.
    fn leave_unconfirmed(&self, scope: &Scope<'_, '_>) -> Next {
        for Provisional { lock, record, .. } in self.locks.iter().filter(|_| self.persist_sent) {
            scope.shared().table.suspect(lock.clone(), record.clone());
        }
        Next::Unknown
    }

    /// Sends everything, at first or again on a new link.
    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) {
        self.undo = self.refused || scope.client_gone;
        self.send(scope);
    }

    fn send(&mut self, scope: &mut Scope<'_, '_>) {
        self.awaited.clear();
        self.held = vec![false; self.locks.len()];
        self.fences = vec![None; self.locks.len()];
        let here = scope.state.db;
        let mut selected = here;
        let mut from = 0;
        let place = |lock: &Provisional| (lock.lock.db(), lock.persistent);
        while let Some((db, persistent)) = self.locks.get(from).map(place) {
            let same = |lock: &&Provisional| place(lock) == (db, persistent);
            let count = self.locks[from..].iter().take_while(same).count();
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
        if !self.undo && self.locks[locks.clone()].iter().all(|lock| !lock.persistent) {
            self.held[locks].fill(true);
            return;
        }
        self.persist_sent |= !self.undo;
        let fenced = self.fenced && !self.undo;
        let script: &Script = match (self.undo, fenced) {
            (true, _) => &scripts::COMPARE_AND_DELETE,
            (false, true) => &scripts::PERSIST_FENCED,
            (false, false) => &scripts::PERSIST,
        };
        let (name, script) = call(script, self.by_text);
        let mut command = CommandBuilder::new(name);
        command.arg(script);
        command.integer(i64::try_from(locks.len() + usize::from(fenced)).unwrap_or(i64::MAX));
        for provisional in &self.locks[locks.clone()] {
            command.arg(provisional.lock.key());
        }
        if fenced {
            command.arg(&scope.shared().fence_counter);
        }
        for provisional in &self.locks[locks.clone()] {
            command.arg(&provisional.guard);
        }
        if fenced {
            let won = self.booking.as_ref().map_or(0, |booking| booking.fence_high);
            let floor = scope.shared().door.fence_high().max(won);
            command.arg(self.locks[locks.start].lock.db().to_string().as_bytes());
            command.arg(floor.to_string().as_bytes());
        }
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        scope.cx.wires.to_upstream(&bytes);
        self.awaited.push_back(Awaited::Script(locks));
    }

    fn read(&mut self, reply: Option<Reply<'_>>, locks: Range<usize>, scope: &Scope<'_, '_>) {
        let Some(reply) = reply else { return };
        let fenced = self.fenced && !self.undo;
        if fenced && super::acquire::is_forbidden(&reply) {
            self.uncounted = true;
        }
        for (at, element) in locks.zip(reply.elements()) {
            let mark = match Reply::parse(element) {
                Some((Reply::Integer(mark), _)) => mark,
                _ => 0,
            };
            if fenced && mark == -2 {
                self.uncounted = true;
                scope.shared().reports.note(Report::NoCounter);
            }
            self.held[at] = mark > 0;
            self.fences[at] = u64::try_from(mark).ok().filter(|fence| fenced && *fence > 0);
        }
    }

    /// Redis's word is no yes (any more): the claims decide, and then the same is asked again.
    fn claim(&mut self, scope: &mut Scope<'_, '_>) -> Next {
        match Booking::begin(&self.locks, Vec::new(), scope) {
            Ok(booking) => {
                let until = booking.until;
                self.booking = Some(Box::new(booking));
                Next::Ledger(until)
            }
            Err(trouble) => self.take_back(Next::Blocked(trouble), scope),
        }
    }

    /// Redis decides: the ledger is handed what it has granted. False if it does not take all of
    /// it.
    fn grant(&self, scope: &Scope<'_, '_>) -> bool {
        let held = self.locks.iter().zip(&self.held).zip(&self.fences);
        let mut held = held.filter(|((_, held), _)| **held);
        held.all(|((Provisional { lock, record, .. }, _), fence)| {
            scope.grant(lock, &Record { fence: *fence, ..record.clone() })
        })
    }

    /// Redis has answered.
    fn finish(&mut self, scope: &mut Scope<'_, '_>) -> Next {
        if let Some(refusal) = self.refusal.take() {
            return refusal;
        }
        if self.undo {
            return if self.refused { Next::GivenBack } else { Next::Unknown };
        }
        if scope.client_gone {
            return self.take_back(Next::Unknown, scope);
        }
        if std::mem::take(&mut self.uncounted) {
            self.fenced = false;
            if self.booking.is_none() {
                return self.claim(scope);
            }
            self.send(scope);
            return Next::Wait;
        }
        match self.booking.as_mut().map(|booking| std::mem::take(&mut booking.won)) {
            Some(won) => {
                if let Some(until) = self.settle_claims(won, scope) {
                    return Next::Ledger(until);
                }
            }
            None if self.grant(scope) => {}
            None => return self.claim(scope),
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
            claim: None,
            is_resumed: false,
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
