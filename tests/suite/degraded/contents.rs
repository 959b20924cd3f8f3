//! Locks that are no strings, in the engine and in Redis: the scripts of libraries one after the other,
//! and commands by themselves.

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;

use super::scripts::{Pair, is_same};
use crate::envelope::libraries::texts;
use crate::support::Redis;

/// Runs a script, and reads what stands there afterwards.
fn compare(pair: &mut Pair, text: &str, keys: &[&str], args: &[&str], seen: &[&str]) {
    let (ours, theirs) = pair.script(text, keys, args);
    let ours = ours.unwrap_or_else(|| panic!("not served: {text}"));
    assert!(is_same(&ours, &theirs), "{text} {args:?}\n{ours}\n{theirs}");
    for line in seen {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
        let (ours, theirs) = pair.both(&words);
        assert_eq!(ours, Some(theirs), "{line} behind {text} {args:?}");
    }
}

#[test]
fn redissons_scripts_say_what_redis_says() {
    const SEEN: &[&str] = &["HGETALL lock:a", "HLEN lock:a", "TYPE lock:a", "HEXISTS lock:a me:1"];
    let redis = Redis::start();
    for (mode, protocol) in [(Mode::Persistent, Protocol::Resp2), (Mode::Ttl, Protocol::Resp3)] {
        let mut pair = Pair::new(&redis, mode, protocol);
        pair.reset("");
        let keys = ["lock:a", "redisson_lock__channel:{lock:a}"];
        for (text, args) in [
            (texts::REDISSON_UNLOCK, ["30000", "me:1"]),
            (texts::REDISSON_LOCK, ["30000", "me:1"]),
            (texts::REDISSON_LOCK, ["30000", "me:1"]),
            (texts::REDISSON_LOCK, ["30000", "you:1"]),
            (texts::REDISSON_RENEW, ["40000", "me:1"]),
            (texts::REDISSON_RENEW, ["40000", "you:1"]),
            (texts::REDISSON_UNLOCK, ["30000", "you:1"]),
            (texts::REDISSON_UNLOCK, ["30000", "me:1"]),
            (texts::REDISSON_LOCK, ["30000", "you:1"]),
            (texts::REDISSON_UNLOCK, ["30000", "me:1"]),
            (texts::REDISSON_LOCK, ["30000", "you:1"]),
        ] {
            compare(&mut pair, text, &keys, &args, SEEN);
        }
    }
}

#[test]
fn symfonys_and_semaphores_scripts_say_what_redis_says() {
    const SEEN: &[&str] = &["ZCARD lock:a", "TYPE lock:a", "ZRANGE lock:a 0 -1", "GET lock:b"];
    const SCORES: &[&str] = &["ZRANGE lock:a 0 -1 WITHSCORES", "ZSCORE lock:a one"];
    let redis = Redis::start();
    for (mode, protocol) in [(Mode::Persistent, Protocol::Resp3), (Mode::Ttl, Protocol::Resp2)] {
        let mut pair = Pair::new(&redis, mode, protocol);
        pair.reset("");
        for token in ["me", "you", "me"] {
            compare(&mut pair, texts::SYMFONY_ACQUIRE, &["lock:a"], &[token, "60000"], SEEN);
        }
        let release = "redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('ZREM', KEYS[1], '__write__') \
            local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] \
            if last ~= nil then redis.call('PEXPIREAT', KEYS[1], last) end return true";
        for token in ["you", "me"] {
            compare(&mut pair, release, &["lock:a"], &[token], SEEN);
        }
        // Promoted from a shared lock, as far as nobody else shares it.
        let share = "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2]) \
            if redis.call('ZSCORE', KEYS[1], '__write__') then return false end \
            redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) \
            redis.call('PEXPIRE', KEYS[1], 60000) return redis.call('ZCOUNT', KEYS[1], '-inf', '+inf')";
        for (token, now, ends) in [("one", "5", "20"), ("two", "6", "30"), ("one", "25", "40")] {
            compare(&mut pair, share, &["lock:a"], &[token, now, ends], SCORES);
        }
        pair.reset("");
        for (permits, token, now) in [
            ("1", "one", "100000"),
            ("1", "two", "100001"),
            ("2", "two", "100002"),
            ("9", "x", "900000"),
        ] {
            let args = [permits, token, "5000", now];
            compare(&mut pair, texts::SEMAPHORE, &["lock:a"], &args, SCORES);
        }
    }
}

/// Nothing, and a lock of each type.
const TAKES: &[&str] = &[
    "return 1",
    "return redis.call('set', KEYS[1], 'v', 'px', 30000)",
    "redis.call('hset', KEYS[1], 'f', 1) return redis.call('pexpire', KEYS[1], 30000)",
    "redis.call('zadd', KEYS[1], 1, 'm', 1.5, 'n') return redis.call('pexpire', KEYS[1], 30000)",
    "redis.call('sadd', KEYS[1], 'm') return redis.call('pexpire', KEYS[1], 30000)",
    "redis.call('rpush', KEYS[1], 'm', 'n') return redis.call('pexpire', KEYS[1], 30000)",
];

/// Each on a lock of each type, on a string and on nothing.
#[test]
fn commands_by_themselves_say_what_redis_says() {
    const COMMANDS: &[&str] = &[
        "GET lock:a",
        "SET lock:a 1 NX",
        "SET lock:a 1 XX GET",
        "APPEND lock:a x",
        "STRLEN lock:a",
        "HGET lock:a f",
        "HSET lock:a f 1 g 2",
        "HMSET lock:a f 1",
        "HSET lock:a f 1 g",
        "HMGET lock:a f g",
        "HGETALL lock:a",
        "HKEYS lock:a",
        "HVALS lock:a",
        "HINCRBY lock:a f x",
        "HINCRBY lock:a n 3",
        "HDEL lock:a x",
        "HDEL lock:a f",
        "HSETNX lock:a f 2",
        "HLEN lock:a",
        "HSTRLEN lock:a f",
        "ZADD lock:a NX CH 1 m",
        "ZADD lock:a x m",
        "ZADD lock:a 1",
        "ZREM lock:a m n",
        "ZSCORE lock:a m",
        "ZRANGE lock:a 0 -1 WITHSCORES",
        "ZREVRANGE lock:a 0 0",
        "ZRANGEBYSCORE lock:a -inf (5",
        "ZCOUNT lock:a 0 (2",
        "ZREMRANGEBYSCORE lock:a (1 +inf",
        "ZCARD lock:a",
        "ZINCRBY lock:a 0.5 m",
        "SADD lock:a m n",
        "SREM lock:a m",
        "SMEMBERS lock:a",
        "SCARD lock:a",
        "SISMEMBER lock:a m",
        "SMISMEMBER lock:a m x",
        "LPUSH lock:a x",
        "RPOP lock:a",
        "LRANGE lock:a 0 -1",
        "LLEN lock:a",
        "LINDEX lock:a 0",
        "LINDEX lock:a -3",
        "LINDEX lock:a x",
        "LINSERT lock:a BEFORE n x",
        "LINSERT lock:a after m x",
        "LINSERT lock:a AFTER z x",
        "LINSERT lock:a IN m x",
        "LREM lock:a 0 m",
        "LREM lock:a -1 n",
        "LREM lock:a x n",
        "LSET lock:a -1 x",
        "LSET lock:a 9 x",
        "LSET lock:a x x",
        "LTRIM lock:a 0 0",
        "LTRIM lock:a 1 -1",
        "LTRIM lock:a 5 2",
        "LTRIM lock:a x 2",
        "LPOS lock:a n",
        "LPOS lock:a n RANK -1 COUNT 0 MAXLEN 1",
        "LPOS lock:a m COUNT 2",
        "LPOS lock:a z COUNT 1",
        "LPOS lock:a z",
        "LPOS lock:a n RANK 0",
        "LPOS lock:a n COUNT -1",
        "LPOS lock:a n MAXLEN x",
        "LPOS lock:a n RANK",
        "LPOP lock:a 2",
        "LMPOP 1 lock:a LEFT",
        "LMPOP 1 lock:a RIGHT COUNT 9",
        "LMPOP 0 lock:a LEFT",
        "LMPOP 1 lock:a UP",
        "LMPOP 1 lock:a LEFT COUNT 0",
        "HINCRBYFLOAT lock:a f 0.1",
        "HINCRBYFLOAT lock:a g 10.25",
        "HINCRBYFLOAT lock:a f x",
        "INCRBYFLOAT lock:a 1.5",
        "HSCAN lock:a 0",
        "HSCAN lock:a 0 MATCH g* COUNT 9",
        "HSCAN lock:a x",
        "HSCAN lock:a 0 COUNT 0",
        "HSCAN lock:a 0 COUNT",
        "SSCAN lock:a 0",
        "SSCAN lock:a 0 MATCH [m]",
        "ZSCAN lock:a 0",
        "ZSCAN lock:a 0 MATCH n COUNT x",
        "ZPOPMIN lock:a",
        "ZPOPMAX lock:a",
        "ZPOPMIN lock:a 2",
        "ZPOPMAX lock:a 0",
        "ZPOPMAX lock:a -1",
        "ZPOPMIN lock:a 1 2",
        "ZMPOP 1 lock:a MIN",
        "ZMPOP 1 lock:a MAX COUNT 5",
        "ZMPOP x lock:a MAX",
        "ZRANGEBYLEX lock:a - +",
        "ZRANGEBYLEX lock:a [m (n LIMIT 0 1",
        "ZRANGEBYLEX lock:a m n",
        "ZREVRANGEBYLEX lock:a + -",
        "ZREVRANGEBYLEX lock:a + - WITHSCORES",
        "ZRANGE lock:a - + BYLEX",
        "ZRANGE lock:a + - BYLEX REV LIMIT 0 -1",
        "ZRANGE lock:a 0 -1 LIMIT 0 1",
        "ZREVRANGEBYSCORE lock:a +inf -inf WITHSCORES LIMIT 1 1",
        "ZLEXCOUNT lock:a - [m",
        "ZREMRANGEBYLEX lock:a [n +",
        "ZREMRANGEBYRANK lock:a 0 0",
        "ZREVRANK lock:a m",
        "ZRANK lock:a x",
        "ZMSCORE lock:a m x",
        "EXISTS lock:a",
        "TYPE lock:a",
        "DEL lock:a",
        "EXPIRE lock:a 0",
    ];
    let redis = Redis::start();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        compare_commands(Pair::new(&redis, Mode::Persistent, protocol), TAKES, COMMANDS);
    }
}

fn compare_commands(mut pair: Pair, takes: &[&str], commands: &[&str]) {
    let (mut served, mut refused) = (0, Vec::new());
    for (at, take) in takes.iter().enumerate() {
        for line in commands {
            pair.reset("");
            compare(&mut pair, take, &["lock:a"], &[], &[]);
            let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
            let (ours, theirs) = pair.both(&words);
            match ours {
                Some(ours) => {
                    assert_eq!(ours, theirs, "{line} behind {take}");
                    served += 1;
                    let type_of = "return redis.call('type', KEYS[1])";
                    compare(&mut pair, type_of, &["lock:a"], &[], &[]);
                }
                // What is no string and no script has taken is its client's own matter.
                None => refused.push((at, line.split(' ').next().unwrap())),
            }
        }
    }
    let creates =
        ["HSET", "HMSET", "HINCRBY", "HSETNX", "ZADD", "ZINCRBY", "SADD", "LPUSH", "HINCRBYFLOAT"];
    assert!(refused.iter().all(|(at, name)| *at == 0 && creates.contains(name)), "{refused:?}");
    assert!(served > 600, "{served}");
}

/// What a key's type does not take is refused in Redis's words, whether the command is served or not.
#[test]
fn a_lock_of_another_type_is_told_as_redis_tells_it() {
    const COMMANDS: &[&str] = &[
        "HGET $ f",
        "HSET $ f 1",
        "HDEL $ f",
        "HINCRBYFLOAT $ f 1.5",
        "HINCRBYFLOAT $ f x",
        "HRANDFIELD $",
        "HRANDFIELD $ 1",
        "HRANDFIELD $ x",
        "HSCAN $ 0",
        "HSCAN $ x",
        "HSETNX $ f 1",
        "ZADD $ 1 m",
        "ZPOPMIN $",
        "ZPOPMAX $ 2",
        "ZPOPMIN $ x",
        "ZPOPMIN $ -1",
        "ZSCAN $ 0",
        "ZRANDMEMBER $",
        "ZLEXCOUNT $ - +",
        "ZLEXCOUNT $ [a (b",
        "ZLEXCOUNT $ a b",
        "ZRANGEBYLEX $ - +",
        "ZREVRANGEBYLEX $ + -",
        "ZREMRANGEBYLEX $ - +",
        "ZREMRANGEBYLEX $ x y",
        "ZMSCORE $ m",
        "GEOADD $ 1 1 m",
        "GEOADD $ x 1 m",
        "GEOADD $ 1 86 m",
        "GEOPOS $ m",
        "GEOHASH $ m",
        "SADD $ m",
        "SPOP $",
        "SPOP $ 2",
        "SPOP $ x",
        "SRANDMEMBER $",
        "SRANDMEMBER $ 2",
        "SSCAN $ 0",
        "SMOVE $ lock:b m",
        "SMOVE lock:b $ m",
        "SINTER $",
        "SUNION $ lock:b",
        "SDIFF lock:b $",
        "LINDEX $ 0",
        "LINDEX $ x",
        "LSET $ 0 m",
        "LREM $ 0 m",
        "LREM $ x m",
        "LTRIM $ 0 -1",
        "LTRIM $ x 1",
        "LINSERT $ BEFORE m n",
        "LINSERT $ x m n",
        "LPOS $ m",
        "LPOS $ m RANK 0",
        "LMOVE $ lock:b LEFT RIGHT",
        "LMOVE lock:b $ LEFT RIGHT",
        "LMOVE $ lock:b UP RIGHT",
        "RPOPLPUSH $ lock:b",
        "LPUSHX $ m",
        "RPOP $ 1",
        "RPOP $ x",
        "XADD $ * f v",
        "XADD $ x f v",
        "XADD $ * f",
        "XLEN $",
        "XRANGE $ - +",
        "XRANGE $ x +",
        "XREVRANGE $ + -",
        "XDEL $ 1-1",
        "PFADD $ m",
        "PFCOUNT $",
        "PFCOUNT lock:b $",
        "PFMERGE $ lock:b",
        "INCRBYFLOAT $ 1",
        "SETBIT $ 0 1",
        "SETBIT $ x 1",
        "SETBIT $ 4294967296 1",
        "SETBIT $ 0 2",
        "GETBIT $ 0",
        "GETBIT $ -1",
        "BITCOUNT $",
        "BITCOUNT $ x y",
        "BITPOS $ 1",
        "BITPOS $ 2",
        "SORT $",
        "SORT_RO $",
        "GETSET $ v",
        "GETDEL $",
        "GETEX $",
        "SET $ v GET",
        "SET $ v XX GET",
        "INCR $",
        "GETRANGE $ 0 1",
    ];
    let redis = Redis::start();
    let mut pair = Pair::new(&redis, Mode::Persistent, Protocol::Resp2);
    let mut told = 0;
    for take in TAKES {
        for line in COMMANDS {
            pair.reset("");
            compare(&mut pair, take, &["lock:a"], &[], &[]);
            let line = line.replace('$', "lock:a");
            let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
            let (ours, theirs) = pair.both(&words);
            let is_wrong_type = theirs.starts_with("-WRONGTYPE");
            told += usize::from(is_wrong_type);
            match ours {
                Some(ours) => assert_eq!(ours, theirs, "{line} behind {take}"),
                None => assert!(!is_wrong_type, "{line} behind {take}: {theirs}"),
            }
            // A script is told the same, and goes on.
            if is_wrong_type {
                let args: Vec<&str> = line.split(' ').collect();
                let text = "local r = redis.pcall(unpack(ARGV)) return {r.err, redis.call('type', KEYS[1])}";
                compare(&mut pair, text, &["lock:a", "lock:b"], &args, &[]);
            }
        }
    }
    assert!(told > 250, "{told}");
}
