//! Redis answers and takes no lock writes, or answers nothing although it is there (SPEC 2).

use super::{A, B, C, OK, Stage, answer, bulk};
use crate::support::{Redis, Settings, wait_until};

/// Lets a client set the directory.
const SPOILABLE: &[&str] = &["--enable-protected-configs", "yes"];

/// What becomes of traffic on other keys meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Others {
    /// Redis answers it, and its errors are the client's.
    Served,
    /// Lockside refuses it.
    Refused,
    /// Redis is there and does not get to it.
    Late,
}

/// Two locks, then `spoil`, the life without Redis, `heal`, and the same two locks as ever.
fn live_through(spoil: impl Fn(&Redis), others: Others, heal: impl Fn(&Redis)) {
    let Some(mut stage) = Stage::with(SPOILABLE, Settings::default()) else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    spoil(&stage.redis);
    stage.wait_mode("degraded");
    stage.go_on_without_redis();
    match others {
        Others::Served => {
            assert_eq!(answer(&mut stage.stranger, "GET plain"), bulk("1"));
            let reply = answer(&mut stage.stranger, "SET plain 2");
            assert!(reply.starts_with('-') && !reply.contains("lockside"), "{reply}");
        }
        Others::Refused => stage.assert_other_keys_refused(),
        Others::Late => {}
    }
    heal(&stage.redis);
    stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
}

fn set(redis: &Redis, name: &str, value: &str) {
    assert_eq!(redis.ask(&format!("CONFIG SET {name} {value}")), OK);
}

/// SIGSTOP: nothing answers, nothing is closed.
#[test]
fn redis_stands_still() {
    live_through(
        |redis| redis.process().signal("STOP"),
        Others::Refused,
        |redis| redis.process().signal("CONT"),
    );
}

/// The node was made a replica: READONLY.
#[test]
fn redis_is_demoted() {
    let nobody = crate::support::process::free_port();
    live_through(
        |redis| assert_eq!(redis.ask(&format!("REPLICAOF 127.0.0.1 {nobody}")), OK),
        Others::Served,
        |redis| assert_eq!(redis.ask("REPLICAOF NO ONE"), OK),
    );
}

#[test]
fn redis_is_out_of_memory() {
    live_through(
        |redis| {
            set(redis, "maxmemory-policy", "noeviction");
            set(redis, "maxmemory", "1mb");
            wait_until("out of memory", || redis.ask("SET probe 1").starts_with("-OOM"));
        },
        Others::Served,
        |redis| set(redis, "maxmemory", "0"),
    );
}

/// The last background save failed: MISCONF.
#[test]
fn redis_can_not_save() {
    live_through(
        |redis| {
            let gone = redis.process().path("gone");
            std::fs::create_dir(&gone).unwrap();
            set(redis, "dir", gone.to_str().unwrap());
            set(redis, "save", "\"3600 1\"");
            std::fs::remove_dir(&gone).unwrap();
            redis.ask("BGSAVE");
            wait_until("MISCONF", || redis.ask("SET probe 1").starts_with("-MISCONF"));
        },
        Others::Served,
        |redis| set(redis, "stop-writes-on-bgsave-error", "no"),
    );
}

/// Writes must be on replicas that are not there: NOREPLICAS.
#[test]
fn redis_lacks_replicas() {
    live_through(
        |redis| set(redis, "min-replicas-to-write", "1"),
        Others::Served,
        |redis| set(redis, "min-replicas-to-write", "0"),
    );
}

/// CLIENT PAUSE holds every command back, until its time is over.
#[test]
fn redis_is_paused() {
    live_through(|redis| assert_eq!(redis.ask("CLIENT PAUSE 4000 ALL"), OK), Others::Late, |_| {});
}

/// CLIENT PAUSE WRITE: PING and reads are answered, writes are not.
#[test]
fn redis_is_paused_for_writes() {
    live_through(
        |redis| assert_eq!(redis.ask("CLIENT PAUSE 60000 WRITE"), OK),
        Others::Late,
        |redis| assert_eq!(redis.ask("CLIENT UNPAUSE"), OK),
    );
}

/// A script of somebody else runs for ever: BUSY.
#[test]
fn redis_is_busy() {
    live_through(
        |redis| {
            set(redis, "busy-reply-threshold", "10");
            let mut busy = redis.client();
            busy.send_line("EVAL \"while true do end\" 0");
            wait_until("BUSY", || redis.ask("GET plain").starts_with("-BUSY"));
        },
        Others::Late,
        |redis| assert_eq!(redis.ask("SCRIPT KILL"), OK),
    );
}
