//! Questions to a running Lockside, and its orderly end.

use std::process::Command;

use super::text;
use crate::support::lockside::command;
use crate::support::{Client, Redis, Settings, Subject, wait_until};

/// `locks`, `owner` and `release` ask the running Lockside.
#[test]
fn questions_to_a_running_lockside() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let Some(process) = subject.process() else { return };
    let file = process.path("lockside.toml");
    let ask = |arguments: &[&str]| {
        let mut asking: Command = command();
        asking.args(arguments).arg("--config").arg(&file);
        asking.env("LOCKSIDE_STATE_DIR", process.path("state")).output().unwrap()
    };
    let mut client = subject.client();
    let token = "550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(client.ask(&format!("SET lock:a 93:{token} NX PX 30000")), "+OK\r\n");
    assert_eq!(client.ask(&format!("SET lock:b {token} NX PX 30000")), "+OK\r\n");
    let locks = ask(&["locks"]);
    assert_eq!(locks.status.code(), Some(0), "{}", text(&locks));
    assert!(text(&locks).contains("lock:a") && text(&locks).contains("lock:b"), "{}", text(&locks));
    assert!(!text(&locks).contains(token), "{}", text(&locks));
    let owner = ask(&["owner", "lock:a"]);
    assert!(owner.status.success() && text(&owner).contains("93"), "{}", text(&owner));
    assert!(!text(&owner).contains(token), "{}", text(&owner));
    let release = ask(&["release", "lock:a", "--yes"]);
    assert_eq!(release.status.code(), Some(0), "{}", text(&release));
    assert_eq!(redis.ask("EXISTS lock:a lock:b"), ":1\r\n");
    assert!(!text(&ask(&["locks"])).contains("lock:a"));
    assert_eq!(client.ask(&format!("SET lock:a {token} NX PX 30000")), "+OK\r\n");
}

/// SIGTERM: what is in flight is answered, nobody new comes in, exit code 0.
#[test]
fn orderly_end() {
    let redis = Redis::start();
    let mut subject = Subject::start(&redis);
    if !subject.is_lockside() {
        return;
    }
    let port = subject.port();
    let (mut working, mut blocked, mut idle) =
        (subject.client(), subject.client(), subject.client());
    idle.fence();
    blocked.send_line("BLPOP queue 0");
    let mut admin = redis.client();
    wait_until("blocked", || admin.ask("INFO clients").contains("blocked_clients:1\r"));
    // About half a second in Redis.
    working.send_line(
        "EVAL \"local t = redis.call('TIME') repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1000000 + n[2] - t[2] > 500000 return 'done'\" 0",
    );
    working.send_line("SET behind it");
    wait_until("the script runs", || redis_is_busy(&redis));
    subject.process().unwrap().signal("TERM");
    assert_eq!(working.text(), "$4\r\ndone\r\n");
    assert_eq!(working.text(), "+OK\r\n");
    wait_until("nobody new comes in", || Client::attempt(port).is_err());
    assert_eq!(redis.ask("RPUSH queue item"), ":1\r\n");
    assert_eq!(blocked.text(), "*2\r\n$5\r\nqueue\r\n$4\r\nitem\r\n");
    assert!(idle.rest().is_empty());
    let process = subject.process_mut().unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    assert_eq!(process.exit_code(), Some(0));
}

/// True while Redis answers nobody: it runs a script.
fn redis_is_busy(redis: &Redis) -> bool {
    let mut client = redis.client();
    client.send_line("PING");
    client.frame_within(std::time::Duration::from_millis(100)).is_err()
}

/// What does not finish within `drain_timeout` does not keep it from ending.
#[test]
fn the_end_has_a_limit() {
    let redis = Redis::start();
    let mut subject =
        Subject::with(&redis, Settings { top: "drain_timeout = \"300ms\"", ..Default::default() });
    if !subject.is_lockside() {
        return;
    }
    let mut blocked = subject.client();
    blocked.send_line("BLPOP queue 0");
    let mut admin = redis.client();
    wait_until("blocked", || admin.ask("INFO clients").contains("blocked_clients:1\r"));
    subject.process().unwrap().signal("TERM");
    let process = subject.process_mut().unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    assert_eq!(process.exit_code(), Some(0));
    blocked.rest();
    wait_until("Redis is left", || admin.ask("INFO clients").contains("blocked_clients:0\r"));
}
