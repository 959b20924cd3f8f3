//! How often which repair was done: for `INFO` and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::command::Kind;

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Released or withdrawn values that were deleted.
    pub deleted: AtomicU64,
    /// Locks that Redis lacked.
    pub set: AtomicU64,
    /// Locks whose TTL was taken off.
    pub persisted: AtomicU64,
    /// Locks of `ttl` rules that had less time than the ledger says.
    pub lengthened: AtomicU64,
    /// Values in a holder's place that were replaced.
    pub replaced: AtomicU64,
    /// Of these, values that were not known to be dead: conflicts.
    pub conflicts: AtomicU64,
    /// Values that the ledger did not know and was told of.
    pub adopted: AtomicU64,
    /// Observed locks that others deleted in Redis.
    pub vanished: AtomicU64,
    /// How often a lock was met that can't be put into Redis (a hash, a sorted set).
    pub not_restored: AtomicU64,
    /// Passes that were complete.
    pub complete: AtomicU64,
    /// Passes that were not.
    pub incomplete: AtomicU64,
}

impl Counters {
    /// One more.
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// One more repair.
    pub(super) fn repaired(&self, kind: Kind, conflict: bool) {
        Self::add(match kind {
            Kind::Delete => &self.deleted,
            Kind::Set => &self.set,
            Kind::Persist => &self.persisted,
            Kind::Lengthen => &self.lengthened,
            Kind::Replace => &self.replaced,
        });
        if conflict {
            Self::add(&self.conflicts);
        }
    }

    /// All counts with their names, in a fixed order.
    pub fn list(&self) -> [(&'static str, u64); 11] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("repairs_deleted", read(&self.deleted)),
            ("repairs_set", read(&self.set)),
            ("repairs_persisted", read(&self.persisted)),
            ("repairs_lengthened", read(&self.lengthened)),
            ("repairs_replaced", read(&self.replaced)),
            ("repair_conflicts", read(&self.conflicts)),
            ("repair_adopted", read(&self.adopted)),
            ("repair_vanished", read(&self.vanished)),
            ("repair_not_restored", read(&self.not_restored)),
            ("repair_passes_complete", read(&self.complete)),
            ("repair_passes_incomplete", read(&self.incomplete)),
        ]
    }
}
