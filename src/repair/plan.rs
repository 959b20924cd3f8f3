//! What Redis has × what the ledger says → one guarded repair, or none (SPEC 7). Pure and total.
//!
//! A repair carries the guard that makes it harmless late or twice; it is chosen for one key at one
//! time and never kept for later. No arm of this table stands for cases that it does not name, so
//! that a new case is an error of the compiler.
//!
//! Two rules stand above the rows: the value of a holder is never deleted or overwritten, and a
//! *provisional* key (one with a TTL where locks are persistent) is touched only if its value is the
//! holder's: an acquire is under way there, or its key will run out by itself.

use crate::config::Conflict;
use crate::ledger::Guarantee;
use crate::lock::envelope::Guard;

use super::Standing;

pub mod follow;

/// A TTL in Redis that is shorter than the ledger's by no more than this is right: extends write the
/// ledger after Redis, and clocks differ by milliseconds.
const TTL_SLACK_MS: u64 = 1000;

/// What stands under one key in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A string.
    Value {
        /// Its bytes.
        stored: Vec<u8>,
        /// Its remaining time in milliseconds; none for a permanent one.
        ttl_ms: Option<u64>,
    },
    /// Another type, or a string too long for a lock.
    Other {
        /// `<expiry>:<sha1 of DUMP>` as [`Guard::Other`] has it; a part is `0` or empty where it
        /// can't be told or costs too much to be looked at.
        guard: Vec<u8>,
        /// Its remaining time in milliseconds; none for a permanent one.
        ttl_ms: Option<u64>,
    },
}

/// How much of a hold is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It lasts until its release.
    Forever,
    /// `ttl` rules: milliseconds, at least 1.
    Ms(u64),
    /// `ttl` rules: its time has passed, and no entry has ended it yet.
    RunOut,
}

/// The ledger's holder of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold<'a> {
    /// What it put into Redis.
    pub what: Guard<'a>,
    /// For how long.
    pub left: Left,
}

/// What the ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Says<'a> {
    /// Who holds the key.
    pub holder: Option<Hold<'a>>,
    /// What it knows of the value that stands in Redis; of no account where nothing stands.
    pub value: Standing,
    /// The holder's release waits to become durable: it is never undone by a repair (SPEC 5).
    pub releasing: bool,
}

/// What the configuration says of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Its rule's locks are persistent.
    pub persistent: bool,
    /// What an OK means.
    pub guarantee: Guarantee,
    /// Who is right where Redis and the ledger name two holders (`fast`).
    pub conflict: Conflict,
}

/// What is to be done about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan<'a> {
    /// Nothing, now or later.
    Nothing(Rest),
    /// Nothing now; look again.
    Wait(Why),
    /// Redis can't be brought in line: the holder's content is not in the ledger (a hash, a sorted
    /// set), or what is in its place could not be put back if that were wrong. Redis stays as it is.
    CannotRestore,
    /// This.
    Act(Repair<'a>),
}

/// Why nothing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing there, nobody holds it.
    Free,
    /// The holder stands there as it should.
    Right,
    /// A key that will be finished by its acquire, or runs out.
    Provisional,
    /// Not a string, and unknown: nobody can say whose it is.
    Foreign,
    /// The holder is not a string, and neither is what stands there: its content has changed since
    /// (a reentrant lock counts), so it is taken for the holder's.
    Changed,
    /// The holder's time has passed; the ledger will say so.
    RunOut,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Another's provisional key stands in the holder's place.
    Provisional,
    /// `fast`: a grant stands there that the ledger has not heard of yet.
    Mirror,
    /// The ledger changed between two questions.
    Moved,
    /// The holder's release is on its way into the ledger.
    Releasing,
}

/// One guarded repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair<'a> {
    /// Delete what stands there, if it still does.
    Delete(Guard<'a>),
    /// Set the holder's value where nothing stands.
    Set {
        /// The holder's stored value.
        stored: &'a [u8],
        /// Its remaining time; none for a persistent lock.
        ttl_ms: Option<u64>,
    },
    /// Take the TTL off the holder's key, if it is still the holder's.
    Persist(Guard<'a>),
    /// Give the holder's key at least so much time, if it is still the holder's.
    Lengthen {
        /// The holder's value.
        guard: Guard<'a>,
        /// Its remaining time in milliseconds.
        ttl_ms: u64,
    },
    /// Set the holder's value in place of what stands there, if that still does.
    Replace {
        /// What stands there.
        theirs: Guard<'a>,
        /// The holder's stored value.
        ours: &'a [u8],
        /// Its remaining time; none for a persistent lock.
        ttl_ms: Option<u64>,
        /// What stands there is not known to be dead: two were perhaps told that they hold the lock.
        conflict: bool,
    },
    /// Tell the ledger of the value. Nothing is written to Redis.
    Adopt(&'a [u8]),
    /// Have the ledger take this value's grant for the holder's, though another has the higher fence.
    /// Nothing is written to Redis.
    Prefer(&'a [u8]),
}

/// The repair of one key.
pub fn plan<'a>(found: &'a Found, says: Says<'a>, terms: Terms) -> Plan<'a> {
    if says.releasing && says.holder.is_some() {
        return Plan::Wait(Why::Releasing);
    }
    match found {
        Found::Missing => missing(says.holder),
        Found::Value { stored, ttl_ms } => {
            standing(There { guard: Guard::Value(stored), ttl_ms: *ttl_ms }, says, terms)
        }
        Found::Other { guard, ttl_ms } => {
            standing(There { guard: Guard::Other(guard), ttl_ms: *ttl_ms }, says, terms)
        }
    }
}

/// True if what stands in Redis is what `hold` put there, as the guarded scripts see it.
pub fn is_same(hold: Guard<'_>, there: Guard<'_>) -> bool {
    match (hold, there) {
        (Guard::Value(hold), Guard::Value(there)) => hold == there,
        (Guard::Other(hold), Guard::Other(there)) => is_same_content(hold, there),
        (Guard::Value(_), Guard::Other(_)) | (Guard::Other(_), Guard::Value(_)) => false,
    }
}

/// The same expiry, or the same hash of the content, where they are known.
fn is_same_content(one: &[u8], other: &[u8]) -> bool {
    let ((one_at, one_sum), (other_at, other_sum)) = (split(one), split(other));
    let is_time = !one_at.is_empty() && one_at != b"0" && one_at.iter().all(u8::is_ascii_digit);
    is_time && one_at == other_at || !one_sum.is_empty() && one_sum == other_sum
}

fn split(guard: &[u8]) -> (&[u8], &[u8]) {
    let colon = guard.iter().position(|byte| *byte == b':').unwrap_or(guard.len());
    (&guard[..colon], guard.get(colon + 1..).unwrap_or_default())
}

/// What stands under the key.
#[derive(Clone, Copy)]
struct There<'a> {
    guard: Guard<'a>,
    ttl_ms: Option<u64>,
}

fn missing(holder: Option<Hold<'_>>) -> Plan<'_> {
    let Some(hold) = holder else { return Plan::Nothing(Rest::Free) };
    match (hold.what, hold.left) {
        (Guard::Value(stored), Left::Forever) => Plan::Act(Repair::Set { stored, ttl_ms: None }),
        (Guard::Value(stored), Left::Ms(ms)) => Plan::Act(Repair::Set { stored, ttl_ms: Some(ms) }),
        (Guard::Value(_) | Guard::Other(_), Left::RunOut) => Plan::Nothing(Rest::RunOut),
        (Guard::Other(_), Left::Forever | Left::Ms(_)) => Plan::CannotRestore,
    }
}

fn standing<'a>(there: There<'a>, says: Says<'a>, terms: Terms) -> Plan<'a> {
    let own = says.holder.filter(|hold| is_same(hold.what, there.guard));
    match (own, says.value) {
        (Some(hold), Standing::Holder | Standing::Unknown) => holders(there, hold),
        (Some(_), Standing::Dead | Standing::Disputed) | (None, Standing::Holder) => {
            Plan::Wait(Why::Moved)
        }
        (None, Standing::Disputed) => disputed(there, says.holder, terms),
        (None, Standing::Dead) if !may_be_new(there, terms) => dead(there, says.holder, terms),
        (None, Standing::Dead | Standing::Unknown) => unknown(there, says.holder, terms),
    }
}

/// A grant that has lost by its fence. Where the ledger is right it is as dead as what was released.
/// One that is not for good is no lock of a rule whose locks are.
fn disputed<'a>(there: There<'a>, holder: Option<Hold<'a>>, terms: Terms) -> Plan<'a> {
    match (there.guard, there.ttl_ms, terms) {
        (
            Guard::Value(stored),
            None,
            Terms { conflict: Conflict::Upstream, guarantee: Guarantee::Fast, persistent: true },
        ) => Plan::Act(Repair::Prefer(stored)),
        (Guard::Other(_), _, Terms { guarantee: Guarantee::Fast, .. }) => {
            unknown(there, holder, terms)
        }
        (Guard::Value(_) | Guard::Other(_), _, _) => dead(there, holder, terms),
    }
}

/// The content of a lock that is not a string may be the same at its client's next acquire. In strict
/// that one is in the ledger by the time it is permanent; in fast it may be a grant whose mirror is on
/// its way, which no repair touches.
fn may_be_new(there: There<'_>, terms: Terms) -> bool {
    match (there.guard, terms.guarantee) {
        (Guard::Other(_), Guarantee::Fast) => true,
        (Guard::Other(_), Guarantee::Strict)
        | (Guard::Value(_), Guarantee::Strict | Guarantee::Fast) => false,
    }
}

/// The holder's own value.
fn holders<'a>(there: There<'a>, hold: Hold<'a>) -> Plan<'a> {
    match (hold.left, there.ttl_ms) {
        (Left::Forever, None) => Plan::Nothing(Rest::Right),
        (Left::Forever, Some(_)) => Plan::Act(Repair::Persist(hold.what)),
        (Left::Ms(ms), Some(ttl)) if ms <= ttl.saturating_add(TTL_SLACK_MS) => {
            Plan::Nothing(Rest::Right)
        }
        (Left::Ms(ttl_ms), None | Some(_)) => {
            Plan::Act(Repair::Lengthen { guard: hold.what, ttl_ms })
        }
        (Left::RunOut, None | Some(_)) => Plan::Nothing(Rest::RunOut),
    }
}

/// A value that was released or withdrawn.
fn dead<'a>(there: There<'a>, holder: Option<Hold<'a>>, terms: Terms) -> Plan<'a> {
    let persistent = terms.persistent || holder.is_some_and(|hold| hold.left == Left::Forever);
    match (holder, there.ttl_ms.is_some() && persistent) {
        (None, true) => Plan::Nothing(Rest::Provisional),
        (Some(_), true) => Plan::Wait(Why::Provisional),
        (None, false) => Plan::Act(Repair::Delete(there.guard)),
        (Some(hold), false) => in_place_of_dead(there.guard, hold),
    }
}

fn in_place_of_dead<'a>(theirs: Guard<'a>, hold: Hold<'a>) -> Plan<'a> {
    match (hold.what, hold.left) {
        (Guard::Value(ours), Left::Forever) => replace(theirs, ours, None, false),
        (Guard::Value(ours), Left::Ms(ms)) => replace(theirs, ours, Some(ms), false),
        (Guard::Value(_), Left::RunOut)
        | (Guard::Other(_), Left::Forever | Left::Ms(_) | Left::RunOut) => {
            Plan::Act(Repair::Delete(theirs))
        }
    }
}

/// A value that the ledger has never heard of.
fn unknown<'a>(there: There<'a>, holder: Option<Hold<'a>>, terms: Terms) -> Plan<'a> {
    match (holder, there.ttl_ms) {
        (None, Some(_)) => Plan::Nothing(Rest::Provisional),
        (Some(_), Some(_)) => Plan::Wait(Why::Provisional),
        (None, None) => match there.guard {
            Guard::Value(stored) => Plan::Act(Repair::Adopt(stored)),
            Guard::Other(_) => Plan::Nothing(Rest::Foreign),
        },
        (Some(hold), None) => against(there.guard, hold, terms.guarantee),
    }
}

/// A permanent value that the ledger does not know, in the place of its holder.
fn against<'a>(theirs: Guard<'a>, hold: Hold<'a>, guarantee: Guarantee) -> Plan<'a> {
    match (hold.what, theirs, guarantee) {
        (Guard::Other(_), Guard::Other(_), Guarantee::Strict | Guarantee::Fast) => {
            Plan::Nothing(Rest::Changed)
        }
        (Guard::Value(_), Guard::Value(_) | Guard::Other(_), Guarantee::Fast)
        | (Guard::Other(_), Guard::Value(_), Guarantee::Fast) => Plan::Wait(Why::Mirror),
        (Guard::Value(_), Guard::Other(_), Guarantee::Strict)
        | (Guard::Other(_), Guard::Value(_), Guarantee::Strict) => Plan::CannotRestore,
        (Guard::Value(ours), Guard::Value(_), Guarantee::Strict) => match hold.left {
            Left::Forever => replace(theirs, ours, None, true),
            Left::Ms(ms) => replace(theirs, ours, Some(ms), true),
            Left::RunOut => Plan::Nothing(Rest::RunOut),
        },
    }
}

fn replace<'a>(theirs: Guard<'a>, ours: &'a [u8], ttl_ms: Option<u64>, conflict: bool) -> Plan<'a> {
    Plan::Act(Repair::Replace { theirs, ours, ttl_ms, conflict })
}

#[cfg(test)]
mod tests;
