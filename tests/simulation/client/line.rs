//! A client's connection: to which sidecar, what it sends, what it reads.

use super::*;
use crate::redis::PASSWORD;

impl Client {
    /// AUTH, on a connection on which it is wanted.
    fn greeting(&mut self) -> Option<Vec<Vec<u8>>> {
        let line = self.line.as_mut().filter(|line| !line.is_known)?;
        line.is_known = true;
        let (user, password) = match self.role {
            Role::Worker => ("worker", PASSWORD),
            Role::Guest => ("guest", PASSWORD),
            Role::Stranger => ("worker", "guessed"),
        };
        Some([&b"AUTH"[..], user.as_bytes(), password.as_bytes()].map(<[u8]>::to_vec).to_vec())
    }
}

impl World {
    /// A connection to a sidecar that serves; the one at home, if that does.
    pub(super) fn connect(&mut self, id: usize) -> bool {
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
        let is_known = self.fleet != Fleet::Users;
        let line = Line { id: conn, side: (sidecar, process.pid), is_known };
        self.clients[id].line = Some(line);
        self.clients[id].input.clear();
        true
    }

    /// Sends one command, and waits for its reply.
    pub(super) fn ask_one(&mut self, id: usize, doing: Doing, words: &[&[u8]]) {
        self.ask(id, doing, &[words.iter().map(|word| word.to_vec()).collect()]);
    }

    /// Sends commands, and waits for the reply to the last.
    pub(super) fn ask(&mut self, id: usize, doing: Doing, commands: &[Vec<Vec<u8>>]) {
        let greeting = self.clients[id].greeting();
        let mut bytes = Vec::new();
        for words in greeting.iter().chain(commands) {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            encode::command(&mut bytes, &words);
        }
        self.note(|| format!("client {id}: {doing:?} {}", crate::world::words(&bytes)));
        let now = self.now();
        let keys = self.clients[id].keys();
        let is_behind = keys.iter().any(|key| self.may_be_behind(key));
        let client = &mut self.clients[id];
        let Some(line) = client.line else { return };
        client.expects = greeting.iter().len() + commands.len();
        (client.sent, client.is_behind) = (now, is_behind);
        client.told.clear();
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

    pub(super) fn hang_up(&mut self, id: usize, is_dead: bool) {
        self.note(|| format!("client {id}: hangs up"));
        let client = &mut self.clients[id];
        if let Some(line) = client.line.take() {
            let at = client.to_at.max(clock::now());
            self.at(at, Event::Conn(line.side, line.id, Happened::ClientGone(is_dead)));
        }
    }

    /// It goes on through the next sidecar, which may not have read yet what it holds.
    pub(super) fn move_on(&mut self, id: usize) {
        self.hang_up(id, false);
        let client = &mut self.clients[id];
        client.home = (client.home + 1) % self.slots.len();
    }

    /// A sidecar writes to a client.
    pub(crate) fn send_to_client(&mut self, side: Side, id: usize, conn: usize, bytes: Vec<u8>) {
        let now = self.now();
        let client = &mut self.clients[id];
        let is_its = client.line.is_some_and(|line| line.id == conn);
        client.from_at = client.from_at.max(now + client.rng.micros(20, 200));
        let at = client.from_at;
        if is_its && client.doing == Doing::Acquiring {
            client.told.extend_from_slice(&bytes);
            self.acquire_answered(side, id);
        }
        self.at(at, Event::ToClient(id, conn, bytes));
    }

    /// The sidecar may have said now which locks are the client's.
    fn acquire_answered(&mut self, side: Side, id: usize) {
        let client = &self.clients[id];
        let (replies, _) = replies(&client.told);
        if replies.len() != client.expects {
            return;
        }
        let keys = client.keys();
        let told = client.form.read(keys.len(), &replies);
        let (token, until) = (client.token.clone(), client.runs_out_at());
        if self.fleet == Fleet::Ttl && self.now() >= until {
            // It has run out before its client hears of it.
            return;
        }
        let may = self.fleet != Fleet::Users || client.role == Role::Worker;
        if told.contains(&Told::Granted) && !may {
            let role = client.role;
            self.checks.fail(format!("client {id}, a {role:?}, is told OK"));
        }
        let mut is_granted = false;
        for (key, told) in keys.iter().zip(told) {
            if told == Told::Granted {
                is_granted = true;
                self.checks.ok_written(id, key, &token, side.1);
            }
        }
        if is_granted {
            self.at_point(side.0, Point::AfterAnswer);
        }
    }

    /// Bytes of a sidecar.
    pub(crate) fn client_reads(&mut self, id: usize, conn: usize, bytes: &[u8]) {
        let client = &mut self.clients[id];
        if client.line.is_none_or(|line| line.id != conn) || client.lost.contains(&conn) {
            return;
        }
        client.input.extend_from_slice(bytes);
        let expected = client.expects;
        let input = client.input.clone();
        let (replies, rest) = replies(&input);
        if replies.len() < expected {
            return;
        }
        assert_eq!((replies.len(), rest), (expected, 0), "client {id} in {:?}", client.doing);
        client.input.clear();
        self.note(|| format!("client {id}: is told {}", crate::world::words(&input)));
        self.reply(id, &replies);
    }
}

/// The whole replies at the start of what was read, and how much is behind them.
fn replies(mut bytes: &[u8]) -> (Vec<Reply<'_>>, usize) {
    let mut replies = Vec::new();
    while let Some((reply, len)) = Reply::parse(bytes) {
        replies.push(reply);
        bytes = &bytes[len..];
    }
    (replies, bytes.len())
}
