//! Redis ends as a crash does, and comes back with other data; Lockside crashes too.

use super::{
    A, B, C, D, NIL, OK, ONE, STRANGER, Stage, answer, assert_locks, bulk, take, wait_mode,
};
use crate::support::{Client, Redis};

/// With all that Redis acknowledged in its append-only file.
const KEPT: &[&str] = &["--appendonly", "yes"];

/// The holder holds on, a stranger is refused, a release and a new acquire work; Redis comes back
/// empty and has then what clients hold.
#[test]
fn redis_is_killed_and_comes_back_empty() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.go_on_without_redis();
    stage.assert_other_keys_refused();
    stage.redis.start_empty();
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
    assert_eq!(stage.stranger.ask(&take("lock:b", STRANGER)), OK);
    stage.give("lock:a", A);
}

#[test]
fn redis_comes_back_with_its_data() {
    let Some(mut stage) = Stage::with(KEPT, Default::default()) else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.go_on_without_redis();
    stage.redis.start_with_data();
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
}

/// Locks that were released since then are deleted, those taken since then are set.
#[test]
fn redis_comes_back_with_an_old_dataset() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    let old = stage.redis.snapshot();
    stage.give("lock:a", A);
    stage.take("lock:c", C);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.give("lock:b", B);
    stage.take("lock:d", D);
    stage.redis.start_with(&old);
    stage.assert_recovers_with(&[("lock:c", C), ("lock:d", D)]);
    assert_eq!(stage.stranger.ask(&take("lock:a", STRANGER)), OK);
}

/// The same key changed hands: the old holder's value is replaced.
#[test]
fn an_old_dataset_names_an_earlier_holder() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    let old = stage.redis.snapshot();
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.give("lock:a", A);
    stage.take("lock:a", B);
    stage.redis.start_with(&old);
    stage.assert_recovers_with(&[("lock:a", B)]);
}

/// Lockside itself is killed and started again while Redis is down, and knows every lock.
#[test]
fn lockside_is_killed_while_redis_is_down() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    stage.take("lock:gone", D);
    stage.give("lock:gone", D);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.take("lock:during", C);
    stage.give("lock:during", C);
    stage.subject.kill();
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    let listed = stage.holder.ask("LOCKSIDE LOCKS");
    assert!(listed.contains("lock:a") && listed.contains("lock:b"), "{listed}");
    assert!(!listed.contains("lock:gone") && !listed.contains("lock:during"), "{listed}");
    assert_eq!(answer(&mut stage.stranger, "GET lock:gone"), NIL);
    stage.go_on_without_redis();
    stage.assert_other_keys_refused();
    // Once more, with what this one has granted and released.
    stage.subject.kill();
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    stage.assert_held("lock:a", A);
    stage.assert_held("lock:c", C);
    assert_eq!(answer(&mut stage.stranger, "GET lock:b"), NIL);
    stage.redis.start_empty();
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
}

/// Both crash; Redis is back empty before Lockside is.
#[test]
fn both_are_killed() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.subject.kill();
    stage.redis.start_empty();
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    assert_ne!(answer(&mut stage.stranger, &take("lock:a", STRANGER)), OK);
    stage.assert_recovers_with(&[("lock:a", A)]);
}

/// Redis restarts between two commands: no stranger gets what is held.
#[test]
fn a_restart_that_nobody_notices() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    stage.redis.kill();
    stage.redis.start_empty();
    let reply = answer(&mut stage.stranger, &take("lock:a", STRANGER));
    assert_ne!(reply, OK, "the lock is held");
    assert_eq!(answer(&mut stage.holder, "DEL lock:b"), ONE);
    stage.assert_recovers_with(&[("lock:a", A)]);
}

/// The same, and the holder is the first to come.
#[test]
fn a_restart_that_the_holder_meets_first() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    stage.redis.kill();
    stage.redis.start_empty();
    assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A));
    stage.give("lock:b", B);
    // A new connection is led to the new server at once.
    let mut late = stage.subject.client();
    assert_ne!(answer(&mut late, &take("lock:a", STRANGER)), OK);
    stage.assert_recovers_with(&[("lock:a", A)]);
}

/// A replica that missed the last writes is promoted, and the address leads to it.
#[test]
fn a_replica_that_missed_writes_is_promoted() {
    let at_once = &["--repl-diskless-sync-delay", "0"];
    let Some(mut stage) = Stage::with(at_once, Default::default()) else { return };
    let replica = Redis::start();
    stage.take("lock:a", A);
    replicate(&stage.redis, &replica);
    assert_eq!(replica.ask("REPLICAOF NO ONE"), OK);
    stage.give("lock:a", A);
    stage.take("lock:b", B);
    stage.relay.lead_to(replica.port());
    stage.redis = replica;
    let reply = answer(&mut stage.stranger, &take("lock:b", STRANGER));
    assert_ne!(reply, OK, "the lock is held");
    stage.assert_held("lock:b", B);
    wait_until_locks(&stage.redis, &[("lock:b", B)]);
    stage.assert_recovers_with(&[("lock:b", B)]);
    assert_eq!(stage.stranger.ask(&take("lock:a", STRANGER)), OK);
}

/// The replica has all that `master` has.
fn replicate(master: &Redis, replica: &Redis) {
    assert_eq!(replica.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port())), OK);
    crate::support::wait_until("the replica has the lock", || replica.ask("GET lock:a") == bulk(A));
}

fn wait_until_locks(redis: &Redis, locks: &[(&str, &str)]) {
    let wanted = |redis: &Redis| {
        let there = super::locks_of(redis);
        there.len() == locks.len()
            && locks.iter().all(|(key, token)| there.get(*key).is_some_and(|have| have == token))
    };
    crate::support::wait_until("the locks are in Redis", || wanted(redis));
    assert_locks(redis, locks);
}

/// Lockside starts before Redis does, and lets in whom Redis has let use locks before.
#[test]
fn redis_comes_later_than_lockside() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.give("lock:a", A);
    stage.redis.kill();
    stage.subject.kill();
    stage.subject.start_again();
    wait_mode(stage.subject.port(), "degraded");
    let mut client: Client = stage.subject.client();
    assert_eq!(answer(&mut client, &take("lock:a", A)), OK);
    stage.redis.start_empty();
    (stage.holder, stage.stranger) = (client, stage.subject.client());
    stage.assert_recovers_with(&[("lock:a", A)]);
}
