//! The moves of a client: every way to acquire, ask and release that lock libraries use.

use super::replies::{acquired, extended, is_not_done, number, released, seen};
use super::{Player, Reply};
use crate::history::event::{Acquired, Released, Token, What};
use crate::support::locks::{EXTEND, RELEASE as GIVE};
use crate::support::words::encode;

/// As node-redlock takes its lock.
const TAKE: &str = "for i, key in ipairs(KEYS) do if redis.call(\"exists\", key) == 1 then \
    return 0 end end for i, key in ipairs(KEYS) do \
    redis.call(\"set\", key, ARGV[1], \"PX\", ARGV[2]) end return #KEYS";
/// The ways to acquire, for people.
const ACQUIRES: [&str; 7] =
    ["EVALSHA", "EVAL", "EXEC", "SET PX NX", "set EX nx", "SET NX", "SETNX"];
/// The ways to ask as a holder, for people.
const ASKS: [&str; 6] = ["extend script", "PEXPIRE", "PTTL", "GET", "GET", "FENCE"];
/// The name of a lock.
pub(crate) fn name(key: usize) -> String {
    format!("lock:h{key}")
}

impl Player<'_> {
    /// One acquire, by a form that a library uses.
    pub(super) fn acquire(&mut self, key: usize, token: &Token) -> Acquired {
        let (name, ttl) = (name(key), self.plan.ttl.to_string());
        let seconds = self.plan.ttl.div_ceil(1000).to_string();
        let forms = if self.plan.trusting { 7 } else { 4 };
        let form = self.random.below(forms);
        let called = self.journal.now();
        let reply = match form {
            0 => self.script(key, TAKE, &[&name, token, &ttl]),
            1 => self.ask(key, &["EVAL", TAKE, "1", &name, token, &ttl]),
            2 => self.acquire_by_exec(key, &["SET", &name, token, "NX", "PX", &ttl]),
            3 => self.ask(key, &["SET", &name, token, "PX", &ttl, "NX"]),
            4 => self.ask(key, &["set", &name, token, "EX", &seconds, "nx"]),
            5 => self.ask(key, &["SET", &name, token, "NX"]),
            _ => self.ask(key, &["SETNX", &name, token]),
        };
        let how = ACQUIRES[usize::try_from(form).unwrap()];
        let told = acquired(&reply).unwrap_or_else(|odd| {
            self.note(key, called, how, What::Odd(odd));
            Acquired::Unknown
        });
        self.note(key, called, how, What::Acquire(token.clone(), told));
        told
    }

    fn acquire_by_exec(&mut self, key: usize, acquire: &[&str]) -> Reply {
        let mut replies = self.ask_all(key, &[&["MULTI"], acquire, &["EXEC"]]);
        replies.pop().unwrap_or(Reply::Gone)
    }

    /// Sends an acquire and closes without waiting for the reply.
    pub(super) fn vanish(&mut self, key: usize) {
        let (token, called) = (self.token(), self.journal.now());
        let ttl = self.plan.ttl.to_string();
        let mut link = self.link.take().unwrap_or_else(|| self.connect(key));
        // Not sent is as unknown as sent.
        let _ = link.try_send(&encode(&["SET", &name(key), &token, "NX", "PX", &ttl]));
        drop(link);
        self.note(key, called, "vanish", What::Acquire(token.clone(), Acquired::Unknown));
        self.journal.doubt(token);
    }

    /// Reads the key as anybody can.
    pub(super) fn look(&mut self, key: usize) -> Option<Token> {
        let called = self.journal.now();
        let what = seen(&self.ask(key, &["GET", &name(key)]))?;
        if self.plan.onlookers {
            self.note(key, called, "GET", what.clone());
        }
        match what {
            What::Saw(token) => token,
            _ => None,
        }
    }

    /// The holder asks for its lock, by its token or by its being there.
    pub(super) fn ask_as_holder(&mut self, key: usize, token: &Token) {
        let (name, ttl) = (name(key), self.plan.ttl.to_string());
        let called = self.journal.now();
        let way = self.random.below(if self.plan.fences { 6 } else { 5 });
        let what = match way {
            0 => extended(&self.script(key, EXTEND, &[&name, token, &ttl]), token),
            1 => extended(&self.ask(key, &["PEXPIRE", &name, &ttl]), token).map(|what| {
                if what == What::NotMine(token.clone()) { What::Saw(None) } else { what }
            }),
            2 => (number(&self.ask(key, &["PTTL", &name])) == Some(-2)).then_some(What::Saw(None)),
            5 => {
                let fence = number(&self.ask(key, &["LOCKSIDE", "FENCE", &name]));
                let fence = fence.and_then(|fence| u64::try_from(fence).ok());
                fence.map(|fence| What::Fence(token.clone(), fence))
            }
            _ => seen(&self.ask(key, &["GET", &name])),
        };
        if let Some(what) = what {
            self.note(key, called, ASKS[usize::try_from(way).unwrap()], what);
        }
    }

    pub(super) fn release_by_script(&mut self, key: usize, token: &Token) -> Released {
        let called = self.journal.now();
        let name = name(key);
        let reply = if self.random.chance(50) {
            self.script(key, GIVE, &[&name, token])
        } else {
            self.ask(key, &["EVAL", GIVE, "1", &name, token])
        };
        self.note_release(key, (called, "script"), token, &reply)
    }

    pub(super) fn release_by_del(&mut self, key: usize, token: &Token) -> Released {
        let called = self.journal.now();
        let command = self.random.pick(&["DEL", "UNLINK", "del"]);
        let reply = self.ask(key, &[command, &name(key)]);
        self.note_release(key, (called, "DEL"), token, &reply)
    }

    /// As StackExchange.Redis releases. Only EXEC may release; a lock that is not its own it lets
    /// be.
    pub(super) fn release_by_exec(&mut self, key: usize, token: &Token) -> Released {
        let name = name(key);
        let watched = matches!(self.ask(key, &["WATCH", &name]), Reply::Frame(f) if f == "+OK\r\n");
        let called = self.journal.now();
        let mine = watched.then(|| seen(&self.ask(key, &["GET", &name]))).flatten();
        if let Some(what) = &mine {
            self.note(key, called, "GET behind WATCH", what.clone());
        }
        if mine != Some(What::Saw(Some(token.clone()))) {
            self.link = None;
            return Released::Failed;
        }
        let called = self.journal.now();
        let mut replies = self.ask_all(key, &[&["MULTI"], &["DEL", &name], &["EXEC"]]);
        let reply = replies.pop().unwrap_or(Reply::Gone);
        self.note_release(key, (called, "EXEC"), token, &reply)
    }

    fn note_release(
        &mut self,
        key: usize,
        (called, how): (u64, &'static str),
        token: &Token,
        reply: &Reply,
    ) -> Released {
        let told = released(reply).unwrap_or_else(|odd| {
            self.note(key, called, how, What::Odd(odd));
            Released::Unknown
        });
        self.note(key, called, how, What::Release(token.clone(), told));
        told
    }

    /// EVALSHA, and EVAL where the text is not known, as clients do.
    fn script(&mut self, key: usize, text: &str, arguments: &[&str]) -> Reply {
        let sha = self.ask(key, &["SCRIPT", "LOAD", text]);
        let Reply::Frame(sha) = sha else { return Reply::Gone };
        let sha = sha.lines().nth(1).unwrap_or("0").to_owned();
        match self.ask(key, &[&["EVALSHA", &sha, "1"], arguments].concat()) {
            Reply::Frame(frame) if is_not_done(&frame) && frame.starts_with("-NOSCRIPT") => {
                self.ask(key, &[&["EVAL", text, "1"], arguments].concat())
            }
            other => other,
        }
    }
}
