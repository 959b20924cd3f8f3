//! `LOCKSIDE FENCE`, `HISTORY`, `RELEASE`, `REPAIR`, `MODE` and INFO, with Redis and without.

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, field, text};
use crate::support::wait_until;

fn number(reply: &str) -> u64 {
    reply.trim_start_matches(':').trim_end().parse().unwrap_or_else(|_| panic!("{reply}"))
}

#[test]
fn fences_grow() {
    let Some(mut stage) = Stage::start("") else { return };
    assert_eq!(stage.client.ask("LOCKSIDE FENCE lock:a"), NIL);
    stage.take("lock:a", TOKEN);
    let first = number(&stage.client.ask("LOCKSIDE FENCE lock:a"));
    assert_eq!(stage.owner("lock:a", "fence"), Some(first.to_string()));
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    assert_eq!(stage.client.ask("LOCKSIDE FENCE lock:a"), NIL);
    stage.take("lock:a", OTHER);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let second = number(&stage.client.ask("LOCKSIDE FENCE lock:a"));
    assert!(second > first, "{second} after {first}");
    assert_eq!(stage.client.ask("LOCKSIDE FENCE plain"), NIL);
}

#[test]
fn a_lock_has_a_history() {
    let Some(mut stage) = Stage::start("") else { return };
    assert_eq!(stage.client.ask("LOCKSIDE HISTORY lock:a"), "*0\r\n");
    assert_eq!(stage.client.ask("CLIENT SETNAME billing"), OK);
    let token = format!("93:{TOKEN}");
    stage.take("lock:a", &token);
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    stage.take("lock:a", &token);
    for redis in [true, false] {
        if !redis {
            stage.redis.kill();
            stage.wait_mode("degraded");
        }
        let all = stage.client.ask("LOCKSIDE HISTORY lock:a");
        assert!(
            all.contains("claim") && all.contains("billing") && all.contains("550e8400"),
            "{all}"
        );
        assert_eq!(field(&all, "cause"), Some(String::new()), "{all}");
        assert!(all.contains("release") && all.contains("$6\r\nclient\r\n"), "{all}");
        assert!(!all.contains(TOKEN), "a token is shown by its first characters at most: {all}");
        let last = stage.client.ask("LOCKSIDE HISTORY lock:a 1");
        assert!(last.starts_with("*1\r\n"), "{last}");
        assert!(field(&last, "client").is_some_and(|name| name.contains("billing")), "{last}");
        assert_eq!(field(&last, "fence"), stage.owner("lock:a", "fence"), "{last}");
        assert!(field(&all, "time").is_some_and(|time| time.contains('T')), "{all}");
    }
    for wrong in [
        "LOCKSIDE HISTORY",
        "LOCKSIDE HISTORY a 0",
        "LOCKSIDE HISTORY a x",
        "LOCKSIDE HISTORY a 1 2",
    ] {
        assert!(stage.client.ask(wrong).starts_with("-ERR lockside"), "{wrong}");
    }
}

#[test]
fn the_mode_tells_its_changes() {
    let Some(mut stage) = Stage::start("") else { return };
    assert_eq!(stage.client.ask("LOCKSIDE MODE"), "$7\r\nhealthy\r\n");
    stage.redis.kill();
    stage.wait_mode("degraded");
    let all = stage.client.ask("LOCKSIDE MODE 100");
    let first = all.lines().nth(2).unwrap_or_default();
    assert!(first.starts_with("degraded: Redis "), "{all}");
    let newest = all.lines().nth(4).unwrap_or_default();
    assert!(newest.contains("healthy -> degraded: Redis "), "{all}");
    assert!(stage.client.ask("LOCKSIDE MODE 1").starts_with("*2\r\n"));
    let info = stage.client.ask("INFO");
    for name in
        ["mode_changes:", "last_outage_detected_after_ms:", "ledger_waiting:", "repairs_set:"]
    {
        assert!(info.contains(&format!("\r\nlockside_{name}")), "{name}: {info}");
    }
}

/// What is found in Redis is adopted at once, not at the next background pass.
#[test]
fn a_repair_pass_on_demand() {
    let Some(mut stage) = Stage::start("") else { return };
    assert_eq!(stage.redis.ask(&format!("SET lock:found {TOKEN}")), OK);
    assert!(!stage.client.ask("LOCKSIDE LOCKS").contains("lock:found"));
    assert_eq!(stage.client.ask("LOCKSIDE REPAIR"), OK);
    wait_until("it is adopted", || stage.client.ask("LOCKSIDE LOCKS").contains("lock:found"));
    assert_eq!(stage.owner("lock:found", "origin").as_deref(), Some("observed"));
    assert!(stage.client.ask("INFO").contains("lockside_repair_adopted:1\r\n"));
}

/// By claim, with Redis and without: exactly the hold that was shown.
#[test]
fn a_person_releases() {
    let Some(mut stage) = Stage::start("") else { return };
    for redis in [true, false] {
        if !redis {
            stage.redis.kill();
            stage.wait_mode("degraded");
        }
        stage.take("lock:a", TOKEN);
        assert_eq!(stage.owner("lock:a", "state").as_deref(), Some("held"));
        let origin = if redis { "redis" } else { "degraded" };
        assert_eq!(stage.owner("lock:a", "origin").as_deref(), Some(origin));
        let claim = stage.owner("lock:a", "claim").unwrap();
        let release = format!("LOCKSIDE RELEASE lock:a {claim}");
        assert_eq!(stage.other.ask("LOCKSIDE RELEASE lock:a 99-99"), ZERO);
        assert_eq!(stage.other.ask(&release), ONE);
        assert_eq!(stage.other.ask(&release), ZERO);
        assert_eq!(stage.client.ask("GET lock:a"), NIL);
        let last = stage.client.ask("LOCKSIDE HISTORY lock:a 1");
        assert_eq!(field(&last, "cause").as_deref(), Some("operator"), "{last}");
        assert_eq!(stage.try_take("lock:a", OTHER), OK);
        assert_eq!(stage.other.ask("DEL lock:a"), ONE);
    }
    for wrong in
        ["LOCKSIDE RELEASE lock:a", "LOCKSIDE RELEASE lock:a x", "LOCKSIDE RELEASE plain 1-2"]
    {
        assert!(stage.client.ask(wrong).starts_with("-ERR lockside"), "{wrong}");
    }
}

/// A hash is a lock too when a script takes it, and has no value to compare.
#[test]
fn a_person_releases_a_hash() {
    let Some(mut stage) = Stage::start("") else { return };
    let take = "EVAL \"redis.call('hset', KEYS[1], 'n', 1) redis.call('pexpire', KEYS[1], 30000) \
                return 1\" 1 lock:h";
    assert_eq!(stage.client.ask(take), ONE);
    let released = stage.run(&["release", "lock:h", "--yes"]);
    assert_eq!(released.status.code(), Some(0), "{}", text(&released));
    assert_eq!(stage.redis.ask("EXISTS lock:h"), ZERO);
}

/// A user who may not write a rule's locks releases none.
#[test]
fn who_may_not_use_a_rule_releases_nothing() {
    let Some(mut stage) = Stage::start("") else { return };
    stage.take("lock:a", TOKEN);
    let claim = stage.owner("lock:a", "claim").unwrap();
    let user = "ACL SETUSER reader on >secret ~* +@read +@connection";
    assert_eq!(stage.redis.ask(user), OK);
    let mut reader = stage.subject.client();
    assert_eq!(reader.ask("AUTH reader secret"), OK);
    assert!(reader.ask("LOCKSIDE OWNER lock:a").contains(&claim));
    assert!(reader.ask(&format!("LOCKSIDE RELEASE lock:a {claim}")).starts_with("-NOPERM"));
    assert_eq!(stage.try_take("lock:a", OTHER), NIL);
}

/// The command line does all that without Redis.
#[test]
fn the_command_line_without_redis() {
    let Some(mut stage) = Stage::start("") else { return };
    stage.take("lock:a", TOKEN);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let locks = stage.run(&["locks"]);
    assert!(locks.status.success() && text(&locks).contains("lock:a"), "{}", text(&locks));
    let owner = stage.run(&["owner", "lock:a"]);
    assert!(owner.status.success() && text(&owner).contains("fence"), "{}", text(&owner));
    let released = stage.run(&["release", "lock:a", "--yes"]);
    assert_eq!(released.status.code(), Some(0), "{}", text(&released));
    assert_eq!(stage.client.ask("GET lock:a"), NIL);
    let again = stage.run(&["release", "lock:a", "--yes"]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
}
