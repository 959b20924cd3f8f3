//! The keys that lock libraries use beside their locks, while Redis is down (SPEC 1 and 6).
//!
//! In memory alone and bounded; all workers share them. An evaluation takes a copy of what it
//! looks at and hands back [`CompanionEffects`]; a key's generation tells whether another was
//! faster. Clients that wait for a push are registered here, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::overlay::{Entry, Value};
use crate::lock::content::Content;
use crate::lock::record::LockKey;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Keys that are there at one time.
    pub keys: usize,
    /// Bytes of all keys and values together.
    pub bytes: usize,
}

impl Default for Bounds {
    /// A signal list holds one element of one byte: room for one for each of a hundred thousand
    /// locks.
    fn default() -> Self {
        Self { keys: 100_000, bytes: 16 << 20 }
    }
}

/// Elements of one key; signal lists have one, queues one for each who waits.
const MOST_ELEMENTS: usize = 16_384;
/// Bytes of one key with what it holds.
const LARGEST: usize = 2 << 20;

/// A client that waits: its worker's number, and the worker's name for its session.
pub type Waiter = (usize, (usize, u32));

/// Another evaluation has changed a companion meanwhile: evaluate again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

/// What one evaluation does to companions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompanionEffects {
    /// Generations of the keys that were looked at.
    seen: Vec<(LockKey, u64)>,
    /// What keys hold afterwards.
    written: Vec<(LockKey, Option<Entry>)>,
    /// Nothing else depends on it, so that it can be evaluated again.
    pub(super) must_be_fresh: bool,
}

impl CompanionEffects {
    /// True when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Notes a key that was looked at, and what it holds afterwards if that changed.
    pub(super) fn note(&mut self, key: LockKey, generation: u64, now: Option<Option<Entry>>) {
        if let Some(entry) = now {
            self.written.push((key.clone(), entry));
        }
        self.seen.push((key, generation));
    }
}

struct Kept {
    entry: Entry,
    generation: u64,
    /// As [`size`] had it.
    size: usize,
}

#[derive(Default)]
struct State {
    kept: HashMap<LockKey, Kept>,
    bytes: usize,
    /// The generation of the last write, of whatever key.
    generation: u64,
    /// Who waits, by arrival, and for what.
    waiting: BTreeMap<u64, (Waiter, Vec<LockKey>)>,
    arrivals: u64,
}

/// All companions that are there.
pub struct Companions {
    state: Mutex<State>,
    bounds: Bounds,
}

impl std::fmt::Debug for Companions {
    /// How many, and nothing of what they hold.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Companions").field("keys", &self.state().kept.len()).finish()
    }
}

impl Default for Companions {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Companions {
    /// None, with room for so many.
    pub fn new(bounds: Bounds) -> Self {
        Self { state: Mutex::default(), bounds }
    }

    /// Makes effects true, once the changes of the same evaluation are durable, and gives the
    /// clients that may go on now, first come first: each is to be evaluated again (and told so
    /// on its own worker). They stay registered until [`Companions::unblock`].
    ///
    /// # Errors
    /// [`Stale`] for an evaluation without changes when another was faster: nothing is applied,
    /// evaluate again. One with changes is durable already and always goes through; of two
    /// writes to one key the later counts.
    pub fn apply(&self, effects: CompanionEffects) -> Result<Vec<Waiter>, Stale> {
        if effects.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = self.state();
        let fresh = |(key, generation): &(LockKey, u64)| state.generation_of(key) == *generation;
        if effects.must_be_fresh && !effects.seen.iter().all(fresh) {
            return Err(Stale);
        }
        let mut pushed = BTreeSet::new();
        for (key, entry) in effects.written {
            if entry.as_ref().is_some_and(|entry| is_list(&entry.value)) {
                pushed.insert(key.clone());
            }
            state.write(key, entry);
        }
        Ok(state.waiters_of(&pushed))
    }

    /// Registers a client that waits for a push to any of `keys`; again for the same keys keeps
    /// its place in the row, for others it starts anew. False when one of them has elements by
    /// now, pushed since the evaluation: nothing is registered, evaluate again.
    #[must_use]
    pub fn block(&self, waiter: Waiter, keys: &[LockKey], now_ms: u64) -> bool {
        let mut state = self.state();
        let has_elements = |key| {
            let entry = state.alive(key, now_ms).map(|kept| &kept.entry.value);
            entry.is_some_and(is_list)
        };
        if keys.iter().any(has_elements) {
            return false;
        }
        let same = |(known, own): &(Waiter, Vec<LockKey>)| *known == waiter && own == keys;
        if !state.waiting.values().any(same) {
            state.waiting.retain(|_, (known, _)| *known != waiter);
            let arrival = state.arrivals;
            state.arrivals += 1;
            state.waiting.insert(arrival, (waiter, keys.to_vec()));
        }
        true
    }

    /// The client waits no more: it was answered, has timed out, or is gone.
    pub fn unblock(&self, waiter: Waiter) {
        self.state().waiting.retain(|_, (known, _)| *known != waiter);
    }

    /// Forgets what has run out. What is not asked for is not noticed otherwise.
    pub fn forget_expired(&self, now_ms: u64) {
        let mut state = self.state();
        let is_past = |kept: &Kept| kept.entry.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let past = state.kept.iter().filter(|(_, kept)| is_past(kept));
        let past: Vec<LockKey> = past.map(|(key, _)| key.clone()).collect();
        past.into_iter().for_each(|key| state.write(key, None));
    }

    /// Forgets everything: Redis serves again, and has its own. Gives all who wait; they are to
    /// be carried over to Redis.
    pub fn clear(&self) -> Vec<Waiter> {
        let mut state = self.state();
        state.kept.clear();
        state.bytes = 0;
        state.generation += 1;
        std::mem::take(&mut state.waiting).into_values().map(|(waiter, _)| waiter).collect()
    }

    /// How many keys there are, those that have run out unseen included.
    pub fn len(&self) -> usize {
        self.state().kept.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes with every write to the key; 0 while it is not there.
    pub(super) fn generation(&self, key: &LockKey, now_ms: u64) -> u64 {
        self.state().alive(key, now_ms).map_or(0, |kept| kept.generation)
    }

    /// What a key holds, and the generation that is compared when effects are applied.
    pub(super) fn find(&self, key: &LockKey, now_ms: u64) -> (Option<Entry>, u64) {
        let state = self.state();
        (state.alive(key, now_ms).map(|kept| kept.entry.clone()), state.generation_of(key))
    }

    /// Whether effects fit into the bounds, once what has run out is gone.
    pub(super) fn makes_room_for(&self, effects: &CompanionEffects, now_ms: u64) -> bool {
        self.has_room_for(effects) || {
            self.forget_expired(now_ms);
            self.has_room_for(effects)
        }
    }

    fn has_room_for(&self, effects: &CompanionEffects) -> bool {
        let state = self.state();
        let (mut keys, mut bytes) = (state.kept.len(), state.bytes);
        let mut grows = false;
        for (key, entry) in &effects.written {
            let size = entry.as_ref().map_or(0, |entry| size(key, entry));
            let earlier = state.kept.get(key);
            let freed = earlier.map_or(0, |kept| kept.size);
            grows |= size > freed;
            if size > freed && entry.as_ref().is_some_and(|entry| is_large(entry, size)) {
                return false;
            }
            keys = (keys + usize::from(entry.is_some())) - usize::from(earlier.is_some());
            bytes = bytes + size - freed;
        }
        !grows || (keys <= self.bounds.keys && bytes <= self.bounds.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every write below leaves the state whole at each step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn alive(&self, key: &LockKey, now_ms: u64) -> Option<&Kept> {
        let kept = self.kept.get(key)?;
        kept.entry.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms).then_some(kept)
    }

    fn generation_of(&self, key: &LockKey) -> u64 {
        self.kept.get(key).map_or(0, |kept| kept.generation)
    }

    fn write(&mut self, key: LockKey, entry: Option<Entry>) {
        self.generation += 1;
        let generation = self.generation;
        let size = entry.as_ref().map_or(0, |entry| size(&key, entry));
        self.bytes += size;
        let earlier = match entry {
            Some(entry) => self.kept.insert(key, Kept { entry, generation, size }),
            None => self.kept.remove(&key),
        };
        self.bytes -= earlier.map_or(0, |kept| kept.size);
    }

    fn waiters_of(&self, keys: &BTreeSet<LockKey>) -> Vec<Waiter> {
        let wanted = self.waiting.values().filter(|(_, own)| own.iter().any(|k| keys.contains(k)));
        wanted.map(|(waiter, _)| *waiter).collect()
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value, Value::Content(content) if matches!(**content, Content::List(_)))
}

/// True for a value that would take long to copy, which each command that changes it does once.
fn is_large(entry: &Entry, size: usize) -> bool {
    let elements = match &entry.value {
        Value::Content(content) => content.len(),
        Value::String(_) | Value::Elsewhere => 0,
    };
    elements > MOST_ELEMENTS || size > LARGEST
}

/// What a key costs, roughly: its bytes, and some for each element.
fn size(key: &LockKey, entry: &Entry) -> usize {
    const OVERHEAD: usize = 32;
    let value = match &entry.value {
        Value::String(text) => text.len(),
        Value::Content(content) => content.to_bytes().len() + content.len() * OVERHEAD,
        Value::Elsewhere => 0,
    };
    key.key().len() + OVERHEAD + value
}
