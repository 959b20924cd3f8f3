//! Locks that are no strings and too large for the ledger to keep, and commands on a key of another
//! type: with Redis, without, and behind an outage.

use super::{A, NIL, OK, ONE, STRANGER, Stage, ZERO, answer, bulk, script, take};
use crate::support::{Client, Settings, Trouble, wait_until};

/// Takes a hash for an owner, with so many bytes under its name; a second time it says whose it is.
const TAKE: &str = "if redis.call('exists', KEYS[1]) == 0 then \
    redis.call('hset', KEYS[1], ARGV[1], string.rep('x', ARGV[2])) \
    redis.call('pexpire', KEYS[1], 30000) return 'taken' end \
    return redis.call('hexists', KEYS[1], ARGV[1]) == 1 and 'mine' or 'held'";
/// Takes a semaphore with so many permits.
const PERMITS: &str = "for i = 1, ARGV[1] do redis.call('zadd', KEYS[1], i, 'permit' .. i) end \
    return redis.call('pexpire', KEYS[1], 30000)";
/// What the ledger keeps no content of.
const LARGE: &str = "6000";

const STRICT: &str = "";
const FAST: &str = "guarantee = \"fast\"\n[ledger]\nmirror_interval = \"100ms\"";
const TOO_LARGE: &str = "lockside: a lock that is no string has at most 1024 elements and 64 KiB";

fn ask(stage: &mut Stage, owner: &str, key: &str, size: &str) -> String {
    answer(&mut stage.holder, &script(TAKE, key, &format!("{owner} {size}")))
}

/// A large lock of each type, whose scripts speak RESP3.
const OTHERS: [(&str, &str); 4] = [
    ("lock:hash", "redis.call('hset', KEYS[1], i, 'x' .. i)"),
    ("lock:set", "redis.call('sadd', KEYS[1], 'x' .. i)"),
    ("lock:zset", "redis.call('zadd', KEYS[1], i / 3, 'x' .. i)"),
    ("lock:list", "redis.call('rpush', KEYS[1], 'x' .. i)"),
];

/// Large locks `lock:a`, `lock:b` (hashes of `old`), `lock:c` (a semaphore) and [`OTHERS`].
fn take_large(stage: &mut Stage) {
    for (key, adds) in OTHERS {
        let text = format!(
            "redis.setresp(3) for i = 1, 200 do {adds} end return redis.call('pexpire', KEYS[1], 30000)"
        );
        assert_eq!(answer(&mut stage.holder, &script(&text, key, "")), ONE);
    }
    for key in ["lock:a", "lock:b"] {
        assert_eq!(ask(stage, "old", key, LARGE), bulk("taken"));
    }
    assert_eq!(answer(&mut stage.holder, &script(PERMITS, "lock:c", "300")), ONE);
}

/// All of them are released; `lock:b` and `lock:c` are taken by others.
fn release_and_take_anew(stage: &mut Stage) {
    for (key, _) in OTHERS {
        assert_eq!(answer(&mut stage.holder, &format!("DEL {key}")), ONE);
    }
    assert_eq!(answer(&mut stage.holder, "DEL lock:a lock:b lock:c"), ":3\r\n");
    assert_eq!(ask(stage, "new", "lock:b", "1"), bulk("taken"));
    assert_eq!(answer(&mut stage.stranger, &take("lock:c", A)), OK);
}

/// Nobody is told that it holds what is another's, and what is free can be taken.
fn assert_new_holders(stage: &mut Stage) {
    stage.wait_mode("healthy");
    assert_eq!(ask(stage, "old", "lock:b", "1"), bulk("held"));
    assert_eq!(ask(stage, "new", "lock:b", "1"), bulk("mine"));
    assert_eq!(answer(&mut stage.holder, "GET lock:c"), bulk(A));
    assert_eq!(stage.redis.ask("HKEYS lock:b"), format!("*1\r\n{}", bulk("new")));
    assert_eq!(stage.redis.ask("EXISTS lock:a"), ZERO);
    for (key, _) in OTHERS {
        assert_eq!(stage.redis.ask(&format!("EXISTS {key}")), ZERO, "{key}");
    }
    assert_eq!(ask(stage, "third", "lock:a", LARGE), bulk("taken"));
    assert_eq!(ask(stage, "third", "lock:a", LARGE), bulk("mine"));
    assert_eq!(stage.redis.ask("TTL lock:a"), ":-1\r\n");
}

/// Redis was out of reach, and still has what it had.
fn redis_kept_the_old_ones(top: &str) {
    let Some(mut stage) = Stage::with(&[], Settings { top, ..Settings::default() }) else { return };
    take_large(&mut stage);
    stage.relay.set(Trouble::Refuse);
    stage.relay.reset();
    stage.wait_mode("degraded");
    release_and_take_anew(&mut stage);
    stage.relay.set(Trouble::None);
    assert_new_holders(&mut stage);
}

/// Redis comes back with a dataset from before.
fn redis_comes_back_with_the_old_ones(top: &str) {
    let Some(mut stage) = Stage::with(&[], Settings { top, ..Settings::default() }) else { return };
    take_large(&mut stage);
    let before = stage.redis.snapshot();
    release_and_take_anew(&mut stage);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.redis.start_with(&before);
    assert_new_holders(&mut stage);
}

#[test]
fn a_large_lock_that_was_released_gives_way_where_redis_kept_it() {
    redis_kept_the_old_ones(STRICT);
}

#[test]
fn a_large_lock_that_was_released_gives_way_where_redis_kept_it_in_fast() {
    redis_kept_the_old_ones(FAST);
}

#[test]
fn a_large_lock_that_was_released_gives_way_where_it_came_back() {
    redis_comes_back_with_the_old_ones(STRICT);
}

#[test]
fn a_large_lock_that_was_released_gives_way_where_it_came_back_in_fast() {
    redis_comes_back_with_the_old_ones(FAST);
}

/// Changes of a large lock are told, so that an older content is dead too; its holder is left alone.
#[test]
fn a_large_lock_that_has_changed_stays_its_holders() {
    let Some(mut stage) = Stage::start() else { return };
    take_large(&mut stage);
    for line in ["HSET lock:a more 1", "HDEL lock:a more", "HSET lock:a more 2", "HDEL lock:b x"] {
        answer(&mut stage.holder, line);
    }
    let fields = stage.redis.ask("HGET lock:a more");
    stage.relay.set(Trouble::Refuse);
    stage.relay.reset();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.stranger, &take("lock:a", A)), NIL);
    assert_eq!(answer(&mut stage.stranger, "TYPE lock:a"), "+hash\r\n");
    stage.relay.set(Trouble::None);
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("HGET lock:a more"), fields);
    assert_eq!(ask(&mut stage, "old", "lock:a", LARGE), bulk("mine"));
    assert_eq!(answer(&mut stage.holder, "DEL lock:a"), ONE);
    assert_eq!(ask(&mut stage, "third", "lock:a", "1"), bulk("taken"));
}

/// A lock can't be made larger than can be compared, be it at once or bit by bit.
#[test]
fn a_lock_that_would_be_too_large_is_refused() {
    let Some(mut stage) = Stage::start() else { return };
    let told = |reply: String| assert!(reply.contains(TOO_LARGE), "{reply}");
    told(answer(&mut stage.holder, &script(PERMITS, "lock:a", "1025")));
    told(ask(&mut stage, "old", "lock:b", "70000"));
    assert_eq!(stage.redis.ask("EXISTS lock:b"), ZERO);
    // In a way that is seen only once it is done: it is taken back.
    let built = "for i = 1, 1025 do redis.call('sadd', KEYS[2], i) end \
        redis.call('sunionstore', KEYS[1], KEYS[2]) redis.call('del', KEYS[2]) \
        return redis.call('pexpire', KEYS[1], 30000)";
    told(answer(&mut stage.holder, &format!("EVAL \"{built}\" 2 lock:c plain:c")));
    assert_eq!(stage.redis.ask("EXISTS lock:c"), ZERO);
    assert_eq!(answer(&mut stage.holder, &script(PERMITS, "lock:d", "1024")), ONE);
    told(answer(&mut stage.holder, "ZADD lock:d 1 one-more"));
    assert_eq!(answer(&mut stage.holder, "ZREM lock:d permit1"), ONE);
    assert_eq!(answer(&mut stage.holder, "ZADD lock:d 1 one-more"), ONE);
    assert_eq!(stage.redis.ask("ZCARD lock:d"), ":1024\r\n");
    // What nobody holds is its client's own business, as large as it likes.
    assert_eq!(answer(&mut stage.holder, "SADD lock:plain 1"), ONE);
}

/// A key of another type is refused in Redis's words, and what overwrites it is the holder: with Redis,
/// without it, and in Redis afterwards.
#[test]
fn a_lock_of_another_type_is_refused_or_overwritten() {
    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    let Some(mut stage) = Stage::start() else { return };
    for with_redis in [true, false] {
        let key = |name: &str| format!("lock:{name}{}", u8::from(with_redis));
        stage.wait_mode("healthy");
        for name in ["set", "del", "getset", "nx", "multi"] {
            assert_eq!(ask(&mut stage, "old", &key(name), "1"), bulk("taken"));
        }
        // Larger than the ledger keeps.
        assert_eq!(ask(&mut stage, "old", &key("large"), LARGE), bulk("taken"));
        stage.take(&key("string"), A);
        if !with_redis {
            stage.relay.set(Trouble::Refuse);
            stage.relay.reset();
            stage.wait_mode("degraded");
        }
        for line in ["HGET $ f", "HSET $ f 1", "HSCAN $ 0", "LINDEX $ 0", "ZPOPMIN $", "XLEN $"] {
            let line = line.replace('$', &key("string"));
            assert_eq!(answer(&mut stage.stranger, &line).trim_end(), WRONG_TYPE, "{line}");
        }
        for name in ["set", "large"] {
            for line in ["GET $", "GETSET $ 1", "GETDEL $", "SADD $ 1", "INCR $", "SET $ 1 GET"] {
                let line = line.replace('$', &key(name));
                assert_eq!(answer(&mut stage.stranger, &line).trim_end(), WRONG_TYPE, "{line}");
            }
            assert_eq!(answer(&mut stage.stranger, &take(&key(name), A)), NIL);
            assert_eq!(answer(&mut stage.holder, &format!("SET {} {A}", key(name))), OK);
        }
        assert_eq!(answer(&mut stage.holder, &format!("DEL {}", key("del"))), ONE);
        assert_eq!(answer(&mut stage.holder, &format!("SET {} {A}", key("del"))), OK);
        let multi = key("multi");
        let exec = [&*format!("DEL {multi}"), &*take(&multi, A), "EXEC"];
        assert_eq!(answer(&mut stage.holder, "MULTI"), OK);
        let replies = exec.map(|line| answer(&mut stage.holder, line));
        assert_eq!(replies[2], "*2\r\n:1\r\n+OK\r\n");
        stage.relay.set(Trouble::None);
        stage.wait_mode("healthy");
        for name in ["set", "large", "del", "multi", "string"] {
            assert_eq!(
                answer(&mut stage.stranger, &format!("GET {}", key(name))),
                bulk(A),
                "{name}"
            );
            assert_eq!(stage.redis.ask(&format!("TYPE {}", key(name))), "+string\r\n", "{name}");
            let owner = answer(&mut stage.stranger, &format!("LOCKSIDE OWNER {}", key(name)));
            assert!(owner.contains(&A[..8]), "{name}: {owner}");
        }
        for name in ["getset", "nx"] {
            assert_eq!(ask(&mut stage, "old", &key(name), "1"), bulk("mine"), "{name}");
        }
    }
}

/// A Redis that hung has carried out an old take late: nobody holds that, so the script that finds its
/// own token there gets the lock from the ledger. Not the one who finds another's.
#[test]
fn what_an_old_take_has_left_is_no_lock() {
    const STRING: &str = "if redis.call('exists', KEYS[1]) == 0 then redis.call('set', KEYS[1], ARGV[1]) \
        return 'taken' end if redis.call('get', KEYS[1]) == ARGV[1] then return 'mine' end return 'held'";
    const HASH: &str = "if redis.call('exists', KEYS[1]) == 0 then redis.call('hset', KEYS[1], ARGV[1], 1) \
        return 'taken' end if redis.call('hexists', KEYS[1], ARGV[1]) == 1 then return 'mine' end return 'held'";
    let Some(mut stage) = Stage::start() else { return };
    // A key of its own for each: one that was just repaired may still be served by the ledger alone.
    for (text, key, left) in [(STRING, "lock:s", "SET"), (HASH, "lock:h", "HSET")] {
        let value = if text == STRING { A.to_owned() } else { format!("{A} 1") };
        stage.redis.ask(&format!("{left} {key} {value}"));
        assert_eq!(stage.redis.ask(&format!("PEXPIRE {key} 60000")), ONE);
        let ask = |client: &mut Client, token| answer(client, &script(text, key, token));
        assert_eq!(ask(&mut stage.stranger, STRANGER), bulk("held"));
        assert_eq!(ask(&mut stage.holder, A), bulk("taken"));
        assert_eq!(ask(&mut stage.stranger, STRANGER), bulk("held"));
        assert_eq!(ask(&mut stage.holder, A), bulk("mine"));
        wait_until("it is made permanent", || stage.redis.ask(&format!("PTTL {key}")) == ":-1\r\n");
        assert_eq!(answer(&mut stage.holder, &format!("DEL {key}")), ONE);
    }
}
