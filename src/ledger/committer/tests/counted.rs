//! A medium that counts calls and takes long for each, as a spreadsheet does.

use super::*;
use crate::ledger::committer::{MOST_SIDECARS, Quota};

const POLL: Duration = Duration::from_millis(1_500);

fn counted() -> Timing {
    let quota = Some(Quota { writes_a_minute: 55, reads_a_minute: 55 });
    Timing { poll: POLL, heartbeat: Duration::from_secs(20), quota, ..Timing::default() }
}

fn unordered() -> Arc<Mutex<Medium>> {
    Arc::new(Mutex::new(Medium::unordered()))
}

/// The client was told; the next claim takes the WON along instead of waiting behind it.
#[test]
fn a_win_alone_waits_for_what_comes_next() {
    let mut rig = Rig::under(&unordered(), counted());
    let first = rig.ask(take("a", "v"));
    rig.run();
    won(rig.outcome(first));
    assert_eq!(rig.exchanges, 1, "the claim alone");
    assert_eq!(rig.committer.next(&rig.fold, rig.now), Step::Until(rig.now.mono + POLL));
    let second = rig.ask(take("b", "w"));
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    assert!(matches!(rows[0].entry, Entry::Won { .. }), "{rows:?}");
    assert!(matches!(rows[1].entry, Entry::Claim(_)), "{rows:?}");
    rig.finish(&rows);
    won(rig.outcome(second));
    // Nothing comes: it is written all the same.
    rig.now.mono += POLL;
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    assert!(matches!(rows[..], [Row { entry: Entry::Won { .. }, .. }]), "{rows:?}");
}

/// Where calls cost nothing, it is written at once.
#[test]
fn a_win_is_written_at_once_elsewhere() {
    let mut rig = Rig::under(&unordered(), Timing::default());
    let first = rig.ask(take("a", "v"));
    rig.run();
    won(rig.outcome(first));
    assert_eq!(rig.exchanges, 2);
}

/// Of a fleet that is full only who comes last is too many, and only once it has seen the others write.
#[test]
fn the_last_of_too_many_knows_it() {
    let medium = unordered();
    let mut fleet: Vec<Rig> = (0..MOST_SIDECARS).map(|_| Rig::under(&medium, counted())).collect();
    let mut last = Rig::under(&medium, counted());
    assert!(!last.committer.is_surplus(), "they may all be dead");
    for rig in fleet.iter_mut().chain([&mut last]) {
        rig.now.mono += Duration::from_secs(70);
        rig.run();
    }
    for rig in fleet.iter_mut().chain([&mut last]) {
        rig.now.mono += Duration::from_secs(20);
        rig.run();
    }
    assert!(last.committer.is_surplus());
    assert_eq!(last.committer.sidecars(), MOST_SIDECARS + 1);
    assert!(last.committer.timing().poll() > 7 * POLL, "they share what there is");
    assert!(!fleet.iter().any(|rig| rig.committer.is_surplus()));
}
