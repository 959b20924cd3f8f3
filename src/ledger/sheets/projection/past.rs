//! What holds that have ended have left in cells: Lockside's own writing, and no person's word. Pure.
//!
//! A cell may still name a holder because its end was not written yet, because a write came late, or because who
//! wrote it has died. Such a cell has the holder and the time of a hold of the past. It is known by the ledger's
//! last rows, by what held when this run looked, and by what a checkpoint has of the holds before it (`traces`).
//!
//! It is not enough that a time is old, or has Lockside's form: people copy and type such times, and a person who
//! is not obeyed loses more than a lock that waits for its cell to be cleared. So only what a hold of this very
//! key has said counts.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::terms::{Terms, who};
use crate::ledger::entry::{Claim, Entry, Position, Row};
use crate::ledger::fold::{Holder, Snapshot};
use crate::lock::record::LockKey;

/// Holds of one key that are remembered.
const OF_ONE: usize = 4;
/// Keys that are remembered; past that the one goes that was not heard of for longest.
const KEYS: usize = 20_000;
/// Holds that a checkpoint carries on, the last ones: some 100 bytes each, so half of one batch.
const CARRIED: usize = 5_000;

/// What a cell shows of one hold: of a claim's value only that part which is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger::sheets) struct Trace {
    /// The worker, or what a person wrote.
    pub(in crate::ledger::sheets) who: Arc<str>,
    /// The claim's client.
    pub(in crate::ledger::sheets) client: Arc<str>,
    /// The claim's time, in milliseconds since the Unix epoch.
    pub(in crate::ledger::sheets) at_ms: u64,
}

impl Trace {
    fn of(claim: &Claim) -> Self {
        Self { who: who(claim).into(), client: claim.client.clone(), at_ms: claim.at_ms }
    }
}

/// A trace, and how it is known.
#[derive(Debug)]
struct Known {
    trace: Trace,
    /// The claim; none if this run has not read of it: a checkpoint says so.
    at: Option<Position>,
}

#[derive(Debug, Default)]
struct OfKey {
    /// A place in [`Past::ages`].
    age: u64,
    holds: VecDeque<Known>,
}

/// Who has held what.
#[derive(Debug, Default)]
pub(in crate::ledger::sheets) struct Past {
    left: BTreeMap<LockKey, OfKey>,
    /// The keys, the one that was not heard of for longest first.
    ages: BTreeMap<u64, LockKey>,
    age: u64,
}

impl Past {
    /// These hold. They count from now on: what they have written is no person's word either.
    pub(super) fn note(&mut self, holders: &[Arc<Holder>]) {
        let skipped = holders.len().saturating_sub(KEYS);
        for holder in &holders[skipped..] {
            self.add_claim(&holder.claim, holder.at);
        }
    }

    /// What this run starts from. What is claimed there may hold, and have ended, by the rows behind it.
    pub(super) fn start_from(&mut self, snapshot: &Snapshot, told: Vec<(LockKey, Trace)>) {
        for (key, trace) in told {
            self.add(&key, Known { trace, at: None });
        }
        let open = snapshot.undecided.iter().flat_map(|undecided| undecided.parts().open);
        open.for_each(|(at, open)| self.add_claim(&open.claim, at));
        self.note(&snapshot.holders);
    }

    /// These rows are kept no longer; `after` are the ones behind them.
    pub(super) fn read(&mut self, rows: &[Row], after: &VecDeque<Row>) {
        // What was lost was never shown.
        let all = rows.iter().chain(after);
        let lost: BTreeSet<_> = all.filter_map(|row| lost_by(&row.entry)).collect();
        for row in rows {
            if let Some(claim) = claim_of(&row.entry).filter(|_| !lost.contains(&row.at)) {
                self.add_claim(claim, row.at);
            }
        }
    }

    /// What a checkpoint is to carry on, the last ones last.
    pub(super) fn carried(&self) -> Vec<(LockKey, Trace)> {
        let newest = self.ages.values().rev().filter_map(|key| Some((key, self.left.get(key)?)));
        let holds = newest.flat_map(|(key, of_key)| {
            of_key.holds.iter().rev().map(|known| (key.clone(), known.trace.clone()))
        });
        let mut carried: Vec<_> = holds.take(CARRIED).collect();
        carried.reverse();
        carried
    }

    fn add_claim(&mut self, claim: &Claim, at: Position) {
        let last = self.left.get(&claim.key).and_then(|of_key| of_key.holds.back());
        if last.is_none_or(|last| last.at != Some(at)) {
            self.add(&claim.key, Known { trace: Trace::of(claim), at: Some(at) });
        }
    }

    fn add(&mut self, key: &LockKey, known: Known) {
        self.age += 1;
        let of_key = self.left.entry(key.clone()).or_default();
        self.ages.remove(&of_key.age);
        self.ages.insert(self.age, key.clone());
        of_key.age = self.age;
        of_key.holds.retain(|other| other.trace != known.trace);
        of_key.holds.push_back(known);
        if of_key.holds.len() > OF_ONE {
            of_key.holds.pop_front();
        }
        if self.left.len() > KEYS
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.left.remove(&oldest);
        }
    }
}

/// What this entry claims, or says to be held.
fn claim_of(entry: &Entry) -> Option<&Claim> {
    match entry {
        Entry::Claim(claim)
        | Entry::Grant(claim, _)
        | Entry::Observe(claim)
        | Entry::Prefer(claim, _) => Some(claim),
        _ => None,
    }
}

fn lost_by(entry: &Entry) -> Option<Position> {
    match entry {
        Entry::Lost { claim, .. } => Some(*claim),
        _ => None,
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
        self.has_one(cell, &|who, client, at_ms| {
            (!has_since || self.terms.time(at_ms) == since)
                && self.terms.shown(who, client, self.names) == holder
        })
    }

    /// True if a hold of this key has had this time.
    pub(super) fn has_time(&self, cell: &str, since: &str) -> bool {
        self.has_one(cell, &|_, _, at_ms| self.terms.time(at_ms) == since)
    }

    fn has_one(&self, cell: &str, is_it: &dyn Fn(&str, &str, u64) -> bool) -> bool {
        let Some(key) = self.terms.key_of(cell) else { return false };
        let has_since = !self.terms.settings().since_column.is_empty();
        let known = self.past.left.get(&key).into_iter().flat_map(|of_key| &of_key.holds);
        // Without times a name that was told from long ago may as well be a person's.
        let mut known = known.filter(|known| has_since || known.at.is_some()).map(|k| &k.trace);
        if known.any(|trace| is_it(&trace.who, &trace.client, trace.at_ms)) {
            return true;
        }
        let index = self.index.get_or_init(|| {
            let mut index = BTreeMap::<_, Vec<_>>::new();
            for claim in self.recent.iter().filter_map(|row| claim_of(&row.entry)) {
                index.entry(&claim.key).or_default().push(claim);
            }
            index
        });
        let mut recent = index.get(&key).into_iter().flatten();
        recent.any(|claim| is_it(&who(claim), &claim.client, claim.at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{at, claim, row};

    fn held(name: &str, worker: &str, at_ms: u64) -> Claim {
        Claim { at_ms, ..claim(name, &format!("{worker}:a-token-of-sixteen")) }
    }

    fn told(past: &Past) -> Vec<(String, u64)> {
        let all = past.carried().into_iter();
        all.map(|(key, trace)| (String::from_utf8(key.key().to_vec()).unwrap(), trace.at_ms))
            .collect()
    }

    #[test]
    fn of_one_key_the_last_few_are_carried_on_each_once() {
        let mut past = Past::default();
        let rows: Vec<_> =
            (1..=6).map(|n| row(1, n, Entry::Grant(held("a", "93", n), n))).collect();
        past.read(&rows, &VecDeque::new());
        past.read(&rows[5..], &VecDeque::new());
        past.read(&[row(2, 1, Entry::Prefer(held("b", "94", 9), at(1, 1)))], &VecDeque::new());
        let of_a = (3..=6).map(|n| ("a".to_owned(), n));
        assert_eq!(told(&past), of_a.chain([("b".to_owned(), 9)]).collect::<Vec<_>>());
        let (_, trace) = past.carried().remove(0);
        assert_eq!(&*trace.who, "93", "no token");
    }

    #[test]
    fn what_was_lost_is_forgotten_also_when_that_comes_later() {
        let mut past = Past::default();
        let lost = |n| row(1, n + 1, Entry::Lost { key: held("a", "", 0).key, claim: at(1, n) });
        let rows = [
            row(1, 1, Entry::Claim(held("a", "93", 1))),
            lost(1),
            row(1, 3, Entry::Claim(held("a", "94", 3))),
            row(1, 5, Entry::Claim(held("a", "95", 5))),
        ];
        past.read(&rows, &VecDeque::from([lost(3)]));
        assert_eq!(told(&past), [("a".to_owned(), 5)]);
    }

    #[test]
    fn the_keys_that_were_not_heard_of_for_longest_go_first() {
        let mut past = Past::default();
        let grant = |n: u64, name: &str| row(1, n, Entry::Grant(held(name, "93", n), n));
        past.read(&[grant(1, "z"), grant(2, "a")], &VecDeque::new());
        for n in 0..KEYS as u64 - 1 {
            past.read(&[grant(n + 3, &format!("k{n}"))], &VecDeque::new());
        }
        let has = |past: &Past, name: &str| past.left.contains_key(&held(name, "", 0).key);
        assert_eq!((past.left.len(), past.ages.len()), (KEYS, KEYS));
        assert!(!has(&past, "z") && has(&past, "a"));
        assert_eq!(past.carried().len(), CARRIED);
        past.read(&[grant(99_999, "a"), grant(100_000, "new")], &VecDeque::new());
        assert!(has(&past, "a") && !has(&past, "k0"));
    }
}
