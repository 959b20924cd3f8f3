//! `min_replicas`: an acquire counts only once replicas have it (SPEC 10), with a real replica that is
//! attached, stopped and killed.

use std::time::{Duration, Instant};

use crate::support::locks::{A as TOKEN, B as OTHER, NIL, OK, take};
use crate::support::{Client, Redis, Settings, Subject, direct, wait_until};

/// Lockside finds out sooner than by default, and waits for one replica.
const UPSTREAM: &str = "command_timeout = \"1s\"\nconnect_timeout = \"1s\"\n\
    recover_after = \"300ms\"\nprobe_interval = \"100ms\"\n\
    min_replicas = 1\nreplica_timeout = \"300ms\"";

/// As in [`UPSTREAM`].
const REPLICA_TIMEOUT: Duration = Duration::from_millis(300);

/// A lock taken by a script, as lock libraries do.
const SCRIPT: &str =
    "if redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', 30000) then return 1 end return 0";

/// A master with one replica, and Lockside before the master.
struct Fleet {
    master: Redis,
    replica: Redis,
    subject: Subject,
    client: Client,
}

impl Fleet {
    /// None in direct mode: plain Redis does not wait by itself.
    fn start(guarantee: &str) -> Option<Self> {
        if direct() {
            return None;
        }
        let master = Redis::with(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &port]);
        let mut writer = master.client();
        // The first may be answered by the snapshot that the replica began with; the second is not.
        wait_until("the replica follows", || {
            ["1", "2"].iter().all(|value| {
                writer.ask(&format!("SET warm {value}"));
                writer.ask("WAIT 1 2000") == ":1\r\n"
            })
        });
        let top = format!("guarantee = \"{guarantee}\"");
        let settings = Settings { top: &top, upstream: UPSTREAM, ..Settings::default() };
        let subject = Subject::with(&master, settings);
        let mut client = subject.client();
        wait_until("healthy", || client.ask("LOCKSIDE MODE").contains("healthy"));
        Some(Self { master, replica, subject, client })
    }

    fn take(&mut self, key: &str, token: &str) -> String {
        self.client.ask(&take(key, token))
    }

    fn take_by_script(&mut self, key: &str, token: &str) -> String {
        String::from_utf8(self.client.call(&["EVAL", SCRIPT, "1", key, token])).unwrap()
    }

    /// Not acquired, nothing left in Redis, and nobody in the table.
    fn assert_refused(&mut self, reply: &str, key: &str) {
        assert_eq!(reply, "-NOREPLICAS lockside: 0 of 1 replicas had it in time; not acquired\r\n");
        assert_eq!(self.master.ask(&format!("GET {key}")), NIL, "taken back");
        assert_eq!(self.client.ask(&format!("LOCKSIDE OWNER {key}")), NIL);
    }
}

fn replica_that_stops(guarantee: &str) {
    let Some(mut fleet) = Fleet::start(guarantee) else { return };
    assert_eq!(fleet.take("lock:a", TOKEN), OK);
    assert!(fleet.replica.ask("GET lock:a").contains(TOKEN), "the replica has it by then");
    assert_eq!(fleet.take("lock:a", OTHER), NIL, "a no waits for nobody");
    assert_eq!(fleet.take_by_script("lock:b", TOKEN), ":1\r\n");
    assert!(fleet.replica.ask("EXISTS lock:b").contains(":1"));

    fleet.replica.process().signal("STOP");
    let reply = fleet.take("lock:c", TOKEN);
    fleet.assert_refused(&reply, "lock:c");
    let reply = fleet.client.ask(&format!("SETNX lock:c {TOKEN}"));
    fleet.assert_refused(&reply, "lock:c");
    let reply = fleet.take_by_script("lock:c", TOKEN);
    fleet.assert_refused(&reply, "lock:c");
    assert_eq!(fleet.take("lock:a", OTHER), NIL, "what is held is held");
    // Nobody waits inside MULTI.
    assert_eq!(fleet.client.ask("MULTI"), OK);
    fleet.client.ask(&format!("SET lock:m {TOKEN} NX"));
    assert_eq!(fleet.client.ask("EXEC"), "*1\r\n+OK\r\n");
    // A release does not wait either.
    assert_eq!(fleet.client.ask("DEL lock:a"), ":1\r\n");

    fleet.replica.process().signal("CONT");
    wait_until("the replica answers again", || fleet.take("lock:c", TOKEN) == OK);
    fleet.replica.kill();
    let reply = fleet.take("lock:d", TOKEN);
    fleet.assert_refused(&reply, "lock:d");
    let mut other = fleet.subject.client();
    assert!(other.ask("LOCKSIDE MODE").contains("healthy"), "no outage");
}

#[test]
fn an_acquire_waits_for_replicas() {
    replica_that_stops("strict");
}

#[test]
fn in_fast_too() {
    replica_that_stops("fast");
}

/// Many that ask for one lock wait once, all together.
#[test]
fn all_who_ask_are_refused_at_once() {
    const CLIENTS: u32 = 20;
    let Some(mut fleet) = Fleet::start("strict") else { return };
    assert_eq!(fleet.take("lock:seen", TOKEN), OK);
    fleet.replica.process().signal("STOP");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| fleet.subject.client()).collect();
    clients.iter_mut().for_each(Client::fence);
    let start = Instant::now();
    for client in &mut clients {
        client.send_line(&take("lock:a", TOKEN));
    }
    for client in &mut clients {
        let reply = client.text();
        fleet.assert_refused(&reply, "lock:a");
    }
    let took = start.elapsed();
    assert!(took < REPLICA_TIMEOUT * CLIENTS / 2, "one after the other: {took:?}");
}

/// Without Redis there is nobody to ask for replicas: the ledger alone decides.
#[test]
fn an_outage_has_no_replicas() {
    let Some(mut fleet) = Fleet::start("strict") else { return };
    // Redis is seen to let the client use locks.
    assert_eq!(fleet.take("lock:seen", TOKEN), OK);
    fleet.replica.kill();
    fleet.master.kill();
    assert_eq!(fleet.take("lock:a", TOKEN), OK);
    assert_eq!(fleet.take("lock:a", OTHER), NIL);
}
