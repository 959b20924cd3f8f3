//! Locks that were changed without Redis knowing of it: until their repair was seen to be done, they
//! are served from the lock table and not by asking Redis.
//!
//! Workers put keys in and ask about keys, the repair thread takes them out. Bounded: past the limit
//! every lock counts as dirty until a full pass that began afterwards is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lock::record::LockKey;

/// How many keys are remembered: about 2 MiB. Past it a full pass costs less than one for each key.
pub const LIMIT: usize = 20_000;

/// Names one touch of a key; later ones are higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch(u64);

/// The set.
#[derive(Debug)]
pub struct Dirty {
    /// Keys in the set, and one more while it has overflowed: so that the common question, about an
    /// empty set, is one load.
    count: AtomicUsize,
    state: Mutex<State>,
    bell: Condvar,
    limit: usize,
    /// Grows when repairs begin and when they end: odd while some are being made.
    activity: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    touched: BTreeMap<LockKey, Entry>,
    last: u64,
    /// The last touch for which there was no room.
    overflow: Option<Touch>,
    /// A pass over all locks is wanted.
    asked: bool,
    /// Something happened since the repair thread last waited.
    rung: bool,
    /// Holders that this process has put into Redis: until their hold ends.
    put: BTreeSet<LockKey>,
}

#[derive(Debug)]
struct Entry {
    touch: Touch,
    /// A hold on the key that has ended, of a lock that is not a string.
    ended: Option<Arc<[u8]>>,
    /// Redis is asked about it all the same.
    is_quiet: bool,
}

impl Default for Dirty {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl Dirty {
    /// An empty set for at most `limit` keys.
    pub fn with_limit(limit: usize) -> Self {
        let (count, state, bell) = Default::default();
        Self { count, state, bell, limit, activity: AtomicU64::new(0) }
    }

    /// Redis may be wrong about this lock. To be called before the change is told to anybody.
    pub fn touch(&self, key: LockKey) {
        self.insert(key, None, false);
    }

    /// The same for the end of a hold on a lock that is not a string, by its guard: the ledger does not
    /// keep its content, so that nobody else could tell that what Redis has is released.
    pub fn touch_ended(&self, key: LockKey, guard: Arc<[u8]>) {
        self.insert(key, Some(guard), false);
    }

    /// The holder of this lock is about to be put into Redis, by what the ledger says. Its release may
    /// have reached Redis through another sidecar and not be in the ledger yet. Past the limit none is
    /// remembered: then a background pass finds what is left.
    pub fn note_put(&self, key: LockKey) {
        let mut state = self.state();
        if state.put.len() < self.limit {
            state.put.insert(key);
        }
    }

    /// The ledger says that a hold has ended. If it is one that this process has put into Redis, it may
    /// have come there after its release: it is looked at once more. Redis is asked about it meanwhile:
    /// in `fast` it may have given the lock to another by now, of whom the ledger has not heard.
    pub fn freed(&self, key: &LockKey) {
        if self.state().put.remove(key) {
            self.insert(key.clone(), None, true);
        }
    }

    /// The same where the ledger does not say which.
    pub fn all_freed(&self) {
        let put = std::mem::take(&mut self.state().put);
        put.into_iter().for_each(|key| self.insert(key, None, true));
    }

    /// Nobody knows which locks Redis is wrong about: only a full pass can tell.
    pub fn touch_all(&self) {
        let mut state = self.state();
        state.last += 1;
        state.overflow = Some(Touch(state.last));
        self.changed(state);
        self.ring();
    }

    /// Somebody wants all locks compared with the ledger, as it is done in the background: nothing
    /// is taken for wrong meanwhile.
    pub fn ask_for_pass(&self) {
        self.state().asked = true;
        self.ring();
    }

    /// True while a pass is asked for and has not begun.
    pub(super) fn has_been_asked(&self) -> bool {
        self.state().asked
    }

    /// The pass that was asked for begins.
    pub(super) fn take_asked(&self) {
        self.state().asked = false;
    }

    /// The guard of the last such hold, as long as the key is in the set.
    pub fn ended(&self, key: &LockKey) -> Option<Arc<[u8]>> {
        self.state().touched.get(key).and_then(|entry| entry.ended.clone())
    }

    fn insert(&self, key: LockKey, ended: Option<Arc<[u8]>>, is_quiet: bool) {
        let mut state = self.state();
        state.last += 1;
        let touch = Touch(state.last);
        if let Some(entry) = state.touched.get_mut(&key) {
            entry.touch = touch;
            entry.ended = ended.or_else(|| entry.ended.take());
            entry.is_quiet &= is_quiet;
        } else if state.touched.len() < self.limit {
            state.touched.insert(key, Entry { touch, ended, is_quiet });
        } else if !is_quiet {
            state.overflow = Some(touch);
        }
        self.changed(state);
        self.ring();
    }

    /// Repairs begin to be made.
    pub fn begin(&self) {
        self.activity.fetch_add(1, Ordering::AcqRel);
    }

    /// Those repairs have been made.
    pub fn end(&self) {
        self.activity.fetch_add(1, Ordering::AcqRel);
    }

    /// Odd while repairs are being made; the same number twice: none were made in between.
    pub fn activity(&self) -> u64 {
        self.activity.load(Ordering::Acquire)
    }

    /// True while Redis may be wrong about this lock. One atomic load while the set is empty.
    #[inline]
    pub fn contains(&self, key: &LockKey) -> bool {
        self.count.load(Ordering::Acquire) != 0 && self.knows(key)
    }

    /// How many keys wait to be repaired.
    pub fn len(&self) -> usize {
        self.state().touched.len()
    }

    /// True if Redis is right about all locks.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// True while only a full pass can tell which locks Redis is wrong about.
    pub fn has_overflowed(&self) -> bool {
        self.state().overflow.is_some()
    }

    /// Up to `most` keys behind `after`, in order, then from the first on; each with its last touch.
    pub fn batch(&self, after: Option<&LockKey>, most: usize) -> Vec<(LockKey, Touch)> {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = state.touched.range::<LockKey, _>((from, Bound::Unbounded));
        let is_before = |key: &LockKey| after.is_some_and(|after| key <= after);
        let before = state.touched.iter().take_while(|(key, _)| is_before(key));
        behind.chain(before).take(most).map(|(key, entry)| (key.clone(), entry.touch)).collect()
    }

    /// The repair was seen to be done, by a look that came after `touch`. A key that was touched
    /// since stays.
    pub fn clean(&self, key: &LockKey, touch: Touch) {
        let mut state = self.state();
        if state.touched.get(key).is_some_and(|entry| entry.touch == touch) {
            state.touched.remove(key);
        }
        self.changed(state);
    }

    /// What was touched by now: taken before a full pass begins.
    pub fn mark(&self) -> Touch {
        Touch(self.state().last)
    }

    /// A full pass that began at `mark` is complete.
    pub fn passed(&self, mark: Touch) {
        let mut state = self.state();
        state.overflow = state.overflow.filter(|overflow| *overflow > mark);
        self.changed(state);
    }

    /// Wakes who waits.
    pub fn ring(&self) {
        self.state().rung = true;
        self.bell.notify_one();
    }

    /// Waits until something is touched or [`Dirty::ring`] is called, also since the last wait, or
    /// the time is over. For the repair thread alone.
    pub(super) fn wait(&self, longest: Duration) {
        let waiting = self.bell.wait_timeout_while(self.state(), longest, |state| !state.rung);
        let (mut state, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
    }

    fn knows(&self, key: &LockKey) -> bool {
        let state = self.state();
        state.overflow.is_some() || state.touched.get(key).is_some_and(|entry| !entry.is_quiet)
    }

    fn changed(&self, state: MutexGuard<'_, State>) {
        let count = state.touched.len() + usize::from(state.overflow.is_some());
        self.count.store(count, Ordering::Release);
    }

    /// A panic while it was held leaves no half change: each is one step of the map.
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

    fn names(batch: &[(LockKey, Touch)]) -> Vec<String> {
        batch.iter().map(|(key, _)| String::from_utf8_lossy(key.key()).into_owned()).collect()
    }

    #[test]
    fn a_key_leaves_only_if_it_was_not_touched_since() {
        let dirty = Dirty::default();
        assert!(dirty.is_empty() && !dirty.contains(&key("a")));
        dirty.touch(key("a"));
        let seen = dirty.batch(None, 10);
        dirty.touch(key("a"));
        dirty.clean(&key("a"), seen[0].1);
        assert!(dirty.contains(&key("a")) && !dirty.contains(&key("b")));
        let seen = dirty.batch(None, 10);
        dirty.clean(&key("a"), seen[0].1);
        assert!(dirty.is_empty() && !dirty.contains(&key("a")));
    }

    #[test]
    fn the_end_of_a_hold_that_was_put_there_is_looked_at() {
        let dirty = Dirty::default();
        dirty.note_put(key("a"));
        dirty.freed(&key("b"));
        assert!(dirty.is_empty(), "only what was put there");
        dirty.freed(&key("a"));
        assert_eq!(names(&dirty.batch(None, 10)), ["a"]);
        assert!(!dirty.contains(&key("a")), "Redis is asked");
        dirty.touch(key("a"));
        assert!(dirty.contains(&key("a")));
        dirty.clean(&key("a"), dirty.mark());
        dirty.freed(&key("a"));
        assert!(dirty.is_empty(), "once");
        dirty.note_put(key("c"));
        dirty.all_freed();
        assert_eq!(names(&dirty.batch(None, 10)), ["c"]);
    }

    #[test]
    fn what_has_ended_is_remembered_until_the_key_is_clean() {
        let dirty = Dirty::default();
        dirty.touch_ended(key("a"), b"5:aa"[..].into());
        dirty.touch(key("a"));
        assert_eq!(dirty.ended(&key("a")).as_deref(), Some(&b"5:aa"[..]));
        dirty.clean(&key("a"), dirty.mark());
        assert_eq!(dirty.ended(&key("a")), None);
    }

    #[test]
    fn batches_go_round() {
        let dirty = Dirty::default();
        ["c", "a", "b", "d"].into_iter().for_each(|name| dirty.touch(key(name)));
        assert_eq!(names(&dirty.batch(None, 3)), ["a", "b", "c"]);
        assert_eq!(names(&dirty.batch(Some(&key("c")), 3)), ["d", "a", "b"]);
        assert_eq!(names(&dirty.batch(Some(&key("d")), 9)), ["a", "b", "c", "d"]);
        assert_eq!(names(&dirty.batch(Some(&key("bb")), 9)), ["c", "d", "a", "b"]);
    }

    #[test]
    fn past_the_limit_all_is_dirty_until_a_pass_that_began_later() {
        let dirty = Dirty::with_limit(1);
        dirty.touch(key("a"));
        assert!(!dirty.has_overflowed());
        let early = dirty.mark();
        dirty.touch(key("b"));
        assert!(dirty.has_overflowed() && dirty.contains(&key("z")));
        dirty.passed(early);
        assert!(dirty.contains(&key("b")));
        dirty.passed(dirty.mark());
        assert!(!dirty.has_overflowed() && !dirty.contains(&key("b")));
        assert!(dirty.contains(&key("a")));
    }

    #[test]
    fn a_ring_before_the_wait_is_heard() {
        let dirty = Dirty::default();
        dirty.touch(key("a"));
        // Would hang for an hour if it were not.
        dirty.wait(Duration::from_secs(3600));
    }
}
