//! Transactions that are answered without Redis: claims go first, and nothing is released for an
//! evaluation that comes to nothing.

use super::strict::{CLAIM, Did, Strict};
use super::*;
use crate::ledger::{Cause, Outcome};
use crate::mode::Mode;

const NOT_HELD: &str = "-TRYAGAIN lockside: unknown outcome: the lock had changed";

fn key(name: &str) -> LockKey {
    LockKey::new(0, name.as_bytes())
}

/// Without Redis, with these locks held by the client's token.
fn served(held: &[&str]) -> Strict {
    let strict = Strict::new();
    for name in held {
        strict.shared.table.grant(key(name), super::strict::record(TOKEN));
    }
    strict.shared.board.show(Mode::Degraded, false);
    strict
}

fn release(name: &str) -> Ask {
    Ask::Release(key(name), CLAIM, Cause::Client)
}

/// MULTI, these commands, EXEC.
fn exec(strict: &mut Strict, commands: &[&str]) {
    strict.client(&["MULTI"]);
    strict.client(commands);
    strict.client(&["EXEC"]);
    let queued = "+QUEUED\r\n".repeat(commands.len());
    assert_eq!(strict.told(), format!("+OK\r\n{queued}"));
}

const MOVE: [&str; 2] = ["DEL lock:a", "SET lock:b v NX"];

#[test]
fn a_claim_goes_before_the_release() {
    let mut strict = served(&["lock:a"]);
    exec(&mut strict, &MOVE);
    assert!(matches!(&strict.asked()[..], [Ask::Claim(claim)] if claim.key == key("lock:b")));
    strict.win(1);
    assert_eq!(strict.told(), "");
    assert_eq!(strict.asked(), [release("lock:a")]);
    strict.answer(2, Outcome::Released);
    assert_eq!(strict.told(), "*2\r\n:1\r\n+OK\r\n");
}

/// What the second evaluation says of the release is true: it was not made by the first.
#[test]
fn a_transaction_that_loses_a_claim_has_released_nothing() {
    let mut strict = served(&["lock:a"]);
    exec(&mut strict, &MOVE);
    strict.asked();
    strict.shared.table.grant(key("lock:b"), super::strict::record("theirs"));
    strict.answer(1, Outcome::Lost { holder: None });
    let did = strict.did();
    let asker = Asker::Session(0, (1, 1));
    assert_eq!(did.last(), Some(&Did::Asked(asker, vec![release("lock:a")])), "{did:?}");
    strict.answer(2, Outcome::Released);
    assert_eq!(strict.told(), "*2\r\n:1\r\n$-1\r\n");
}

/// One of two was over already, and the other is released now: neither 1 nor 0 would be true of both.
#[test]
fn what_was_released_in_part_is_not_answered_as_if_it_were_not() {
    let mut strict = served(&["lock:a", "lock:b"]);
    strict.client(&["DEL lock:a lock:b"]);
    assert_eq!(strict.asked(), [release("lock:a"), release("lock:b")]);
    strict.answers(1, vec![Outcome::Released, Outcome::NotHeld]);
    let told = strict.told();
    assert!(told.starts_with(NOT_HELD), "{told}");
}

/// A claim that has won is given up when the release that follows it has missed, and that is durable
/// before the next try.
#[test]
fn a_release_that_has_missed_gives_the_claim_up() {
    let mut strict = served(&["lock:a"]);
    exec(&mut strict, &MOVE);
    strict.asked();
    strict.win(1);
    strict.asked();
    strict.shared.table.release(&key("lock:a"));
    strict.answer(2, Outcome::NotHeld);
    let did = strict.did();
    let given_up = Ask::Release(key("lock:b"), CLAIM, Cause::Undelivered);
    assert!(did.contains(&Did::Asked(Asker::Session(0, (1, 1)), vec![given_up])), "{did:?}");
    strict.answer(3, Outcome::Released);
    assert!(matches!(&strict.did()[..], [.., Did::Asked(_, asks)] if !asks.is_empty()));
    assert_eq!(strict.told(), "");
}

/// It has kept others waiting for as long as one may, and is refused as a whole: the ledger is not
/// read so that it could do so again.
#[test]
fn a_script_that_takes_too_long_runs_once() {
    for (body, bound) in
        [("while true do end", "long"), ("return string.rep('x', 1e9)", "much memory")]
    {
        let mut strict = served(&[]);
        strict.client(&[&format!("EVAL \"{body}\" 1 lock:a")]);
        let told = strict.told();
        assert!(
            told.starts_with(&format!("-ERR lockside: the script takes too {bound}")),
            "{told}"
        );
        assert!(strict.did().is_empty());
    }
}
