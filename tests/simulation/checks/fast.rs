//! `guarantee = "fast"`: two clients may be told that they hold one lock, and then it is reported as a
//! conflict, but for what SPEC 8 names: a sidecar that died with a grant or a release that was not
//! mirrored, and a grant whose release follows it into the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockside::ledger::fold::{Fold, Standing};
use lockside::ledger::{Entry, Position, Row};
use lockside::lock::record::LockKey;

use super::{name, token};
use crate::clock;
use crate::process::books::MIRROR_INTERVAL;
use crate::redis::{Data, Entry as Stored};

/// A release that is in the ledger so soon after its grant settles the dispute (twice the interval,
/// and the exchanges).
const SETTLES: Duration = MIRROR_INTERVAL.saturating_mul(3);

/// Two that hold one lock, as their clients see it.
#[derive(Debug)]
struct Double {
    key: Vec<u8>,
    first: String,
    second: String,
}

/// What is known of grants by Redis.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    all: Vec<Double>,
    /// By token, which process has told of the grant.
    granted_by: BTreeMap<String, u64>,
    /// When each token's first entry was in the ledger, and when its release.
    written: BTreeMap<String, Duration>,
    ended: BTreeMap<String, Duration>,
    places: BTreeMap<Position, String>,
    /// A process has died before it wrote this grant, or this release.
    lost: BTreeSet<String>,
    /// Granted while the ledger took them for dead: a client has taken a lock again with its token.
    again: BTreeSet<String>,
    /// A grant with a higher fence has come after them.
    superseded: BTreeSet<String>,
    reported: BTreeSet<LockKey>,
}

impl Doubles {
    pub(super) fn granted(&mut self, own: String, pid: u64) {
        self.granted_by.insert(own, pid);
    }

    /// A row comes behind all these.
    pub(super) fn before(&mut self, row: &Row, fold: &Fold) {
        let Entry::Grant(claim, fence) = &row.entry else { return };
        if fold.standing(&claim.key, &claim.stored) == Standing::Dead {
            self.again.insert(name(claim.key.key(), &token(&claim.stored)));
        }
        if let Some(holder) = fold.holder(&claim.key)
            && holder.fence < *fence
            && holder.claim.stored != claim.stored
        {
            self.superseded.insert(name(claim.key.key(), &token(&holder.claim.stored)));
        }
    }

    /// A row is in the ledger.
    pub(super) fn read(&mut self, row: &Row) {
        match &row.entry {
            Entry::Grant(claim, _) | Entry::Claim(claim) | Entry::Observe(claim) => {
                let own = name(claim.key.key(), &token(&claim.stored));
                if self.ended.remove(&own).is_some() {
                    // A client takes a lock again with its token: another hold.
                    self.written.remove(&own);
                }
                self.written.entry(own.clone()).or_insert(clock::now());
                self.places.insert(row.at, own);
            }
            Entry::Gone { key, stored, .. } => {
                self.ended.entry(name(key.key(), &token(stored))).or_insert(clock::now());
            }
            Entry::Release { claim, .. } | Entry::Withdraw { claim, .. } => {
                if let Some(own) = self.places.get(claim) {
                    self.ended.entry(own.clone()).or_insert(clock::now());
                }
            }
            _ => {}
        }
    }

    /// A process has died; these were released, by whichever.
    pub(super) fn died(&mut self, pid: u64, released: &BTreeSet<String>) {
        let grants = self.granted_by.iter().filter(|(_, by)| **by == pid).map(|(own, _)| own);
        let grants = grants.filter(|own| !self.written.contains_key(*own));
        let releases = released.iter().filter(|own| !self.ended.contains_key(*own));
        self.lost.extend(grants.chain(releases).cloned());
    }

    /// A client was told so, by a process that may have died meanwhile.
    pub(super) fn released(&mut self, own: String, by_dead: bool) {
        if by_dead && !self.ended.contains_key(&own) {
            self.lost.insert(own);
        }
    }

    /// A hold that the ledger has given to another, which it reports.
    pub(super) fn is_known_lost(&self, key: &[u8], own: &str) -> bool {
        self.superseded.contains(own) && self.reported.contains(&LockKey::new(0, key))
    }

    pub(super) fn is_superseded(&self, own: &str) -> bool {
        self.superseded.contains(own)
    }

    /// The ledger need not have this grant, or its release.
    pub(super) fn is_lost(&self, own: &str) -> bool {
        self.lost.contains(own)
    }

    /// For people: grants of values that were dead in the ledger.
    pub(super) fn again(&self) -> impl Iterator<Item = &String> {
        self.again.iter()
    }

    /// Of all values in Redis, one that the ledger does not know stands in another's place.
    pub(super) fn is_unheard(&self, fold: &Fold, data: &Data) -> bool {
        let in_place = |(key, entry): (&Vec<u8>, &Stored)| {
            let lock = LockKey::new(0, key);
            let own = name(key, &token(&entry.value));
            fold.holder(&lock).is_some()
                && fold.standing(&lock, &entry.value) == Standing::Unknown
                && self.lost.contains(&own)
        };
        data.iter().any(in_place)
    }

    pub(super) fn met(&mut self, key: &[u8], first: String, second: String) {
        self.all.push(Double { key: key.to_vec(), first, second });
    }

    pub(super) fn is_double(&self, key: &[u8]) -> bool {
        self.all.iter().any(|double| double.key == key)
    }

    pub(super) fn reported(&mut self, key: &LockKey) {
        self.reported.insert(key.clone());
    }

    /// A double grant that nobody has heard of.
    pub(super) fn unreported(&self) -> Option<String> {
        let is_known = |double: &&Double| {
            self.reported.contains(&LockKey::new(0, &double.key))
                || [&double.first, &double.second]
                    .into_iter()
                    .any(|own| self.is_lost(own) || self.was_released_soon(own))
        };
        let double = self.all.iter().find(|double| !is_known(double))?;
        Some(format!("no conflict is reported for {} and {}", double.first, double.second))
    }

    fn was_released_soon(&self, own: &str) -> bool {
        let (Some(written), Some(ended)) = (self.written.get(own), self.ended.get(own)) else {
            return false;
        };
        ended.saturating_sub(*written) <= SETTLES
    }
}
