//! Where Redis does not tell of changes: no right to ask, a lost connection, too many at once.

use super::{A, B, OK, ONE, Stage, bulk, figure, redis_cli};
use crate::support::{Redis, Settings, wait_until};

/// A Redis whose ACL forbids tracking.
#[test]
fn without_the_right_to_track() {
    let redis = Redis::start();
    redis_cli(
        &redis,
        &["ACL", "SETUSER", "ls", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"],
    );
    let settings = Settings {
        top: "observe = true\nobserve_scan = \"1s\"",
        credentials: "ls:pw@",
        ..Settings::default()
    };
    let Some(mut stage) = Stage::before(redis, &settings) else { return };
    stage.wait_mode("observes: search alone (NOPERM");
    redis_cli(&stage.redis, &["SET", "lock:a", A]);
    stage.wait_known("lock:a", A);
    redis_cli(&stage.redis, &["SET", "lock:b", B]);
    stage.wait_known("lock:b", B);
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    stage.wait_unknown("lock:a");
    let said = stage.warnings();
    assert_eq!(said.matches("does not tell of changed keys").count(), 1, "{said}");
    assert!(!said.contains("pw"), "{said}");
    stage.outage();
    assert_eq!(stage.client().ask("GET lock:b"), bulk(B));
}

/// What changed while the connection was gone is found when it is there again.
#[test]
fn a_connection_that_is_lost() {
    let Some(stage) = Stage::start() else { return };
    stage.wait_mode("observes: tracking");
    let mut redis = stage.redis.client();
    let list = redis.ask("CLIENT LIST");
    let line = list.lines().find(|line| line.contains("name=lockside-tracker")).unwrap();
    let id = line.split(' ').find_map(|word| word.strip_prefix("id=")).unwrap();
    let killed = format!("CLIENT KILL ID {id}");
    redis.send_line(&killed);
    redis.send_line(&format!("SET lock:a {A}"));
    assert_eq!((redis.text().as_str(), redis.text().as_str()), (ONE, OK));
    stage.wait_known("lock:a", A);
    stage.wait_mode("observes: tracking");
    assert_eq!(redis.ask(&format!("SET lock:b {B}")), OK);
    stage.wait_known("lock:b", B);
}

/// More changes at once than may wait: all keys are searched instead.
#[test]
fn more_changes_than_may_wait() {
    let Some(stage) = Stage::start() else { return };
    stage.wait_mode("observes: tracking");
    let many = "for i = 1, 20500 do redis.call('SET', 'lock:' .. i, 'v') end return 1";
    assert_eq!(stage.redis.ask(&format!("EVAL \"{many}\" 0")), ONE);
    let all = || figure(&stage, "locks_held") == 20_500;
    crate::support::poll_for("all are known", std::time::Duration::from_secs(60), || {
        all().then_some(())
    });
    assert!(figure(&stage, "observe_overflows") > 0);
}

/// As many locks as may be held.
#[test]
fn no_more_than_the_limit() {
    let settings =
        Settings { top: "observe = true", tables: "[limits]\nlocks = 50\n", ..Settings::default() };
    let Some(stage) = Stage::with(&settings) else { return };
    let many = "for i = 1, 500 do redis.call('SET', 'lock:' .. i, 'v') end return 1";
    assert_eq!(stage.redis.ask(&format!("EVAL \"{many}\" 0")), ONE);
    wait_until("it is said", || stage.warnings().contains("limits.locks"));
    wait_until("it is full", || figure(&stage, "locks_held") == 50);
    // Room for one more; what was left out is found by the next search.
    assert_eq!(stage.client().ask("DEL lock:1 lock:10 lock:100 lock:101"), ":4\r\n");
    assert_eq!(stage.client().ask("LOCKSIDE REPAIR"), OK);
    wait_until("it is full again", || figure(&stage, "locks_held") == 50);
}
