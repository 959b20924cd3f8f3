//! An acquire that the ledger has not answered in time: "not acquired" goes out when nothing can come
//! of its claim any more, and not before (SPEC 3).

use std::sync::atomic::Ordering;

use super::strict::{Did, Strict};
use super::*;
use crate::ledger::fold::Holder;
use crate::ledger::{Outcome, Position};

const NOT_ACQUIRED: &str =
    "-TRYAGAIN lockside: the ledger has not answered in time; not acquired\r\n";
const UNKNOWN: &str = "-TRYAGAIN lockside: unknown outcome: ";

/// After `acquire_timeout`, with the claim handed to the store.
fn given_up() -> Strict {
    let mut strict = Strict::new();
    strict.ledger.has_written.store(true, Ordering::Relaxed);
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.sent();
    strict.be_late();
    assert_eq!(strict.did(), [Did::Withdrew(Ticket(1))]);
    strict.assert_sent(&[]);
    assert_eq!(strict.told(), "", "nobody knows yet");
    strict
}

fn lost() -> Outcome {
    Outcome::Lost { holder: None }
}

#[test]
fn a_claim_is_withdrawn_before_its_client_is_told() {
    let mut strict = given_up();
    strict.win(1);
    assert_eq!(strict.told(), "", "that was on its way, and is void");
    strict.answer(1, lost());
    strict.assert_sent(&["EVALSHA"]);
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(strict.told(), NOT_ACQUIRED);
}

#[test]
fn a_claim_that_has_lost_meanwhile_is_a_plain_no() {
    let mut strict = given_up();
    let claim = crate::ledger::testing::claim("lock:a", "theirs");
    let at = Position { log: 2, seq: 9 };
    let holder = Arc::new(Holder { at, claim, fence: 3, heard: false });
    strict.answer(1, Outcome::Lost { holder: Some(holder) });
    strict.sent();
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(strict.told(), "$-1\r\n");
}

#[test]
fn a_ledger_that_stays_away_makes_it_unknown() {
    let mut strict = given_up();
    strict.be_late();
    strict.assert_sent(&["EVALSHA"]);
    strict.redis("*1\r\n:1\r\n");
    let told = strict.told();
    assert!(told.starts_with(UNKNOWN) && told.contains("withdrawn"), "{told}");
    strict.answer(1, lost());
    assert_eq!((strict.told(), strict.did()), (String::new(), vec![]), "too late for anybody");
}

#[test]
fn a_transaction_waits_for_its_withdrawal_too() {
    for stays_away in [false, true] {
        let mut strict = Strict::new();
        strict.ledger.has_written.store(true, Ordering::Relaxed);
        strict.ask("MULTI", OK);
        strict.ask(TAKE, QUEUED);
        strict.client(&["EXEC"]);
        strict.redis("*1\r\n+OK\r\n");
        strict.asked();
        strict.be_late();
        assert_eq!((strict.told(), strict.did()), (String::new(), vec![Did::Withdrew(Ticket(1))]));
        strict.sent();
        if stays_away {
            strict.be_late();
        } else {
            strict.win(1);
            strict.assert_sent(&[]);
            strict.answer(1, lost());
        }
        strict.assert_sent(&["EVALSHA"]);
        strict.redis("*1\r\n:1\r\n");
        let told = strict.told();
        assert_eq!(told.contains("unknown outcome"), stays_away, "{told}");
        assert_eq!(told.contains("not acquired"), !stays_away, "{told}");
    }
}

/// The release of a claim that nobody will be told of is durable before its client is told no.
#[test]
fn a_claim_that_has_won_for_nobody_is_released_first() {
    for stays_away in [false, true] {
        let mut fast = Strict::new();
        fast.rig.shared.guarantee = Guarantee::Fast;
        fast.ledger.is_uncalm.store(true, Ordering::Relaxed);
        fast.client(&[TAKE]);
        fast.redis(OK);
        fast.asked();
        fast.win(1);
        fast.redis("*1\r\n:0\r\n");
        assert_eq!(fast.told(), "");
        let did = fast.did();
        assert_eq!(did[0], fast.given_up());
        if stays_away {
            fast.be_late();
            assert!(fast.told().starts_with(UNKNOWN));
        } else {
            fast.answer(2, Outcome::Released);
            assert!(fast.told().starts_with("-TRYAGAIN lockside: not acquired"));
        }
    }
}

/// The provisional key does not run out under a claim that is under way; one that a repair has made
/// permanent meanwhile stays so.
#[test]
fn a_provisional_key_is_refreshed_every_half_safety_ttl() {
    let mut strict = Strict::new();
    strict.rig.shared.acquire_timeout = Some(Duration::from_secs(60));
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.sent();
    assert_eq!(strict.session.deadline(), Some(Duration::from_secs(1 + 5)));
    strict.be_late();
    let sent = strict.sent();
    assert!(sent[0].starts_with("EVAL ") && sent[0].contains("PEXPIRE"), "{sent:?}");
    assert!(sent[0].ends_with(" 10000"), "{sent:?}");
    assert_eq!(strict.did(), []);
    // One that Redis does not answer is not followed by others.
    strict.be_late();
    assert!(strict.sent().is_empty());
    // Its answer is of no interest, whenever it comes.
    strict.win(1);
    strict.assert_sent(&["EVALSHA"]);
    strict.redis("*1\r\n:-1\r\n");
    assert_eq!(strict.told(), "");
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(strict.told(), OK);
}

/// Redis took nothing: there is no key to keep.
#[test]
fn a_claim_without_a_key_in_redis_refreshes_nothing() {
    let mut strict = Strict::new();
    strict.rig.shared.acquire_timeout = Some(Duration::from_secs(60));
    strict.client(&[TAKE]);
    strict.redis("-READONLY You can't write against a read only replica.\r\n");
    strict.asked();
    assert_eq!(strict.session.deadline(), Some(Duration::from_secs(1 + 60)));
}
