//! One client: takes, asks for and releases locks at random, as lock libraries do, and notes every
//! call. It never knows more than its replies say.

use std::io::ErrorKind;
use std::time::Duration;

use super::event::{Acquired, Moment, Released, Token, What};
use super::journal::Journal;
use super::random::Random;
use crate::support::words::encode;
use crate::support::{Client, PATIENCE, poll_for};

mod moves;
mod replies;

pub(crate) use moves::name;

/// How long a client waits for a reply before it says that none comes. Far above every time-out of
/// Lockside's, the client's own patience of other tests included.
const HANG: Duration = Duration::from_secs(20);
/// How often a client asks again for what it must know, a moment apart.
const MOST_TRIES: usize = 600;

/// What all players of a run do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    /// The TTL that clients ask for, in milliseconds.
    pub(crate) ttl: u64,
    /// Longest hold, in milliseconds.
    pub(crate) hold: u64,
    /// Acquires without a TTL, and releases by DEL, too.
    pub(crate) trusting: bool,
    /// What somebody sees of another's lock counts. Not so where there are several sidecars, one
    /// of which may not have heard of it yet.
    pub(crate) onlookers: bool,
    /// `LOCKSIDE FENCE` is asked for.
    pub(crate) fences: bool,
    /// How long, all in all.
    pub(crate) time: Duration,
}

/// One client.
pub(crate) struct Player<'a> {
    number: usize,
    port: u16,
    plan: Plan,
    journal: &'a Journal,
    random: Random,
    link: Option<Client>,
    tokens: u64,
}

/// What came back.
#[derive(Debug)]
enum Reply {
    Frame(String),
    /// The connection ended before a reply.
    Gone,
}

impl<'a> Player<'a> {
    pub(crate) fn new(
        number: usize,
        port: u16,
        plan: Plan,
        journal: &'a Journal,
        random: Random,
    ) -> Self {
        Self { number, port, plan, journal, random, link: None, tokens: 0 }
    }

    /// Plays until the journal ends. Half of what is held then stays held.
    pub(crate) fn play(mut self) {
        while !self.journal.is_over() {
            if self.random.chance(5) {
                self.link = None;
            }
            let key = usize::try_from(self.random.below(self.plan.keys as u64)).unwrap();
            match self.random.below(10) {
                0 => drop(self.look(key)),
                1 => self.vanish(key),
                _ => self.turn(key),
            }
            self.journal.pass(self.random.millis(0, 4));
        }
    }

    /// One acquire, and what follows from its answer.
    fn turn(&mut self, key: usize) {
        let token = self.token();
        let mut told = self.acquire(key, &token);
        let mut sure = true;
        if told == Acquired::Unknown && self.random.chance(50) {
            // As clients do whose connection broke: the same command again.
            sure = false;
            told = self.acquire(key, &token);
        }
        match told {
            Acquired::Granted => self.hold(key, &token, sure),
            Acquired::Unknown => self.journal.doubt(token),
            _ if !sure => self.journal.doubt(token),
            Acquired::Refused => self.clear_doubt(key),
            Acquired::Failed => {}
        }
    }

    fn hold(&mut self, key: usize, token: &Token, sure: bool) {
        for _ in 0..self.random.below(4) {
            self.ask_as_holder(key, token);
            let time = self.random.millis(0, self.plan.hold / 2 + 1);
            self.journal.pass(time);
        }
        if self.journal.is_over() && self.random.chance(50) {
            return;
        }
        self.release_for_good(key, token, sure);
    }

    /// Releases until the answer is certain. DEL takes whatever is there, so only who is sure to
    /// hold sends it, and only once.
    fn release_for_good(&mut self, key: usize, token: &Token, sure: bool) {
        let mut told = if sure && self.plan.trusting && self.random.chance(40) {
            self.release_by_del(key, token)
        } else if sure && self.random.chance(20) {
            self.release_by_exec(key, token)
        } else {
            self.release_by_script(key, token)
        };
        for _ in 0..MOST_TRIES {
            if matches!(told, Released::Done | Released::NotHeld) {
                return;
            }
            self.journal.pass(self.random.millis(5, 60));
            told = self.release_by_script(key, token);
        }
    }

    /// A lock that its client is not sure of is released by who finds it, as a person would.
    fn clear_doubt(&mut self, key: usize) {
        if !self.random.chance(30) {
            return;
        }
        if let Some(token) = self.look(key).filter(|token| self.journal.takes_over(token)) {
            self.release_for_good(key, &token, false);
        }
    }

    /// A token of one of the shapes that clients use: unique by itself, with a worker's id before
    /// it, or unique only to those who know.
    fn token(&mut self) -> Token {
        self.tokens += 1;
        let (number, count) = (self.number, self.tokens);
        let noise = self.random.next();
        let unique = format!("{noise:016x}{number:04}{count:012x}");
        match self.random.below(3) {
            0 => unique.into(),
            1 => format!("worker{number}:{unique}").into(),
            _ => format!("host-{number}-{count}").into(),
        }
    }

    fn note(&self, key: usize, called: Moment, how: &'static str, what: What) {
        self.journal.note(self.number, key, called, how, what);
    }

    /// Sends one command and reads its reply.
    fn ask(&mut self, key: usize, arguments: &[&str]) -> Reply {
        let mut replies = self.ask_all(key, &[arguments]);
        replies.pop().unwrap_or(Reply::Gone)
    }

    /// Sends commands in one write and reads their replies, up to the first that does not come.
    fn ask_all(&mut self, key: usize, commands: &[&[&str]]) -> Vec<Reply> {
        let called = self.journal.now();
        let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
        let mut link = self.link.take().unwrap_or_else(|| self.connect(key));
        if link.try_send(&bytes).is_err() {
            return vec![Reply::Gone];
        }
        let mut replies = Vec::new();
        for command in commands {
            match link.frame_within(HANG) {
                Ok(frame) => {
                    replies.push(Reply::Frame(String::from_utf8_lossy(&frame).into_owned()));
                }
                Err(error) => {
                    if error.kind() == ErrorKind::TimedOut {
                        self.note(key, called, "any", What::Hung(command.join(" ")));
                    }
                    replies.push(Reply::Gone);
                    return replies;
                }
            }
        }
        self.link = Some(link);
        replies
    }

    /// Connects, also while the server is starting again.
    fn connect(&mut self, key: usize) -> Client {
        loop {
            let mut client = poll_for("a connection", PATIENCE, || Client::attempt(self.port).ok());
            if !self.random.chance(50) {
                return client;
            }
            let called = self.journal.now();
            let greeted =
                client.try_send(&encode(&["HELLO", "3"])).and_then(|()| client.frame_within(HANG));
            match greeted {
                Ok(_) => return client,
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    self.note(key, called, "HELLO", What::Hung("HELLO 3".into()));
                }
                // It ended while the server did.
                Err(_) => {}
            }
        }
    }
}
