//! Random scripts of lock commands, in the engine and in Redis.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;

use super::{Pair, is_same};
use crate::envelope::random::COMMANDS;
use crate::support::Redis;

/// Commands on two locks and a companion; what is no lock's command is left out.
fn command() -> impl Strategy<Value = String> {
    const NOT_HERE: &[&str] = &["'nope"];
    let fitting = |command: &&&str| !NOT_HERE.iter().any(|name| command.starts_with(name));
    let commands: Vec<String> = COMMANDS
        .iter()
        .filter(fitting)
        .map(|command| command.replace("'none'", "KEYS[2]"))
        .chain(["'rpush',KEYS[3],%", "'lpop',KEYS[3]", "'llen',$"].map(str::to_owned))
        .collect();
    let key = prop_oneof![Just("KEYS[1]"), Just("KEYS[1]"), Just("KEYS[2]")];
    let value = prop_oneof![Just("'1'"), Just("'2'"), Just("7"), Just("1.5"), Just("'a:b'")];
    let fillings = (prop::collection::vec(key, 2), prop::collection::vec(value, 2));
    (prop::sample::select(commands), fillings).prop_map(|(mut command, (keys, values))| {
        for (key, value) in keys.iter().zip(&values) {
            command = command.replacen('$', key, 1);
            command = command.replacen('%', value, 1);
        }
        command
    })
}

fn script() -> impl Strategy<Value = String> {
    // A caught error, the error's own words, and one that ends the script.
    let run = prop_oneof![
        8 => Just("r[#r+1] = redis.pcall(@)\n"),
        2 => Just("local ok, e = pcall(redis.call, @) r[#r+1] = {tostring(ok), e}\n"),
        1 => Just("r[#r+1] = redis.call(@)\n"),
        1 => Just("redis.setresp(3) r[#r+1] = redis.pcall(@) or 'nil' redis.setresp(2)\n"),
    ];
    prop::collection::vec((run, command()), 1..25).prop_map(|commands| {
        // Redis's clock goes on within a script, so that GT with the same time twice may be later.
        let later = |(line, (run, command)): (usize, &(&str, String))| {
            run.replace('@', &command.replace(",50,'GT'", &format!(",{},'GT'", 50 + 2 * line)))
        };
        let lines = commands.iter().enumerate().map(later);
        format!("local r = {{}}\n{}return r", lines.collect::<String>())
    })
}

fn compare_random(protocol: Protocol) {
    const BEFORE: &[&str] = &[
        "",
        "SET lock:a 1 PX 30400",
        "SET lock:a 2 PX 30400 ; SET lock:b a:b PX 30400",
        "SET lock:b 1 PX 30400 ; RPUSH lock-signal:a 5",
    ];
    // Taken by scripts, as locks that are no strings are.
    const TAKEN: &[&str] = &[
        "",
        "redis.call('hset', KEYS[1], 'f', '1') redis.call('pexpire', KEYS[1], 30400)",
        "redis.call('zadd', KEYS[1], 1.5, 'm', 2, '1') redis.call('pexpire', KEYS[1], 30400)",
        "redis.call('sadd', KEYS[2], 'm', '1') redis.call('pexpire', KEYS[2], 30400)",
    ];
    let redis = Redis::start();
    let pair = RefCell::new(Pair::new(&redis, Mode::Persistent, protocol));
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let cases = (script(), 0..BEFORE.len(), 0..TAKEN.len());
    let result = TestRunner::new(config).run(&cases, |(script, before, taken)| {
        let mut pair = pair.borrow_mut();
        let keys = ["lock:a", "lock:b", "lock-signal:a"];
        pair.reset(BEFORE[before]);
        if taken > 0 {
            pair.reset("");
            let (ours, theirs) = pair.script(TAKEN[taken], &keys, &[]);
            prop_assert_eq!(ours, Some(theirs));
        }
        let (ours, theirs) = pair.script(&script, &keys, &[]);
        let Some(ours) = ours else {
            return Err(TestCaseError::fail(format!("not served\n{script}")));
        };
        prop_assert!(is_same(&ours, &theirs), "{ours}\n{theirs}\n{}\n{script}", BEFORE[before]);
        if theirs.starts_with('-') {
            // What it took is nobody's.
            return Ok(());
        }
        let read = "local r = {} for i = 1, 2 do local k = KEYS[i] local t = redis.call('type', k).ok \
            r[#r+1] = t if t == 'string' then r[#r+1] = redis.call('get', k) \
            elseif t == 'hash' then r[#r+1] = redis.call('hmget', k, 'f', 'g', 'n') \
            elseif t == 'zset' then r[#r+1] = redis.call('zrange', k, 0, -1, 'withscores') \
            elseif t == 'set' then r[#r+1] = redis.call('smismember', k, 'm', '1', '2', '7') \
            elseif t == 'list' then r[#r+1] = redis.call('lrange', k, 0, -1) end end return r";
        let (ours, theirs) = pair.script(read, &keys, &[]);
        prop_assert_eq!(ours, Some(theirs), "afterwards\n{}\n{}", BEFORE[before], script);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn random_scripts_say_what_redis_says() {
    compare_random(Protocol::Resp2);
    compare_random(Protocol::Resp3);
}
