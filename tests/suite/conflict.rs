//! `conflict`: two sidecars with `guarantee = "fast"` on one ledger, one of which has lost Redis while the
//! other has not heard of that. Both grant a lock; who is right is configured (SPEC 7 and 8).

use std::path::Path;

use crate::support::locks::{A, B, OK};
use crate::support::{Client, Redis, Relay, Settings, Subject, Trouble, direct, wait_until};

const UPSTREAM: &str = "command_timeout = \"1s\"\nconnect_timeout = \"1s\"\nrecover_after = \"300ms\"\n\
    probe_interval = \"100ms\"\nprobe_timeout = \"500ms\"\nrepair_interval = \"1s\"";

/// A sidecar that mirrors so late, and so reads the other one's entries as rarely as half of that.
fn sidecar(relay: &Relay, ledger: &Path, conflict: &str, mirror: &str) -> (Subject, Client) {
    let top = format!("guarantee = \"fast\"\nconflict = \"{conflict}\"");
    let path = ledger.display();
    let tables = format!(
        "[ledger]\npath = \"{path}\"\nmirror_interval = \"{mirror}\"\npoll = \"60s\"\n\
         heartbeat = \"600s\"\n"
    );
    let settings =
        Settings { top: &top, upstream: UPSTREAM, tables: &tables, ..Settings::default() };
    let subject = Subject::before(relay.port(), settings);
    let mut client = subject.client();
    wait_until("healthy", || client.ask("LOCKSIDE MODE").contains("healthy"));
    // Redis is seen to let the client use locks.
    client.ask(&format!("SET lock:seen:{mirror} {A} NX"));
    client.ask(&format!("DEL lock:seen:{mirror}"));
    // Nothing makes it read the ledger before its time from here on.
    let is_written = |client: &mut Client| {
        let info = client.ask("INFO lockside");
        info.contains("lockside_ledger_waiting:0\r") && info.contains("lockside_locks_held:0\r")
    };
    wait_until("written", || is_written(&mut client));
    (subject, client)
}

/// The first one has no Redis and grants `lock:k` to B, the second grants it to A by Redis. That takes two
/// that are not configured alike: the lock-delay of the first is over before the second has read.
fn two_grants(conflict: &str, check: impl FnOnce(&Redis, &mut Client, &mut Client, &Subject)) {
    if direct() {
        return;
    }
    let (redis, directory) = (Redis::start(), tempfile::tempdir().unwrap());
    let (relay, ledger) = (Relay::before(redis.port()), directory.path().join("shared.db"));
    let (first, mut alone) = sidecar(&relay, &ledger, conflict, "100ms");
    let (second, mut calm) = sidecar(&relay, &ledger, conflict, "10s");
    relay.set_for(first.process().unwrap().pid(), Trouble::BlackHole);
    wait_until("degraded", || alone.ask("LOCKSIDE MODE").contains("degraded"));
    wait_until("granted by the ledger", || alone.ask(&format!("SET lock:k {B} NX")) == OK);
    assert_eq!(calm.ask(&format!("SET lock:k {A} NX")), OK, "granted by Redis");
    let is_met = |info: String| !info.contains("lockside_conflicts:0\r");
    wait_until("a conflict", || is_met(alone.ask("INFO lockside")));
    check(&redis, &mut alone, &mut calm, &second);
}

#[test]
fn redis_is_right_if_that_is_configured() {
    two_grants("upstream", |redis, alone, calm, second| {
        let shows = |client: &mut Client, token: &str| {
            let owner = client.ask("LOCKSIDE OWNER lock:k");
            owner.contains(&token[..8])
        };
        wait_until("the ledger follows", || shows(calm, A));
        wait_until("the other reads it", || shows(alone, A));
        assert!(redis.ask("GET lock:k").contains(A), "Redis stays as it is");
        assert_eq!(alone.ask(&format!("SET lock:k {B} NX")), "$-1\r\n");
        let history = calm.ask("LOCKSIDE HISTORY lock:k");
        assert!(history.contains("preference"), "{history}");
        let log = second.process().unwrap().output();
        assert!(log.contains("who is the ledger's holder now"), "{log}");
        // It is an ordinary lock from here on.
        assert_eq!(calm.ask("DEL lock:k"), ":1\r\n");
        wait_until("released", || alone.ask("LOCKSIDE OWNER lock:k") == "$-1\r\n");
        assert_eq!(calm.ask(&format!("SET lock:k {B} NX")), OK);
    });
}

#[test]
fn the_ledger_is_right_otherwise() {
    two_grants("ledger", |redis, alone, calm, _| {
        wait_until("Redis follows", || redis.ask("GET lock:k").contains(B));
        assert!(calm.ask("LOCKSIDE OWNER lock:k").contains(&B[..8]));
        assert_eq!(alone.ask("DEL lock:k"), ":1\r\n");
    });
}
