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

fn claims(rows: &[Row], name: &str) -> usize {
    let is_it = |row: &&Row| matches!(&row.entry, Entry::Claim(claim) if claim.key == key(name));
    rows.iter().filter(is_it).count()
}

/// Two clients of one sidecar want one lock at one time, and it dies before WON is written: only one of
/// them can have been told that it has the lock, and everybody else can see which.
#[test]
fn a_lock_is_claimed_once_in_a_group() {
    let medium = unordered();
    let mut rig = Rig::under(&medium, counted());
    let (first, second) = (rig.ask(take("a", "v")), rig.ask(take("a", "w")));
    let other = rig.ask(take("b", "w"));
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    assert_eq!((claims(&rows, "a"), claims(&rows, "b")), (1, 1), "{rows:?}");
    rig.finish(&rows);
    let claim = won(rig.outcome(first));
    won(rig.outcome(other));
    // Not written: there is somebody who holds it.
    let lost = rig.outcome(second);
    let is_told =
        matches!(lost, Some(Outcome::Lost { holder: Some(holder) }) if holder.at == claim);
    assert!(is_told, "{lost:?}");
    let written =
        rig.store.medium().rows().iter().filter(|row| claims(&[(*row).clone()], "a") == 1).count();
    assert_eq!(written, 1);
    // What a sidecar finds that starts after the crash.
    drop(rig);
    let mut next = Rig::under(&medium, counted());
    next.run();
    assert_eq!(next.fold.undecided_on(&key("a")).len(), 1);
}

/// Who loses to nobody in particular is asked again: the next in the queue may have the lock.
#[test]
fn the_next_claim_goes_into_the_next_group() {
    let mut rig = Rig::under(&unordered(), counted());
    let (first, second) = (rig.ask(take("a", "v")), rig.ask(take("a", "w")));
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    rig.committer.withdraw(first);
    rig.finish(&rows);
    assert_eq!(rig.outcome(second), None);
    rig.run();
    won(rig.outcome(second));
}

/// A claim whose run has died with WON unwritten is what its client was told; who claims the lock after
/// that will lose, and is not shown in its place meanwhile.
#[test]
fn of_claims_that_are_not_decided_the_first_is_shown() {
    let medium = unordered();
    let (mut dying, mut late) = (Rig::under(&medium, counted()), Rig::under(&medium, counted()));
    let mut reader = Rig::under(&medium, counted());
    let ask = dying.ask(take("a", "v"));
    dying.run();
    let told = won(dying.outcome(ask));
    drop(dying);
    let shown = |reader: &Rig| reader.committer.left.shown.keys().copied().collect::<Vec<_>>();
    reader.now.mono += POLL * 20;
    reader.run();
    assert_eq!(shown(&reader), [told]);
    // Written, and LOST is not.
    late.ask(take("a", "w"));
    let Step::Exchange(rows) = late.committer.next(&late.fold, late.now) else { panic!() };
    late.finish(&rows);
    reader.now.mono += POLL * 20;
    reader.run();
    assert_eq!(reader.fold.undecided_on(&key("a")).len(), 2);
    assert_eq!(shown(&reader), [told]);
    // Nor by who reads both at once, and knows neither run.
    let mut fresh = Rig::under(&medium, counted());
    fresh.run();
    assert_eq!(shown(&fresh).len(), 1);
    late.now.mono += POLL * 20;
    late.run();
    fresh.now.mono += POLL * 20;
    fresh.run();
    assert_eq!(shown(&fresh), [told]);
}
