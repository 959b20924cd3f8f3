//! Locks of `ttl` rules by the ledger (SPEC 3): they run out, are extended, and Redis, table and
//! ledger agree about when.

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, field};
use crate::support::{Settings, wait_until};

const RULE: &str = "[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nmode = \"ttl\"\nttl = \"90s\"\n";

fn stage(skew: &str) -> Option<Stage> {
    let tables = format!("[ledger]\nmax_clock_skew = {skew}\n{RULE}");
    Stage::with(Settings { tables: &tables, ..Settings::default() })
}

fn take(key: &str, token: &str, ms: u32) -> String {
    format!("SET {key} {token} NX PX {ms}")
}

fn left(stage: &mut Stage, key: &str) -> u64 {
    stage.owner(key, "expires_in_seconds").map_or(0, |text| text.parse().unwrap())
}

fn pttl(stage: &Stage, key: &str) -> i64 {
    let reply = stage.redis.ask(&format!("PTTL {key}"));
    reply.trim_start_matches(':').trim_end().parse().unwrap()
}

/// With Redis and without: the next one gets it, with a higher fence.
#[test]
fn the_next_one_takes_what_ran_out() {
    let Some(mut stage) = stage("0") else { return };
    for redis in [true, false] {
        if !redis {
            stage.redis.kill();
            stage.wait_mode("degraded");
        }
        assert_eq!(stage.client.ask(&take("lock:a", TOKEN, 600)), OK);
        let fence: u64 = stage.owner("lock:a", "fence").unwrap().parse().unwrap();
        wait_until("it has run out", || stage.other.ask(&take("lock:a", OTHER, 60_000)) == OK);
        let next: u64 = stage.owner("lock:a", "fence").unwrap().parse().unwrap();
        assert!(next > fence);
        assert!(stage.client.ask("LOCKSIDE HISTORY lock:a 100").contains("\r\nexpired\r\n"));
        // Its first holder has nothing to release.
        let release = "EVAL \"if redis.call('get', KEYS[1]) == ARGV[1] then return \
            redis.call('del', KEYS[1]) else return 0 end\" 1 lock:a";
        assert_eq!(stage.client.ask(&format!("{release} {TOKEN}")), ZERO);
        assert_eq!(stage.client.ask(&take("lock:a", TOKEN, 600)), NIL);
        assert_eq!(stage.other.ask(&format!("{release} {OTHER}")), ONE);
    }
}

/// Its connection ends, the lock runs out, and no clock may be so far off that it is anybody's else: the
/// same token again gets the time that it asks for now.
#[test]
fn a_retry_lasts_from_now_on() {
    let Some(mut stage) = stage("\"60s\"") else { return };
    for redis in [true, false] {
        if !redis {
            stage.redis.kill();
            stage.wait_mode("degraded");
        }
        let mut gone = stage.subject.client();
        assert_eq!(gone.ask(&take("lock:a", TOKEN, 300)), OK);
        drop(gone);
        wait_until("it has run out", || stage.client.ask("GET lock:a") == NIL);
        wait_until("it is taken", || stage.client.ask(&take("lock:a", TOKEN, 60_000)) == OK);
        assert!(stage.client.ask("GET lock:a").ends_with(&format!("{TOKEN}\r\n")), "{redis}");
        assert!(left(&mut stage, "lock:a") > 30);
        assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    }
}

/// Clocks may differ: until they can't any more it is nobody else's, and that is a no and no error.
#[test]
fn not_before_all_clocks_agree() {
    let Some(mut stage) = stage("\"3s\"") else { return };
    for redis in [true, false] {
        if !redis {
            stage.redis.kill();
            stage.wait_mode("degraded");
        }
        let began = std::time::Instant::now();
        assert_eq!(stage.client.ask(&take("lock:a", TOKEN, 300)), OK);
        wait_until("its client does not see it", || stage.client.ask("GET lock:a") == NIL);
        assert_eq!(stage.client.ask("LOCKSIDE OWNER lock:a"), NIL);
        assert_eq!(stage.client.ask("LOCKSIDE LOCKS"), "*0\r\n");
        let mut replies = std::collections::BTreeSet::new();
        wait_until("it is free", || {
            let reply = stage.other.ask(&take("lock:a", OTHER, 60_000));
            replies.insert(reply.clone());
            reply == OK
        });
        assert!(began.elapsed() >= std::time::Duration::from_millis(3300));
        assert!(replies.iter().all(|reply| reply == NIL || reply == OK), "{replies:?}");
        assert_eq!(stage.other.ask("DEL lock:a"), ONE);
    }
}

/// Every way to extend moves the ledger's end too, which decides once Redis is away; and what Redis
/// gets back from it has the rest of the time.
#[test]
fn extends_are_in_the_ledger() {
    let Some(mut stage) = stage("0") else { return };
    let script = "EVAL \"return redis.call('pexpire', KEYS[1], ARGV[1])\" 1";
    let (key, extend) = ("lock:a", format!("{script} lock:a 50000"));
    let ways = [
        ("PEXPIRE lock:a 50000", ONE),
        (extend.as_str(), ONE),
        (&format!("SET {key} {TOKEN} XX PX 50000"), OK),
        (&format!("GETEX {key} PX 50000"), &format!("$36\r\n{TOKEN}\r\n")),
    ];
    for (command, reply) in ways {
        assert_eq!(stage.client.ask(&take(key, TOKEN, 20_000)), OK);
        assert_eq!(stage.client.ask(command), reply, "{command}");
        wait_until(command, || left(&mut stage, key) > 40);
        assert!(pttl(&stage, key) > 40_000, "{command}");
        assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    }
    assert_eq!(stage.client.ask(&take(key, TOKEN, 20_000)), OK);
    assert_eq!(stage.client.ask("PERSIST lock:a"), ONE);
    // No lock of a `ttl` rule is for ever.
    wait_until("the rule's TTL", || left(&mut stage, key) > 80);
    assert!((80_000..=90_000).contains(&pttl(&stage, key)));
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(stage.try_take(key, OTHER), NIL);
    assert_eq!(stage.client.ask("PEXPIRE lock:a 50000"), ONE);
    assert!((40..=50).contains(&left(&mut stage, key)));
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert!((1..=50_000).contains(&pttl(&stage, key)), "{}", pttl(&stage, key));
    assert_eq!(stage.client.ask("GET lock:a"), format!("$36\r\n{TOKEN}\r\n"));
}

/// An overwrite without a TTL has the rule's.
#[test]
fn an_overwrite_runs_out_too() {
    let Some(mut stage) = stage("0") else { return };
    assert_eq!(stage.client.ask(&format!("SET lock:a {TOKEN}")), OK);
    assert!((80..=90).contains(&left(&mut stage, "lock:a")));
    assert!((80_000..=90_000).contains(&pttl(&stage, "lock:a")));
}

/// What ran out goes by itself, from the list and from the ledger.
#[test]
fn what_ran_out_is_ended() {
    let Some(mut stage) = stage("0") else { return };
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN, 200)), OK);
    assert_eq!(stage.client.ask(&take("lock:b", TOKEN, 60_000)), OK);
    wait_until("the ledger has ended it", || {
        let last = stage.client.ask("LOCKSIDE HISTORY lock:a 1");
        field(&last, "cause").as_deref() == Some("expired")
    });
    let locks = stage.client.ask("LOCKSIDE LOCKS");
    assert!(!locks.contains("lock:a") && locks.contains("lock:b"), "{locks}");
    assert_eq!(stage.client.ask("DEL lock:a"), ZERO);
}

/// A restart keeps the ends.
#[test]
fn a_restart_keeps_the_ends() {
    let Some(mut stage) = stage("0") else { return };
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN, 50_000)), OK);
    stage.redis.kill();
    stage.crash();
    stage.wait_mode("degraded");
    assert!((30..=50).contains(&left(&mut stage, "lock:a")));
    assert_eq!(stage.try_take("lock:a", OTHER), NIL);
}
