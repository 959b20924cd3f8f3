//! Acquires and releases whose Lockside dies while Redis is down.

use super::rig::{A, B, NIL, OK, ONE, STRANGER, Stage, Told, ZERO, give, reply, take};

/// Sends `command` after `before`, ends Lockside at `place`, and says whether `A` has `lock:a`
/// afterwards; none if this is not to be tested here. `expected` is what it must be; none: either.
fn cut_off(
    before: &str,
    command: &str,
    place: &str,
    expected: Option<bool>,
) -> Option<(Stage, Told, bool)> {
    let mut stage = Stage::without_redis()?;
    let mut client = stage.client();
    client.ask(before);
    let told = stage.last_words(&mut client, place, command);
    stage.subject.start_again();
    let held = stage.holds("lock:a", A);
    assert_eq!(expected.unwrap_or(held), held, "{place}");
    stage.assert_others_unharmed();
    stage.crash_again();
    assert_eq!(stage.holds("lock:a", A), held, "it was decided otherwise before");
    let next = if held { NIL } else { OK };
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), next);
    if !held {
        assert_eq!(stage.client().ask(&give("lock:a", STRANGER)), ONE);
    }
    Some((stage, told, held))
}

fn acquire(place: &str, expected: Option<bool>) {
    let Some((mut stage, told, held)) = cut_off("PING", &take("lock:a", A), place, expected) else {
        return;
    };
    assert_eq!(told, if place.ends_with("-told") { reply(OK) } else { Told::Nothing });
    assert!(held || told == Told::Nothing, "an acknowledged lock is lost");
    if held && told == Told::Nothing {
        assert_eq!(stage.client().ask(&take("lock:a", A)), OK, "it is the same grant");
    }
    stage.redis.start_again();
    stage.assert_locks(if held { &[("lock:a", A)] } else { &[] });
    let released = stage.client().ask("DEL lock:a");
    assert_eq!(released, if held { ONE } else { ZERO });
    assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
    stage.assert_locks(&[("lock:a", B)]);
}

fn release(command: &str, place: &str, expected: Option<bool>) {
    let Some((mut stage, told, held)) = cut_off(&take("lock:a", A), command, place, expected)
    else {
        return;
    };
    assert_eq!(told, if place.ends_with("-told") { reply(ONE) } else { Told::Nothing });
    assert!(!held || told == Told::Nothing, "an acknowledged release is lost");
    stage.redis.start_again();
    stage.assert_locks(if held { &[("lock:a", A)] } else { &[] });
    let again = stage.client().ask(&give("lock:a", A));
    assert_eq!(again, if held { ONE } else { ZERO });
    assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
}

#[test]
fn acquire_once_the_ledger_is_asked() {
    acquire("ledger-asked", None);
}

#[test]
fn acquire_before_the_commit() {
    acquire("exchange-begun", Some(false));
}

#[test]
fn acquire_after_the_commit() {
    acquire("exchange-committed", Some(true));
}

#[test]
fn acquire_once_the_client_is_told() {
    acquire("served-told", Some(true));
}

#[test]
fn release_once_the_ledger_is_asked() {
    release("DEL lock:a", "ledger-asked", None);
}

#[test]
fn release_before_the_commit() {
    release("DEL lock:a", "exchange-begun", Some(true));
}

#[test]
fn release_after_the_commit() {
    release("DEL lock:a", "exchange-committed", Some(false));
}

#[test]
fn release_once_the_client_is_told() {
    release("DEL lock:a", "served-told", Some(false));
}

#[test]
fn release_by_token_before_the_commit() {
    release(&give("lock:a", A), "exchange-begun", Some(true));
}

#[test]
fn release_by_token_once_the_client_is_told() {
    release(&give("lock:a", A), "served-told", Some(false));
}
