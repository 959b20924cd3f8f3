//! What goes wrong between the steps of an acquire, made to happen by a wire between Lockside and
//! Redis. One promise in all of it: OK means that the lock is there and permanent, and whatever is
//! not told OK leaves no lock behind for longer than the safety TTL. Redis decides here (`fast`);
//! `faults::strict` has a ledger that does.

use super::{OK, ONE, OTHER, TOKEN, ZERO};
use crate::support::wire::Wire;
use crate::support::{Client, PATIENCE, Redis, Settings, Subject, wait_until};

const RULE: &str = "[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nsafety_ttl = \"1s\"";
const FAST: &str = "guarantee = \"fast\"";
const TAKE: &str = "SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX PX 30000";

/// What only the second step sends.
const SETTLE: &str = "EVAL";

/// Lockside with a wire between it and Redis.
struct Broken {
    redis: Redis,
    wire: Wire,
    subject: Subject,
    client: Client,
    direct: Client,
}

impl Broken {
    /// None in direct mode: there are no two steps.
    fn start() -> Option<Self> {
        let redis = Redis::start();
        let wire = Wire::before(&redis);
        let settings = Settings { top: FAST, tables: RULE, ..Settings::default() };
        let subject = Subject::before(wire.port(), settings);
        if !subject.is_lockside() {
            return None;
        }
        let (mut client, direct) = (subject.client(), redis.client());
        client.fence();
        // The script is known to Redis from now on.
        assert_eq!(client.ask(&format!("SET lock:warm {TOKEN} NX")), OK);
        Some(Self { redis, wire, subject, client, direct })
    }

    /// Sends an acquire whose second step is held before Redis.
    fn hold_between(&mut self) {
        self.wire.hold(SETTLE);
        self.client.send_line(TAKE);
        self.wire.wait_held();
        assert_eq!(self.direct.ask("EXISTS lock:a"), ONE);
        assert_ne!(self.direct.ask("PTTL lock:a"), ":-1\r\n");
    }

    /// The reply to the acquire; none if the connection ended instead.
    fn told(&mut self) -> Option<String> {
        let reply = self.client.frame_within(PATIENCE);
        assert!(
            !reply.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut),
            "the client is told something in the end"
        );
        reply.ok().map(|reply| String::from_utf8_lossy(&reply).into_owned())
    }

    /// The promise.
    fn check(&mut self, told: Option<&str>) {
        if told == Some(OK) {
            assert_eq!(self.direct.ask("GET lock:a"), super::as_bulk(TOKEN));
            assert_eq!(self.direct.ask("PTTL lock:a"), ":-1\r\n");
        } else {
            wait_until("no lock is left behind", || self.direct.ask("EXISTS lock:a") == ZERO);
        }
        let mut other = self.subject.client();
        let expected = if told == Some(OK) { super::NIL } else { OK };
        assert_eq!(other.ask(&format!("SET lock:a {OTHER} NX PX 30000")), expected);
    }
}

#[test]
fn lockside_is_killed_between_the_steps() {
    let Some(mut broken) = Broken::start() else { return };
    broken.hold_between();
    broken.subject.process().unwrap().signal("KILL");
    assert_eq!(broken.told(), None);
    wait_until("Redis clears the key by itself", || broken.direct.ask("EXISTS lock:a") == ZERO);
}

#[test]
fn the_client_is_gone_between_the_steps() {
    let Some(mut broken) = Broken::start() else { return };
    broken.hold_between();
    broken.client = broken.subject.client();
    broken.client.fence();
    broken.wire.release();
    // Gone, or (the grant was complete) the same token is let in again.
    wait_until("gone, or let in again", || {
        broken.direct.ask("EXISTS lock:a") == ZERO || broken.client.ask(TAKE) == OK
    });
}

/// Redis has set the key and the reply is lost: read back, and go on.
#[test]
fn the_reply_of_the_first_step_is_lost() {
    let Some(mut broken) = Broken::start() else { return };
    broken.wire.lose_reply("NX");
    broken.client.send_line(TAKE);
    broken.wire.wait_lost();
    let told = broken.told();
    broken.check(told.as_deref());
}

/// As before, and the key is another's by then: never OK.
#[test]
fn the_reply_of_a_nil_is_lost() {
    let Some(mut broken) = Broken::start() else { return };
    assert_eq!(broken.direct.ask(&format!("SET lock:a {OTHER}")), OK);
    broken.wire.lose_reply("NX");
    broken.client.send_line(TAKE);
    broken.wire.wait_lost();
    let told = broken.told();
    assert_ne!(told.as_deref(), Some(OK));
    assert_eq!(broken.direct.ask("GET lock:a"), super::as_bulk(OTHER));
    assert_eq!(broken.direct.ask("PTTL lock:a"), ":-1\r\n");
}

/// Redis has made the key permanent and the reply is lost.
#[test]
fn the_reply_of_the_second_step_is_lost() {
    let Some(mut broken) = Broken::start() else { return };
    broken.wire.lose_reply(SETTLE);
    broken.client.send_line(TAKE);
    broken.wire.wait_lost();
    let told = broken.told();
    broken.check(told.as_deref());
}

/// The key ran out before the second step came: no OK for a lock that is not there.
#[test]
fn the_key_runs_out_between_the_steps() {
    let Some(mut broken) = Broken::start() else { return };
    broken.hold_between();
    wait_until("it runs out", || broken.direct.ask("EXISTS lock:a") == ZERO);
    broken.wire.release();
    let told = broken.told();
    broken.check(told.as_deref());
}

/// It ran out and another has it, permanently or for a while: that one keeps it as it was.
#[test]
fn the_key_is_anothers_before_the_second_step() {
    for (take, provisional) in
        [(format!("SET lock:a {OTHER}"), false), (format!("SET lock:a {OTHER} EX 100"), true)]
    {
        let Some(mut broken) = Broken::start() else { return };
        broken.hold_between();
        wait_until("it runs out", || broken.direct.ask("EXISTS lock:a") == ZERO);
        assert_eq!(broken.direct.ask(&take), OK);
        broken.wire.release();
        let told = broken.told();
        assert_ne!(told.as_deref(), Some(OK), "two clients would hold one lock");
        assert_eq!(broken.direct.ask("GET lock:a"), super::as_bulk(OTHER));
        let permanent = broken.direct.ask("PTTL lock:a") == ":-1\r\n";
        assert_eq!(permanent, !provisional, "a late second step leaves another's key alone");
    }
}

/// Redis does not answer for longer than `command_timeout`: the client is told, in time, and what
/// comes late does no harm.
#[test]
fn redis_is_silent_between_the_steps() {
    let redis = Redis::start();
    let wire = Wire::before(&redis);
    let settings = Settings {
        top: FAST,
        tables: RULE,
        upstream: "command_timeout = \"500ms\"",
        ..Settings::default()
    };
    let subject = Subject::before(wire.port(), settings);
    if !subject.is_lockside() {
        return;
    }
    let mut client = subject.client();
    client.fence();
    wire.hold(SETTLE);
    client.send_line(TAKE);
    wire.wait_held();
    let told = client.frame_within(PATIENCE);
    assert!(!told.is_ok_and(|reply| reply == OK.as_bytes()));
    wire.release();
    let mut direct = redis.client();
    wait_until("no lock is left behind", || direct.ask("EXISTS lock:a") == ZERO);
}

/// A lock that was granted survives the loss of its client's link to Redis.
#[test]
fn a_granted_lock_outlives_its_link() {
    let Some(mut broken) = Broken::start() else { return };
    assert_eq!(broken.client.ask(TAKE), OK);
    assert!(!broken.redis.ask("CLIENT KILL TYPE normal SKIPME yes").starts_with('-'));
    let mut direct = broken.redis.client();
    assert_eq!(direct.ask("GET lock:a"), super::as_bulk(TOKEN));
    assert_eq!(direct.ask("PTTL lock:a"), ":-1\r\n");
    wait_until("it is released by a new connection", || {
        broken.subject.client().ask("DEL lock:a") == ONE
    });
}

/// A client that ends its side right behind its commands still reads: each of them has its reply,
/// and the one of a command that follows is not taken for that of the acquire.
#[test]
fn an_acquire_of_a_finished_writer_has_its_own_reply() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    for round in 0..20 {
        let mut client = subject.client();
        client.send(format!("SET lock:{round} {TOKEN} NX\r\nECHO behind\r\n").as_bytes());
        client.finish();
        let replies = String::from_utf8(client.rest()).unwrap();
        let (first, rest) = replies.split_at(replies.find("\r\n").unwrap() + 2);
        assert!(first == OK || first.starts_with("-ERR lockside: not acquired"), "{replies}");
        assert_eq!(rest, "$6\r\nbehind\r\n", "{replies}");
    }
}

/// The same for locks that a script or a transaction takes.
#[test]
fn a_script_of_a_finished_writer_has_its_own_reply() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    const SCRIPT: &str = "EVAL \"return redis.call('set',KEYS[1],'t','NX','PX',9000)\" 1";
    const SET: &str = "MULTI\r\nSET";
    for round in 0..20 {
        for (before, after, queued) in
            [(SCRIPT, "", ""), (SET, " t NX\r\nEXEC", "+OK\r\n+QUEUED\r\n")]
        {
            let mut client = subject.client();
            let key = format!("lock:{round}{}", before.len());
            client.send(format!("{before} {key}{after}\r\nECHO behind\r\n").as_bytes());
            client.finish();
            let replies = String::from_utf8(client.rest()).unwrap();
            let own = replies.strip_prefix(queued).unwrap_or_else(|| panic!("{replies}"));
            let own = own.strip_suffix("$6\r\nbehind\r\n").unwrap_or_else(|| panic!("{replies}"));
            assert!([OK, "*1\r\n+OK\r\n"].contains(&own) || own.starts_with('-'), "{replies}");
        }
    }
}

/// The same while it waits for another's acquire of the key.
#[test]
fn a_finished_writer_that_waits_has_its_own_reply() {
    let Some(mut broken) = Broken::start() else { return };
    broken.hold_between();
    let mut waiting = broken.subject.client();
    waiting.send(b"SET lock:a other NX\r\nLOCKSIDE HELP\r\n");
    // Lockside has read it, and it waits.
    broken.subject.client().fence();
    waiting.finish();
    let replies = String::from_utf8(waiting.rest()).unwrap();
    assert!(replies.starts_with("-ERR lockside: not acquired"), "{replies}");
    assert!(replies.contains("\r\n*"), "and the help behind it: {replies}");
    broken.wire.release();
    assert_eq!(broken.told().as_deref(), Some(OK));
}
