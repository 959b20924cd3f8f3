//! Numbers at the edges of what Redis takes, in the engine and in Redis: scores, and integers where a sum
//! just overflows or just does not.

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;

use super::scripts::Pair;
use crate::support::Redis;

/// Texts that are scores for one command and none for another, or for none, or at an end of a double.
const SCORES: &[&str] = &[
    "",
    " ",
    " 1",
    "1 ",
    "\t1",
    "\n",
    "+1",
    "-1",
    "+-1",
    "0",
    "-0",
    "+0",
    "0x10",
    "-0x10",
    "0x1p3",
    "0X.8",
    "0x",
    "0x1p-1074",
    "0x1p-1080",
    "0x1p1024",
    "0x1.fffffffffffff8p0",
    "1e400",
    "-1e400",
    "1e-400",
    "1e-310",
    "4.9e-324",
    "2e-324",
    "1e308",
    "1.8e308",
    "1.7976931348623157e308",
    "inf",
    "+inf",
    "-inf",
    "INF",
    "-Infinity",
    "infin",
    "nan",
    "-nan",
    "nan(1)",
    "1e5",
    "1E5",
    "1e",
    "1e+",
    ".5",
    "5.",
    ".",
    "1_0",
    "1\0",
    "\0",
    "1d",
    "1f",
    "(1",
    "((1",
    "0e999999999999",
    "9007199254740993",
    "0.1",
    "123456789012345678901234567890",
    "\u{661}",
];

fn words(command: &[&str]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Commands that read a score, `#` is its place, on a sorted set with the members m, n and o.
const SCORED: &[&str] = &[
    "ZCOUNT lock:a # +inf",
    "ZCOUNT lock:a (# +inf",
    "ZCOUNT lock:a -inf #",
    "ZCOUNT lock:a -inf (#",
    "ZRANGEBYSCORE lock:a # +inf WITHSCORES",
    "ZRANGE lock:a -inf # BYSCORE",
    "ZREVRANGEBYSCORE lock:a # -inf",
    "ZREMRANGEBYSCORE lock:a (# #",
    "ZADD lock:a # p",
    "ZSCORE lock:a p",
    "ZADD lock:a CH # m",
    "ZADD lock:a GT # n",
    "ZADD lock:a 3 q # r",
    "ZINCRBY lock:a # m",
    "ZINCRBY lock:a # new",
    "ZADD lock:a INCR # newer",
    "ZADD lock:a XX INCR # newer",
    "ZADD lock:a NX INCR # newer",
    "ZRANGE lock:a 0 -1 WITHSCORES",
    "ZREMRANGEBYSCORE lock:a # #",
    "ZCARD lock:a",
];

#[test]
fn scores_are_taken_and_refused_as_by_redis() {
    const TAKE: &str = "redis.call('zadd', KEYS[1], 1, 'm', -1.5, 'n', 0, 'o') \
        return redis.call('pexpire', KEYS[1], 30000)";
    let redis = Redis::start();
    let mut wrong = Vec::new();
    for (mode, protocol) in [(Mode::Persistent, Protocol::Resp2), (Mode::Ttl, Protocol::Resp3)] {
        let mut pair = Pair::new(&redis, mode, protocol);
        for score in SCORES {
            pair.reset("");
            let (ours, theirs) = pair.script(TAKE, &["lock:a"], &[]);
            assert_eq!(ours, Some(theirs));
            for command in SCORED {
                let command: Vec<String> =
                    command.split(' ').map(|word| word.replace('#', score)).collect();
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                let (ours, theirs) = pair.both(&words(&command));
                if ours.as_ref() != Some(&theirs) {
                    wrong.push(format!("{command:?}\n  engine {ours:?}\n  Redis  {theirs}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn integers_overflow_as_in_redis() {
    const ENDS: &[&str] = &[
        "0",
        "1",
        "-1",
        "-2",
        "9223372036854775806",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775807",
        "-9223372036854775808",
        "-9223372036854775809",
        "-0",
        "+1",
        "01",
        " 1",
        "1 ",
        "",
        "x",
        "4611686018427387904",
        "-4611686018427387905",
        "9007199254740993",
    ];
    const TAKE: &str = "redis.call('hset', KEYS[1], 'f', ARGV[1]) \
        return redis.call('pexpire', KEYS[1], 30000)";
    const CALL: &str = "return redis.pcall(ARGV[1], KEYS[1], ARGV[2])";
    let redis = Redis::start();
    let mut wrong = Vec::new();
    let mut pair = Pair::new(&redis, Mode::Persistent, Protocol::Resp2);
    let mut check = |pair: &mut Pair, command: &[&str]| {
        let (ours, theirs) = pair.both(&words(command));
        if ours.as_ref() != Some(&theirs) {
            wrong.push(format!("{command:?}\n  engine {ours:?}\n  Redis  {theirs}"));
        }
    };
    for before in ENDS {
        for by in ENDS {
            for name in ["INCRBY", "DECRBY"] {
                pair.reset("");
                check(&mut pair, &["SET", "lock:a", before]);
                check(&mut pair, &[name, "lock:a", by]);
                check(&mut pair, &["GET", "lock:a"]);
                check(&mut pair, &["EVAL", CALL, "1", "lock:a", name, by]);
                check(&mut pair, &["GET", "lock:a"]);
                check(&mut pair, &["DECR", "lock:a"]);
                check(&mut pair, &[name, "lock:b", by]);
            }
            pair.reset("");
            check(&mut pair, &["EVAL", TAKE, "1", "lock:a", before]);
            check(&mut pair, &["HINCRBY", "lock:a", "f", by]);
            check(&mut pair, &["HGET", "lock:a", "f"]);
            check(&mut pair, &["HINCRBY", "lock:a", "g", by]);
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// A lock that its client gave no TTL has none for its client's own commands. Each on a new lock: more time
/// leaves nothing behind, in a persistent rule (SPEC 5).
#[test]
fn a_lock_without_ttl_has_none() {
    let redis = Redis::start();
    let mut pair = Pair::new(&redis, Mode::Persistent, Protocol::Resp2);
    for command in [
        "PERSIST lock:a",
        "PEXPIRE lock:a 90000 XX",
        "EXPIRE lock:a 90 NX",
        "EXPIRE lock:a 90 GT",
        "PEXPIRE lock:a 90000 LT",
        "EXPIREAT lock:a 41024000000 XX",
        "PEXPIREAT lock:a 1 XX",
        "PEXPIREAT lock:a 1 NX",
        "TTL lock:a",
        "EXISTS lock:a",
    ] {
        pair.reset("SET lock:a 1 NX");
        for line in [command, "EXISTS lock:a"] {
            let words = words(&line.split(' ').collect::<Vec<_>>());
            let (ours, theirs) = pair.both(&words);
            assert_eq!(ours, Some(theirs), "{line} behind {command}");
        }
    }
}
