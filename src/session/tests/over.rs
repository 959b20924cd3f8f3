//! Releases that meet a hold which is over, and claims of which only some have won: what is told, and when.

use super::company::{OTHER, bulk, in_company, lock};
use super::strict::{CLAIM, Did, Strict, record, touched};
use super::*;
use crate::ledger::{Cause, Outcome, Position};
use crate::mode::Mode;

/// A client that watches `lock:a`, has seen that it holds it, and has queued its release and `more`.
fn watching(strict: &mut Strict, more: &[&str]) {
    strict.shared.table.grant(lock(), record(TOKEN));
    strict.ask("WATCH lock:a", OK);
    strict.client(&["GET lock:a"]);
    strict.redis(&bulk(TOKEN));
    if strict.ledger.has_company.load(std::sync::atomic::Ordering::Relaxed) {
        strict.read(1, Some(TOKEN));
    }
    assert_eq!(strict.told(), bulk(TOKEN));
    strict.ask("MULTI", OK);
    strict.ask("DEL lock:a", QUEUED);
    more.iter().for_each(|line| drop(strict.ask(line, QUEUED)));
    strict.sent();
    strict.did();
    strict.client(&["EXEC"]);
}

/// The ledger is read before EXEC is sent: a watched lock that is over has changed, whatever Redis has.
#[test]
fn a_watched_lock_that_was_released_without_redis() {
    for now in [None, Some(OTHER)] {
        let mut strict = in_company();
        watching(&mut strict, &[]);
        strict.assert_sent(&[]);
        if let Some(other) = now {
            let claim = Some(Position { log: 2, seq: 9 });
            strict
                .shared
                .table
                .grant(lock(), crate::lock::record::Record { claim, ..record(other) });
            strict.answers(2, Vec::new());
        } else {
            strict.read(2, None);
        }
        strict.assert_sent(&["DISCARD"]);
        strict.redis(OK);
        assert_eq!(strict.told(), "*-1\r\n");
    }
}

/// It is released by another between that and the own entry: what is told claims no release.
#[test]
fn a_watched_lock_that_is_released_meanwhile() {
    let more: [(&[&str], &str, &str); 3] = [
        (&[], "*1\r\n:1\r\n", "*-1\r\n"),
        (&["GET lock:b"], "*2\r\n:1\r\n$-1\r\n", "*-1\r\n"),
        (&["SET plain 1"], "*2\r\n:1\r\n+OK\r\n", "*2\r\n:0\r\n+OK\r\n"),
    ];
    for (lines, reply, told) in more {
        for is_taken_again in [false, true] {
            let mut strict = Strict::new();
            watching(&mut strict, lines);
            strict.assert_sent(&["EXEC"]);
            strict.redis(reply);
            assert_eq!(strict.asked(), [Ask::Release(lock(), CLAIM, Cause::Client)]);
            match is_taken_again {
                true => strict.shared.table.grant(lock(), record(OTHER)),
                false => drop(strict.shared.table.release(&lock())),
            }
            strict.answer(1, Outcome::NotHeld);
            assert_eq!(strict.told(), told, "{lines:?}");
            assert!(strict.did().contains(&touched()), "Redis is brought in line");
        }
    }
}

/// Of two who release one hold at a time, one has released it.
#[test]
fn a_blind_release_that_comes_second() {
    for (line, reply, told) in
        [("DEL lock:a", ":1\r\n", ":0\r\n"), ("GETDEL lock:a", &*bulk(TOKEN), "$-1\r\n")]
    {
        let mut strict = Strict::held_by(TOKEN);
        strict.client(&[line]);
        strict.redis(reply);
        strict.shared.table.release(&lock());
        strict.answer(1, Outcome::NotHeld);
        assert_eq!(strict.told(), told, "{line}");
    }
}

/// One that is named twice is released once.
#[test]
fn a_lock_that_is_named_twice() {
    let mut strict = Strict::held_by(TOKEN);
    strict.client(&["DEL lock:a lock:a"]);
    strict.redis(":1\r\n");
    strict.answers(1, vec![Outcome::Released, Outcome::NotHeld]);
    assert_eq!(strict.told(), ":1\r\n");
}

/// Two locks in one transaction, of which one is another's: what has won is withdrawn, and that is
/// durable, before the client is told (SPEC 3). A sidecar that died in between would leave a lock whose
/// client was told no.
#[test]
fn what_has_won_beside_what_has_lost_is_withdrawn_before_it_is_told() {
    let mut strict = Strict::new();
    strict.ledger.has_written.store(true, std::sync::atomic::Ordering::Relaxed);
    strict.ask("MULTI", OK);
    strict.ask(TAKE, QUEUED);
    strict.ask(&TAKE.replace("lock:a", "lock:b"), QUEUED);
    strict.client(&["EXEC"]);
    strict.redis("*2\r\n+OK\r\n+OK\r\n");
    strict.asked();
    strict.sent();
    let won = Outcome::Won { claim: CLAIM, fence: 1 };
    strict.answers(1, vec![won, Outcome::Lost { holder: None }]);
    let did = strict.did();
    assert!(did.contains(&Did::Withdrew(Ticket(1))), "{did:?}");
    strict.assert_sent(&[]);
    strict.answers(1, vec![Outcome::Lost { holder: None }; 2]);
    strict.assert_sent(&["EVALSHA"]);
    strict.redis("*2\r\n:1\r\n:1\r\n");
    assert!(strict.told().contains("not acquired: lost to"));

    // Not in time: it is not known whether it was acquired.
    let mut strict = Strict::new();
    strict.ledger.has_written.store(true, std::sync::atomic::Ordering::Relaxed);
    strict.ask("MULTI", OK);
    strict.ask(TAKE, QUEUED);
    strict.ask(&TAKE.replace("lock:a", "lock:b"), QUEUED);
    strict.client(&["EXEC"]);
    strict.redis("*2\r\n+OK\r\n+OK\r\n");
    let won = Outcome::Won { claim: CLAIM, fence: 1 };
    strict.answers(1, vec![won, Outcome::Lost { holder: None }]);
    strict.be_late();
    strict.redis("*2\r\n:1\r\n:1\r\n");
    assert!(strict.told().contains("unknown outcome"));
}

/// The same without Redis: it is evaluated again once what has won is given up, durably.
#[test]
fn without_redis_what_has_won_is_given_up_before_the_next_try() {
    let mut strict = Strict::new();
    strict.shared.board.show(Mode::Degraded, false);
    let line = "MSETNX lock:a 550e8400-e29b-41d4-a716-446655440000 lock:b 550e8400-e29b-41d4-a716-446655440000";
    strict.client(&[line]);
    assert_eq!(strict.asked().len(), 2);
    // The other's claim was first, and has been read.
    strict.shared.table.grant(LockKey::new(0, b"lock:b"), record(OTHER));
    let won = Outcome::Won { claim: CLAIM, fence: 1 };
    strict.answers(1, vec![won, Outcome::Lost { holder: None }]);
    let did = strict.did();
    let given_up = Ask::Release(lock(), CLAIM, Cause::Undelivered);
    assert!(
        did.iter().any(
            |did| matches!(did, Did::Asked(Asker::Session(..), asks) if *asks == [given_up.clone()])
        ),
        "{did:?}"
    );
    assert_eq!(strict.told(), "");
    strict.answer(2, Outcome::Released);
    assert_eq!(strict.told(), ":0\r\n");
}
