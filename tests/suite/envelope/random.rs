//! Random scripts of several commands on two locks and an ordinary key: each command's reply, and
//! what a client reads afterwards, are those of Redis by itself.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::rig::{Pair, Server, text};

const KEYS: [&[u8]; 3] = [b"lock:a", b"lock:b", b"plain"];

/// One command; `$` stands for a key, `%` for a value.
pub(crate) const COMMANDS: &[&str] = &[
    "'get',$",
    "'set',$,%",
    "'set',$,%,'NX'",
    "'set',$,%,'XX'",
    "'set',$,%,'PX',30000",
    "'set',$,%,'NX','PX',30000",
    "'set',$,%,'EX',30,'GET'",
    "'set',$,%,'KEEPTTL'",
    "'set',$,%,'GET','NX'",
    "'set',$,%,'PX',0",
    "'set',$,%,'PXAT',1",
    "'setnx',$,%",
    "'setex',$,30,%",
    "'psetex',$,30000,%",
    "'getset',$,%",
    "'getdel',$",
    "'getex',$",
    "'getex',$,'PX',30000",
    "'getex',$,'PERSIST'",
    "'getex',$,'PXAT',1",
    "'mget',$,$,'none'",
    "'mset',$,%,$,%",
    "'msetnx',$,%,$,%",
    "'del',$",
    "'del',$,$",
    "'unlink',$,'none',$",
    "'exists',$,$",
    "'type',$",
    "'strlen',$",
    "'getrange',$,0,1",
    "'getrange',$,-2,-1",
    "'append',$,%",
    "'incr',$",
    "'incrby',$,%",
    "'setrange',$,1,%",
    "'ttl',$",
    "'expire',$,40",
    "'expire',$,40,'NX'",
    "'expire',$,40,'XX'",
    "'expire',$,50,'GT'",
    "'expire',$,20,'LT'",
    "'pexpire',$,60000",
    "'expire',$,0",
    "'pexpire',$,-1,'XX'",
    "'expire',$,'x'",
    "'persist',$",
    "'hset',$,'f',%",
    "'hset',$,'f',%,'g',%",
    "'hset',$,'f',%,'g'",
    "'hsetnx',$,'n',%",
    "'hget',$,'f'",
    "'hmget',$,'f','g','n'",
    "'hexists',$,'n'",
    "'hincrby',$,'n',2",
    "'hincrby',$,'f',%",
    "'hincrby',$,'f',9223372036854775807",
    "'hlen',$",
    "'hstrlen',$,'f'",
    "'hdel',$,'f'",
    "'hdel',$,'f','n','g'",
    "'lpush',$,%",
    "'rpop',$",
    "'sadd',$,%",
    "'sadd',$,%,'m'",
    "'srem',$,'m'",
    "'sismember',$,'m'",
    "'smismember',$,'m','1'",
    "'scard',$",
    "'zadd',$,1,%",
    "'zadd',$,1.5,'m',2,%",
    "'zadd',$,'NX',2,'m'",
    "'zadd',$,'XX','CH',3,'m'",
    "'zadd',$,'GT','CH',4,'m'",
    "'zadd',$,'LT',-1,'m'",
    "'zadd',$,'INCR',0.1,'m'",
    "'zadd',$,'NX','INCR',0.1,'m'",
    "'zadd',$,'NX','XX',1,'m'",
    "'zadd',$,'GT','LT',1,'m'",
    "'zadd',$,'INCR',1,'m',2,'n'",
    "'zadd',$,'x','m'",
    "'zadd',$,'nan','m'",
    "'zadd',$,1",
    "'zadd',$,'inf','m'",
    "'zincrby',$,2,'m'",
    "'zincrby',$,'-inf','m'",
    "'zrem',$,'m'",
    "'zcard',$",
    "'zscore',$,'m'",
    "'zmscore',$,'m','none'",
    "'zcount',$,'-inf','(3'",
    "'zcount',$,'x',3",
    "'zrank',$,'m'",
    "'zrevrank',$,'m'",
    "'zrange',$,0,-1",
    "'zrange',$,-2,1,'WITHSCORES'",
    "'zrange',$,'(1','+inf','BYSCORE','LIMIT',0,1",
    "'zrange',$,'+inf',1,'BYSCORE','REV'",
    "'zrange',$,0,1,'LIMIT',0,1",
    "'zrevrange',$,0,0,'WITHSCORES'",
    "'zrangebyscore',$,1,'+inf','WITHSCORES'",
    "'zrangebyscore',$,1,9,'LIMIT',1,-1",
    "'zrevrangebyscore',$,'+inf',1",
    "'zrangebyscore',$,1,9,'NOPE'",
    "'zremrangebyscore',$,'-inf',1",
    "'zremrangebyscore',$,1,'(x'",
    "'zremrangebyrank',$,0,0",
    "'get',$,$",
    "'nope',$",
    "'set',$",
    "'select',1",
    "'select',0",
    "'touch',$,$",
];

fn command() -> impl Strategy<Value = String> {
    let key = prop_oneof![Just("KEYS[1]"), Just("KEYS[1]"), Just("KEYS[2]"), Just("KEYS[3]")];
    let value = prop_oneof![Just("'1'"), Just("'2'"), Just("7"), Just("KEYS[1]"), Just("'a:b'")];
    let fillings = (proptest::collection::vec(key, 2), proptest::collection::vec(value, 2));
    (0..COMMANDS.len(), fillings).prop_map(|(which, (keys, values))| {
        let mut command = COMMANDS[which].to_owned();
        for (key, value) in keys.iter().zip(&values) {
            command = command.replacen("$", key, 1);
            command = command.replacen("%", value, 1);
        }
        command
    })
}

/// A script that gathers the replies of its commands.
fn script() -> impl Strategy<Value = String> {
    proptest::collection::vec(command(), 1..40).prop_map(|commands| {
        let mut script = String::from("local r = {}\n");
        for command in commands {
            script.push_str(&format!("r[#r+1] = redis.pcall({command})\n"));
        }
        script.push_str("return r");
        script
    })
}

const BEFORE: &[&str] = &[
    "",
    "SET lock:a 1 PX 30400",
    "SET lock:a 2 PX 30400 ; SET lock:b a:b PX 30400",
    "HSET lock:a f v ; PEXPIRE lock:a 30400",
    "SET lock:b 1 PX 30400",
];

#[test]
fn random_scripts_say_what_redis_says() {
    let (one, two) = (Server::start(), Server::start());
    let pair = RefCell::new(Pair::connect(&one, &two, false));
    pair.borrow_mut().sidecar.locks = 2;
    let mut runner =
        TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
    let cases = (script(), 0..BEFORE.len());
    let result = runner.run(&cases, |(script, before)| {
        let mut pair = pair.borrow_mut();
        pair.reset();
        for line in BEFORE[before].split(" ; ").filter(|line| !line.is_empty()) {
            pair.set_up(line);
        }
        let (direct, answer) = pair.script(script.as_bytes(), &KEYS, &[]);
        prop_assert!(direct.starts_with('*'), "{direct}");
        prop_assert_eq!(direct, text(&answer.reply), "{}\n{}", BEFORE[before], script);
        let read = "local r = {} for i, k in ipairs(KEYS) do local t = redis.call('type', k).ok \
                    r[i] = {t, t == 'string' and redis.call('get', k)} end return r";
        let (direct, seen) = pair.script(read.as_bytes(), &KEYS, &[]);
        prop_assert_eq!(direct, text(&seen.reply), "afterwards\n{}\n{}", BEFORE[before], script);
        for key in ["lock:a", "lock:b"] {
            let ttl = pair.sidecar.redis.integer(&format!("PTTL {key}"));
            prop_assert!(ttl < 0, "{key} has a TTL of {ttl}\n{}\n{}", BEFORE[before], script);
        }
        Ok(())
    });
    result.unwrap();
}
