//! Two sidecars at one ledger and one Redis: what a client was told through the one holds through the
//! other, at once (SPEC 2), and also while only one of them reaches Redis.

use std::sync::Arc;

use tempfile::TempDir;

use crate::support::client::ask_until;
use crate::support::locks::{A, B, NIL, OK, ONE, bulk, give, take};
use crate::support::process::directory;
use crate::support::{Client, Redis, Relay, Settings, Subject, Trouble, direct};

/// How often each case is played: a poll of the ledger comes between at some time.
const TIMES: usize = 15;

struct Stage {
    _ledger: Arc<TempDir>,
    _redis: Redis,
    relay: Relay,
    one: Client,
    two: Client,
    subjects: [Subject; 2],
}

impl Stage {
    /// None in direct mode, where there is no ledger.
    fn start() -> Option<Self> {
        if direct() {
            return None;
        }
        let (redis, ledger) = (Redis::start(), directory("ledger"));
        let relay = Relay::before(redis.port());
        let tables =
            format!("[ledger]\npath = \"{}\"\n", ledger.path().join("ledger.db").display());
        let settings = Settings { tables: &tables, ..Settings::default() };
        let subjects = [(); 2].map(|()| Subject::before(relay.port(), settings));
        let [one, two] = [0, 1].map(|number: usize| subjects[number].client());
        let mut stage =
            Self { _ledger: Arc::new(ledger), _redis: redis, relay, one, two, subjects };
        stage.wait_modes("healthy");
        // Each has seen that Redis lets everybody use locks.
        for client in [&mut stage.one, &mut stage.two] {
            assert_eq!(client.ask(&take("lock:a", A)), OK);
            release(client, "DEL", A);
        }
        Some(stage)
    }

    /// The second sidecar's.
    fn wait_modes(&mut self, second: &str) {
        for (client, word) in [(&mut self.one, "healthy"), (&mut self.two, second)] {
            ask_until(client, "LOCKSIDE MODE", |reply| reply.contains(word));
        }
    }

    /// The second sidecar does not reach Redis any more.
    fn part(&mut self) {
        let Some(process) = self.subjects[1].process() else { return };
        self.relay.set_for(process.pid(), Trouble::Hangup);
        self.relay.reset();
        self.wait_modes("degraded");
    }
}

/// Releases the lock in one of the ways that clients do.
fn release(client: &mut Client, way: &str, token: &str) {
    match way {
        "script" => {
            let line = give("lock:a", token);
            assert_eq!(client.ask(&line), ONE, "{way}");
        }
        "watch" => {
            // Whatever else changes the key meanwhile, a repair for one, makes EXEC nil.
            let released = (0..100).any(|_| {
                assert_eq!(client.ask("WATCH lock:a"), OK);
                assert_eq!(client.ask("GET lock:a"), bulk(token));
                assert_eq!(client.ask("MULTI"), OK);
                assert_eq!(client.ask("DEL lock:a"), "+QUEUED\r\n");
                let reply = client.ask("EXEC");
                assert!(reply == "*-1\r\n" || reply == "*1\r\n:1\r\n", "{reply}");
                reply == "*1\r\n:1\r\n"
            });
            assert!(released);
        }
        "GETDEL" => assert_eq!(client.ask("GETDEL lock:a"), bulk(token)),
        way => assert_eq!(client.ask(&format!("{way} lock:a")), ONE, "{way}"),
    }
}

const WAYS: [&str; 5] = ["DEL", "UNLINK", "GETDEL", "script", "watch"];

/// Taken through `one`, seen and released through `two`, free for `one`: at once where both reach
/// Redis, else as soon as `one` has read the ledger. Until then it says no.
fn plays(one: &mut Client, two: &mut Client, times: usize) {
    for way in WAYS {
        for _ in 0..times {
            assert_eq!(one.ask(&take("lock:a", A)), OK, "{way}");
            assert_eq!(two.ask(&take("lock:a", B)), NIL, "{way}");
            assert_eq!(two.ask("GET lock:a"), bulk(A), "{way}");
            release(two, way, A);
            if times == TIMES {
                assert_eq!(one.ask("GET lock:a"), NIL, "{way}");
            } else {
                ask_until(one, "GET lock:a", |reply| reply == NIL);
            }
        }
    }
}

#[test]
fn what_one_grants_the_other_releases() {
    let Some(mut stage) = Stage::start() else { return };
    plays(&mut stage.one, &mut stage.two, TIMES);
}

#[test]
fn one_reaches_redis_and_the_other_does_not() {
    let Some(mut stage) = Stage::start() else { return };
    stage.part();
    plays(&mut stage.one, &mut stage.two, 1);
    plays(&mut stage.two, &mut stage.one, 1);
}
