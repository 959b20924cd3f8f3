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
use crate::lock::content;
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
        /// Its mark as [`Guard::Other`] has it ([`crate::lock::content::mark`]); the time is `0` or
        /// the content empty where it can't be told or costs too much to be looked at.
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
    /// Redis is asked first meanwhile, so that what stands there may be younger than the ledger.
    pub is_asked: bool,
}

/// What is to be done about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan<'a> {
    /// Nothing, now or later.
    Nothing(Rest),
    /// Nothing now; look again.
    Wait(Why),
    /// Redis can't be brought in line: the holder's content is not in the ledger (too large), or what
    /// is in its place can't be told from anything else. Redis stays as it is.
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
    /// Not a string, unknown, and too large to be put back; or (`fast`) one that was released once, and
    /// may have been granted again.
    Foreign,
    /// The holder is not a string, and neither is what stands there, and neither can be told from
    /// anything else: it is taken for the holder's.
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
        /// What the holder has there.
        what: Guard<'a>,
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
        /// What the holder has there.
        ours: Guard<'a>,
        /// Its remaining time; none for a persistent lock.
        ttl_ms: Option<u64>,
        /// What stands there is not known to be dead: two were perhaps told that they hold the lock.
        conflict: bool,
    },
    /// Tell the ledger of what stands there. Nothing is written to Redis.
    Adopt(Guard<'a>),
    /// Tell the ledger that the holder, a lock that is no string, has this mark now. Nothing is
    /// written to Redis.
    Follow(&'a [u8]),
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
        (Guard::Other(hold), Guard::Other(there)) => content::is_same_hold(hold, there),
        (Guard::Value(_), Guard::Other(_)) | (Guard::Other(_), Guard::Value(_)) => false,
    }
}

/// What stands under the key.
#[derive(Clone, Copy)]
struct There<'a> {
    guard: Guard<'a>,
    ttl_ms: Option<u64>,
}

fn missing(holder: Option<Hold<'_>>) -> Plan<'_> {
    let Some(hold) = holder else { return Plan::Nothing(Rest::Free) };
    let what = hold.what;
    match (is_known(what), hold.left) {
        (true, Left::Forever) => Plan::Act(Repair::Set { what, ttl_ms: None }),
        (true, Left::Ms(ms)) => Plan::Act(Repair::Set { what, ttl_ms: Some(ms) }),
        (true | false, Left::RunOut) => Plan::Nothing(Rest::RunOut),
        (false, Left::Forever | Left::Ms(_)) => Plan::CannotRestore,
    }
}

fn standing<'a>(there: There<'a>, says: Says<'a>, terms: Terms) -> Plan<'a> {
    let own = says.holder.filter(|hold| is_same(hold.what, there.guard));
    match (own, says.value) {
        (Some(hold), Standing::Holder | Standing::Unknown) => holders(there, hold),
        (Some(_), Standing::Dead | Standing::Disputed) | (None, Standing::Holder) => {
            Plan::Wait(Why::Moved)
        }
        (None, Standing::Disputed) => disputed(there, says, terms),
        (None, Standing::Dead) if !may_be_new(there, terms) => dead(there, says.holder, terms),
        (None, Standing::Dead) if says.holder.is_none() => Plan::Nothing(Rest::Foreign),
        (None, Standing::Dead | Standing::Unknown) => unknown(there, says, terms),
    }
}

/// A grant that has lost by its fence. Where the ledger is right it is as dead as what was released.
/// One that is not for good is no lock of a rule whose locks are.
fn disputed<'a>(there: There<'a>, says: Says<'a>, terms: Terms) -> Plan<'a> {
    let is_redis_right = terms.conflict == Conflict::Upstream
        && terms.guarantee == Guarantee::Fast
        && terms.persistent
        && there.ttl_ms.is_none();
    match there.guard {
        Guard::Value(stored) if is_redis_right => Plan::Act(Repair::Prefer(stored)),
        Guard::Value(_) | Guard::Other(_) => {
            standing(there, Says { value: Standing::Dead, ..says }, terms)
        }
    }
}

/// The content of a lock that is not a string may be the same at its client's next acquire. In strict
/// that one is in the ledger by the time it is permanent. In fast it may be a grant whose mirror is on
/// its way, which no repair touches; but not once Redis is not asked any more, for what was granted
/// before is mirrored by then (SPEC 8, lock-delay).
fn may_be_new(there: There<'_>, terms: Terms) -> bool {
    match (there.guard, terms.guarantee) {
        (Guard::Other(_), Guarantee::Fast) => terms.is_asked,
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
    match (is_known(hold.what), hold.left) {
        (true, Left::Forever) => replace(theirs, hold.what, None, false),
        (true, Left::Ms(ms)) => replace(theirs, hold.what, Some(ms), false),
        (true, Left::RunOut) | (false, Left::Forever | Left::Ms(_) | Left::RunOut) => {
            Plan::Act(Repair::Delete(theirs))
        }
    }
}

/// A value that the ledger has never heard of.
fn unknown<'a>(there: There<'a>, says: Says<'a>, terms: Terms) -> Plan<'a> {
    match (says.holder, there.ttl_ms) {
        (None, Some(_)) => Plan::Nothing(Rest::Provisional),
        (Some(_), Some(_)) => Plan::Wait(Why::Provisional),
        (None, None) => match is_known(there.guard) {
            true => Plan::Act(Repair::Adopt(there.guard)),
            false => Plan::Nothing(Rest::Foreign),
        },
        (Some(hold), None) => against(there.guard, hold, says.value, terms),
    }
}

/// A permanent value that the ledger does not know, in the place of its holder.
fn against<'a>(theirs: Guard<'a>, hold: Hold<'a>, value: Standing, terms: Terms) -> Plan<'a> {
    if let (Guard::Other(ours), Guard::Other(theirs)) = (hold.what, theirs)
        && let Some(plan) = changed(theirs, ours, hold, value, terms)
    {
        return plan;
    }
    match terms.guarantee {
        Guarantee::Fast => Plan::Wait(Why::Mirror),
        Guarantee::Strict if !is_told(theirs) || !is_known(hold.what) => Plan::CannotRestore,
        Guarantee::Strict => in_place_of(theirs, hold, true),
    }
}

/// What stands there may be what the holder's content has become. While Redis is asked first it is:
/// by a command that the ledger did not hear of. In `strict` that is not so while the ledger alone
/// answers: then it was made late, of something old. None: it has nothing of the holder's, or nobody
/// can tell.
fn changed<'a>(
    theirs: &'a [u8],
    ours: &[u8],
    hold: Hold<'a>,
    value: Standing,
    terms: Terms,
) -> Option<Plan<'a>> {
    let follow = Plan::Act(Repair::Follow(theirs));
    let is_asked = terms.is_asked || terms.guarantee == Guarantee::Fast;
    match (content::of_mark(ours), content::of_mark(theirs)) {
        (Some(ours), Some(theirs)) if !content::shares_a_part(&ours, &theirs) => None,
        (Some(_), Some(_)) if is_asked => Some(follow),
        (Some(_), Some(_)) => Some(in_place_of(Guard::Other(theirs), hold, false)),
        // Neither can be told from anything else.
        _ if !content::is_told(ours) && !content::is_told(theirs) => {
            Some(Plan::Nothing(Rest::Changed))
        }
        // Of one of the two no part is known. What was released is nobody's change.
        (None, _) | (_, None) => (is_asked && value == Standing::Unknown).then_some(follow),
    }
}

fn in_place_of<'a>(theirs: Guard<'a>, hold: Hold<'a>, conflict: bool) -> Plan<'a> {
    match hold.left {
        Left::Forever => replace(theirs, hold.what, None, conflict),
        Left::Ms(ms) => replace(theirs, hold.what, Some(ms), conflict),
        Left::RunOut => Plan::Nothing(Rest::RunOut),
    }
}

fn replace<'a>(
    theirs: Guard<'a>,
    ours: Guard<'a>,
    ttl_ms: Option<u64>,
    conflict: bool,
) -> Plan<'a> {
    Plan::Act(Repair::Replace { theirs, ours, ttl_ms, conflict })
}

/// The holder's value in place of what stands there, which the ledger may not have heard of; none where
/// it can't be put there. Two were perhaps told that they hold the lock.
pub fn put_right<'a>(found: &'a Found, hold: Hold<'a>) -> Option<Repair<'a>> {
    let theirs = match found {
        Found::Value { stored, ttl_ms: None } => Guard::Value(stored),
        Found::Other { guard, ttl_ms: None } => Guard::Other(guard),
        Found::Value { .. } | Found::Other { .. } | Found::Missing => return None,
    };
    let can_be = is_told(theirs) && is_known(hold.what);
    match can_be.then(|| in_place_of(theirs, hold, true))? {
        Plan::Act(repair) => Some(repair),
        Plan::Nothing(_) | Plan::Wait(_) | Plan::CannotRestore => None,
    }
}

/// True if one can tell it from everything else: a string, a content that is known, or a digest.
fn is_told(guard: Guard<'_>) -> bool {
    match guard {
        Guard::Value(_) => true,
        Guard::Other(mark) => content::is_told(mark),
    }
}

/// True if it could be set again: a string, or a content that is known.
fn is_known(guard: Guard<'_>) -> bool {
    match guard {
        Guard::Value(_) => true,
        Guard::Other(mark) => content::of_mark(mark).is_some(),
    }
}

#[cfg(test)]
mod tests;
