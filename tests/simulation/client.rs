//! A user of locks: takes one by `SET NX` with a token of its own, holds it, looks whether it still
//! has it, releases it; loses patience, vanishes, and does not lose what it can find out.

use std::collections::BTreeSet;
use std::time::Duration;

use lockside::resp::encode;
use lockside::resp::reply::Reply;

use crate::clock::{self, Rng};
use crate::process::conn::Happened;
use crate::world::{Event, Point, Side, World};

mod replies;

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
    pub(crate) key: Vec<u8>,
    token: String,
    /// It was told OK and has sent no release.
    holds: bool,
    tries: u32,
    input: Vec<u8>,
    /// Connections whose last words are lost.
    lost: BTreeSet<usize>,
}

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
            key: Vec::new(),
            token: String::new(),
            holds: false,
            tries: 0,
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
        self.acquire(id);
    }

    fn acquire(&mut self, id: usize) {
        if !self.connect(id) {
            let doing = self.clients[id].doing;
            return self.rest(id, doing, Duration::from_millis(150));
        }
        let client = &mut self.clients[id];
        let form = client.rng.below(3);
        let (key, token) = (client.key.clone(), client.token.clone());
        let mut words: Vec<&[u8]> = vec![b"SET", &key, token.as_bytes(), b"NX"];
        match form {
            0 => words.extend([b"PX".as_slice(), b"30000"]),
            1 => words.extend([b"EX".as_slice(), b"30"]),
            _ => {}
        }
        self.ask(id, Doing::Acquiring, &[&words]);
    }

    /// A connection to a sidecar that serves; the one at home, if that does.
    fn connect(&mut self, id: usize) -> bool {
        if self.clients[id].line.is_some() {
            return true;
        }
        let count = self.slots.len();
        let client = &mut self.clients[id];
        let first = match client.rng.percent(80) {
            true => client.home,
            false => usize::try_from(client.rng.below(count as u64)).unwrap(),
        };
        let order = (0..count).map(|step| (first + step) % count);
        let mut serving = order.filter(|sidecar| {
            self.slots[*sidecar].process.as_ref().is_some_and(|process| process.is_serving())
        });
        let Some(sidecar) = serving.next() else { return false };
        let Some(process) = &mut self.slots[sidecar].process else { return false };
        let conn = usize::try_from(clock::name()).unwrap();
        process.accept(conn, id);
        let line = Line { id: conn, side: (sidecar, process.pid) };
        self.clients[id].line = Some(line);
        self.clients[id].input.clear();
        true
    }

    /// Sends commands, and waits for the reply to the last.
    fn ask(&mut self, id: usize, doing: Doing, commands: &[&[&[u8]]]) {
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| encode::command(&mut bytes, words));
        self.note(|| format!("client {id}: {doing:?} {}", crate::world::words(&bytes)));
        let now = self.now();
        let client = &mut self.clients[id];
        let Some(line) = client.line else { return };
        let is_hasty = client.rng.percent(4);
        let patience = match is_hasty {
            true => client.rng.millis(0, 6),
            false => client.rng.millis(3000, 15_000),
        };
        client.to_at = client.to_at.max(now + client.rng.micros(20, 200));
        let at = client.to_at;
        if is_hasty && client.rng.percent(50) {
            // It does not even read.
            let process = &mut self.slots[line.side.0].process;
            let process = process.as_mut().filter(|process| process.pid == line.side.1);
            if let Some(conn) = process.and_then(|process| process.conns.get_mut(&line.id)) {
                conn.io.is_stuck = true;
            }
        }
        self.at(at, Event::Conn(line.side, line.id, Happened::FromClient(bytes)));
        self.rest(id, doing, patience);
    }

    fn hang_up(&mut self, id: usize, is_dead: bool) {
        self.note(|| format!("client {id}: hangs up"));
        let client = &mut self.clients[id];
        if let Some(line) = client.line.take() {
            let at = client.to_at.max(clock::now());
            self.at(at, Event::Conn(line.side, line.id, Happened::ClientGone(is_dead)));
        }
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
            Doing::Checking | Doing::Watching | Doing::Getting if holds => {
                self.rest(id, Doing::Holding, soon);
            }
            // It may still arrive, and deletes what stands there then, as in any Redis: who has let
            // it go leaves the lock alone.
            Doing::Deleting | Doing::TakingOut => {
                self.clients[id].key.clear();
                self.rest(id, Doing::Idle, soon * 5);
            }
            _ => self.rest(id, Doing::Resolving, soon),
        }
    }

    /// Nobody has said whether the lock is its own.
    fn acquire_unknown(&mut self, id: usize) {
        let token = self.clients[id].token.clone();
        self.checks.is_unknown(&token);
        let client = &mut self.clients[id];
        client.tries += 1;
        let soon = client.rng.millis(1, 200);
        let again = client.rng.percent(50) && client.tries < 4;
        self.rest(id, if again { Doing::Retrying } else { Doing::Resolving }, soon);
    }

    fn resolve(&mut self, id: usize) {
        self.clients[id].tries += 1;
        if self.clients[id].tries > TRIES {
            self.clients[id].key.clear();
            return self.rest(id, Doing::Idle, Duration::from_millis(500));
        }
        self.watch(id);
    }

    fn watch(&mut self, id: usize) {
        if !self.connect(id) {
            let doing = self.clients[id].doing;
            return self.rest(id, doing, Duration::from_millis(150));
        }
        let key = self.clients[id].key.clone();
        self.ask(id, Doing::Watching, &[&[b"WATCH", &key]]);
    }

    fn go_on_holding(&mut self, id: usize) {
        if self.is_closing && self.clients[id].rng.percent(40) {
            self.clients[id].doing = Doing::Keeping;
            return;
        }
        if !self.is_closing && self.clients[id].rng.percent(3) && self.may_vanish() {
            // It holds its lock for ever, and somebody else comes in its place.
            self.checks.count("vanished");
            self.hang_up(id, true);
            self.clients[id].key.clear();
            return self.rest(id, Doing::Idle, Duration::from_millis(300));
        }
        if !self.connect(id) {
            return self.rest(id, Doing::Holding, Duration::from_millis(150));
        }
        let key = self.clients[id].key.clone();
        match self.clients[id].rng.below(10) {
            0..=2 => self.ask(id, Doing::Checking, &[&[b"GET", &key]]),
            3..=5 => {
                self.send_release(id);
                self.ask(id, Doing::Deleting, &[&[b"DEL", &key]]);
            }
            6 => {
                self.send_release(id);
                self.ask(id, Doing::TakingOut, &[&[b"GETDEL", &key]]);
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

    /// A sidecar writes to a client.
    pub(crate) fn send_to_client(&mut self, side: Side, id: usize, conn: usize, bytes: Vec<u8>) {
        let now = self.now();
        let client = &mut self.clients[id];
        let is_its = client.line.is_some_and(|line| line.id == conn);
        client.from_at = client.from_at.max(now + client.rng.micros(20, 200));
        let at = client.from_at;
        if is_its && client.doing == Doing::Acquiring && bytes == b"+OK\r\n" {
            let (key, token) = (client.key.clone(), client.token.clone());
            self.checks.ok_written(id, &key, &token);
            self.at_point(side.0, Point::AfterAnswer);
        }
        self.at(at, Event::ToClient(id, conn, bytes));
    }

    /// Bytes of a sidecar.
    pub(crate) fn client_reads(&mut self, id: usize, conn: usize, bytes: &[u8]) {
        let client = &mut self.clients[id];
        if client.line.is_none_or(|line| line.id != conn) || client.lost.contains(&conn) {
            return;
        }
        client.input.extend_from_slice(bytes);
        let expected = if client.doing == Doing::Executing { 3 } else { 1 };
        let input = client.input.clone();
        let (mut replies, mut rest) = (Vec::new(), input.as_slice());
        while let Some((reply, len)) = Reply::parse(rest) {
            replies.push(reply);
            rest = &rest[len..];
        }
        if replies.len() < expected {
            return;
        }
        assert_eq!((replies.len(), rest.len()), (expected, 0), "client {id} in {:?}", client.doing);
        client.input.clear();
        self.note(|| format!("client {id}: is told {}", crate::world::words(&input)));
        self.reply(id, &replies[expected - 1]);
    }
}
