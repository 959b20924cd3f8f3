//! Which keys are locks, and how each rule's locks behave.

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, as_bulk};

/// The three prefixes of the default rule, and nothing else.
#[test]
fn the_default_rule() {
    let Some(mut stage) = Stage::lockside("") else { return };
    for key in ["lock:a", "redlock:a", "mutex:a", "lock:", "lock:a:b"] {
        stage.take(key, TOKEN);
        assert_eq!(stage.direct.ask(&format!("PTTL {key}")), ":-1\r\n", "{key}");
    }
    for key in ["locks:a", "my:lock:a", "Lock:a", "lock", "semaphore:a"] {
        stage.take(key, "1");
        assert_eq!(stage.stored(key), "1", "{key}");
        let ttl = stage.direct.ask(&format!("PTTL {key}"));
        assert!(ttl.starts_with(':') && ttl != ":-1\r\n", "{key}: {ttl}");
    }
}

/// mode = "ttl": the client's own TTL stays, with none the rule's.
#[test]
fn ttl_mode() {
    let Some(mut stage) = Stage::lockside(
        "[[rule]]\nname = \"short\"\nkeys = [\"job:*\"]\nmode = \"ttl\"\nttl = \"50s\"",
    ) else {
        return;
    };
    assert_eq!(stage.client.ask(&format!("SET job:a {TOKEN} NX EX 20")), OK);
    let ttl = seconds(&stage.direct.ask("TTL job:a"));
    assert!((18..=20).contains(&ttl), "{ttl}");
    assert_eq!(stage.client.ask(&format!("SET job:b {TOKEN} NX")), OK);
    let ttl = seconds(&stage.direct.ask("TTL job:b"));
    assert!((48..=50).contains(&ttl), "{ttl}");
    assert_eq!(stage.client.ask(&format!("SETNX job:c {TOKEN}")), ONE);
    assert!((48..=50).contains(&seconds(&stage.direct.ask("TTL job:c"))));
    assert_eq!(stage.client.ask(&format!("SET job:a {OTHER} NX EX 20")), NIL);
    assert_eq!(stage.client.ask("EXPIRE job:a 40"), ONE);
    assert!((38..=40).contains(&seconds(&stage.direct.ask("TTL job:a"))));
    assert_eq!(stage.client.ask("GET job:a"), as_bulk(TOKEN));
    assert_eq!(stage.client.ask("DEL job:a"), ONE);
    assert_eq!(stage.client.ask(&format!("SET job:d {TOKEN} NX PX 50")), OK);
    crate::support::wait_until("it runs out and leaves the list", || {
        stage.client.ask("LOCKSIDE LOCKS job:d") == "*0\r\n"
    });
}

/// What a rule excludes is an ordinary key.
#[test]
fn exclude() {
    let Some(mut stage) = Stage::lockside(
        "[[rule]]\nname = \"r\"\nkeys = [\"lock:*\", \"sem?\"]\nexclude = [\"lock:cache:*\"]",
    ) else {
        return;
    };
    stage.take("lock:cache:a", "1");
    assert_eq!(stage.stored("lock:cache:a"), "1");
    assert!(seconds(&stage.direct.ask("TTL lock:cache:a")) > 20);
    stage.take("lock:a", TOKEN);
    stage.assert_permanent("lock:a");
    stage.take("sem1", TOKEN);
    stage.assert_permanent("sem1");
    stage.take("sem10", TOKEN);
    assert!(seconds(&stage.direct.ask("TTL sem10")) > 20);
}

/// The first rule that matches a key wins.
#[test]
fn the_first_rule_wins() {
    let Some(mut stage) = Stage::lockside(
        "[[rule]]\nname = \"short\"\nkeys = [\"lock:short:*\"]\nmode = \"ttl\"\n\
         [[rule]]\nname = \"long\"\nkeys = [\"lock:*\"]",
    ) else {
        return;
    };
    stage.take("lock:short:a", TOKEN);
    assert!(seconds(&stage.direct.ask("TTL lock:short:a")) > 20);
    stage.take("lock:a", TOKEN);
    stage.assert_permanent("lock:a");
}

/// Companions are never stamped or made permanent: python-redis-lock's signal list works.
#[test]
fn companions() {
    let mut stage = Stage::start();
    assert_eq!(stage.client.ask("SET lock-signal:a 1 NX EX 100"), OK);
    assert_eq!(stage.direct.ask("GET lock-signal:a"), as_bulk("1"));
    assert!(seconds(&stage.direct.ask("TTL lock-signal:a")) > 90);
    assert_eq!(stage.client.ask("DEL lock-signal:a"), ONE);
    stage.take("lock:a", TOKEN);
    let mut waiter = stage.subject.client();
    waiter.send_line("BLPOP lock-signal:a 10");
    let release = "EVAL \"if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 else redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], ARGV[2]) redis.call('del', KEYS[1]) return 0 end\" 2 lock:a lock-signal:a";
    assert_eq!(stage.client.ask(&format!("{release} {OTHER} 1000")), ONE);
    assert_eq!(stage.client.ask(&format!("{release} {TOKEN} 1000")), ZERO);
    assert_eq!(waiter.text(), "*2\r\n$13\r\nlock-signal:a\r\n$1\r\n1\r\n");
    assert_eq!(waiter.ask(&format!("SET lock:a {OTHER} NX EX 10")), OK);
}

/// stamp = "always" stamps unique values too, "never" stores what came.
#[test]
fn stamps() {
    let Some(mut stage) = Stage::lockside(
        "[[rule]]\nname = \"a\"\nkeys = [\"always:*\"]\nstamp = \"always\"\n\
         [[rule]]\nname = \"n\"\nkeys = [\"never:*\"]\nstamp = \"never\"",
    ) else {
        return;
    };
    for token in [TOKEN, "1", "93:550e8400-e29b-41d4-a716-446655440000"] {
        stage.take("always:a", token);
        let stored = stage.stored("always:a");
        assert!(stored.starts_with(&format!("{token}:")), "{stored}");
        stage.take("never:a", token);
        assert_eq!(stage.stored("never:a"), token);
        for key in ["always:a", "never:a"] {
            assert_eq!(stage.client.ask(&format!("GET {key}")), as_bulk(token));
            stage.assert_permanent(key);
            assert_eq!(stage.client.ask(&format!("DEL {key}")), ONE);
        }
    }
}

/// A rule's own safety TTL is the one that the first step sends.
#[test]
fn safety_ttl() {
    let Some(mut stage) =
        Stage::lockside("[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nsafety_ttl = \"3s\"")
    else {
        return;
    };
    let mut monitor = crate::support::Monitor::start(&stage.redis);
    stage.take("lock:a", TOKEN);
    let seen = monitor.seen_with("lock:a");
    assert!(seen[0].contains("\"3\"") || seen[0].contains("\"3000\""), "{seen:?}");
    stage.assert_permanent("lock:a");
}

fn seconds(reply: &str) -> i64 {
    reply.trim_start_matches(':').trim().parse().unwrap()
}
