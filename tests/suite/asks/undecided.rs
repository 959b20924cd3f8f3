//! Lockside crashes, and nobody knows whether a client was told of its grant (SPEC 3 and 8).

use super::{NIL, OK, OTHER, Stage, TOKEN, text};
use crate::support::wait_until;

/// The same token is the same grant; another's is nobody's.
#[test]
fn the_same_token_takes_over() {
    let Some(mut stage) = Stage::start("") else { return };
    stage.take("lock:a", TOKEN);
    stage.crash();
    assert_eq!(stage.owner("lock:a", "state").as_deref(), Some("undecided"));
    assert_eq!(stage.try_take("lock:a", OTHER), NIL);
    assert_eq!(stage.try_take("lock:a", TOKEN), OK);
    assert_eq!(stage.owner("lock:a", "state").as_deref(), Some("held"));
    // It is held now: its token is no key to it any more.
    assert_eq!(stage.client.ask(&format!("SET lock:a {TOKEN} NX PX 30000")), NIL);
}

/// The same while Redis is away.
#[test]
fn the_same_token_takes_over_without_redis() {
    let Some(mut stage) = Stage::start("") else { return };
    stage.take("lock:a", TOKEN);
    stage.redis.kill();
    stage.crash();
    stage.wait_mode("degraded");
    assert_eq!(stage.owner("lock:a", "state").as_deref(), Some("undecided"));
    assert_eq!(stage.try_take("lock:a", OTHER), NIL);
    assert_eq!(stage.try_take("lock:a", TOKEN), OK);
    assert_eq!(stage.owner("lock:a", "state").as_deref(), Some("held"));
}

/// A client that was heard of after its grant knows of it: that is in the ledger in time.
#[test]
fn who_was_heard_of_is_not_in_doubt() {
    let Some(mut stage) = Stage::with(crate::support::Settings {
        tables: "[ledger]\nheartbeat = \"200ms\"",
        ..Default::default()
    }) else {
        return;
    };
    stage.take("lock:a", TOKEN);
    stage.client.fence();
    wait_until("the ledger knows", || {
        stage.other.ask("LOCKSIDE HISTORY lock:a").contains("\r\nheard\r\n")
    });
    stage.crash();
    assert_eq!(stage.owner("lock:a", "state").as_deref(), Some("held"));
    assert_eq!(stage.try_take("lock:a", TOKEN), NIL);
}

/// What is released by the very bytes that were heard is not noted.
#[test]
fn a_release_says_enough() {
    let Some(mut stage) = Stage::start("") else { return };
    for _ in 0..20 {
        stage.take("lock:a", TOKEN);
        assert_eq!(stage.client.ask("DEL lock:a"), super::ONE);
    }
    let history = stage.client.ask("LOCKSIDE HISTORY lock:a 100");
    assert!(history.starts_with("*40\r\n"), "{history}");
}

#[test]
fn a_person_decides() {
    let Some(mut stage) = Stage::start("") else { return };
    stage.take("lock:a", TOKEN);
    stage.take("lock:b", TOKEN);
    stage.crash();
    let released = stage.run(&["release", "lock:a", "--yes"]);
    assert!(text(&released).contains("undecided"), "{}", text(&released));
    assert_eq!(released.status.code(), Some(0), "{}", text(&released));
    assert_eq!(stage.try_take("lock:a", OTHER), OK);
    assert_eq!(stage.try_take("lock:b", OTHER), NIL);
}
