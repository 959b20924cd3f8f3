//! What a script can't do: stand still for long, use much memory, get out of its Lua, or leave
//! something to the next.

use std::time::{Duration, Instant};

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;

use super::engine::{Answer, Engine};

fn run(engine: &Engine, script: &str) -> String {
    let words = ["EVAL", script, "1", "lock:a"].map(|word| word.as_bytes().to_vec());
    match engine.command(&words) {
        Answer::Reply(reply) => String::from_utf8(reply).unwrap(),
        Answer::NotServed => "not served".to_owned(),
        Answer::Blocks => panic!("a script never blocks"),
    }
}

fn engine() -> Engine {
    Engine::new(Mode::Persistent, Protocol::Resp2)
}

const TOO_LONG: &str = "-ERR lockside: the script takes too long";
const TOO_LARGE: &str = "-ERR lockside: the script takes too much memory";

/// Each with the start of its reply. None may take what it sets.
const BOUNDED: &[(&str, &str)] = &[
    ("while true do end", TOO_LONG),
    ("while true do collectgarbage() end", TOO_LONG),
    ("while true do pcall(function() while true do end end) end", TOO_LONG),
    ("local function f() while true do end end while true do xpcall(f, f) end", TOO_LONG),
    ("repeat pcall(error) until false", TOO_LONG),
    ("coroutine.wrap(function() while true do end end)()", TOO_LONG),
    (
        "while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) end",
        TOO_LONG,
    ),
    (
        "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do pcall(function() return t[1] end) end",
        TOO_LONG,
    ),
    ("local function f() return pcall(f) end while true do f() end", TOO_LONG),
    ("while true do redis.call('get', KEYS[1]) end", TOO_LONG),
    ("while true do redis.pcall('nonsense') end", "not served"),
    ("local s = string.rep('a', 40000) return string.find(s, '.-.-.-.-b')", TOO_LONG),
    (
        "local s = string.rep('a', 40000) return pcall(string.gsub, s, '(a*)(a*)(a*)b', '')",
        TOO_LONG,
    ),
    ("return string.rep('a', 30):match(string.rep('a?', 30) .. string.rep('a', 30))", TOO_LONG),
    ("return ('a'):find(string.rep('a?', 100000))", TOO_LONG),
    ("for w in string.gmatch(string.rep('a', 40000), '(.-)(.-)(.-)b') do end", TOO_LONG),
    (
        "local t = {} for i = 1, 200000 do t[i] = i % 1000 end while true do table.sort(t) end",
        TOO_LONG,
    ),
    ("local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end", "-ERR lockside: "),
    ("local s = 'x' while true do s = s .. s end", TOO_LARGE),
    ("local s = 'x' while true do pcall(function() s = s .. s end) end", TOO_LARGE),
    ("return string.rep('x', 1e9)", TOO_LARGE),
    ("return pcall(string.rep, 'x', 1e9)", TOO_LARGE),
    ("local t = {} for i = 1, 1e9 do t[i] = {} end", "-ERR lockside: "),
    ("local s = string.rep('x = 1 ', 100000) while true do loadstring(s) end", "-ERR lockside: "),
    ("local t = {'x'} for i = 1, 60 do t = {t, t} end return t", TOO_LONG),
    ("local t = {} t[1] = t return t", "-ERR lockside: the script's reply is nested too deep"),
    // What a command or a function goes over is charged by its length.
    ("for i = 1, 1e9 do redis.call('hset', 'lock:h', i, 'x') end", TOO_LONG),
    ("for i = 1, 1e9 do redis.call('zadd', 'lock:h', i, i) end", TOO_LONG),
    ("for i = 1, 1e9 do redis.call('sadd', 'lock:h', i) end", TOO_LONG),
    ("for i = 1, 1e9 do redis.call('lpush', 'lock-signal:h', i) end", TOO_LONG),
    (
        "for i = 1, 1e9 do redis.call('hset', 'lock:h', i, 'x') redis.call('hgetall', 'lock:h') end",
        TOO_LONG,
    ),
    (
        "for i = 1, 1e9 do redis.call('zadd', 'lock:h', i, i) redis.call('zrank', 'lock:h', i) end",
        TOO_LONG,
    ),
    ("while true do redis.call('append', 'lock:s', string.rep('x', 1000)) end", TOO_LONG),
    (
        "redis.call('set', 'lock:s', string.rep('x', 1000000)) while true do redis.call('strlen', 'lock:s') end",
        TOO_LONG,
    ),
    ("while true do string.rep('x', 100000) end", TOO_LONG),
    ("return string.rep('', 2^31 - 1)", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do s:upper() end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do s:sub(2, -2) end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do s:gsub('x', 'y') end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do ('%s%s'):format(s, s) end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do redis.sha1hex(s) end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do cjson.encode(s) end", TOO_LONG),
    ("local s = cjson.encode(string.rep('x', 100000)) while true do cjson.decode(s) end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do table.concat({s, s}) end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do table.sort({s .. 1, s .. 2}) end", TOO_LONG),
    ("local s = string.rep('x', 100000) while true do local t = s .. 'y' end", TOO_LONG),
    ("local s = string.rep('1', 1000000) while true do local n = s + 0 end", TOO_LONG),
    ("local s = string.rep('a', 5000) for w in s:gmatch('^a*a*b') do end", TOO_LONG),
    (
        "local t = {} for i = 1, 7000 do t[i] = i end local function f(...) return ... end \
         local function g(...) while true do f(...) end end g(unpack(t))",
        TOO_LONG,
    ),
    (
        "local t = {} for i = 1, 7000 do t[i] = i end while true do local n = select('#', unpack(t)) end",
        TOO_LONG,
    ),
    (
        "local t = {} for i = 1, 40000 do t['x' .. i] = i end for k in pairs(t) do t[k] = nil end \
         while true do next(t) end",
        TOO_LONG,
    ),
    ("return cjson.new()", "-MASTERDOWN lockside: scripts have no cjson.new"),
    (
        "return pcall(function() return cmsgpack.pack(1) end)",
        "-MASTERDOWN lockside: scripts have no cmsgpack",
    ),
    ("return redis.acl_check_cmd('get')", "not served"),
];

#[test]
fn what_takes_too_much_is_given_up_and_nothing_is_applied() {
    for (script, reply) in BOUNDED {
        let engine = engine();
        let began = Instant::now();
        let got = run(&engine, &format!("redis.call('set', KEYS[1], 'x')\n{script}"));
        let took = began.elapsed();
        eprintln!("{took:?} {script}");
        assert!(got.starts_with(reply), "{script}\n{got}");
        // Without optimisation, on a machine that does much else.
        assert!(took < Duration::from_secs(10), "{script}: {took:?}");
        assert_eq!(run(&engine, "return redis.call('exists', KEYS[1])"), ":0\r\n", "{script}");
    }
}

#[test]
fn all_scripts_of_a_transaction_share_one_bound() {
    let engine = engine();
    let line = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let busy = "for i = 1, 100000 do local x = i end";
    let commands: Vec<Vec<Vec<u8>>> = vec![line(&["EVAL", busy, "1", "lock:a"]); 1000];
    let Answer::Reply(reply) = engine.transaction(&commands) else { panic!("not served") };
    assert!(reply.starts_with(TOO_LONG.as_bytes()), "{}", reply.escape_ascii());
    let few = &commands[..3];
    let Answer::Reply(reply) = engine.transaction(few) else { panic!("not served") };
    assert_eq!(reply.escape_ascii().to_string(), "*3\\r\\n$-1\\r\\n$-1\\r\\n$-1\\r\\n");
}

#[test]
fn lua_s_own_bounds_are_errors_that_a_script_may_catch() {
    let engine = engine();
    for (script, word) in [
        ("local function f() return 1 + f() end return f()", TOO_LONG),
        ("local function f() pcall(f) error('x') end f()", "x script: "),
        ("return loadstring(string.rep('(', 1000))", "$-1"),
        (
            "local t = {} for i = 1, 9000 do t[i] = 1 end return unpack(t)",
            "too many results to unpack",
        ),
        ("local t = {} for i = 1, 7900 do t[i] = 'x' end return redis.call(unpack(t))", "lockside"),
    ] {
        let got = run(&engine, script);
        assert!(got.contains(word) || got == "not served", "{script}\n{got}");
    }
    let caught = "local function f() return {f()} end return {tostring(pcall(string.rep))}";
    assert_eq!(run(&engine, caught), "*1\r\n$5\r\nfalse\r\n");
}

#[test]
fn nothing_is_left_to_the_next_script() {
    let engine = engine();
    run(&engine, "getmetatable('').__index = function() return 'spoilt' end");
    run(
        &engine,
        "for _, t in pairs({string, math, redis}) do for k in pairs(t) do pcall(rawset, t, k, nil) end end",
    );
    run(&engine, "local _, t = pairs(redis) t.call = function() return 'spoilt' end");
    run(&engine, "KEYS.x = 1 math.randomseed(1)");
    assert_eq!(run(&engine, "return ('x'):rep(2)"), "$2\r\nxx\r\n");
    assert_eq!(run(&engine, "return redis.call('get', KEYS[1])"), "$-1\r\n");
    assert_eq!(run(&engine, "return KEYS.x"), "$-1\r\n");
}

#[test]
fn nothing_outside_is_in_reach() {
    let engine = engine();
    let names = "local r = {} for k in pairs(_G) do r[#r + 1] = k end table.sort(r) \
                 return table.concat(r, ' ')";
    let all = "ARGV KEYS _G _VERSION __redis__err__handler assert bit cjson collectgarbage coroutine error \
               gcinfo getmetatable ipairs load loadstring math next pairs pcall rawequal \
               rawget rawset redis select setmetatable string table tonumber tostring type \
               unpack xpcall";
    assert_eq!(run(&engine, names), format!("${}\r\n{all}\r\n", all.len()));
}

#[test]
fn a_transaction_with_a_script_that_is_given_up_is_not_applied() {
    let engine = engine();
    let line = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let commands: Vec<Vec<Vec<u8>>> = vec![
        line(&["SET", "lock:b", "1", "NX"]),
        line(&["EVAL", "redis.call('set', KEYS[1], 'x') while true do end", "1", "lock:a"]),
    ];
    let Answer::Reply(reply) = engine.transaction(&commands) else { panic!("not served") };
    assert!(reply.starts_with(TOO_LONG.as_bytes()));
    assert_eq!(run(&engine, "return redis.call('exists', KEYS[1], 'lock:b')"), ":0\r\n");
}

#[test]
fn what_a_script_takes_before_it_fails_is_nobodys() {
    let engine = engine();
    run(&engine, "redis.call('set', KEYS[1], 'x', 'PX', 30000) error('no')");
    assert_eq!(run(&engine, "return redis.call('exists', KEYS[1])"), ":0\r\n");
    run(&engine, "redis.call('set', KEYS[1], 'x') error('no')");
    assert_eq!(run(&engine, "return redis.call('exists', KEYS[1])"), ":1\r\n");
    run(&engine, "redis.call('set', KEYS[1], 'y', 'PX', 30000) error('no')");
    assert_eq!(run(&engine, "return redis.call('get', KEYS[1])"), "$1\r\ny\r\n");
    run(&engine, "redis.call('del', KEYS[1]) error('no')");
    assert_eq!(run(&engine, "return redis.call('exists', KEYS[1])"), ":0\r\n");
}

#[test]
fn texts_are_compiled_when_they_are_loaded() {
    use lockside::degraded::compile;
    assert_eq!(compile(b"return 1"), Ok(()));
    assert_eq!(compile(b"#!lua flags=no-writes\nreturn 1"), Ok(()));
    let wrong =
        "ERR Error compiling script (new function): user_script:1: '=' expected near '<eof>'";
    assert_eq!(compile(b"nonsense"), Err(wrong.to_owned()));
    assert_eq!(compile(b"#!lua"), Err("ERR Invalid script shebang".to_owned()));
}

#[test]
fn a_text_that_ran_can_be_named() {
    let engine = engine();
    let evalsha = |sha: &str| {
        let words = ["EVALSHA", sha, "1", "lock:a"].map(|word| word.as_bytes().to_vec());
        match engine.command(&words) {
            Answer::Reply(reply) => String::from_utf8(reply).unwrap(),
            _ => panic!("not served"),
        }
    };
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert_eq!(evalsha(sha), "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    assert_eq!(run(&engine, "return 1"), ":1\r\n");
    assert_eq!(evalsha(&sha.to_uppercase()), ":1\r\n");
    let broken = lockside::lock::envelope::sha1_hex(b"return return");
    run(&engine, "return return");
    assert!(evalsha(std::str::from_utf8(&broken).unwrap()).starts_with("-NOSCRIPT"));
}
