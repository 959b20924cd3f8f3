//! What a store of logs can do (SPEC 8): one primitive, `exchange`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Ask;
use super::entry::{Position, Row, Start};
use super::fold::{Fold, Snapshot};
use crate::lock::record::LockKey;

/// A durable store of logs, used by one reader and writer.
///
/// Calls may block for as long as the medium does; they are made on the ledger's own thread.
pub trait Store: Send {
    /// True if entries have one order, the same for all readers: then a claim on a free key wins
    /// by its place alone.
    fn is_ordered(&self) -> bool;

    /// Registers a new log, writes `start` as its first entry, and gives its number. May be called
    /// again after an error: a log whose registration was unknown stays behind, and is empty.
    ///
    /// # Errors
    /// [`OpenError::Mismatch`] when the store's logs were written under other terms, or what is
    /// there is no ledger that this version can read.
    fn open(&mut self, start: &Start) -> Result<u64, OpenError>;

    /// Makes the own new rows durable, and returns all rows of all logs that this reader has not
    /// seen, in order, the own ones among them. A row that was written before is not written
    /// again, and a row that arrives late changes nothing. Of two exchanges that write, at least
    /// one sees the other's rows. Without own rows it only reads.
    ///
    /// # Errors
    /// After an error nothing counts as seen: the next call returns it. Rows whose fate is
    /// unknown are to be handed in again as they were.
    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError>;

    /// Replaces what stands before `snapshot`'s place by the snapshot, for this and all later
    /// readers. The place is behind all rows that this reader was shown, so the snapshot must be
    /// of a fold that was given all of them. Best effort: what can't be done now is done another
    /// time, and a store that has a snapshot as young from another reader keeps that one.
    ///
    /// # Errors
    /// As `exchange`; the store is unchanged then.
    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// So many sidecars live, this one among them: what a store may ask of its medium is shared by them.
    fn share(&mut self, _sidecars: usize) {}

    /// How long to wait before an exchange, one that writes or one that only reads. An exchange that is
    /// made at once all the same takes as much longer.
    fn rest(&mut self, _writes: bool) -> Duration {
        Duration::ZERO
    }

    /// The last `count` entries on one lock, the newest last, of those that are still kept.
    ///
    /// # Errors
    /// When the medium can't be read.
    fn history(&mut self, key: &LockKey, count: usize) -> Result<Vec<Row>, StoreError>;

    /// Brings what people see of the locks in line with the ledger, where the store has such a thing,
    /// and gives what people ask for there: to be submitted, nobody waits. To be called after each
    /// exchange; it decides by itself what is due.
    ///
    /// # Errors
    /// What stands in the way, for people. The ledger is not concerned by it.
    fn project(&mut self, _truth: &Truth<'_>) -> Result<Vec<Ask>, StoreError> {
        Ok(Vec::new())
    }

    /// True if there is more to do for [`Store::project`] than it has done, and soon: it is to be called
    /// again though nothing was exchanged.
    fn has_more_to_project(&self) -> bool {
        false
    }
}

/// What the ledger knows, for [`Store::project`].
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// All that was read.
    pub fold: &'a Fold,
    /// The own log.
    pub log: u64,
    /// Of all sidecars that live this one is to do it: its log has the lowest number.
    pub is_first: bool,
    /// The logs of all sidecars that live. A claim that another log has left undecided will stay so until
    /// somebody releases it (SPEC 8).
    pub living: &'a BTreeSet<u64>,
    /// Locks have changed since the last call.
    pub is_changed: bool,
    /// Nothing waits to be written: what is to be written for people is to be written by itself.
    pub is_idle: bool,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What an exchange has shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Set when this reader starts, or was left behind by a compaction: the state before `rows`,
    /// in place of all that it knew.
    pub snapshot: Option<Snapshot>,
    /// New rows, in order.
    pub rows: Vec<Row>,
    /// Locks of own claims in this exchange that people hold, says the column where they say it, as it
    /// was after that write (SPEC 8): while Redis is away such a claim is lost.
    pub people: BTreeSet<LockKey>,
}

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// Whether the rows may be durable all the same.
    pub applied: Applied,
    /// For people, without secrets.
    pub text: String,
}

impl StoreError {
    /// Nothing was written.
    pub fn not_applied(text: impl Into<String>) -> Self {
        Self { applied: Applied::No, text: text.into() }
    }

    /// Nobody knows.
    pub fn unknown(text: impl Into<String>) -> Self {
        Self { applied: Applied::Unknown, text: text.into() }
    }
}

/// What is known of rows whose exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// They are not there.
    No,
    /// They may be there, now or later.
    Unknown,
}

/// Why a log could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Other logs of this store were written under other terms (namespace, guarantee, upstream,
    /// a newer format), or it is no ledger: not a matter of time.
    #[error("{0}")]
    Mismatch(String),
    /// The medium failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row's place for a store that has to compare.
pub fn is_before(one: Position, other: Position) -> bool {
    one.log == other.log && one.seq < other.seq
}

/// The lock that an entry speaks of.
pub fn key_of(entry: &super::Entry) -> Option<&LockKey> {
    use super::Entry as E;
    match entry {
        E::Claim(claim) | E::Grant(claim, _) | E::Observe(claim) | E::Prefer(claim, _) => {
            Some(&claim.key)
        }
        E::Extend { key, .. }
        | E::Content { key, .. }
        | E::Release { key, .. }
        | E::Gone { key, .. }
        | E::Withdraw { key, .. }
        | E::Won { key, .. }
        | E::Lost { key, .. }
        | E::Heard { key, .. } => Some(key),
        E::Start(_) | E::Degraded | E::Healthy(_) | E::Heartbeat | E::End => None,
    }
}

/// Holds the terms of a new log against those of a known one.
///
/// # Errors
/// [`OpenError::Mismatch`] that names what differs.
pub fn check_terms(known: &Start, new: &Start) -> Result<(), OpenError> {
    let differs = |what: &str, known: &str, new: &str| {
        Err(OpenError::Mismatch(format!(
            "this ledger was written with {what} {known:?}, and is now opened with {new:?}: give \
             this sidecar another ledger, or the same {what}"
        )))
    };
    if known.namespace != new.namespace {
        return differs("namespace", &known.namespace, &new.namespace);
    }
    if known.upstream != new.upstream {
        return differs("upstream", &known.upstream, &new.upstream);
    }
    if known.guarantee != new.guarantee {
        return differs("guarantee", known.guarantee.word(), new.guarantee.word());
    }
    if known.format > new.format {
        return Err(OpenError::Mismatch(format!(
            "this ledger has format {}, and this version of Lockside reads up to {}: upgrade it",
            known.format, new.format
        )));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing;
