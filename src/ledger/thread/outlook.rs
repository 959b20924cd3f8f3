//! What the last exchange has shown, for workers that look at it at every command: without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Committer, Fold, Now};
use crate::ledger::committer::Contested;
use crate::ledger::fold::Holder;
use crate::lock::record::LockKey;

/// What the last exchange has shown, for those who look at it at every acquire.
pub(super) struct Outlook {
    /// Until when it is young enough, in milliseconds since `base` (SPEC 2: `ledger_poll` x 2).
    pub(super) calm_until: AtomicU64,
    /// A live sidecar has lost Redis.
    pub(super) others_degraded: AtomicBool,
    /// Another sidecar lives.
    pub(super) has_company: AtomicBool,
    /// The watcher was told of every holder.
    pub(super) was_read: AtomicBool,
    pub(super) fence_high: AtomicU64,
    pub(super) conflicts: AtomicU64,
    /// Some locks are contested...
    has_contested: AtomicBool,
    /// ...these.
    contested: RwLock<Arc<Contested>>,
}

impl Outlook {
    pub(super) fn new() -> Self {
        Self {
            calm_until: AtomicU64::new(0),
            others_degraded: AtomicBool::new(true),
            has_company: AtomicBool::new(true),
            was_read: AtomicBool::new(false),
            fence_high: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            has_contested: AtomicBool::new(false),
            contested: RwLock::default(),
        }
    }

    /// An exchange has ended well.
    pub(super) fn show(&self, committer: &Committer, fold: &Fold, now: Now) {
        self.fence_high.store(fold.fence_high(), Ordering::Release);
        self.others_degraded.store(committer.has_others_degraded(now), Ordering::Release);
        self.has_company.store(committer.has_company(now), Ordering::Release);
        let contested = committer.contested();
        let mut known = self.contested.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known, contested) {
            known.clone_from(contested);
            self.has_contested.store(!contested.is_empty(), Ordering::Release);
        }
        drop(known);
        if let Some(read) = committer.read_since() {
            let until = u64::try_from((read + committer.timing().poll() * 2).as_millis())
                .unwrap_or(u64::MAX);
            self.calm_until.store(until, Ordering::Release);
        }
    }

    /// The claims of which any may hold this lock, if nobody can say which.
    pub(super) fn contested(&self, key: &LockKey) -> Vec<Arc<Holder>> {
        if !self.has_contested.load(Ordering::Acquire) {
            return Vec::new();
        }
        let known = self.contested.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned().unwrap_or_default()
    }
}
