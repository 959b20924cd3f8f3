//! `guarantee = "strict"`: transactions, and what becomes of a session whose link was lost.

use super::*;

#[test]
fn a_transaction_is_claimed_before_it_is_answered() {
    let mut strict = Strict::held_by("v");
    strict.ask("MULTI", OK);
    strict.ask("DEL lock:a", QUEUED);
    strict.ask(TAKE, QUEUED);
    strict.client(&["EXEC"]);
    strict.sent();
    strict.redis("*2\r\n:1\r\n+OK\r\n");
    let did = strict.did();
    assert!(
        matches!(&did[..], [Did::Asked(_, first), Did::Asked(_, second)]
            if matches!(first[..], [Ask::Release(..)]) && matches!(second[..], [Ask::Claim(_)])),
        "{did:?}"
    );
    strict.answer(1, Outcome::Released);
    strict.assert_sent(&[]);
    strict.win(2);
    strict.assert_sent(&["EVALSHA"]);
    strict.redis(HELD_NOW);
    assert_eq!(strict.told(), "*2\r\n:1\r\n+OK\r\n");
}

#[test]
fn a_transaction_whose_claim_loses_says_to_whom() {
    let mut strict = Strict::new();
    strict.ask("MULTI", OK);
    strict.ask(TAKE, QUEUED);
    // It would show what is given back.
    strict.ask("GET lock:a", QUEUED);
    strict.client(&["EXEC"]);
    strict.redis(&format!("*2\r\n+OK\r\n$36\r\n{TOKEN}\r\n"));
    strict.asked();
    strict.sent();
    let claim = Claim {
        key: LockKey::new(0, b"lock:a"),
        stored: b"worker:1".as_slice().into(),
        other: None,
        rule: "r".into(),
        client: "c".into(),
        at_ms: 0,
        asked_ttl_ms: None,
        expires_at_ms: None,
        marker: None,
    };
    let holder = Arc::new(Holder { at: CLAIM, claim, fence: 1, heard: true });
    strict.answer(1, Outcome::Lost { holder: Some(holder) });
    strict.assert_sent(&[CAD]);
    strict.redis("*1\r\n:1\r\n");
    let lost = "-TRYAGAIN lockside: not acquired: lost to worker\r\n";
    assert_eq!(strict.told(), format!("*2\r\n{lost}{lost}"));
}

/// The link of a session that waits for another's acquire is lost: when its turn comes, its new link
/// is brought to its state first, or it would ask in another database.
#[test]
fn a_turn_to_ask_after_the_link_was_lost() {
    let mut strict = Strict::new();
    assert_eq!(strict.ask("SELECT 3", OK), OK);
    let question = Question { user: Arc::from(&b"default"[..]), key: LockKey::new(3, b"lock:a") };
    strict.rig.flights.join(&question, (9, 9), Duration::ZERO, 0);
    strict.sent();
    strict.client(&[TAKE]);
    strict.cut();
    strict.assert_sent(&[]);
    assert!(strict.with(|session, cx| session.verdict(Verdict::Ask, cx)));
    strict.assert_sent(&["SELECT 3", SENT_SET]);
    strict.redis(OK);
    strict.redis(OK);
    let asks = strict.asked();
    assert!(matches!(&asks[..], [Ask::Claim(claim)] if claim.key.db() == 3), "{asks:?}");
}

/// Redis watches, and then takes no lock writes: who is served here in its place can't rely on what
/// it watches.
#[test]
fn a_watch_of_redis_is_lost_when_exec_is_not_its_own() {
    let mut strict = Strict::held_by("v");
    assert_eq!(strict.ask("WATCH lock:a", OK), OK);
    strict.shared.board.show(Mode::Degraded, true);
    strict.client(&["MULTI", "DEL lock:a", "EXEC"]);
    assert_eq!(strict.told(), "+OK\r\n+QUEUED\r\n*-1\r\n");
    // The next one begins anew.
    strict.client(&["MULTI", "GET lock:a", "EXEC"]);
    assert_eq!(strict.told(), "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n");
    assert_eq!(strict.did(), []);
}

/// Redis counts the arguments before it does anything, and a transaction with such a command is over.
#[test]
fn a_wrong_number_of_arguments_without_redis() {
    let wrong = |name: &str| format!("-ERR wrong number of arguments for '{name}' command\r\n");
    let mut strict = Strict::new();
    strict.shared.board.show(Mode::Degraded, false);
    strict.client(&["SETNX lock:a", "MULTI", "SET lock:a", "DEL lock:b", "EXEC", "EXEC"]);
    let abort = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let told = [wrong("setnx").as_str(), OK, &wrong("set"), QUEUED, abort].concat();
    assert_eq!(strict.told(), told + "-ERR EXEC without MULTI\r\n");
    assert_eq!(strict.did(), []);
}

#[test]
fn replies_that_are_not_wanted_without_redis() {
    let mut strict = Strict::new();
    strict.shared.board.show(Mode::Degraded, false);
    strict.client(&["CLIENT REPLY SKIP", "ECHO a", "ECHO b"]);
    assert_eq!(strict.told(), "$1\r\nb\r\n");

    let mut strict = Strict::new();
    strict.client(&["CLIENT REPLY OFF"]);
    strict.redis(OK);
    strict.client(&["SET plain 1"]);
    strict.cut();
    assert_eq!((strict.told().as_str(), strict.session.has_ended()), ("", false));
    // Whether its OK is wanted, nobody can tell.
    strict.client(&["CLIENT REPLY ON"]);
    strict.cut();
    assert!(strict.session.has_ended());
}
