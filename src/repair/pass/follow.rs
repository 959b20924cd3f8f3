//! A pass that follows Redis on keys of observed rules (SPEC 6, `observe`): what it may conclude from
//! what it sees, and when. No socket, no clock.
//!
//! One look proves little: a release through Lockside is seen in Redis before the ledger has it, what
//! was read of the ledger may be a moment old, and a Redis that has just become a replica may have lost
//! keys before anybody has noticed. So what would end a hold, delete or put something back is only a
//! [`Sighting`] at first. It counts when the same is seen again, some time later, and Redis has taken
//! a write in between that was asked for after the first look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::plan::Says;
use super::super::plan::follow::{Follow, follow};
use super::super::{Standing, Truth};
use super::{Claim, Found, Guard, Holder, LockKey, Pass, Position, Repair};
use crate::ledger::Ask;
use crate::ledger::entry::{Cause, OBSERVED_ANEW};

/// Most sightings that wait to be confirmed. What is past it is met again.
const MOST_SIGHTINGS: usize = 10_000;
/// Good probes after which one of them has begun, and Redis has taken its write, since the first look.
const PROBES: u64 = 2;
/// How soon a look again says anything new.
const SOON: Duration = Duration::from_millis(500);
/// By then the ledger was read again, and a client's own claim is there.
const READ: Duration = Duration::from_millis(1500);
/// A release that was seen in Redis is in the ledger by then, be that a slow one.
const RELEASED: Duration = Duration::from_secs(3);
/// When it is looked at again what has become of a key that the ledger was told of.
const RELOOK_MS: u64 = 500;
/// What was seen so long ago says nothing any more.
const STALE: Duration = Duration::from_secs(20);

/// Most keys that are remembered to have been empty. What is forgotten is a released value that its
/// owner takes its next lock with: that is deleted as if it had come back by itself.
const MOST_ABSENT: usize = 10_000;

/// What was seen of keys: from one pass to the next.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    /// What was seen once, and is to be confirmed.
    sightings: BTreeMap<LockKey, Sighting>,
    /// Keys without the holder's value when they were last looked at.
    absent: BTreeSet<LockKey>,
    /// Keys that were seen to change since the last pass.
    changed: BTreeSet<LockKey>,
}

impl Signs {
    /// The same, and these keys were seen to change since: no others.
    pub fn with_changed(self, changed: impl IntoIterator<Item = LockKey>) -> Self {
        Self { changed: changed.into_iter().collect(), ..self }
    }
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    what: Sight,
    /// Under which holder.
    holder: Option<Position>,
    since: Duration,
    probes: u64,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sight {
    /// An observed lock does not stand there any more.
    Ended,
    /// A lock that was granted is missing.
    Missing,
    /// A value that was released stands there.
    Anew(Vec<u8>),
    /// A lock with a TTL that the ledger does not know, under a `ttl` rule.
    Taken(Vec<u8>),
    /// Something is to be taken away.
    Doomed(Vec<u8>),
    /// A held lock has a TTL that it should not have: most often its acquire is about to end.
    Unfinished,
}

impl Sight {
    fn wait(&self) -> Duration {
        match self {
            Self::Ended => SOON,
            Self::Missing => RELEASED,
            Self::Anew(_) | Self::Taken(_) | Self::Doomed(_) | Self::Unfinished => READ,
        }
    }
}

/// When, and whether Redis is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time.
    pub now: Duration,
    /// How many probes were good so far.
    pub probes: u64,
    /// The mode is healthy, and the link that the pass uses leads to the run that it is healthy for.
    pub follows: bool,
}

/// What a pass that follows knows besides.
#[derive(Debug)]
pub(super) struct Following {
    databases: Arc<BTreeSet<u32>>,
    signs: Signs,
    moment: Moment,
    /// Keys that are to be looked at again, each after so many milliseconds.
    revisits: Vec<(LockKey, u64)>,
    /// Keys into which this pass has put something: a value there that is released by now is no new
    /// lock of anybody.
    put: BTreeSet<LockKey>,
    /// How many more locks may be taken in, once it was asked.
    room: Option<usize>,
    /// There was no room.
    is_over: bool,
}

impl Pass {
    /// The same, following Redis on keys of observed rules in these databases. [`Pass::at`] is to be
    /// called before every step.
    pub fn following(mut self, databases: Arc<BTreeSet<u32>>, signs: Signs) -> Self {
        self.following = Some(Box::new(Following {
            databases,
            signs,
            moment: Moment::default(),
            revisits: Vec::new(),
            put: BTreeSet::new(),
            room: None,
            is_over: false,
        }));
        self
    }

    /// What holds now.
    pub fn at(&mut self, moment: Moment) {
        let Some(following) = &mut self.following else { return };
        following.moment = moment;
        if !moment.follows {
            following.signs = Signs::default();
        }
    }

    /// Keys to be looked at again, with the milliseconds after which, since the last call.
    pub fn take_revisits(&mut self) -> Vec<(LockKey, u64)> {
        self.following.as_mut().map(|it| std::mem::take(&mut it.revisits)).unwrap_or_default()
    }

    /// What the next pass that follows has to know.
    pub fn take_signs(&mut self) -> Signs {
        self.following.as_mut().map(|it| std::mem::take(&mut it.signs)).unwrap_or_default()
    }

    /// True while Redis is followed on observed keys.
    pub(super) fn is_following(&self) -> bool {
        self.following.as_ref().is_some_and(|following| following.moment.follows)
    }

    /// True if Redis is followed on this key now.
    pub(super) fn follows(&self, key: &LockKey, truth: &dyn Truth) -> bool {
        let Some(following) = &self.following else { return false };
        following.moment.follows
            && following.databases.contains(&key.db())
            && self.policy.rules.find(key.key()).is_some_and(|rule| rule.observe)
            && !following.put.contains(key)
            && !truth.is_dirty(key)
    }

    /// This pass has put a holder's value there.
    pub(super) fn note_put(&mut self, key: &LockKey) {
        if let Some(following) = &mut self.following {
            following.put.insert(key.clone());
        }
    }

    /// What a followed key means, and what comes of it; false if the table of repairs is to say it.
    pub(super) fn is_followed(
        &mut self,
        key: &LockKey,
        found: &Found,
        holder: Option<&Holder>,
        says: Says<'_>,
        truth: &dyn Truth,
        now_ms: u64,
    ) -> bool {
        if !self.follows(key, truth) {
            return false;
        }
        let at = holder.map(|holder| holder.at);
        let is_observed = at.is_some_and(|at| truth.is_observed(key, at));
        self.note_absence(key, found, says);
        match follow(found, says, is_observed, self.terms(key)) {
            Follow::AsPlanned => return false,
            Follow::Leave(_)
                if says.value == Standing::Dead
                    && matches!(found, Found::Other { .. })
                    && !self.has_come_again(key) =>
            {
                return false;
            }
            Follow::Leave(ms) => {
                self.settle(key, at, true);
                self.revisit(key, ms);
            }
            Follow::Ended => self.ended(key, at),
            Follow::Moved(ms) => {
                let to = now_ms.saturating_add(ms);
                self.tell_of(at.map(|at| (at, Ask::Extend(key.clone(), at, to))), key);
            }
            Follow::Anew(_) if !self.has_come_again(key) => return false,
            Follow::Anew(stored) => {
                let as_new = |claim| Claim { client: OBSERVED_ANEW.into(), ..claim };
                match self.is_confirmed(key, Sight::Anew(stored.to_vec()), at) {
                    true => self.take_in(key, stored, truth, now_ms, as_new),
                    false => self.doubt(key, stored, now_ms),
                }
            }
            Follow::Taken(stored, ms) => {
                let expires_at_ms = Some(now_ms.saturating_add(ms));
                let with_end = |claim| Claim { expires_at_ms, ..claim };
                match self.is_confirmed(key, Sight::Taken(stored.to_vec()), at) {
                    true => self.take_in(key, stored, truth, now_ms, with_end),
                    false => drop(self.later.insert(key.clone())),
                }
            }
        }
        true
    }

    /// Notes whether the key has lost the value that the ledger has for it. A release goes to Redis
    /// first: what is there while it waits for the ledger, in a key that has changed, came after it.
    fn note_absence(&mut self, key: &LockKey, found: &Found, says: Says<'_>) {
        let Some(Following { signs, .. }) = self.following.as_deref_mut() else { return };
        let came_after = says.releasing && signs.changed.contains(key);
        if *found == Found::Missing || came_after {
            if signs.absent.len() >= MOST_ABSENT {
                signs.absent.pop_first();
            }
            signs.absent.insert(key.clone());
        } else if says.holder.is_some() {
            signs.absent.remove(key);
        }
    }

    /// True if the released value that stands there has come anew, as far as can be told: it was not
    /// there before, or the key was just seen to change. Else nobody has deleted it yet: a sidecar
    /// that can't reach Redis has released it, for one.
    fn has_come_again(&self, key: &LockKey) -> bool {
        self.following.as_deref().is_some_and(|Following { signs, .. }| {
            let sighting = signs.sightings.get(key).map(|sighting| &sighting.what);
            matches!(sighting, Some(Sight::Anew(_)))
                || signs.absent.contains(key)
                || signs.changed.contains(key)
        })
    }

    /// The observed holder does not stand there any more.
    fn ended(&mut self, key: &LockKey, at: Option<Position>) {
        let confirmed = self.is_confirmed(key, Sight::Ended, at);
        if confirmed {
            self.notes.push(super::Note::Vanished(key.clone()));
        }
        let ask = |at| (at, Ask::Release(key.clone(), at, Cause::Vanished));
        self.tell_of(at.filter(|_| confirmed).map(ask), key);
    }

    /// Tells the ledger what others did to the holder; what came of it is seen later, as is what is
    /// not to be told yet.
    fn tell_of(&mut self, ask: Option<(Position, Ask)>, key: &LockKey) {
        let Some((at, ask)) = ask else {
            self.later.insert(key.clone());
            return;
        };
        self.told.push(ask);
        self.settle(key, Some(at), true);
        self.revisit(key, Some(RELOOK_MS));
    }

    /// True if this repair of a followed key is not to be made yet: it is looked at again.
    pub(super) fn is_too_soon(
        &mut self,
        key: &LockKey,
        repair: Repair<'_>,
        holder: Option<Position>,
        truth: &dyn Truth,
        now_ms: u64,
    ) -> bool {
        if !self.follows(key, truth) {
            return false;
        }
        let (sight, doomed) = match repair {
            Repair::Set { .. } => (Sight::Missing, None),
            Repair::Delete(there) | Repair::Replace { theirs: there, .. } => {
                let (Guard::Value(bytes) | Guard::Other(bytes)) = there;
                (Sight::Doomed(bytes.to_vec()), Some(there))
            }
            Repair::Persist(_) | Repair::Lengthen { .. } => (Sight::Unfinished, None),
            Repair::Adopt(_) | Repair::Follow(_) | Repair::Prefer(_) => return false,
        };
        if self.is_confirmed(key, sight, holder) {
            return false;
        }
        match doomed {
            Some(Guard::Value(stored)) => self.doubt(key, stored, now_ms),
            Some(Guard::Other(_)) | None => drop(self.later.insert(key.clone())),
        }
        true
    }

    /// True if this pass follows, and as many locks are held as may be, so that what stands under this
    /// key is not taken in; else there is one less that may be.
    pub(super) fn is_too_much(&mut self, key: &LockKey, truth: &dyn Truth) -> bool {
        if !self.follows(key, truth) {
            return false;
        }
        let Some(following) = &mut self.following else { return false };
        // What this pass has taken in already may not be counted there yet.
        let room = following.room.get_or_insert_with(|| truth.room());
        if let Some(left) = room.checked_sub(1) {
            *room = left;
            return false;
        }
        if !std::mem::replace(&mut following.is_over, true) {
            self.notes.push(super::Note::TooMany);
        }
        self.settle(key, None, true);
        true
    }

    /// Nothing is left to do about this key: what was seen of it before has passed.
    pub(super) fn forget_sighting(&mut self, key: &LockKey) {
        if let Some(following) = &mut self.following {
            following.signs.sightings.remove(key);
        }
    }

    /// The ledger is asked what it knows of this value, which makes it read on; then it is looked at
    /// again. An observation of a value that is dead changes nothing.
    fn doubt(&mut self, key: &LockKey, stored: &[u8], now_ms: u64) {
        self.observe(key, Guard::Value(stored), now_ms);
        self.later.insert(key.clone());
    }

    /// Has the ledger told of this value, with what is special about it.
    fn take_in(
        &mut self,
        key: &LockKey,
        stored: &[u8],
        truth: &dyn Truth,
        now_ms: u64,
        make: impl FnOnce(Claim) -> Claim,
    ) {
        if self.is_too_much(key, truth) {
            return;
        }
        self.observe(key, Guard::Value(stored), now_ms);
        if let Some(Ask::Observe(claim)) = self.told.pop() {
            self.told.push(Ask::Observe(make(claim)));
        }
        self.notes.push(super::Note::Adopted(key.clone()));
        self.settle(key, None, true);
        self.revisit(key, Some(RELOOK_MS));
    }

    fn revisit(&mut self, key: &LockKey, ms: Option<u64>) {
        if let (Some(following), Some(ms)) = (&mut self.following, ms) {
            following.revisits.push((key.clone(), ms));
        }
    }

    /// True if this was seen before under the same holder, long enough ago; else it is remembered.
    fn is_confirmed(&mut self, key: &LockKey, what: Sight, holder: Option<Position>) -> bool {
        let Some(following) = &mut self.following else { return false };
        let Moment { now, probes, .. } = following.moment;
        let is_same = |known: &Sighting| {
            let age = now.saturating_sub(known.since);
            known.what == what && known.holder == holder && age < STALE
        };
        match following.signs.sightings.get(key) {
            Some(known) if is_same(known) => {
                let age = now.saturating_sub(known.since);
                return age >= what.wait() && probes >= known.probes + PROBES;
            }
            None if following.signs.sightings.len() >= MOST_SIGHTINGS => return false,
            Some(_) | None => {}
        }
        following
            .signs
            .sightings
            .insert(key.clone(), Sighting { what, holder, since: now, probes });
        false
    }
}
