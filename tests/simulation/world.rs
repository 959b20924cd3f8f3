//! The simulated world: one queue of events in the order of simulated time, and everything that
//! events happen to. The same seed gives the same run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockside::ledger::Row;
use lockside::ledger::memory::Medium;
use lockside::ledger::store::{Seen, StoreError};

use crate::checks::Checks;
use crate::client::Client;
use crate::clock::{self, Rng};
use crate::process::books::Bug;
use crate::process::conn::Happened;
use crate::process::health::Pulse;
use crate::process::{Fleet, Process};
use crate::redis::{Redis, Start};

mod faults;
mod network;
mod sidecar;

pub(crate) use faults::{Fault, Mood, Point};
pub(crate) use sidecar::Reminder;

pub(crate) use network::words;

use network::Link;

/// A sidecar's place and the run of it that is meant.
pub(crate) type Side = (usize, u64);

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A link's first packet is at Redis.
    OpenAtRedis(u64),
    /// Bytes of a link are at Redis; none: its end.
    AtRedis(u64, Option<Vec<u8>>),
    LinkUp(u64),
    FromRedis(u64, Vec<u8>),
    LinkDown(u64, &'static str),
    /// Something for a connection of a process.
    Conn(Side, usize, Happened),
    /// Something of the health thread's, or the repair thread's own link.
    Pulse(Side, Pulse),
    Repair(Side, Pulse),
    /// The health thread, the repair thread, the ledger's thread look around.
    Health(Side),
    Mend(Side),
    Ledger(Side),
    OpenLog(Side),
    /// What has run out is ended.
    Sweep(Side),
    /// An exchange takes effect.
    Exchange(Side, Arc<Vec<Row>>),
    Exchanged(Side, Result<Seen, StoreError>),
    /// A write that was late arrives.
    Land,
    /// A client goes on, if nothing has happened to it since.
    Client(usize, u64),
    ToClient(usize, usize, Vec<u8>),
    ConnLost(usize, usize),
    Fault(Fault),
}

/// A place for a sidecar.
pub(crate) struct Slot {
    pub(crate) process: Option<Box<Process>>,
    /// What came while it was stopped.
    frozen: Vec<Event>,
    /// Nothing passes between it and Redis: this waits.
    hole: Option<Vec<Event>>,
    /// Its connections to Redis are reset, and new ones refused.
    is_cut: bool,
    mood: Mood,
    pub(crate) crash_at: Option<Point>,
    is_doomed: bool,
}

/// Everything.
pub(crate) struct World {
    now: Duration,
    numbers: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    pub(crate) rng: Rng,
    pub(crate) redis: Redis,
    links: BTreeMap<u64, Link>,
    pub(crate) medium: Arc<Mutex<Medium>>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) clients: Vec<Client>,
    pub(crate) checks: Checks,
    pub(crate) fleet: Fleet,
    pub(crate) bug: Option<Bug>,
    /// What happened, where somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
    /// No client begins anything new.
    pub(crate) is_closing: bool,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) steps: u64,
    /// Until then a repair of a sidecar that was behind may show.
    behind_until: Duration,
}

impl World {
    /// So many sidecars and clients, nothing begun.
    pub(crate) fn new(
        fleet: Fleet,
        seed: u64,
        sidecars: usize,
        clients: usize,
        keys: usize,
    ) -> Self {
        clock::reset(seed);
        let medium = if fleet.is_ordered() { Medium::ordered() } else { Medium::unordered() };
        let medium = Arc::new(Mutex::new(medium));
        let mut redis = Redis::default();
        redis.start(Start::Empty);
        redis.has_users = fleet == Fleet::Users;
        let slots = (0..sidecars).map(|_| Slot {
            process: None,
            frozen: Vec::new(),
            hole: None,
            is_cut: false,
            mood: Mood::Fast,
            crash_at: None,
            is_doomed: false,
        });
        let mut rng = Rng(seed);
        let clients = (0..clients).map(|id| Client::new(id, id % sidecars, rng.bits()));
        Self {
            now: Duration::ZERO,
            numbers: 0,
            queue: BTreeMap::new(),
            redis,
            links: BTreeMap::new(),
            checks: Checks::new(fleet, medium.clone()),
            medium,
            slots: slots.collect(),
            clients: clients.collect(),
            rng,
            fleet,
            bug: None,
            story: None,
            is_closing: false,
            keys: (0..keys).map(|key| format!("lock:{key}").into_bytes()).collect(),
            steps: 0,
            behind_until: Duration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Has this happen after so long.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.numbers += 1;
        self.queue.insert((at.max(self.now), self.numbers), event);
    }

    /// Writes a line of the story.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>10.4} {}", self.now.as_secs_f64(), line()));
        }
    }

    /// Lets time go on until then, or until something is wrong.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.checks.violation.is_none()
            && let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            clock::set(at);
            self.steps += 1;
            self.happen(event);
        }
        if self.checks.violation.is_none() {
            self.now = end;
            clock::set(end);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::OpenAtRedis(_)
            | Event::AtRedis(..)
            | Event::LinkUp(_)
            | Event::FromRedis(..)
            | Event::LinkDown(..) => self.pass_on(event),
            Event::Conn(side, ..)
            | Event::Pulse(side, _)
            | Event::Repair(side, _)
            | Event::Health(side)
            | Event::Mend(side)
            | Event::Ledger(side)
            | Event::OpenLog(side)
            | Event::Sweep(side)
            | Event::Exchange(side, _)
            | Event::Exchanged(side, _) => self.in_process(side, event),
            Event::Land => {
                self.medium.lock().unwrap().land();
                self.checks.read();
            }
            Event::Client(client, stamp) => self.client_wakes(client, stamp),
            Event::ToClient(client, conn, bytes) => self.client_reads(client, conn, &bytes),
            Event::ConnLost(client, conn) => self.client_lost(client, conn),
            Event::Fault(fault) => self.fault(fault),
        }
    }
}
