//! Keys that somebody has seen change in Redis, until the repair thread has looked at them (SPEC 6,
//! `observe`). No socket, no clock; time is handed in.
//!
//! A key here says nothing but "look": it is put in by the tracker of changes, and again by the repair
//! thread for a later look. Bounded: past the limit all of it is forgotten, and all keys are searched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lock::record::LockKey;

/// How many keys may wait, about 3 MiB. Past it a search through all keys costs less.
pub const LIMIT: usize = 20_000;

/// The set.
#[derive(Debug)]
pub struct Watched {
    state: Mutex<State>,
    limit: usize,
    /// How often there was no room.
    overflows: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// When each key is to be looked at, and whether it was seen to change.
    due: BTreeMap<LockKey, (Duration, bool)>,
    /// The same, soonest first.
    order: BTreeSet<(Duration, LockKey)>,
}

impl Default for Watched {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl Watched {
    /// An empty set for at most `limit` keys.
    pub fn with_limit(limit: usize) -> Self {
        Self { state: Mutex::default(), limit, overflows: AtomicU64::new(0) }
    }

    /// This key was seen to change: it is looked at, at `at` or before. False if there is no room:
    /// then nothing waits any more, and all keys are to be searched.
    #[must_use]
    pub fn changed(&self, key: LockKey, at: Duration) -> bool {
        self.put(key, at, true)
    }

    /// The same for a key that is looked at again, whether it has changed or not.
    #[must_use]
    pub fn look(&self, key: LockKey, at: Duration) -> bool {
        self.put(key, at, false)
    }

    fn put(&self, key: LockKey, at: Duration, has_changed: bool) -> bool {
        let mut state = self.state();
        let known = state.due.get(&key).copied();
        let has_changed = has_changed || known.is_some_and(|(_, changed)| changed);
        if let Some((due, _)) = known.filter(|(due, _)| *due <= at) {
            state.due.insert(key, (due, has_changed));
            return true;
        }
        if known.is_none() && state.due.len() >= self.limit {
            *state = State::default();
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if let Some((due, _)) = known {
            state.order.remove(&(due, key.clone()));
        }
        state.order.insert((at, key.clone()));
        state.due.insert(key, (at, has_changed));
        true
    }

    /// Up to `most` keys whose time has come, and whether they were seen to change; they wait no more.
    pub fn take_due(&self, now: Duration, most: usize) -> Vec<(LockKey, bool)> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while taken.len() < most && state.order.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = state.order.pop_first() else { break };
            let has_changed = state.due.remove(&key).is_some_and(|(_, changed)| changed);
            taken.push((key, has_changed));
        }
        taken
    }

    /// When the next key is to be looked at.
    pub fn next_due(&self) -> Option<Duration> {
        self.state().order.first().map(|(at, _)| *at)
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.state().due.len()
    }

    /// True if no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often there was no room.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// A panic while it was held leaves no half change that matters: a key too much or too few.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn key(name: &str) -> LockKey {
        LockKey::new(0, name.as_bytes())
    }

    #[test]
    fn the_soonest_look_counts_and_is_made_once() {
        let watched = Watched::default();
        assert!(watched.look(key("a"), ms(20)) && watched.look(key("b"), ms(30)));
        assert!(watched.look(key("a"), ms(10)) && watched.look(key("a"), ms(40)));
        assert_eq!((watched.next_due(), watched.len()), (Some(ms(10)), 2));
        assert!(watched.take_due(ms(9), 10).is_empty());
        assert!(watched.changed(key("b"), ms(50)));
        assert_eq!(watched.take_due(ms(30), 1), [(key("a"), false)]);
        assert_eq!(watched.take_due(ms(30), 10), [(key("b"), true)]);
        assert!(watched.is_empty() && watched.next_due().is_none());
    }

    #[test]
    fn past_the_limit_nothing_waits_any_more() {
        let watched = Watched::with_limit(2);
        assert!(watched.look(key("a"), ms(1)) && watched.look(key("b"), ms(1)));
        assert!(watched.look(key("a"), ms(0)), "it waits already");
        assert!(!watched.look(key("c"), ms(1)));
        assert!(watched.is_empty() && watched.take_due(ms(9), 9).is_empty());
        assert_eq!(watched.overflows(), 1);
        assert!(watched.look(key("c"), ms(1)));
    }
}
