//! `max_hold`: what was held for longer is released, with Redis and without (SPEC 7).

use super::{NIL, OK, OTHER, Stage, TOKEN, ZERO, field};
use crate::support::wait_until;

const RULES: &str = "[[rule]]\nname = \"short\"\nkeys = [\"lock:short:*\"]\nmax_hold = \"1s\"\n\
    [[rule]]\nname = \"rest\"\nkeys = [\"lock:*\"]\n";

#[test]
fn older_holds_are_released() {
    let Some(mut stage) = Stage::start(RULES) else { return };
    for redis in [true, false] {
        if !redis {
            stage.redis.kill();
            stage.wait_mode("degraded");
        }
        stage.take("lock:short:a", TOKEN);
        if redis {
            stage.take("lock:long", TOKEN);
        }
        assert_eq!(stage.try_take("lock:short:a", OTHER), NIL);
        wait_until("it is released", || {
            !stage.other.ask("LOCKSIDE LOCKS").contains("lock:short:a")
        });
        if redis {
            wait_until("Redis has followed", || stage.redis.ask("EXISTS lock:short:a") == ZERO);
        }
        let last = stage.other.ask("LOCKSIDE HISTORY lock:short:a 1");
        assert_eq!(field(&last, "cause").as_deref(), Some("max_hold"), "{last}");
        assert_eq!(stage.try_take("lock:short:a", OTHER), OK);
        assert_eq!(stage.other.ask("DEL lock:short:a"), super::ONE);
        assert_eq!(stage.try_take("lock:long", OTHER), NIL);
    }
    let output = stage.subject.process().unwrap().output();
    assert!(output.contains("longer than max_hold"), "{output}");
    assert!(!output.contains(TOKEN), "no token in the log");
}
