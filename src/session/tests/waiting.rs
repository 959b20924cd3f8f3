//! An acquire that waits for another session's of the same lock: no longer than `acquire_timeout` in
//! all, and not for what the other has waited for already.

use super::strict::{Did, Strict};
use super::*;
use crate::session::flights::{Ended, Question, Turn, Verdict};

const OTHER: (usize, u32) = (9, 9);

fn question() -> Question {
    Question { user: Arc::from(&b"default"[..]), key: LockKey::new(0, b"lock:a") }
}

/// Its client has asked, and another's acquire is under way.
fn waits() -> Strict {
    let mut strict = Strict::new();
    assert_eq!(strict.rig.flights.join(&question(), OTHER, Duration::ZERO, 0), Turn::Ask);
    strict.client(&[TAKE]);
    strict.assert_sent(&[]);
    strict
}

#[test]
fn who_waits_is_answered_after_acquire_timeout() {
    let mut strict = waits();
    assert_eq!(strict.session.deadline(), Some(Duration::from_secs(2)));
    strict.now = Duration::from_secs(2);
    strict.be_late();
    let told = strict.told();
    assert!(told.starts_with("-TRYAGAIN lockside: not acquired: another"), "{told}");
    assert_eq!(strict.did(), [], "the ledger was not asked");
    // Nobody is left to be told.
    strict.rig.flights.ended(&question(), Ended::Unclear, Duration::from_secs(2), 0);
    assert_eq!(strict.rig.flights.next_verdict(), None);
}

#[test]
fn a_turn_that_comes_late_has_what_is_left() {
    let mut strict = waits();
    strict.now = Duration::from_millis(1900);
    assert!(strict.with(|session, cx| session.verdict(Verdict::Ask, cx)));
    strict.assert_sent(&[SENT_SET]);
    strict.redis(OK);
    assert!(matches!(&strict.asked()[..], [Ask::Claim(_)]));
    assert_eq!(strict.session.deadline(), Some(Duration::from_secs(2)));
    strict.be_late();
    assert_eq!(strict.did(), [Did::Withdrew(Ticket(1))]);
}

#[test]
fn too_few_replicas_are_too_few_for_all_who_wait() {
    let mut strict = waits();
    strict.shared.replicas.least = 2;
    strict.rig.flights.ended(&question(), Ended::TooFew(1), Duration::from_secs(1), 0);
    let (session, verdict, _) = strict.rig.flights.next_verdict().unwrap();
    assert_eq!((session, strict.rig.flights.next_verdict()), ((1, 1), None));
    assert!(strict.with(|session, cx| session.verdict(verdict, cx)));
    let told = "-NOREPLICAS lockside: 1 of 2 replicas had it in time; not acquired\r\n";
    assert_eq!(strict.told(), told);
    // Nothing is remembered of it: the next one asks.
    assert_eq!(strict.rig.flights.join(&question(), OTHER, Duration::from_secs(1), 0), Turn::Ask);
}
