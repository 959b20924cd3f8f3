//! A release whose Lockside dies at each of its steps, in strict mode: by DEL, and by token.

use super::rig::{A, B, NIL, OK, ONE, STRANGER, Stage, Told, ZERO, give, reply, take};

/// Whether the ledger has the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Released,
    Held,
    /// It depends on which thread was faster.
    Either,
}
use Fate::{Either, Held, Released};

fn cut_off(command: &str, place: &str, fate: Fate, redis_dies: bool) {
    let Some(mut stage) = Stage::start() else { return };
    let mut client = stage.client();
    assert_eq!(client.ask(&take("lock:a", A)), OK);
    // The script's text is known, so that the release is one step.
    assert_eq!(client.ask(&give("lock:never", A)), ZERO);
    let told = stage.last_words(&mut client, place, command);
    assert_eq!(told, if place.ends_with("-told") { reply(ONE) } else { Told::Nothing });
    stage.start_again(redis_dies);
    let held = stage.holds("lock:a", A);
    match fate {
        Held => assert!(held, "the ledger was never told"),
        Released => assert!(!held, "the release was durable"),
        Either => {}
    }
    assert!(!held || told == Told::Nothing, "an acknowledged release is lost");
    stage.assert_others_unharmed();
    stage.crash_again();
    assert_eq!(stage.holds("lock:a", A), held, "it was decided otherwise before");
    if held {
        assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    }
    if redis_dies {
        stage.redis.start_again();
        stage.wait_mode("healthy");
    }
    stage.assert_locks(if held { &[("lock:a", A)] } else { &[] });
    // Who was told nothing asks again, and knows; then it is free for the next.
    let again = stage.client().ask(&give("lock:a", A));
    assert_eq!(again, if held { ONE } else { ZERO });
    assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
    stage.assert_locks(&[("lock:a", B)]);
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
    once_del_is_sent: "DEL lock:a", "release-sent", Held;
    once_del_is_answered: "DEL lock:a", "release-answered", Held;
    once_the_ledger_is_asked: "DEL lock:a", "ledger-asked", Either;
    before_the_commit: "DEL lock:a", "exchange-begun", Held;
    after_the_commit: "DEL lock:a", "exchange-committed", Released;
    once_the_client_is_told: "DEL lock:a", "release-told", Released;
    once_the_script_is_sent: give("lock:a", A), "script-sent", Held;
    once_the_script_is_answered: give("lock:a", A), "script-answered", Held;
    by_script_before_the_commit: give("lock:a", A), "exchange-begun", Held;
    by_script_after_the_commit: give("lock:a", A), "exchange-committed", Released;
    by_script_once_the_client_is_told: give("lock:a", A), "script-told", Released;
}
