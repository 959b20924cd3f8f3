//! Locks of others under a `ttl` rule: with the end that their owners give them.

use super::{A, NIL, OK, ONE, STRANGER, Stage, bulk, redis_cli, take};
use crate::support::{Settings, wait_until};

const TABLES: &str = "[[rule]]\nname = \"t\"\nkeys = [\"lock:*\"]\nmode = \"ttl\"\n";

fn stage() -> Option<Stage> {
    Stage::with(&Settings { top: "observe = true", tables: TABLES, ..Settings::default() })
}

/// The seconds that Lockside gives it.
fn left(stage: &Stage, key: &str) -> Option<u64> {
    let known = stage.known(key)?;
    let (_, rest) = known.split_once("expires_in_seconds\r\n:")?;
    rest.lines().next()?.trim().parse().ok()
}

#[test]
fn known_with_its_end() {
    let Some(mut stage) = stage() else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", A, "NX", "EX", "500"]);
    stage.wait_known("lock:a", A);
    assert!(left(&stage, "lock:a").is_some_and(|left| (490..=500).contains(&left)));
    // Its owner gives it more time, and then less.
    assert_eq!(stage.redis.ask("EXPIRE lock:a 900"), ONE);
    wait_until("it has more", || left(&stage, "lock:a").is_some_and(|left| left > 800));
    assert_eq!(stage.redis.ask("EXPIRE lock:a 100"), ONE);
    wait_until("it has less", || left(&stage, "lock:a").is_some_and(|left| left <= 100));
    assert_eq!(
        stage
            .redis
            .ask("TTL lock:a")
            .trim_start_matches(':')
            .trim()
            .parse::<u64>()
            .unwrap()
            .div_ceil(10),
        10
    );
    stage.outage();
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    assert_eq!(stage.client().ask("GET lock:a"), bulk(A));
    stage.redis.start_again();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(A));
    let ttl = stage.redis.ask("TTL lock:a");
    assert!((80..=100).contains(&ttl.trim_start_matches(':').trim().parse::<u64>().unwrap()));
}

#[test]
fn ended_by_its_owner() {
    let Some(stage) = stage() else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", A, "NX", "EX", "500"]);
    stage.wait_known("lock:a", A);
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    stage.wait_unknown("lock:a");
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), OK);
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(STRANGER));
}

/// Clients of Lockside under the same rule.
#[test]
fn granted_by_lockside() {
    let Some(stage) = stage() else { return };
    let mut client = stage.client();
    for round in 0..20 {
        assert_eq!(client.ask(&take("lock:a", A)), OK, "round {round}");
        assert!(!stage.known("lock:a").unwrap().contains("observed"));
        assert_eq!(client.ask("DEL lock:a"), ONE, "round {round}");
    }
    assert_eq!(stage.known("lock:a"), None);
}
