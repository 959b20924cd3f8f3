//! What must hold for every store: run on each of them.

use crate::ledger::entry::{Entry, Guarantee, Row, Start};
use crate::ledger::fold::Fold;
use crate::ledger::store::{OpenError, Seen, Store};
use crate::ledger::testing::{claim, key, one_of_each, row, start};

/// A fold that follows what a store shows.
#[derive(Default)]
struct Reader {
    fold: Fold,
    rows: Vec<Row>,
    snapshots: usize,
}

impl Reader {
    fn read(&mut self, seen: Seen) {
        if let Some(snapshot) = seen.snapshot {
            self.fold = Fold::from(snapshot);
            self.snapshots += 1;
            self.rows.clear();
        }
        seen.rows.iter().for_each(|row| drop(self.fold.apply(row)));
        self.rows.extend(seen.rows);
    }
}

fn claims(log: u64, from: u64, names: &[&str]) -> Vec<Row> {
    let place = |(seq, name): (u64, &&str)| row(log, seq, Entry::Claim(claim(name, "v")));
    (from..).zip(names).map(place).collect()
}

/// `store` makes another handle on the same medium each time.
pub(crate) fn rows_come_back_in_one_order<S: Store>(store: impl Fn() -> S) {
    let (mut one, mut two) = (store(), store());
    let (a, b) = (one.open(&start()).unwrap(), two.open(&start()).unwrap());
    assert!(a != b);
    let (mut first, mut second) = (Reader::default(), Reader::default());
    first.read(one.exchange(&claims(a, 2, &["x", "y"])).unwrap());
    second.read(two.exchange(&claims(b, 2, &["y", "z"])).unwrap());
    first.read(one.exchange(&claims(a, 4, &["z"])).unwrap());
    first.read(one.exchange(&[]).unwrap());
    second.read(two.exchange(&[]).unwrap());
    assert_eq!(first.rows.len(), 7);
    if !one.is_ordered() {
        second.rows.sort_by_key(|row| row.at);
        first.rows.sort_by_key(|row| row.at);
        assert_eq!(first.rows, second.rows);
        return;
    }
    assert_eq!(first.rows, second.rows);
    assert_eq!(first.rows.iter().filter(|row| row.at.log == b).count(), 3);
    assert_eq!(first.fold.snapshot(), second.fold.snapshot());
    assert_eq!(first.fold.log(a).unwrap().start.as_deref(), Some(&start()));
    let mut third = Reader::default();
    let mut late = store();
    late.open(&start()).unwrap();
    third.read(late.exchange(&[]).unwrap());
    assert_eq!(third.fold.holders(), first.fold.holders());
}

pub(crate) fn every_entry_comes_back_as_it_was<S: Store>(store: impl Fn() -> S) {
    let (mut one, mut two) = (store(), store());
    let log = one.open(&start()).unwrap();
    let rows: Vec<_> = (2..).zip(one_of_each()).map(|(seq, entry)| row(log, seq, entry)).collect();
    let own = one.exchange(&rows).unwrap().rows;
    assert_eq!(own[1..], rows[..]);
    two.open(&start()).unwrap();
    let mut foreign = two.exchange(&[]).unwrap().rows;
    foreign.retain(|row| row.at.log == log);
    assert_eq!(foreign, own);
    assert_eq!(foreign[0].entry, Entry::Start(start()));
}

pub(crate) fn writing_again_changes_nothing<S: Store>(store: impl Fn() -> S) {
    let mut one = store();
    let log = one.open(&start()).unwrap();
    let rows = claims(log, 2, &["x", "y"]);
    assert_eq!(one.exchange(&rows).unwrap().rows.len(), 3);
    assert_eq!(one.exchange(&rows).unwrap(), Seen::default());
    let more: Vec<_> = [rows, claims(log, 4, &["z"])].concat();
    let seen = one.exchange(&more).unwrap();
    assert_eq!(seen.rows, more[2..]);
}

pub(crate) fn other_terms_are_refused<S: Store>(store: impl Fn() -> S) {
    store().open(&start()).unwrap();
    let wrong = [
        Start { namespace: "other".into(), ..start() },
        Start { upstream: "other:1".into(), ..start() },
        Start { guarantee: Guarantee::Fast, ..start() },
        Start { format: 0, ..start() },
    ];
    for terms in wrong {
        let refused = store().open(&terms);
        assert!(matches!(refused, Err(OpenError::Mismatch(_))), "{terms:?}: {refused:?}");
    }
    store().open(&Start { writer: "another".into(), at_ms: 9, ..start() }).unwrap();
}

/// `store` must remove everything that a snapshot stands for.
pub(crate) fn a_reader_left_behind_gets_the_snapshot<S: Store>(store: impl Fn() -> S) {
    let (mut one, mut two) = (store(), store());
    let (a, b) = (one.open(&start()).unwrap(), two.open(&start()).unwrap());
    let (mut first, mut second) = (Reader::default(), Reader::default());
    first.read(one.exchange(&claims(a, 2, &["x", "y"])).unwrap());
    second.read(two.exchange(&[]).unwrap());
    let lost = row(a, 4, Entry::Claim(claim("x", "other")));
    let withdrawn = Entry::Withdraw { key: key("y"), claim: row(a, 3, Entry::Degraded).at };
    first.read(one.exchange(&[lost, row(a, 5, withdrawn)]).unwrap());
    // `two` writes what the snapshot does not cover.
    two.exchange(&claims(b, 2, &["z"])).unwrap();
    one.compact(&first.fold.snapshot()).unwrap();
    let mut third = store();
    third.open(&start()).unwrap();
    let mut last = Reader::default();
    last.read(third.exchange(&[]).unwrap());
    assert_eq!(last.snapshots, 1, "the rows are gone");
    first.read(one.exchange(&[]).unwrap());
    assert_eq!(first.snapshots, 0);
    assert_eq!(last.fold.snapshot(), first.fold.snapshot());
    assert_eq!(first.fold.holder(&key("z")).unwrap().at.log, b, "what came later is there");
    // A reader that has read a part only goes on from the snapshot as well.
    first.read(one.exchange(&claims(a, 6, &["q", "r"])).unwrap());
    one.compact(&first.fold.snapshot()).unwrap();
    last.read(third.exchange(&[]).unwrap());
    assert_eq!((last.snapshots, last.fold.snapshot()), (2, first.fold.snapshot()));
    // Writing goes on, and a row that the snapshot covers is not written again.
    assert_eq!(one.exchange(&claims(a, 6, &["q", "r"])).unwrap(), Seen::default());
    first.read(one.exchange(&claims(a, 8, &["s"])).unwrap());
    last.read(third.exchange(&[]).unwrap());
    assert_eq!(last.fold.snapshot(), first.fold.snapshot());
}

pub(crate) fn history_has_the_last_rows_of_a_key<S: Store>(store: impl Fn() -> S) {
    let mut one = store();
    let log = one.open(&start()).unwrap();
    let rows = claims(log, 2, &["x", "y", "x", "x"]);
    one.exchange(&rows).unwrap();
    let wanted = [rows[2].clone(), rows[3].clone()];
    assert_eq!(one.history(&key("x"), 2).unwrap(), wanted);
    assert_eq!(one.history(&key("x"), 9).unwrap().len(), 3);
    assert_eq!(one.history(&key("other"), 9).unwrap(), []);
}

/// The tests of this file for one store.
macro_rules! tests_of_a_store {
    ($store:expr) => {
        tests_of_a_store!(
            $store,
            rows_come_back_in_one_order,
            every_entry_comes_back_as_it_was,
            writing_again_changes_nothing,
            other_terms_are_refused,
            a_reader_left_behind_gets_the_snapshot,
            history_has_the_last_rows_of_a_key
        );
    };
    ($store:expr, $($name:ident),*) => {
        $(#[test]
        fn $name() {
            let make = $store;
            let medium = make();
            crate::ledger::store::testing::$name(&medium);
        })*
    };
}
pub(crate) use tests_of_a_store;
