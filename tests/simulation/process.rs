//! One sidecar process: the real sessions, mode machine, committer, fold and repair passes, held
//! together as `app`, `worker`, `health` and `repair` hold them, without their threads and sockets.
//!
//! It must not decide anything of its own: what stands here and not in a part under test is what
//! those four do with a clock and a socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;

use lockside::degraded::auth::{Access, Doorman, Gate, Proof, Who};
use lockside::degraded::{self, Companions};
use lockside::health::Reports;
use lockside::ledger::committer::{Done, Step, Timing};
use lockside::ledger::entry::FORMAT;
use lockside::ledger::fold::{Change, Fold, Holder};
use lockside::ledger::memory::{Fault, Medium, Memory};
use lockside::ledger::{self, Ask, Asker, Cause, Door, Guarantee, Row, Start};
use lockside::lock::record::{Confidence, LockKey, Record};
use lockside::lock::rule::{Glob, Mode, Rule, Rules};
use lockside::mode::{self, Board, History, Machine, Terms};
use lockside::repair::Dirty;
use lockside::resp::request::Limits;
use lockside::scripts::{Bounds, Scripts};
use lockside::session::flights::Flights;
use lockside::session::{Bell, Clock, Cx, Repairs, Session, Shared, Stamper};
use lockside::table::Table;

use crate::clock;
use crate::world::Reminder;

pub(crate) mod books;
pub(crate) mod conn;
pub(crate) mod health;
pub(crate) mod mend;

use books::{Bug, Desk};
use conn::Conn;
use health::Nurse;
use mend::Mender;

/// Longest wait of a lock command for Redis.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// TTL of a lock of the `ttl` rule whose client gives none.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(2);
/// Holds that one sweep ends at most.
const SWEPT: usize = 100;
/// How long clients wait at a start for the first mode.
const FIRST_MODE: Duration = Duration::from_secs(1);

/// What the sidecars of a run promise, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fleet {
    /// `guarantee = "strict"`, locks of a persistent rule.
    Strict,
    /// `guarantee = "fast"`, the same locks.
    Fast,
    /// `guarantee = "strict"`, locks of a `ttl` rule.
    Ttl,
    /// As `Strict`, before a Redis with users: some of them may not use locks.
    Users,
    /// As `Strict`, with a ledger without order, as a sheet is.
    Sheet,
    /// As `Fast`, with such a ledger.
    FastSheet,
}

impl Fleet {
    pub(crate) const ALL: [Self; 6] =
        [Self::Strict, Self::Fast, Self::Ttl, Self::Users, Self::Sheet, Self::FastSheet];

    /// For `LOCKSIDE_SIM_FLEET`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Fast => "fast",
            Self::Ttl => "ttl",
            Self::Users => "users",
            Self::Sheet => "sheet",
            Self::FastSheet => "fast-sheet",
        }
    }

    /// `guarantee = "fast"`.
    pub(crate) fn is_fast(self) -> bool {
        matches!(self, Self::Fast | Self::FastSheet)
    }

    /// The entries of its ledger have one order.
    pub(crate) fn is_ordered(self) -> bool {
        !matches!(self, Self::Sheet | Self::FastSheet)
    }

    /// The fold of its ledger, of nothing.
    pub(crate) fn fold(self) -> Fold {
        if self.is_ordered() { Fold::default() } else { Fold::unordered() }
    }

    pub(crate) fn guarantee(self) -> Guarantee {
        if self.is_fast() { Guarantee::Fast } else { Guarantee::Strict }
    }
}

/// One run of one sidecar.
pub(crate) struct Process {
    /// Never used again.
    pub(crate) pid: u64,
    pub(crate) is_paused: bool,
    pub(crate) fleet: Fleet,
    pub(crate) shared: Shared,
    flights: Flights,
    pub(crate) conns: BTreeMap<usize, Conn>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) store: Memory,
    /// The first entry of its log.
    pub(crate) start: Start,
    /// An exchange, or the opening, is under way.
    pub(crate) is_exchanging: bool,
    pub(crate) has_read: bool,
    /// When the committer is asked next without being told to.
    pub(crate) ledger_at: Option<Duration>,
    pub(crate) dirty: Arc<Dirty>,
    pub(crate) nurse: Nurse,
    pub(crate) mender: Mender,
    started: Duration,
    pub(crate) reminders: Reminders,
    /// What becomes of the exchange under way, and how long its answer takes.
    pub(crate) planned: Option<(Fault, Duration)>,
}

/// For each thread the next time at which it looks around.
#[derive(Debug, Default)]
pub(crate) struct Reminders {
    pub(crate) health: Reminder,
    pub(crate) mend: Reminder,
    pub(crate) ledger: Reminder,
}

impl Process {
    pub(crate) fn new(
        sidecar: usize,
        medium: Arc<Mutex<Medium>>,
        fleet: Fleet,
        bug: Option<Bug>,
    ) -> Self {
        let now = clock::now();
        let (desk, dirty) = (Arc::new(Desk::new(fleet, bug)), Arc::<Dirty>::default());
        let shared = shared(fleet, desk.clone(), dirty.clone());
        let terms = Terms {
            command_timeout: COMMAND_TIMEOUT,
            needs_ledger: fleet.guarantee() == Guarantee::Strict,
            ..Terms::default()
        };
        let (machine, first) = Machine::start(now, terms);
        let (mode, reachable) = machine.shown();
        shared.board.show(mode, reachable);
        let start = Start {
            format: FORMAT,
            namespace: "simulation".into(),
            guarantee: fleet.guarantee(),
            upstream: "redis:1".into(),
            writer: format!("sidecar-{sidecar}").into(),
            at_ms: clock::unix_ms(),
        };
        Self {
            pid: clock::name(),
            is_paused: false,
            fleet,
            shared,
            flights: Flights::new(Duration::ZERO),
            conns: BTreeMap::new(),
            desk,
            store: Memory::new(medium),
            start,
            is_exchanging: false,
            has_read: false,
            ledger_at: None,
            dirty,
            nurse: Nurse::new(machine, first),
            mender: Mender::new(now),
            started: now,
            reminders: Reminders::default(),
            planned: None,
        }
    }

    /// True when clients are served: the ledger was read, and the mode had a moment.
    pub(crate) fn is_serving(&self) -> bool {
        let is_settled = self.nurse.machine.shown().0 != mode::Mode::Recovering;
        self.has_read && (is_settled || clock::now() >= self.started + FIRST_MODE)
    }

    /// A client has connected.
    pub(crate) fn accept(&mut self, conn: usize, client: usize) {
        let session = Session::new((conn, 1), format!("client-{client}").into());
        self.conns.insert(conn, Conn::new(session, client));
    }

    /// Runs a step of a session.
    pub(crate) fn with<T>(
        &mut self,
        conn: usize,
        step: impl FnOnce(&mut Session, &mut Cx<'_>) -> T,
    ) -> T {
        let conn = self.conns.get_mut(&conn).unwrap();
        let mut cx = Cx {
            now: clock::now(),
            worker: 0,
            shared: &self.shared,
            wires: &mut conn.io,
            flights: &mut self.flights,
        };
        step(&mut conn.session, &mut cx)
    }

    /// Acquires that waited for another: gives the connections that have moved.
    pub(crate) fn verdicts(&mut self) -> Vec<usize> {
        let mut moved = Vec::new();
        while let Some(((conn, _), verdict, question)) = self.flights.next_verdict() {
            let is_there = self.conns.contains_key(&conn);
            let is_taken = is_there && self.with(conn, |session, cx| session.verdict(verdict, cx));
            if !is_taken {
                self.flights.undelivered(verdict, &question, clock::now());
            }
            if is_there {
                moved.push(conn);
            }
        }
        moved
    }

    /// As `app::sweep`: ends holds of the `ttl` rule that have run out for longer than clocks may
    /// differ.
    pub(crate) fn sweep(&mut self) {
        let (now_ms, table) = (clock::unix_ms(), self.shared.table.clone());
        let skew_ms = u64::try_from(Timing::default().max_clock_skew.as_millis()).unwrap();
        let is_over = |_: &LockKey, record: &Record| {
            record.claim.is_some() && record.expires_at_ms.is_some_and(|at| at + skew_ms < now_ms)
        };
        let mut over = table.some_where(SWEPT, is_over);
        // The table has no order.
        over.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (key, record) in over {
            let Some(claim) = record.claim.filter(|_| !Door::is_releasing(&*self.desk, &key))
            else {
                continue;
            };
            let ask = Ask::Release(key.clone(), claim, Cause::Expired);
            if self.desk.submit(Asker::Nobody, vec![ask]).is_ok() {
                self.dirty.touch(key);
            }
        }
        table.forget_expired(now_ms);
    }

    /// What the ledger has to do now: an exchange to make.
    pub(crate) fn next_exchange(&mut self) -> Option<Arc<Vec<Row>>> {
        if self.is_exchanging {
            return None;
        }
        let mut books = self.desk.books();
        let books = &mut *books;
        match books.committer.next(&books.fold, books::now()) {
            Step::Exchange(rows) => {
                (self.is_exchanging, self.ledger_at) = (true, None);
                books.busy_since = Some(clock::now());
                Some(rows)
            }
            Step::Until(at) => {
                self.ledger_at = Some(at);
                None
            }
            Step::Wait | Step::Ended => None,
        }
    }

    /// Follows what an exchange has shown, as `ledger::thread::run` and `app::parts::Follower`.
    pub(crate) fn tell(&mut self, done: &Done) {
        let table = &self.shared.table;
        let confidence =
            |holder: &Holder| match holder.heard || done.living.contains(&holder.at.log) {
                true => Confidence::Held,
                false => Confidence::Unconfirmed,
            };
        if done.reset || !std::mem::replace(&mut self.has_read, true) {
            let mut holders = self.desk.books().fold.holders();
            holders.extend(done.undecided.iter().cloned());
            if self.desk.bug == Some(Bug::NoTable) {
                holders.clear();
            }
            table.replace(&holders, confidence);
            self.dirty.all_freed();
            return;
        }
        let mode = self.shared.board.view().mode;
        let looks = matches!(mode, mode::Mode::Healthy | mode::Mode::Recovering);
        for key in done.doubtful.iter().filter(|_| looks) {
            self.dirty.touch(key.clone());
        }
        for change in &done.changes {
            match change {
                Change::Held(holder) => {
                    self.desk.books().ever.push(Arc::<Holder>::clone(holder));
                    table.hold(holder, confidence(holder));
                }
                Change::Freed(key, claim) => {
                    table.free(key, *claim);
                    self.dirty.freed(key);
                }
            }
        }
        for (key, fence) in &done.over {
            table.free_unwritten(key, *fence);
            self.dirty.freed(key);
        }
        for holder in done.left.iter().chain(&done.found) {
            let Holder { claim, .. } = &**holder;
            table.set_confidence(&claim.key, &claim.stored, confidence(holder));
        }
        for holder in done.left.iter().filter(|_| looks) {
            self.dirty.touch(holder.claim.key.clone());
        }
    }
}

/// Which keys are locks.
pub(crate) fn rules(fleet: Fleet) -> Rules {
    let mode = if fleet == Fleet::Ttl { Mode::Ttl } else { Mode::Persistent };
    let rule = Rule::new("locks", vec![Glob::new(b"lock:*")]);
    Rules::new(vec![Rule { mode, default_ttl: DEFAULT_TTL, ..rule }])
}

/// Who may use locks while Redis can't be asked.
fn gate(fleet: Fleet, bug: Option<Bug>) -> Arc<dyn Gate> {
    match fleet {
        Fleet::Users if bug != Some(Bug::OpenGate) => {
            Arc::new(Doorman::in_memory(&[], &rules(fleet)).unwrap())
        }
        _ => Arc::new(Open),
    }
}

/// Where Redis counts fences (`fast`).
pub(crate) fn fence_counter() -> Vec<u8> {
    ledger::fence_counter("simulation")
}

fn shared(fleet: Fleet, desk: Arc<Desk>, dirty: Arc<Dirty>) -> Shared {
    Shared {
        fence_counter: fence_counter().into(),
        rules: rules(fleet),
        table: Arc::new(Table::new(1000)),
        scripts: Scripts::in_memory(Bounds { count: 10, bytes: 10_000 }),
        stamper: Stamper::new(TimeZone::UTC),
        clock: Clock { unix_ms: clock::unix_ms, random: clock::random },
        request_limits: Limits::default(),
        stream_above: 1 << 15,
        max_lock_value: 4096,
        max_captured: 1 << 20,
        max_computed_argument: 1 << 20,
        command_timeout: COMMAND_TIMEOUT,
        upstream: "redis:1".into(),
        started_ms: clock::unix_ms(),
        guarantee: fleet.guarantee(),
        board: Arc::<Board>::default(),
        history: Arc::<History>::default(),
        reports: Reports::default(),
        companions: Companions::new(degraded::Bounds::default()),
        gate: gate(fleet, desk.bug),
        door: desk.clone(),
        bell: Arc::new(Open),
        repairs: Arc::new(Menders(dirty, desk.clone())),
        locals: lockside::session::Locals::default(),
        replicas: lockside::session::Replicas::default(),
        acquire_timeout: Some(Duration::from_millis(1500)),
        release_wait: Duration::from_secs(2),
    }
}

/// Everybody may do everything, and nobody blocks on a companion.
struct Open;

impl Gate for Open {
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

impl Bell for Open {
    fn ring(&self, _: (usize, (usize, u32))) {}
}

/// As `app::parts::Menders`.
struct Menders(Arc<Dirty>, Arc<Desk>);

impl Repairs for Menders {
    fn touch(&self, key: &LockKey) {
        self.0.touch(key.clone());
    }
    fn touch_ended(&self, key: &LockKey, guard: Arc<[u8]>) {
        self.0.touch_ended(key.clone(), guard);
    }
    fn start_pass(&self) {
        self.0.ask_for_pass();
    }
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    fn is_due(&self, key: &LockKey) -> bool {
        self.0.contains(key)
    }
    fn is_unheard(&self, key: &LockKey) -> bool {
        let is_unheard = self.1.unheard.contains(key);
        if is_unheard {
            self.0.touch(key.clone());
        }
        is_unheard
    }
    fn any_is_due(&self) -> bool {
        !self.0.is_empty()
    }
    fn activity(&self) -> u64 {
        self.0.activity()
    }
    fn look_at_all(&self) {
        self.0.touch_all();
    }
}
