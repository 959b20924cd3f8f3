//! The locks of an export into a ledger, in one exchange: all of them or none.
//!
//! What the ledger says stands above the export, which is older: a key that is held there stays
//! held, and a value that was released there is not brought back.

use crate::ledger::entry::{Cause, Claim, Entry, Position, Row, Start};
use crate::ledger::fold::{Fold, Standing};
use crate::ledger::store::{OpenError, Seen, Store};
use crate::lock::record::LockKey;

use super::lines::{Head, Held};

/// What became of the locks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Held by the import now.
    pub(super) taken: usize,
    /// Held in the ledger by the same value.
    pub(super) known: usize,
    /// Held in the ledger by another value.
    pub(super) other: usize,
    /// Of a value that is dead in the ledger.
    pub(super) dead: usize,
}

/// All that the ledger says, from the first exchange with it.
pub(super) fn fold(seen: Seen, is_ordered: bool) -> Fold {
    let empty = if is_ordered { Fold::default } else { Fold::unordered };
    let mut fold = seen.snapshot.map_or_else(empty, Fold::from);
    apply(&mut fold, &seen.rows);
    fold
}

fn apply(fold: &mut Fold, rows: &[Row]) {
    for row in rows {
        fold.apply(row);
    }
}

/// Writes what the ledger lacks, in a log of its own.
///
/// # Errors
/// Other terms than the ledger's, or a store that fails; then some or nothing is written, and the
/// same again is safe.
pub(super) fn merge(
    store: &mut dyn Store,
    start: &Start,
    head: &Head,
    locks: Vec<Held>,
) -> Result<Merged, OpenError> {
    let log = store.open(start)?;
    let mut fold = fold(store.exchange(&[])?, true);
    let mut merged = Merged::default();
    let mut entries = Vec::new();
    for Held { claim, fence, heard } in locks {
        let standing = fold.standing_of(&claim.key, &claim.stored, claim.other.as_deref());
        match (standing, fold.holder(&claim.key)) {
            (Standing::Holder, _) => merged.known += 1,
            (_, Some(_)) => merged.other += 1,
            (Standing::Dead, None) => merged.dead += 1,
            (Standing::Unknown, None) => entries.push((claim, fence, heard)),
        }
    }
    let first = fold.log(log).map_or(0, |log| log.last_seq) + 1;
    let rows = rows(log, first, entries, head.fence_high.max(fold.fence_high()), start.at_ms);
    let seen = store.exchange(&rows)?;
    match seen.snapshot {
        // Another has tidied up meanwhile.
        Some(_) => fold = self::fold(seen, true),
        None => apply(&mut fold, &seen.rows),
    }
    let held = rows.iter().filter(|row| match &row.entry {
        Entry::Grant(claim, _) => fold.holder_named(&claim.key, row.at).is_some(),
        _ => false,
    });
    merged.taken = held.count();
    Ok(merged)
}

/// Grants, because they keep the fences that the holders were told.
fn rows(
    log: u64,
    first: u64,
    locks: Vec<(Claim, u64, bool)>,
    fence_high: u64,
    at_ms: u64,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut put = |entry: &dyn Fn(Position) -> Entry| {
        let at = Position { log, seq: first + rows.len() as u64 };
        rows.push(Row { at, entry: entry(at) });
        at
    };
    for (claim, fence, heard) in &locks {
        let at = put(&|_| Entry::Grant(claim.clone(), *fence));
        if *heard {
            put(&|_| Entry::Heard { key: claim.key.clone(), claim: at });
        }
    }
    // A lock of this command's own, taken and released, carries the highest fence over: later
    // grants have to be above it, though its lock may be free by now.
    let claim = Claim { at_ms, ..fence_carrier() };
    let at = put(&|_| Entry::Grant(claim.clone(), fence_high));
    let key = claim.key.clone();
    put(&|_| Entry::Release { key: key.clone(), claim: at, cause: Cause::Operator, at_ms });
    put(&|_| Entry::End);
    rows
}

fn fence_carrier() -> Claim {
    Claim {
        key: LockKey::new(0, b"lockside:import"),
        stored: [].into(),
        other: None,
        rule: "".into(),
        client: "lockside ledger import".into(),
        at_ms: 0,
        asked_ttl_ms: None,
        expires_at_ms: None,
        marker: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ledger::Guarantee;
    use crate::ledger::memory::{Medium, Memory};

    fn held(key: &str, stored: &str, fence: u64) -> Held {
        let key = LockKey::new(1, key.as_bytes());
        let claim = Claim { key, stored: stored.as_bytes().into(), ..fence_carrier() };
        Held { claim, fence, heard: fence % 2 == 1 }
    }

    fn start() -> Start {
        Start {
            format: crate::ledger::entry::FORMAT,
            namespace: "n".into(),
            guarantee: Guarantee::Strict,
            upstream: "u".into(),
            writer: "w".into(),
            at_ms: 5,
        }
    }

    fn head(fence_high: u64) -> Head {
        Head { namespace: "n".into(), guarantee: Guarantee::Strict, fence_high }
    }

    #[test]
    fn an_empty_ledger_gets_every_lock_with_its_fence() {
        let medium = Arc::new(Mutex::new(Medium::ordered()));
        let locks = || vec![held("a", "x", 3), held("b", "y", 8)];
        let merged = merge(&mut Memory::new(medium.clone()), &start(), &head(20), locks()).unwrap();
        assert_eq!(merged, Merged { taken: 2, ..Merged::default() });
        let state = fold(Memory::new(medium.clone()).exchange(&[]).unwrap(), true);
        let found: Vec<_> =
            state.holders().iter().map(|h| (h.claim.stored.to_vec(), h.fence, h.heard)).collect();
        assert_eq!(found, [(b"x".to_vec(), 3, true), (b"y".to_vec(), 8, false)]);
        assert_eq!(state.fence_high(), 20);
        let again = merge(&mut Memory::new(medium), &start(), &head(20), locks()).unwrap();
        assert_eq!(again, Merged { known: 2, ..Merged::default() });
    }

    #[test]
    fn what_the_ledger_says_stands() {
        let medium = Arc::new(Mutex::new(Medium::ordered()));
        let mut own = Memory::new(medium.clone());
        let log = own.open(&start()).unwrap();
        let row = |seq, entry| Row { at: Position { log, seq }, entry };
        let (a, b) = (held("a", "mine", 0).claim, held("b", "y", 0).claim);
        let release = Entry::Release {
            key: b.key.clone(),
            claim: Position { log, seq: 3 },
            cause: Cause::Client,
            at_ms: 0,
        };
        let rows = [row(2, Entry::Claim(a)), row(3, Entry::Claim(b)), row(4, release)];
        own.exchange(&rows).unwrap();
        let locks = vec![held("a", "x", 30), held("b", "y", 8), held("c", "z", 9)];
        let merged = merge(&mut Memory::new(medium.clone()), &start(), &head(9), locks).unwrap();
        assert_eq!(merged, Merged { taken: 1, known: 0, other: 1, dead: 1 });
        let state = fold(Memory::new(medium.clone()).exchange(&[]).unwrap(), true);
        assert_eq!(&*state.holder(&LockKey::new(1, b"a")).unwrap().claim.stored, b"mine");
        assert!(state.holder(&LockKey::new(1, b"b")).is_none());
        let other = Start { namespace: "other".into(), ..start() };
        assert!(merge(&mut Memory::new(medium), &other, &head(9), vec![]).is_err());
    }
}
