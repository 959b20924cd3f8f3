//! `guarantee = "fast"`: an acquire and a release whose Lockside dies at each of their steps. What is
//! left over is what docs/guarantees.md names: a grant that is not written while Redis loses it too,
//! and a release that is not written.

use super::rig::{A, B, NIL, OK, ONE, SHORT, STRANGER, Stage, Told, give, reply, take, wait_gone};
use crate::support::{Settings, wait_until};

fn stage() -> Option<Stage> {
    let tables = format!("[ledger]\nmirror_interval = \"100ms\"\n{SHORT}");
    let top = "guarantee = \"fast\"";
    let stage = Stage::of(Settings { top, tables: &tables, ..Settings::default() })?;
    wait_written(&stage);
    Some(stage)
}

/// Waits until the mirror has caught up; also with what a pass has found in Redis.
fn wait_written(stage: &Stage) {
    wait_until("what came before is written", || {
        stage.client().ask("INFO lockside").contains("lockside_ledger_waiting:0\r")
    });
}

/// What the next run must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Held,
    Free,
    /// Nobody was told, or docs/guarantees.md says that it may be either.
    Either,
}
use Fate::{Either, Free, Held};

fn is_held(stage: &Stage) -> bool {
    stage.client().ask("LOCKSIDE LOCKS lock:a").contains("\r\nlock:a\r\n")
}

/// Whether `A` has the lock after this end, decided for good.
fn decided(stage: &mut Stage, fate: Fate, place: &str) -> bool {
    wait_written(stage);
    let held = is_held(stage);
    match fate {
        Held => assert!(held, "{place}: it is lost"),
        Free => assert!(!held, "{place}: it is held"),
        Either => {}
    }
    stage.assert_others_unharmed();
    stage.crash_again();
    assert_eq!(is_held(stage), held, "it was decided otherwise before");
    if held {
        assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    }
    held
}

/// Redis is in line with that, and the lock can be released and taken.
fn in_line(stage: &mut Stage, held: bool) {
    if !held {
        wait_gone(&stage.redis, "lock:a");
    }
    stage.assert_locks(if held { &[("lock:a", A)] } else { &[] });
    if held {
        assert_eq!(stage.client().ask(&give("lock:a", A)), ONE);
    }
    assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
    stage.assert_locks(&[("lock:a", B)]);
}

/// `fates`: where Redis stays, and where it dies too and comes back empty.
fn cut_off(before: &str, command: &str, place: &str, fates: [Fate; 2]) {
    for (fate, redis_dies) in fates.into_iter().zip([false, true]) {
        let Some(mut stage) = stage() else { return };
        let mut client = stage.client();
        client.ask(before);
        wait_written(&stage);
        let told = stage.last_words(&mut client, place, command);
        if place.ends_with("-told") {
            assert_ne!(told, Told::Nothing, "{place}");
        }
        let is_well = [Told::Nothing, reply(OK), reply(ONE)].contains(&told);
        assert!(is_well, "{place}: {told:?}");
        stage.start_again(redis_dies);
        let held = decided(&mut stage, fate, place);
        if redis_dies {
            stage.redis.start_again();
            stage.wait_mode("healthy");
        }
        in_line(&mut stage, held);
    }
}

fn acquire(place: &str, fates: [Fate; 2]) {
    cut_off("PING", &take("lock:a", A), place, fates);
}

fn release(place: &str, fates: [Fate; 2]) {
    cut_off(&take("lock:a", A), "DEL lock:a", place, fates);
}

#[test]
fn acquire_once_the_set_is_sent() {
    acquire("set-sent", [Free, Free]);
}

#[test]
fn acquire_once_the_set_is_answered() {
    acquire("set-answered", [Free, Free]);
}

/// Redis may have taken the TTL off already.
#[test]
fn acquire_once_the_persist_is_sent() {
    acquire("persist-sent", [Either, Free]);
}

/// What Redis has for good is adopted; with it the grant is gone.
#[test]
fn acquire_once_the_client_is_told() {
    acquire("acquire-told", [Held, Free]);
}

/// The client was told; the mirror was on its way.
#[test]
fn acquire_before_the_commit() {
    acquire("exchange-begun", [Held, Free]);
}

#[test]
fn acquire_after_the_commit() {
    acquire("exchange-committed", [Held, Held]);
}

/// The ledger has not heard of it: a repair puts the lock back.
#[test]
fn release_once_del_is_sent() {
    release("release-sent", [Held, Held]);
}

#[test]
fn release_once_del_is_answered() {
    release("release-answered", [Held, Held]);
}

#[test]
fn release_once_the_client_is_told() {
    release("release-told", [Either, Either]);
}

#[test]
fn release_before_the_commit() {
    release("exchange-begun", [Held, Held]);
}

#[test]
fn release_after_the_commit() {
    release("exchange-committed", [Free, Free]);
}
