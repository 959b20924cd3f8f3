//! Locks of a `ttl` rule, whose Lockside dies at each step of an acquire, a release and an extend.

use super::rig::{A, B, NIL, OK, ONE, STRANGER, Stage, Told, reply};

const RULE: &str = "[ledger]\nmax_clock_skew = 0\n[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\n\
                    mode = \"ttl\"\nsafety_ttl = \"1s\"\n";

/// With a TTL that no test outlives.
fn take(key: &str, token: &str) -> String {
    format!("SET {key} {token} NX EX 600")
}

fn is_held(stage: &Stage) -> bool {
    stage.client().ask("LOCKSIDE LOCKS lock:a").contains("\r\nlock:a\r\n")
}

/// Seconds that the ledger gives the lock.
fn left(stage: &Stage) -> u64 {
    let listed = stage.client().ask("LOCKSIDE LOCKS lock:a");
    let (_, rest) = listed.split_once("expires_in_seconds\r\n:").unwrap_or_default();
    rest.lines().next().and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Lockside dies at `place` of `command`, comes again, and says for good whether the lock is held.
fn cut_off(
    before: &str,
    command: &str,
    place: &str,
    expected: Option<bool>,
    redis_dies: bool,
) -> Option<(Stage, Told, bool)> {
    let mut stage = Stage::with(RULE)?;
    let mut client = stage.client();
    client.ask(before);
    let told = stage.last_words(&mut client, place, command);
    stage.start_again(redis_dies);
    let held = is_held(&stage);
    assert_eq!(expected.unwrap_or(held), held, "{place}");
    stage.crash_again();
    assert_eq!(is_held(&stage), held, "it was decided otherwise before");
    if held {
        assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    }
    if redis_dies {
        let next = if held { NIL } else { OK };
        assert_eq!(stage.client().ask(&take("lock:a", B)), next);
        stage.redis.start_again();
        stage.wait_mode("healthy");
        let there = if held { A } else { B };
        assert!(stage.redis.ask("GET lock:a").contains(there), "the ledger's holder is there");
        let ttl = stage.redis.ask("TTL lock:a");
        let ttl: i64 = ttl.trim_start_matches(':').trim().parse().unwrap();
        assert!((500..=600).contains(&ttl), "with its time: {ttl}");
    }
    Some((stage, told, held))
}

fn acquire(place: &str, expected: Option<bool>) {
    for redis_dies in [true, false] {
        let Some((stage, told, held)) =
            cut_off("PING", &take("lock:a", A), place, expected, redis_dies)
        else {
            return;
        };
        assert_eq!(told, if place.ends_with("-told") { reply(OK) } else { Told::Nothing });
        assert!(held || told == Told::Nothing, "an acknowledged lock is lost");
        let holder = if held { A } else { B };
        if held || redis_dies {
            assert!(stage.holds("lock:a", holder));
            assert_eq!(stage.client().ask("DEL lock:a"), ONE);
            assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), OK);
        }
    }
}

fn release(place: &str, expected: Option<bool>) {
    for redis_dies in [true, false] {
        let before = take("lock:a", A);
        let Some((stage, told, held)) = cut_off(&before, "DEL lock:a", place, expected, redis_dies)
        else {
            return;
        };
        assert_eq!(told, if place.ends_with("-told") { reply(ONE) } else { Told::Nothing });
        assert!(!held || told == Told::Nothing, "an acknowledged release is lost");
        let holder = if held { A } else { B };
        if held || redis_dies {
            assert!(stage.holds("lock:a", holder));
        }
    }
}

#[test]
fn acquire_once_the_set_is_sent() {
    acquire("set-sent", Some(false));
}

#[test]
fn acquire_once_the_set_is_answered() {
    acquire("set-answered", Some(false));
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
fn acquire_once_the_ledger_has_answered() {
    acquire("ledger-answered", Some(true));
}

#[test]
fn acquire_once_the_client_is_told() {
    acquire("acquire-told", Some(true));
}

#[test]
fn release_once_del_is_sent() {
    release("release-sent", Some(true));
}

#[test]
fn release_once_del_is_answered() {
    release("release-answered", Some(true));
}

#[test]
fn release_once_the_ledger_is_asked() {
    release("ledger-asked", None);
}

#[test]
fn release_before_the_commit() {
    release("exchange-begun", Some(true));
}

#[test]
fn release_after_the_commit() {
    release("exchange-committed", Some(false));
}

#[test]
fn release_once_the_client_is_told() {
    release("release-told", Some(false));
}

/// An extend that the ledger has outlives both.
#[test]
fn an_extend_after_the_commit() {
    let Some(mut stage) = Stage::with(RULE) else { return };
    let mut client = stage.client();
    assert_eq!(client.ask(&take("lock:a", A)), OK);
    stage.last_words(&mut client, "exchange-committed", "EXPIRE lock:a 5000");
    stage.start_again(true);
    assert!(left(&stage) > 4000, "it was durable");
    stage.redis.start_again();
    stage.wait_mode("healthy");
    assert!(left(&stage) > 4000);
    assert!(stage.holds("lock:a", A));
}

/// One that is told before it is written is lost with Lockside and Redis together; while Redis stays,
/// its time there is no less.
#[test]
fn an_extend_before_the_commit() {
    let Some(mut stage) = Stage::with(RULE) else { return };
    let mut client = stage.client();
    assert_eq!(client.ask(&take("lock:a", A)), OK);
    stage.last_words(&mut client, "exchange-begun", "EXPIRE lock:a 5000");
    stage.start_again(false);
    assert!(stage.holds("lock:a", A));
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    let ttl = stage.redis.ask("TTL lock:a");
    let ttl: u64 = ttl.trim_start_matches(':').trim().parse().unwrap();
    assert!(ttl > 4000, "a repair takes no time away: {ttl}");
}
