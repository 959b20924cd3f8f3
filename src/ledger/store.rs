//! What a store of logs can do (SPEC 8): one primitive, `exchange`.

use super::entry::{Position, Row, Start};
use super::fold::Snapshot;

/// A durable store of logs, used by one reader and writer.
///
/// Calls may block for as long as the medium does; they are made on the ledger's own thread.
pub trait Store: Send {
    /// True if entries have one order, the same for all readers: then a claim on a free key wins
    /// by its place alone.
    fn is_ordered(&self) -> bool;

    /// Registers a new log, writes `start` as its first entry, and gives its number.
    ///
    /// # Errors
    /// [`OpenError::Mismatch`] when the store's logs were written under other terms.
    fn open(&mut self, start: &Start) -> Result<u64, OpenError>;

    /// Makes the own new rows durable, and returns all rows of all logs that this reader has not
    /// seen, in order, the own ones among them. A row that was written before is not written
    /// again. Of two exchanges at least one sees the other's rows.
    ///
    /// # Errors
    /// After an error nothing counts as seen: the next call returns it. Rows whose fate is
    /// unknown are to be handed in again as they were.
    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError>;

    /// Replaces what stands before `snapshot`'s position by the snapshot, for this and all later
    /// readers. Best effort: what can't be done now is done another time.
    ///
    /// # Errors
    /// As `exchange`; the store is unchanged then.
    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// The last `count` entries on one lock, the newest last, of those that are still kept.
    ///
    /// # Errors
    /// When the medium can't be read.
    fn history(
        &mut self,
        key: &crate::lock::record::LockKey,
        count: usize,
    ) -> Result<Vec<Row>, StoreError>;
}

/// What an exchange has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// Set when this reader starts, or was left behind by a compaction: the state before `rows`,
    /// in place of all that it knew.
    pub snapshot: Option<Snapshot>,
    /// New rows, in order.
    pub rows: Vec<Row>,
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
    /// a newer format): not a matter of time.
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
