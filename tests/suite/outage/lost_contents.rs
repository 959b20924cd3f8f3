//! A lock that is no string and that vanishes from Redis behind Lockside's back: whoever reads what stands
//! under it is told what the ledger has, and never that there is nothing (SPEC 2).

use super::{OK, ONE, Stage, ZERO, answer, bulk, script};
use crate::support::{Settings, wait_until};

/// No pass comes by itself: what is put back was asked for.
const SELDOM: &str = "command_timeout = \"10s\"\nconnect_timeout = \"10s\"\nrecover_after = \"300ms\"\n\
    probe_interval = \"100ms\"\nprobe_timeout = \"10s\"\nrepair_interval = \"1h\"";

const TAKE: &str = "redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2)) \
    return redis.call('pexpire', KEYS[1], 30000)";
/// A hash that the ledger keeps no content of.
const TAKE_LARGE: &str = "redis.call('hset', KEYS[1], 'me', string.rep('x', 6000)) \
    return redis.call('pexpire', KEYS[1], 30000)";

/// Nobody's field or member: that it is not there is true with the lock and without, so that nothing comes
/// of it.
const FREE: &str = "nobody";

/// Commands on a key, and what each is told.
type Reads = Vec<(&'static str, String)>;

/// Each lock as it is taken, and what is read of it.
fn locks() -> Vec<(&'static str, &'static str, Reads)> {
    let list = |texts: &[&str]| {
        let all: String = texts.iter().map(|text| bulk(text)).collect();
        format!("*{}\r\n{all}", texts.len())
    };
    let nil = || super::NIL.to_owned();
    vec![
        (
            "lock:hash",
            "hset me:1 2",
            vec![
                ("HGETALL $", list(&["me:1", "2"])),
                ("HGET $ me:1", bulk("2")),
                ("HMGET $ me:1 x", format!("*2\r\n{}{}", bulk("2"), nil())),
                ("HEXISTS $ me:1", ONE.to_owned()),
                ("HLEN $", ONE.to_owned()),
                ("HKEYS $", list(&["me:1"])),
                ("HVALS $", list(&["2"])),
                ("HSTRLEN $ me:1", ONE.to_owned()),
                ("HSCAN $ 0", format!("*2\r\n{}{}", bulk("0"), list(&["me:1", "2"]))),
                ("HEXISTS $ nobody", ZERO.to_owned()),
            ],
        ),
        (
            "lock:zset",
            "zadd 5 me",
            vec![
                ("ZSCORE $ me", bulk("5")),
                ("ZMSCORE $ me x", format!("*2\r\n{}{}", bulk("5"), nil())),
                ("ZCARD $", ONE.to_owned()),
                ("ZRANGE $ 0 -1", list(&["me"])),
                ("ZRANGEBYSCORE $ 5 9 WITHSCORES", list(&["me", "5"])),
                ("ZREVRANGE $ 0 -1", list(&["me"])),
                ("ZCOUNT $ 4 6", ONE.to_owned()),
                ("ZRANK $ me", ZERO.to_owned()),
                ("ZSCAN $ 0", format!("*2\r\n{}{}", bulk("0"), list(&["me", "5"]))),
                ("ZSCORE $ nobody", nil()),
            ],
        ),
        (
            "lock:set",
            "sadd me",
            vec![
                ("SMEMBERS $", list(&["me"])),
                ("SISMEMBER $ me", ONE.to_owned()),
                ("SMISMEMBER $ x me", format!("*2\r\n{ZERO}{ONE}")),
                ("SCARD $", ONE.to_owned()),
                ("SSCAN $ 0", format!("*2\r\n{}{}", bulk("0"), list(&["me"]))),
                ("SISMEMBER $ nobody", ZERO.to_owned()),
            ],
        ),
        (
            "lock:list",
            "rpush one two",
            vec![
                ("LRANGE $ 0 -1", list(&["one", "two"])),
                ("LLEN $", ":2\r\n".to_owned()),
                ("LINDEX $ 1", bulk("two")),
                ("LPOS $ two", ONE.to_owned()),
                ("LPOS $ nobody", nil()),
            ],
        ),
    ]
}

fn stage() -> Option<Stage> {
    let mut stage = Stage::with(&[], Settings { upstream: SELDOM, ..Settings::default() })?;
    for (key, words, _) in locks() {
        let reply = answer(&mut stage.holder, &script(TAKE, key, words));
        assert_eq!(reply, ONE, "{key}");
    }
    Some(stage)
}

/// The holder's transaction; EXEC's reply.
#[track_caller]
fn transact(stage: &mut Stage, lines: &[&str]) -> String {
    assert_eq!(answer(&mut stage.holder, "MULTI"), OK);
    for line in lines {
        assert_eq!(answer(&mut stage.holder, line), "+QUEUED\r\n", "{line}");
    }
    answer(&mut stage.holder, "EXEC")
}

/// Redis has the lock again, because somebody has asked for it.
fn wait_repaired(stage: &Stage, key: &str) {
    wait_until("it is put back", || stage.redis.ask(&format!("EXISTS {key}")) == ONE);
}

#[test]
fn what_was_lost_is_read_from_the_ledger() {
    let Some(mut stage) = stage() else { return };
    for (key, _, reads) in locks() {
        for (line, told) in reads {
            let line = line.replace('$', key);
            stage.redis.ask("FLUSHALL");
            assert_eq!(answer(&mut stage.holder, &line), told, "{line}, lost");
            if !line.contains(FREE) {
                wait_repaired(&stage, key);
            }
            assert_eq!(answer(&mut stage.stranger, &line), told, "{line}, put back");
        }
        // Released, it is gone.
        assert_eq!(answer(&mut stage.holder, &format!("DEL {key}")), ONE, "{key}");
        let count = match key {
            "lock:hash" => "HLEN",
            "lock:zset" => "ZCARD",
            "lock:set" => "SCARD",
            _ => "LLEN",
        };
        for _ in 0..2 {
            assert_eq!(answer(&mut stage.holder, &format!("{count} {key}")), ZERO);
            stage.redis.ask("FLUSHALL");
        }
    }
}

/// Its key alone is deleted, or overwritten by another type, or by a lock of somebody else.
#[test]
fn a_key_that_was_replaced_is_read_from_the_ledger() {
    let Some(mut stage) = stage() else { return };
    for behind in [vec!["DEL"], vec!["SET other"], vec!["DEL", "HSET another 1"]] {
        for command in &behind {
            let mut words: Vec<&str> = command.split(' ').collect();
            words.insert(1, "lock:hash");
            stage.redis.ask(&words.join(" "));
        }
        let all = format!("*2\r\n{}{}", bulk("me:1"), bulk("2"));
        assert_eq!(answer(&mut stage.holder, "HGETALL lock:hash"), all, "{behind:?}");
        assert_eq!(answer(&mut stage.holder, "HGET lock:hash me:1"), bulk("2"), "{behind:?}");
        wait_until("it is set right", || stage.redis.ask("HGET lock:hash me:1") == bulk("2"));
    }
}

#[test]
fn what_was_lost_is_read_from_the_ledger_in_a_transaction() {
    let Some(mut stage) = stage() else { return };
    for (key, _, reads) in locks() {
        for (line, told) in reads {
            let line = line.replace('$', key);
            let told = format!("*2\r\n{told}{OK}");
            stage.redis.ask("FLUSHALL");
            assert_eq!(transact(&mut stage, &[&line, "SET plain 1"]), told, "{line}, lost");
            wait_until("it is put back", || {
                let reply = transact(&mut stage, &[&line, "SET plain 1"]);
                assert!(reply == told || reply.starts_with("-EXECABORT"), "{line}: {reply}");
                let is_there = || stage.redis.ask(&format!("EXISTS {key}")) == ONE;
                reply == told && (line.contains(FREE) || is_there())
            });
        }
    }
}

/// What the transaction itself has ended is not there any more.
#[test]
fn a_release_and_reads_in_a_transaction() {
    let Some(mut stage) = stage() else { return };
    stage.redis.ask("FLUSHALL");
    let lines = ["HGET lock:hash me:1", "DEL lock:hash", "HGET lock:hash me:1", "HLEN lock:hash"];
    let told = format!("*4\r\n{}{ONE}{}{ZERO}", bulk("2"), super::NIL);
    assert_eq!(transact(&mut stage, &lines), told);
    assert_eq!(answer(&mut stage.holder, "HLEN lock:hash"), ZERO);
}

/// Nobody can say what stands there: so nobody is told that there is nothing.
#[test]
fn what_the_ledger_has_no_content_of_is_not_nothing() {
    let Some(mut stage) = stage() else { return };
    assert_eq!(answer(&mut stage.holder, &script(TAKE_LARGE, "lock:large", "")), ONE);
    assert_eq!(answer(&mut stage.holder, "HSTRLEN lock:large me"), ":6000\r\n");
    stage.redis.ask("FLUSHALL");
    for line in ["HEXISTS lock:large me", "HGETALL lock:large", "HRANDFIELD lock:hash"] {
        let reply = answer(&mut stage.holder, line);
        assert!(reply.starts_with("-TRYAGAIN lockside: nothing was read: "), "{line}: {reply}");
    }
    wait_repaired(&stage, "lock:hash");
    wait_until("Redis is asked again", || stage.holder.ask("HRANDFIELD lock:hash") == bulk("me:1"));
    assert_eq!(answer(&mut stage.holder, "DEL lock:large"), ONE);
    assert_eq!(answer(&mut stage.holder, "HEXISTS lock:large me"), ZERO);
}
