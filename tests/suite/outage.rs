//! Redis goes down in every way that SPEC 2 names, locks go on, Redis comes back (SPEC 2, 6, 7):
//! what clients see before, during and after, on connections that stay open.
//!
//! Nothing here looks inside Lockside: clients before it, a redis-server behind it, and what stands
//! in Redis afterwards, asked directly.

mod connections;
mod contents;
mod crash;
mod ended;
mod fast;
mod flapping;
mod ledger;
mod links;
mod lost;
mod lost_contents;
mod lost_in_multi;
mod others;
mod rig;
mod transactions;
mod unusable;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::locks::{
    A, B, C, D, EXTEND, NIL, NO_TTL, OK, ONE, QUICK, RELEASE, SHORT, STRANGER, ZERO, bulk,
    locks_of, script, take, wait_mode,
};
use crate::support::{Client, PATIENCE, Redis, Relay, Settings, Subject, direct};

/// Whether this version serves locks without Redis, and keeps them in a ledger.
pub(crate) const WITHOUT_REDIS: bool = true;

/// Longest wait of a client for an answer, whatever has happened: a few time-outs of Lockside's.
const ANSWER: Duration = Duration::from_secs(12);

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

    /// With these arguments for Redis and more settings; the rule's are set, and the
    /// upstream's where there are none.
    fn with(redis: &[&str], settings: Settings<'_>) -> Option<Self> {
        if direct() || !WITHOUT_REDIS {
            return None;
        }
        let redis = Redis::with(redis);
        let relay = Relay::before(redis.port());
        let upstream = if settings.upstream.is_empty() { QUICK } else { settings.upstream };
        let settings = Settings { upstream, tables: SHORT, ..settings };
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

/// Asks on a connection that must stay open, and is answered in time.
#[track_caller]
fn answer(client: &mut Client, line: &str) -> String {
    client.send_line(line);
    match client.frame_within(ANSWER) {
        Ok(frame) => String::from_utf8_lossy(&frame).into_owned(),
        Err(error) => panic!("{line}: no answer: {error}"),
    }
}
