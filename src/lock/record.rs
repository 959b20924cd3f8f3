//! What Lockside knows of one held lock, and how a lock is named. Pure.

use std::borrow::Borrow;
use std::sync::Arc;

/// A lock's name: database and key (SPEC 1). The namespace is this process's upstream.
///
/// Kept as one byte string, the database first, so that a look-up needs no second allocation; and
/// shared, because one acquire puts it into half a dozen places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey(Arc<[u8]>);

impl LockKey {
    /// The lock `key` of database `db`.
    pub fn new(db: u32, key: &[u8]) -> Self {
        Self(db.to_be_bytes().iter().chain(key).copied().collect())
    }

    /// The database's number.
    pub fn db(&self) -> u32 {
        let (db, _) = self.0.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        u32::from_be_bytes(*db)
    }

    /// The key, as the client named it.
    pub fn key(&self) -> &[u8] {
        self.0.get(4..).unwrap_or_default()
    }

    /// The same key in another database (SWAPDB).
    pub fn in_db(&self, db: u32) -> Self {
        Self::new(db, self.key())
    }
}

impl Borrow<[u8]> for LockKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Where an entry stands in the ledger, and so a claim's name: the log it belongs to, and its place
/// there. Logs are numbered by the store, entries of a log from 1; neither number is ever used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The log: one for each run of a sidecar.
    pub log: u64,
    /// The entry's place in its log.
    pub seq: u64,
}

/// How sure Lockside is that somebody knows of the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// The client has been heard of since, or is still connected.
    Held,
    /// The connection ended before another byte came: the reply may never have reached the
    /// caller. A `SET NX` with the same unique value is answered OK (SPEC 3).
    Unconfirmed,
}

impl Confidence {
    /// The word shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// One held lock.
#[derive(Debug, Clone)]
pub struct Record {
    /// What stands in Redis. Empty for a lock that is not a string (a hash, a sorted set).
    pub stored: Arc<[u8]>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// When it was granted, in milliseconds since the Unix epoch.
    pub granted_at_ms: u64,
    /// The TTL that its client asked for, in milliseconds: the virtual TTL that scripts see.
    pub asked_ttl_ms: Option<u64>,
    /// Whether the client is known to have its answer.
    pub confidence: Confidence,
    /// The client's address, or its name if it has set one.
    pub client: Arc<str>,
    /// When it runs out by itself, for a `ttl` rule, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// The ledger's claim that holds it; none for a grant that is not in the ledger (yet).
    pub claim: Option<Position>,
    /// Higher than that of every earlier holder (SPEC 8).
    pub fence: Option<u64>,
    /// What tells a lock that is not a string from the next, and what stands there:
    /// [`crate::lock::content::mark`].
    pub other: Option<Arc<[u8]>>,
    /// Granted without Redis: the grant's marker (SPEC 6).
    pub marker: Option<Arc<str>>,
}
