//! Checkpoints: what is removed is never missed, whoever removes what at the same time.

use emulated_sheets::{Kind, Target};
use serde_json::json;

use super::faults::{claims, opened};
use super::*;
use crate::ledger::entry::Entry;
use crate::ledger::fold::Fold;
use crate::ledger::store::Applied;
use crate::ledger::testing::{row, start};

/// A store with the fold that follows it.
struct Reader {
    store: Sheets,
    log: u64,
    fold: Fold,
    next: u64,
}

impl Reader {
    fn new(google: &Google) -> Self {
        let (store, log) = opened(google);
        Self { store, log, fold: Fold::unordered(), next: 2 }
    }

    fn take(&mut self, seen: Seen) {
        if let Some(snapshot) = seen.snapshot {
            self.fold = Fold::from(snapshot);
        }
        seen.rows.iter().for_each(|row| drop(self.fold.apply(row)));
    }

    fn claim(&mut self, count: u64) {
        let seen = self.store.exchange(&claims(self.log, self.next, count)).unwrap();
        self.next += count;
        self.take(seen);
    }

    fn end(&mut self) {
        let seen = self.store.exchange(&[row(self.log, self.next, Entry::End)]).unwrap();
        self.take(seen);
    }

    fn read(&mut self) {
        let seen = self.store.exchange(&[]).unwrap();
        self.take(seen);
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        self.store.compact(&self.fold.snapshot())
    }

    fn claimed(&self) -> usize {
        self.fold.undecided().len()
    }
}

#[test]
fn a_crowd_of_runs_leaves_few_tabs() {
    let google = Google::new();
    let mut keeper = Reader::new(&google);
    for run in 0..60 {
        let mut one = Reader::new(&google);
        one.claim(1);
        one.end();
        if run % 10 == 9 {
            keeper.claim(1);
            keeper.compact().unwrap();
        }
    }
    let tabs = google.0.tabs().len();
    assert!(tabs <= 20, "{tabs}");
    let mut late = Reader::new(&google);
    late.read();
    keeper.read();
    assert_eq!((late.claimed(), keeper.claimed()), (66, 66));
    assert_eq!(late.fold.snapshot().undecided, keeper.fold.snapshot().undecided);
}

#[test]
fn of_two_checkpoints_at_once_one_is_refused_whole() {
    let google = Google::new();
    let (mut one, mut two) = (Reader::new(&google), Reader::new(&google));
    let mut ended = Reader::new(&google);
    ended.claim(3);
    one.claim(2);
    two.claim(2);
    ended.end();
    one.read();
    two.claim(1);
    // Neither knows of the other's.
    one.compact().unwrap();
    let refused = two.compact().unwrap_err();
    assert_eq!(refused.applied, Applied::No);
    let mut late = Reader::new(&google);
    late.read();
    assert_eq!(late.claimed(), 8);
    // Who was refused goes on, and has its turn.
    two.claim(1);
    two.compact().unwrap();
    one.claim(1);
    late.read();
    assert_eq!((late.claimed(), one.claimed()), (10, 10));
    one.compact().unwrap();
    two.read();
    two.compact().unwrap();
    let mut last = Reader::new(&google);
    last.read();
    assert_eq!(last.claimed(), 10);
    let checkpoints = google
        .0
        .tabs()
        .iter()
        .filter(|tab| tab["title"].as_str().unwrap().contains("checkpoint"))
        .count();
    assert_eq!(checkpoints, 1, "what was not finished is swept");
}

#[test]
fn a_checkpoint_of_unknown_fate_is_found_out() {
    for fails_at in 0..3 {
        for kind in [Kind::CutBefore, Kind::CutAfter, Kind::Status { code: 503, applied: true }] {
            let google = Google::new();
            let (mut one, mut two) = (Reader::new(&google), Reader::new(&google));
            one.claim(4);
            two.read();
            for _ in 0..fails_at {
                google.breaks(Target::Writes, Kind::Slow { by: std::time::Duration::ZERO });
            }
            google.breaks(Target::Writes, kind.clone());
            let compacted = one.compact();
            google.0.clear_faults();
            assert_eq!(compacted.is_err(), fails_at < 2, "{kind:?} {compacted:?}");
            one.claim(1);
            two.claim(1);
            one.read();
            assert_eq!((one.claimed(), two.claimed()), (6, 6), "{kind:?}");
            one.compact().unwrap();
            let mut late = Reader::new(&google);
            late.read();
            assert_eq!(late.claimed(), 6, "{kind:?}");
        }
    }
}

#[test]
fn a_checkpoint_that_a_person_changed_is_told() {
    let google = Google::new();
    let mut one = Reader::new(&google);
    one.claim(4);
    one.compact().unwrap();
    let (id, title) = google.tab("lockside checkpoint");
    google
        .0
        .edit(&[json!({"deleteDimension": {"range":
        {"sheetId": id, "dimension": "ROWS", "startIndex": 2, "endIndex": 3}}})])
        .unwrap();
    let mut late = Reader::new(&google);
    let error = late.store.exchange(&[]).unwrap_err();
    assert!(
        error.text.contains("checkpoint") && error.text.contains(&id.to_string()),
        "{title} {error}"
    );
    one.claim(1);
    one.compact().unwrap();
    late.read();
    assert_eq!(late.claimed(), 5);
    assert_eq!(late.fold.log(one.log).unwrap().start.as_deref(), Some(&start()));
}

#[test]
fn own_rows_of_unknown_fate_may_be_in_anothers_checkpoint() {
    let google = Google::new();
    let (mut one, mut two, mut three) =
        (Reader::new(&google), Reader::new(&google), Reader::new(&google));
    three.claim(1);
    one.read();
    google.breaks(Target::Writes, Kind::CutAfter);
    let own = claims(one.log, 2, 3);
    assert_eq!(one.store.exchange(&own[..2]).unwrap_err().applied, Applied::Unknown);
    // Two has read them, and removes something that one has not read.
    two.claim(1);
    three.claim(1);
    three.end();
    two.read();
    two.compact().unwrap();
    let seen = one.store.exchange(&own).unwrap();
    assert!(seen.snapshot.is_some());
    one.take(seen);
    two.read();
    assert_eq!((one.claimed(), two.claimed()), (6, 6));
}
