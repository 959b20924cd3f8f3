//! A key that vanishes from Redis behind Lockside's back, or whose value is changed there: the
//! ledger is the truth, and its holder is told so (SPEC 2 and 5).

use super::*;

#[test]
fn a_holder_whose_key_was_deleted_looks_and_releases() {
    let Some(mut stage) = Stage::start() else { return };
    for behind in ["DEL lock:a", "FLUSHALL"] {
        stage.take("lock:a", A);
        stage.redis.ask(behind);
        assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A), "{behind}");
        stage.redis.ask(behind);
        assert_eq!(answer(&mut stage.holder, &script(RELEASE, "lock:a", A)), ONE, "{behind}");
        stage.take("lock:a", B);
        stage.assert_held("lock:a", B);
        stage.give("lock:a", B);
    }
}

/// Whoever sees -2 takes its lock for lost.
#[test]
fn a_holder_whose_key_was_deleted_asks_for_its_ttl() {
    let Some(mut stage) = Stage::start() else { return };
    for (look, there) in [
        ("PTTL", ":-1\r\n"),
        ("TTL", ":-1\r\n"),
        ("PEXPIRETIME", ":-1\r\n"),
        ("TYPE", "+string\r\n"),
        ("TOUCH", ONE),
    ] {
        let key = format!("lock:{look}");
        stage.take(&key, A);
        stage.redis.ask(&format!("DEL {key}"));
        assert_eq!(answer(&mut stage.holder, &format!("{look} {key}")), there, "{look}");
        assert_eq!(answer(&mut stage.holder, &format!("DEL {key}")), ONE);
    }
}

#[test]
fn a_holder_whose_key_was_overwritten_looks_and_releases() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.ask("SET lock:a other");
    assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A));
    assert_eq!(answer(&mut stage.holder, &script(RELEASE, "lock:a", A)), ONE);
}

#[test]
fn a_stranger_is_refused_where_the_key_was_deleted() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.ask("DEL lock:a");
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", STRANGER)), NIL);
    stage.redis.ask("DEL lock:a");
    assert_eq!(answer(&mut stage.stranger, &script(RELEASE, "lock:a", STRANGER)), ZERO);
    stage.assert_held("lock:a", A);
}

/// As redis-py's older releases do it.
#[test]
fn a_watched_release_where_the_key_was_deleted() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.ask("DEL lock:a");
    let start = Instant::now();
    loop {
        assert_eq!(answer(&mut stage.holder, "WATCH lock:a"), OK);
        assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A));
        assert_eq!(answer(&mut stage.holder, "MULTI"), OK);
        assert_eq!(answer(&mut stage.holder, "DEL lock:a"), "+QUEUED\r\n");
        // A repair that comes between is a change of what it watches.
        if answer(&mut stage.holder, "EXEC") == "*1\r\n:1\r\n" {
            break;
        }
        assert!(start.elapsed() < PATIENCE);
    }
    stage.take("lock:a", B);
}
