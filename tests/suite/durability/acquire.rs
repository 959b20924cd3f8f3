//! An acquire whose Lockside dies at each of its steps, in strict mode.

use super::rig::{A, B, C, NIL, OK, ONE, STRANGER, Stage, Told, reply, take, wait_gone};
use crate::support::PATIENCE;

/// What the ledger makes of the acquire that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Held,
    Free,
    /// It depends on which thread was faster.
    Either,
}
use Fate::{Either, Free, Held};

/// The acquire, and what is left of it.
fn cut_off(command: &str, place: &str, fate: Fate, redis_dies: bool) {
    let Some(mut stage) = Stage::start() else { return };
    let mut client = stage.client();
    // The script's text is known, so that the acquire is one step.
    assert_eq!(client.ask(&take_by_script("lock:never", C)), OK);
    assert_eq!(client.ask("DEL lock:never"), ONE);
    let told = stage.last_words(&mut client, place, command);
    assert_eq!(told, if place.ends_with("-told") { reply(OK) } else { Told::Nothing });
    stage.start_again(redis_dies);
    let held = decided(&mut stage, &told, fate);
    if redis_dies {
        stage.redis.start_again();
        stage.wait_mode("healthy");
    }
    if held {
        stage.assert_locks(&[("lock:a", A)]);
        same_token_again(&mut stage, &told);
    } else {
        // Redis may still have the provisional key, which stands for nothing.
        wait_gone(&stage.redis, "lock:a");
        stage.assert_locks(&[]);
        assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
        stage.assert_locks(&[("lock:a", B)]);
    }
}

/// Whether the lock is held: as the client was told, as it must be, and so for good.
fn decided(stage: &mut Stage, told: &Told, fate: Fate) -> bool {
    let held = is_held(stage);
    match fate {
        Held => assert!(held, "it was durable"),
        Free => assert!(!held, "nothing was durable"),
        Either => {}
    }
    assert!(held || !told.is(OK), "an acknowledged lock is lost");
    stage.assert_others_unharmed();
    stage.crash_again();
    assert_eq!(is_held(stage), held, "it was decided otherwise before");
    if held {
        assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
        assert!(is_held(stage));
    }
    held
}

/// By the ledger: what stands in Redis provisionally is no lock.
fn is_held(stage: &Stage) -> bool {
    stage.client().ask("LOCKSIDE LOCKS lock:a").contains("\r\nlock:a\r\n")
}

/// Who was told nothing asks again with the same token: it is the same grant, once.
fn same_token_again(stage: &mut Stage, told: &Told) {
    if *told == Told::Nothing {
        assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    }
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    assert_eq!(stage.client().ask("DEL lock:a"), ONE);
    stage.assert_locks(&[]);
}

/// As about half of the lock libraries take theirs.
fn take_by_script(key: &str, token: &str) -> String {
    let text = "return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)";
    format!("EVAL \"{text}\" 1 {key} {token}")
}

macro_rules! places {
    ($($name:ident: $command:expr, $place:literal, $fate:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn and_redis_dies_too() {
                cut_off(&$command, $place, $fate, true);
            }

            #[test]
            fn and_redis_stays() {
                cut_off(&$command, $place, $fate, false);
            }
        }
    )*};
}

places! {
    once_the_set_is_sent: take("lock:a", A), "set-sent", Free;
    once_the_set_is_answered: take("lock:a", A), "set-answered", Free;
    once_the_ledger_is_asked: take("lock:a", A), "ledger-asked", Either;
    before_the_commit: take("lock:a", A), "exchange-begun", Free;
    after_the_commit: take("lock:a", A), "exchange-committed", Held;
    once_the_ledger_has_answered: take("lock:a", A), "ledger-answered", Held;
    once_the_persist_is_sent: take("lock:a", A), "persist-sent", Held;
    once_the_client_is_told: take("lock:a", A), "acquire-told", Held;
    once_the_script_is_sent: take_by_script("lock:a", A), "script-sent", Free;
    once_the_script_is_answered: take_by_script("lock:a", A), "script-answered", Free;
    by_script_once_the_ledger_is_asked: take_by_script("lock:a", A), "ledger-asked", Either;
    by_script_before_the_commit: take_by_script("lock:a", A), "exchange-begun", Free;
    by_script_after_the_commit: take_by_script("lock:a", A), "exchange-committed", Held;
    by_script_once_the_client_is_told: take_by_script("lock:a", A), "script-told", Held;
}

/// A claim that lost is durable too, and no lock.
#[test]
fn a_claim_that_has_lost() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    let mut client = stage.client();
    assert_eq!(client.ask("GET lock:never"), NIL);
    stage.arm("exchange-committed");
    // Redis loses it behind Lockside's back, so that the stranger's SET succeeds there; unless a
    // repair comes first.
    let told = (0..100).find_map(|_| {
        stage.redis.ask("DEL lock:a");
        client.send_line(&take("lock:a", STRANGER));
        let told = client.frame_within(PATIENCE).ok();
        (told.as_deref() != Some(NIL.as_bytes())).then_some(told)
    });
    assert_eq!(told, Some(None), "no answer");
    stage.wait_crash();
    stage.start_again(true);
    assert!(stage.holds("lock:a", A));
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    stage.redis.start_again();
    stage.assert_locks(&[("lock:a", A)]);
}
