//! What is found in Redis before the ledger hears of its grant (`fast`), in every order of reading.

use super::*;
use crate::ledger::entry::{Cause, Position};
use crate::ledger::fold::Standing;
use crate::ledger::testing::{at, claim, key, row};

/// All orders of two logs that keep each log's own.
fn orders(one: &[Row], other: &[Row]) -> Vec<Vec<Row>> {
    let starting_with = |row: &Row, rest: Vec<Vec<Row>>| {
        let with = |rest: Vec<Row>| [vec![row.clone()], rest].concat();
        rest.into_iter().map(with).collect::<Vec<_>>()
    };
    match (one, other) {
        ([], rest) | (rest, []) => vec![rest.to_vec()],
        ([first, left @ ..], [second, right @ ..]) => {
            let mut all = starting_with(first, orders(left, other));
            all.extend(starting_with(second, orders(one, right)));
            all
        }
    }
}

/// Log 1 finds the value and takes it for a lock.
fn found(name: &'static str) -> Vec<Row> {
    let claim = Claim { client: name.into(), ..claim("k", "a") };
    let won = Entry::Won { key: key("k"), claim: at(1, 2), fence: 1 };
    vec![row(1, 2, Entry::Observe(claim)), row(1, 3, won)]
}

/// Log 2 has granted it, and writes that and what comes then.
fn granted(end: Entry) -> Vec<Row> {
    vec![row(2, 2, Entry::Grant(claim("k", "a"), 5)), row(2, 3, end)]
}

fn gone() -> Entry {
    let stored = b"a"[..].into();
    Entry::Gone { key: key("k"), stored, cause: Cause::Client, fence: 5, at_ms: 1 }
}

fn release(claim: Position) -> Entry {
    Entry::Release { key: key("k"), claim, cause: Cause::Client, at_ms: 1 }
}

fn read(rows: &[Row]) -> Fold {
    let mut fold = Fold::unordered();
    rows.iter().for_each(|row| {
        fold.apply(row);
    });
    fold
}

/// One sidecar would put the lock back else, and another delete it, for ever.
#[test]
fn what_was_let_go_is_dead_whenever_it_was_found() {
    for end in [gone(), release(at(2, 2))] {
        for order in orders(&found(crate::ledger::entry::OBSERVED), &granted(end)) {
            let fold = read(&order);
            assert_eq!(fold.standing(&key("k"), b"a"), Standing::Dead, "{order:?}");
            assert_eq!((fold.len(), fold.undecided().len()), (0, 0), "{order:?}");
        }
    }
}

/// It is the grant's then, with its fence and under its name; also for who knows it by the other.
#[test]
fn what_was_found_is_the_grants() {
    let grant = row(2, 2, Entry::Grant(claim("k", "a"), 5));
    for order in orders(&found(crate::ledger::entry::OBSERVED), std::slice::from_ref(&grant)) {
        let fold = read(&order);
        let holder = fold.holder(&key("k")).unwrap();
        assert_eq!((holder.at, holder.fence), (at(2, 2), 5), "{order:?}");
    }
    let fold = read(&[found(crate::ledger::entry::OBSERVED), vec![grant]].concat());
    assert!(fold.holder_named(&key("k"), at(1, 2)).is_some());
}

/// A foreign client takes its lock with a token that it has released before.
#[test]
fn what_is_found_anew_holds_though_it_was_let_go() {
    let rows = [granted(gone()), found(crate::ledger::entry::OBSERVED_ANEW)].concat();
    assert_eq!(read(&rows).standing(&key("k"), b"a"), Standing::Holder);
}

/// A client may ask again with the value that it lost with: that had no fence.
#[test]
fn what_has_only_lost_may_be_found() {
    let lost = Entry::Lost { key: key("k"), claim: at(2, 2) };
    let claims = vec![row(2, 2, Entry::Claim(claim("k", "a"))), row(2, 3, lost)];
    let rows = [claims, found(crate::ledger::entry::OBSERVED)].concat();
    assert_eq!(read(&rows).standing(&key("k"), b"a"), Standing::Holder);
}

/// Its client lets it go before anybody has decided what it is.
#[test]
fn what_was_found_and_let_go_is_dead() {
    let observed = Claim { client: crate::ledger::entry::OBSERVED.into(), ..claim("k", "a") };
    let finding = row(1, 2, Entry::Observe(observed.clone()));
    let release = row(2, 2, release(at(1, 2)));
    for order in orders(std::slice::from_ref(&finding), std::slice::from_ref(&release)) {
        let mut fold = read(&order);
        assert_eq!(fold.standing(&key("k"), b"a"), Standing::Dead, "{order:?}");
        fold.apply(&row(3, 2, Entry::Observe(observed.clone())));
        fold.decide(at(3, 2), &mut Vec::new());
        assert_eq!(fold.len(), 0, "found again by another, {order:?}");
    }
    // Who has found it takes that back: it may be a lock all the same.
    let withdrawn = Entry::Withdraw { key: key("k"), claim: at(1, 2) };
    let fold = read(&[finding.clone(), row(1, 3, withdrawn)]);
    assert_eq!(fold.standing(&key("k"), b"a"), Standing::Unknown);
    // A claim of the value is still to be decided.
    let fold = read(&[row(3, 2, Entry::Claim(claim("k", "a"))), finding, release]);
    assert_eq!(fold.standing(&key("k"), b"a"), Standing::Unknown);
}
