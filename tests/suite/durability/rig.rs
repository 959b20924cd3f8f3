//! Redis, a Lockside that ends where it is told to, and what a client was told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;

pub(super) use crate::support::locks::{
    A, B, C, NIL, OK, ONE, QUICK, SHORT, STRANGER, ZERO, bulk, give, locks_of, take, wait_gone,
};
use crate::support::process::directory;
use crate::support::{Client, PATIENCE, Redis, Settings, Subject, direct, poll_for, wait_until};

/// What a client was told when its Lockside died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The reply to its command.
    Reply(String),
    /// Nothing: the connection ended.
    Nothing,
}

/// That it was told this.
pub(super) fn reply(text: &str) -> Told {
    Told::Reply(text.to_owned())
}

impl Told {
    pub(super) fn is(&self, reply: &str) -> bool {
        *self == Self::Reply(reply.to_owned())
    }
}

/// The processes of one test.
pub(super) struct Stage {
    pub(super) redis: Redis,
    pub(super) subject: Subject,
    /// Names the place where Lockside ends; outside of what Lockside writes.
    crash: TempDir,
}

impl Stage {
    /// None where no Lockside is under test, or one without places to end at.
    pub(super) fn start() -> Option<Self> {
        Self::with(SHORT)
    }

    /// As `start`, with these tables of the configuration.
    pub(super) fn with(tables: &str) -> Option<Self> {
        Self::of(Settings { tables, ..Settings::default() })
    }

    /// As `start`, with this configuration.
    pub(super) fn of(settings: Settings<'_>) -> Option<Self> {
        let other_binary = std::env::var_os("LOCKSIDE_BIN").is_some();
        if direct() || other_binary || !cfg!(debug_assertions) {
            return None;
        }
        let crash = directory("crash");
        let variable = format!("LOCKSIDE_CRASH_FILE={}", crash.path().join("place").display());
        let redis = Redis::start();
        let through = ["env", &variable];
        let settings = Settings { upstream: QUICK, through: &through, ..settings };
        let subject = Subject::with(&redis, settings);
        let mut stage = Self { redis, subject, crash };
        stage.wait_mode("healthy");
        // One that is held and one that was released, whatever becomes of the others.
        assert_eq!(stage.client().ask(&take("lock:always", C)), OK);
        assert_eq!(stage.client().ask(&take("lock:never", C)), OK);
        assert_eq!(stage.client().ask("DEL lock:never"), ONE);
        // Written beside the path of a command, and needed by the next run where Redis is gone.
        let open = stage.subject.process()?.path("state/without-password.json");
        wait_until("it is kept that clients need no password", || open.exists());
        Some(stage)
    }

    pub(super) fn client(&self) -> Client {
        self.subject.client()
    }

    /// As `start`, with Redis gone.
    pub(super) fn without_redis() -> Option<Self> {
        let mut stage = Self::start()?;
        stage.redis.kill();
        stage.wait_mode("degraded");
        Some(stage)
    }

    /// Where the ledger is.
    pub(super) fn ledger(&self) -> PathBuf {
        self.subject.process().unwrap().path("state").join("ledger.db")
    }

    fn place(&self) -> PathBuf {
        self.crash.path().join("place")
    }

    /// Lockside will end at this place, and not before somebody comes there.
    pub(super) fn arm(&self, place: &str) {
        std::fs::write(self.place(), place).unwrap();
    }

    /// Waits until Lockside has come to this place, where it goes on.
    pub(super) fn wait_passed(&self, place: &str, by: impl FnOnce()) {
        self.arm(&format!("pass {place}"));
        by();
        wait_until("Lockside comes to the place", || !self.place().exists());
    }

    /// Waits until Lockside has ended at the place that it was armed for.
    pub(super) fn wait_crash(&mut self) {
        let place = self.place();
        let process = self.subject.process_mut().unwrap();
        poll_for("Lockside ends at the place", PATIENCE, || process.exit_code());
        assert!(!place.exists(), "it ended, but not there");
    }

    /// Sends a command whose answer Lockside may not live to give.
    pub(super) fn last_words(&mut self, client: &mut Client, place: &str, line: &str) -> Told {
        // What a client does first (the link, its rights) is done before.
        assert_eq!(client.ask("GET lock:never"), NIL);
        self.arm(place);
        client.send_line(line);
        self.last_answer(client)
    }

    /// As `last_words`, for the EXEC of a transaction of these commands.
    pub(super) fn last_exec(&mut self, client: &mut Client, place: &str, lines: &[&str]) -> Told {
        assert_eq!(client.ask("GET lock:never"), NIL);
        assert_eq!(client.ask("MULTI"), OK);
        for line in lines {
            assert_eq!(client.ask(line), "+QUEUED\r\n", "{line}");
        }
        self.arm(place);
        client.send_line("EXEC");
        self.last_answer(client)
    }

    /// What the client hears from a Lockside that ends.
    fn last_answer(&mut self, client: &mut Client) -> Told {
        let told = match client.frame_within(PATIENCE) {
            Ok(frame) => Told::Reply(String::from_utf8_lossy(&frame).into_owned()),
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "neither answer nor end");
                Told::Nothing
            }
        };
        self.wait_crash();
        told
    }

    /// Lockside again; first Redis ends too, if it is to.
    pub(super) fn start_again(&mut self, redis_dies: bool) {
        if redis_dies {
            self.redis.kill();
        }
        self.subject.start_again();
        self.wait_mode(if redis_dies { "degraded" } else { "healthy" });
    }

    /// Lockside once more, as it is.
    pub(super) fn crash_again(&mut self) {
        self.subject.kill();
        self.subject.start_again();
    }

    pub(super) fn wait_mode(&mut self, word: &str) {
        crate::support::locks::wait_mode(self.subject.port(), word);
    }

    /// Whether Lockside says that this token has the lock; all its ways to say so agree.
    pub(super) fn holds(&self, key: &str, token: &str) -> bool {
        let mut client = self.client();
        let held = client.ask(&format!("GET {key}")) == bulk(token);
        let listed = client.ask("LOCKSIDE LOCKS");
        assert_eq!(listed.contains(&format!("\r\n{key}\r\n")), held, "{key} in {listed}");
        let owner = client.ask(&format!("LOCKSIDE OWNER {key}"));
        assert_eq!(owner.contains(&token[..8]), held, "{key} in {owner}");
        held
    }

    /// What has nothing to do with the crash is as it was.
    pub(super) fn assert_others_unharmed(&self) {
        assert!(self.holds("lock:always", C));
        assert_eq!(self.client().ask(&take("lock:always", STRANGER)), NIL);
        assert!(!self.holds("lock:never", C));
    }

    /// Redis is there and in line: it has exactly these locks and `lock:always`, without TTL.
    pub(super) fn assert_locks(&mut self, locks: &[(&str, &str)]) {
        self.wait_mode("healthy");
        let mut expected: BTreeMap<String, String> =
            locks.iter().map(|(key, token)| ((*key).to_owned(), (*token).to_owned())).collect();
        expected.insert("lock:always".to_owned(), C.to_owned());
        let there = || locks_of(&self.redis);
        // Provisional keys of the one that has died run out.
        let provisional = || there().values().any(|value| value.contains(':'));
        wait_until("what was not finished has run out", || !provisional());
        assert_eq!(there(), expected);
        self.assert_others_unharmed();
    }
}
