//! Locks that are no strings: Redisson's hash, Symfony's sorted set, permits of a semaphore. They are
//! taken, entered again and released by their libraries' scripts, before, during and after an outage,
//! and Redis has them afterwards as it would have them by itself.

use super::{NIL, NO_TTL, OK, ONE, QUICK, Stage, ZERO, answer, wait_mode};
use crate::envelope::libraries::texts;
use crate::support::client::ask_until;
use crate::support::words::encode;
use crate::support::{Client, Redis, Settings, Subject, direct, wait_until};

/// With all that Redis acknowledged in its append-only file.
const KEPT: &[&str] = &["--appendonly", "yes"];

/// What Redisson sends to unlock: beside the lock a channel, and a key of its own that is soon gone.
const UNLOCK_WITH_LATCH: &str = "local val = redis.call('get', KEYS[3]) \
    if val ~= false then return tonumber(val) end \
    if redis.call('hexists', KEYS[1], ARGV[3]) == 0 then return nil end \
    local counter = redis.call('hincrby', KEYS[1], ARGV[3], -1) \
    if counter > 0 then \
      redis.call('pexpire', KEYS[1], ARGV[2]) \
      redis.call('set', KEYS[3], 0, 'px', ARGV[5]) \
      return 0 \
    end \
    redis.call('del', KEYS[1]) \
    redis.call(ARGV[4], KEYS[2], ARGV[1]) \
    redis.call('set', KEYS[3], 1, 'px', ARGV[5]) \
    return 1";

/// As Symfony releases.
const SYMFONY_RELEASE: &str = "if redis.call('TYPE', KEYS[1]).ok == 'string' then return false end \
    redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('ZREM', KEYS[1], '__write__') \
    local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] \
    if last ~= nil then redis.call('PEXPIREAT', KEYS[1], last) end return true";

fn run(client: &mut Client, text: &str, keys: &[&str], arguments: &[&str]) -> String {
    let count = keys.len().to_string();
    let words = [&["EVAL", text, &count][..], keys, arguments].concat();
    String::from_utf8_lossy(&client.call(&words)).into_owned()
}

/// `RLock.lock()`: nil, or how long the holder may still have it.
fn lock(client: &mut Client, who: &str) -> String {
    run(client, texts::REDISSON_LOCK, &["lock:a"], &["30000", who])
}

/// `RLock.unlock()`: how it ends is in the latch, under the request's own name.
fn unlock(client: &mut Client, who: &str, request: &str) -> String {
    let latch = format!("redisson_unlock_latch:{{lock:a}}:{request}");
    let keys = ["lock:a", "redisson_lock__channel:{lock:a}", &latch];
    run(client, UNLOCK_WITH_LATCH, &keys, &["0", "30000", who, "publish", "13500"])
}

fn symfony(client: &mut Client, token: &str) -> String {
    symfony_on(client, "lock:a", token)
}

fn symfony_on(client: &mut Client, key: &str, token: &str) -> String {
    run(client, texts::SYMFONY_ACQUIRE, &[key], &[token, "60000"])
}

fn release(client: &mut Client, token: &str) -> String {
    run(client, SYMFONY_RELEASE, &["lock:a"], &[token])
}

fn semaphore(client: &mut Client, key: &str, token: &str, permits: &str) -> String {
    run(client, texts::SEMAPHORE, &[key], &[permits, token, "600000", "2000000000000"])
}

/// An array of strings, without what stands around them.
fn texts_of(frame: &str) -> Vec<&str> {
    frame.lines().skip(2).step_by(2).collect()
}

#[track_caller]
fn assert_refused(reply: &str) {
    let left: i64 = reply.trim().strip_prefix(':').unwrap_or("0").parse().unwrap();
    assert!((1..=30_000).contains(&left), "a time to wait for, not {reply}");
}

#[test]
fn redissons_lock_goes_on_through_an_outage() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["me:1", "2"]);
    assert_eq!(stage.redis.ask("PTTL lock:a"), NO_TTL);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_refused(&lock(&mut stage.stranger, "you:1"));
    assert_eq!(unlock(&mut stage.stranger, "you:1", "y"), NIL);
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(answer(&mut stage.stranger, "HGET lock:a me:1"), "$1\r\n3\r\n");
    assert_eq!(unlock(&mut stage.holder, "me:1", "1"), ZERO);
    // The same request again, as after a lost reply: its latch says how it ended.
    assert_eq!(unlock(&mut stage.holder, "me:1", "1"), ZERO);
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["me:1", "2"]);
    assert_eq!(stage.redis.ask("PTTL lock:a"), NO_TTL);
    assert_refused(&lock(&mut stage.stranger, "you:1"));
    assert_eq!(unlock(&mut stage.holder, "me:1", "2"), ZERO);
    assert_eq!(unlock(&mut stage.holder, "me:1", "3"), ONE);
    assert_eq!(lock(&mut stage.stranger, "you:1"), NIL);
    // Redis may be a moment behind, as long as it has not been brought in line.
    ask_until(&mut stage.redis.client(), "HGETALL lock:a", |all| texts_of(all) == ["you:1", "1"]);
}

#[test]
fn symfonys_lock_goes_on_through_an_outage() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(symfony(&mut stage.holder, "mine"), ONE);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(symfony(&mut stage.stranger, "yours"), NIL);
    let before = answer(&mut stage.holder, "ZSCORE lock:a mine");
    // A refresh moves the score.
    let refreshed = ask_until_other(&mut stage.holder, &before);
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("ZSCORE lock:a mine"), refreshed);
    assert_eq!(stage.redis.ask("ZSCORE lock:a __write__"), refreshed);
    assert_eq!(stage.redis.ask("ZCARD lock:a"), ":2\r\n");
    assert_eq!(stage.redis.ask("PTTL lock:a"), NO_TTL);
    assert_eq!(symfony(&mut stage.stranger, "yours"), NIL);
    assert_eq!(release(&mut stage.holder, "mine"), ONE);
    assert_eq!(symfony(&mut stage.stranger, "yours"), ONE);
    let theirs = answer(&mut stage.stranger, "ZSCORE lock:a yours");
    ask_until(&mut stage.redis.client(), "ZSCORE lock:a yours", |score| score == theirs);
    assert_eq!(stage.redis.ask("ZSCORE lock:a mine"), NIL);
}

/// Refreshes until the time that is its own has gone on by a millisecond.
fn ask_until_other(client: &mut Client, before: &str) -> String {
    loop {
        assert_eq!(symfony(client, "mine"), ONE);
        let score = answer(client, "ZSCORE lock:a mine");
        if score != before {
            return score;
        }
    }
}

#[test]
fn what_was_taken_and_released_without_redis_is_so_when_it_has_its_data_again() {
    let Some(mut stage) = Stage::with(KEPT, Default::default()) else { return };
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(semaphore(&mut stage.holder, "lock:s", "one", "2"), ONE);
    assert_eq!(run(&mut stage.holder, texts::REDISSON_LOCK, &["lock:r"], &["30000", "me"]), NIL);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(unlock(&mut stage.holder, "me:1", "1"), ONE);
    // Released and taken again: the same content, another hold.
    let again =
        |client: &mut Client| run(client, texts::REDISSON_LOCK, &["lock:r"], &["30000", "me"]);
    assert_eq!(answer(&mut stage.holder, "DEL lock:r"), ONE);
    assert_eq!(again(&mut stage.holder), NIL);
    assert_eq!(semaphore(&mut stage.stranger, "lock:s", "two", "2"), ONE);
    assert_eq!(semaphore(&mut stage.stranger, "lock:s", "three", "2"), ZERO);
    assert_eq!(semaphore(&mut stage.stranger, "lock:t", "one", "1"), ONE);
    stage.redis.start_with_data();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("EXISTS lock:a"), ZERO);
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:r")), ["me", "1"]);
    assert_eq!(texts_of(&stage.redis.ask("ZRANGE lock:s 0 -1")), ["one", "two"]);
    assert_eq!(texts_of(&stage.redis.ask("ZRANGE lock:t 0 -1")), ["one"]);
    assert_eq!(semaphore(&mut stage.holder, "lock:s", "three", "2"), ZERO);
    assert_eq!(answer(&mut stage.holder, "ZREM lock:s one"), ONE);
    assert_eq!(semaphore(&mut stage.holder, "lock:s", "three", "2"), ONE);
}

/// A Redis that has an older state of a lock would let its owner go too early.
#[test]
fn an_old_dataset_has_the_lock_as_it_is_now() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    let old = stage.redis.snapshot();
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.redis.start_with(&old);
    stage.wait_mode("healthy");
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["me:1", "2"]);
    assert_eq!(unlock(&mut stage.holder, "me:1", "1"), ZERO);
    assert_refused(&lock(&mut stage.stranger, "you:1"));
    assert_eq!(unlock(&mut stage.holder, "me:1", "2"), ONE);
}

#[test]
fn a_lockside_that_starts_without_redis_has_it_from_the_ledger() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.subject.kill();
    stage.subject.start_again();
    // Nobody has seen Redis let this process's clients in; what Redis gets says what it has.
    stage.redis.start_empty();
    wait_mode(stage.subject.port(), "healthy");
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["me:1", "2"]);
    let (mut holder, mut stranger) = (stage.subject.client(), stage.subject.client());
    assert_refused(&lock(&mut stranger, "you:1"));
    assert_eq!(unlock(&mut holder, "me:1", "1"), ZERO);
    assert_eq!(unlock(&mut holder, "me:1", "2"), ONE);
}

#[test]
fn what_vanishes_behind_locksides_back_is_put_back() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    // Redis would say yes: the ledger does not.
    assert_refused(&lock(&mut stage.stranger, "you:1"));
    let mut redis = stage.redis.client();
    ask_until(&mut redis, "HGETALL lock:a", |all| texts_of(all) == ["me:1", "1"]);
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    // Its holder is not told that it has none, and need not wait.
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    assert_eq!(unlock(&mut stage.holder, "me:1", "1"), ZERO);
    assert_refused(&lock(&mut stage.stranger, "you:1"));
    ask_until(&mut redis, "HGETALL lock:a", |all| texts_of(all) == ["me:1", "1"]);
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(unlock(&mut stage.holder, "me:1", "2"), ZERO);
    assert_eq!(unlock(&mut stage.holder, "me:1", "3"), ONE);
}

#[test]
fn commands_without_a_script_are_followed_too() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    assert_eq!(stage.holder.ask("HINCRBY lock:a me:1 4"), ":5\r\n");
    for line in ["MULTI", "HSET lock:a note x", "EXEC"] {
        assert!(!stage.holder.ask(line).starts_with('-'), "{line}");
    }
    // A key that nobody holds is the client's own.
    assert_eq!(stage.holder.ask("HSET lock:data f 1"), ONE);
    assert_eq!(stage.holder.ask("PEXPIRE lock:data 600000"), ONE);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "HGET lock:a note"), "$1\r\nx\r\n");
    assert_eq!(answer(&mut stage.holder, "HDEL lock:a note"), ONE);
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["me:1", "5"]);
    assert_eq!(stage.redis.ask("EXISTS lock:data"), ZERO);
    // The last field ends the hold.
    assert_eq!(stage.holder.ask("HDEL lock:a me:1"), ONE);
    assert_eq!(lock(&mut stage.stranger, "you:1"), NIL);
}

/// SMOVE has two keys, and is Redis's alone: the background reads what it made.
#[test]
fn what_was_written_behind_the_ledgers_back_is_read_back() {
    let Some(mut stage) = Stage::start() else { return };
    let take = "return redis.call('sadd', KEYS[1], ARGV[1])";
    assert_eq!(run(&mut stage.holder, take, &["lock:a"], &["one"]), ONE);
    assert_eq!(stage.holder.ask("SADD elsewhere two"), ONE);
    assert_eq!(stage.holder.ask("SMOVE elsewhere lock:a two"), ONE);
    let mut client = stage.subject.client();
    ask_until(&mut client, "LOCKSIDE OWNER lock:a", |owner| owner.contains("elements\r\n:2\r\n"));
    stage.redis.kill();
    stage.wait_mode("degraded");
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("SCARD lock:a"), ":2\r\n");
}

#[test]
fn a_lock_that_was_there_before_is_adopted_and_shown() {
    let Some(mut stage) = Stage::start() else { return };
    // Redis has seen that this client may use locks.
    assert_eq!(run(&mut stage.holder, texts::REDISSON_LOCK, &["lock:b"], &["30000", "me"]), NIL);
    assert_eq!(stage.redis.ask("HSET lock:a 6ba7b810-9dad:7 1"), ONE);
    let mut client = stage.subject.client();
    assert_eq!(client.ask("LOCKSIDE REPAIR"), OK);
    let owner = ask_until(&mut client, "LOCKSIDE OWNER lock:a", |owner| owner.contains("observed"));
    assert!(owner.contains("type\r\n$4\r\nhash"), "{owner}");
    assert!(owner.contains("token\r\n$8\r\n6ba7b810\r\n"), "{owner}");
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(lock(&mut stage.holder, "6ba7b810-9dad:7"), NIL);
    let history = answer(&mut stage.holder, "LOCKSIDE HISTORY lock:a");
    assert!(history.contains("content") && history.contains("6ba7b810"), "{history}");
    assert!(!history.contains("9dad"), "{history}");
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["6ba7b810-9dad:7", "2"]);
}

/// Permits are taken from several connections at once; the ledger has all of them.
#[test]
fn shared_locks_lose_nobody() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(semaphore(&mut stage.holder, "lock:s", "first", "9"), ONE);
    let mut clients: Vec<Client> = (0..8).map(|_| stage.subject.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let token = format!("token{number}");
        let words =
            ["EVAL", texts::SEMAPHORE, "1", "lock:s", "9", &token, "600000", "2000000000000"];
        client.send(&encode(&words));
    }
    for client in &mut clients {
        assert_eq!(client.text(), ONE);
    }
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(answer(&mut stage.holder, "ZCARD lock:s"), ":9\r\n");
    assert_eq!(semaphore(&mut stage.holder, "lock:s", "one more", "9"), ZERO);
}

/// In fast Redis has counted before the ledger hears of it; all is there when Redis is lost.
#[test]
fn in_fast_the_ledger_follows() {
    const LATE: &str = "guarantee = \"fast\"\n[ledger]\nmirror_interval = \"60s\"";
    let settings = Settings { top: LATE, ..Settings::default() };
    let Some(mut stage) = Stage::with(&[], settings) else { return };
    for _ in 0..3 {
        assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    }
    assert_eq!(unlock(&mut stage.holder, "me:1", "1"), ZERO);
    assert_eq!(symfony_on(&mut stage.holder, "lock:z", "mine"), ONE);
    assert_eq!(run(&mut stage.holder, SYMFONY_RELEASE, &["lock:z"], &["mine"]), ONE);
    assert_eq!(symfony_on(&mut stage.stranger, "lock:z", "yours"), ONE);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_refused(&lock(&mut stage.stranger, "you:1"));
    assert_eq!(symfony_on(&mut stage.holder, "lock:z", "mine"), NIL);
    assert_eq!(lock(&mut stage.holder, "me:1"), NIL);
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(texts_of(&stage.redis.ask("HGETALL lock:a")), ["me:1", "3"]);
    for request in ["2", "3"] {
        assert_eq!(unlock(&mut stage.holder, "me:1", request), ZERO);
    }
    assert_eq!(unlock(&mut stage.holder, "me:1", "4"), ONE);
    assert_eq!(lock(&mut stage.stranger, "you:1"), NIL);
}

/// In a `ttl` rule the key has the time that its client gave, and gets it back.
#[test]
fn in_a_ttl_rule_a_lock_runs_out_as_its_client_says() {
    if direct() {
        return;
    }
    let tables = "[[rule]]\nname = \"t\"\nkeys = [\"lock:*\"]\nmode = \"ttl\"\n";
    let mut redis = Redis::start();
    let settings = Settings { upstream: QUICK, tables, ..Settings::default() };
    let subject = Subject::before(redis.port(), settings);
    wait_mode(subject.port(), "healthy");
    let (mut holder, mut stranger) = (subject.client(), subject.client());
    for _ in 0..2 {
        assert_eq!(lock(&mut holder, "me:1"), NIL);
    }
    redis.kill();
    wait_mode(subject.port(), "degraded");
    assert_refused(&lock(&mut stranger, "you:1"));
    assert_eq!(lock(&mut holder, "me:1"), NIL);
    redis.start_empty();
    wait_mode(subject.port(), "healthy");
    assert_eq!(texts_of(&redis.ask("HGETALL lock:a")), ["me:1", "3"]);
    assert_refused(&redis.ask("PTTL lock:a"));
    let short = run(&mut holder, texts::REDISSON_RENEW, &["lock:a"], &["300", "me:1"]);
    assert_eq!(short, ONE);
    ask_until(&mut stranger, "EXISTS lock:a", |there| there == ZERO);
    let lock = |client: &mut Client| lock(client, "you:1");
    wait_until("it is free", || lock(&mut stranger) == NIL);
}
