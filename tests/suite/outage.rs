//! Redis goes down in every way that SPEC 2 names, locks go on, Redis comes back (SPEC 2, 6, 7):
//! what clients see before, during and after, on connections that stay open.
//!
//! Nothing here looks inside Lockside: clients before it, a redis-server behind it, and what stands
//! in Redis afterwards, asked directly.

mod connections;
mod crash;
mod fast;
mod flapping;
mod ledger;
mod links;
mod lost;
mod others;
mod rig;
mod transactions;
mod unusable;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{Client, PATIENCE, Redis, Relay, Settings, Subject, direct};

/// Whether this version serves locks without Redis, and keeps them in a ledger.
pub(crate) const WITHOUT_REDIS: bool = true;

/// Tokens that are unique by themselves, so that they are stored as they are.
const A: &str = "550e8400-e29b-41d4-a716-446655440000";
const B: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
const C: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const D: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
const STRANGER: &str = "9b2d2c4e-3f0a-4f6e-8d53-0a4c8a1d2e7f";

const OK: &str = "+OK\r\n";
const NIL: &str = "$-1\r\n";
const ONE: &str = ":1\r\n";
const ZERO: &str = ":0\r\n";
const NO_TTL: &str = ":-1\r\n";

/// As most libraries release, and as redis-py extends.
const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
    return redis.call('del', KEYS[1]) else return 0 end";
const EXTEND: &str = "local token = redis.call('get', KEYS[1]) \
    if not token or token ~= ARGV[1] then return 0 end \
    redis.call('pexpire', KEYS[1], ARGV[2]) return 1";

/// Lockside finds out, and recovers, sooner than by default: a test has not so much time.
pub(crate) const QUICK: &str = "command_timeout = \"1s\"\nconnect_timeout = \"1s\"\n\
    recover_after = \"300ms\"\nprobe_interval = \"100ms\"\nprobe_timeout = \"1s\"\n\
    repair_interval = \"2s\"";
/// A lock that nobody finishes is gone soon.
const SHORT: &str = "[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nsafety_ttl = \"1s\"\n";
/// Longest wait of a client for an answer, whatever has happened: a few time-outs of Lockside's.
const ANSWER: Duration = Duration::from_secs(5);

/// A Redis, a relay, Lockside, and two clients whose connections are never opened again.
struct Stage {
    redis: Redis,
    relay: Relay,
    subject: Subject,
    holder: Client,
    stranger: Client,
}

impl Stage {
    /// None where the subject does not do any of this: in direct mode, or before it was built.
    fn start() -> Option<Self> {
        Self::with(&[], Settings::default())
    }

    /// With these arguments for Redis and more settings; the upstream's and the rule's are set.
    fn with(redis: &[&str], settings: Settings<'_>) -> Option<Self> {
        if direct() || !WITHOUT_REDIS {
            return None;
        }
        let redis = Redis::with(redis);
        let relay = Relay::before(redis.port());
        let settings = Settings { upstream: QUICK, tables: SHORT, ..settings };
        let subject = Subject::before(relay.port(), settings);
        let (holder, stranger) = (subject.client(), subject.client());
        let mut stage = Self { redis, relay, subject, holder, stranger };
        // Redis has met both connections before anything goes wrong. A busy machine may look like
        // an outage for a moment.
        let start = Instant::now();
        loop {
            stage.wait_mode("healthy");
            let met = [stage.holder.ask("SET plain 1"), stage.stranger.ask("GET plain")];
            if met == [OK.to_owned(), bulk("1")] {
                return Some(stage);
            }
            assert!(start.elapsed() < PATIENCE, "{met:?}");
        }
    }

    fn take(&mut self, key: &str, token: &str) {
        assert_eq!(self.holder.ask(&take(key, token)), OK, "{key}");
    }

    /// The holder releases as most libraries do.
    fn give(&mut self, key: &str, token: &str) {
        assert_eq!(self.holder.ask(&script(RELEASE, key, token)), ONE, "{key}");
    }

    /// Everybody sees that this token has the lock.
    fn assert_held(&mut self, key: &str, token: &str) {
        assert_eq!(answer(&mut self.holder, &format!("GET {key}")), bulk(token));
        assert_eq!(answer(&mut self.holder, &script(EXTEND, key, &format!("{token} 5000"))), ONE);
        assert_eq!(answer(&mut self.stranger, &take(key, STRANGER)), NIL);
        assert_eq!(answer(&mut self.stranger, &script(RELEASE, key, STRANGER)), ZERO);
        assert_eq!(answer(&mut self.stranger, &format!("GET {key}")), bulk(token));
    }

    /// All that a lock is for, while Redis takes no locks: `lock:a` is held by `A`, `lock:b` by
    /// `B`; afterwards `lock:a` and `lock:c` (by `C`) are.
    fn go_on_without_redis(&mut self) {
        self.assert_held("lock:a", A);
        assert_eq!(answer(&mut self.holder, "DEL lock:b"), ONE);
        assert_eq!(answer(&mut self.stranger, "GET lock:b"), NIL);
        self.take("lock:c", C);
        self.assert_held("lock:c", C);
        // Released by its token, taken again and released as a whole.
        self.take("lock:d", D);
        self.give("lock:d", D);
        assert_eq!(answer(&mut self.holder, &script(RELEASE, "lock:d", D)), ZERO);
        assert_eq!(answer(&mut self.stranger, &take("lock:d", STRANGER)), OK);
        assert_eq!(answer(&mut self.stranger, "DEL lock:d"), ONE);
    }

    /// Other keys get an error at once while Redis is out of reach.
    fn assert_other_keys_refused(&mut self) {
        let reply = answer(&mut self.stranger, "GET plain");
        assert!(reply.starts_with("-MASTERDOWN lockside: "), "{reply}");
        assert_eq!(answer(&mut self.stranger, "PING"), "+PONG\r\n");
    }

    /// Waits until `LOCKSIDE MODE` has this word.
    fn wait_mode(&mut self, word: &str) {
        wait_mode(self.subject.port(), word);
    }

    /// Healthy again, and at that moment Redis has these locks and no others, none with a TTL.
    fn assert_recovers_with(&mut self, locks: &[(&str, &str)]) {
        self.wait_mode("healthy");
        assert_locks(&self.redis, locks);
        for (key, token) in locks {
            self.assert_held(key, token);
        }
        assert_eq!(answer(&mut self.stranger, "SET plain 2"), OK);
    }
}

/// Redis has exactly these locks, without TTL.
#[track_caller]
fn assert_locks(redis: &Redis, locks: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        locks.iter().map(|(key, token)| ((*key).to_owned(), (*token).to_owned())).collect();
    assert_eq!(locks_of(redis), expected);
}

/// The locks in Redis: their values, with their TTL behind them if they have one.
fn locks_of(redis: &Redis) -> BTreeMap<String, String> {
    let mut client = redis.client();
    let keys = client.ask("KEYS lock:*");
    let keys: Vec<String> =
        keys.lines().filter(|line| line.starts_with("lock:")).map(str::to_owned).collect();
    let read = |key: String| {
        let value = client.ask(&format!("GET {key}"));
        let value = value.lines().nth(1).unwrap_or("none").to_owned();
        let ttl = client.ask(&format!("PTTL {key}"));
        let rest = if ttl == NO_TTL { "" } else { &ttl };
        (key, format!("{value}{rest}"))
    };
    keys.into_iter().map(read).collect()
}

/// Waits until `LOCKSIDE MODE` has this word.
fn wait_mode(port: u16, word: &str) {
    let (end, mut client) = (Instant::now() + PATIENCE, Client::connect(port));
    loop {
        let mode = client.ask("LOCKSIDE MODE");
        if mode.contains(word) {
            return;
        }
        assert!(Instant::now() < end, "not {word} but {mode}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Asks on a connection that must stay open, and is answered in time.
#[track_caller]
fn answer(client: &mut Client, line: &str) -> String {
    client.send_line(line);
    match client.frame_within(ANSWER) {
        Ok(frame) => String::from_utf8_lossy(&frame).into_owned(),
        Err(error) => panic!("{line}: no answer: {error}"),
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn take(key: &str, token: &str) -> String {
    format!("SET {key} {token} NX PX 30000")
}

fn script(text: &str, key: &str, arguments: &str) -> String {
    format!("EVAL \"{text}\" 1 {key} {arguments}")
}
