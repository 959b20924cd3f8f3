//! The engine on a table that follows its changes at once.

use std::cell::Cell;
use std::sync::Arc;

use super::*;
use crate::command::testing::words;
use crate::command::{Keys, Spec};
use crate::lock::record::Confidence;
use crate::lock::rule::{Mode, Rule};
use crate::lock::value::{self, Unique};
use crate::scripts;

mod bounds;

const NOW: u64 = 1_700_000_000_000;

/// Everything that an evaluation looks at, owned.
pub(crate) struct Rig {
    pub(crate) rules: Rules,
    pub(crate) table: Table,
    pub(crate) companions: Companions,
    pub(crate) scripts: Scripts,
    pub(crate) now_ms: u64,
    stamps: Cell<u64>,
    claims: Cell<u64>,
}

impl Rig {
    fn new(rule: Rule) -> Self {
        Self {
            rules: Rules::new(vec![rule]),
            table: Table::new(1000),
            companions: Companions::default(),
            scripts: Scripts::in_memory(scripts::Bounds { count: 10, bytes: 10_000 }),
            now_ms: NOW,
            stamps: Cell::new(0),
            claims: Cell::new(0),
        }
    }

    fn persistent() -> Self {
        Self::new(Rule::default())
    }

    fn ttl() -> Self {
        Self::new(Rule { mode: Mode::Ttl, ..Rule::default() })
    }

    fn with<T>(&self, ask: impl FnOnce(&World<'_>, &Caller) -> T) -> T {
        let stamp = |value: &[u8], mode: Stamp| -> Arc<[u8]> {
            self.stamps.set(self.stamps.get() + 1);
            let unique = Unique::new("23-11-2026 13:20:05", self.stamps.get()).unwrap();
            Arc::from(&*value::stamp(value, mode, &unique))
        };
        let world = World {
            rules: &self.rules,
            table: &self.table,
            companions: &self.companions,
            scripts: &self.scripts,
            stamp: &stamp,
            denied: &|_, _| false,
            now_ms: self.now_ms,
            grace_ms: 0,
            instead: None,
            limits: Limits { max_lock_value: 4096, databases: 16 },
        };
        ask(&world, &Caller { db: 0, protocol: Protocol::Resp2 })
    }

    /// A command, as its changes come true at once: the reply, and the changes as words.
    fn ask(&self, line: &str) -> (String, String) {
        let owned = words(line);
        self.apply(self.with(|world, caller| evaluate(owned.args(), caller, world)))
    }

    fn transaction(&self, lines: &[&str]) -> (String, String) {
        let split = |line: &&str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let commands: Vec<Vec<Vec<u8>>> = lines.iter().map(split).collect();
        self.apply(self.with(|world, caller| evaluate_transaction(&commands, caller, world)))
    }

    fn script(&self, text: &str, keys: &[&str], args: &[&str]) -> (String, String) {
        let count = keys.len().to_string();
        let words = [&["EVAL", text, &count], keys, args].concat();
        let owned = crate::command::testing::OwnedArgs::new(words);
        self.apply(self.with(|world, caller| evaluate(owned.args(), caller, world)))
    }

    fn apply(&self, evaluation: Evaluation) -> (String, String) {
        let Evaluation::Done { reply, changes, companions } = evaluation else {
            return (format!("{evaluation:?}"), String::new());
        };
        let words: Vec<String> = changes.into_iter().map(|change| self.change(change)).collect();
        self.companions.apply(companions).unwrap();
        (String::from_utf8(reply).unwrap().replace("\r\n", " ").trim_end().into(), words.join(" "))
    }

    fn change(&self, change: Change) -> String {
        let name = |key: &LockKey| String::from_utf8_lossy(key.key()).into_owned();
        match change {
            Change::Release { key, record } => {
                assert!(self.table.release_if(&key, &record.stored));
                format!("-{}", name(&key))
            }
            Change::Extend { key, record, expires_at_ms } => {
                let record = Record { expires_at_ms: Some(expires_at_ms), ..record };
                self.table.grant(key.clone(), record);
                format!("~{}@{}", name(&key), expires_at_ms - NOW)
            }
            Change::Content { key, record, to } => {
                let text = String::from_utf8_lossy(&to).into_owned();
                let words = format!("*{}={}", name(&key), text.split_once(':').unwrap().1);
                self.table.grant(key, Record { other: Some(to), ..record });
                words
            }
            Change::Take { key, new } => {
                assert!(standing_in(&self.table, &key, self.now_ms).is_none());
                let ends = new.expires_at_ms.map_or(String::new(), |at| format!("@{}", at - NOW));
                let asked = new.asked_ttl_ms.map_or(String::new(), |ms| format!("/{ms}"));
                let words = format!("+{}{asked}{ends}", name(&key));
                self.grant(key, new);
                words
            }
        }
    }

    fn grant(&self, key: LockKey, new: Taken) {
        self.claims.set(self.claims.get() + 1);
        let at = crate::lock::record::Position { log: 1, seq: self.claims.get() };
        self.table.grant(
            key,
            Record {
                stored: new.stored,
                rule: "default".into(),
                granted_at_ms: self.now_ms,
                asked_ttl_ms: new.asked_ttl_ms,
                confidence: Confidence::Held,
                client: "c".into(),
                expires_at_ms: new.expires_at_ms,
                claim: Some(at),
                fence: None,
                other: new.other,
                marker: Some("DEGRADED:c:now:0011223344556677".into()),
            },
        );
    }
}

fn standing_in(table: &Table, key: &LockKey, now_ms: u64) -> Option<Record> {
    table.find(key).filter(|record| record.expires_at_ms.is_none_or(|at| at > now_ms))
}

fn pair(reply: &str, changes: &str) -> (String, String) {
    (reply.into(), changes.into())
}

const COMPARE_AND_DELETE: &str = "-- release\nif redis.call(\"GET\",KEYS[1])==ARGV[1] then\n \
                                  return redis.call(\"DEL\",KEYS[1]) else return 0 end";

#[test]
fn a_lock_is_taken_seen_and_released() {
    let rig = Rig::persistent();
    assert_eq!(rig.ask("SET lock:a 1 NX PX 30000"), pair("+OK", "+lock:a/30000"));
    assert_eq!(rig.ask("SET lock:a 2 NX PX 30000"), pair("$-1", ""));
    assert_eq!(rig.ask("SETNX lock:a 2"), pair(":0", ""));
    assert_eq!(rig.ask("GET lock:a"), pair("$1 1", ""));
    assert_eq!(rig.ask("PTTL lock:a"), pair(":-1", ""));
    assert_eq!(rig.ask("EXPIRE lock:a 5"), pair(":1", ""));
    assert_eq!(rig.ask("SET lock:a 1 XX PX 5"), pair("+OK", ""));
    assert_eq!(rig.ask("DEL lock:a lock:b"), pair(":1", "-lock:a"));
    assert_eq!(rig.ask("EXISTS lock:a"), pair(":0", ""));
}

#[test]
fn an_overwrite_is_a_release_and_a_take() {
    let rig = Rig::persistent();
    rig.ask("SET lock:a 1 NX");
    assert_eq!(rig.ask("SET lock:a 2 PX 9"), pair("+OK", "-lock:a +lock:a/9"));
    assert_eq!(rig.ask("GETSET lock:a 3"), pair("$1 2", "-lock:a +lock:a"));
    assert_eq!(rig.ask("INCR lock:a"), pair(":4", "-lock:a +lock:a/3600000"));
    assert_eq!(rig.ask("PEXPIREAT lock:a 1"), pair(":1", "-lock:a"));
}

#[test]
fn a_token_matches_in_each_of_its_forms() {
    let rig = Rig::persistent();
    let stored = |rig: &Rig| {
        let record = rig.table.find(&LockKey::new(0, b"lock:a")).unwrap();
        String::from_utf8(record.stored.to_vec()).unwrap()
    };
    for token in
        [|_: String| "1".to_owned(), |stored| stored, |_| "DEGRADED:c:now:0011223344556677".into()]
    {
        rig.ask("SET lock:a 1 NX");
        let token = token(stored(&rig));
        let other = rig.script(COMPARE_AND_DELETE, &["lock:a"], &["other"]);
        assert_eq!(other, pair(":0", ""));
        let own = rig.script(COMPARE_AND_DELETE, &["lock:a"], &[&token]);
        assert_eq!(own, pair(":1", "-lock:a"), "{token}");
    }
}

#[test]
fn a_lock_with_a_ttl_runs_out_and_is_extended() {
    let mut rig = Rig::ttl();
    assert_eq!(rig.ask("SET lock:a 1 NX PX 100"), pair("+OK", "+lock:a/100@100"));
    assert_eq!(rig.ask("PTTL lock:a"), pair(":100", ""));
    assert_eq!(rig.ask("PEXPIRE lock:a 200"), pair(":1", "~lock:a@200"));
    assert_eq!(rig.ask("PERSIST lock:a"), pair(":1", "~lock:a@3600000"));
    assert_eq!(rig.ask("SET lock:a 1 PX 50"), pair("+OK", "~lock:a@50"));
    rig.now_ms += 50;
    assert_eq!(rig.ask("GET lock:a"), pair("$-1", ""));
    assert_eq!(rig.ask("SETNX lock:a 2"), pair(":1", "+lock:a@3600050"));
}

#[test]
fn a_transaction_sees_itself_and_is_all_or_nothing() {
    let rig = Rig::persistent();
    let (reply, changes) =
        rig.transaction(&["SET lock:a 1 NX", "GET lock:a", "LPUSH lock:a x", "DEL lock:a"]);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(reply, format!("*4 +OK $1 1 {wrong} :1"));
    assert_eq!(changes, "");
    let (reply, _) = rig.transaction(&["SET lock:a 1 NX", "GET other"]);
    assert_eq!(reply, "NotServed");
    assert!(rig.table.is_empty());
}

#[test]
fn a_signal_wakes_who_waits_for_it() {
    let rig = Rig::persistent();
    rig.ask("SET lock:a 0123456789abcdef NX EX 10");
    let (reply, _) = rig.ask("BLPOP lock-signal:a 2.5");
    assert!(reply.starts_with("Block") && reply.contains("timeout_ms: 2500"), "{reply}");
    let key = LockKey::new(0, b"lock-signal:a");
    let waiter = (1, (2, 3));
    assert!(rig.companions.block(waiter, std::slice::from_ref(&key), NOW));
    let release = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 else \
                   redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) \
                   redis.call('pexpire', KEYS[2], ARGV[2]) redis.call('del', KEYS[1]) return 0 end";
    let (keys, args) = (["lock:a", "lock-signal:a"], ["0123456789abcdef", "1000"]);
    let owned = [&["EVAL", release, "2"][..], &keys, &args].concat();
    let owned = crate::command::testing::OwnedArgs::new(owned);
    let done = rig.with(|world, caller| evaluate(owned.args(), caller, world));
    let Evaluation::Done { reply, changes, companions } = done else { panic!("{done:?}") };
    assert_eq!((reply.as_slice(), changes.len()), (b":0\r\n".as_slice(), 1));
    assert_eq!(rig.companions.apply(companions), Ok(vec![waiter]));
    assert_eq!(rig.ask("PTTL lock-signal:a"), pair(":1000", ""));
    assert_eq!(rig.ask("BLPOP lock-signal:a 1"), pair("*2 $13 lock-signal:a $1 1", ""));
    rig.companions.unblock(waiter);
    assert_eq!(rig.ask("EXISTS lock-signal:a"), pair(":0", ""));
}

#[test]
fn of_two_who_pop_one_element_one_evaluates_again() {
    let rig = Rig::persistent();
    rig.ask("LPUSH lock-signal:a 1");
    let pop = || {
        let owned = words("LPOP lock-signal:a");
        let Evaluation::Done { companions, .. } =
            rig.with(|world, caller| evaluate(owned.args(), caller, world))
        else {
            panic!("it is there")
        };
        companions
    };
    let (one, other) = (pop(), pop());
    assert_eq!(rig.companions.apply(one), Ok(vec![]));
    assert_eq!(rig.companions.apply(other), Err(Stale));
    assert!(rig.companions.is_empty());
}

#[test]
fn a_repeated_acquire_whose_reply_may_be_lost_is_the_same_grant() {
    let rig = Rig::persistent();
    let (token, key) = ("0123456789abcdef", LockKey::new(0, b"lock:a"));
    rig.ask(&format!("SET lock:a {token} NX"));
    assert_eq!(rig.ask(&format!("SET lock:a {token} NX")), pair("$-1", ""));
    rig.table.set_confidence(&key, token.as_bytes(), Confidence::Unconfirmed);
    assert_eq!(rig.ask(&format!("SET lock:a {token} NX")), pair("+OK", ""));
    assert_eq!(rig.ask(&format!("SETNX lock:a {token}")), pair(":1", ""));
    assert_eq!(rig.ask("SET lock:a fedcba9876543210 NX"), pair("$-1", ""));
}

#[test]
fn what_is_no_lock_or_too_large_for_one_is_not_served() {
    let rig = Rig::persistent();
    let large = "x".repeat(4097);
    for line in [
        "GET other",
        "MGET lock:a other",
        "DEL other lock:a",
        "LPUSH lock:a 1",
        "HSET lock:a f v",
        "NOPE lock:a",
        "PUBLISH channel 1",
        "SELECT 1",
        "FLUSHALL",
        &format!("SET lock:a {large} NX"),
    ] {
        assert_eq!(rig.ask(line).0, "NotServed", "{line}");
        assert_eq!(
            rig.transaction(&["SET lock:b 1 NX", line]).0 == "NotServed",
            line != "SELECT 1"
        );
        rig.ask("DEL lock:b");
    }
    assert!(rig.table.is_empty());
    // Too large for a lock, but nothing of it stays.
    let reply = rig.transaction(&[&format!("SET lock:a {large} NX"), "DEL lock:a"]);
    assert_eq!(reply, pair("*2 +OK :1", ""));
}

/// Words for a command of this arity, on one lock.
fn sample(spec: &Spec) -> String {
    let words = served::words(spec, b"lock:a");
    words
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn each_command_on_locks_is_served_or_refused_by_its_name() {
    let rig = Rig::persistent();
    let (mut served, mut refused) = (0, 0);
    for spec in crate::command::all().iter().filter(|spec| !matches!(spec.keys, Keys::None)) {
        // The session's own.
        if spec.name == "watch" {
            continue;
        }
        let line = sample(spec);
        let said = rig.ask(&line).0;
        let refusal = format!(
            "-MASTERDOWN lockside: {} on a lock is not served while upstream is unavailable",
            spec.name.to_uppercase()
        );
        let is_refused = said == refusal;
        let is_served = served::place(spec.name).is_some();
        let is_malformed = said.starts_with("-ERR wrong number") || said == "NotServed";
        assert!(is_served != is_refused || !is_served && is_malformed, "{line}: {said}");
        served += usize::from(is_served);
        refused += usize::from(is_refused);
    }
    assert_eq!(served, served::names().count(), "each name is a command");
    assert!(refused > 80, "{refused}");
    let names: Vec<&str> = served::names().collect();
    assert!(names.is_sorted());
    for line in ["RENAME lock:a lock:b", "OBJECT ENCODING lock:a", "BITCOUNT lock:a"] {
        let name = line.split(' ').next().unwrap();
        let start = format!("-MASTERDOWN lockside: {name} on a lock is not served");
        assert!(rig.ask(line).0.starts_with(&start), "{line}");
        assert!(rig.transaction(&["SET lock:b 1 NX", line]).0.starts_with(&start), "{line}");
        assert!(rig.table.is_empty());
    }
}

#[test]
fn a_full_table_and_full_companions_say_so() {
    let mut rig = Rig {
        table: Table::new(1),
        companions: Companions::new(Bounds { keys: 1, bytes: 200 }),
        ..Rig::persistent()
    };
    rig.ask("SET lock:a 1 NX");
    let full = "-OOM lockside: not acquired: as many locks are held as limits.locks allows";
    assert_eq!(rig.ask("SET lock:b 1 NX"), pair(full, ""));
    assert_eq!(rig.transaction(&["SET lock:b 1 NX", "DEL lock:a"]), pair(full, ""));
    assert_eq!(rig.ask("SET lock:a 2"), pair("+OK", "-lock:a +lock:a"));
    assert_eq!(rig.ask("LPUSH lock-signal:a 1").0, ":1");
    for line in ["LPUSH lock-signal:b 1", &format!("LPUSH lock-signal:a {}", "x".repeat(200))] {
        assert!(rig.ask(line).0.starts_with("-OOM lockside: "), "{line}");
    }
    assert_eq!(rig.ask("DEL lock-signal:a").0, ":1");
    assert_eq!(rig.ask("LPUSH lock-signal:b 1").0, ":1");
    rig.ask("PEXPIRE lock-signal:b 5");
    rig.now_ms += 5;
    assert_eq!(rig.ask("LPUSH lock-signal:c 1").0, ":1");
}

#[test]
fn a_version_changes_with_what_is_there() {
    let mut rig = Rig::ttl();
    let versions = |rig: &Rig| {
        let keys = ["lock:a", "lock-signal:a"].map(|key| LockKey::new(0, key.as_bytes()));
        rig.with(|world, _| keys.map(|key| version(&key, world)))
    };
    assert_eq!(versions(&rig), [0, 0]);
    rig.ask("SET lock:a 1 NX PX 100");
    let taken = versions(&rig);
    assert!(taken[0] != 0 && taken[1] == 0);
    rig.ask("GET lock:a");
    assert_eq!(versions(&rig), taken);
    rig.ask("PEXPIRE lock:a 200");
    assert_ne!(versions(&rig)[0], taken[0]);
    rig.ask("RPUSH lock-signal:a 1");
    let pushed = versions(&rig)[1];
    rig.ask("RPUSH lock-signal:a 1");
    assert!(versions(&rig)[1] != pushed);
    rig.ask("PEXPIRE lock-signal:a 200");
    rig.now_ms += 200;
    assert_eq!(versions(&rig), [0, 0]);
    rig.companions.forget_expired(rig.now_ms);
    assert!(rig.companions.is_empty());
}

#[test]
fn a_lock_that_is_no_string_is_held_and_can_be_released() {
    let rig = Rig::persistent();
    let key = LockKey::new(0, b"lock:a");
    let new =
        Taken { stored: [].into(), other: None, asked_ttl_ms: Some(500), expires_at_ms: None };
    rig.grant(key.clone(), new);
    let mut record = rig.table.find(&key).unwrap();
    record.other = Some(b"0:hash"[..].into());
    rig.table.grant(key, record);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for (line, reply) in [
        ("EXISTS lock:a", ":1"),
        ("SET lock:a 1 NX", "$-1"),
        ("GET lock:a", wrong),
        ("SET lock:a 1 XX GET", wrong),
        ("MGET lock:a", "*1 $-1"),
        ("TTL lock:a", ":-1"),
        ("EXPIRE lock:a 9", ":1"),
        ("TYPE lock:a", "NotServed"),
        ("LLEN lock:a", "NotServed"),
        ("HGETALL lock:a", "NotServed"),
    ] {
        assert_eq!(rig.ask(line), pair(reply, ""), "{line}");
    }
    assert_eq!(rig.ask("SET lock:a 1"), pair("+OK", "-lock:a +lock:a"));
}

#[test]
fn scripts_see_a_virtual_ttl_and_only_lock_keys() {
    let rig = Rig::persistent();
    rig.ask("SET lock:a 0123456789abcdef NX");
    let extend = "local token = redis.call('get', KEYS[1])\nif not token or token ~= ARGV[1] then\n\
                  return 0\nend\nlocal expiration = redis.call('pttl', KEYS[1])\n\
                  if not expiration then\nexpiration = 0\nend\nif expiration < 0 then\nreturn 0\n\
                  end\nlocal newttl = ARGV[2]\nif ARGV[3] == \"0\" then\n\
                  newttl = ARGV[2] + expiration\nend\n\
                  redis.call('pexpire', KEYS[1], newttl)\nreturn 1";
    let args = ["0123456789abcdef", "1000", "0"];
    assert_eq!(rig.script(extend, &["lock:a"], &args), pair(":1", ""));
    assert_eq!(rig.script(extend, &["other"], &args), pair("NotServed", ""));
    let sha =
        String::from_utf8(crate::lock::envelope::sha1_hex(extend.as_bytes()).to_vec()).unwrap();
    let line = format!("EVALSHA {sha} 1 lock:a 0123456789abcdef 1000 0");
    let unseen = "-NOSCRIPT No matching script. Please use EVAL.";
    assert_eq!(rig.ask(&line.replace(&sha[..4], "0000")), pair(unseen, ""));
    assert_eq!(rig.ask(&line), pair(":1", ""));
    let keys = rig.ask("EVAL x 2 lock:a").0;
    assert_eq!(keys, "-ERR Number of keys can't be greater than number of args");
}

#[test]
fn who_waits_is_told_in_order_until_it_waits_no_more() {
    let rig = Rig::persistent();
    let key = |name: &str| LockKey::new(0, name.as_bytes());
    let (one, two, three) = ((0, (1, 1)), (1, (1, 1)), (0, (2, 1)));
    let block = |waiter, name| rig.companions.block(waiter, &[key(name)], NOW);
    assert!(block(two, "lock-signal:a") && block(one, "lock-signal:a"));
    assert!(block(three, "lock-signal:b") && block(two, "lock-signal:a"));
    let push = |line| {
        let owned = words(line);
        match rig.with(|world, caller| evaluate(owned.args(), caller, world)) {
            Evaluation::Done { companions, .. } => rig.companions.apply(companions).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(push("RPUSH lock-signal:a 1"), [two, one]);
    assert!(!block(three, "lock-signal:a"), "there is an element");
    rig.companions.unblock(two);
    assert_eq!(push("RPUSH lock-signal:a 1"), [one]);
    assert_eq!(push("DEL lock-signal:a"), []);
    assert!(block(one, "lock-signal:c"));
    assert_eq!(push("RPUSH lock-signal:c 1"), [one]);
    assert_eq!(rig.companions.clear(), [three, one]);
}
