//! The degraded engine: lock commands answered from the lock table while Redis is down (SPEC 6).
//!
//! It evaluates and does nothing else: no I/O, no clock, no write to the table. A command gives
//! its reply and the changes that make it true; the caller makes those durable in the ledger, and
//! sends the reply only if every one of them came true, else it evaluates again. What a command
//! means on a key is Redis 7.0's own meaning, on client values; what a lock keeps of it is the
//! rule's (SPEC 3 and 5).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Rules;
use crate::lock::value::Stamp;
use crate::resp::Args;
use crate::resp::encode::Protocol;
use crate::scripts::Scripts;
use crate::table::Table;

pub mod auth;
mod companions;
mod double;
mod expiry;
mod float;
mod hashes;
mod keys;
mod lists;
mod number;
mod overlay;
mod reply;
mod scan;
mod script;
mod served;
mod set;
mod sets;
mod sorted;
mod steps;
mod strings;
mod transaction;
mod turn;
mod types;

pub use companions::{Bounds, CompanionEffects, Companions, Stale, Waiter};
pub use script::compile;
pub use served::{Denied, questions};
pub use steps::has_passed_a_bound;
pub use transaction::evaluate_transaction;

pub use turn::Words;
use turn::{Stop, Turn};

/// The stored value of a client value, by its rule's mode.
pub type Stamper<'a> = dyn Fn(&[u8], Stamp) -> Arc<[u8]> + 'a;

/// Everything that an evaluation looks at.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Which keys are locks, and which are companions.
    pub rules: &'a Rules,
    /// The held locks, as the ledger has them.
    pub table: &'a Table,
    /// The companions' values.
    pub companions: &'a Companions,
    /// Texts of scripts, for EVALSHA. A text that EVAL runs is kept there at once: that is of no
    /// consequence but for speed.
    pub scripts: &'a Scripts,
    /// True for a command, by its name in lower case, that the client may not use on a key.
    pub denied: &'a dyn Fn(&str, &[u8]) -> bool,
    /// Makes the stored value of a client value; a new one at each call where the value repeats.
    pub stamp: &'a Stamper<'a>,
    /// Milliseconds since the Unix epoch: the one time of the whole evaluation.
    pub now_ms: u64,
    /// How much longer a hold of a `ttl` rule stands after it has run out, in milliseconds: the ledger
    /// gives it to nobody else before `max_clock_skew` has passed (SPEC 3).
    pub grace_ms: u64,
    /// What this lock's hold is taken to be, whatever the table has: of several that it may be, the one whose
    /// client asks.
    pub instead: Option<&'a (LockKey, Record)>,
    /// What is too much.
    pub limits: Limits,
}

/// What is too much for a lock (SPEC 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a lock's client value; a command that would write more is not served.
    pub max_lock_value: usize,
    /// How many databases Redis has.
    pub databases: u32,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The selected database.
    pub db: u32,
    /// The protocol that replies are written in.
    pub protocol: Protocol,
}

/// What has to become durable before the reply goes out. Changes of one evaluation are one
/// exchange: all of them come true, or the command is evaluated again.
#[derive(Debug, Clone)]
pub enum Change {
    /// The key is to be taken: a claim. Comes after the release of the hold before it, if any.
    Take {
        /// The lock.
        key: LockKey,
        /// What is claimed.
        new: Taken,
    },
    /// The hold that was seen goes on with another content (a lock that is no string).
    Content {
        /// The lock.
        key: LockKey,
        /// The hold, as the table had it.
        record: Record,
        /// The mark of the new content ([`crate::lock::content::mark`]).
        to: Arc<[u8]>,
    },
    /// The hold that was seen ends.
    Release {
        /// The lock.
        key: LockKey,
        /// The hold, as the table had it.
        record: Record,
    },
    /// `ttl` rules: the hold that was seen runs out at another time.
    Extend {
        /// The lock.
        key: LockKey,
        /// The hold, as the table had it.
        record: Record,
        /// Milliseconds since the Unix epoch.
        expires_at_ms: u64,
    },
}

/// A lock that is to be taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What is to stand in Redis. Empty for a lock that is no string.
    pub stored: Arc<[u8]>,
    /// The mark of a lock that is no string.
    pub other: Option<Arc<[u8]>>,
    /// The TTL that the client asked for.
    pub asked_ttl_ms: Option<u64>,
    /// `ttl` rules: when it runs out, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
}

/// What a command comes to.
#[derive(Debug)]
pub enum Evaluation {
    /// The client's reply once the changes are durable. The companions change then too, by
    /// [`Companions::apply`], which may ask for another evaluation if there are no changes.
    Done {
        /// All bytes of the reply.
        reply: Vec<u8>,
        /// In key order; a key's release before its take.
        changes: Vec<Change>,
        /// What becomes of companions.
        companions: CompanionEffects,
    },
    /// Nothing is there for a blocking command. The caller registers it by [`Companions::block`]
    /// and evaluates it again each time it is woken, to wait on if it blocks again; past the
    /// timeout, counted from the first evaluation, the client gets a null array, whichever
    /// command it was. [`Companions::unblock`] ends it in any case.
    Block {
        /// What is waited for.
        keys: Vec<LockKey>,
        /// Milliseconds; 0 is for ever.
        timeout_ms: u64,
        /// The command, to be evaluated again.
        command: Vec<Vec<u8>>,
    },
    /// It touches something that only Redis has: a MASTERDOWN error, and nothing is applied.
    NotServed,
}

impl Evaluation {
    /// An error, and nothing is applied.
    fn refused(text: String, caller: &Caller) -> Self {
        let mut reply = Vec::new();
        reply::Reply::error(text).write(caller.protocol, &mut reply);
        let companions = CompanionEffects::default();
        Self::Done { reply, changes: Vec::new(), companions }
    }
}

/// Evaluates one command that is not inside MULTI.
pub fn evaluate(args: Args<'_>, caller: &Caller, world: &World<'_>) -> Evaluation {
    let mut turn = Turn::new(world, caller);
    match turn.run(args) {
        Ok(reply) => turn.done(reply),
        Err(Stop::Error(text)) => turn.done(reply::Reply::error(text)),
        Err(Stop::Refused(text)) => Evaluation::refused(text, caller),
        Err(Stop::NotServed) => Evaluation::NotServed,
        Err(Stop::Block { keys, timeout_ms }) => {
            let command = args.iter().map(<[u8]>::to_vec).collect();
            Evaluation::Block { keys, timeout_ms, command }
        }
    }
}

/// What a watched key's state is: another number when it has changed since. 0 for a key that is
/// not there, or is neither a lock nor a companion.
pub fn version(key: &LockKey, world: &World<'_>) -> u64 {
    if world.rules.find(key.key()).is_none() {
        return world.companions.generation(key, world.now_ms);
    }
    let Some(record) = overlay::standing(world, key) else { return 0 };
    let mut hasher = DefaultHasher::new();
    (&record.stored, record.claim, record.fence, record.granted_at_ms).hash(&mut hasher);
    (record.expires_at_ms, &record.other, &record.marker).hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests;
