//! The ledger: the durable record of lock events, and the one door to it (SPEC 8).
//!
//! Whoever wants something durable hands [`Ask`]s to a [`Door`] and gets an [`Answer`] once it is
//! durable and everything before it was read. Behind the door one committer writes them in
//! groups. This module and `entry` and `fold` are pure; `committer` is a sans-io machine that a
//! thread drives (`thread`); `sqlite` and `memory` are stores.

use std::sync::Arc;
use std::time::Duration;

use crate::lock::record::LockKey;

pub mod entry;
pub mod fold;
pub mod presence;
pub mod store;

pub mod committer;

pub mod memory;
#[cfg(feature = "sheets")]
pub mod sheets;
pub mod sqlite;
pub mod thread;

pub use entry::{Cause, Claim, ContentChange, Entry, Guarantee, Position, Row, Start};

/// Names one request; never used again within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// Who gets the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A session of a worker: the worker's number, and its name for the session.
    Session(usize, (usize, u32)),
    /// Nobody waits: it is written as soon as it can be, however long that takes.
    Nobody,
}

/// One thing to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// A claim. Dead at once if the lock is held.
    Claim(Claim),
    /// A claim under a `ttl` rule, which ends the holder first if that has run out by more than
    /// `max_clock_skew` at the claim's own time.
    ClaimExpiring(Claim),
    /// `fast`: a grant that Redis has made, with its fence.
    Grant(Claim, u64),
    /// A value found in Redis.
    Observe(Claim),
    /// The grant at this place, which had lost by its fence alone, stands in Redis, and Redis is
    /// right (`conflict = "upstream"`).
    Prefer(Claim, Position),
    /// The hold ends. Names the claim that the asker has seen as the holder.
    Release(LockKey, Position, Cause),
    /// The lock ends, whoever holds it when this is written.
    ReleaseAny(LockKey, Cause),
    /// `fast`: the hold by this value ends, which may be a grant that is not written yet.
    ReleaseValue {
        /// The lock.
        key: LockKey,
        /// What stood in Redis. Empty for a lock that is not a string.
        stored: Arc<[u8]>,
        /// What tells a lock that is not a string from the next.
        other: Option<Arc<[u8]>>,
        /// Why.
        cause: Cause,
        /// A fence that is at least the grant's and below that of every later one, where Redis has
        /// told: then nothing else of the hold need be known ([`Entry::Gone`]).
        fence: Option<u64>,
    },
    /// The holder's expiry moves (`ttl` rules).
    Extend(LockKey, Position, u64),
    /// `ttl` rules: Redis has given this value's lock another end, and the asker does not know the
    /// claim that holds it. The holder's expiry moves, if it has this value. What the ledger does not
    /// know was put into Redis directly, and is observed. What has ended stays so:
    /// [`Outcome::NotHeld`], or [`Outcome::Lost`].
    Renew(Claim),
    /// The content of the holder's lock, which is no string, has changed. [`Outcome::Noted`], or
    /// [`Outcome::NotHeld`] if that can't be: another holds the lock, or it had another content.
    Content {
        /// The lock.
        key: LockKey,
        /// The claim that the asker has seen as the holder. None: whoever holds it, which in `fast`
        /// may be a grant that is not written yet.
        claim: Option<Position>,
        /// From what to what.
        change: ContentChange,
    },
    /// The holder was heard of.
    Heard(LockKey, Position),
    /// The mode changed.
    Degraded,
    /// The mode changed; Redis's `run_id`.
    Healthy(Arc<str>),
}

/// What became of one [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The claim holds the lock: it is the holder now, with this fence (SPEC 8). Also for a value
    /// that was the holder's already.
    Won {
        /// The claim that holds, under whose name it is to be released.
        claim: Position,
        /// Higher than that of every earlier holder.
        fence: u64,
    },
    /// Another holds it, or the value is dead.
    Lost {
        /// The holder, if there is one.
        holder: Option<Arc<fold::Holder>>,
    },
    /// The release ended a hold.
    Released,
    /// There was no such hold (any more).
    NotHeld,
    /// Written.
    Noted,
}

/// The answer to a request: one outcome for each of its asks, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Which request.
    pub ticket: Ticket,
    /// What became of it.
    pub outcomes: Vec<Outcome>,
}

/// What there was to do for [`Door::withdraw`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// Nothing: no claim of the request has won or ever will. It was not written, or has lost.
    Done,
    /// A claim of it may have won. What takes it back goes before everything else that waits to be
    /// written; when that is durable an [`Answer`] follows, under the same ticket, in which every
    /// claim has lost.
    UnderWay,
}

/// Names one question; never used again within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query(pub u64);

/// The answer to a question about a lock.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Which question.
    pub query: Query,
    /// The last entries on the lock, the newest last.
    pub rows: Result<Vec<Row>, Unavailable>,
}

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The store fails, or hangs.
    #[error("the ledger does not answer ({0})")]
    NotAnswering(Arc<str>),
    /// More is waiting than the queue may hold.
    #[error("the ledger is behind: too much is waiting to be written")]
    Full,
}

/// The one door to everything durable. Calls never block.
pub trait Door: Send + Sync {
    /// Writes these together, in one exchange, and answers when they are durable.
    ///
    /// # Errors
    /// When the ledger is known not to answer, or its queue is full: nothing was and nothing will
    /// be written. [`Asker::Nobody`] is never refused for a ledger that does not answer. An
    /// [`Ask::Grant`] is refused from [`Ask::Degraded`] to the next [`Ask::Healthy`]: so no grant by
    /// Redis is told to a client after a claim that was made without Redis.
    fn submit(&self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable>;

    /// The same for several requests with answers and fates of their own, which are first written in
    /// one group: after a crash the ledger has all of them or none.
    ///
    /// # Errors
    /// As for [`Door::submit`]: none of them was, and none will be written.
    fn submit_together(
        &self,
        asker: Asker,
        requests: Vec<Vec<Ask>>,
    ) -> Result<Vec<Ticket>, Unavailable> {
        requests.into_iter().map(|asks| self.submit(asker, asks)).collect()
    }

    /// The asker gives up what it asked for: what is not written yet never will be, and claims that
    /// win are withdrawn. Before [`Withdrawal::Done`], or the answer that follows
    /// [`Withdrawal::UnderWay`], nobody may be told that nothing was acquired (SPEC 3). An answer of
    /// before the call that was still on its way may come all the same: it has won, and is void.
    fn withdraw(&self, ticket: Ticket) -> Withdrawal;

    /// The asker does not wait any more; what it asked for is still to be done.
    fn forget(&self, ticket: Ticket);

    /// None while the ledger answers; else why not.
    fn trouble(&self) -> Option<Arc<str>>;

    /// True while releases of this lock wait to become durable, whether their askers still wait or
    /// have been told so: a repair does not put such a lock back.
    fn is_releasing(&self, key: &LockKey) -> bool;

    /// `fast`: nothing that was read speaks against a grant by Redis alone: the last read is young,
    /// and no other live sidecar has lost Redis (SPEC 2). Read at every acquire: cheap.
    fn is_calm(&self) -> bool {
        true
    }

    /// True while another sidecar writes to the same ledger, so that the lock table may be behind.
    /// Cheap.
    fn has_company(&self) -> bool {
        false
    }

    /// True once the ledger was read since the process began: before, the lock table knows of no lock
    /// that it did not grant itself. Cheap.
    fn was_read(&self) -> bool {
        true
    }

    /// Claims of runs that have not said, or that died before they could say, which of them has won the
    /// lock, where nobody can say it for them (a store without order, SPEC 8): the client of one of them
    /// may have been told OK. Empty for nearly every lock. Cheap.
    fn contested(&self, _key: &LockKey) -> Vec<Arc<fold::Holder>> {
        Vec::new()
    }

    /// `fast`: for how long another sidecar may still have to write what Redis has granted through it
    /// by now. Zero where nobody else can have granted anything by Redis alone. What is read after
    /// that has it (SPEC 8).
    fn mirror_lag(&self) -> Duration {
        Duration::ZERO
    }

    /// The highest fence that was read. Cheap.
    fn fence_high(&self) -> u64 {
        0
    }

    /// How many conflicts were met since the process began (SPEC 8, fast).
    fn conflicts(&self) -> u64 {
        0
    }

    /// True for claims that this run has made.
    fn is_own(&self, _claim: Position) -> bool {
        true
    }

    /// How many groups were written so far: each is one sync of the disk.
    fn writes(&self) -> u64 {
        0
    }

    /// How many asks are not known to be durable.
    fn waiting(&self) -> usize {
        0
    }

    /// Asks for the last `count` entries on a lock: a [`Told`] comes to this session of this
    /// worker.
    ///
    /// # Errors
    /// When too many questions wait, or nothing is kept that could answer.
    fn ask_history(
        &self,
        _key: &LockKey,
        _count: usize,
        _asker: (usize, (usize, u32)),
    ) -> Result<Query, Unavailable> {
        Err(Unavailable::NotAnswering("it keeps no history".into()))
    }
}

/// The key of the counter of fences that sidecars of this namespace share, in Redis's database 0
/// (`fast`, SPEC 8).
pub fn fence_counter(namespace: &str) -> Vec<u8> {
    [b"lockside:fence:", namespace.as_bytes()].concat()
}

#[cfg(test)]
pub(crate) mod testing;
