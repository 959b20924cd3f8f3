//! The Redis of the model: one key, and the guarded commands on it.

use super::laws::Twin;

/// Values, and so acquires, in one world at most.
pub(super) const VALUES: usize = 3;

/// What stands under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) value: u8,
    /// Without TTL.
    pub(super) for_good: bool,
}

impl Key {
    /// Everything that can be seen in Redis, nothing included.
    pub(super) fn all() -> impl Iterator<Item = Option<Self>> {
        let keys = (0..2 * VALUES as u8).map(|n| Self { value: n / 2, for_good: n % 2 == 1 });
        std::iter::once(None).chain(keys.map(Some))
    }

    /// One bit for each value that stood there for good.
    pub(super) fn bit(key: Option<Self>) -> u8 {
        key.filter(|key| key.for_good).map_or(0, |key| 1 << key.value)
    }

    /// True if this may have been seen where `bits` have stood for good. What was seen without a
    /// TTL was there with one before.
    pub(super) fn was_seen(key: Option<Self>, bits: u8) -> bool {
        key.is_none_or(|key| bits & 1 << key.value != 0)
    }
}

/// What a repair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Command {
    Delete(u8),
    Set(u8),
    Persist(u8),
    Replace {
        theirs: u8,
        ours: u8,
    },
    /// Nothing to Redis: the ledger hears of the value.
    Tell(u8),
}

impl Command {
    /// What stands there after it.
    pub(super) fn on(self, key: Option<Key>, twin: Twin) -> Option<Key> {
        let for_good = |value| Some(Key { value, for_good: true });
        let is = |value| key.is_some_and(|key| key.value == value);
        let unguarded = twin == Twin::UnguardedRepair;
        match self {
            Self::Delete(value) if is(value) || unguarded => None,
            Self::Set(value) if key.is_none() || unguarded => for_good(value),
            Self::Persist(value) if is(value) => for_good(value),
            Self::Replace { theirs, ours } if is(theirs) || unguarded => for_good(ours),
            _ => key,
        }
    }
}
