//! The scripts of lock libraries, through a lock's life: the library's own words must come back,
//! and the key must be as a persistent lock is.

use super::rig::{Pair, Server, Sidecar, text};

const KEY: &[u8] = b"lock:a";
const OWNER: &str = "550e8400-e29b-41d4-a716-446655440000";

/// Texts as the libraries send them, up to white space.
pub(crate) mod texts {
    pub(crate) const COMPARE_AND_DELETE: &[&str] = &[
        // redis-py, django-redis, valkey-py, celery-redbeat
        "local token = redis.call('get', KEYS[1])\nif not token or token ~= ARGV[1] then\n    return 0\nend\nredis.call('del', KEYS[1])\nreturn 1\n",
        // pottery
        "if redis.call('get', KEYS[1]) == ARGV[1] then\n    return redis.call('del', KEYS[1])\nelse\n    return 0\nend\n",
        // redlock-py
        "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end",
        // rq
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
        // cashews, redlock-universal, rslock
        "if redis.call(\"GET\", KEYS[1]) == ARGV[1] then return redis.call(\"DEL\", KEYS[1]) else return 0 end",
        // sherlock
        "local result = 0 if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) result = 1 end return result",
        // redis-semaphore
        "local key = KEYS[1] local identifier = ARGV[1] if redis.call('get', key) == identifier then return redis.call('del', key) end return 0",
        // node-redlock 4 and 5
        "local count = 0 for i, key in ipairs(KEYS) do if redis.call(\"get\", key) == ARGV[1] then redis.pcall(\"del\", key) count = count + 1 end end return count",
    ];

    /// Arguments: token, ms, "0" (add to the rest).
    pub(crate) const EXTEND: &[&str] = &[
        // redis-py extend
        "local token = redis.call('get', KEYS[1])\nif not token or token ~= ARGV[1] then return 0 end\nlocal expiration = redis.call('pttl', KEYS[1])\nif not expiration then expiration = 0 end\nif expiration < 0 then return 0 end\nlocal newttl = ARGV[2]\nif ARGV[3] == \"0\" then newttl = ARGV[2] + expiration end\nredis.call('pexpire', KEYS[1], newttl)\nreturn 1\n",
        // redis-py reacquire
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end redis.call('pexpire', KEYS[1], ARGV[2]) return 1",
        // pottery extend
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end",
        // celery-redbeat
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 end if expiration < 0 then return 0 end redis.call('pexpire', KEYS[1], ARGV[2]) return 1",
        // redlock-universal
        "if redis.call(\"GET\", KEYS[1]) == ARGV[1] then return redis.call(\"PEXPIRE\", KEYS[1], ARGV[2]) else return 0 end",
        // redis-semaphore
        "local key = KEYS[1] local identifier = ARGV[1] local lockTimeout = ARGV[2] local value = redis.call('get', key) if value == identifier then redis.call('pexpire', key, lockTimeout) return 1 end return 0",
        // rslock
        "if redis.call(\"get\", KEYS[1]) ~= ARGV[1] then return 0 else if redis.call(\"set\", KEYS[1], ARGV[1], \"PX\", ARGV[2]) ~= nil then return 1 else return 0 end end",
        // node-redlock 4 and 5
        "for i, key in ipairs(KEYS) do if redis.call(\"get\", key) ~= ARGV[1] then return 0 end end for i, key in ipairs(KEYS) do redis.call(\"set\", key, ARGV[1], \"PX\", ARGV[2]) end return #KEYS",
        // sherlock
        "local result = 0 if redis.call('GET', KEYS[1]) == ARGV[1] then if ARGV[2] ~= -1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) else redis.call('PERSIST', KEYS[1]) end result = 1 end return result",
    ];

    pub(crate) const LOCKED: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then local pttl = redis.call('pttl', KEYS[1]) return (pttl > 0) and pttl or 0 else return 0 end";
    pub(crate) const PYTHON_REDIS_LOCK_EXTEND: &str = "if redis.call(\"get\", KEYS[1]) ~= ARGV[1] then return 1 elseif redis.call(\"ttl\", KEYS[1]) < 0 then return 2 else redis.call(\"expire\", KEYS[1], ARGV[2]) return 0 end";
    pub(crate) const PYTHON_REDIS_LOCK_RELEASE: &str = "if redis.call(\"get\", KEYS[1]) ~= ARGV[1] then return 1 else redis.call(\"del\", KEYS[2]) redis.call(\"lpush\", KEYS[2], 1) redis.call(\"pexpire\", KEYS[2], ARGV[2]) redis.call(\"del\", KEYS[1]) return 0 end";
    pub(crate) const PYTHON_REDIS_LOCK_RESET: &str = "redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], ARGV[2]) return redis.call('del', KEYS[1])";

    /// Acquire scripts: text, reply when taken, when taken again by its owner, by a stranger.
    pub(crate) const ACQUIRE: &[(&str, &str, &str, &str)] = &[
        // sherlock
        (
            "local result = redis.call('SETNX', KEYS[1], ARGV[1]) if result == 1 and ARGV[2] ~= -1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end return result",
            ":1\\r\\n",
            ":0\\r\\n",
            ":0\\r\\n",
        ),
        // rq
        (
            "local value = redis.call('GET', KEYS[1]) if not value then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) return 1 elseif value == ARGV[1] then redis.call('EXPIRE', KEYS[1], ARGV[2]) return 2 end return 0",
            ":1\\r\\n",
            ":2\\r\\n",
            ":0\\r\\n",
        ),
        // aioredlock
        (
            "local identifier = redis.call('get', KEYS[1])\nif not identifier or identifier == ARGV[1] then\nreturn redis.call(\"set\", KEYS[1], ARGV[1], 'PX', ARGV[2])\nelse return redis.error_reply('ERROR') end",
            "+OK\\r\\n",
            "+OK\\r\\n",
            "-ERR ERROR\\r\\n",
        ),
        // node-redlock 4 and 5
        (
            "for i, key in ipairs(KEYS) do if redis.call(\"exists\", key) == 1 then return 0 end end for i, key in ipairs(KEYS) do redis.call(\"set\", key, ARGV[1], \"PX\", ARGV[2]) end return #KEYS",
            ":1\\r\\n",
            ":0\\r\\n",
            ":0\\r\\n",
        ),
        // redlock-universal, many keys
        (
            "for i = 1, #KEYS do if redis.call(\"EXISTS\", KEYS[i]) == 1 then return {0, i, KEYS[i]} end end local ttl = tonumber(ARGV[#ARGV]) for i = 1, #KEYS do redis.call(\"SET\", KEYS[i], ARGV[i], \"PX\", ttl) end return {1, #KEYS}",
            "*2\\r\\n:1\\r\\n:1\\r\\n",
            "*3\\r\\n:0\\r\\n:1\\r\\n$6\\r\\nlock:a\\r\\n",
            "*3\\r\\n:0\\r\\n:1\\r\\n$6\\r\\nlock:a\\r\\n",
        ),
        // redlock-rb
        (
            "if redis.call(\"exists\", KEYS[1]) == 0 or redis.call(\"get\", KEYS[1]) == ARGV[1] then return redis.call(\"set\", KEYS[1], ARGV[1], \"PX\", ARGV[2]) end",
            "+OK\\r\\n",
            "+OK\\r\\n",
            "$-1\\r\\n",
        ),
    ];

    pub(crate) const AIOREDLOCK_RELEASE: &str = "local identifier = redis.call('get', KEYS[1]) if not identifier then return redis.status_reply('OK') elseif identifier == ARGV[1] then return redis.call(\"del\", KEYS[1]) else return redis.error_reply('ERROR') end";
    pub(crate) const AIOREDLOCK_TTL: &str = "local identifier = redis.call('get', KEYS[1]) if not identifier then return redis.error_reply('ERROR') elseif identifier == ARGV[1] then return redis.call(\"TTL\", KEYS[1]) else return redis.error_reply('ERROR') end";
    pub(crate) const SESAME_ACQUIRE: &str = "redis.pcall(\"SELECT\", tonumber(ARGV[1])) for i, key in ipairs(KEYS) do if redis.call(\"exists\", key) == 1 then return 0 end end for i, key in ipairs(KEYS) do redis.call(\"set\", key, ARGV[2], \"PX\", ARGV[3]) end return #KEYS";
    pub(crate) const SESAME_EXTEND: &str = "redis.pcall(\"SELECT\", tonumber(ARGV[1])) for i, key in ipairs(KEYS) do if redis.call(\"get\", key) ~= ARGV[2] then return 0 end end for i, key in ipairs(KEYS) do redis.call(\"set\", key, ARGV[2], \"PX\", ARGV[3]) end return #KEYS";
    pub(crate) const SESAME_RELEASE: &str = "redis.pcall(\"SELECT\", tonumber(ARGV[1])) local count = 0 for i, key in ipairs(KEYS) do if redis.call(\"get\", key) == ARGV[2] then redis.pcall(\"del\", key) count = count + 1 end end return count";
    pub(crate) const SEMAPHORE: &str = "local key = KEYS[1] local limit = tonumber(ARGV[1]) local identifier = ARGV[2] local lockTimeout = tonumber(ARGV[3]) local now = tonumber(ARGV[4]) local expiredTimestamp = now - lockTimeout redis.call('zremrangebyscore', key, '-inf', expiredTimestamp) if redis.call('zcard', key) < limit then redis.call('zadd', key, now, identifier) redis.call('pexpire', key, lockTimeout) return 1 else return 0 end";
    pub(crate) const ATOMIC_EXTEND: &str = "local ttl = redis.call('PTTL', KEYS[1]) if ttl == -2 then return {-1, -2} end if ttl < tonumber(ARGV[2]) then return {0, ttl} end if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[3]) return {1, ttl} end return {-1, ttl}";
    pub(crate) const INSPECT: &str = "local v = redis.call('GET', KEYS[1]) if not v then return nil end return {v, redis.call('PTTL', KEYS[1])}";
    pub(crate) const BSM_OBTAIN: &str = "if redis.call('msetnx', KEYS[1], ARGV[1], KEYS[2], ARGV[1]) == 1 then for i = 1, #KEYS do redis.call('pexpire', KEYS[i], ARGV[2]) end return redis.status_reply('OK') end local offset = #ARGV[1] for i = 1, #KEYS do if redis.call('getrange', KEYS[i], 0, offset - 1) ~= ARGV[1] then return false end end redis.call('mset', KEYS[1], ARGV[1], KEYS[2], ARGV[1]) for i = 1, #KEYS do redis.call('pexpire', KEYS[i], ARGV[2]) end return redis.status_reply('OK')";
    pub(crate) const REDISSON_LOCK: &str = "if ((redis.call('exists', KEYS[1]) == 0) or (redis.call('hexists', KEYS[1], ARGV[2]) == 1)) then redis.call('hincrby', KEYS[1], ARGV[2], 1); redis.call('pexpire', KEYS[1], ARGV[1]); return nil; end; return redis.call('pttl', KEYS[1]);";
    pub(crate) const REDISSON_RENEW: &str = "if (redis.call('hexists', KEYS[1], ARGV[2]) == 1) then redis.call('pexpire', KEYS[1], ARGV[1]); return 1; end; return 0;";
    pub(crate) const REDISSON_UNLOCK: &str = "if (redis.call('hexists', KEYS[1], ARGV[2]) == 0) then return nil; end; local counter = redis.call('hincrby', KEYS[1], ARGV[2], -1); if (counter > 0) then redis.call('pexpire', KEYS[1], ARGV[1]); return 0; else redis.call('del', KEYS[1]); redis.call('publish', KEYS[2], '0'); return 1; end; return nil;";
    pub(crate) const SYMFONY_ACQUIRE: &str = "local now = redis.call('TIME') now = now[1] * 1000 + math.floor(now[2] / 1000) if redis.call('TYPE', KEYS[1]).ok == 'string' then return false end redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) if redis.call('ZCARD', KEYS[1]) > 0 and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return false end redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1], now + ARGV[2], '__write__') redis.call('PEXPIREAT', KEYS[1], now + ARGV[2]) return true";
}

/// A new sidecar in front of a new Redis.
struct Bench {
    _server: Server,
    side: Sidecar,
}

impl Bench {
    fn start() -> Self {
        let server = Server::start();
        let side = Sidecar::new(server.connect(false));
        Self { _server: server, side }
    }

    fn fresh(&mut self) {
        self.side.redis.say("FLUSHALL");
    }

    /// Reply and changes of a script on the one key.
    fn run(&mut self, script: &str, args: &[&str]) -> (String, Vec<String>) {
        self.run_on(&[KEY], script, args)
    }

    fn run_on(&mut self, keys: &[&[u8]], script: &str, args: &[&str]) -> (String, Vec<String>) {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        let answer = self.side.script(script.as_bytes(), keys, &args);
        (text(&answer.reply), answer.changes)
    }

    fn take(&mut self, token: &str) {
        let command: &[&[u8]] = &[b"SET", KEY, token.as_bytes(), b"NX", b"PX", b"30000"];
        let answer = self.side.command(&[KEY], command);
        assert_eq!(text(&answer.reply), "+OK\\r\\n");
        self.held(token);
    }

    /// The key is a persistent lock of the token, alone in Redis, with a stored value of its own.
    fn held(&mut self, token: &str) {
        let raw = text(&self.side.redis.ask(&[b"GET", KEY]));
        assert!(raw.contains(token), "{raw}");
        let redis = &mut self.side.redis;
        assert_eq!(redis.integer("PTTL lock:a"), -1);
        assert_eq!(redis.integer("DBSIZE"), 1);
    }

    fn free(&mut self) {
        assert_eq!(self.side.redis.integer("DBSIZE"), 0);
    }
}

/// A token that is stored as it is, one of the original service's form, one that repeats, a binary
/// one is in `settle`.
const TOKENS: &[&str] = &[OWNER, "93:550e8400-e29b-41d4-a716-446655440000", "1", "host:4711"];

#[test]
fn owners_release_and_strangers_do_not() {
    let mut bench = Bench::start();
    for script in texts::COMPARE_AND_DELETE {
        for token in TOKENS {
            bench.fresh();
            assert_eq!(bench.run(script, &[token]).0, ":0\\r\\n", "nothing to release");
            bench.take(token);
            assert_eq!(bench.run(script, &["stranger"]), (":0\\r\\n".into(), vec![]), "{script}");
            bench.held(token);
            let done = (":1\\r\\n".into(), vec!["-lock:a".into()]);
            assert_eq!(bench.run(script, &[token]), done, "{script}");
            bench.free();
        }
    }
}

#[test]
fn owners_extend_and_nothing_is_written() {
    let mut bench = Bench::start();
    for script in texts::EXTEND {
        for token in TOKENS {
            bench.fresh();
            assert_eq!(bench.run(script, &[token, "5000", "0"]).0, ":0\\r\\n");
            bench.take(token);
            bench.side.redis.say("WATCH lock:a");
            assert_eq!(bench.run(script, &["other", "5000", "0"]), (":0\\r\\n".into(), vec![]));
            let done = (":1\\r\\n".into(), vec![]);
            assert_eq!(bench.run(script, &[token, "5000", "0"]), done, "{script}");
            bench.side.redis.say("MULTI");
            assert_eq!(bench.side.redis.say("EXEC"), "*0\r\n", "WATCH was disturbed: {script}");
            bench.held(token);
        }
    }
}

#[test]
fn locks_are_taken_inside_scripts() {
    let mut bench = Bench::start();
    for (script, taken, again, held) in texts::ACQUIRE {
        for token in TOKENS {
            bench.fresh();
            let done = ((*taken).into(), vec!["+lock:a".into()]);
            assert_eq!(bench.run(script, &[token, "5000"]), done, "{script}");
            bench.held(token);
            assert_eq!(bench.run(script, &[token, "5000"]), ((*again).into(), vec![]), "{script}");
            bench.held(token);
            assert_eq!(bench.run(script, &["else", "5000"]), ((*held).into(), vec![]), "{script}");
            bench.held(token);
        }
    }
}

#[test]
fn a_ttl_is_shown_where_there_is_none() {
    let mut bench = Bench::start();
    bench.take(OWNER);
    assert_eq!(bench.run(texts::LOCKED, &[OWNER]).0, ":30000\\r\\n");
    assert_eq!(bench.run(texts::LOCKED, &["other"]).0, ":0\\r\\n");
    assert_eq!(bench.run(texts::AIOREDLOCK_TTL, &[OWNER]).0, ":30\\r\\n");
    let extend = bench.run(texts::ATOMIC_EXTEND, &[OWNER, "1000", "5000"]);
    assert_eq!(extend, ("*2\\r\\n:1\\r\\n:30000\\r\\n".into(), vec![]));
    let inspect = bench.run(texts::INSPECT, &[]);
    assert_eq!(inspect.0, format!("*2\\r\\n$36\\r\\n{OWNER}\\r\\n:30000\\r\\n"));
    bench.fresh();
    assert_eq!(bench.run(texts::INSPECT, &[]).0, "$-1\\r\\n");
}

#[test]
fn python_redis_lock_signals_its_waiters() {
    let mut bench = Bench::start();
    bench.side.locks = 1;
    let keys: &[&[u8]] = &[KEY, b"lock-signal:a"];
    bench.take(OWNER);
    let extend = texts::PYTHON_REDIS_LOCK_EXTEND;
    assert_eq!(bench.run(extend, &[OWNER, "10"]), (":0\\r\\n".into(), vec![]));
    assert_eq!(bench.run(extend, &["other", "10"]), (":1\\r\\n".into(), vec![]));
    bench.held(OWNER);
    let release = texts::PYTHON_REDIS_LOCK_RELEASE;
    assert_eq!(bench.run_on(keys, release, &["other", "1000"]).0, ":1\\r\\n");
    bench.held(OWNER);
    let done = (":0\\r\\n".into(), vec!["-lock:a".into()]);
    assert_eq!(bench.run_on(keys, release, &[OWNER, "1000"]), done);
    assert_eq!(bench.side.redis.integer("EXISTS lock:a"), 0);
    assert_eq!(bench.side.redis.integer("LLEN lock-signal:a"), 1);
    bench.fresh();
    bench.take(OWNER);
    let done = (":1\\r\\n".into(), vec!["-lock:a".into()]);
    assert_eq!(bench.run_on(keys, texts::PYTHON_REDIS_LOCK_RESET, &["", "1000"]), done);
}

#[test]
fn aioredlock_refuses_by_an_error() {
    let mut bench = Bench::start();
    assert_eq!(bench.run(texts::AIOREDLOCK_RELEASE, &[OWNER]).0, "+OK\\r\\n");
    bench.take(OWNER);
    assert_eq!(bench.run(texts::AIOREDLOCK_RELEASE, &["x"]).0, "-ERR ERROR\\r\\n");
    assert_eq!(bench.run(texts::AIOREDLOCK_RELEASE, &[OWNER]).0, ":1\\r\\n");
    bench.free();
}

#[test]
fn sesame_selects_its_database() {
    let mut bench = Bench::start();
    let taken = (":1\\r\\n".into(), vec!["+lock:a".into()]);
    assert_eq!(bench.run(texts::SESAME_ACQUIRE, &["3", "1", "5000"]), taken);
    assert_eq!(bench.run(texts::SESAME_ACQUIRE, &["3", "2", "5000"]).0, ":0\\r\\n");
    assert_eq!(bench.run(texts::SESAME_ACQUIRE, &["4", "2", "5000"]), taken);
    assert_eq!(bench.run(texts::SESAME_EXTEND, &["3", "1", "5000"]), (":1\\r\\n".into(), vec![]));
    assert_eq!(bench.run(texts::SESAME_EXTEND, &["3", "2", "5000"]).0, ":0\\r\\n");
    bench.free();
    bench.side.redis.say("SELECT 3");
    bench.held("1");
    bench.side.redis.say("SELECT 0");
    let released = (":1\\r\\n".into(), vec!["-lock:a".into()]);
    assert_eq!(bench.run(texts::SESAME_RELEASE, &["3", "1"]), released);
    assert_eq!(bench.run(texts::SESAME_RELEASE, &["4", "1"]).0, ":0\\r\\n");
}

#[test]
fn several_keys_are_taken_together() {
    let mut bench = Bench::start();
    let keys: &[&[u8]] = &[KEY, b"lock:b"];
    for script in [texts::ACQUIRE[3].0, texts::BSM_OBTAIN] {
        bench.fresh();
        let (_, changes) = bench.run_on(keys, script, &["t", "5000"]);
        assert_eq!(changes, ["+lock:a", "+lock:b"], "{script}");
        for key in ["lock:a", "lock:b"] {
            assert_eq!(bench.side.redis.integer(&format!("PTTL {key}")), -1);
        }
    }
    let again = bench.run_on(keys, texts::BSM_OBTAIN, &["t", "5000"]);
    assert_eq!(again, ("+OK\\r\\n".into(), vec![]));
    assert_eq!(bench.run_on(keys, texts::BSM_OBTAIN, &["u", "5000"]).0, "$-1\\r\\n");
    let (reply, changes) = bench.run_on(keys, texts::COMPARE_AND_DELETE[7], &["t"]);
    assert_eq!((reply.as_str(), changes.len()), (":2\\r\\n", 2));
    bench.free();
}

#[test]
fn redisson_locks_are_hashes() {
    let mut bench = Bench::start();
    let keys: &[&[u8]] = &[KEY, b"channel"];
    bench.side.locks = 1;
    let taken = ("$-1\\r\\n".into(), vec!["+lock:a".into()]);
    assert_eq!(bench.run(texts::REDISSON_LOCK, &["30000", "me:1"]), taken);
    bench.side.redis.say("PTTL lock:a");
    assert_eq!(bench.side.redis.integer("PTTL lock:a"), -1);
    let again = ("$-1\\r\\n".into(), vec!["*lock:a".into()]);
    assert_eq!(bench.run(texts::REDISSON_LOCK, &["30000", "me:1"]), again);
    let held = (":30000\\r\\n".into(), vec![]);
    assert_eq!(bench.run(texts::REDISSON_LOCK, &["30000", "you:1"]), held);
    assert_eq!(bench.run(texts::REDISSON_RENEW, &["30000", "me:1"]), (":1\\r\\n".into(), vec![]));
    assert_eq!(bench.side.redis.integer("PTTL lock:a"), -1);
    assert_eq!(bench.run_on(keys, texts::REDISSON_UNLOCK, &["30000", "you:1"]).0, "$-1\\r\\n");
    let still = (":0\\r\\n".into(), vec!["*lock:a".into()]);
    assert_eq!(bench.run_on(keys, texts::REDISSON_UNLOCK, &["30000", "me:1"]), still);
    assert_eq!(bench.side.redis.integer("PTTL lock:a"), -1);
    let gone = (":1\\r\\n".into(), vec!["-lock:a".into()]);
    assert_eq!(bench.run_on(keys, texts::REDISSON_UNLOCK, &["30000", "me:1"]), gone);
    bench.free();
}

#[test]
fn symfony_and_semaphore_locks_are_sorted_sets() {
    let mut bench = Bench::start();
    let taken = (":1\\r\\n".into(), vec!["+lock:a".into()]);
    assert_eq!(bench.run(texts::SYMFONY_ACQUIRE, &["me", "30000"]), taken);
    // Scores are times: within one millisecond nothing changes.
    let (reply, changes) = bench.run(texts::SYMFONY_ACQUIRE, &["me", "40000"]);
    assert_eq!((reply.as_str(), changes), (":1\\r\\n", vec!["*lock:a".to_owned()]));
    assert_eq!(bench.run(texts::SYMFONY_ACQUIRE, &["you", "30000"]).0, "$-1\\r\\n");
    assert_eq!(bench.side.redis.integer("PTTL lock:a"), -1);
    bench.fresh();
    assert_eq!(bench.run(texts::SEMAPHORE, &["1", "me", "5000", "100000"]), taken);
    assert_eq!(bench.run(texts::SEMAPHORE, &["1", "you", "5000", "100001"]).0, ":0\\r\\n");
    assert_eq!(bench.side.redis.integer("PTTL lock:a"), -1);
}

#[test]
fn every_text_says_the_same_as_without_a_sidecar() {
    let (one, two) = (Server::start(), Server::start());
    let mut pair = Pair::connect(&one, &two, false);
    let acquire = texts::ACQUIRE.iter().map(|(script, ..)| script);
    let all = texts::COMPARE_AND_DELETE.iter().chain(texts::EXTEND).chain(acquire);
    for script in all {
        for (before, token) in [("", "1"), ("SET lock:a 1 PX 30000", "1"), ("SET lock:a 2", "1")] {
            pair.reset();
            if !before.is_empty() {
                pair.set_up(before);
            }
            let args: &[&[u8]] = &[token.as_bytes(), b"20000", b"1"];
            // A lock without any TTL is extended by no library: the virtual TTL says otherwise.
            let (direct, answer) = pair.script(script.as_bytes(), &[KEY], args);
            assert_eq!(direct, text(&answer.reply), "{before} {script}");
        }
    }
}
