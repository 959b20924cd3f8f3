//! What holds that have ended have left in cells: Lockside's own writing, and no person's word. Pure.
//!
//! A cell may still name a holder because its end was not written yet, or because a write came late. Such a cell
//! has the holder and the time of a hold of the past, which stand in the ledger's last rows, or were wanted here.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};

use super::terms::Terms;
use super::watch::Want;
use crate::ledger::entry::{Claim, Entry, Row};
use crate::lock::record::LockKey;

/// Holds of one key that are remembered.
const OF_ONE: usize = 4;
/// Keys that are remembered.
const KEYS: usize = 20_000;

/// What was wanted in cells, by the key's cell: holder and time.
#[derive(Debug, Default)]
pub(super) struct Past {
    left: BTreeMap<String, VecDeque<(String, String)>>,
}

impl Past {
    /// These were wanted. They count from now on: what is wanted is no person's word either.
    pub(super) fn note(&mut self, wants: &BTreeMap<String, Want>) {
        for (key, want) in wants {
            if self.left.len() >= KEYS && !self.left.contains_key(key) {
                self.left.pop_first();
            }
            let of_key = self.left.entry(key.clone()).or_default();
            if of_key.back().is_some_and(|last| last.0 == want.holder && last.1 == want.since) {
                continue;
            }
            of_key.push_back((want.holder.clone(), want.since.clone()));
            if of_key.len() > OF_ONE {
                of_key.pop_front();
            }
        }
    }

    fn has(&self, key: &str, is_it: impl Fn(&str, &str) -> bool) -> bool {
        self.left.get(key).into_iter().flatten().any(|(holder, since)| is_it(holder, since))
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
        let has_since = !self.terms.settings().since_column.is_empty();
        let is_it = |one: &str, at: &str| one == holder && (!has_since || at == since);
        if self.past.has(cell, is_it) {
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
        let claims = self.terms.key_of(cell).and_then(|key| index.get(&key));
        claims.into_iter().flatten().any(|claim| {
            is_it(&self.terms.holder(claim, self.names), &self.terms.time(claim.at_ms))
        })
    }
}
