//! What tests about locks say and see, wherever they are: tokens, replies, commands of lock clients,
//! settings of a Lockside that finds out soon, and the locks that stand in Redis.

use std::collections::BTreeMap;

use super::client::Client;
use super::redis::Redis;
use super::wait::{PATIENCE, poll_for};

/// Tokens that are unique by themselves, so that they are stored as they are.
pub(crate) const A: &str = "550e8400-e29b-41d4-a716-446655440000";
pub(crate) const B: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
pub(crate) const C: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
pub(crate) const D: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
pub(crate) const STRANGER: &str = "9b2d2c4e-3f0a-4f6e-8d53-0a4c8a1d2e7f";

pub(crate) const OK: &str = "+OK\r\n";
pub(crate) const NIL: &str = "$-1\r\n";
pub(crate) const ONE: &str = ":1\r\n";
pub(crate) const ZERO: &str = ":0\r\n";
pub(crate) const NO_TTL: &str = ":-1\r\n";

/// As most libraries release.
pub(crate) const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
    return redis.call('del', KEYS[1]) else return 0 end";
/// As redis-py extends.
pub(crate) const EXTEND: &str = "local token = redis.call('get', KEYS[1]) \
    if not token or token ~= ARGV[1] then return 0 end \
    redis.call('pexpire', KEYS[1], ARGV[2]) return 1";

/// Settings of the upstream: Lockside finds out, and recovers, sooner than by default, for a test has
/// not so much time; and not so soon that a busy machine looks like an outage.
pub(crate) const QUICK: &str = "command_timeout = \"1s\"\nconnect_timeout = \"1s\"\n\
    recover_after = \"300ms\"\nprobe_interval = \"100ms\"\nprobe_timeout = \"1s\"\n\
    repair_interval = \"2s\"";
/// As [`QUICK`], where nothing but a broken connection is to look like an outage, however busy the
/// machine is.
pub(crate) const PATIENT: &str = "command_timeout = \"10s\"\nconnect_timeout = \"10s\"\n\
    recover_after = \"300ms\"\nprobe_interval = \"100ms\"\nprobe_timeout = \"10s\"\n\
    repair_interval = \"2s\"";
/// A rule: a lock that nobody finishes is gone soon.
pub(crate) const SHORT: &str = "[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nsafety_ttl = \"1s\"\n";

/// A text as a bulk reply.
pub(crate) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// An acquire.
pub(crate) fn take(key: &str, token: &str) -> String {
    format!("SET {key} {token} NX PX 30000")
}

/// A release by token.
pub(crate) fn give(key: &str, token: &str) -> String {
    script(RELEASE, key, token)
}

/// A script on one key.
pub(crate) fn script(text: &str, key: &str, arguments: &str) -> String {
    format!("EVAL \"{text}\" 1 {key} {arguments}")
}

/// Waits until the Lockside at this port says that it is in this mode.
pub(crate) fn wait_mode(port: u16, word: &str) {
    let mut client = Client::connect(port);
    poll_for(&format!("mode {word}"), PATIENCE, || {
        client.ask("LOCKSIDE MODE").contains(word).then_some(())
    });
}

/// Waits until the key is gone from Redis.
pub(crate) fn wait_gone(redis: &Redis, key: &str) {
    let mut client = redis.client();
    poll_for("the provisional key runs out", PATIENCE, || {
        (client.ask(&format!("EXISTS {key}")) == ZERO).then_some(())
    });
}

/// The locks in Redis: their values, with their TTL behind them if they have one.
pub(crate) fn locks_of(redis: &Redis) -> BTreeMap<String, String> {
    let mut client = redis.client();
    let keys = client.ask("KEYS lock:*");
    let keys: Vec<String> =
        keys.lines().filter(|line| line.starts_with("lock:")).map(str::to_owned).collect();
    let mut locks = BTreeMap::new();
    for key in keys {
        let value = client.ask(&format!("GET {key}"));
        let ttl = client.ask(&format!("PTTL {key}"));
        // It may run out between two questions.
        if let Some(value) = value.lines().nth(1).filter(|_| ttl != ":-2\r\n") {
            let rest = if ttl == NO_TTL { "" } else { &ttl };
            locks.insert(key, format!("{value}{rest}"));
        }
    }
    locks
}
