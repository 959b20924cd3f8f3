//! The engine with a ledger that makes every change true at once.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lockside::degraded::{
    Caller, Change, Companions, Evaluation, Limits, Taken, World, evaluate, evaluate_transaction,
};
use lockside::lock::record::{Confidence, LockKey, Position, Record};
use lockside::lock::rule::{Mode, Rule, Rules};
use lockside::lock::value::{self, Stamp, Unique};
use lockside::resp::encode::Protocol;
use lockside::resp::{Args, Span};
use lockside::scripts::{Bounds, Scripts};
use lockside::table::Table;

/// What the engine makes of a command.
pub(super) enum Answer {
    /// A reply.
    Reply(Vec<u8>),
    /// It would block.
    Blocks,
    /// Only Redis can tell.
    NotServed,
}

/// A sidecar without Redis, with a client.
pub(super) struct Engine {
    rules: Rules,
    table: Table,
    companions: Companions,
    scripts: Scripts,
    pub(super) mode: Mode,
    pub(super) caller: Caller,
    stamps: Arc<std::sync::atomic::AtomicU64>,
    claims: Cell<u64>,
}

impl Engine {
    pub(super) fn new(mode: Mode, protocol: Protocol) -> Self {
        Self {
            rules: Rules::new(vec![Rule { mode, ..Rule::default() }]),
            table: Table::new(1000),
            companions: Companions::default(),
            scripts: Scripts::in_memory(Bounds { count: 10, bytes: 100_000 }),
            mode,
            caller: Caller { db: 0, protocol },
            stamps: Arc::default(),
            claims: Cell::new(0),
        }
    }

    pub(super) fn command(&self, words: &[Vec<u8>]) -> Answer {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            let start = frame.len() as u32;
            frame.extend_from_slice(word);
            spans.push(Span { start, end: frame.len() as u32 });
        }
        let args = Args::new(&frame, &spans);
        self.settle(|world| evaluate(args, &self.caller, world))
    }

    pub(super) fn transaction(&self, commands: &[Vec<Vec<u8>>]) -> Answer {
        self.settle(|world| evaluate_transaction(commands, &self.caller, world))
    }

    fn settle(&self, ask: impl FnOnce(&World<'_>) -> Evaluation) -> Answer {
        let stamps = self.stamps.clone();
        let stamp = move |value: &[u8], mode: Stamp| -> Arc<[u8]> {
            let random = stamps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let unique = Unique::new("23-11-2026 13:20:05", random).unwrap();
            Arc::from(&*value::stamp(value, mode, &unique))
        };
        let now_ms = unix_ms();
        let evaluation = ask(&World {
            rules: &self.rules,
            table: &self.table,
            companions: &self.companions,
            scripts: &self.scripts,
            stamp: &stamp,
            denied: &|_, _| false,
            now_ms,
            grace_ms: 0,
            instead: None,
            limits: Limits { max_lock_value: 4096, databases: 16 },
        });
        match evaluation {
            Evaluation::Done { reply, changes, companions } => {
                changes.into_iter().for_each(|change| self.make_true(change, now_ms));
                assert_eq!(self.companions.apply(companions), Ok(Vec::new()));
                Answer::Reply(reply)
            }
            Evaluation::Block { .. } => Answer::Blocks,
            Evaluation::NotServed => Answer::NotServed,
        }
    }

    /// What the ledger would do, and the table after it.
    fn make_true(&self, change: Change, now_ms: u64) {
        match change {
            Change::Release { key, record } => {
                assert!(self.table.release_if(&key, &record.stored), "{key:?} was held");
            }
            Change::Extend { key, record, expires_at_ms } => {
                assert_eq!(self.mode, Mode::Ttl);
                let held = self.table.find(&key).expect("what is extended is held");
                assert_eq!(held.claim, record.claim);
                self.table.grant(key, Record { expires_at_ms: Some(expires_at_ms), ..held });
            }
            Change::Content { key, record, to } => {
                let held = self.table.find(&key).expect("what is changed is held");
                assert_eq!((&held.claim, &held.other), (&record.claim, &record.other));
                self.table.grant(key, Record { other: Some(to), ..held });
            }
            Change::Take { key, new } => {
                assert_eq!(new.expires_at_ms.is_some(), self.mode == Mode::Ttl);
                let before = self.table.find(&key);
                let past = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
                assert!(before.is_none_or(|record| past(record.expires_at_ms)), "{key:?} is held");
                self.grant(key, new);
            }
        }
    }

    fn grant(&self, key: LockKey, new: Taken) {
        self.claims.set(self.claims.get() + 1);
        let record = Record {
            stored: new.stored,
            rule: "default".into(),
            granted_at_ms: 0,
            asked_ttl_ms: new.asked_ttl_ms,
            confidence: Confidence::Held,
            client: "client".into(),
            expires_at_ms: new.expires_at_ms,
            claim: Some(Position { log: 1, seq: self.claims.get() }),
            fence: Some(self.claims.get()),
            other: new.other,
            marker: None,
        };
        self.table.grant(key, record);
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}
