//! `guarantee = "fast"`: the fence comes from Redis, the ledger hears of it before the client does,
//! and where Redis's word is none a claim decides.

use super::strict::{CLAIM, Did, Strict};
use super::*;
use crate::ledger::{Cause, Outcome};
use crate::mode::Mode;

const FENCE_7: &str = "*1\r\n:7\r\n";
const NO_COUNTER: &str = "*1\r\n:-2\r\n";
const NOPERM: &str = "-NOPERM this user has no permissions to access one of the keys\r\n";

fn fast() -> Strict {
    let mut fast = Strict::new();
    fast.rig.shared.guarantee = Guarantee::Fast;
    fast
}

fn fence(fast: &Strict) -> Option<u64> {
    fast.shared.table.find(&LockKey::new(0, b"lock:a")).and_then(|record| record.fence)
}

#[test]
fn redis_gives_the_fence_and_the_ledger_follows() {
    let mut fast = fast();
    fast.client(&[TAKE]);
    fast.redis(OK);
    let sent = fast.sent();
    assert!(sent[1].contains(" 2 lock:a counter s"), "{sent:?}");
    assert!(sent[1].ends_with(" 0 0"), "the database, and the floor: {sent:?}");
    fast.redis(FENCE_7);
    assert_eq!(fast.told(), OK);
    let did = fast.did();
    assert!(
        matches!(&did[..], [Did::Asked(Asker::Nobody, asks)] if matches!(asks[..], [Ask::Grant(_, 7)])),
        "{did:?}"
    );
    assert_eq!(fence(&fast), Some(7));

    // Released before the ledger has told the table of it: by its value.
    assert_eq!(fast.ask("DEL lock:a", ":1\r\n"), ":1\r\n");
    let did = fast.did();
    assert!(
        matches!(&did[..], [Did::Asked(Asker::Nobody, asks)] if matches!(&asks[..],
            [Ask::ReleaseValue { stored, cause: Cause::Client, .. }] if **stored == *TOKEN.as_bytes())),
        "{did:?}"
    );
}

#[test]
fn what_ran_out_or_is_anothers_is_never_ok() {
    for reply in ["*1\r\n:0\r\n", "*1\r\n:-1\r\n"] {
        let mut fast = fast();
        fast.client(&[TAKE]);
        fast.redis(OK);
        fast.redis(reply);
        assert!(fast.told().starts_with("-TRYAGAIN lockside: not acquired"));
        assert_eq!(fast.did(), []);
    }
}

/// Without a counter, or a user's right to it, the claim decides; then the key is made permanent
/// without a fence.
#[test]
fn without_a_counter_a_claim_decides() {
    for refusal in [NO_COUNTER, NOPERM] {
        let mut fast = fast();
        fast.client(&[TAKE]);
        fast.redis(OK);
        fast.redis(refusal);
        assert_eq!(fast.told(), "");
        assert!(matches!(fast.asked()[..], [Ask::Claim(_)]));
        fast.sent();
        fast.win(1);
        let sent = fast.sent();
        assert!(sent[0].contains(" 1 lock:a s"), "{sent:?}");
        fast.redis(HELD_NOW);
        assert_eq!(fast.told(), OK);
    }
}

/// Redis answers, and has another's value by then: that is another's grant, on its way here.
#[test]
fn a_claim_that_redis_does_not_confirm_is_withdrawn() {
    let mut fast = fast();
    fast.client(&[TAKE]);
    fast.redis(OK);
    fast.redis(NO_COUNTER);
    fast.asked();
    fast.win(1);
    fast.redis("*1\r\n:0\r\n");
    assert_eq!(fast.did()[0], fast.given_up());
    fast.answer(2, Outcome::Released);
    assert!(fast.told().starts_with("-TRYAGAIN lockside: not acquired"));
}

#[test]
fn a_claim_takes_its_fence_from_redis_too() {
    let mut fast = fast();
    fast.ledger.is_uncalm.store(true, std::sync::atomic::Ordering::Relaxed);
    fast.client(&[TAKE]);
    fast.redis(OK);
    assert!(matches!(fast.asked()[..], [Ask::Claim(_)]));
    fast.sent();
    fast.answer(1, Outcome::Won { claim: CLAIM, fence: 5 });
    let sent = fast.sent();
    assert!(sent[0].ends_with(" 0 5"), "above the claim's own: {sent:?}");
    fast.redis(FENCE_7);
    assert_eq!(fast.told(), "", "not before the ledger has it");
    let asks = fast.asked();
    assert!(matches!(asks[..], [Ask::Grant(_, 7)]), "{asks:?}");
    fast.answer(2, Outcome::Won { claim: CLAIM, fence: 7 });
    assert_eq!(fast.told(), OK);
}

/// Another's grant with a higher fence than the claim's own has come to the ledger in between.
#[test]
fn a_claim_that_is_superseded_before_its_fence_is_written_is_none() {
    let mut fast = fast();
    fast.ledger.is_uncalm.store(true, std::sync::atomic::Ordering::Relaxed);
    fast.client(&[TAKE]);
    fast.redis(OK);
    fast.asked();
    fast.win(1);
    fast.redis(FENCE_7);
    fast.asked();
    fast.answer(2, Outcome::Lost { holder: None });
    assert_eq!(fast.told(), "");
    fast.answer(3, Outcome::NotHeld);
    assert!(fast.told().starts_with("-TRYAGAIN lockside: not acquired"));
    assert!(fast.did().contains(&Did::Touched(b"lock:a".to_vec())));
}

/// The mode has changed while the reply was under way: others may have been granted the lock.
#[test]
fn a_grant_that_the_ledger_does_not_take_is_claimed() {
    let mut fast = fast();
    fast.client(&[TAKE]);
    fast.redis(OK);
    fast.ledger.refuses_grants.store(true, std::sync::atomic::Ordering::Relaxed);
    fast.redis(FENCE_7);
    assert_eq!(fast.told(), "");
    assert!(matches!(fast.asked()[..], [Ask::Claim(_)]));
    fast.sent();
    fast.answer(1, Outcome::Lost { holder: None });
    fast.assert_sent(&["EVALSHA"]);
    fast.redis("*1\r\n:1\r\n");
    assert_eq!(fast.told(), "$-1\r\n");
    assert_eq!(fence(&fast), None);
}

#[test]
fn without_redis_nothing_is_claimed_before_the_mode_says_so() {
    let mut fast = fast();
    fast.ledger.is_uncalm.store(true, std::sync::atomic::Ordering::Relaxed);
    fast.client(&[TAKE]);
    fast.redis("-READONLY You can't write against a read only replica.\r\n");
    assert!(fast.told().starts_with("-TRYAGAIN lockside: not acquired: Redis did not answer"));
    assert_eq!(fast.did(), []);
    assert_eq!(fast.shared.board.view().mode, Mode::Healthy);
}

#[test]
fn a_transaction_is_fenced_and_falls_back_to_claims() {
    let mut fast = fast();
    fast.ask("MULTI", OK);
    fast.ask(TAKE, QUEUED);
    fast.client(&["EXEC"]);
    fast.sent();
    fast.redis("*1\r\n+OK\r\n");
    let sent = fast.sent();
    assert!(sent[0].contains(" 2 lock:a counter s"), "{sent:?}");
    fast.redis(NO_COUNTER);
    assert!(matches!(fast.asked()[..], [Ask::Claim(_)]));
    fast.win(1);
    fast.sent();
    fast.redis(HELD_NOW);
    assert_eq!(fast.told(), "*1\r\n+OK\r\n");
}

/// As for a single acquire: the fence that Redis has given is in the ledger before the client is told.
#[test]
fn the_fences_of_a_transactions_claims_are_written_first() {
    for stands in [true, false] {
        let mut fast = fast();
        fast.ledger.is_uncalm.store(true, std::sync::atomic::Ordering::Relaxed);
        fast.ask("MULTI", OK);
        fast.ask(TAKE, QUEUED);
        fast.client(&["EXEC"]);
        fast.redis("*1\r\n+OK\r\n");
        fast.asked();
        fast.win(1);
        fast.redis(FENCE_7);
        assert_eq!(fast.told(), "");
        let asks = fast.asked();
        assert!(matches!(asks[..], [Ask::Grant(_, 7)]), "{asks:?}");
        if stands {
            fast.answer(2, Outcome::Won { claim: CLAIM, fence: 7 });
            assert_eq!(fast.told(), "*1\r\n+OK\r\n");
        } else {
            fast.answer(2, Outcome::Lost { holder: None });
            let told = fast.told();
            assert!(told.contains("TRYAGAIN lockside") && !told.contains("+OK"), "{told}");
        }
    }
}

/// A flush takes the counter: it goes on above all that Redis may have given, before anybody asks.
#[test]
fn a_flush_sets_the_counter_again() {
    for (line, db, restores) in
        [("FLUSHALL", 0, true), ("FLUSHALL", 3, true), ("FLUSHDB", 0, true), ("FLUSHDB", 3, false)]
    {
        let mut fast = fast();
        if db != 0 {
            fast.ask(&format!("SELECT {db}"), OK);
            fast.sent();
        }
        fast.client(&[line]);
        let sent = fast.sent();
        assert_eq!(sent.len(), 1 + usize::from(restores), "{sent:?}");
        fast.redis(OK);
        if restores {
            let room = crate::ledger::fold::FENCE_GAP / 16;
            assert!(sent[1].ends_with(&format!(" 1 counter {room} {db}")), "{sent:?}");
            assert_eq!(fast.told(), "", "the next acquire finds it there");
            fast.redis("*1\r\n:1\r\n");
        }
        assert_eq!(fast.told(), OK);
        assert!(!fast.session.has_operation());
    }
}

/// Whatever becomes of that, the client has the flush's own reply.
#[test]
fn a_flush_is_answered_as_redis_answered_it() {
    let mut fast = fast();
    fast.client(&["FLUSHALL"]);
    fast.redis(NOPERM);
    fast.redis(NOPERM);
    assert_eq!(fast.told(), NOPERM);
    fast.client(&["FLUSHALL"]);
    fast.redis(OK);
    fast.cut();
    assert_eq!(fast.told(), OK);
    let mut strict = Strict::new();
    assert_eq!(strict.ask("FLUSHALL", OK), OK, "there is no counter");
}
