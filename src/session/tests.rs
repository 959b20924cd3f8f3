//! One session between a client and a Redis that are both played by the test: which bytes go
//! where, when replies are lost, late, refused, or have something else in between.

mod company;
mod contested;
mod fast;
mod inside;
mod links;
mod looks;
mod lost_in_multi;
mod multi;
mod over;
mod serve;
mod strict;
mod waiting;
mod withdrawal;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::flights::Flights;
use super::shared::{Access, Bell, Gate, Repairs};
use super::{Clock, Cx, Session, Shared, Stamper, Wires};
use crate::degraded::Companions;
use crate::degraded::auth::{Proof, Who};
use crate::health::Reports;
use crate::ledger::{Ask, Asker, Door, Guarantee, Ticket, Unavailable, Withdrawal};
use crate::lock::record::{Confidence, LockKey};
use crate::lock::rule::{Glob, Rule, Rules};
use crate::mode::{Report, Sign};
use crate::resp::request::Limits;
use crate::scripts::{Bounds, Scripts};
use crate::table::Table;

const TOKEN: &str = "550e8400-e29b-41d4-a716-446655440000";
const TAKE: &str = "SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX PX 30000";
const SENT_SET: &str = "SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX EX 10";
const OK: &str = "+OK\r\n";
const QUEUED: &str = "+QUEUED\r\n";
const HELD_NOW: &str = "*1\r\n:1\r\n";

/// What the session did to its two connections.
#[derive(Default)]
struct Fake {
    upstream: Vec<u8>,
    client: Vec<u8>,
    accepted: u64,
    links: usize,
    behind: bool,
}

impl Wires for Fake {
    fn to_upstream(&mut self, bytes: &[u8]) {
        self.upstream.extend_from_slice(bytes);
    }

    fn to_client(&mut self, bytes: &[u8]) {
        self.client.extend_from_slice(bytes);
        self.accepted += bytes.len() as u64;
    }

    fn reopen(&mut self) {
        self.links += 1;
    }

    fn client_accepted(&self) -> u64 {
        self.accepted
    }

    fn client_is_behind(&self) -> bool {
        self.behind
    }
}

/// A ledger that only follows, and needs nothing.
struct Nobody;

impl Door for Nobody {
    fn submit(&self, _: Asker, _: Vec<Ask>) -> Result<Ticket, Unavailable> {
        Ok(Ticket(0))
    }
    fn withdraw(&self, _: Ticket) -> Withdrawal {
        Withdrawal::Done
    }
    fn forget(&self, _: Ticket) {}
    fn trouble(&self) -> Option<Arc<str>> {
        None
    }
    fn is_releasing(&self, _: &LockKey) -> bool {
        false
    }
}

/// Everybody may do everything.
impl Gate for Nobody {
    fn epoch(&self) -> u64 {
        0
    }
    fn saw_accepted(&self, _: &[u8], _: &[u8]) {}
    fn saw_rejected(&self, _: &[u8], _: &[u8]) {}
    fn saw_use(&self, _: Who<'_>, _: &str, _: u64) {}
    fn saw_refused(&self, _: Who<'_>, _: Option<&str>) {}
    fn admits(&self, _: &[u8], _: &[u8]) -> Option<Proof> {
        Some(Proof::Upstream)
    }
    fn access(&self, _: Who<'_>, _: &str) -> Access {
        Access::Granted
    }
}

impl Bell for Nobody {
    fn ring(&self, _: (usize, (usize, u32))) {}
}

impl Repairs for Nobody {
    fn touch(&self, _: &LockKey) {}
    fn is_due(&self, _: &LockKey) -> bool {
        false
    }
    fn touch_ended(&self, _: &LockKey, _: Arc<[u8]>) {}
    fn start_pass(&self) {}
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    fn any_is_due(&self) -> bool {
        false
    }
    fn activity(&self) -> u64 {
        0
    }
    fn look_at_all(&self) {}
}

struct Rig {
    session: Session,
    shared: Shared,
    flights: Flights,
    wires: Fake,
    now: Duration,
}

impl Rig {
    fn new() -> Self {
        Self::with_room_for(1000)
    }

    fn with_room_for(locks: usize) -> Self {
        let shared = Shared {
            rules: Rules::new(vec![Rule::new("r", vec![Glob::new(b"lock:*")])]),
            table: Arc::new(Table::new(locks)),
            scripts: Scripts::in_memory(Bounds { count: 10, bytes: 10_000 }),
            stamper: Stamper::new(TimeZone::UTC),
            clock: Clock { unix_ms: || 1_795_000_000_000, random: || 7 },
            request_limits: Limits::default(),
            stream_above: 1 << 20,
            max_lock_value: 4096,
            max_captured: 1 << 20,
            max_computed_argument: 1 << 20,
            command_timeout: Duration::from_secs(5),
            upstream: "redis:1".into(),
            started_ms: 0,
            door: Arc::new(Nobody),
            guarantee: Guarantee::Fast,
            fence_counter: b"counter"[..].into(),
            board: Arc::default(),
            history: Arc::default(),
            reports: Reports::default(),
            companions: Companions::new(crate::degraded::Bounds::default()),
            locals: crate::session::Locals::default(),
            gate: Arc::new(Nobody),
            bell: Arc::new(Nobody),
            repairs: Arc::new(Nobody),
            replicas: crate::session::Replicas::default(),
            acquire_timeout: None,
            release_wait: Duration::from_secs(5),
        };
        Self {
            session: Session::new((1, 1), Arc::from("peer")),
            shared,
            flights: Flights::new(Duration::ZERO),
            wires: Fake::default(),
            now: Duration::from_secs(1),
        }
    }

    fn with<T>(&mut self, step: impl FnOnce(&mut Session, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: self.now,
            worker: 0,
            shared: &self.shared,
            wires: &mut self.wires,
            flights: &mut self.flights,
        };
        step(&mut self.session, &mut cx)
    }

    /// The client sends these lines; gives how many bytes are left for later.
    fn client(&mut self, lines: &[&str]) -> usize {
        let bytes = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let mut rest = bytes.as_bytes();
        while self.session.takes_commands() {
            let taken = self.with(|session, cx| session.client_bytes(rest, cx));
            rest = &rest[taken..];
            if taken == 0 || rest.is_empty() {
                break;
            }
        }
        rest.len()
    }

    fn redis(&mut self, reply: &str) {
        self.with(|session, cx| session.upstream_bytes(reply.as_bytes(), cx)).unwrap();
    }

    /// One command of the client and Redis's reply to what came of it.
    fn ask(&mut self, line: &str, reply: &str) -> String {
        assert_eq!(self.client(&[line]), 0, "{line}");
        self.redis(reply);
        self.told()
    }

    fn cut(&mut self) {
        self.with(|session, cx| session.link_failed("reset", true, cx));
    }

    /// What the client was sent since the last call.
    fn told(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.wires.client)).unwrap()
    }

    /// The commands that Redis was sent since the last call.
    fn sent(&mut self) -> Vec<String> {
        let bytes = String::from_utf8(std::mem::take(&mut self.wires.upstream)).unwrap();
        let mut commands: Vec<Vec<&str>> = Vec::new();
        for line in bytes.split_terminator("\r\n") {
            match line.as_bytes().first() {
                Some(b'*') => commands.push(Vec::new()),
                Some(b'$') => {}
                _ => commands.last_mut().unwrap().push(line),
            }
        }
        commands.iter().map(|words| words.join(" ")).collect()
    }

    #[track_caller]
    fn assert_sent(&mut self, starts: &[&str]) {
        let sent = self.sent();
        let right = sent.len() == starts.len()
            && sent.iter().zip(starts).all(|(sent, start)| sent.starts_with(start));
        assert!(right, "{sent:?} instead of {starts:?}");
    }

    fn confidence(&self) -> Option<Confidence> {
        let record = self.shared.table.find(&LockKey::new(0, b"lock:a"))?;
        Some(record.confidence)
    }
}

#[test]
fn an_acquire_with_every_reply_lost_once() {
    let mut rig = Rig::new();
    rig.client(&[TAKE]);
    rig.assert_sent(&[SENT_SET]);
    rig.cut();
    rig.assert_sent(&["GET lock:a"]);
    rig.redis("$-1\r\n");
    rig.assert_sent(&[SENT_SET]);
    rig.redis(OK);
    rig.assert_sent(&["EVALSHA"]);
    rig.cut();
    rig.assert_sent(&["EVALSHA"]);
    assert_eq!(rig.told(), "", "nothing is said before it is sure");
    rig.redis(HELD_NOW);
    assert_eq!((rig.told().as_str(), rig.wires.links), (OK, 2));
    assert_eq!(rig.confidence(), Some(Confidence::Held));
}

/// A null is a yes in this form of SET.
#[test]
fn set_nx_get_of_a_held_lock_shows_the_holder_after_a_lost_reply() {
    let mut rig = Rig::new();
    rig.client(&["SET lock:a 1 NX GET"]);
    rig.cut();
    rig.redis("$5\r\nother\r\n");
    assert_eq!(rig.told(), "$5\r\nother\r\n");
    rig.client(&["SET lock:a 1 NX GET"]);
    rig.cut();
    rig.redis("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    assert!(rig.told().starts_with("-WRONGTYPE"));
    assert!(rig.shared.table.is_empty());
}

#[test]
fn only_ok_takes_a_lock() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(TAKE, QUEUED), QUEUED);
    assert!(rig.shared.table.is_empty());
}

#[test]
fn a_full_table_still_lets_go() {
    let mut rig = Rig::with_room_for(1);
    rig.client(&[TAKE]);
    rig.redis(OK);
    rig.redis(HELD_NOW);
    assert_eq!(rig.told(), OK);
    assert!(rig.ask(&TAKE.replace("lock:a", "lock:b"), "").starts_with("-OOM lockside"));
    rig.sent();
    rig.client(&[&format!("EVAL release 1 lock:a {TOKEN}")]);
    rig.assert_sent(&["SCRIPT LOAD release"]);
}

#[test]
fn nothing_runs_behind_quit() {
    let mut rig = Rig::new();
    assert!(rig.client(&["QUIT", TAKE]) > 0);
    rig.sent();
    rig.redis(OK);
    assert_eq!(rig.told(), OK);
    assert!(!rig.session.takes_commands() && rig.client(&[TAKE]) > 0);
    rig.assert_sent(&[]);
    rig.cut();
    assert!(rig.session.has_ended());
}

#[test]
fn a_push_is_no_reply_to_subscribe() {
    let mut rig = Rig::new();
    rig.ask("HELLO 3", "%1\r\n+proto\r\n:3\r\n");
    rig.client(&["SUBSCRIBE c"]);
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n";
    rig.redis(push);
    assert_eq!(rig.told(), push);
    assert!(!rig.session.is_idle(), "the reply is still to come");
    rig.redis("-NOPERM no\r\n");
    assert_eq!(rig.told(), "-NOPERM no\r\n");
    assert!(rig.session.is_idle() && !rig.session.only_listens());
    rig.client(&[TAKE]);
    rig.redis(&format!("{push}+OK\r\n{push}"));
    rig.redis(HELD_NOW);
    assert_eq!(rig.told(), format!("{push}{push}+OK\r\n"));
}

/// The reply waits behind others, and bytes that came meanwhile confirm nothing.
#[test]
fn a_grant_whose_reply_was_not_written_is_given_back() {
    let mut rig = Rig::new();
    rig.client(&[TAKE]);
    rig.redis(OK);
    rig.redis(HELD_NOW);
    rig.sent();
    rig.session.heard_of_client(4);
    assert!(rig.with(|session, cx| session.last_rites(4, cx)));
    rig.assert_sent(&["EVAL "]);
    rig.redis(HELD_NOW);
    assert!(rig.shared.table.is_empty() && !rig.session.has_operation());
}

#[test]
fn a_grant_that_cannot_be_given_back_is_unconfirmed() {
    let mut rig = Rig::new();
    rig.client(&[TAKE]);
    rig.redis(OK);
    rig.redis(HELD_NOW);
    assert!(rig.with(|session, cx| session.last_rites(0, cx)));
    rig.redis("-NOPERM no scripts\r\n");
    assert_eq!(rig.confidence(), Some(Confidence::Unconfirmed));
}

#[test]
fn a_grant_that_was_written_and_answered_is_the_clients() {
    let mut rig = Rig::new();
    rig.client(&[TAKE]);
    rig.redis(OK);
    rig.redis(HELD_NOW);
    rig.session.heard_of_client(5);
    assert!(!rig.with(|session, cx| session.last_rites(5, cx)));
    assert_eq!(rig.confidence(), Some(Confidence::Held));
}

#[test]
fn no_operation_begins_while_the_client_does_not_read() {
    let mut rig = Rig::new();
    rig.wires.behind = true;
    let left = rig.client(&["GET n", TAKE]);
    assert_eq!(left, TAKE.len() + 2);
    rig.redis("$-1\r\n");
    assert_eq!(rig.client(&[TAKE]), left);
    rig.assert_sent(&["GET n"]);
    rig.wires.behind = false;
    assert_eq!(rig.client(&[TAKE]), 0);
    rig.assert_sent(&[SENT_SET]);
}

/// A password that Redis refuses on a new link is the client's trouble, and no sign of an outage.
#[test]
fn a_wrong_password_on_a_new_link_is_no_refused_connection() {
    for (error, reports) in [
        ("-WRONGPASS invalid\r\n", vec![]),
        ("-LOADING the data set\r\n", vec![Report::Error(Sign::Loading)]),
    ] {
        let mut rig = Rig::new();
        rig.ask("AUTH bob secret", OK);
        rig.sent();
        rig.client(&[TAKE]);
        rig.assert_sent(&[SENT_SET]);
        rig.cut();
        rig.assert_sent(&["AUTH bob"]);
        rig.shared.reports.take(Duration::ZERO);
        rig.redis(error);
        assert_eq!(rig.shared.reports.take(Duration::ZERO).reports, reports, "{error}");
    }
}

#[test]
fn whom_redis_does_not_let_in_is_shown_no_locks() {
    let mut rig = Rig::new();
    rig.client(&[TAKE]);
    rig.redis(OK);
    rig.redis(HELD_NOW);
    rig.told();
    let no = "-NOAUTH Authentication required.\r\n";
    assert_eq!(rig.ask("LOCKSIDE LOCKS", no), no);
    rig.client(&["LOCKSIDE LOCKS"]);
    rig.redis("+PONG\r\n");
    // Who may neither read nor write what the rule's glob looks like, nor the lock itself.
    for _ in 0..3 {
        rig.redis("-NOPERM no\r\n");
    }
    assert_eq!(rig.told(), "");
    rig.redis("-NOPERM no\r\n");
    assert_eq!(rig.told(), "*0\r\n");
    rig.client(&["LOCKSIDE LOCKS"]);
    for reply in ["+PONG\r\n", "$-1\r\n", "-NOPERM no\r\n"] {
        rig.redis(reply);
    }
    let told = rig.told();
    assert!(told.starts_with("*1\r\n") && told.contains("550e8400"));
    assert!(!told.contains("550e8400-"), "no more than the first characters of a token");
}
