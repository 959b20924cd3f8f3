//! `guarantee = "fast"`: in calm times Redis decides and the ledger follows; what docs/guarantees.md
//! says of crashes and outages.

use super::{A, B, C, NIL, OK, ONE, STRANGER, Stage, answer, assert_locks, bulk, take};
use crate::support::locks::give;
use crate::support::{Client, Settings, wait_until};

/// The mirror is late on purpose, or next to immediate.
const LATE: &str = "guarantee = \"fast\"\n[ledger]\nmirror_interval = \"60s\"";
const SOON: &str = "guarantee = \"fast\"\n[ledger]\nmirror_interval = \"100ms\"";

/// Time enough to kill Lockside before the mirror; a next run waits as long.
const BETWEEN: &str = "guarantee = \"fast\"\n[ledger]\nmirror_interval = \"2s\"";

fn stage(redis: &[&str], top: &str) -> Option<Stage> {
    Stage::with(redis, Settings { top, ..Settings::default() })
}

/// The lock's fence, as its clients see it.
fn fence(client: &mut Client, key: &str) -> u64 {
    let reply = answer(client, &format!("LOCKSIDE FENCE {key}"));
    reply.trim_start_matches(':').trim().parse().unwrap_or_else(|_| panic!("no fence: {reply}"))
}

/// Entries of this lock in the ledger's file: read by what an operator has for it.
fn is_in_ledger(stage: &mut Stage, key: &str) -> bool {
    !answer(&mut stage.stranger, &format!("LOCKSIDE HISTORY {key}")).starts_with("*0")
}

/// How often the mode has changed: a repair pass that is needed at once is one.
fn mode_changes(stage: &mut Stage) -> String {
    let info = answer(&mut stage.stranger, "INFO lockside");
    let line = info.lines().find_map(|line| line.strip_prefix("lockside_mode_changes:"));
    line.unwrap_or_else(|| panic!("{info}")).to_owned()
}

#[test]
fn grants_by_redis_do_not_wait_for_the_ledger() {
    let Some(mut stage) = stage(&[], LATE) else { return };
    for number in 0..50 {
        stage.take(&format!("lock:{number}"), A);
    }
    let before = fence(&mut stage.holder, "lock:48");
    assert!(fence(&mut stage.holder, "lock:49") > before);
    assert!(!is_in_ledger(&mut stage, "lock:0"), "the mirror is a minute late");
    stage.give("lock:0", A);
    assert_eq!(answer(&mut stage.stranger, &take("lock:1", STRANGER)), NIL);
    assert_eq!(answer(&mut stage.stranger, &take("lock:0", STRANGER)), OK);
}

/// All that was granted is known when Redis is lost, for the mirror is written before anything
/// else; fences grow on.
#[test]
fn redis_is_killed_and_what_it_granted_is_known() {
    let Some(mut stage) = stage(&[], LATE) else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    let first = fence(&mut stage.holder, "lock:a");
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.go_on_without_redis();
    let during = fence(&mut stage.holder, "lock:c");
    assert!(during > first);
    stage.redis.start_empty();
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
    assert_eq!(answer(&mut stage.stranger, &take("lock:b", STRANGER)), OK);
    assert!(fence(&mut stage.stranger, "lock:b") > during);
}

#[test]
fn lockside_is_killed_after_the_mirror_while_redis_is_down() {
    let Some(mut stage) = stage(&[], SOON) else { return };
    stage.take("lock:a", A);
    wait_until("the grant is in the ledger", || is_in_ledger(&mut stage, "lock:a"));
    stage.redis.kill();
    stage.subject.kill();
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    stage.assert_held("lock:a", A);
    stage.take("lock:c", C);
    stage.redis.start_empty();
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
}

/// The ledger has never heard of it: Redis has, and the pass at the start adopts it.
#[test]
fn lockside_is_killed_before_the_mirror() {
    let Some(mut stage) = stage(&[], BETWEEN) else { return };
    stage.take("lock:a", A);
    let before = fence(&mut stage.holder, "lock:a");
    stage.subject.kill();
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    stage.wait_mode("healthy");
    assert_eq!(answer(&mut stage.stranger, "GET lock:a"), bulk(A));
    wait_until("it was adopted", || is_in_ledger(&mut stage, "lock:a"));
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", STRANGER)), NIL);
    assert_eq!(answer(&mut stage.holder, "DEL lock:a"), ONE);
    wait_until("Redis decides again", || {
        assert_eq!(answer(&mut stage.holder, &take("lock:b", B)), OK);
        let after = fence(&mut stage.holder, "lock:b");
        assert_eq!(answer(&mut stage.holder, "DEL lock:b"), ONE);
        after > before
    });
}

/// A FLUSHALL behind Lockside's back takes the counter too: locks are put back, fences grow on.
#[test]
fn the_counter_is_lost_with_all_locks() {
    let Some(mut stage) = stage(&[], SOON) else { return };
    stage.take("lock:a", A);
    let before = fence(&mut stage.holder, "lock:a");
    wait_until("the grant is in the ledger", || is_in_ledger(&mut stage, "lock:a"));
    assert_eq!(stage.redis.ask("FLUSHALL"), OK);
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", STRANGER)), NIL, "the ledger says no");
    wait_until("the lock is back", || stage.redis.ask("GET lock:a") == bulk(A));
    stage.wait_mode("healthy");
    assert_locks(&stage.redis, &[("lock:a", A)]);
    stage.take("lock:b", B);
    assert!(fence(&mut stage.holder, "lock:b") > before);
}

/// A FLUSHALL through Lockside releases, and its counter of fences goes on, without a repair pass.
#[test]
fn a_flush_through_lockside_changes_no_mode() {
    let Some(mut stage) = stage(&[], SOON) else { return };
    stage.take("lock:a", A);
    let before = fence(&mut stage.holder, "lock:a");
    let changes = mode_changes(&mut stage);
    assert_eq!(answer(&mut stage.holder, "FLUSHALL"), OK);
    stage.take("lock:a", B);
    assert!(fence(&mut stage.holder, "lock:a") > before);
    assert_eq!(mode_changes(&mut stage), changes);
    wait_until("the grant is in the ledger", || is_in_ledger(&mut stage, "lock:a"));
    assert_locks(&stage.redis, &[("lock:a", B)]);
}

/// A value may be used again by its client, as it may with Redis.
#[test]
fn a_value_is_taken_again() {
    let Some(mut stage) = stage(&["--appendonly", "yes"], SOON) else { return };
    stage.take("lock:a", A);
    stage.give("lock:a", A);
    stage.take("lock:a", A);
    let held = fence(&mut stage.holder, "lock:a");
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.assert_held("lock:a", A);
    assert_eq!(fence(&mut stage.holder, "lock:a"), held);
    stage.redis.start_with_data();
    stage.assert_recovers_with(&[("lock:a", A)]);
    stage.give("lock:a", A);
    assert_locks(&stage.redis, &[]);
}

/// Redis has kept what the ledger has not heard of, and is right: nobody is answered by the older holder's
/// entry, not even before the first repair pass.
#[test]
fn lockside_is_killed_with_a_release_and_the_next_grant_unwritten() {
    let Some(mut stage) = stage(&[], BETWEEN) else { return };
    let keys = ["lock:again", "lock:del", "lock:give", "lock:get"];
    keys.iter().for_each(|key| stage.take(key, A));
    for key in keys {
        wait_until("the grant is in the ledger", || is_in_ledger(&mut stage, key));
    }
    for key in keys {
        stage.give(key, A);
        stage.take(key, B);
    }
    stage.subject.kill();
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    assert_eq!(answer(&mut stage.stranger, &take("lock:again", A)), NIL, "B holds it");
    assert_eq!(answer(&mut stage.stranger, "GET lock:get"), bulk(B));
    assert_eq!(answer(&mut stage.stranger, &give("lock:give", A)), ":0\r\n");
    assert_eq!(answer(&mut stage.holder, &give("lock:give", B)), ONE);
    assert_eq!(answer(&mut stage.holder, "DEL lock:del"), ONE);
    stage.wait_mode("healthy");
    assert_locks(&stage.redis, &[("lock:again", B), ("lock:get", B)]);
    for key in ["lock:del", "lock:give"] {
        assert_eq!(stage.redis.ask(&format!("GET {key}")), NIL, "{key} was released");
    }
    // The ledger has heard of all of it.
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.assert_held("lock:again", B);
    assert_eq!(answer(&mut stage.stranger, &take("lock:del", STRANGER)), OK);
}

/// Nobody else lives at an SQLite ledger, which its next run knows: it waits for nobody.
#[test]
fn a_crash_of_the_only_sidecar_delays_nobody() {
    let Some(mut stage) = stage(&[], LATE) else { return };
    stage.take("lock:a", A);
    stage.subject.kill();
    // A lock-delay of a minute would be longer than any patience here.
    stage.subject.start_again();
    (stage.holder, stage.stranger) = (stage.subject.client(), stage.subject.client());
    stage.wait_mode("healthy");
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", STRANGER)), NIL);
    assert_eq!(answer(&mut stage.stranger, &take("lock:b", STRANGER)), OK);
}
