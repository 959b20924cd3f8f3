//! What a connection is (database, name, protocol, transaction, subscription) through an outage
//! (SPEC 6).

use std::time::Instant;

use super::{A, B, C, NIL, NO_TTL, OK, ONE, STRANGER, Stage, ZERO, answer, bulk, take};
use crate::support::{Settings, wait_until};

const QUEUED: &str = "+QUEUED\r\n";
const KEPT: &[&str] = &["--appendonly", "yes"];
/// A Redis that hangs is found out long before a command in flight has had its time.
const HANGS: &str = "command_timeout = \"8s\"\nconnect_timeout = \"1s\"\n\
    recover_after = \"300ms\"\nprobe_interval = \"100ms\"\nprobe_timeout = \"1s\"";

#[test]
fn state_is_carried_over() {
    let Some(mut stage) = Stage::with(KEPT, Default::default()) else { return };
    for line in ["SELECT 2", "CLIENT SETNAME bob", "SET here 2"] {
        assert_eq!(stage.holder.ask(line), OK);
    }
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A));
    assert_eq!(answer(&mut stage.stranger, "GET lock:a"), NIL, "locks are per database");
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", B)), OK);
    assert_eq!(answer(&mut stage.stranger, "CLIENT SETNAME eve"), OK);
    assert_eq!(answer(&mut stage.stranger, "SELECT 3"), OK);
    assert_eq!(answer(&mut stage.holder, "CLIENT GETNAME"), bulk("bob"));
    stage.redis.start_with_data();
    stage.wait_mode("healthy");
    assert_eq!(answer(&mut stage.holder, "GET here"), bulk("2"));
    assert_eq!(answer(&mut stage.holder, "CLIENT GETNAME"), bulk("bob"));
    assert_eq!(answer(&mut stage.stranger, "SET three 3"), OK);
    assert_eq!(answer(&mut stage.stranger, "CLIENT GETNAME"), bulk("eve"));
    let mut direct = stage.redis.client();
    for (database, line, reply) in
        [(0, "GET lock:a", bulk(B)), (2, "GET lock:a", bulk(A)), (3, "GET three", bulk("3"))]
    {
        assert_eq!(direct.ask(&format!("SELECT {database}")), OK);
        assert_eq!(direct.ask(line), reply, "database {database}");
    }
}

/// What clients send before their first lock command.
#[test]
fn new_clients_connect_during_an_outage() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let mut client = stage.subject.client();
    for line in ["CLIENT SETNAME me", "CLIENT SETINFO LIB-NAME redis-py", "SELECT 0"] {
        assert_eq!(answer(&mut client, line), OK, "{line}");
    }
    assert!(answer(&mut client, "INFO").contains("loading:0"));
    assert!(answer(&mut client, "CLIENT ID").starts_with(':'));
    assert!(answer(&mut client, "TIME").starts_with("*2\r\n"));
    assert_eq!(answer(&mut client, "ECHO hi"), bulk("hi"));
    assert_eq!(answer(&mut client, "GET lock:a"), bulk(A));
    assert!(answer(&mut client, "HELLO 3").starts_with('%'));
    assert_eq!(answer(&mut client, "GET lock:none"), "_\r\n");
    assert_eq!(answer(&mut client, &take("lock:a", STRANGER)), "_\r\n");
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(answer(&mut client, "GET plain"), "_\r\n", "still RESP3");
}

#[test]
fn transactions_on_locks() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let holder = &mut stage.holder;
    assert_eq!(answer(holder, "WATCH lock:b"), OK);
    assert_eq!(answer(holder, "GET lock:b"), bulk(B));
    assert_eq!(answer(holder, "MULTI"), OK);
    for line in ["DEL lock:b", &take("lock:c", C), &take("lock:a", STRANGER)] {
        assert_eq!(answer(holder, line), QUEUED, "{line}");
    }
    assert_eq!(answer(holder, "EXEC"), format!("*3\r\n{ONE}{OK}{NIL}"));
    stage.redis.start_empty();
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
}

/// Every way to look at a lock that a library uses.
#[test]
fn a_lock_is_looked_at() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    for (line, reply) in [
        ("GET lock:a", bulk(A)),
        ("MGET lock:a lock:b", format!("*2\r\n{}{NIL}", bulk(A))),
        ("STRLEN lock:a", ":36\r\n".into()),
        ("GETRANGE lock:a 0 3", bulk("550e")),
        ("EXISTS lock:a lock:b lock:a", ":2\r\n".into()),
        ("TYPE lock:a", "+string\r\n".into()),
        ("TYPE lock:b", "+none\r\n".into()),
        ("TTL lock:a", NO_TTL.into()),
        ("PTTL lock:a", NO_TTL.into()),
        ("PTTL lock:b", ":-2\r\n".into()),
        ("EXPIRETIME lock:a", NO_TTL.into()),
        ("TOUCH lock:a lock:b", ONE.into()),
        ("EXPIRE lock:a 5", ONE.into()),
        ("EXPIRE lock:b 5", ZERO.into()),
    ] {
        assert_eq!(answer(&mut stage.stranger, line), reply, "{line}");
    }
}

/// A claim in a database that Redis has not could never be brought in line.
#[test]
fn a_database_that_redis_has_not_is_out_of_range() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let elsewhere = "redis.call('select', '99') return redis.call('set', KEYS[1], ARGV[1], 'NX')";
    let reply = answer(&mut stage.holder, &format!("EVAL \"{elsewhere}\" 1 lock:b {B}"));
    assert!(reply.starts_with("-ERR DB index is out of range"), "{reply}");
    for line in ["MULTI", "SELECT 99", &take("lock:c", B)] {
        answer(&mut stage.holder, line);
    }
    let reply = answer(&mut stage.holder, "EXEC");
    assert!(reply.contains("-ERR DB index is out of range"), "{reply}");
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    stage.assert_held("lock:a", A);
}

#[test]
fn a_select_in_a_transaction_stays() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    for line in ["MULTI", "SELECT 5", &take("lock:b", B)] {
        answer(&mut stage.holder, line);
    }
    assert_eq!(answer(&mut stage.holder, "EXEC"), "*2\r\n+OK\r\n+OK\r\n");
    assert_eq!(answer(&mut stage.holder, "GET lock:b"), bulk(B));
    assert_eq!(answer(&mut stage.stranger, "GET lock:b"), NIL);
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(answer(&mut stage.holder, "GET lock:b"), bulk(B));
}

/// What is no lock is refused at once, with the reason (SPEC 6).
#[test]
fn other_keys_are_refused_with_the_reason() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let start =
        format!("-MASTERDOWN lockside: upstream 127.0.0.1:{} is unavailable (", stage.relay.port());
    for line in ["GET plain", "SUBSCRIBE news", "MGET lock:a plain", "FLUSHALL", "BLPOP plain 0"] {
        let reply = answer(&mut stage.stranger, line);
        let is_right =
            reply.starts_with(&start) && reply.ends_with("); only lock keys are served\r\n");
        assert!(is_right, "{line}: {reply}");
    }
}

/// The same where Redis answers and has lost the lock: what it lacks is no answer.
#[test]
fn a_lock_is_looked_at_where_redis_is_behind() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    assert_eq!(stage.redis.ask("REPLICAOF 127.0.0.1 1"), OK);
    stage.wait_mode("degraded");
    stage.take("lock:b", B);
    for line in ["PTTL lock:b", "TTL lock:b"] {
        assert_eq!(answer(&mut stage.holder, line), NO_TTL, "{line}");
    }
    assert_eq!(answer(&mut stage.holder, "EXISTS lock:a lock:b"), ":2\r\n");
    assert_eq!(answer(&mut stage.holder, "TYPE lock:b"), "+string\r\n");
}

/// A watched lock was released and taken meanwhile.
#[test]
fn a_watch_that_sees_a_change() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.stranger, "WATCH lock:a"), OK);
    stage.give("lock:a", A);
    stage.take("lock:a", B);
    assert_eq!(answer(&mut stage.stranger, "MULTI"), OK);
    assert_eq!(answer(&mut stage.stranger, "DEL lock:a"), QUEUED);
    assert_eq!(answer(&mut stage.stranger, "EXEC"), "*-1\r\n");
    stage.assert_held("lock:a", B);
}

/// A transaction that touches another key: an error, and nothing of it is applied.
#[test]
fn a_transaction_with_other_keys_does_nothing() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "MULTI"), OK);
    for line in ["DEL lock:a", "SET plain 2", &take("lock:c", C)] {
        answer(&mut stage.holder, line);
    }
    assert!(answer(&mut stage.holder, "EXEC").starts_with('-'));
    stage.assert_held("lock:a", A);
    assert_eq!(answer(&mut stage.holder, "GET lock:c"), NIL);
}

/// EXEC is on its way when Redis goes: its locks are taken and released as its reply says.
#[test]
fn a_transaction_across_the_crash() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    assert_eq!(answer(&mut stage.holder, "MULTI"), OK);
    assert_eq!(answer(&mut stage.holder, "DEL lock:a"), QUEUED);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let reply = answer(&mut stage.holder, "EXEC");
    let there = answer(&mut stage.stranger, "GET lock:a");
    match reply.as_str() {
        "*1\r\n:1\r\n" => assert_eq!(there, NIL),
        error if error.starts_with('-') => assert_eq!(there, bulk(A), "{error}"),
        other => panic!("{other}"),
    }
}

/// A transaction that was begun with Redis is not carried out without it; sent again it is.
#[test]
fn a_transaction_that_is_open_when_redis_is_lost() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    assert_eq!(answer(&mut stage.holder, "MULTI"), OK);
    assert_eq!(answer(&mut stage.holder, "DEL lock:a"), QUEUED);
    stage.redis.kill();
    stage.wait_mode("degraded");
    answer(&mut stage.holder, "DEL lock:a");
    let reply = answer(&mut stage.holder, "EXEC");
    assert!(reply.starts_with("-EXECABORT "), "{reply}");
    stage.assert_held("lock:a", A);
    for (line, reply) in [("MULTI", OK), ("DEL lock:a", QUEUED), ("EXEC", "*1\r\n:1\r\n")] {
        assert_eq!(answer(&mut stage.holder, line), reply);
    }
}

/// For its client's own commands a lock has the TTL that the client gave it, or none, with Redis and without.
#[test]
fn a_lock_without_ttl_has_none() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(answer(&mut stage.holder, &format!("SET lock:a {A} NX")), OK);
    assert_eq!(answer(&mut stage.holder, &format!("SET lock:b {B} NX PX 30000")), OK);
    let check = |stage: &mut Stage| {
        for (line, reply) in [
            ("PERSIST lock:a", ZERO),
            ("PEXPIRE lock:a 5000 XX", ZERO),
            ("EXPIRE lock:a 5 GT", ZERO),
            ("EXPIRE lock:a 5 NX", ONE),
            ("PTTL lock:a", NO_TTL),
            ("PERSIST lock:b", ONE),
            ("PEXPIRE lock:b 5000 XX", ONE),
            ("PTTL lock:b", NO_TTL),
        ] {
            assert_eq!(answer(&mut stage.holder, line), reply, "{line}");
        }
    };
    check(&mut stage);
    stage.redis.kill();
    stage.wait_mode("degraded");
    check(&mut stage);
}

/// Subscribers, MONITOR and clients blocked on ordinary keys are closed, as Redis would; others
/// stay.
#[test]
fn only_those_who_wait_are_closed() {
    let Some(mut stage) = Stage::start() else { return };
    // Redis is seen to let this client use locks.
    stage.take("lock:b", B);
    let mut waiting = [
        ("SUBSCRIBE news", stage.subject.client()),
        ("MONITOR", stage.subject.client()),
        ("BLPOP list 0", stage.subject.client()),
    ];
    for (line, client) in &mut waiting {
        client.send_line(line);
        if !line.starts_with("BLPOP") {
            client.frame();
        }
    }
    wait_until("blocked", || stage.redis.ask("INFO clients").contains("blocked_clients:1\r"));
    stage.redis.kill();
    for (_, client) in &mut waiting {
        client.rest();
    }
    // In the very moment of the crash it is one more command in flight.
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "PING"), "+PONG\r\n");
    stage.take("lock:a", A);
}

/// How long a client says that it waits is how long it waits, wherever that is.
#[test]
fn a_waiter_waits_no_longer_than_it_said() {
    let Some(mut stage) = Stage::start() else { return };
    let began = Instant::now();
    stage.stranger.send_line("BLPOP lock-signal:a 3");
    wait_until("blocked", || stage.redis.ask("INFO clients").contains("blocked_clients:1\r"));
    stage.holder.send_line("BLPOP lock-signal:b 4");
    wait_until("blocked", || stage.redis.ask("INFO clients").contains("blocked_clients:2\r"));
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(stage.stranger.text(), "*-1\r\n");
    let took = began.elapsed();
    assert!((3000..3900).contains(&took.as_millis()), "{took:?}: neither early nor anew");
    // The other one goes back to Redis for the rest of its time.
    stage.redis.start_empty();
    assert_eq!(stage.holder.text(), "*-1\r\n");
    let took = began.elapsed();
    assert!((4000..5600).contains(&took.as_millis()), "{took:?}: neither early nor anew");
}

/// While Redis is away SELECT is bounded by what Redis has.
#[test]
fn a_database_that_redis_has_not_is_refused() {
    for (count, last, first_not) in [("4", "3", "4"), ("40", "39", "40")] {
        let Some(mut stage) = Stage::with(&["--databases", count], Settings::default()) else {
            return;
        };
        stage.redis.kill();
        stage.wait_mode("degraded");
        assert_eq!(answer(&mut stage.holder, &format!("SELECT {last}")), OK);
        let reply = answer(&mut stage.holder, &format!("SELECT {first_not}"));
        assert_eq!(reply, "-ERR DB index is out of range\r\n");
        stage.redis.start_empty();
        stage.wait_mode("healthy");
        stage.take("lock:a", A);
    }
}

/// A client that waits for a lock's signal, as python-redis-lock does, is woken by a release that
/// is served without Redis.
#[test]
fn a_waiter_for_a_signal_is_carried_over() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.stranger.send_line("BLPOP lock-signal:a 10");
    wait_until("blocked", || stage.redis.ask("INFO clients").contains("blocked_clients:1\r"));
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "DEL lock:a"), ONE);
    assert_eq!(answer(&mut stage.holder, "LPUSH lock-signal:a 1"), ONE);
    assert_eq!(stage.stranger.text(), format!("*2\r\n{}{}", bulk("lock-signal:a"), bulk("1")));
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", B)), OK);
}

/// A Redis that hangs closes nothing. Who blocks on companions loses nothing by leaving it: the waiter
/// is carried over when Redis is known not to answer, not `command_timeout` later.
#[test]
fn a_waiter_leaves_a_redis_that_hangs() {
    let settings = Settings { upstream: HANGS, ..Settings::default() };
    let Some(mut stage) = Stage::with(&[], settings) else { return };
    stage.take("lock:a", A);
    stage.stranger.send_line("BLPOP lock-signal:a 30");
    wait_until("blocked", || stage.redis.ask("INFO clients").contains("blocked_clients:1\r"));
    let mut patient = stage.subject.client();
    let began = Instant::now();
    patient.send_line("BLPOP lock-signal:b 3");
    wait_until("blocked", || stage.redis.ask("INFO clients").contains("blocked_clients:2\r"));
    stage.redis.process().signal("STOP");
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "LPUSH lock-signal:a 1"), ONE);
    let pushed = Instant::now();
    assert_eq!(stage.stranger.text(), format!("*2\r\n{}{}", bulk("lock-signal:a"), bulk("1")));
    let took = pushed.elapsed();
    assert!(took.as_millis() < 2000, "{took:?} after the push");
    assert_eq!(patient.text(), "*-1\r\n");
    let took = began.elapsed();
    assert!((3000..4500).contains(&took.as_millis()), "{took:?}: neither early nor late");
    stage.redis.process().signal("CONT");
    stage.wait_mode("healthy");
}
