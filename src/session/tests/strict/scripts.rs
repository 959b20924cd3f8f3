//! Scripts that take a lock without knowing that the ledger has given it to another.

use super::*;

const SCRIPT: &str = "return redis.call('SETNX', KEYS[1], ARGV[1])";
/// What the envelope reports of it: the lock was taken, provisionally, by a string.
const TOOK: &str = "*3\r\n$16\r\nhdbaaaaahdbaaaaa\r\n$50\r\n\
    t1 0 1 -1 37 s550e8400-e29b-41d4-a716-446655440000\r\n:1\r\n";

/// The holder is put into Redis, so that the script says no in its own words. It may have released
/// meanwhile, and a repair that looked in between found nothing: so one looks again afterwards, or a
/// lock that nobody holds would stand in Redis.
#[test]
fn a_holder_that_is_put_into_redis_is_looked_at_again() {
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
    let holder = Holder { at: CLAIM, claim, fence: 1, heard: true };
    let mut strict = Strict::new();
    strict.client(&[&format!("EVAL \"{SCRIPT}\" 1 lock:a {TOKEN}")]);
    strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
    strict.redis(TOOK);
    strict.asked();
    strict.sent();
    strict.answer(1, Outcome::Lost { holder: Some(Arc::new(holder)) });
    assert_eq!(strict.did(), [touched()], "Redis did not know of the holder");
    strict.assert_sent(&[CAD]);
    strict.redis("*1\r\n:1\r\n");
    strict.assert_sent(&["SET lock:a worker:1 NX"]);
    assert_eq!(strict.did(), []);
    strict.redis(OK);
    assert_eq!(strict.did(), [touched()]);
    strict.assert_sent(&["EVALSHA"]);
    strict.redis(":0\r\n");
    assert_eq!(strict.told(), ":0\r\n");
}

/// More locks are held than may be: what the script took is given back, and what it has released stays
/// released.
#[test]
fn what_a_script_released_is_released_where_what_it_took_finds_no_room() {
    let moved = format!(
        "*3\r\n$16\r\nhdbaaaaahdbaaaaa\r\n$100\r\nr1 0 0 -1 37 s{TOKEN}t2 0 1 -1 37 s{TOKEN}\r\n:1\r\n"
    );
    let mut strict = Strict::new();
    strict.rig.shared.table = Arc::new(Table::new(1));
    let lock = LockKey::new(0, b"lock:a");
    strict.shared.table.grant(lock.clone(), record(TOKEN));
    strict.client(&[&format!("EVAL move 2 lock:a lock:b {TOKEN}")]);
    strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
    strict.sent();
    strict.redis(&moved);
    let release = Ask::Release(lock, CLAIM, Cause::Client);
    assert_eq!(strict.did(), [Did::Asked(Asker::Nobody, vec![release])]);
    strict.assert_sent(&[CAD]);
    strict.redis("*1\r\n:1\r\n");
    assert!(strict.told().starts_with("-OOM lockside"));
}

/// Without Redis, by a table that may be behind, and a ledger that takes no request: nobody is told
/// that he does not hold what another sidecar may have granted him.
#[test]
fn a_ledger_that_takes_nothing_is_no_no() {
    use std::sync::atomic::Ordering;

    let extend = format!(
        "EVAL \"if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end return 1\" 1 lock:a {TOKEN}"
    );
    for has_company in [true, false] {
        let mut strict = Strict::new();
        strict.ledger.is_due.store(true, Ordering::Relaxed);
        strict.ledger.has_company.store(has_company, Ordering::Relaxed);
        *strict.ledger.trouble.lock().unwrap() = Some("it is away".into());
        strict.client(&[&extend]);
        match has_company {
            true => assert!(strict.told().starts_with("-TRYAGAIN lockside: nothing was done")),
            false => assert_eq!(strict.told(), ":0\r\n"),
        }
        strict.shared.table.grant(LockKey::new(0, b"lock:a"), record(TOKEN));
        strict.client(&[&extend]);
        assert_eq!(strict.told(), ":1\r\n");
    }
}
