//! Scripts in the engine and in Redis: those of lock libraries, and those that show what a script can
//! see of itself. The same replies, byte for byte.

mod random;

use lockside::lock::rule::Mode;
use lockside::resp::encode::Protocol;

use super::engine::{Answer, Engine};
use crate::envelope::direct::SAME;
use crate::envelope::libraries::texts;
use crate::support::{Client, Redis};

/// Both, for one script after another.
pub(super) struct Pair {
    engine: Engine,
    redis: Client,
    protocol: Protocol,
    mode: Mode,
}

impl Pair {
    pub(super) fn new(redis: &Redis, mode: Mode, protocol: Protocol) -> Self {
        let mut redis = redis.client();
        if protocol == Protocol::Resp3 {
            redis.ask("HELLO 3");
        }
        Self { engine: Engine::new(mode, protocol), redis, protocol, mode }
    }

    pub(super) fn reset(&mut self, before: &str) {
        self.redis.ask("FLUSHALL");
        self.redis.ask("SELECT 0");
        self.engine = Engine::new(self.mode, self.protocol);
        for line in before.split(" ; ").filter(|line| !line.is_empty()) {
            let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
            let (ours, theirs) = self.both(&words);
            assert_eq!(ours, Some(theirs), "{line}");
        }
    }

    /// What the engine says, if it serves this; and what Redis says.
    pub(super) fn both(&mut self, words: &[Vec<u8>]) -> (Option<String>, String) {
        let ours = match self.engine.command(words) {
            Answer::Reply(reply) => Some(reply.escape_ascii().to_string()),
            Answer::NotServed => None,
            Answer::Blocks => panic!("a script never blocks"),
        };
        let ours = ours.filter(|reply| !reply.contains("on a lock is not served while"));
        let theirs = self.redis.call(words);
        (ours, theirs.escape_ascii().to_string())
    }

    pub(super) fn script(
        &mut self,
        text: &str,
        keys: &[&str],
        args: &[&str],
    ) -> (Option<String>, String) {
        let count = keys.len().to_string();
        let words = [&["EVAL", text, &count][..], keys, args].concat();
        let words: Vec<Vec<u8>> = words.into_iter().map(|word| word.into()).collect();
        self.both(&words)
    }
}

/// The same but for times, which two clocks give.
pub(super) fn is_same(ours: &str, theirs: &str) -> bool {
    let near = |(ours, theirs): (&str, &str)| {
        let time = |line: &str| line.strip_prefix(':')?.parse::<i64>().ok().filter(|ms| *ms > 1000);
        let both = time(ours).zip(time(theirs));
        ours == theirs || both.is_some_and(|(ours, theirs)| (ours - theirs).abs() < 5_000)
    };
    let lines = |text: &str| text.split("\\r\\n").map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (lines(ours), lines(theirs));
    ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(ours, theirs)| near((ours, theirs)))
}

/// Scripts whose replies differ for a reason.
fn differs_rightly(script: &str) -> bool {
    // The version is the one that HELLO gives.
    script.contains("REDIS_VERSION")
        // Recursion without end passes the bound for memory first.
        || script.contains("return f() + 1")
        // Nested deeper than the engine's bound.
        || script.contains("3000") || script.contains("t[1] = t")
        // How many databases there are only Redis knows.
        || script.contains("'select', 99")
        // Nothing of a lock without TTL runs out; the rule gives it one.
        || script.contains("ttl'")
}

fn compare_what_scripts_see(protocol: Protocol) {
    let redis = Redis::start();
    let mut pair = Pair::new(&redis, Mode::Persistent, protocol);
    let (mut served, mut wrong) = (0, Vec::new());
    for (before, script, args) in SAME {
        if before.contains("HSET") || differs_rightly(script) {
            continue;
        }
        pair.reset(&before.replace(';', " ; "));
        let (Some(ours), theirs) = pair.script(script, &["lock:a"], args) else { continue };
        served += 1;
        if ours != theirs {
            wrong.push(format!("{before} | {script}\n  engine {ours}\n  Redis  {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of {served} differ", wrong.join("\n"), wrong.len());
    assert!(served > 180, "{served} were served");
}

#[test]
fn scripts_see_what_redis_shows_them() {
    compare_what_scripts_see(Protocol::Resp2);
}

#[test]
fn scripts_see_what_redis_shows_them_in_resp3() {
    compare_what_scripts_see(Protocol::Resp3);
}

/// More of what scripts see of themselves and of Lua.
const MORE: &[&str] = &[
    "local t = {} for i = 1, 999 do t = {t} end return #cjson.encode(t)",
    "local t = {} for i = 1, 1000 do t = {t} end return {pcall(cjson.encode, t)}",
    "local t = {} t.a = t return {pcall(function() local s = cjson.encode(t) return s end)}",
    "local t = {} t.a = t return cjson.encode(t)",
    "local s = cjson.decode(string.rep('[', 1000) .. string.rep(']', 1000)) return type(s)",
    "return {pcall(function() local s = cjson.decode(string.rep('[', 1001)) return s end)}",
    "return cjson.decode(string.rep('[', 100000))",
    "return cjson.decode(string.rep('{\"a\":', 1002))",
    "return cjson.encode({[1] = 1, [1000] = 1})",
    "return {pcall(cjson.encode, {[1] = 1, [1000] = 1})}",
    "return cjson.encode(1/0)",
    "return cjson.encode({a = 0/0})",
    "return cjson.encode(print)",
    "return cjson.encode({tostring})",
    "return cjson.encode({[true] = 1})",
    "return cjson.encode({[0] = 1})",
    "return cjson.encode({[1.5] = 1})",
    "return cjson.encode('\\255\\0x')",
    "return cjson.encode()",
    "return cjson.encode(1, 2)",
    "return cjson.decode()",
    "return cjson.decode({})",
    "return cjson.decode(12)",
    "return cjson.decode('1', '2')",
    "return cjson.decode('[1,2')",
    "return cjson.decode('[1,2]]')",
    "return cjson.decode('{\"a\"}')",
    "return cjson.decode('{1:2}')",
    "return cjson.decode('{\"a\":1,}')",
    "return cjson.decode('[1 2]')",
    "return cjson.decode('[1,]')",
    "return cjson.decode('\"abc')",
    "return cjson.decode('\"a\\\\x\"')",
    "return cjson.decode('\"\\\\ud800\"')",
    "return cjson.decode('\"\\\\ud83d\\\\ude00\\\\u00e9\\\\n\"')",
    "return cjson.decode('\"\\255\"')",
    "return cjson.decode('tru')",
    "return cjson.decode('-')",
    "return cjson.decode('x')",
    "return cjson.decode('')",
    "return cjson.decode('\\0\\0')",
    "return tostring(cjson.decode('0x1F'))",
    "return tostring(cjson.decode('+5'))",
    "return tostring(cjson.decode('-Infinity'))",
    "return cjson.decode('{\"a\":1e999}').a",
    "return cjson.decode('{\"a\":1,\"a\":2}').a",
    "return #cjson.decode(' [ 1 , 2 ]\\t\\n')",
    "return cjson.decode('[1,2] x')",
    "local ok, e = pcall(function() return 1 + cjson.decode('[') end) return {tostring(ok), e}",
    "getmetatable('').__index = function() return 1 end",
    "return {pcall(function() getmetatable('').__add = print end)}",
    "return getmetatable('').__index == string and 1 or 0",
    "return cjson.encode({1, 'a', true, {}, {x = 1.5}, cjson.null})",
    "return cjson.encode('a/b\\n\\1\\127\"\\\\é')",
    "return {cjson.encode(1/3), cjson.encode(1e20), cjson.encode(12345678901234567), cjson.encode(nil)}",
    "return cjson.encode({[1] = 1, [2] = 2, [4] = 4})",
    "return cjson.encode({[1.5] = 1})",
    "return cjson.encode({[1] = 1, x = 2})",
    "local t = cjson.decode('{\"a\": [1, 2.5, null, \"x\\\\u00e9\"], \"b\": true}') return {t.a[1], tostring(t.a[2]), tostring(t.a[3] == cjson.null), t.a[4], tostring(t.b)}",
    "return {tostring((pcall(cjson.decode, 'no json')))}",
    "return {tostring((pcall(cjson.decode, '')))}",
    "return tostring(cjson.decode('12'))",
    "cjson.x = 1",
    "table.insert(_G, 1)",
    "table.insert(1, 1)",
    "table.remove({}, {})",
    "local x = string.match('a', {})",
    "local x = string.gsub('a')",
    "for w in string.gmatch({}, 'a') do end",
    "local t = {} for i = 1, 200 do table.insert(t, 1, i) end table.remove(t, 3) return {#t, t[1], t[3], t[199]}",
    "return {bit.band(7, 13, 5), bit.bor(1, 8), bit.bxor(5, 1), bit.bnot(0), bit.tobit(2^32 + 3)}",
    "return {bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-16, 2), bit.rol(2^31, 1), bit.ror(1, 1), bit.bswap(1)}",
    "return {bit.tohex(255), bit.tohex(255, 4), bit.tohex(2^31, -3), bit.tohex(-1, 20), bit.tohex(5, 0)}",
    "return {bit.tobit(1.5), bit.tobit(2.5), bit.tobit(-1.5), bit.tobit('7'), bit.lshift(1, 33)}",
    "local x = bit.band()",
    "local x = bit.band(1, {})",
    "local x = bit.lshift(1)",
    "local x = bit.lshift(1, nil)",
    "bit.x = 1",
    "KEYS = 1",
    "redis = nil",
    "function f() end",
    "rawset(_G, 'x', 1)",
    "setmetatable(_G, nil)",
    "string.x = 1",
    "return rawget(_G, 'x')",
    "return type(rawget(_G, 'redis'))",
    "local n = 0 for k in pairs(_G) do if k == 'redis' or k == 'KEYS' then n = n + 1 end end return n",
    "local n = 0 for k in pairs(string) do n = n + 1 end return n",
    "return type(next(math))",
    "return {type(print), 1}",
    "return type(os)",
    "return type(io)",
    "return require('os')",
    "return dofile('x')",
    "return debug",
    "return getmetatable('').__index == string",
    "return ('x'):rep(3)",
    "return string.format('%5.2f %s %q', 1.5, 'a', 'b')",
    "return {string.find('hello world', 'o (w)')}",
    "return {string.match('ab:cd', '^(.-):(.*)$')}",
    "return {string.gsub('hello', 'l', 'L')}",
    "return string.gsub('hello', 'l', {l = '1'})",
    "local r = {} for w in string.gmatch('a b c', '%a') do r[#r + 1] = w end return r",
    "local x = string.find('a', {})",
    "local s = string.rep('x', 'y') return s",
    "return ('x'):bad()",
    "local s = table.concat({1, 2, {}}) return s",
    "return table.concat({1, 'b', 3}, ',')",
    "local t = {3, 1, 2} table.sort(t) return t",
    "local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return t",
    "table.sort({1, 'x', 2})",
    "return {unpack({1, 2, 3})}",
    "return tostring(1e15) .. tostring(0.1) .. tostring(10/3)",
    "return tostring(2^53)",
    "return redis.call('set', KEYS[1], 10/3) and redis.call('get', KEYS[1])",
    "return redis.call('set', KEYS[1], 2^53) and redis.call('get', KEYS[1])",
    "return redis.call('set', KEYS[1], -1e100) and redis.call('get', KEYS[1])",
    "return redis.call('set', KEYS[1], 1/0) and redis.call('get', KEYS[1])",
    "math.randomseed(7) return {math.random(1000), math.random(5, 9), tostring(math.random())}",
    "math.randomseed(-3) return {math.random(100000), math.random(100000)}",
    "local x = math.random(0)",
    "local x = math.random(3, 1)",
    "local x = math.random('x')",
    "local x = math.random(1, 2, 3)",
    "return {math.floor(3.7), math.max(1, 9), math.huge}",
    "return loadstring('return')",
    "return {loadstring('return +')}",
    "return loadstring(string.dump(function() return 1 end))",
    "return {loadstring('\\27Lua')}",
    "local i = 0 return load(function() i = i + 1 return ({'return ', '7'})[i] end)()",
    "return {load(function() return '\\27Lua' end)}",
    "local f = setfenv(function() return x end, {x = 5}) return f()",
    "return type(getfenv(0)) .. type(getfenv(redis.call))",
    "setfenv(1, {}) x = 1 return x",
    "local t = setmetatable({}, {__index = function(_, k) return k .. '!' end}) return t.a",
    "return setmetatable({}, {__index = function() return 1 end})",
    "local co = coroutine.create(function(a) local b = coroutine.yield(a) return b end) local _, x = coroutine.resume(co, 1) local _, y = coroutine.resume(co, 2) return {x, y, coroutine.status(co)}",
    "local co = coroutine.create(function() error({err = 'X y'}) end) local ok, e = coroutine.resume(co) return {tostring(ok), e.err}",
    "local co = coroutine.create(function() redis.call('set', 'x') end) local ok, e = coroutine.resume(co) return e",
    "coroutine.wrap(function() error('in it') end)()",
    "return {pcall(nil)}",
    "return {pcall(function() local x = nil; return x.y end)}",
    "local ok, e = pcall(error) return tostring(e)",
    "local ok, e = pcall(redis.call, 'set', KEYS[1]) return e",
    "local ok, e = pcall(redis.nope) return e",
    "local ok, e = pcall(error, {1, 2}) return e",
    "local ok, e = pcall(error, {err = 5}) return type(e)",
    "return redis.pcall('set', KEYS[1], 'x', 'BAD')",
    "return redis.pcall('set', KEYS[1], 'x', 'BAD').err",
    "local e = redis.pcall('set', KEYS[1]) return tostring(e.ignore_error_stats_update)",
    "return redis.error_reply('a\\r\\nb')",
    "return redis.error_reply('')",
    "return redis.error_reply()",
    "return redis.status_reply(1)",
    "return redis.status_reply('a', 'b')",
    "error({err = 5})",
    "error({err = 'X', line = 1})",
    "error({err = 'X\\ny'})",
    "error(function() end and 'x' .. 1, 0)",
    "return tostring(nil) .. tostring(true)",
    "return redis.sha1hex(5)",
    "return redis.sha1hex('a', 'b')",
    "return redis.log(redis.LOG_DEBUG, 'x')",
    "return redis.log(redis.LOG_DEBUG)",
    "return redis.log('x', 'y')",
    "return redis.log(-1, 'y')",
    "return redis.set_repl(redis.REPL_NONE)",
    "return redis.set_repl()",
    "return redis.debug('x')",
    "redis.setresp(3) return {true, false, {double = 1.5}, {map = {a = 1}}, {set = {a = true}}, {big_number = '12\\r3'}}",
    "redis.setresp(3) return {redis.call('get', KEYS[1]), 1}",
    "redis.setresp(3) return type(redis.call('get', KEYS[1]))",
    "return {double = 1e300}",
    "return {double = 0.1}",
    "return {double = -1/0}",
    "return {verbatim_string = {format = 'markdown', string = 'x'}}",
    "return {verbatim_string = {format = 'm', string = 'x'}}",
    "return {verbatim_string = {string = 'x'}}",
    "return {map = {{1}}}",
    "return {ok = 'a\\0b'}",
    "return {err = 'a\\0b'}",
    "return {err = ''}",
    "return 9007199254740993",
    "return -9.99",
    "return 0/0",
    "return 1e19",
    "return 'x' .. 1.5",
    "local a <const> = 1",
    "return 1 +",
    "return \"open",
    "return goto",
    "\n\nlocal x = = 1",
    "for",
    "\\27Lua",
    "#!lua",
    "#!sh\nreturn 1",
    "#!lua flags=\nreturn 1",
    "#!lua\n\n\nerror('x')",
    "local t = {} for i = 1, 90 do t = {t} end return t",
    "return select(-1, 1, 2)",
    "return select(0)",
    "return tonumber('0x10') + tonumber('10', 2)",
    "return tonumber('abc')",
    "return #redis.call('time')",
    "return redis.call('ping')",
    "return redis.call('echo', 'x')",
    "return redis.call('ECHO')",
    "return redis.call('publish', 'c', 'm')",
    "return redis.call('eval', 'return 1', 0)",
    "return redis.call('blpop', 'lock-signal:a', 0)",
    "redis.call('set', KEYS[1], 'x') redis.call('expire', KEYS[1], 100) return redis.call('ttl', KEYS[1])",
    "return redis.call('lrange', 'lock-signal:a', 0, -1)",
    "return {redis.call('rpush', 'lock-signal:a', 'x', 'y'), redis.call('lrange', 'lock-signal:a', 0, -1), redis.call('lpop', 'lock-signal:a', 9)}",
    "return redis.call('mget', KEYS[1], KEYS[2])",
    "return #redis.call('mget', KEYS[1], KEYS[2])",
];

fn compare_more(protocol: Protocol) {
    let redis = Redis::start();
    let mut pair = Pair::new(&redis, Mode::Persistent, protocol);
    let (mut not_served, mut wrong) = (Vec::new(), Vec::new());
    for script in MORE {
        pair.reset("");
        let (ours, theirs) = pair.script(script, &["lock:a", "lock:b"], &["one", "2"]);
        match ours {
            None => not_served.push(*script),
            Some(ours) if ours != theirs => {
                wrong.push(format!("{script}\n  engine {ours}\n  Redis  {theirs}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}\n{} differ", wrong.join("\n"), wrong.len());
    assert!(not_served.is_empty(), "{not_served:?}");
}

#[test]
fn lua_is_that_of_redis() {
    compare_more(Protocol::Resp2);
}

#[test]
fn lua_is_that_of_redis_in_resp3() {
    compare_more(Protocol::Resp3);
}

/// What stands before a library's script runs, with the token `1`.
const STATES: &[&str] = &[
    "",
    "SET lock:a 1 PX 30000",
    "SET lock:a 2 PX 30000",
    "SET lock:a 1 PX 30000 ; SET lock:b 1 PX 30000",
    "SET lock:b 2 PX 30000 ; RPUSH lock-signal:a 1",
];

/// Every text with the arguments that it takes.
fn library_scripts() -> Vec<(&'static str, &'static [&'static str])> {
    const TOKEN: &[&str] = &["1", "20000", "30000"];
    const NO_TOKEN: &[&str] = &["3", "20000", "0"];
    const IN_DB: &[&str] = &["2", "1", "20000"];
    let acquire = texts::ACQUIRE.iter().map(|(script, ..)| *script);
    let mut all: Vec<_> = texts::COMPARE_AND_DELETE.to_vec();
    all.extend(texts::EXTEND.iter().copied().chain(acquire));
    all.extend([
        texts::LOCKED,
        texts::PYTHON_REDIS_LOCK_EXTEND,
        texts::PYTHON_REDIS_LOCK_RELEASE,
        texts::PYTHON_REDIS_LOCK_RESET,
        texts::AIOREDLOCK_RELEASE,
        texts::AIOREDLOCK_TTL,
        texts::INSPECT,
        texts::BSM_OBTAIN,
    ]);
    let mut calls = Vec::new();
    for script in all {
        calls.extend([(script, TOKEN), (script, NO_TOKEN)]);
    }
    calls.push((texts::ATOMIC_EXTEND, &["1", "20000", "28000"]));
    for script in [texts::SESAME_ACQUIRE, texts::SESAME_EXTEND, texts::SESAME_RELEASE] {
        calls.push((script, IN_DB));
    }
    calls
}

fn compare_libraries(mode: Mode, protocol: Protocol) {
    let redis = Redis::start();
    let mut pair = Pair::new(&redis, mode, protocol);
    for (script, args) in library_scripts() {
        for before in STATES {
            pair.reset(before);
            let keys =
                ["lock:a", if script.contains("lpush") { "lock-signal:a" } else { "lock:b" }];
            // Twice: the second run finds what the first has made.
            for _ in 0..2 {
                let (ours, theirs) = pair.script(script, &keys, args);
                let ours = ours.unwrap_or_else(|| panic!("not served: {script}"));
                assert!(is_same(&ours, &theirs), "{before} | {script}\n{ours}\n{theirs}");
            }
            for line in ["MGET lock:a lock:b", "LLEN lock-signal:a"] {
                let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
                let (ours, theirs) = pair.both(&words);
                assert_eq!(ours, Some(theirs), "{before} | {script}");
            }
        }
    }
}

#[test]
fn every_librarys_script_says_what_redis_says() {
    compare_libraries(Mode::Persistent, Protocol::Resp2);
    compare_libraries(Mode::Ttl, Protocol::Resp3);
}

#[test]
fn what_only_redis_has_is_not_served_and_nothing_is_applied() {
    let redis = Redis::start();
    for script in [
        "redis.call('set', KEYS[1], 'x') redis.call('get', 'no lock') return 1",
        "redis.call('set', KEYS[1], 'x') return pcall(redis.call, 'get', 'no lock')",
        "redis.call('set', KEYS[1], 'x') return redis.pcall('get', 'no lock')",
        "redis.call('set', KEYS[1], 'x') xpcall(function() redis.call('get', 'no') end, function() end)",
        "redis.call('set', KEYS[1], 'x') local c = coroutine.create(function() redis.call('get', 'no') end) coroutine.resume(c)",
    ] {
        let mut pair = Pair::new(&redis, Mode::Persistent, Protocol::Resp2);
        let (ours, _) = pair.script(script, &["lock:a"], &["1", "2", "3", "4"]);
        assert_eq!(ours, None, "{script}");
        assert!(
            matches!(pair.engine.command(&[b"EXISTS".into(), b"lock:a".into()]),
            Answer::Reply(reply) if reply == b":0\r\n"),
            "{script}"
        );
    }
}
