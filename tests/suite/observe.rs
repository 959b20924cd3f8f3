//! `observe = true`: locks that others put into Redis directly, past Lockside (SPEC 6).

mod foreign;
mod search;
mod ttl;

use std::process::Command;
use std::time::Duration;

use crate::support::locks::{A, B, NIL, OK, ONE, STRANGER, bulk, give, take};
use crate::support::{Client, Redis, Relay, Settings, Subject, direct, poll_for, wait_until};

/// An outage is found, and ends, sooner than by default.
const QUICK: &str = "recover_after = \"300ms\"\nprobe_interval = \"100ms\"";

/// A Redis, and a Lockside that observes its locks.
struct Stage {
    redis: Redis,
    subject: Subject,
}

impl Stage {
    /// None where no Lockside is under test.
    fn start() -> Option<Self> {
        Self::with(&Settings { top: "observe = true", ..Settings::default() })
    }

    fn with(settings: &Settings<'_>) -> Option<Self> {
        Self::before(Redis::start(), settings)
    }

    fn before(redis: Redis, settings: &Settings<'_>) -> Option<Self> {
        if direct() {
            return None;
        }
        let port = redis.port();
        Some(Self::at(port, redis, settings))
    }

    /// As `before`, by a relay that leads there.
    fn through(relay: &Relay, redis: Redis, settings: &Settings<'_>) -> Option<Self> {
        (!direct()).then(|| Self::at(relay.port(), redis, settings))
    }

    fn at(port: u16, redis: Redis, settings: &Settings<'_>) -> Self {
        let subject = Subject::before(port, Settings { upstream: QUICK, ..*settings });
        let stage = Self { redis, subject };
        stage.wait_mode("healthy; observes");
        // Redis was seen to let clients use locks: so they may in an outage.
        assert_eq!(stage.client().ask(&take("lock:warm", B)), OK);
        assert_eq!(stage.client().ask("DEL lock:warm"), ONE);
        let open = stage.subject.process().map(|it| it.path("state/without-password.json"));
        wait_until("it is kept that clients need no password", || {
            open.as_ref().is_none_or(|open| open.exists())
        });
        stage
    }

    fn client(&self) -> Client {
        self.subject.client()
    }

    fn wait_mode(&self, words: &str) {
        let mut seen = String::new();
        poll_for(&format!("mode {words}"), Duration::from_secs(60), || {
            seen = Client::connect(self.subject.port()).ask("LOCKSIDE MODE");
            seen.contains(words).then_some(())
        });
    }

    /// What Lockside knows of this lock: its line in the table, or nothing.
    fn known(&self, key: &str) -> Option<String> {
        let listed = self.client().ask(&format!("LOCKSIDE LOCKS {key}"));
        (listed != "*0\r\n").then_some(listed)
    }

    fn wait_known(&self, key: &str, token: &str) {
        wait_until(&format!("{key} is known"), || {
            self.known(key).is_some_and(|line| line.contains(&token[..8.min(token.len())]))
        });
    }

    fn wait_unknown(&self, key: &str) {
        wait_until(&format!("{key} is not known"), || self.known(key).is_none());
    }

    /// Redis ends as in a crash, and Lockside has noticed.
    fn outage(&mut self) {
        self.redis.kill();
        self.wait_mode("degraded");
    }

    fn warnings(&self) -> String {
        let output = self.subject.process().unwrap().output();
        output.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>().join("\n")
    }
}

/// A number of `INFO lockside`.
fn figure(stage: &Stage, name: &str) -> u64 {
    let info = stage.client().ask("INFO lockside");
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("lockside_{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {info}")).trim().parse().unwrap()
}

/// By the program that comes with Redis, as an operator would.
fn redis_cli(redis: &Redis, words: &[&str]) {
    let port = redis.port().to_string();
    let status = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap().status;
    assert!(status.success());
}
