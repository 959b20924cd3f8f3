//! The column that shows people who holds what, and what they say in it (SPEC 8, "Projection").
//!
//! The tab is read as a whole now and then, by the ids of tabs and the headers of columns. `watch` says
//! which cells differ from the ledger, and which of them are a person's word. Rows are found by key.
//!
//! # Nothing is written into a wrong row
//! Between a reading and a write a person may insert, sort, cut, paste or delete, and the API writes to
//! places and has no condition. Row metadata would not do: it stays behind when cells are cut, pasted or shifted, no
//! request of a batch writes by it, and it is too small for many rows. Reading back in the same batch shows
//! that a wrong row was written when it has been. So each write goes through a *sieve* (`sieve`): requests of one
//! batch, which Google applies together and in their order, copy the row's cells and the headers into a
//! hidden tab, remove them there as duplicates if they are what was expected, and copy back what then
//! stands in their place: the new cells if so, else the cells as they were. A word that a person writes
//! in the moment between is kept by the same means.
//!
//! # People's words
//! They become requests to the ledger, which [`crate::ledger::store::Store::project`] hands back: so the ledger stays the
//! truth. A cell is written over only when the ledger says so.
//!
//! Reading order: `terms` (words), `grid` (what was read), `watch` (what it means), `sieve` (requests), `look` (a
//! last look at a person's word); these are pure. `place` finds the tabs, `moves` reads and writes them, `past` remembers what
//! holds have left in cells (`traces` is how a checkpoint has that), and `claims` joins what groups of the ledger have to do with cells.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::ledger::Ask;
use crate::ledger::entry::{Cause, Claim, IN_SHEET, Position};
use crate::lock::record::LockKey;
use crate::lock::value::{Stamp, Unique, stamp};

mod claims;
mod grid;
mod look;
mod moves;
mod past;
mod place;
mod sieve;
mod survey;
mod terms;
pub(super) mod traces;
mod turns;
mod wants;
mod watch;

/// Whether Redis is asked first, as far as cells are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Cells follow the ledger.
    Healthy,
    /// A cell that is filled by somebody means held.
    Degraded,
}

/// A person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Somebody holds the lock.
    Filled {
        /// The lock.
        key: LockKey,
        /// What the cell says.
        holder: String,
        /// Since when: the time in the row, else when the cell was read, in milliseconds since the Unix
        /// epoch.
        at_ms: u64,
    },
    /// The hold of this claim is over.
    Cleared {
        /// The lock.
        key: LockKey,
        /// The claim.
        claim: Position,
    },
    /// The hold of this claim is older than `abandoned_after`, and its cell says free.
    Abandoned {
        /// The lock.
        key: LockKey,
        /// The claim.
        claim: Position,
    },
}

impl Edit {
    /// The lock.
    pub(super) fn key(&self) -> &LockKey {
        match self {
            Self::Filled { key, .. } | Self::Cleared { key, .. } | Self::Abandoned { key, .. } => {
                key
            }
        }
    }

    /// What is to be asked of the ledger. `rule` is the name of the lock's rule; `time` the time of a
    /// [`Edit::Filled`] as stamps have it. All sidecars that read the same row ask for the same value, so
    /// that their claims are one.
    pub(super) fn ask(&self, rule: Arc<str>, time: &str) -> Ask {
        match self {
            Self::Cleared { key, claim } => Ask::Release(key.clone(), *claim, Cause::Sheet),
            Self::Abandoned { key, claim } => Ask::Release(key.clone(), *claim, Cause::Abandoned),
            Self::Filled { key, holder, at_ms } => {
                let hash = Sha256::new().chain_update(holder).chain_update(at_ms.to_be_bytes());
                let hash = hash.chain_update(key.key()).finalize();
                let nonce = u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]));
                let stored = match Unique::new(time, nonce) {
                    Some(unique) => stamp(holder.as_bytes(), Stamp::Always, &unique).into_owned(),
                    None => holder.as_bytes().to_vec(),
                };
                Ask::Claim(Claim {
                    key: key.clone(),
                    stored: stored.into(),
                    other: None,
                    rule,
                    client: IN_SHEET.into(),
                    at_ms: *at_ms,
                    asked_ttl_ms: None,
                    expires_at_ms: None,
                    marker: None,
                })
            }
        }
    }
}

/// The rule of a lock's key, by its name; none for a key that is no lock.
pub type RuleOf = Box<dyn Fn(&[u8]) -> Option<Arc<str>> + Send>;

/// A good time between two readings: a fifth of an account's reads a minute, and a person's word is obeyed within
/// some ten seconds.
pub const POLL: Duration = Duration::from_secs(5);

/// What the store must be told of the projection.
pub struct Setup {
    /// Tab, columns and words.
    pub projection: crate::config::Projection,
    /// Zone of times, where the projection names none.
    pub time_zone: jiff::tz::TimeZone,
    /// How soon cells follow the ledger.
    pub mirror_interval: Duration,
    /// How often the tab is read. [`POLL`] where nothing else is wished.
    pub poll: Duration,
    /// Which locks are locks.
    pub rule: RuleOf,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("projection", &self.projection).finish_non_exhaustive()
    }
}

pub(super) use claims::{Question, call};
pub(super) use moves::Projector;
pub(super) use past::Trace;
pub use survey::TabSurvey;

#[cfg(test)]
mod tests;
