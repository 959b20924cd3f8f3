//! Repair: brings Redis in line with the ledger (SPEC 7).
//!
//! `plan` is the table: what to do about one key. `pass` drives it over many keys, and `command`
//! makes batches of guarded scripts of its repairs; all three are pure.

use std::sync::Arc;

use crate::ledger::fold::Holder;
use crate::lock::record::LockKey;

pub mod command;
pub mod link;
pub mod pass;
pub mod plan;

/// What the ledger knows of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It holds the lock.
    Holder,
    /// It was released or withdrawn, or has lost: it never holds the lock again.
    Dead,
    /// The ledger has never heard of it.
    Unknown,
}

/// The ledger as it is now. Calls never wait.
pub trait Truth: Send + Sync {
    /// Who holds this lock.
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>>;

    /// What is known of a stored value of this lock.
    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing;

    /// What is known of a lock that is not a string: `guard` as the guarded scripts take it. Only
    /// the holder's is compared by content; so the answer is `Dead` or `Unknown`.
    fn standing_other(&self, _key: &LockKey, _guard: &[u8]) -> Standing {
        Standing::Unknown
    }

    /// All holders.
    fn holders(&self) -> Vec<Arc<Holder>>;
}
