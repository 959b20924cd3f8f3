//! Sessions with a ledger that decides, whose answers the test gives.

use std::sync::Mutex;

use super::*;
use crate::ledger::fold::Holder;
use crate::ledger::{Answer, Cause, Claim, Outcome, Position};
use crate::lock::record::Record;
use crate::lock::rule::Outage;
use crate::mode::Mode;
use crate::session::flights::{Question, Verdict};

mod scripts;
mod transactions;

const CAD: &str = "EVALSHA";
pub(super) const CLAIM: Position = Position { log: 1, seq: 7 };

/// What the session did with the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Did {
    Asked(Asker, Vec<Ask>),
    Withdrew(Ticket),
    Forgot(Ticket),
    Touched(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Scripted {
    did: Mutex<Vec<Did>>,
    tickets: std::sync::atomic::AtomicU64,
    trouble: Mutex<Option<Arc<str>>>,
    /// Claims have left the queue when they are given up.
    pub(super) has_written: std::sync::atomic::AtomicBool,
    pub(super) is_uncalm: std::sync::atomic::AtomicBool,
    pub(super) refuses_grants: std::sync::atomic::AtomicBool,
    pub(super) has_company: std::sync::atomic::AtomicBool,
    pub(super) is_due: std::sync::atomic::AtomicBool,
    pub(super) contested: Mutex<Vec<Arc<crate::ledger::fold::Holder>>>,
}

impl Door for Scripted {
    fn submit(&self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        if let (Asker::Session(..), Some(trouble)) = (asker, self.trouble()) {
            return Err(Unavailable::NotAnswering(trouble));
        }
        let is_grant = asks.iter().any(|ask| matches!(ask, Ask::Grant(..)));
        if is_grant && self.refuses_grants.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Unavailable::NotAnswering("Redis does not decide now".into()));
        }
        self.did.lock().unwrap().push(Did::Asked(asker, asks));
        let ticket = self.tickets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Ticket(ticket + 1))
    }
    fn withdraw(&self, ticket: Ticket) -> Withdrawal {
        self.did.lock().unwrap().push(Did::Withdrew(ticket));
        let is_written = self.has_written.load(std::sync::atomic::Ordering::Relaxed);
        if is_written { Withdrawal::UnderWay } else { Withdrawal::Done }
    }
    fn forget(&self, ticket: Ticket) {
        self.did.lock().unwrap().push(Did::Forgot(ticket));
    }
    fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap().clone()
    }
    /// What is asked for while there is trouble waits.
    fn waiting(&self) -> usize {
        usize::from(self.trouble().is_some())
    }
    fn is_releasing(&self, _: &LockKey) -> bool {
        false
    }
    fn has_company(&self) -> bool {
        self.has_company.load(std::sync::atomic::Ordering::Relaxed)
    }
    fn contested(&self, _: &LockKey) -> Vec<Arc<crate::ledger::fold::Holder>> {
        self.contested.lock().unwrap().clone()
    }
    fn is_calm(&self) -> bool {
        !self.is_uncalm.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Repairs for Scripted {
    fn touch(&self, key: &LockKey) {
        self.did.lock().unwrap().push(Did::Touched(key.key().to_vec()));
    }
    fn is_due(&self, _: &LockKey) -> bool {
        self.is_due.load(std::sync::atomic::Ordering::Relaxed)
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

pub(super) struct Strict {
    pub(super) rig: Rig,
    pub(super) ledger: Arc<Scripted>,
}

impl std::ops::Deref for Strict {
    type Target = Rig;
    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl std::ops::DerefMut for Strict {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

impl Strict {
    pub(super) fn new() -> Self {
        let (mut rig, ledger) = (Rig::new(), Arc::new(Scripted::default()));
        rig.shared.door = ledger.clone();
        rig.shared.repairs = ledger.clone();
        rig.shared.guarantee = Guarantee::Strict;
        // Less than half a safety TTL: nothing is refreshed meanwhile.
        rig.shared.acquire_timeout = Some(Duration::from_secs(1));
        Self { rig, ledger }
    }

    /// With `lock:a` held by a claim of this value.
    pub(super) fn held_by(stored: &str) -> Self {
        let strict = Self::new();
        strict.shared.table.grant(LockKey::new(0, b"lock:a"), record(stored));
        strict
    }

    /// After an OK for `lock:a`, of which the table has heard.
    fn granted() -> Self {
        let mut strict = Self::new();
        strict.client(&[TAKE]);
        strict.redis(OK);
        strict.asked();
        strict.shared.table.grant(LockKey::new(0, b"lock:a"), record(TOKEN));
        strict.win(1);
        strict.redis(HELD_NOW);
        assert_eq!(strict.told(), OK);
        strict
    }

    pub(super) fn did(&self) -> Vec<Did> {
        std::mem::take(&mut self.ledger.did.lock().unwrap())
    }

    /// The one request to the ledger since the last call; its asks.
    #[track_caller]
    pub(super) fn asked(&self) -> Vec<Ask> {
        match self.did().as_slice() {
            [Did::Asked(Asker::Session(0, (1, 1)), asks)] => asks.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn answer(&mut self, ticket: u64, outcome: Outcome) {
        self.answers(ticket, vec![outcome]);
    }

    pub(super) fn answers(&mut self, ticket: u64, outcomes: Vec<Outcome>) {
        let answer = Answer { ticket: Ticket(ticket), outcomes };
        self.with(|session, cx| session.ledger_answered(&answer, cx));
    }

    pub(super) fn win(&mut self, ticket: u64) {
        self.answer(ticket, Outcome::Won { claim: CLAIM, fence: 1 });
    }

    pub(super) fn be_late(&mut self) {
        assert!(self.session.awaits_ledger() && self.session.deadline().is_some());
        self.with(|session, cx| session.timed_out(cx));
    }

    pub(super) fn given_up(&self) -> Did {
        let release = Ask::Release(LockKey::new(0, b"lock:a"), CLAIM, Cause::Undelivered);
        Did::Asked(Asker::Session(0, (1, 1)), vec![release])
    }
}

pub(super) fn record(stored: &str) -> Record {
    Record {
        stored: stored.as_bytes().into(),
        rule: "r".into(),
        granted_at_ms: 0,
        asked_ttl_ms: None,
        confidence: Confidence::Held,
        client: "c".into(),
        expires_at_ms: None,
        claim: Some(CLAIM),
        fence: Some(1),
        other: None,
        marker: None,
    }
}

/// Heard of is noted once, without waiting, and not of a grant that its client has just released.
#[test]
fn what_was_heard_of_is_noted() {
    let mut strict = Strict::granted();
    let end = strict.rig.wires.accepted;
    strict.session.heard_of_client(end - 1);
    strict.client(&["PING"]);
    strict.redis("+PONG\r\n");
    assert_eq!(strict.did(), [], "the reply may not have come");
    strict.session.heard_of_client(end);
    strict.client(&["PING"]);
    strict.redis("+PONG\r\n");
    let heard = Ask::Heard(LockKey::new(0, b"lock:a"), CLAIM);
    assert_eq!(strict.did(), [Did::Asked(Asker::Nobody, vec![heard])]);
    strict.session.heard_of_client(end);
    strict.client(&["PING"]);
    strict.redis("+PONG\r\n");
    assert_eq!(strict.did(), []);
}

#[test]
fn what_was_released_is_not_noted() {
    let mut strict = Strict::granted();
    let end = strict.rig.wires.accepted;
    strict.session.heard_of_client(end);
    strict.shared.table.free(&LockKey::new(0, b"lock:a"), CLAIM);
    strict.client(&["PING"]);
    strict.redis("+PONG\r\n");
    assert_eq!(strict.did(), []);
}

/// Neither Redis nor the ledger, and the rule says that the table alone decides: each change takes
/// back the one before it, so that the ledger hears of the last.
#[test]
fn the_table_alone() {
    let mut strict = Strict::held_by(TOKEN);
    let rule = Rule { outage: Outage::Local, ..Rule::new("r", vec![Glob::new(b"lock:*")]) };
    strict.shared.rules = Rules::new(vec![rule]);
    strict.shared.board.show(Mode::Blocked, false);
    let lost = crate::mode::Cause::Lost(crate::mode::Sign::Refused, "".into());
    strict.shared.history.set_lost(Some(lost));
    *strict.ledger.trouble.lock().unwrap() = Some("it is away".into());
    let key = LockKey::new(0, b"lock:a");
    let release = Ask::Release(key.clone(), CLAIM, Cause::Client);

    strict.client(&["DEL lock:a"]);
    assert_eq!(strict.told(), ":1\r\n");
    assert_eq!(strict.did(), [Did::Asked(Asker::Nobody, vec![release.clone()]), touched()]);
    strict.client(&[TAKE]);
    assert_eq!(strict.told(), OK);
    let did = strict.did();
    let [Did::Withdrew(Ticket(1)), Did::Asked(Asker::Nobody, asks), _] = &did[..] else {
        panic!("{did:?}");
    };
    assert!(matches!(&asks[..], [first, Ask::Claim(_)] if *first == release), "{asks:?}");
    strict.client(&[TAKE]);
    assert_eq!(strict.told(), "$-1\r\n");
    strict.client(&["DEL lock:a"]);
    assert_eq!(strict.told(), ":1\r\n");
    let again = Did::Asked(Asker::Nobody, vec![release]);
    // The claim was heard of, and is not noted: it has no name yet.
    assert_eq!(strict.did(), [Did::Withdrew(Ticket(2)), again, touched()]);
}

pub(super) fn touched() -> Did {
    Did::Touched(b"lock:a".to_vec())
}

#[test]
fn an_acquire_is_claimed_between_its_two_steps() {
    let mut strict = Strict::new();
    strict.client(&[TAKE]);
    strict.assert_sent(&[SENT_SET]);
    strict.redis(OK);
    let asks = strict.asked();
    assert!(matches!(&asks[..], [Ask::Claim(claim)] if *claim.stored == *TOKEN.as_bytes()));
    strict.assert_sent(&[]);
    strict.win(1);
    strict.assert_sent(&["EVALSHA"]);
    assert_eq!(strict.told(), "");
    strict.redis(HELD_NOW);
    assert_eq!(strict.told(), OK);
    assert_eq!(strict.did(), []);
}

/// A claim that has won is the lock, whatever Redis says afterwards, or does not say.
#[test]
fn a_won_claim_is_ok_whatever_redis_has() {
    for reply in ["*1\r\n:0\r\n", "*1\r\n:-1\r\n", "-LOADING x\r\n", "lost"] {
        let mut strict = Strict::new();
        strict.client(&[TAKE]);
        strict.redis(OK);
        strict.asked();
        strict.win(1);
        match reply {
            "lost" => strict.cut(),
            reply => strict.redis(reply),
        }
        assert_eq!(strict.told(), OK, "{reply:?}");
        assert_eq!(strict.did(), [touched()], "{reply:?}: a repair looks after it");
    }
}

#[test]
fn a_claim_that_loses_is_nil() {
    let mut strict = Strict::new();
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.sent();
    strict.answer(1, Outcome::Lost { holder: None });
    strict.assert_sent(&[CAD]);
    assert_eq!(strict.told(), "");
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(strict.told(), "$-1\r\n");
    assert_eq!(strict.did(), [touched()]);
}

#[test]
fn a_ledger_that_does_not_answer_is_a_clear_no() {
    let mut strict = Strict::new();
    *strict.ledger.trouble.lock().unwrap() = Some("disk full".into());
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.assert_sent(&[SENT_SET, CAD]);
    strict.redis("*1\r\n:1\r\n");
    assert!(strict.told().contains("not acquired: the ledger does not answer (disk full)"));

    *strict.ledger.trouble.lock().unwrap() = None;
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.sent();
    strict.be_late();
    assert_eq!(strict.did(), [Did::Withdrew(Ticket(1))]);
    strict.assert_sent(&[CAD]);
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(
        strict.told(),
        "-TRYAGAIN lockside: the ledger has not answered in time; not acquired\r\n"
    );
    strict.win(1);
    assert_eq!((strict.told(), strict.did()), (String::new(), vec![]), "too late for anybody");
}

/// The link breaks while the ledger is being asked, or was never to be had.
#[test]
fn a_claim_needs_no_redis() {
    let mut strict = Strict::new();
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.sent();
    strict.cut();
    assert_eq!(strict.told(), "");
    strict.win(1);
    strict.assert_sent(&[]);
    assert_eq!(strict.told(), OK);
    assert_eq!(strict.did(), [touched()]);

    let mut strict = Strict::new();
    strict.client(&[TAKE]);
    strict.with(|session, cx| session.link_failed("connection refused", false, cx));
    strict.asked();
    strict.win(1);
    assert_eq!(strict.told(), OK);
    assert_eq!(strict.did(), [touched()]);

    let mut strict = Strict::new();
    strict.client(&[TAKE]);
    strict.redis("-READONLY You can't write against a read only replica.\r\n");
    strict.asked();
    strict.win(1);
    assert_eq!(strict.told(), OK);
}

#[test]
fn a_claim_of_a_client_that_has_gone_is_given_up() {
    let mut strict = Strict::new();
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.sent();
    strict.with(|session, cx| session.client_gone(cx));
    strict.win(1);
    strict.assert_sent(&[CAD]);
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(strict.did(), [strict.given_up(), touched()]);
    strict.answer(2, Outcome::Released);
    assert!(!strict.session.has_operation());
}

#[test]
fn a_release_is_answered_when_it_is_durable() {
    let released = [Ask::Release(LockKey::new(0, b"lock:a"), CLAIM, Cause::Client)];
    for (line, reply) in
        [("DEL lock:a", ":1\r\n"), ("UNLINK lock:a", ":1\r\n"), ("GETDEL lock:a", "$1\r\nv\r\n")]
    {
        let mut strict = Strict::held_by("v");
        strict.client(&[line]);
        strict.redis(reply);
        assert_eq!(strict.told(), "", "{line}");
        assert_eq!(strict.asked(), released, "{line}");
        strict.answer(1, Outcome::Released);
        assert_eq!(strict.told(), reply);
    }
}

/// Redis has lost the key, the ledger has not: the release counts.
#[test]
fn a_release_of_what_redis_has_lost() {
    let mut strict = Strict::held_by("v");
    strict.client(&["DEL lock:a"]);
    strict.redis(":0\r\n");
    strict.asked();
    strict.answer(1, Outcome::Released);
    assert_eq!(strict.told(), ":1\r\n");

    let mut strict = Strict::new();
    assert_eq!(strict.ask("DEL lock:a", ":0\r\n"), ":0\r\n");
    assert_eq!(strict.did(), []);
}

#[test]
fn a_release_while_the_ledger_does_not_answer() {
    let mut strict = Strict::held_by("v");
    *strict.ledger.trouble.lock().unwrap() = Some("disk full".into());
    strict.client(&["DEL lock:a"]);
    strict.assert_sent(&[]);
    assert!(strict.told().contains("nothing was done: the ledger does not answer (disk full)"));

    *strict.ledger.trouble.lock().unwrap() = None;
    strict.client(&["DEL lock:a"]);
    strict.redis(":1\r\n");
    strict.asked();
    strict.be_late();
    assert!(strict.told().starts_with("-TRYAGAIN lockside: releasing"));
    assert_eq!(strict.did(), [Did::Forgot(Ticket(1))], "it is not withdrawn");

    // It fails between the command and its booking.
    let mut strict = Strict::held_by("v");
    strict.client(&["DEL lock:a"]);
    *strict.ledger.trouble.lock().unwrap() = Some("disk full".into());
    strict.redis(":1\r\n");
    assert!(strict.told().starts_with("-TRYAGAIN lockside: releasing"));
    assert!(matches!(&strict.did()[..], [Did::Asked(Asker::Nobody, _)]));
}

/// The same token again, after its client's connection has ended: the same grant, if the ledger
/// still has it. The table may be behind another sidecar that has released it and granted anew.
#[test]
fn an_unconfirmed_grant_is_claimed_once_more() {
    for (stands, mode) in [true, false]
        .into_iter()
        .flat_map(|stands| [Mode::Healthy, Mode::Degraded].map(|mode| (stands, mode)))
    {
        let mut strict = Strict::held_by(TOKEN);
        let lock = LockKey::new(0, b"lock:a");
        strict.shared.table.set_confidence(&lock, TOKEN.as_bytes(), Confidence::Unconfirmed);
        strict.shared.board.show(mode, mode == Mode::Healthy);
        strict.client(&[TAKE]);
        if mode == Mode::Healthy {
            strict.redis("$-1\r\n");
        }
        let asks = strict.asked();
        assert!(matches!(&asks[..], [Ask::Claim(claim)] if *claim.stored == *TOKEN.as_bytes()));
        assert_eq!(strict.told(), "");
        if stands {
            strict.win(1);
            assert_eq!((strict.told().as_str(), strict.confidence()), (OK, Some(Confidence::Held)));
            // It is older than this connection, and not taken back with it.
            strict.did();
            assert!(!strict.with(|session, cx| session.last_rites(0, cx)));
            assert_eq!(
                (strict.did(), strict.confidence()),
                (vec![], Some(Confidence::Unconfirmed))
            );
        } else {
            strict.shared.table.grant(lock, record("another"));
            strict.answer(1, Outcome::Lost { holder: None });
            assert_eq!(strict.told(), "$-1\r\n");
        }
    }
}
