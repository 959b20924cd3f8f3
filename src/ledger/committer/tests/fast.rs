//! `guarantee = "fast"`: mirror, lock-delay, releases by value, conflicts.

use super::*;
use crate::ledger::fold::LogMode;

const MIRROR: Duration = Duration::from_secs(1);
const MIRROR_WAIT: Duration = Duration::from_millis(750);

fn serving(medium: &Arc<Mutex<Medium>>) -> Rig {
    let timing = Timing { mirror_interval: Some(MIRROR), ..Timing::default() };
    let mut rig = Rig::under(medium, timing);
    rig.note(Ask::Degraded);
    rig.run();
    rig.note(Ask::Healthy("run".into()));
    rig.run();
    rig.exchanges = 0;
    rig
}

impl Rig {
    fn note(&mut self, ask: Ask) {
        self.committer.submit(Asker::Nobody, vec![ask]).unwrap();
    }

    fn grant(&mut self, name: &str, value: &str, fence: u64) {
        let claim = Claim { at_ms: fence, ..claim(name, value) };
        self.note(Ask::Grant(claim, fence));
    }

    fn release(&mut self, name: &str, value: &str) {
        let (stored, other) = (value.as_bytes().into(), None);
        let cause = Cause::Client;
        self.note(Ask::ReleaseValue { key: key(name), stored, other, cause, fence: None });
    }

    fn fence(&self, name: &str) -> Option<u64> {
        self.fold.holder(&key(name)).map(|holder| holder.fence)
    }
}

#[test]
fn what_redis_did_is_written_in_one_exchange_within_the_interval() {
    let mut rig = serving(&medium());
    for number in 0..100 {
        rig.grant(&format!("k{number}"), "v", number + 1);
        rig.pass(Duration::from_millis(1));
    }
    assert_eq!(rig.exchanges, 0);
    rig.pass(MIRROR_WAIT);
    assert_eq!((rig.exchanges, rig.fold.len()), (1, 100));
    assert_eq!(rig.fence("k41"), Some(42));
}

#[test]
fn a_release_finds_its_grant_wherever_that_is() {
    let mut rig = serving(&medium());
    // In the same group, also when the value is taken again.
    rig.grant("a", "v", 1);
    rig.release("a", "v");
    rig.grant("a", "v", 2);
    rig.grant("b", "v", 3);
    rig.release("b", "v");
    rig.run();
    rig.pass(MIRROR_WAIT);
    assert_eq!((rig.fence("a"), rig.fence("b")), (Some(2), None));
    // As the holder.
    rig.release("a", "v");
    rig.run();
    rig.pass(MIRROR_WAIT);
    assert!(rig.fold.is_empty());
    assert!(!rig.committer.is_releasing(&key("a")));
}

#[test]
fn what_waits_is_written_at_once_when_redis_is_lost_and_at_the_end() {
    let mut first = serving(&medium());
    first.grant("a", "v", 1);
    first.run();
    assert_eq!(first.exchanges, 0);
    first.note(Ask::Degraded);
    assert!(first.committer.submit(Asker::Nobody, vec![Ask::Grant(claim("b", "v"), 2)]).is_err());
    first.run();
    assert_eq!((first.exchanges, first.fence("a")), (1, Some(1)));

    let mut second = serving(&medium());
    second.grant("a", "v", 1);
    second.committer.end();
    second.run();
    assert_eq!(second.fence("a"), Some(1));
}

#[test]
fn alone_there_is_no_delay() {
    let mut rig = serving(&medium());
    rig.note(Ask::Degraded);
    let ticket = rig.ask(take("a", "v"));
    rig.run();
    won(rig.outcome(ticket));
}

/// The other has granted the lock by Redis; its mirror comes before the claim.
#[test]
fn a_claim_waits_until_others_have_written_what_they_granted() {
    let medium = medium();
    let (mut one, mut other) = (serving(&medium), serving(&medium));
    other.grant("a", "theirs", 1);
    other.run();
    one.note(Ask::Degraded);
    let ticket = one.ask(take("a", "ours"));
    one.run();
    assert!(!one.committer.is_delay_over());
    assert_eq!(one.outcome(ticket), None);
    other.pass(MIRROR_WAIT);
    assert!(other.committer.has_others_degraded(other.now), "it is not calm any more");
    one.pass(MIRROR);
    assert!(one.committer.is_delay_over());
    assert!(matches!(one.outcome(ticket), Some(Outcome::Lost { holder: Some(_) })));
    // A release does not wait.
    other.note(Ask::Degraded);
    other.release("a", "theirs");
    other.run();
    assert_eq!(other.fence("a"), None);
    assert_eq!(other.fold.log(1).unwrap().mode, LogMode::Degraded);
}

/// Two clients were told that they hold the lock: the late one is found and named.
#[test]
fn a_late_grant_is_a_conflict_unless_its_release_follows() {
    let medium = medium();
    let (mut one, mut other) = (serving(&medium), serving(&medium));
    other.grant("a", "late", 1);
    other.grant("b", "late", 2);
    other.release("b", "late");
    other.run();
    one.grant("a", "first", 3);
    one.grant("b", "first", 4);
    one.run();
    one.pass(MIRROR_WAIT);
    other.pass(MIRROR_WAIT);
    other.pass(2 * MIRROR);
    let disputed: Vec<_> = other.disputes.iter().map(|dispute| dispute.key.clone()).collect();
    assert_eq!(disputed, [key("a")]);
    one.pass(MIRROR);
    one.pass(2 * MIRROR);
    assert_eq!(one.disputes.len(), 1, "every reader finds it");
}

/// A grant that is still unwritten when its lock is released without Redis: what ends it is in the same
/// exchange, so that the next claim wins.
#[test]
fn an_unwritten_grant_that_is_heard_of_and_released_ends_at_once() {
    let mut rig = serving(&medium());
    rig.grant("a", "v", 1);
    let (stored, other) = (b"v"[..].into(), None);
    let release =
        Ask::ReleaseValue { key: key("a"), stored, other, cause: Cause::Client, fence: None };
    let heard = Ask::Observe(claim("a", "v"));
    rig.committer.submit(Asker::Nobody, vec![heard, release]).unwrap();
    rig.run();
    assert_eq!((rig.exchanges, rig.fence("a")), (1, None));
    // Written long ago: the same.
    rig.grant("b", "v", 2);
    rig.pass(Duration::from_millis(1));
    rig.pass(MIRROR_WAIT);
    assert_eq!(rig.fence("b"), Some(2));
    rig.exchanges = 0;
    let (stored, other) = (b"v"[..].into(), None);
    let release =
        Ask::ReleaseValue { key: key("b"), stored, other, cause: Cause::Client, fence: None };
    rig.committer.submit(Asker::Nobody, vec![Ask::Observe(claim("b", "v")), release]).unwrap();
    rig.run();
    assert_eq!((rig.exchanges, rig.fence("b")), (1, None));
}

/// `one` has lost Redis and the other has not read that; `one` may claim.
fn apart() -> (Rig, Rig) {
    let medium = medium();
    let (mut one, mut other) = (serving(&medium), serving(&medium));
    one.pass(Timing::default().poll);
    other.pass(Timing::default().poll);
    one.note(Ask::Degraded);
    one.run();
    one.pass(MIRROR);
    assert!(one.committer.is_delay_over());
    (one, other)
}

fn disputed(rig: &Rig) -> Vec<(&[u8], &str)> {
    rig.disputes.iter().map(|dispute| (dispute.key.key(), &*dispute.lost)).collect()
}

/// The sidecar that still reaches Redis grants a lock that was claimed without it, and released: both
/// clients may have held it at one time. Also if the grant's own release follows, and long after.
#[test]
fn a_late_grant_is_compared_with_claims_that_are_over() {
    let (mut one, mut other) = apart();
    for name in ["a", "b", "c"] {
        let ticket = one.ask(take(name, "claimed"));
        one.run();
        one.ask(Ask::Release(key(name), won(one.outcome(ticket)), Cause::Client));
        one.run();
    }
    // Its counter is ahead of what the ledger has.
    other.grant("a", "late", 70);
    other.grant("b", "late", 71);
    other.release("b", "late");
    other.grant("free", "late", 72);
    other.run();
    other.pass(MIRROR_WAIT);
    one.pass(MIRROR);
    for rig in [&one, &other] {
        assert_eq!(disputed(rig), [(&b"a"[..], "tests"), (&b"b"[..], "tests")]);
    }
    // The pass has set the counter above them all.
    one.note(Ask::Healthy("run".into()));
    one.run();
    let high = one.fold.fence_high();
    other.pass(MIRROR);
    other.grant("b", "later", high + 1);
    other.grant("c", "late", 73);
    other.run();
    other.pass(MIRROR_WAIT);
    one.pass(2 * MIRROR);
    assert_eq!(disputed(&one)[2..], [(&b"c"[..], "tests")], "only the one from before");
    assert_eq!(one.fence("b"), Some(high + 1));
    assert_eq!(disputed(&other), disputed(&one));
}

/// Redis is lost again: claims of the outage before have nothing to do with it.
#[test]
fn a_claim_of_an_earlier_outage_disputes_no_grant_of_a_later_one() {
    let (mut one, mut other) = apart();
    let ticket = one.ask(take("a", "claimed"));
    one.run();
    one.ask(Ask::Release(key("a"), won(one.outcome(ticket)), Cause::Client));
    one.run();
    one.note(Ask::Healthy("run".into()));
    one.run();
    other.pass(MIRROR);
    let high = one.fold.fence_high();
    one.note(Ask::Degraded);
    one.run();
    // Granted in calm times, written when the other has just lost Redis.
    other.grant("a", "v", high + 1);
    other.run();
    other.pass(MIRROR_WAIT);
    one.pass(2 * MIRROR);
    assert!(disputed(&one).is_empty() && disputed(&other).is_empty());
}

/// A sidecar that died before it could write its grant, which the pass then finds in Redis; not one that
/// the ledger knew before the claim, nor one that is found later.
#[test]
fn a_grant_that_a_pass_finds_is_compared_too() {
    let (mut one, _) = apart();
    one.note(Ask::Observe(claim("known", "early")));
    one.ask(Ask::ReleaseAny(key("known"), Cause::Client));
    one.run();
    for name in ["a", "b", "known"] {
        let ticket = one.ask(take(name, "claimed"));
        one.run();
        one.ask(Ask::Release(key(name), won(one.outcome(ticket)), Cause::Client));
        one.run();
    }
    one.note(Ask::Observe(claim("a", "found")));
    one.note(Ask::Observe(claim("known", "early")));
    one.run();
    one.note(Ask::Healthy("run".into()));
    one.note(Ask::Observe(claim("b", "found")));
    one.run();
    assert_eq!(disputed(&one), [(&b"a"[..], "tests")]);
}

/// Claims of sidecars that have asked Redis are in its order with all grants.
#[test]
fn a_claim_with_redis_disputes_nothing_that_is_released() {
    let medium = medium();
    let (mut one, mut other) = (serving(&medium), serving(&medium));
    other.grant("a", "early", 1);
    other.release("a", "early");
    other.run();
    let ticket = one.ask(take("a", "claimed"));
    one.run();
    one.ask(Ask::Release(key("a"), won(one.outcome(ticket)), Cause::Client));
    one.run();
    other.pass(MIRROR_WAIT);
    one.pass(3 * MIRROR);
    assert!(one.disputes.is_empty() && other.disputes.is_empty());
}

/// A client that releases by another sidecar than the one that granted, before that has written the
/// grant. One that takes the lock again with the same token keeps it.
#[test]
fn a_release_that_came_before_its_grant_ends_it() {
    for again in [false, true] {
        let medium = medium();
        let (mut one, mut other) = (serving(&medium), serving(&medium));
        other.grant("a", "v", 1);
        other.run();
        one.release("a", "v");
        one.run();
        one.pass(MIRROR_WAIT);
        assert_eq!(one.fence("a"), None);
        if again {
            other.grant("a", "v", 2);
        }
        other.pass(MIRROR_WAIT);
        one.pass(MIRROR);
        one.pass(MIRROR);
        other.pass(MIRROR);
        assert_eq!(other.fence("a"), again.then_some(2), "again: {again}");
        assert_eq!(other.fence("a"), one.fence("a"));
        // Only once.
        other.grant("a", "v", 9);
        other.run();
        other.pass(MIRROR_WAIT);
        one.pass(3 * MIRROR);
        assert_eq!(one.fence("a"), Some(9));
    }
}

/// Its end, which another sidecar has written, stands before it: whoever keeps a table by what Redis has
/// granted hears of that. Also when an earlier end of the same value is read between.
#[test]
fn a_grant_that_was_over_before_it_was_written_is_told() {
    let medium = medium();
    let (mut one, mut two) = (serving(&medium), serving(&medium));
    one.grant("a", "v", 7);
    let gone = |fence| Ask::ReleaseValue {
        key: key("a"),
        stored: b"v"[..].into(),
        other: None,
        cause: Cause::Client,
        fence: Some(fence),
    };
    two.note(gone(7));
    one.note(gone(5));
    for rig in [&mut two, &mut one] {
        rig.pass(Duration::from_millis(1));
        rig.pass(MIRROR_WAIT);
    }
    assert_eq!((one.fold.len(), &one.over[..]), (0, &[(key("a"), 7)][..]));
}
