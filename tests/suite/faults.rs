//! Lost, late and held commands between Lockside and Redis (SPEC 3 and 5): what the client is
//! told, and what stands in Redis, which is asked directly.

mod acquire;
mod coalesce;
mod settle;
mod strict;

use crate::support::locks::{
    A as TOKEN, B as OTHER, NIL, NO_TTL, OK, ONE, RELEASE, SHORT, ZERO, bulk, take,
};
use crate::support::{Client, FaultProxy, Redis, Settings, Subject, wait_until};

/// A Redis, a link to it that fails on purpose, and a Lockside before that.
struct Stage {
    _redis: Redis,
    proxy: FaultProxy,
    subject: Subject,
    client: Client,
    direct: Client,
}

impl Stage {
    /// Redis decides (`fast`). None in direct mode: nothing here is about Redis alone.
    fn start() -> Option<Self> {
        Self::with(Settings::default())
    }

    /// The ledger decides.
    fn strict() -> Option<Self> {
        Self::with(Settings { top: "guarantee = \"strict\"", ..Settings::default() })
    }

    /// With a safety TTL of a second.
    fn short() -> Option<Self> {
        Self::with(Settings { tables: SHORT, ..Settings::default() })
    }

    fn with(settings: Settings<'_>) -> Option<Self> {
        if crate::support::direct() {
            return None;
        }
        let redis = Redis::start();
        let proxy = FaultProxy::start(&redis);
        let top = if settings.top.is_empty() { "guarantee = \"fast\"" } else { settings.top };
        let subject = Subject::before(proxy.port(), Settings { top, ..settings });
        let (mut client, direct) = (subject.client(), redis.client());
        // Redis knows the guarded scripts from now on.
        assert_eq!(client.ask(&format!("SET lock:warm {TOKEN} NX")), OK);
        assert_eq!(client.ask("DEL lock:warm"), ONE);
        Some(Self { _redis: redis, proxy, subject, client, direct })
    }

    /// The key is this token's for good.
    fn assert_held(&mut self, key: &str, token: &str) {
        assert_eq!(self.direct.ask(&format!("GET {key}")), bulk(token));
        assert_eq!(self.direct.ask(&format!("PTTL {key}")), NO_TTL);
        assert!(self.proxy.is_done(), "each fault has met its command");
    }

    fn wait_free(&mut self, key: &str) {
        wait_until("the key is gone", || self.direct.ask(&format!("EXISTS {key}")) == ZERO);
    }

    /// Lockside has seen by now that a client has closed, and has read what clients sent before:
    /// one loop serves all sockets, in the order in which they became ready.
    fn gone_is_seen(&self) {
        self.input_is_read();
    }

    fn input_is_read(&self) {
        let mut client = self.subject.client();
        client.fence();
        client.fence();
    }
}

fn assert_unknown(reply: &str) {
    assert!(reply.starts_with("-TRYAGAIN lockside: unknown outcome"), "{reply}");
}
