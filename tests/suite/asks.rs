//! What operators ask a running Lockside, and the extras of a lock's life: takeover after a crash,
//! `max_hold`, `ttl` rules by the ledger, what an outage means by rule (SPEC 3, 5, 6, 7, 8, 10).

mod fences;
mod holds;
mod outage;
mod questions;
mod ttl;
mod undecided;

use std::process::{Command, Output};

use crate::support::locks::{A as TOKEN, B as OTHER, NIL, OK, ONE, QUICK, ZERO};
use crate::support::lockside::command;
use crate::support::{Client, Redis, Settings, Subject, direct, wait_until};

/// One Redis, one Lockside before it, two clients of that.
struct Stage {
    redis: Redis,
    subject: Subject,
    client: Client,
    other: Client,
}

impl Stage {
    /// None in direct mode: plain Redis has nothing of all this.
    fn start(tables: &str) -> Option<Self> {
        Self::with(Settings { tables, ..Settings::default() })
    }

    /// The upstream's settings are set.
    fn with(settings: Settings<'_>) -> Option<Self> {
        if direct() {
            return None;
        }
        let redis = Redis::start();
        let subject = Subject::with(&redis, Settings { upstream: QUICK, ..settings });
        let (client, other) = (subject.client(), subject.client());
        let mut stage = Self { redis, subject, client, other };
        stage.wait_mode("healthy");
        Some(stage)
    }

    /// Waits for this mode, as a new client: those that are there may have a broken link.
    fn wait_mode(&mut self, word: &str) {
        let mut client = self.subject.client();
        wait_until(word, || mode(&mut client) == word);
    }

    fn take(&mut self, key: &str, token: &str) {
        assert_eq!(self.client.ask(&format!("SET {key} {token} NX PX 30000")), OK, "{key}");
    }

    /// Another connection asks for the lock.
    fn try_take(&mut self, key: &str, token: &str) -> String {
        self.other.ask(&format!("SET {key} {token} NX PX 30000"))
    }

    /// One field of `LOCKSIDE OWNER`.
    fn owner(&mut self, key: &str, name: &str) -> Option<String> {
        field(&self.other.ask(&format!("LOCKSIDE OWNER {key}")), name)
    }

    /// Runs `lockside` beside the process, with its configuration.
    fn run(&self, arguments: &[&str]) -> Output {
        let process = self.subject.process().unwrap();
        let mut asking: Command = command();
        asking.args(arguments).arg("--config").arg(process.path("lockside.toml"));
        asking.env("LOCKSIDE_STATE_DIR", process.path("state")).output().unwrap()
    }

    /// Kills Lockside and starts it again; both clients are new.
    fn crash(&mut self) {
        self.subject.kill();
        self.subject.start_again();
        (self.client, self.other) = (self.subject.client(), self.subject.client());
    }
}

/// The mode's word.
fn mode(client: &mut Client) -> String {
    let line = client.ask("LOCKSIDE MODE");
    let line = line.lines().nth(1).unwrap_or(&line);
    line.split(':').next().unwrap_or_default().to_owned()
}

/// What stands behind a field's name in a flat list; a number's text without its `:`.
fn field(reply: &str, name: &str) -> Option<String> {
    let mut lines = reply.lines().skip_while(|line| *line != name).skip(1);
    let value = lines.next()?;
    match value.strip_prefix(':') {
        Some(number) => Some(number.to_owned()),
        None => lines.next().map(str::to_owned),
    }
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}
