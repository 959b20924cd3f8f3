//! Locks of others as Redis tells of them: known, served in an outage, and ended by their owners.

use super::{A, B, NIL, OK, ONE, STRANGER, Stage, bulk, figure, give, redis_cli, take};
use crate::support::{Client, Redis, Relay, Settings, Subject, Trouble, wait_until};

#[test]
fn a_lock_of_another_is_served_in_an_outage() {
    let Some(mut stage) = Stage::start() else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", A, "NX"]);
    stage.wait_known("lock:a", A);
    assert!(stage.known("lock:a").unwrap().contains("observed"));
    stage.outage();
    let mut client = stage.client();
    assert_eq!(client.ask("GET lock:a"), bulk(A));
    assert_eq!(client.ask(&take("lock:a", STRANGER)), NIL);
    assert_eq!(client.ask(&give("lock:a", STRANGER)), ":0\r\n");
    // By its own token.
    assert_eq!(client.ask(&give("lock:a", A)), ONE);
    assert_eq!(client.ask(&take("lock:a", B)), OK);
    stage.redis.start_again();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(B));
}

/// A restart with nothing is lost data, and no release.
#[test]
fn a_lock_of_another_that_redis_lost_is_put_back() {
    let Some(mut stage) = Stage::start() else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", A]);
    stage.wait_known("lock:a", A);
    stage.outage();
    stage.redis.start_again();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(A));
    assert_eq!(stage.redis.ask("PTTL lock:a"), ":-1\r\n");
    // Its owner deletes it in the new run of Redis.
    stage.wait_mode("observes: tracking");
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    stage.wait_unknown("lock:a");
}

#[test]
fn lockside_ends_and_redis_too() {
    let Some(mut stage) = Stage::start() else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", A]);
    stage.wait_known("lock:a", A);
    stage.subject.kill();
    stage.redis.kill();
    stage.subject.start_again();
    stage.wait_mode("degraded");
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    assert_eq!(stage.client().ask(&give("lock:a", A)), ONE);
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), OK);
}

#[test]
fn a_provisional_lock_is_not_taken_in() {
    let Some(stage) = Stage::start() else { return };
    let mut redis = stage.redis.client();
    assert_eq!(redis.ask("SET lock:short x NX PX 300"), OK);
    assert_eq!(redis.ask("SET lock:long y NX EX 100"), OK);
    // Redis tells of changes in their order: when this one is known, those were looked at.
    assert_eq!(redis.ask(&format!("SET lock:behind {A}")), OK);
    stage.wait_known("lock:behind", A);
    assert_eq!((stage.known("lock:short"), stage.known("lock:long")), (None, None));
    wait_until("it has run out", || redis.ask("EXISTS lock:short") == ":0\r\n");
    assert_eq!(stage.client().ask(&take("lock:short", B)), OK);
    // The second step of its owner's acquire.
    assert_eq!(redis.ask("PERSIST lock:long"), ONE);
    stage.wait_known("lock:long", "y");
}

/// What Redis does not tell of: the TTL is taken off where nobody listens.
#[test]
fn a_provisional_lock_is_looked_at_again() {
    let Some(stage) = Stage::start() else { return };
    let mut redis = stage.redis.client();
    assert_eq!(redis.ask("SET lock:a x NX PX 1500"), OK);
    assert_eq!(redis.ask(&format!("SET lock:behind {A}")), OK);
    stage.wait_known("lock:behind", A);
    let before = figure(&stage, "repair_adopted");
    assert_eq!(redis.ask("GETEX lock:a PERSIST"), bulk("x"));
    stage.wait_known("lock:a", "x");
    assert_eq!(figure(&stage, "repair_adopted"), before + 1);
}

#[test]
fn its_owner_deletes_it() {
    let Some(stage) = Stage::start() else { return };
    let mut redis = stage.redis.client();
    for round in 0..2 {
        // The same token again: a new lock.
        assert_eq!(redis.ask(&format!("SET lock:a {A} NX")), OK, "round {round}");
        stage.wait_known("lock:a", A);
        assert_eq!(redis.ask("DEL lock:a"), ONE);
        stage.wait_unknown("lock:a");
        assert_eq!(redis.ask("EXISTS lock:a"), ":0\r\n", "it is not put back");
    }
    assert!(stage.client().ask("LOCKSIDE HISTORY lock:a").contains("vanished"));
    assert_eq!(figure(&stage, "repair_vanished"), 2);
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), OK);
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(STRANGER));
    assert_eq!(stage.warnings(), "");
}

/// Somebody waits for it through Lockside, as clients do: asks again and again, and gets it.
#[test]
fn its_owner_deletes_it_while_another_waits() {
    let Some(stage) = Stage::start() else { return };
    let (mut redis, mut waiter) = (stage.redis.client(), stage.client());
    for round in 0..3 {
        assert_eq!(redis.ask(&format!("SET lock:a {A} NX")), OK, "round {round}");
        stage.wait_known("lock:a", A);
        assert_eq!(waiter.ask(&take("lock:a", STRANGER)), NIL);
        assert_eq!(redis.ask("DEL lock:a"), ONE);
        wait_until("it is the waiter's", || waiter.ask(&take("lock:a", STRANGER)) == OK);
        assert_eq!(waiter.ask(&give("lock:a", STRANGER)), ONE);
        stage.wait_unknown("lock:a");
    }
}

/// The next owner's value stands there before anybody has looked.
#[test]
fn another_takes_it_at_once() {
    let Some(stage) = Stage::start() else { return };
    let mut redis = stage.redis.client();
    assert_eq!(redis.ask(&format!("SET lock:a {A}")), OK);
    stage.wait_known("lock:a", A);
    assert_eq!(redis.ask(&format!("SET lock:a {B}")), OK);
    stage.wait_known("lock:a", B);
    assert_eq!(redis.ask("GET lock:a"), bulk(B));
    // As a provisional key it is nobody's lock yet.
    assert_eq!(redis.ask(&format!("SET lock:a {A} EX 100")), OK);
    stage.wait_unknown("lock:a");
    assert_eq!(redis.ask("GET lock:a"), bulk(A));
    assert_eq!(stage.warnings(), "");
}

/// Released through Lockside, which makes a value dead; its owner's next lock with the same token is
/// a lock all the same.
#[test]
fn released_here_and_taken_there_again() {
    for token in [A, "1"] {
        let Some(mut stage) = Stage::start() else { return };
        let mut redis = stage.redis.client();
        assert_eq!(redis.ask(&format!("SET lock:a {token} NX")), OK);
        stage.wait_known("lock:a", token);
        assert_eq!(stage.client().ask(&give("lock:a", token)), ONE);
        assert_eq!(stage.known("lock:a"), None);
        assert_eq!(redis.ask(&format!("SET lock:a {token} NX")), OK);
        stage.wait_known("lock:a", token);
        assert_eq!(redis.ask("GET lock:a"), bulk(token));
        stage.outage();
        assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    }
}

/// Released in an outage: when Redis comes back with it, it is deleted there.
#[test]
fn released_in_an_outage_that_loses_nothing() {
    let Some(mut stage) = Stage::start() else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", "1"]);
    stage.wait_known("lock:a", "1");
    let old = stage.redis.snapshot();
    stage.outage();
    assert_eq!(stage.client().ask(&give("lock:a", "1")), ONE);
    stage.redis.start_with(&old);
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("EXISTS lock:a"), ":0\r\n");
    assert_eq!(stage.known("lock:a"), None);
}

/// Only Lockside releases what Lockside has granted (SPEC 5).
#[test]
fn what_lockside_has_granted_is_put_back() {
    let Some(stage) = Stage::start() else { return };
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    redis_cli(&stage.redis, &["SET", "lock:b", B]);
    stage.wait_known("lock:b", B);
    redis_cli(&stage.redis, &["FLUSHALL"]);
    stage.wait_unknown("lock:b");
    wait_until("it is put back", || stage.redis.ask("GET lock:a") == bulk(A));
    assert_eq!(stage.redis.ask("EXISTS lock:b"), ":0\r\n");
    wait_until("it is said", || stage.warnings().contains("had vanished from Redis"));
    assert!(stage.known("lock:a").is_some());
}

/// Somebody overwrites a lock that a client of Lockside holds.
#[test]
fn what_lockside_has_granted_is_not_given_up() {
    let Some(stage) = Stage::start() else { return };
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    redis_cli(&stage.redis, &["SET", "lock:a", B]);
    wait_until("it is put right", || stage.redis.ask("GET lock:a") == bulk(A));
    assert_eq!(stage.client().ask("DEL lock:a"), ONE);
}

#[test]
fn its_owner_lets_it_run_out() {
    let Some(stage) = Stage::start() else { return };
    let mut redis = stage.redis.client();
    assert_eq!(redis.ask(&format!("SET lock:a {A}")), OK);
    stage.wait_known("lock:a", A);
    assert_eq!(redis.ask("PEXPIRE lock:a 2500"), ONE);
    assert_eq!(redis.ask(&format!("SET lock:behind {B}")), OK);
    stage.wait_known("lock:behind", B);
    // Nobody took the TTL off; meanwhile it is held.
    assert_ne!(redis.ask("PTTL lock:a"), ":-1\r\n");
    assert!(stage.known("lock:a").is_some());
    stage.wait_unknown("lock:a");
}

#[test]
fn the_databases_that_are_listed() {
    let settings =
        Settings { top: "observe = true\nobserve_databases = [0, 2]", ..Settings::default() };
    let Some(stage) = Stage::with(&settings) else { return };
    let mut redis = stage.redis.client();
    for (db, key) in [(1, "lock:one"), (2, "lock:two"), (0, "lock:none"), (0, "other")] {
        assert_eq!(redis.ask(&format!("SELECT {db}")), OK);
        assert_eq!(redis.ask(&format!("SET {key} {A}")), OK);
    }
    stage.wait_known("lock:two", A);
    stage.wait_known("lock:none", A);
    assert_eq!((stage.known("lock:one"), stage.known("other")), (None, None));
}

/// A rule that is not observed beside one that is.
#[test]
fn the_rules_that_say_so() {
    let tables = "[[rule]]\nname = \"a\"\nkeys = [\"lock:a:*\"]\nobserve = true\n\
                  [[rule]]\nname = \"rest\"\nkeys = [\"lock:*\"]\n";
    let Some(stage) = Stage::with(&Settings { tables, ..Settings::default() }) else { return };
    redis_cli(&stage.redis, &["SET", "lock:b", B]);
    redis_cli(&stage.redis, &["SET", "lock:a:1", A]);
    stage.wait_known("lock:a:1", A);
    assert_eq!(stage.known("lock:b"), None);
}

/// What clients of Lockside do all day is seen by the tracker too, and changes nothing for them: one
/// token, again and again, through two sidecars of one ledger that read it late.
#[test]
fn clients_of_two_sidecars_with_one_token() {
    let directory = tempfile::tempdir().unwrap();
    let tables = format!("[ledger]\npath = \"{}\"\n", directory.path().join("l.db").display());
    // One sidecar does not see what is released through the other.
    let top = "observe = true\nheld_cache = 0";
    let settings = Settings { top, tables: &tables, ..Settings::default() };
    let Some(stage) = Stage::with(&settings) else { return };
    let other = Subject::with(&stage.redis, settings);
    let (mut near, mut far) = (stage.client(), Client::connect(other.port()));
    for round in 0..100 {
        let (one, two) = if round % 3 == 0 { (&mut near, &mut far) } else { (&mut far, &mut near) };
        assert_eq!(one.ask(&take("lock:a", A)), OK, "round {round}");
        if round % 10 == 0 {
            // Time for a look of the one that does not know.
            let told = figure(&stage, "observe_told");
            assert_eq!(two.ask(&take(&format!("lock:{round}"), B)), OK);
            wait_until("it was told of", || figure(&stage, "observe_told") > told);
        }
        assert_eq!(two.ask(&take("lock:a", STRANGER)), NIL, "round {round}");
        assert_eq!(two.ask("GET lock:a"), bulk(A), "round {round}");
        assert_eq!(one.ask(&give("lock:a", A)), ONE, "round {round}");
    }
    assert_eq!(figure(&stage, "conflicts"), 0);
    stage.wait_unknown("lock:a");
}

/// Another sidecar, which can't reach Redis, releases an observed lock: nobody has deleted it there
/// yet, and it is no new lock.
#[test]
fn released_by_a_sidecar_that_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let tables = format!("[ledger]\npath = \"{}\"\n", directory.path().join("l.db").display());
    let top = "observe = true\nobserve_scan = \"2s\"";
    let settings = Settings { top, tables: &tables, ..Settings::default() };
    let redis = Redis::start();
    let relay = Relay::before(redis.port());
    let Some(stage) = Stage::through(&relay, redis, &settings) else { return };
    // Whose Redis is only there to be dropped.
    let Some(other) = Stage::through(&relay, Redis::start(), &settings) else { return };
    redis_cli(&stage.redis, &["SET", "lock:a", A]);
    stage.wait_known("lock:a", A);
    other.wait_known("lock:a", A);
    relay.set_for(other.subject.process().unwrap().pid(), Trouble::BlackHole);
    other.wait_mode("degraded");
    assert_eq!(other.client().ask(&give("lock:a", A)), ONE);
    stage.wait_unknown("lock:a");
    wait_until("it is deleted", || stage.redis.ask("EXISTS lock:a") == ":0\r\n");
    assert_eq!(stage.known("lock:a"), None);
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), OK);
}
