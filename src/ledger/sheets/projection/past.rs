//! What holds that have ended have left in cells: Lockside's own writing, and no person's word. Pure.
//!
//! A cell may still name a holder because its end was not written yet, or because a write came late. Such a cell
//! has the holder and the time of a hold of the past, which stands in the ledger's last rows, or held when this
//! run looked.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::terms::Terms;
use crate::ledger::entry::{Claim, Entry, Row};
use crate::ledger::fold::Holder;
use crate::lock::record::LockKey;

/// Holds of one key that are remembered.
const OF_ONE: usize = 4;
/// Keys that are remembered.
const KEYS: usize = 20_000;

/// Who has held what.
#[derive(Debug, Default)]
pub(super) struct Past {
    left: BTreeMap<LockKey, VecDeque<Arc<Holder>>>,
}

impl Past {
    /// These hold. They count from now on: what they have written is no person's word either.
    pub(super) fn note(&mut self, holders: &[Arc<Holder>]) {
        for holder in holders {
            let key = &holder.claim.key;
            if self.left.len() >= KEYS && !self.left.contains_key(key) {
                self.left.pop_first();
            }
            let of_key = self.left.entry(key.clone()).or_default();
            if of_key.back().is_some_and(|last| last.at == holder.at) {
                continue;
            }
            of_key.push_back(holder.clone());
            if of_key.len() > OF_ONE {
                of_key.pop_front();
            }
        }
    }
}

/// The same beside the ledger's last rows.
pub(super) struct Remnants<'a> {
    pub(super) past: &'a Past,
    pub(super) recent: &'a VecDeque<Row>,
    pub(super) terms: &'a Terms,
    pub(super) names: &'a BTreeMap<String, String>,
    pub(super) index: OnceCell<BTreeMap<&'a LockKey, Vec<&'a Claim>>>,
}

impl Remnants<'_> {
    /// True if a hold of this key has had this holder and this time.
    pub(super) fn has(&self, cell: &str, holder: &str, since: &str) -> bool {
        let Some(key) = self.terms.key_of(cell) else { return false };
        let has_since = !self.terms.settings().since_column.is_empty();
        let is_it = |claim: &Claim| {
            self.terms.holder(claim, self.names) == holder
                && (!has_since || self.terms.time(claim.at_ms) == since)
        };
        if self.past.left.get(&key).into_iter().flatten().any(|holder| is_it(&holder.claim)) {
            return true;
        }
        let index = self.index.get_or_init(|| {
            let mut index = BTreeMap::<_, Vec<_>>::new();
            for row in self.recent {
                if let Entry::Claim(claim) | Entry::Grant(claim, _) | Entry::Observe(claim) =
                    &row.entry
                {
                    index.entry(&claim.key).or_default().push(claim);
                }
            }
            index
        });
        index.get(&key).into_iter().flatten().any(|claim| is_it(claim))
    }
}
