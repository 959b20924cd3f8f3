//! Random scripts of several commands on two locks and an ordinary key: each command's reply, and
//! what a client reads afterwards, are those of Redis by itself.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::rig::{Pair, Server, text};

const KEYS: [&[u8]; 3] = [b"lock:a", b"lock:b", b"plain"];

/// One command; `K` stands for a key, `V` for a value.
const COMMANDS: &[&str] = &[
    "'get',K",
    "'set',K,V",
    "'set',K,V,'NX'",
    "'set',K,V,'XX'",
    "'set',K,V,'PX',30000",
    "'set',K,V,'NX','PX',30000",
    "'set',K,V,'EX',30,'GET'",
    "'set',K,V,'KEEPTTL'",
    "'set',K,V,'GET','NX'",
    "'set',K,V,'PX',0",
    "'set',K,V,'PXAT',1",
    "'setnx',K,V",
    "'setex',K,30,V",
    "'psetex',K,30000,V",
    "'getset',K,V",
    "'getdel',K",
    "'getex',K",
    "'getex',K,'PX',30000",
    "'getex',K,'PERSIST'",
    "'getex',K,'PXAT',1",
    "'mget',K,K,'none'",
    "'mset',K,V,K,V",
    "'msetnx',K,V,K,V",
    "'del',K",
    "'del',K,K",
    "'unlink',K,'none',K",
    "'exists',K,K",
    "'type',K",
    "'strlen',K",
    "'getrange',K,0,1",
    "'getrange',K,-2,-1",
    "'append',K,V",
    "'incr',K",
    "'incrby',K,V",
    "'setrange',K,1,V",
    "'ttl',K",
    "'expire',K,40",
    "'expire',K,40,'NX'",
    "'expire',K,40,'XX'",
    "'expire',K,50,'GT'",
    "'expire',K,20,'LT'",
    "'pexpire',K,60000",
    "'expire',K,0",
    "'pexpire',K,-1,'XX'",
    "'expire',K,'x'",
    "'persist',K",
    "'rename',K,K",
    "'copy',K,K",
    "'hset',K,'f',V",
    "'hget',K,'f'",
    "'hdel',K,'f'",
    "'lpush',K,V",
    "'rpop',K",
    "'sadd',K,V",
    "'zadd',K,1,V",
    "'zcard',K",
    "'get',K,K",
    "'nope',K",
    "'set',K",
    "'select',1",
    "'select',0",
    "'lcs',K,K",
    "'bitcount',K",
    "'touch',K,K",
    "'object','refcount',K",
];

fn command() -> impl Strategy<Value = String> {
    let key = prop_oneof![Just("KEYS[1]"), Just("KEYS[1]"), Just("KEYS[2]"), Just("KEYS[3]")];
    let value = prop_oneof![Just("'1'"), Just("'2'"), Just("7"), Just("KEYS[1]"), Just("'a:b'")];
    let fillings = (proptest::collection::vec(key, 2), proptest::collection::vec(value, 2));
    (0..COMMANDS.len(), fillings).prop_map(|(which, (keys, values))| {
        let mut command = COMMANDS[which].to_owned();
        for (key, value) in keys.iter().zip(&values) {
            command = command.replacen(",K", &format!(",{key}"), 1);
            command = command.replacen(",V", &format!(",{value}"), 1);
        }
        command.replace(",K", ",KEYS[1]").replace(",V", ",'1'")
    })
}

/// A script that gathers the replies of its commands.
fn script() -> impl Strategy<Value = String> {
    proptest::collection::vec(command(), 1..9).prop_map(|commands| {
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
    "SET lock:a 1 PX 30000",
    "SET lock:a 2 PX 30000 ; SET lock:b a:b PX 30000",
    "HSET lock:a f v",
    "SET lock:b 1",
];

#[test]
fn random_scripts_say_what_redis_says() {
    let (one, two) = (Server::start(), Server::start());
    let pair = RefCell::new(Pair::connect(&one, &two, false));
    pair.borrow_mut().sidecar.locks = 2;
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let cases = (script(), 0..BEFORE.len());
    let result = runner.run(&cases, |(script, before)| {
        let mut pair = pair.borrow_mut();
        pair.reset();
        for line in BEFORE[before].split(" ; ").filter(|line| !line.is_empty()) {
            pair.set_up(line);
        }
        let (direct, answer) = pair.script(script.as_bytes(), &KEYS, &[]);
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
