//! The fold of a store without order.

use super::*;
use crate::ledger::entry::{Cause, Position};
use crate::ledger::fold::{Snapshot, Standing};
use crate::ledger::testing::{at, claim, key, row};

fn open(fold: &mut Fold, log: u64, seq: u64, value: &str) {
    assert_eq!(fold.apply(&row(log, seq, Entry::Claim(claim("k", value)))), Outcome::Noted);
}

fn decide(fold: &mut Fold, log: u64, seq: u64) -> Option<Verdict> {
    fold.decide(at(log, seq), &mut Vec::new())
}

fn won(log: u64, seq: u64, claim: Position, fence: u64) -> Row {
    row(log, seq, Entry::Won { key: key("k"), claim, fence })
}

fn lost(log: u64, seq: u64, claim: Position) -> Row {
    row(log, seq, Entry::Lost { key: key("k"), claim })
}

fn release(log: u64, seq: u64, claim: Position) -> Row {
    let cause = Cause::Client;
    row(log, seq, Entry::Release { key: key("k"), claim, cause, at_ms: 1 })
}

fn held(fold: &Fold) -> Option<(String, u64)> {
    let holder = fold.holder(&key("k"))?;
    Some((String::from_utf8_lossy(&holder.claim.stored).into_owned(), holder.fence))
}

#[test]
fn a_claim_is_nobodys_lock_before_its_writer_says_so() {
    let mut fold = Fold::unordered();
    open(&mut fold, 1, 2, "a");
    assert_eq!((held(&fold), fold.is_undecided(at(1, 2))), (None, true));
    assert_eq!(fold.standing(&key("k"), b"a"), Standing::Unknown);
    fold.apply(&won(1, 3, at(1, 2), 1));
    assert_eq!((held(&fold), fold.is_undecided(at(1, 2))), (Some(("a".into(), 1)), false));
}

#[test]
fn its_writer_decides_by_what_other_logs_show() {
    let mut alone = Fold::unordered();
    open(&mut alone, 1, 2, "a");
    assert_eq!(decide(&mut alone, 1, 2), Some(Outcome::Won { claim: at(1, 2), fence: 1 }));
    assert_eq!(decide(&mut alone, 1, 2), None, "it is decided");
    // Its own row changes nothing then.
    alone.apply(&won(1, 3, at(1, 2), 1));
    assert_eq!(held(&alone), Some(("a".into(), 1)));
    // Beside another's undecided claim both lose.
    let mut both = Fold::unordered();
    open(&mut both, 1, 2, "a");
    open(&mut both, 2, 2, "b");
    assert_eq!(decide(&mut both, 1, 2), Some(Outcome::Lost { holder: None }));
    // So it does beside a holder.
    let mut later = alone.clone();
    open(&mut later, 2, 2, "b");
    assert!(matches!(decide(&mut later, 2, 2), Some(Outcome::Lost { holder: Some(_) })));
    assert_eq!(later.standing(&key("k"), b"b"), Standing::Dead);
}

#[test]
fn claims_of_the_own_log_have_its_order() {
    let mut fold = Fold::unordered();
    open(&mut fold, 1, 2, "a");
    open(&mut fold, 1, 3, "b");
    assert!(matches!(decide(&mut fold, 1, 2), Some(Outcome::Won { .. })));
    assert!(matches!(decide(&mut fold, 1, 3), Some(Outcome::Lost { holder: Some(_) })));
}

#[test]
fn fences_grow_though_a_won_was_never_written() {
    let mut one = Fold::unordered();
    open(&mut one, 1, 2, "a");
    let Some(Outcome::Won { fence: first, .. }) = decide(&mut one, 1, 2) else { panic!("lost") };
    // Two has read the claim and its release, and no WON.
    let mut two = Fold::unordered();
    open(&mut two, 1, 2, "a");
    open(&mut two, 2, 3, "b");
    assert_eq!(two.apply(&release(2, 4, at(1, 2))), Outcome::Released);
    let Some(Outcome::Won { fence: second, .. }) = decide(&mut two, 2, 3) else { panic!("lost") };
    assert!(second > first);
}

#[test]
fn what_is_released_never_holds_whatever_comes_late() {
    for early in [false, true] {
        let mut fold = Fold::unordered();
        if early {
            // The end is read before the claim.
            fold.apply(&release(2, 2, at(1, 2)));
            let verdict = fold.apply(&row(1, 2, Entry::Claim(claim("k", "a"))));
            assert_eq!(verdict, Outcome::Lost { holder: None });
        } else {
            open(&mut fold, 1, 2, "a");
            fold.apply(&release(2, 2, at(1, 2)));
            assert_eq!(fold.standing(&key("k"), b"a"), Standing::Dead);
        }
        fold.apply(&won(1, 3, at(1, 2), 1));
        assert_eq!((held(&fold), fold.undecided()), (None, vec![]));
    }
}

#[test]
fn a_release_names_every_entry_of_the_value_and_lost_only_its_own() {
    let two_of_a = |fold: &mut Fold| {
        open(fold, 1, 2, "a");
        fold.apply(&row(2, 2, Entry::Observe(claim("k", "a"))));
    };
    let mut fold = Fold::unordered();
    two_of_a(&mut fold);
    fold.apply(&lost(2, 3, at(2, 2)));
    assert_eq!(fold.standing(&key("k"), b"a"), Standing::Unknown, "no observation kills a value");
    assert!(matches!(decide(&mut fold, 1, 2), Some(Outcome::Won { .. })), "its own verdict");
    let mut fold = Fold::unordered();
    two_of_a(&mut fold);
    // The value is one, seen twice: neither loses beside the other.
    assert!(matches!(decide(&mut fold, 1, 2), Some(Outcome::Won { .. })));
    assert_eq!(fold.entries_beside(&key("k"), at(1, 2)), [at(2, 2)]);
    fold.apply(&release(3, 2, at(1, 2)));
    assert_eq!((held(&fold), fold.undecided().len()), (None, 1));
    fold.apply(&release(3, 3, at(2, 2)));
    assert_eq!((held(&fold), fold.undecided().len()), (None, 0));
    assert_eq!(fold.standing(&key("k"), b"a"), Standing::Dead);
}

#[test]
fn a_hold_goes_on_while_an_entry_of_its_value_stands_in_any_order_of_reading() {
    // The same token again: a claim that was given up, and one that has won since.
    let rows = [
        row(1, 2, Entry::Claim(claim("k", "a"))),
        won(1, 3, at(1, 2), 1),
        row(1, 4, Entry::Withdraw { key: key("k"), claim: at(1, 2) }),
        row(2, 2, Entry::Claim(claim("k", "a"))),
        won(2, 3, at(2, 2), 2),
    ];
    for order in
        [[0, 1, 2, 3, 4], [0, 1, 3, 2, 4], [0, 1, 3, 4, 2], [3, 4, 0, 1, 2], [3, 0, 1, 4, 2]]
    {
        let mut fold = Fold::unordered();
        order.iter().for_each(|place| drop(fold.apply(&rows[*place])));
        let holder = fold.holder(&key("k")).map(|holder| holder.at);
        assert_eq!(holder, Some(at(2, 2)), "{order:?}");
        assert_eq!(fold.apply(&release(3, 2, at(2, 2))), Outcome::Released);
        assert_eq!((held(&fold), fold.undecided()), (None, vec![]), "{order:?}");
    }
}

#[test]
fn an_observation_of_a_dead_value_loses() {
    let mut fold = Fold::unordered();
    open(&mut fold, 1, 2, "a");
    fold.apply(&release(1, 3, at(1, 2)));
    fold.apply(&row(2, 2, Entry::Observe(claim("k", "a"))));
    assert_eq!(decide(&mut fold, 2, 2), Some(Outcome::Lost { holder: None }));
}

#[test]
fn of_two_that_won_the_later_one_holds_in_any_order_of_reading() {
    // b won after a's release, which is read last.
    let rows = [
        row(1, 2, Entry::Claim(claim("k", "a"))),
        won(1, 3, at(1, 2), 1),
        row(2, 2, Entry::Claim(claim("k", "b"))),
        won(2, 3, at(2, 2), 2),
    ];
    let orders = [[0, 1, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3], [0, 2, 3, 1], [2, 0, 3, 1]];
    for order in orders {
        let mut fold = Fold::unordered();
        order.iter().for_each(|place| drop(fold.apply(&rows[*place])));
        assert_eq!(held(&fold), Some(("b".into(), 2)), "{order:?}");
        fold.apply(&release(3, 2, at(1, 2)));
        assert_eq!(held(&fold), Some(("b".into(), 2)), "{order:?}");
    }
}

#[test]
fn a_snapshot_has_what_is_undecided() {
    let mut fold = Fold::unordered();
    open(&mut fold, 1, 2, "a");
    fold.apply(&release(1, 3, at(7, 9)));
    let snapshot: Snapshot = fold.snapshot();
    let mut again = Fold::from(snapshot.clone());
    assert_eq!(again.snapshot(), snapshot);
    open(&mut fold, 2, 2, "b");
    open(&mut again, 2, 2, "b");
    assert_eq!(decide(&mut again, 2, 2), Some(Outcome::Lost { holder: None }));
    assert_eq!(again.fence_high(), fold.fence_high());
}

#[test]
fn rows_come_behind_what_they_name() {
    let rows = vec![
        release(1, 5, at(2, 2)),
        row(1, 6, Entry::Heartbeat),
        row(2, 2, Entry::Claim(claim("k", "a"))),
        row(2, 3, Entry::Heard { key: key("k"), claim: at(3, 1) }),
    ];
    let places: Vec<_> =
        in_causal_order(rows, Some(1)).iter().map(|row| (row.at.log, row.at.seq)).collect();
    // What is not among them is not waited for.
    assert_eq!(places, [(2, 2), (1, 5), (1, 6), (2, 3)]);
    let knot = vec![release(1, 2, at(2, 2)), release(2, 2, at(1, 2))];
    assert_eq!(in_causal_order(knot, None).len(), 2);
}
