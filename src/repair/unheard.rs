//! `fast`: locks of which Redis may know more than the ledger. Nobody is answered about them by the
//! ledger alone (SPEC 8).
//!
//! While Redis decides, what it grants and releases is in the ledger a moment later. Whoever dies in
//! between leaves a Redis that is right and a ledger that is behind. So a process that begins does not
//! trust the ledger about any lock before it has looked at it in Redis; and a lock that stands in Redis
//! by a grant that the ledger has not heard of is left alone until the ledger knows, or until
//! whoever could still write it has had its time.
//!
//! The repair thread looks and tells, workers ask. Bounded: past the limit every lock counts as unheard
//! of until a pass over all is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lock::record::LockKey;

/// How many locks are remembered of either kind: some 2 MiB.
const LIMIT: usize = 20_000;

/// Those locks.
#[derive(Debug)]
pub struct Unheard {
    /// How many there are, and one for each reason for which all are: so that the common question,
    /// where there are none, is one load.
    count: AtomicUsize,
    state: Mutex<State>,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Redis was not looked at since this process began, but for these locks.
    begins: Option<BTreeSet<LockKey>>,
    /// Redis has a grant that the ledger has not heard of, since then: milliseconds since the Unix
    /// epoch.
    grants: BTreeMap<LockKey, u64>,
    /// There was no room for one.
    overflowed: bool,
}

impl Default for Unheard {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), state: Mutex::default(), limit: LIMIT }
    }
}

impl Unheard {
    /// A process begins in `fast`: nothing is known of Redis yet.
    pub fn begin(&self) {
        let mut state = self.state();
        state.begins.get_or_insert_default();
        self.changed(&state);
    }

    /// Redis has a grant of this lock that the ledger has not heard of.
    pub fn note(&self, key: &LockKey, now_ms: u64) {
        let mut state = self.state();
        if let Some(looked) = &mut state.begins {
            looked.remove(key);
        }
        if state.grants.contains_key(key) {
            return;
        }
        if state.grants.len() < self.limit {
            state.grants.insert(key.clone(), now_ms);
        } else {
            state.overflowed = true;
        }
        self.changed(&state);
    }

    /// Since when that was seen, if it is so.
    pub fn since(&self, key: &LockKey) -> Option<u64> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.state().grants.get(key).copied()
    }

    /// Redis was looked at: it does not know more of this lock than the ledger.
    pub fn settled(&self, key: &LockKey) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.state();
        state.grants.remove(key);
        let limit = self.limit;
        if let Some(looked) = state.begins.as_mut().filter(|looked| looked.len() < limit) {
            looked.insert(key.clone());
        }
        self.changed(&state);
    }

    /// All locks were looked at.
    pub fn all_looked_at(&self) {
        let mut state = self.state();
        state.begins = None;
        self.changed(&state);
    }

    /// A pass over all locks is complete.
    pub fn passed(&self) {
        let mut state = self.state();
        state.overflowed = false;
        self.changed(&state);
    }

    /// Redis is gone: what it has says nothing any more.
    pub fn forget(&self) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.state();
        state.grants.clear();
        state.overflowed = false;
        self.changed(&state);
    }

    /// True if Redis may know more of this lock than the ledger.
    #[inline]
    pub fn contains(&self, key: &LockKey) -> bool {
        self.count.load(Ordering::Acquire) != 0 && self.knows(key)
    }

    fn knows(&self, key: &LockKey) -> bool {
        let state = self.state();
        let unlooked = state.begins.as_ref().is_some_and(|looked| !looked.contains(key));
        unlooked || state.overflowed || state.grants.contains_key(key)
    }

    fn changed(&self, state: &State) {
        let all = usize::from(state.begins.is_some()) + usize::from(state.overflowed);
        self.count.store(state.grants.len() + all, Ordering::Release);
    }

    /// A panic while it was held leaves no half change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> LockKey {
        LockKey::new(0, name.as_bytes())
    }

    #[test]
    fn at_first_all_are_but_for_those_that_were_looked_at() {
        let unheard = Unheard::default();
        assert!(!unheard.contains(&key("a")), "only fast begins");
        unheard.begin();
        assert!(unheard.contains(&key("a")) && unheard.contains(&key("b")));
        unheard.settled(&key("a"));
        assert!(!unheard.contains(&key("a")) && unheard.contains(&key("b")));
        unheard.note(&key("a"), 1);
        unheard.all_looked_at();
        assert!(unheard.contains(&key("a")) && !unheard.contains(&key("b")));
        unheard.settled(&key("a"));
        assert!(!unheard.contains(&key("a")));
    }

    #[test]
    fn the_first_sight_counts_until_it_is_settled_or_redis_is_gone() {
        let unheard = Unheard::default();
        unheard.note(&key("a"), 1);
        unheard.note(&key("a"), 5);
        assert_eq!((unheard.since(&key("a")), unheard.since(&key("b"))), (Some(1), None));
        unheard.forget();
        assert_eq!(unheard.since(&key("a")), None);
        unheard.note(&key("a"), 7);
        assert_eq!(unheard.since(&key("a")), Some(7));
    }

    #[test]
    fn past_the_limit_all_are_until_a_pass_is_complete() {
        let unheard = Unheard { limit: 1, ..Unheard::default() };
        unheard.note(&key("a"), 1);
        unheard.note(&key("b"), 1);
        assert!(unheard.contains(&key("c")));
        unheard.settled(&key("a"));
        assert!(unheard.contains(&key("b")));
        unheard.passed();
        assert!(!unheard.contains(&key("b")));
    }
}
