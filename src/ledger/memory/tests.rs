//! The store in memory does what every store does, and goes wrong as it is told.

use super::*;
use crate::ledger::entry::Entry;
use crate::ledger::store::Applied;
use crate::ledger::store::testing::tests_of_a_store;
use crate::ledger::testing::{claim, row, start};

mod ordered {
    use super::*;

    tests_of_a_store!(|| {
        let medium = Arc::new(Mutex::new(Medium::ordered()));
        move || Memory::new(medium.clone())
    });
}

mod unordered {
    use super::*;

    tests_of_a_store!(|| {
        let medium = Arc::new(Mutex::new(Medium::unordered()));
        move || Memory::new(medium.clone())
    });
}

fn medium() -> Arc<Mutex<Medium>> {
    Arc::new(Mutex::new(Medium::ordered()))
}

#[test]
fn faults_come_in_the_order_of_the_script() {
    let medium = medium();
    let script = vec![Fault::None, Fault::Refused, Fault::Lost, Fault::Ambiguous, Fault::Late];
    let mut store = Memory::with_faults(medium.clone(), script);
    let log = store.open(&start()).unwrap();
    let own = |seq| [row(log, seq, Entry::Degraded)];
    let written = || medium.lock().unwrap().rows().len();
    assert_eq!(store.exchange(&own(2)).unwrap_err().applied, Applied::No);
    assert_eq!(store.exchange(&own(2)).unwrap_err().applied, Applied::Unknown);
    assert_eq!(written(), 1);
    assert_eq!(store.exchange(&own(2)).unwrap_err().applied, Applied::Unknown);
    assert_eq!(written(), 2);
    assert_eq!(store.exchange(&own(3)).unwrap_err().applied, Applied::Unknown);
    assert_eq!((written(), store.medium().on_their_way()), (2, 1));
    // After errors nothing counts as seen.
    assert_eq!(store.exchange(&own(3)).unwrap().rows.len(), 3);
    assert!(store.medium().land() && !store.medium().land());
    assert_eq!(written(), 3, "a late row that was written again changes nothing");
}

#[test]
fn a_stale_read_shows_the_rest_later() {
    let medium = medium();
    let mut writer = Memory::new(medium.clone());
    let log = writer.open(&start()).unwrap();
    writer.exchange(&[row(log, 2, Entry::Claim(claim("a", "v")))]).unwrap();
    let mut reader = Memory::with_faults(medium, vec![Fault::None, Fault::Stale(2), Fault::None]);
    let own = reader.open(&start()).unwrap();
    assert_eq!(reader.exchange(&[]).unwrap().rows.len(), 1);
    assert_eq!(reader.exchange(&[row(own, 2, Entry::Degraded)]).unwrap().rows.len(), 3);
}

#[test]
fn without_order_a_reader_sees_others_late_and_itself_at_once() {
    let medium = Arc::new(Mutex::new(Medium::unordered()));
    let mut writer = Memory::new(medium.clone());
    let log = writer.open(&start()).unwrap();
    let mut reader = Memory::with_faults(medium, vec![Fault::None, Fault::Stale(1)]);
    let own = reader.open(&start()).unwrap();
    writer.exchange(&[row(log, 2, Entry::Degraded)]).unwrap();
    let seen = reader.exchange(&[row(own, 2, Entry::Degraded)]).unwrap();
    let places: Vec<_> = seen.rows.iter().map(|row| (row.at.log, row.at.seq)).collect();
    assert_eq!(places, [(own, 1), (own, 2), (log, 1)]);
    let seen = reader.exchange(&[]).unwrap();
    assert_eq!(seen.rows.iter().map(|row| row.at.log).collect::<Vec<_>>(), [log]);
}

#[test]
fn a_medium_can_be_taken_back() {
    let medium = medium();
    let mut store = Memory::new(medium.clone());
    let log = store.open(&start()).unwrap();
    let before = store.medium().clone();
    store.exchange(&[row(log, 2, Entry::Claim(claim("a", "v")))]).unwrap();
    assert_eq!(store.medium().fold().len(), 1);
    *store.medium() = before.clone();
    assert_eq!(store.medium().fold().len(), 0);
    assert!(*store.medium() == before);
}
