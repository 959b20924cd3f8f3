//! The life of a lock as clients see it and as Redis sees it (SPEC 3, 4, 5).
//!
//! What a client sees is the same before Redis itself, and is proved there (`LOCKSIDE_DIRECT=1`);
//! what stands in Redis is checked where Lockside is in front.

mod acquire;
mod concurrency;
mod lost;
mod release;
mod report;
mod rules;
mod transactions;
mod values;

use crate::support::locks::{A as TOKEN, B as OTHER, NIL, OK, ONE, ZERO, bulk as as_bulk};
use crate::support::{Client, Redis, Settings, Subject, wait_until};

/// One Redis, one Lockside before it, a client of each.
struct Stage {
    redis: Redis,
    subject: Subject,
    client: Client,
    direct: Client,
}

impl Stage {
    fn start() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings<'_>) -> Self {
        let redis = Redis::start();
        let subject = Subject::with(&redis, settings);
        let (client, direct) = (subject.client(), redis.client());
        Self { redis, subject, client, direct }
    }

    /// As `with` extra tables; none in direct mode, for what plain Redis has nothing of.
    fn lockside(tables: &str) -> Option<Self> {
        let stage = Self::with(Settings { tables, ..Settings::default() });
        stage.subject.is_lockside().then_some(stage)
    }

    fn is_lockside(&self) -> bool {
        self.subject.is_lockside()
    }

    /// Takes a lock that nobody holds.
    fn take(&mut self, key: &str, token: &str) {
        assert_eq!(self.client.ask(&format!("SET {key} {token} NX PX 30000")), OK);
    }

    /// What stands in Redis, read past Lockside.
    fn stored(&mut self, key: &str) -> String {
        bulk(&self.direct.ask(&format!("GET {key}")))
    }

    /// The TTL in Redis is the one of a settled lock: none; by a repair, if it could not be made so
    /// before the reply. In direct mode it is not looked at.
    fn assert_permanent(&mut self, key: &str) {
        if self.is_lockside() {
            wait_until("it is permanent", || self.direct.ask(&format!("PTTL {key}")) == ":-1\r\n");
        }
    }
}

/// The text of a bulk reply; the reply itself if it is something else.
fn bulk(reply: &str) -> String {
    let body = reply.starts_with('$').then(|| reply.split_once("\r\n")).flatten();
    body.map_or(reply, |(_, body)| body.trim_end_matches("\r\n")).to_owned()
}
