//! Lockside dies between two repairs of one pass; the next one makes the pass again.

use super::rig::{A, B, OK, ONE, STRANGER, Stage, take};
use crate::support::Client;

/// A connection in another database: what is repaired there is another batch.
fn in_database_one(stage: &Stage) -> Client {
    let mut client = stage.client();
    assert_eq!(client.ask("SELECT 1"), OK);
    client
}

/// Redis is back empty: the locks of one database are there, those of the other are not yet.
#[test]
fn between_two_databases() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    assert_eq!(in_database_one(&stage).ask(&take("lock:b", B)), OK);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.arm("repaired");
    stage.redis.start_again();
    stage.wait_crash();
    let there = super::rig::locks_of(&stage.redis);
    let mut other = stage.redis.client();
    assert_eq!(other.ask("SELECT 1"), OK);
    let both = !there.is_empty() && other.ask("EXISTS lock:b") == ONE;
    assert!(!both, "it has died between the two");
    stage.subject.start_again();
    stage.assert_locks(&[("lock:a", A)]);
    assert_eq!(other.ask("GET lock:b"), super::rig::bulk(B));
    assert_eq!(other.ask("PTTL lock:b"), ":-1\r\n");
    assert_ne!(in_database_one(&stage).ask(&take("lock:b", STRANGER)), OK);
}

/// Redis is back with an old dataset: something has to be deleted and something to be set.
#[test]
fn between_a_removal_and_a_restoration() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client().ask(&take("lock:old", A)), OK);
    let old = stage.redis.snapshot();
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(stage.client().ask("DEL lock:old"), ONE);
    assert_eq!(stage.client().ask(&take("lock:b", B)), OK);
    stage.arm("repaired");
    stage.redis.start_with(&old);
    stage.wait_crash();
    stage.subject.start_again();
    stage.assert_locks(&[("lock:a", A), ("lock:b", B)]);
    assert_eq!(stage.client().ask(&take("lock:old", STRANGER)), OK);
}
