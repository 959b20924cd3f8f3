//! Random sequences of lock commands, single and in transactions, on the engine and on Redis.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;
use lockside::resp::reply::Reply;

use super::engine::{Answer, Engine};
use super::known::is_right;
use crate::support::{Client, Redis};

/// Commands on a lock or a companion; `$` stands for a key, `%` for a value, `#` for a number that
/// is far enough from every other.
const ANY: &[&str] = &[
    "GET $",
    "SET $ %",
    "SET $ % NX",
    "SET $ % XX",
    "SET $ % PX #000",
    "SET $ % NX PX #000",
    "set $ % nx ex #",
    "SET $ % EX # GET",
    "SET $ % KEEPTTL",
    "SET $ % GET NX",
    "SET $ % GET XX PX #000",
    "SET $ % PXAT 41024448#0",
    "SET $ % EXAT 41024#000 NX",
    "SET $ % PXAT 1",
    "SET $ % NX EXAT 1",
    "SET $ % PX 0",
    "SET $ % PX -1 NX",
    "SET $ % PX x",
    "SET $ % EX 9223372036854775807",
    "SET $ % PX",
    "SET $ % NX XX",
    "SET $ % EX 9 PX 9",
    "SET $ % EX 9 KEEPTTL",
    "SET $ % NOPE",
    "SETNX $ %",
    "SETEX $ # %",
    "SETEX $ 0 %",
    "PSETEX $ #000 %",
    "PSETEX $ x %",
    "GETSET $ %",
    "GETDEL $",
    "GETEX $",
    "GETEX $ PX #000",
    "GETEX $ PERSIST",
    "GETEX $ PXAT 1",
    "GETEX $ EX 0",
    "GETEX $ EX x",
    "GETEX $ EX 5 PERSIST",
    "GETEX $ PERSIST PX 5",
    "GETEX $ NX",
    "MGET $ $",
    "MSET $ % $ %",
    "MSETNX $ % $ %",
    "DEL $",
    "DEL $ $",
    "UNLINK $ $ $",
    "EXISTS $ $",
    "TOUCH $ $",
    "TYPE $",
    "STRLEN $",
    "GETRANGE $ 0 1",
    "GETRANGE $ -3 -2",
    "GETRANGE $ 1 -1",
    "GETRANGE $ -1 -2",
    "GETRANGE $ 5 2",
    "GETRANGE $ x 2",
    "SUBSTR $ -100 100",
    "APPEND $ %",
    "INCR $",
    "DECR $",
    "INCRBY $ %",
    "DECRBY $ -9223372036854775808",
    "INCRBY $ 9223372036854775807",
    "SETRANGE $ 2 %",
    "SETRANGE $ -1 x",
    "SETRANGE $ x x",
    "TTL $",
    "PTTL $",
    "EXPIRETIME $",
    "PEXPIRETIME $",
    "EXPIRE $ #",
    "PEXPIRE $ #000",
    "EXPIREAT $ 41024#000",
    "PEXPIREAT $ 41024448#0",
    "EXPIRE $ 0",
    "PEXPIRE $ -1",
    "EXPIREAT $ 1",
    "EXPIRE $ x",
    "EXPIRE $ 9223372036854775807",
    "PEXPIRE $ 9223372036854775807",
    "EXPIRE $ -9223372036854775808",
    "EXPIRE $ 9 NOPE",
    "EXPIRE $ 9 NX GT",
    "EXPIRE $ 9 GT LT",
    "EXPIRE $ 9 XX NX",
    "PERSIST $",
    "LPOP $",
    "LLEN $",
    "LRANGE $ 0 -1",
    "LPUSHX $ %",
    "RPOP $ 2",
];

/// Commands of a transaction alone: what follows SELECT for the connection is the session's.
const INSIDE: &[&str] = &["SELECT 0", "SELECT 1", "SELECT -1", "SELECT x", "PING", "ECHO %"];

/// Commands whose answer goes by the real TTL: not for a persistent lock.
const BY_TTL: &[&str] = &[
    "EXPIRE $ # NX",
    "EXPIRE $ # XX",
    "EXPIRE $ # GT",
    "PEXPIRE $ #000 LT",
    "EXPIRE $ # XX GT",
    "EXPIREAT $ 41024#000 LT",
    "EXPIRE $ 0 XX",
    "PEXPIREAT $ 1 NX",
    "PEXPIRE $ -5 LT",
    "PEXPIRE $ -5 GT",
];

/// Commands on companions alone.
const COMPANION: &[&str] = &[
    "LPUSH & %",
    "RPUSH & % %",
    "RPUSHX & %",
    "LPOP & 0",
    "LPOP & x",
    "LPOP & -1",
    "LPOP & 1",
    "RPOP & 9",
    "LRANGE & -2 5",
    "LRANGE & 1 0",
    "LRANGE & x 0",
    "RPOPLPUSH & &",
    "LMOVE & & LEFT right",
    "LMOVE & & LEFT up",
    "BLPOP & & 0.001",
    "BRPOP & 0.001",
    "BLPOP & x",
    "BLPOP & -1",
    "BLMOVE & & RIGHT LEFT 0.001",
    "BRPOPLPUSH & & 0.001",
    "DEL &",
    "PEXPIRE & #000",
    "PTTL &",
];

/// Malformed, or on no key: not queued in a transaction, where they would abort it.
const ALONE: &[&str] =
    &["GET", "GET $ $", "SETNX $", "MSET $ % $", "EXPIRE $", "DEL", "LPOP $ 1 1"];

const SCRIPTS: &[&str] = &[
    "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end",
    "if redis.call(\"GET\", KEYS[1]) == ARGV[1] then\n -- mine\n return redis.call(\"DEL\", KEYS[1])\nend\nreturn 0",
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end",
    "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 else redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], ARGV[2]) redis.call('del', KEYS[1]) return 0 end",
    "redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], ARGV[2]) return redis.call('del', KEYS[1])",
];

/// By the TTL that a script reads: not for a persistent lock without TTL, whose virtual TTL it sees.
const TTL_SCRIPTS: &[&str] = &[
    "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 end if expiration < 0 then return 0 end local newttl = ARGV[2] if ARGV[3] == \"0\" then newttl = ARGV[2] + expiration end redis.call('pexpire', KEYS[1], newttl) return 1",
    "if redis.call(\"get\", KEYS[1]) ~= ARGV[1] then return 1 elseif redis.call(\"ttl\", KEYS[1]) < 0 then return 2 else redis.call(\"expire\", KEYS[1], ARGV[2]) return 0 end",
];

const VALUES: &[&str] =
    &["1", "7", "a:b", "w:550e8400-e29b-41d4-a716-446655440000", "0123456789abcdef", "", "a\u{e9}"];

type Words = Vec<Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    One(Words),
    Transaction(Vec<Words>),
}

fn shown(words: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&words.join(&b' ')).into_owned()
}

fn told(step: &Step) -> String {
    match step {
        Step::One(words) => shown(words),
        Step::Transaction(commands) => {
            let commands: Vec<String> = commands.iter().map(|words| shown(words)).collect();
            format!("MULTI ; {} ; EXEC", commands.join(" ; "))
        }
    }
}

fn fill(template: &str, keys: &[&str], values: &[&str], number: u32) -> Words {
    let (mut keys, mut values) = (keys.iter(), values.iter());
    let fill = |word: &str| match word {
        "$" => keys.next().unwrap().to_string(),
        "&" => format!("lock-signal:{}", keys.next().unwrap().split_once(':').unwrap().1),
        "%" => values.next().unwrap().to_string(),
        word => word.replace('#', &number.to_string()),
    };
    template.split(' ').map(fill).map(String::into_bytes).collect()
}

fn command(mode: Mode, alone: bool) -> impl Strategy<Value = Words> {
    let templates: Vec<&'static str> = match mode {
        Mode::Ttl => [ANY, BY_TTL, COMPANION].concat(),
        Mode::Persistent => [ANY, COMPANION].concat(),
    };
    let more = if alone { ALONE } else { INSIDE };
    let templates = [&templates[..], more].concat();
    let scripts = match mode {
        Mode::Ttl => [SCRIPTS, TTL_SCRIPTS].concat(),
        Mode::Persistent => SCRIPTS.to_vec(),
    };
    let key = prop::sample::select(vec!["lock:a", "lock:a", "lock:a", "lock:b", "lock-signal:a"]);
    let fillings = (
        prop::collection::vec(key, 3),
        prop::collection::vec(prop::sample::select(VALUES), 3),
        20_u32..1000,
    );
    let plain = (prop::sample::select(templates), fillings.clone()).prop_map(
        |(template, (keys, values, number))| fill(template, &keys, &values, number * 100 + 37),
    );
    let script =
        (prop::sample::select(scripts), fillings).prop_map(|(script, (keys, values, number))| {
            let name = if number % 9 == 0 { "EVAL_RO" } else { "EVAL" };
            let ttl = format!("{number}000");
            let words = [name, script, "2", keys[0], "lock-signal:a", values[0], &ttl, "0"];
            words.map(|word| word.as_bytes().to_vec()).to_vec()
        });
    prop_oneof![12 => plain, 1 => script]
}

fn step(mode: Mode) -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => command(mode, true).prop_map(Step::One),
        1 => prop::collection::vec(command(mode, false), 0..6).prop_map(Step::Transaction),
    ]
}

/// Both, for one sequence.
struct Pair<'a> {
    engine: Engine,
    redis: &'a mut Client,
    served: usize,
    not_served: usize,
}

impl Pair<'_> {
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::One(words) => self.one(words)?,
            Step::Transaction(commands) => self.transaction(commands)?,
        }
        if self.engine.mode == Mode::Ttl {
            let own = self.engine.caller.db;
            for (db, key) in [(0, "lock:a"), (0, "lock:b"), (1, "lock:a"), (1, "lock:b")] {
                self.redis.ask(&format!("SELECT {db}"));
                if self.redis.ask(&format!("PTTL {key}")) == ":-1\r\n" {
                    self.redis.ask(&format!("PEXPIRE {key} 3600000"));
                }
            }
            self.redis.ask(&format!("SELECT {own}"));
        }
        Ok(())
    }

    fn one(&mut self, words: &Words) -> Result<(), TestCaseError> {
        let engine = match self.engine.command(words) {
            Answer::Reply(reply) => reply,
            Answer::NotServed => return self.note_not_served(words),
            Answer::Blocks => self.timed_out(),
        };
        self.served += 1;
        let redis = self.redis.call(words);
        self.compare(words, &engine, &redis)
    }

    /// What the caller of the engine answers when nothing came in time.
    fn timed_out(&self) -> Vec<u8> {
        match self.engine.caller.protocol {
            Protocol::Resp3 => b"_\r\n".to_vec(),
            Protocol::Resp2 => b"*-1\r\n".to_vec(),
        }
    }

    fn transaction(&mut self, commands: &[Words]) -> Result<(), TestCaseError> {
        let engine = match self.engine.transaction(commands) {
            Answer::Reply(reply) => reply,
            Answer::NotServed => return self.note_not_served(&commands[0]),
            Answer::Blocks => panic!("nothing blocks inside EXEC"),
        };
        self.served += 1;
        prop_assert_eq!(self.redis.ask("MULTI"), "+OK\r\n");
        for words in commands {
            prop_assert_eq!(self.redis.call(words), b"+QUEUED\r\n", "{}", shown(words));
        }
        let redis = self.redis.call(&["EXEC"]);
        let parts = |frame: &[u8]| -> Vec<Vec<u8>> {
            let (reply, _) = Reply::parse(frame).unwrap();
            reply.elements().map(<[u8]>::to_vec).collect()
        };
        for words in commands.iter().filter(|words| words[0] == b"SELECT") {
            if let Ok(db @ 0..) = shown(&words[1..]).parse::<i32>() {
                self.engine.caller.db = db.unsigned_abs();
            }
        }
        let (ours, theirs) = (parts(&engine), parts(&redis));
        prop_assert_eq!(ours.len(), commands.len());
        prop_assert_eq!(theirs.len(), commands.len());
        for ((words, ours), theirs) in commands.iter().zip(&ours).zip(&theirs) {
            self.compare(words, ours, theirs)?;
        }
        Ok(())
    }

    /// Redis has not been asked either. What has keys of the wrong sort, or another type on a lock.
    fn note_not_served(&mut self, words: &Words) -> Result<(), TestCaseError> {
        self.not_served += 1;
        prop_assert!(!words[0].eq_ignore_ascii_case(b"SET"), "{}", shown(words));
        Ok(())
    }

    fn compare(&self, words: &Words, ours: &[u8], theirs: &[u8]) -> Result<(), TestCaseError> {
        let right = is_right(words, self.engine.mode, ours, theirs);
        let text = String::from_utf8_lossy;
        prop_assert!(right, "{}: {:?}, Redis {:?}", shown(words), text(ours), text(theirs));
        Ok(())
    }
}

fn compare_with_redis(mode: Mode, protocol: Protocol) {
    let random: u64 = std::env::var("LOCKSIDE_SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |seed| seed.parse().expect("LOCKSIDE_SEED is a number"),
    );
    eprintln!("LOCKSIDE_SEED={random}");
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&random.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let redis = Redis::start();
    let client = std::cell::RefCell::new(redis.client());
    if protocol == Protocol::Resp3 {
        client.borrow_mut().ask("HELLO 3");
    }
    let counts = std::cell::Cell::new((0, 0));
    let result = runner.run(&prop::collection::vec(step(mode), 1..60), |steps| {
        let mut client = client.borrow_mut();
        client.ask("FLUSHALL");
        client.ask("SELECT 0");
        let engine = Engine::new(mode, protocol);
        let mut pair = Pair { engine, redis: &mut client, served: 0, not_served: 0 };
        for step in &steps {
            pair.take(step)?;
        }
        let (served, not_served) = counts.get();
        counts.set((served + pair.served, not_served + pair.not_served));
        Ok(())
    });
    if let Err(TestError::Fail(reason, steps)) = result {
        let steps: Vec<String> = steps.iter().map(told).collect();
        panic!("{reason}\n{}", steps.join("\n"));
    }
    let (served, not_served) = counts.get();
    assert!(served > 4_000 && not_served * 10 < served, "{served} served, {not_served} not");
}

#[test]
fn persistent_locks_answer_as_redis_does() {
    compare_with_redis(Mode::Persistent, Protocol::Resp2);
}

#[test]
fn persistent_locks_answer_as_redis_does_in_resp3() {
    compare_with_redis(Mode::Persistent, Protocol::Resp3);
}

#[test]
fn locks_with_a_ttl_answer_as_redis_does() {
    compare_with_redis(Mode::Ttl, Protocol::Resp2);
}

#[test]
fn locks_with_a_ttl_answer_as_redis_does_in_resp3() {
    compare_with_redis(Mode::Ttl, Protocol::Resp3);
}
