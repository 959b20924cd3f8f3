//! What stands in Redis after a script, and what is never written.

use lockside::lock::envelope::scripts::{COMPARE_AND_DELETE, PERSIST};
use lockside::lock::envelope::{Envelope, Guard, Run};
use lockside::lock::value::{Stamp, Unique, stamp, strip};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::rig::{Pair, Server, Sidecar, TIME, text};

const KEY: &[u8] = b"lock:a";

fn sidecar(server: &Server) -> Sidecar {
    Sidecar::new(server.connect(false))
}

#[test]
fn a_lock_is_stored_stamped_and_without_ttl() {
    let server = Server::start();
    let mut side = sidecar(&server);
    let answer =
        side.script(b"return redis.call('set', KEYS[1], ARGV[1], 'PX', 5000)", &[KEY], &[b"1"]);
    assert_eq!(answer.changes, ["+lock:a"]);
    assert_eq!(
        text(&side.redis.ask(&[b"GET", KEY])),
        format!("$39\\r\\n1:~0000000000000001:{TIME}\\r\\n")
    );
    assert_eq!(side.redis.integer("PTTL lock:a"), -1);
}

#[test]
fn until_it_is_made_persistent_a_lock_has_the_safety_ttl() {
    let server = Server::start();
    let mut side = sidecar(&server);
    let call = |name: &str| {
        format!("redis.call('{name}', KEYS[1], 'a', 'b') return redis.call('exists', KEYS[1])")
    };
    for script in [
        call("hset"),
        call("set").replace(", 'b'", ""),
        call("rpush"),
        call("mset").replace(", 'b'", ""),
    ] {
        side.redis.say("FLUSHALL");
        // The guarded PERSIST is left out: Lockside died here.
        side.persistent = true;
        let envelope = Envelope::wrap(script.as_bytes());
        let frame = side.frame(&envelope, &[KEY], &[]);
        assert!(frame.starts_with(b"*3\r\n$16\r\n"), "{}", text(&frame));
        let ttl = side.redis.integer("PTTL lock:a");
        assert!((9_000..=10_000).contains(&ttl), "{script}: {ttl}");
    }
}

#[test]
fn a_guarded_persist_acts_on_its_own_lock_alone() {
    let server = Server::start();
    let mut redis = server.connect(false);
    let ours = Guard::Value(b"ours");
    assert_eq!(redis.guarded(&PERSIST, KEY, ours), -1);
    redis.say("SET lock:a ours PX 10000");
    assert_eq!(redis.guarded(&PERSIST, KEY, ours), 1);
    assert_eq!(redis.integer("PTTL lock:a"), -1);
    assert_eq!(redis.guarded(&PERSIST, KEY, ours), 1);
    redis.say("SET lock:a other PX 10000");
    assert_eq!(redis.guarded(&PERSIST, KEY, ours), 0);
    assert!(redis.integer("PTTL lock:a") > 0);
    assert_eq!(redis.guarded(&COMPARE_AND_DELETE, KEY, ours), 0);
    assert_eq!(redis.guarded(&COMPARE_AND_DELETE, KEY, Guard::Value(b"other")), 1);
    assert_eq!(redis.guarded(&COMPARE_AND_DELETE, KEY, Guard::Value(b"other")), -1);
    redis.say("HSET lock:a f v");
    assert_eq!(redis.guarded(&PERSIST, KEY, ours), 0);
    redis.say("PEXPIREAT lock:a 99999999999999");
    assert_eq!(redis.guarded(&PERSIST, KEY, Guard::Other(b"99999999999998:")), 0);
    assert_eq!(redis.guarded(&PERSIST, KEY, Guard::Other(b"99999999999999:")), 1);
    assert_eq!(redis.integer("PTTL lock:a"), -1);
    assert_eq!(redis.guarded(&COMPARE_AND_DELETE, KEY, Guard::Other(b"5:")), 0);
}

#[test]
fn guarded_scripts_take_many_keys() {
    let server = Server::start();
    let mut redis = server.connect(false);
    redis.say("MSET a 1 b 2");
    let text = COMPARE_AND_DELETE.text.as_bytes();
    let reply = redis.ask(&[b"EVAL", text, b"3", b"a", b"b", b"c", b"s1", b"s1", b"s1"]);
    assert_eq!(reply, b"*3\r\n:1\r\n:0\r\n:-1\r\n");
}

#[test]
fn a_script_that_only_reads_writes_nothing() {
    let server = Server::start();
    let mut side = sidecar(&server);
    side.command(&[KEY], &[b"SET", KEY, b"1", b"NX"]);
    let scripts = [
        "return {redis.call('get', KEYS[1]), redis.call('pttl', KEYS[1]), redis.call('strlen', KEYS[1])}",
        "return {redis.call('type', KEYS[1]), redis.call('exists', KEYS[1]), redis.call('getrange', KEYS[1], 0, 0)}",
        "return redis.call('mget', KEYS[1], 'x')",
    ];
    for script in scripts {
        for run in [Run::TextReadOnly, Run::Text] {
            side.run = run;
            let answer = side.script(script.as_bytes(), &[KEY], &[]);
            assert!(!answer.reply.starts_with(b"-"), "{}", text(&answer.reply));
            assert!(answer.changes.is_empty());
        }
    }
    side.run = Run::TextReadOnly;
    let reply = side.script(b"return redis.pcall('expire', KEYS[1], 5)", &[KEY], &[]).reply;
    assert_eq!(text(&reply), "-ERR Write commands are not allowed from read-only scripts.\\r\\n");
}

#[test]
fn a_read_only_script_sees_the_virtual_ttl() {
    let server = Server::start();
    let mut side = sidecar(&server);
    side.command(&[KEY], &[b"SET", KEY, b"1", b"NX"]);
    for (run, shebang) in [(Run::TextReadOnly, ""), (Run::Text, "#!lua flags=no-writes\n")] {
        side.run = run;
        let script =
            format!("{shebang}return {{redis.call('pttl', KEYS[1]), redis.call('get', KEYS[1])}}");
        let reply = side.script(script.as_bytes(), &[KEY], &[]).reply;
        assert_eq!(text(&reply), "*2\\r\\n:30000\\r\\n$1\\r\\n1\\r\\n");
    }
}

#[test]
fn read_only_scripts_refuse_writes_in_redis_own_words() {
    let (one, two) = (Server::start(), Server::start());
    let mut pair = Pair::connect(&one, &two, false);
    pair.set_up("SET lock:a 5");
    pair.sidecar.run = Run::TextReadOnly;
    for write in [
        "'set', KEYS[1], 'v'",
        "'set', KEYS[1], '5'",
        "'set', KEYS[1], '5', 'NX'",
        "'setnx', KEYS[1], 'v'",
        "'del', KEYS[1]",
        "'expire', KEYS[1], 5",
        "'persist', KEYS[1]",
        "'getex', KEYS[1], 'PX', 5",
        "'getex', KEYS[1]",
        "'getdel', KEYS[1]",
        "'append', KEYS[1], 'x'",
        "'incr', KEYS[1]",
        "'mset', KEYS[1], '5'",
        "'rename', KEYS[1], 'x'",
        "'getset', KEYS[1], '5'",
        "'setex', KEYS[1], 5, '5'",
    ] {
        for function in ["call", "pcall"] {
            let script = format!("local r = redis.{function}({write})\nreturn r");
            let (direct, answer) = pair.script(script.as_bytes(), &[KEY], &[]);
            assert_eq!(direct, text(&answer.reply), "{script}");
        }
    }
}

#[test]
fn extending_and_refusing_write_nothing_that_monitor_shows() {
    let server = Server::start();
    let mut side = sidecar(&server);
    side.command(&[KEY], &[b"SET", KEY, b"1", b"NX"]);
    let mut monitor = server.connect(false);
    monitor.say("MONITOR");
    for script in [
        "return {redis.call('get', KEYS[1]), redis.call('pexpire', KEYS[1], 5000)}",
        "return redis.call('set', KEYS[1], '1', 'PX', 5000)",
        "return redis.call('persist', KEYS[1])",
        "return redis.call('getex', KEYS[1], 'PX', 5000)",
        "return redis.call('setex', KEYS[1], 5, '1')",
        "return redis.call('mset', KEYS[1], '1')",
        "return redis.call('expire', KEYS[1], 5)",
    ] {
        assert!(side.script(script.as_bytes(), &[KEY], &[b"1"]).changes.is_empty(), "{script}");
    }
    side.redis.say("PING");
    loop {
        let seen = String::from_utf8(monitor.frame()).unwrap();
        if seen.contains("\"PING\"") {
            break;
        }
        let lua = seen.contains(" lua] ");
        for word in ["set", "expire", "persist", "getex", "del"] {
            assert!(!lua || !seen.to_lowercase().contains(&format!("\"{word}\"")), "{seen}");
        }
    }
}

#[test]
fn both_forms_of_a_token_are_understood_in_scripts() {
    let server = Server::start();
    let mut side = sidecar(&server);
    let release = b"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
    let client = "93:550e8400-e29b-41d4-a716-446655440000";
    for (stored, presented) in [
        (format!("{client}:{TIME}"), client.to_owned()),
        (format!("{client}:{TIME}"), format!("{client}:{TIME}")),
        (format!("93:7:{TIME}"), "93:7".to_owned()),
        (format!("93:7:{TIME}"), format!("93:7:{TIME}")),
        (format!("1:~0123456789abcdef:{TIME}"), "1".to_owned()),
        (format!("1:~0123456789abcdef:{TIME}"), format!("1:~0123456789abcdef:{TIME}")),
    ] {
        side.redis.ask(&[b"SET", KEY, stored.as_bytes()]);
        assert_eq!(side.script(release, &[KEY], &[b"94:7"]).reply, b":0\r\n");
        let answer = side.script(release, &[KEY], &[presented.as_bytes()]);
        assert_eq!(text(&answer.reply), ":1\\r\\n", "{stored} {presented}");
    }
}

#[test]
fn an_owner_of_a_lock_with_a_ttl_makes_it_persistent_by_an_extend() {
    let server = Server::start();
    let mut side = sidecar(&server);
    let extend = b"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], 60000) end return 0";
    side.redis.say("SET lock:a mine PX 5000");
    assert_eq!(side.script(extend, &[KEY], &[b"other"]).changes, Vec::<String>::new());
    assert!(side.redis.integer("PTTL lock:a") <= 5000);
    assert_eq!(side.script(extend, &[KEY], &[b"mine"]).changes, ["~lock:a"]);
    assert_eq!(side.redis.integer("PTTL lock:a"), -1);
}

#[test]
fn locks_of_a_ttl_rule_keep_their_clients_ttl() {
    let server = Server::start();
    let mut side = sidecar(&server);
    side.persistent = false;
    let set = b"return redis.call('set', KEYS[1], ARGV[1], 'PX', 5000)";
    assert_eq!(side.script(set, &[KEY], &[b"1"]).changes, ["+lock:a"]);
    let ttl = side.redis.integer("PTTL lock:a");
    assert!((4_000..=5_000).contains(&ttl), "{ttl}");
    let extend = b"return {redis.call('pexpire', KEYS[1], 60000), redis.call('get', KEYS[1])}";
    let answer = side.script(extend, &[KEY], &[]);
    assert_eq!(
        (text(&answer.reply).as_str(), answer.changes),
        ("*2\\r\\n:1\\r\\n$1\\r\\n1\\r\\n", vec!["~lock:a".to_owned()])
    );
    assert!(side.redis.integer("PTTL lock:a") > 50_000);
    side.redis.say("FLUSHALL");
    side.script(b"return redis.call('setnx', KEYS[1], 'x')", &[KEY], &[]);
    assert!(side.redis.integer("PTTL lock:a") > 3_500_000, "the default TTL");
}

#[test]
fn what_a_script_takes_away_is_reported_with_what_stood_there() {
    let server = Server::start();
    let mut side = sidecar(&server);
    side.command(&[KEY], &[b"SET", KEY, b"1", b"NX"]);
    for (script, changes) in [
        ("redis.call('set', KEYS[1], 'new')", vec!["-lock:a", "+lock:a"]),
        ("redis.call('append', KEYS[1], 'er')", vec!["-lock:a", "+lock:a"]),
        (
            "redis.call('del', KEYS[1]) redis.call('set', KEYS[1], 'again')",
            vec!["-lock:a", "+lock:a"],
        ),
        ("redis.call('set', KEYS[1], 'x') redis.call('del', KEYS[1])", vec!["-lock:a"]),
        ("redis.call('set', KEYS[1], 'x') redis.call('del', KEYS[1])", vec![]),
        ("redis.call('set', 'y', 1) redis.call('rename', 'y', KEYS[1])", vec!["+lock:a"]),
        ("redis.call('rename', KEYS[1], 'y')", vec!["-lock:a"]),
        ("redis.call('set', KEYS[1], 'x') error('boom')", vec!["+lock:a"]),
        ("redis.call('flushall')", vec!["-lock:a"]),
    ] {
        let answer = side.script(script.as_bytes(), &[KEY], &[]);
        assert_eq!(answer.changes, changes, "{script}");
        let ttl = side.redis.integer("PTTL lock:a");
        assert!(ttl < 0, "{script}: {ttl}");
    }
}

/// A client that is told an error does not hold the lock: it runs out by the client's own TTL.
#[test]
fn what_a_failed_script_took_runs_out_as_in_redis() {
    let server = Server::start();
    let mut side = sidecar(&server);
    for end in ["error('boom')", "return redis.error_reply('NO')", "return redis.call('nope')"] {
        for take in ["'set', KEYS[1], '1', 'NX', 'PX', 5000", "'psetex', KEYS[1], 5000, '1'"] {
            side.redis.say("DEL lock:a");
            let script = format!("redis.call({take}) {end}");
            let answer = side.script(script.as_bytes(), &[KEY], &[]);
            assert_eq!(answer.reply[0], b'-', "{script}");
            assert!(answer.changes.is_empty(), "{script}: {:?}", answer.changes);
            let ttl = side.redis.integer("PTTL lock:a");
            assert!(ttl > 0 && ttl <= 5000, "{script}: {ttl}");
        }
    }
    // One that was held before stays.
    side.redis.say("DEL lock:a");
    side.command(&[KEY], &[b"SET", KEY, b"1", b"NX"]);
    side.script(b"redis.call('pexpire', KEYS[1], 5000) error('boom')", &[KEY], &[]);
    assert_eq!(side.redis.integer("PTTL lock:a"), -1);
}

/// A key that was taken behind Lockside, or is too large for a lock, has a TTL: who is told that it
/// was extended can rely on that. It is not made permanent, since nobody proved to hold it.
#[test]
fn more_time_for_a_key_with_a_ttl_is_given() {
    let server = Server::start();
    let mut side = sidecar(&server);
    let owned = b"if redis.call('hexists', KEYS[1], 'me') == 1 then \
        return redis.call('pexpire', KEYS[1], 100000) end return 0";
    let extended = |side: &mut Sidecar, ttl: i64| {
        let left = side.redis.integer("PTTL lock:a");
        assert!(left > ttl - 5_000 && left <= ttl, "{left} of {ttl}");
    };
    for command in ["EXPIRE lock:a 100", "PEXPIRE lock:a 100000", "GETEX lock:a EX 100"] {
        side.redis.say("SET lock:a foreign PX 9000");
        let parts: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        side.command(&[KEY], &parts);
        extended(&mut side, 100_000);
    }
    // Not sooner than it stands.
    side.command(&[KEY], &[b"EXPIRE", KEY, b"10"]);
    extended(&mut side, 100_000);
    side.redis.say("DEL lock:a");
    side.redis.say("HSET lock:a me 1");
    side.redis.say("PEXPIRE lock:a 9000");
    assert_eq!(side.script(owned, &[KEY], &[]).reply, b":1\r\n");
    extended(&mut side, 100_000);
}

#[test]
fn binary_values_go_through_unchanged() {
    let server = Server::start();
    let mut side = sidecar(&server);
    let all: Vec<u8> = (0..=255).collect();
    side.script(b"return redis.call('set', KEYS[1], ARGV[1])", &[KEY], &[&all]);
    let answer = side.script(b"return redis.call('get', KEYS[1])", &[KEY], &[]);
    assert_eq!(answer.reply, [b"$256\r\n", &all[..], b"\r\n"].concat());
}

#[test]
fn commands_that_compute_answer_as_redis_does() {
    let (one, two) = (Server::start(), Server::start());
    for resp3 in [false, true] {
        let mut pair = Pair::connect(&one, &two, resp3);
        for line in COMMANDS {
            pair.reset();
            for command in line.split(" ; ") {
                let parts: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
                let direct = pair.direct.ask(&parts);
                let answer = pair.sidecar.command(&[KEY], &parts);
                assert_eq!(text(&direct), text(&answer.reply), "{command} in {line}");
            }
        }
    }
}

/// Direct commands on a lock key, ` ; ` between those that follow each other.
const COMMANDS: &[&str] = &[
    "SET lock:a v ; GET lock:a ; STRLEN lock:a ; GETRANGE lock:a 0 -1 ; SUBSTR lock:a 0 0",
    "GET lock:a ; STRLEN lock:a ; GETDEL lock:a ; GETEX lock:a ; GETSET lock:a v ; GET lock:a",
    "SET lock:a v XX ; SET lock:a v NX GET ; SET lock:a w GET ; SET lock:a w XX PX 5000",
    "SET lock:a v ; APPEND lock:a w ; GET lock:a ; SETRANGE lock:a 1 X ; GET lock:a",
    "SET lock:a 10 ; INCR lock:a ; INCRBYFLOAT lock:a 0.5 ; DECR lock:a ; GET lock:a",
    "SET lock:a v PX 30000 ; EXPIRE lock:a 10 ; PEXPIRE lock:a 10 XX ; PERSIST lock:a ; EXPIRE lock:a 0 ; GET lock:a",
    "SET lock:a v PX 30000 ; EXPIREAT lock:a 5 ; EXISTS lock:a ; EXPIRE lock:a 5 ; PERSIST lock:a",
    "SET lock:a v ; MSET lock:a w x 1 ; MSETNX lock:a 1 y 2 ; GET lock:a ; MGET lock:a x y",
    "SET lock:a v ; GETEX lock:a PX 500 ; GETEX lock:a PERSIST ; GETEX lock:a EXAT 1 ; GET lock:a",
    "SETEX lock:a 10 v ; SETEX lock:a 0 v ; PSETEX lock:a x v ; SETNX lock:a w ; GETDEL lock:a",
    "HSET lock:a f v ; GET lock:a ; SET lock:a x GET ; INCR lock:a ; STRLEN lock:a ; EXPIRE lock:a 5",
    "SET lock:a v ; INCR lock:a ; EXPIRE lock:a x ; EXPIRE lock:a ; EXPIRE lock:a 1 FOO ; STRLEN lock:a 1",
    "SET lock:a v FOO ; SET lock:a ; SET lock:a v PX ; GETEX lock:a FOO ; MSET lock:a ; APPEND lock:a",
    "SET lock:a v ; RENAME lock:a x ; RENAME lock:a x ; TYPE lock:a ; UNLINK lock:a x",
];

#[test]
fn lua_stamps_and_strips_as_rust_does() {
    let server = Server::start();
    let side = std::cell::RefCell::new(sidecar(&server));
    let mut runner =
        TestRunner::new(Config { cases: 1_500, failure_persistence: None, ..Config::default() });
    let modes = [Stamp::Auto, Stamp::Always, Stamp::Never];
    let result = runner.run(&(values(), 0..3_usize), |(value, mode)| {
        let mut side = side.borrow_mut();
        side.stamp = modes[mode];
        side.redis.say("DEL lock:a");
        // The value is no argument: an argument that equals a stored value would be shown as it is.
        let script = format!("return redis.call('set', KEYS[1], {})", literal(&value));
        side.script(script.as_bytes(), &[KEY], &[]);
        let unique = Unique::new(TIME, side.random).unwrap();
        let stored = side.redis.ask(&[b"GET", KEY]);
        let expected = stamp(&value, side.stamp, &unique).into_owned();
        prop_assert_eq!(text(&stored), text(&bulk(&expected)), "stamp of {:?}", text(&value));
        let seen = side.script(b"return redis.call('get', KEYS[1])", &[KEY], &[]).reply;
        prop_assert_eq!(text(&seen), text(&bulk(&value)));
        // And of whatever else stands there.
        side.redis.ask(&[b"SET", KEY, &value]);
        let seen = side.script(b"return redis.call('get', KEYS[1])", &[KEY], &[]).reply;
        prop_assert_eq!(text(&seen), text(&bulk(strip(&value, side.stamp))));
        Ok(())
    });
    result.unwrap();
}

/// A Lua string literal of any bytes.
fn literal(value: &[u8]) -> String {
    let escaped: String = value.iter().map(|byte| format!("\\{byte:03}")).collect();
    format!("'{escaped}'")
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b":".to_vec()),
        Just(b"~".to_vec()),
        Just(b":~".to_vec()),
        Just(b"0123456789abcdef".to_vec()),
        Just(TIME.as_bytes().to_vec()),
        Just(b":~fedcba9876543210:01-02-2003 04:05:06".to_vec()),
        Just(b"550e8400-e29b-41d4-a716-446655440000".to_vec()),
        Just(b"w".to_vec()),
        Just(b"=".to_vec()),
        Just(b"\xed\xa0\x80".to_vec()),
        Just(b"\xf4\x8f\xbf\xbf".to_vec()),
        Just(b"\xf4\x90\x80\x80".to_vec()),
        Just(b"\xe0\x80\x80".to_vec()),
        Just(b"\xc3\xa9 ".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}
