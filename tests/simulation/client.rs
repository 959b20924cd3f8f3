//! A user of locks: takes one or several with a token of its own (`forms` says in which words), holds
//! them, looks whether it still has them, extends and releases them; loses patience, vanishes, and
//! does not lose what it can find out.

use std::collections::BTreeSet;
use std::time::Duration;

use lockside::resp::encode;
use lockside::resp::reply::Reply;

use crate::clock::{self, Rng};
use crate::process::conn::Happened;
use crate::process::{DEFAULT_TTL, Fleet};
use crate::world::{Event, Point, Side, World};

mod forms;
mod line;
mod replies;

use forms::{Form, Told};

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing, until it wakes.
    Idle,
    /// It will ask again with the same token.
    Retrying,
    /// It will find out whether it has the lock, and release it.
    Resolving,
    Holding,
    /// It holds its lock to the end.
    Keeping,
    /// These wait for a reply.
    Acquiring,
    Checking,
    Extending,
    /// By a script: all that it holds.
    Releasing,
    /// The same for a lock of which it does not know whether it has it.
    Dropping,
    Watching,
    Getting,
    Deleting,
    TakingOut,
    Executing,
}

/// Its connection.
#[derive(Debug, Clone, Copy)]
struct Line {
    id: usize,
    side: Side,
    /// It has said who it is, where that is asked.
    is_known: bool,
}

/// Who it is, where that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// May use locks.
    Worker,
    /// May not.
    Guest,
    /// Takes itself for a worker, and does not know the password.
    Stranger,
}

/// A lock that is not the one in hand.
#[derive(Debug, Clone)]
struct Other {
    key: Vec<u8>,
    /// It was told OK; else it can't tell.
    holds: bool,
    /// When it runs out.
    until: Duration,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    id: usize,
    home: usize,
    rng: Rng,
    /// Counts what it does: an earlier alarm is none.
    stamp: u64,
    line: Option<Line>,
    /// Bytes stay in order.
    to_at: Duration,
    from_at: Duration,
    pub(crate) doing: Doing,
    form: Form,
    /// The lock in hand.
    pub(crate) key: Vec<u8>,
    /// The others, with the same token.
    others: Vec<Other>,
    role: Role,
    /// When the lock in hand runs out.
    until: Duration,
    /// What it asks for (`ttl` rules).
    ttl: Duration,
    /// When it sent its last command...
    sent: Duration,
    /// ...and what is told of it may be old.
    is_behind: bool,
    token: String,
    /// It was told OK and has sent no release.
    holds: bool,
    tries: u32,
    /// How many replies are to come.
    expects: usize,
    /// What the sidecar has written of them...
    told: Vec<u8>,
    /// ...and what has arrived.
    input: Vec<u8>,
    /// Connections whose last words are lost.
    lost: BTreeSet<usize>,
}

/// Of a lock that does not run out.
const FOREVER: Duration = Duration::MAX;
/// How often it tries to find out what became of its lock.
const TRIES: u32 = 40;

impl Client {
    pub(crate) fn new(id: usize, home: usize, seed: u64) -> Self {
        Self {
            id,
            home,
            rng: Rng(seed),
            stamp: 0,
            line: None,
            to_at: Duration::ZERO,
            from_at: Duration::ZERO,
            doing: Doing::Idle,
            form: Form::Set,
            key: Vec::new(),
            others: Vec::new(),
            role: [Role::Worker, Role::Guest, Role::Worker, Role::Stranger][id % 4],
            until: FOREVER,
            ttl: Duration::from_secs(30),
            sent: Duration::ZERO,
            is_behind: false,
            token: String::new(),
            holds: false,
            tries: 0,
            expects: 1,
            told: Vec::new(),
            input: Vec::new(),
            lost: BTreeSet::new(),
        }
    }

    /// What was sent on this connection does not arrive.
    pub(crate) fn loses(&mut self, conn: usize) {
        self.lost.insert(conn);
    }

    /// True when it wants nothing more by itself.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.doing, Doing::Idle | Doing::Keeping)
    }

    /// All its locks.
    fn keys(&self) -> Vec<Vec<u8>> {
        let others = self.others.iter().map(|other| &other.key);
        std::iter::once(&self.key).chain(others).cloned().collect()
    }

    /// When what it asks for runs out, to the milliseconds of a clock.
    fn runs_out_at(&self) -> Duration {
        (self.sent + self.ttl).saturating_sub(Duration::from_millis(5))
    }

    /// True if it holds all of them.
    fn holds_all(&self) -> bool {
        self.holds && self.others.iter().all(|other| other.holds)
    }

    /// Which other keys it asks for together with the one in hand.
    fn choose_others(&mut self, keys: &[Vec<u8>]) {
        self.others.clear();
        if !self.rng.percent(30) {
            return;
        }
        for _ in 0..1 + self.rng.below(2) {
            let key = self.rng.pick(keys).clone();
            if !self.keys().contains(&key) {
                self.others.push(Other { key, holds: false, until: FOREVER });
            }
        }
    }

    fn new_token(&mut self) -> String {
        let (one, two) = (self.rng.bits(), self.rng.bits());
        let uuid = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            one >> 32,
            one >> 16 & 0xffff,
            one & 0xffff,
            two >> 48,
            two & 0xffff_ffff_ffff
        );
        if self.rng.percent(30) { format!("w{}:{uuid}", self.id) } else { uuid }
    }
}

impl World {
    /// Wakes a client after so long, to go on with `doing`.
    fn rest(&mut self, client: usize, doing: Doing, delay: Duration) {
        let state = &mut self.clients[client];
        state.stamp += 1;
        state.doing = doing;
        let stamp = state.stamp;
        self.after(delay, Event::Client(client, stamp));
    }

    /// Sets a client going.
    pub(crate) fn wake(&mut self, client: usize) {
        let delay = self.clients[client].rng.millis(0, 300);
        self.rest(client, Doing::Idle, delay);
    }

    /// All who have nothing to do come now, for one key.
    pub(crate) fn rush(&mut self) {
        let key = self.keys[0].clone();
        for client in 0..self.clients.len() {
            if self.clients[client].doing == Doing::Idle {
                self.clients[client].key = key.clone();
                let delay = self.clients[client].rng.micros(0, 1500);
                self.rest(client, Doing::Idle, delay);
            }
        }
    }

    pub(crate) fn client_wakes(&mut self, id: usize, stamp: u64) {
        if self.clients[id].stamp != stamp {
            return;
        }
        match self.clients[id].doing {
            Doing::Idle if self.is_closing => {}
            Doing::Idle => self.begin(id),
            Doing::Retrying => self.acquire(id),
            Doing::Resolving => self.resolve(id),
            Doing::Holding => self.go_on_holding(id),
            Doing::Keeping => {}
            _ => {
                // Its patience has ended.
                let is_dead = self.clients[id].rng.percent(50);
                self.hang_up(id, is_dead);
                self.line_lost(id);
            }
        }
    }

    fn begin(&mut self, id: usize) {
        let token = self.clients[id].new_token();
        let keys = self.keys.len() as u64;
        let client = &mut self.clients[id];
        (client.token, client.holds, client.tries) = (token, false, 0);
        if client.key.is_empty() {
            let key = usize::try_from(client.rng.below(keys)).unwrap();
            client.key = self.keys[key].clone();
        }
        client.choose_others(&self.keys);
        if self.fleet == Fleet::Ttl {
            client.ttl = client.rng.millis(300, 3000);
        }
        client.form = Form::draw(&mut client.rng, 1 + client.others.len());
        if self.fleet == Fleet::Ttl && client.form == Form::Msetnx {
            client.ttl = DEFAULT_TTL;
        }
        self.acquire(id);
    }

    fn acquire(&mut self, id: usize) {
        let knows = self.clients[id].rng.percent(50);
        self.acquire_by(id, knows);
    }

    /// `knows`: a script is named by its SHA1.
    fn acquire_by(&mut self, id: usize, knows: bool) {
        if !self.connect(id) {
            let doing = self.clients[id].doing;
            return self.rest(id, doing, Duration::from_millis(150));
        }
        let client = &mut self.clients[id];
        let (form, keys) = (client.form, client.keys());
        let ttl = u64::try_from(client.ttl.as_millis()).unwrap();
        let commands = form.commands(&keys, &client.token, ttl, knows, &mut client.rng);
        self.ask(id, Doing::Acquiring, &commands);
    }

    /// The connection has ended.
    pub(crate) fn client_lost(&mut self, id: usize, conn: usize) {
        let client = &mut self.clients[id];
        if client.line.is_some_and(|line| line.id == conn) {
            client.line = None;
            self.note(|| format!("client {id}: lost its connection"));
            self.line_lost(id);
        }
    }

    fn line_lost(&mut self, id: usize) {
        let holds = self.clients[id].holds;
        let soon = self.clients[id].rng.millis(1, 100);
        match self.clients[id].doing {
            Doing::Idle | Doing::Retrying | Doing::Resolving | Doing::Holding | Doing::Keeping => {}
            Doing::Acquiring => self.acquire_unknown(id),
            Doing::Checking | Doing::Extending | Doing::Watching | Doing::Getting if holds => {
                self.rest(id, Doing::Holding, soon);
            }
            // It may still arrive, and deletes what stands there then, as in any Redis: who has let
            // it go leaves the lock alone.
            Doing::Deleting | Doing::TakingOut => self.next_lock(id, soon * 5),
            _ => self.rest(id, Doing::Resolving, soon),
        }
    }

    /// Nobody has said whether the locks are its own.
    fn acquire_unknown(&mut self, id: usize) {
        let client = &mut self.clients[id];
        for key in client.keys() {
            self.checks.is_unknown(&key, &client.token);
        }
        client.tries += 1;
        let soon = client.rng.millis(1, 200);
        // A script that finds its own token says no, as in any Redis.
        let again = client.form == Form::Set && client.rng.percent(50) && client.tries < 4;
        self.rest(id, if again { Doing::Retrying } else { Doing::Resolving }, soon);
    }

    /// It is through with the lock in hand: the next one, or some time of nothing.
    fn next_lock(&mut self, id: usize, delay: Duration) {
        let client = &mut self.clients[id];
        client.holds = false;
        let Some(other) = client.others.pop() else {
            client.key.clear();
            return self.rest(id, Doing::Idle, delay);
        };
        (client.key, client.holds, client.until) = (other.key, other.holds, other.until);
        client.tries = 0;
        let doing = if client.holds { Doing::Holding } else { Doing::Resolving };
        self.rest(id, doing, delay);
    }

    fn resolve(&mut self, id: usize) {
        self.clients[id].tries += 1;
        if self.clients[id].tries > TRIES {
            return self.next_lock(id, Duration::from_millis(500));
        }
        match self.clients[id].rng.percent(30) {
            true => self.run_script(id, Doing::Dropping, forms::RELEASE),
            false => self.watch(id),
        }
    }

    /// A script on the lock in hand, or on all that it holds.
    fn run_script(&mut self, id: usize, doing: Doing, text: &'static str) {
        let knows = self.clients[id].rng.percent(50);
        self.run_script_by(id, doing, text, knows);
    }

    fn run_script_by(&mut self, id: usize, doing: Doing, text: &'static str, knows: bool) {
        if !self.connect(id) {
            let now = if self.clients[id].holds { Doing::Holding } else { Doing::Resolving };
            return self.rest(id, now, Duration::from_millis(150));
        }
        let client = &self.clients[id];
        let keys = match doing {
            Doing::Releasing => client.keys(),
            _ => vec![client.key.clone()],
        };
        let more = client.ttl.as_millis().to_string();
        let more = (doing == Doing::Extending).then_some(more.as_str());
        let args: Vec<&str> = std::iter::once(&*client.token).chain(more).collect();
        let command = forms::script(text, &keys, &args, knows);
        self.ask(id, doing, &[command]);
    }

    fn watch(&mut self, id: usize) {
        if !self.connect(id) {
            let doing = self.clients[id].doing;
            return self.rest(id, doing, Duration::from_millis(150));
        }
        let key = self.clients[id].key.clone();
        self.ask_one(id, Doing::Watching, &[b"WATCH", &key]);
    }

    fn go_on_holding(&mut self, id: usize) {
        if self.now() >= self.clients[id].until && self.clients[id].rng.percent(70) {
            self.checks.count("ran out");
            let pause = self.clients[id].rng.millis(0, 300);
            return self.next_lock(id, pause);
        }
        if self.is_closing && self.clients[id].rng.percent(40) {
            self.clients[id].doing = Doing::Keeping;
            return;
        }
        if !self.is_closing && self.clients[id].rng.percent(3) && self.may_vanish() {
            // It holds its lock for ever, and somebody else comes in its place.
            self.checks.count("vanished");
            self.hang_up(id, true);
            self.clients[id].key.clear();
            self.clients[id].others.clear();
            return self.rest(id, Doing::Idle, Duration::from_millis(300));
        }
        if self.fleet == Fleet::Strict && self.clients[id].rng.percent(20) {
            self.move_on(id);
        }
        if !self.connect(id) {
            return self.rest(id, Doing::Holding, Duration::from_millis(150));
        }
        let key = self.clients[id].key.clone();
        // Two may hold a lock of a fast fleet, and one may run out: who deletes it without a look
        // deletes another's.
        let is_careful = self.fleet.is_fast() || self.fleet == Fleet::Ttl;
        match self.clients[id].rng.below(14) {
            3..=6 if is_careful => self.watch(id),
            0..=2 => self.ask_one(id, Doing::Checking, &[b"GET", &key]),
            3..=5 => {
                self.send_release(id);
                self.ask_one(id, Doing::Deleting, &[b"DEL", &key]);
            }
            6 => {
                self.send_release(id);
                self.ask_one(id, Doing::TakingOut, &[b"GETDEL", &key]);
            }
            7 | 8 => self.run_script(id, Doing::Extending, forms::extend(self.fleet)),
            9..=11 if self.clients[id].holds_all() => {
                self.send_all_releases(id);
                self.run_script(id, Doing::Releasing, forms::RELEASE);
            }
            _ => self.watch(id),
        }
    }

    fn may_vanish(&mut self) -> bool {
        let vanished = self.checks.counts.get("vanished").copied().unwrap_or_default();
        vanished < self.keys.len() as u64 / 2
    }

    fn send_release(&mut self, id: usize) {
        let client = &mut self.clients[id];
        client.holds = false;
        self.checks.release_sent(&client.key, &client.token);
    }

    fn send_all_releases(&mut self, id: usize) {
        self.send_release(id);
        let client = &mut self.clients[id];
        for other in &mut client.others {
            other.holds = false;
            self.checks.release_sent(&other.key, &client.token);
        }
    }
}
