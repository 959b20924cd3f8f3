//! The lock table: every lock granted through this process and not yet released.
//!
//! A [`DashMap`] that workers and the control thread share. No guard of it is ever held across a
//! call that can wait: every method takes what it needs and lets go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};

use crate::ledger::ContentChange;
use crate::ledger::fold::Holder;
use crate::lock::content;
use crate::lock::record::{Confidence, LockKey, Position, Record};

/// All held locks of this process.
#[derive(Debug, Default)]
pub struct Table {
    records: DashMap<LockKey, Record>,
    limit: usize,
    releases: AtomicU64,
    /// How many records there are: to ask the map itself takes all its locks.
    held: AtomicUsize,
    unconfirmed: AtomicUsize,
}

impl Table {
    /// An empty table that takes at most `limit` locks (SPEC 9: 1,000,000 by default).
    pub fn new(limit: usize) -> Self {
        Self { records: DashMap::with_shard_amount(16), limit, ..Self::default() }
    }

    /// True when a lock of this name would pass the limit.
    pub fn is_full_for(&self, key: &LockKey) -> bool {
        self.len() >= self.limit && !self.records.contains_key(key)
    }

    /// How many more locks there may be.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// How many locks are held.
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// True when no lock is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A grant: replaces whatever was known of the key.
    pub fn grant(&self, key: LockKey, record: Record) {
        self.count(&record, 1);
        if let Some(earlier) = self.records.insert(key, record) {
            self.count(&earlier, -1);
        }
    }

    /// A grant that may stand or not: kept as unconfirmed, unless a grant of the key is known that
    /// is sure.
    pub fn suspect(&self, key: LockKey, record: Record) {
        let record = Record { confidence: Confidence::Unconfirmed, ..record };
        match self.records.entry(key) {
            Entry::Occupied(mut known) => {
                if known.get().confidence == Confidence::Unconfirmed {
                    known.insert(record);
                }
            }
            Entry::Vacant(place) => {
                self.count(&record, 1);
                place.insert(record);
            }
        }
    }

    /// The ledger has a holder. `confidence`: what is known of its client, unless the very claim
    /// stands here already.
    pub fn hold(&self, holder: &Holder, confidence: Confidence) {
        let record = record_of(holder, confidence);
        match self.records.entry(holder.claim.key.clone()) {
            // The ledger follows, and is behind: a later grant is on its way there.
            Entry::Occupied(known)
                if known.get().claim.is_none() && known.get().fence > record.fence => {}
            Entry::Occupied(mut known) => {
                self.count(known.get(), -1);
                let earlier = known.get();
                let same = earlier.claim == record.claim
                    || earlier.claim.is_none() && earlier.stored == record.stored;
                let confidence = match (same, holder.heard) {
                    (true, false) => known.get().confidence,
                    (true, true) => Confidence::Held,
                    (false, _) => confidence,
                };
                let record = Record { confidence, ..record };
                self.count(&record, 1);
                known.insert(record);
            }
            Entry::Vacant(place) => {
                self.count(&record, 1);
                place.insert(record);
            }
        }
    }

    /// Redis has given this grant a fence; a later grant is left alone.
    pub fn raise_fence(&self, key: &LockKey, stored: &[u8], fence: u64) {
        if let Some(mut record) = self.records.get_mut(key)
            && *record.stored == *stored
        {
            record.fence = record.fence.max(Some(fence));
        }
    }

    /// The content of a lock that is no string has changed in Redis; the ledger hears of it later.
    pub fn change_content(&self, key: &LockKey, change: &ContentChange) {
        if let Some(mut record) = self.records.get_mut(key)
            && let Some(mark) = record.other.clone()
            && let Some(after) = change.apply(content::split(&mark).1)
        {
            record.other = Some(content::renamed(&mark, &after));
        }
    }

    /// The ledger says that this claim's hold has ended; a later one of the same key stays.
    pub fn free(&self, key: &LockKey, claim: Position) {
        self.releases.fetch_add(1, Ordering::Relaxed);
        let removed = self.records.remove_if(key, |_, record| record.claim == Some(claim));
        if let Some((_, record)) = removed {
            self.count(&record, -1);
        }
    }

    /// `fast`: the hold that Redis has granted with this fence, and that the ledger was not told of yet, has
    /// ended; a later one of the same key stays.
    pub fn free_unwritten(&self, key: &LockKey, fence: u64) {
        self.releases.fetch_add(1, Ordering::Relaxed);
        let is_it = |record: &Record| record.claim.is_none() && record.fence == Some(fence);
        if let Some((_, record)) = self.records.remove_if(key, |_, record| is_it(record)) {
            self.count(&record, -1);
        }
    }

    /// These are all locks that the ledger has. Whoever reads meanwhile finds each of them as it was
    /// before, or as it is now. Grants that the ledger has still to hear of stay.
    pub fn replace(&self, holders: &[Arc<Holder>], confidence: impl Fn(&Holder) -> Confidence) {
        for holder in holders {
            self.hold(holder, confidence(holder));
        }
        let all: HashMap<&LockKey, Position> =
            holders.iter().map(|holder| (&holder.claim.key, holder.at)).collect();
        self.releases.fetch_add(1, Ordering::Relaxed);
        self.keep(|key, record| record.claim.is_none() || record.claim == all.get(key).copied());
    }

    /// A release: the key is free, whoever held it. Gives the record that was there.
    pub fn release(&self, key: &LockKey) -> Option<Record> {
        self.releases.fetch_add(1, Ordering::Relaxed);
        let (_, record) = self.records.remove(key)?;
        self.count(&record, -1);
        Some(record)
    }

    /// A release of exactly this grant; a later one of the same key stays.
    pub fn release_if(&self, key: &LockKey, stored: &[u8]) -> bool {
        self.releases.fetch_add(1, Ordering::Relaxed);
        let removed = self.records.remove_if(key, |_, record| *record.stored == *stored);
        removed.is_some_and(|(_, record)| {
            self.count(&record, -1);
            true
        })
    }

    /// A lock may have been released: what was remembered before is no answer any more.
    pub fn suspect_release(&self) {
        self.releases.fetch_add(1, Ordering::Relaxed);
    }

    /// The record of one lock.
    pub fn find(&self, key: &LockKey) -> Option<Record> {
        self.records.get(key).map(|record| record.clone())
    }

    /// The TTL that the lock's client asked for, in milliseconds.
    pub fn asked_ttl_ms(&self, key: &LockKey) -> Option<u64> {
        self.records.get(key).and_then(|record| record.asked_ttl_ms)
    }

    /// Notes how sure it is that the client knows of this grant; a later grant is left alone.
    pub fn set_confidence(&self, key: &LockKey, stored: &[u8], confidence: Confidence) {
        if let Some(mut record) = self.records.get_mut(key)
            && *record.stored == *stored
        {
            self.count(&record, -1);
            record.confidence = confidence;
            self.count(&record, 1);
        }
    }

    /// Forgets locks of `ttl` rules that have run out, which nobody releases. What the ledger has a
    /// claim of stays until that is ended.
    pub fn forget_expired(&self, now_unix_ms: u64) {
        let stands = |at: u64| at > now_unix_ms;
        self.keep(|_, record| record.claim.is_some() || record.expires_at_ms.is_none_or(stands));
    }

    /// Up to `most` locks of which this is true, in key order; which of them, if there are more, means
    /// nothing.
    pub fn some_where(
        &self,
        most: usize,
        is_so: impl Fn(&LockKey, &Record) -> bool,
    ) -> Vec<(LockKey, Record)> {
        let entries = self.records.iter().filter(|entry| is_so(entry.key(), entry.value()));
        let mut some: Vec<_> =
            entries.take(most).map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        some.sort_by(|(one, _), (other, _)| one.cmp(other));
        some
    }

    /// FLUSHDB: every lock of one database is released.
    pub fn flush_db(&self, db: u32) {
        self.releases.fetch_add(1, Ordering::Relaxed);
        self.keep(|key, _| key.db() != db);
    }

    /// FLUSHALL: every lock is released.
    pub fn flush_all(&self) {
        self.releases.fetch_add(1, Ordering::Relaxed);
        self.keep(|_, _| false);
    }

    /// SWAPDB: the locks of two databases change places.
    pub fn swap_dbs(&self, one: u32, other: u32) {
        self.releases.fetch_add(1, Ordering::Relaxed);
        let moved: Vec<LockKey> = self.keys_where(|key| key.db() == one || key.db() == other);
        let moved: Vec<_> = moved.iter().filter_map(|key| self.records.remove(key)).collect();
        for (key, record) in moved {
            let db = if key.db() == one { other } else { one };
            if let Some(earlier) = self.records.insert(key.in_db(db), record) {
                self.count(&earlier, -1);
            }
        }
    }

    /// A number that grows with every release seen: what was remembered under an older one may
    /// be out of date.
    pub fn releases_seen(&self) -> u64 {
        self.releases.load(Ordering::Relaxed)
    }

    /// All locks that stand at `now_ms` and whose key passes `filter`, in key order.
    pub fn list(&self, now_ms: u64, filter: impl Fn(&[u8]) -> bool) -> Vec<(LockKey, Record)> {
        let mut locks: Vec<(LockKey, Record)> = self
            .records
            .iter()
            .filter(|entry| entry.value().expires_at_ms.is_none_or(|at| at > now_ms))
            .filter(|entry| filter(entry.key().key()))
            .map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect();
        locks.sort_by(|(one, _), (other, _)| one.cmp(other));
        locks
    }

    /// How many grants are unconfirmed.
    pub fn unconfirmed(&self) -> usize {
        self.unconfirmed.load(Ordering::Relaxed)
    }

    fn keep(&self, stays: impl Fn(&LockKey, &Record) -> bool) {
        self.records.retain(|key, record| {
            let stays = stays(key, record);
            if !stays {
                self.count(record, -1);
            }
            stays
        });
    }

    /// A record comes (1) or goes (-1).
    fn count(&self, record: &Record, change: isize) {
        self.held.fetch_add(change as usize, Ordering::Relaxed);
        if record.confidence == Confidence::Unconfirmed {
            self.unconfirmed.fetch_add(change as usize, Ordering::Relaxed);
        }
    }

    fn keys_where(&self, filter: impl Fn(&LockKey) -> bool) -> Vec<LockKey> {
        self.records.iter().map(|entry| entry.key().clone()).filter(|key| filter(key)).collect()
    }
}

/// What the table has of a hold in the ledger.
pub fn record_of(holder: &Holder, confidence: Confidence) -> Record {
    let claim = &holder.claim;
    Record {
        stored: claim.stored.clone(),
        rule: claim.rule.clone(),
        granted_at_ms: claim.at_ms,
        asked_ttl_ms: claim.asked_ttl_ms,
        confidence,
        client: claim.client.clone(),
        expires_at_ms: claim.expires_at_ms,
        claim: Some(holder.at),
        fence: Some(holder.fence),
        other: claim.other.clone(),
        marker: claim.marker.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(expires_at_ms: Option<u64>) -> Record {
        Record {
            stored: b"v"[..].into(),
            rule: "r".into(),
            granted_at_ms: 0,
            asked_ttl_ms: None,
            confidence: Confidence::Held,
            client: "c".into(),
            expires_at_ms,
            claim: None,
            fence: None,
            other: None,
            marker: None,
        }
    }

    fn holder(name: &str, seq: u64) -> Arc<Holder> {
        let claim = crate::ledger::testing::claim(name, "v");
        Arc::new(Holder { at: Position { log: 1, seq }, claim, fence: seq, heard: true })
    }

    #[test]
    fn a_hold_that_was_over_before_it_was_written_is_known_by_its_fence() {
        let (table, key) = (Table::new(10), LockKey::new(0, b"k"));
        table.grant(key.clone(), Record { fence: Some(8), ..record(None) });
        table.free_unwritten(&key, 7);
        assert!(table.find(&key).is_some(), "the same value, taken again");
        table.free_unwritten(&key, 8);
        assert!(table.find(&key).is_none() && table.is_empty());
        table.hold(&holder("k", 8), Confidence::Held);
        table.free_unwritten(&key, 8);
        assert!(table.find(&key).is_some(), "the ledger has it");
    }

    /// A reader that looks all the time never finds a lock missing that is held before and after.
    #[test]
    fn a_lock_that_stays_is_never_missing_while_all_are_replaced() {
        let table = Table::new(10_000);
        let before: Vec<_> = (0..1_000).map(|n| holder(&format!("k{n}"), n)).collect();
        table.replace(&before, |_| Confidence::Held);
        let key = LockKey::new(0, b"k7");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert!(table.find(&key).is_some(), "after {looks} looks");
                    looks += 1;
                }
            });
            for round in 0..50 {
                let (from, seq) = (round % 5, 1_000 * (round + 1));
                let now: Vec<_> =
                    (from..900 + from).map(|n| holder(&format!("k{n}"), seq + n)).collect();
                table.replace(&now, |_| Confidence::Held);
                assert_eq!(table.len(), 900);
            }
            is_over.store(true, Ordering::Relaxed);
            reader.join().expect("it never missed it");
        });
    }

    #[test]
    fn what_the_ledger_has_still_to_hear_of_outlives_a_replacement() {
        let table = Table::new(10);
        table.replace(&[holder("a", 1), holder("b", 2)], |_| Confidence::Held);
        table.grant(LockKey::new(0, b"c"), record(None));
        table.set_confidence(&LockKey::new(0, b"b"), b"v", Confidence::Unconfirmed);
        table.replace(&[holder("b", 2), holder("d", 3)], |_| Confidence::Held);
        let names: Vec<_> = table.list(0, |_| true).into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, ["b", "c", "d"].map(|name| LockKey::new(0, name.as_bytes())));
        let b = table.find(&LockKey::new(0, b"b")).map(|record| record.confidence);
        assert_eq!(b, Some(Confidence::Held), "its client was heard of");
        assert_eq!((table.len(), table.unconfirmed()), (3, 0));
    }

    #[test]
    fn only_what_has_run_out_is_forgotten() {
        let table = Table::new(10);
        for (key, expires_at_ms) in [("never", None), ("later", Some(101)), ("past", Some(100))] {
            table.grant(LockKey::new(0, key.as_bytes()), record(expires_at_ms));
        }
        table.forget_expired(100);
        assert_eq!(table.len(), 2);
        assert!(table.find(&LockKey::new(0, b"past")).is_none());
    }
}
