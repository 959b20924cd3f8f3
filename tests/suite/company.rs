//! Two sidecars at one ledger and one Redis: what a client was told through the one holds through the
//! other, at once (SPEC 2), and also while only one of them reaches Redis.

use std::sync::Arc;

use tempfile::TempDir;

use crate::support::client::ask_until;
use crate::support::locks::{A, B, EXTEND, NIL, OK, ONE, bulk, give, take};
use crate::support::process::directory;
use crate::support::{Client, Redis, Relay, Settings, Subject, Trouble, direct};

/// How often each case is played: a poll of the ledger comes between at some time.
const TIMES: usize = 15;

mod fast;

struct Stage {
    _ledger: Arc<TempDir>,
    redis: Redis,
    relay: Relay,
    one: Client,
    two: Client,
    subjects: [Subject; 2],
}

impl Stage {
    /// None in direct mode, where there is no ledger.
    fn start() -> Option<Self> {
        Self::with_poll("1s")
    }

    /// Two that hear of each other's entries so late that no test waits for it.
    fn deaf() -> Option<Self> {
        Self::with_poll("60s")
    }

    fn with_poll(poll: &str) -> Option<Self> {
        Self::with("", &format!("poll = \"{poll}\""))
    }

    /// `ledger`: lines of its table.
    fn with(top: &str, ledger_lines: &str) -> Option<Self> {
        if direct() {
            return None;
        }
        let (redis, ledger) = (Redis::start(), directory("ledger"));
        let relay = Relay::before(redis.port());
        let tables = format!(
            "[ledger]\n{ledger_lines}\npath = \"{}\"\n",
            ledger.path().join("ledger.db").display()
        );
        let settings = Settings { top, tables: &tables, ..Settings::default() };
        let subjects = [(); 2].map(|()| Subject::before(relay.port(), settings));
        let [one, two] = [0, 1].map(|number: usize| subjects[number].client());
        let mut stage = Self { _ledger: Arc::new(ledger), redis, relay, one, two, subjects };
        stage.wait_modes("healthy");
        // Each has seen that Redis lets everybody use locks.
        for client in [&mut stage.one, &mut stage.two] {
            assert_eq!(client.ask(&take("lock:a", A)), OK);
            release(client, "DEL", A);
        }
        Some(stage)
    }

    /// The second sidecar's.
    fn wait_modes(&mut self, second: &str) {
        for (client, word) in [(&mut self.one, "healthy"), (&mut self.two, second)] {
            ask_until(client, "LOCKSIDE MODE", |reply| reply.contains(word));
        }
    }

    /// The second sidecar does not reach Redis any more.
    fn part(&mut self) {
        let Some(process) = self.subjects[1].process() else { return };
        self.relay.set_for(process.pid(), Trouble::Hangup);
        self.relay.reset();
        self.wait_modes("degraded");
    }
}

/// Releases the lock in one of the ways that clients do.
fn release(client: &mut Client, way: &str, token: &str) {
    match way {
        "script" => {
            let line = give("lock:a", token);
            assert_eq!(client.ask(&line), ONE, "{way}");
        }
        "watch" => {
            // Whatever else changes the key meanwhile, a repair for one, makes EXEC nil.
            let released = (0..100).any(|_| {
                assert_eq!(client.ask("WATCH lock:a"), OK);
                assert_eq!(client.ask("GET lock:a"), bulk(token));
                assert_eq!(client.ask("MULTI"), OK);
                assert_eq!(client.ask("DEL lock:a"), "+QUEUED\r\n");
                let reply = client.ask("EXEC");
                assert!(reply == "*-1\r\n" || reply == "*1\r\n:1\r\n", "{reply}");
                reply == "*1\r\n:1\r\n"
            });
            assert!(released);
        }
        "GETDEL" => assert_eq!(client.ask("GETDEL lock:a"), bulk(token)),
        way => assert_eq!(client.ask(&format!("{way} lock:a")), ONE, "{way}"),
    }
}

const WAYS: [&str; 5] = ["DEL", "UNLINK", "GETDEL", "script", "watch"];

/// Taken through `one`, seen and released through `two`, free for `one`: at once where both reach
/// Redis, else as soon as `one` has read the ledger. Until then it says no.
fn plays(one: &mut Client, two: &mut Client, times: usize) {
    for way in WAYS {
        for _ in 0..times {
            assert_eq!(one.ask(&take("lock:a", A)), OK, "{way}");
            assert_eq!(two.ask(&take("lock:a", B)), NIL, "{way}");
            assert_eq!(two.ask("GET lock:a"), bulk(A), "{way}");
            release(two, way, A);
            if times == TIMES {
                assert_eq!(one.ask("GET lock:a"), NIL, "{way}");
            } else {
                ask_until(one, "GET lock:a", |reply| reply == NIL);
            }
        }
    }
}

#[test]
fn what_one_grants_the_other_releases() {
    let Some(mut stage) = Stage::start() else { return };
    plays(&mut stage.one, &mut stage.two, TIMES);
}

#[test]
fn one_reaches_redis_and_the_other_does_not() {
    let Some(mut stage) = Stage::start() else { return };
    stage.part();
    plays(&mut stage.one, &mut stage.two, 1);
    plays(&mut stage.two, &mut stage.one, 1);
}

/// What the holder of `key` by `A` asks, and what is true.
fn looks(key: &str) -> Vec<(String, String)> {
    let own = bulk(A);
    vec![
        (format!("GET {key}"), own.clone()),
        (format!("MGET lock:nobody {key} lock:nothing"), format!("*3\r\n{NIL}{own}{NIL}")),
        (format!("EXISTS {key} lock:nobody"), ONE.into()),
        (format!("STRLEN {key}"), ":36\r\n".into()),
        (format!("EXPIRE {key} 30"), ONE.into()),
        // Of the TTL that its client asked for.
        (format!("PERSIST {key}"), ONE.into()),
        (format!("SET {key} {A} XX PX 30000"), OK.into()),
        (format!("EVAL \"{EXTEND}\" 1 {key} {A} 30000"), ONE.into()),
        (format!("EVAL \"return redis.call('get', KEYS[1])\" 1 {key}"), own),
        (give(key, A), ONE.into()),
    ]
}

/// Granted through `one`, of which the sidecar of `two` has read nothing.
fn looked_at(mut stage: Stage, from: usize, before: impl Fn(&mut Stage, &str)) {
    for (number, (line, reply)) in looks("lock:k").into_iter().enumerate() {
        let key = format!("lock:k{number}");
        let line = line.replace("lock:k", &key);
        let Stage { one, two, .. } = &mut stage;
        let granter = if from == 0 { one } else { two };
        assert_eq!(granter.ask(&take(&key, A)), OK, "{line}");
        before(&mut stage, &key);
        let Stage { one, two, .. } = &mut stage;
        let other = if from == 0 { two } else { one };
        assert_eq!(other.ask(&line), reply, "{line}");
    }
}

/// Redis is emptied behind Lockside's back: the holder has its lock through every sidecar.
#[test]
fn a_redis_that_has_lost_a_lock_does_not_say_no_to_its_holder() {
    let Some(stage) = Stage::deaf() else { return };
    looked_at(stage, 0, |stage, key| {
        assert_eq!(stage.redis.client().ask(&format!("DEL {key}")), ONE);
    });
}

/// A lock that is no string, taken by a script as Redisson does.
fn enter(client: &mut Client, key: &str, who: &str) {
    let text =
        "redis.call('hset', KEYS[1], ARGV[1], 1) return redis.call('pexpire', KEYS[1], 30000)";
    assert_eq!(client.ask(&format!("EVAL \"{text}\" 1 {key} {who}")), ONE);
}

/// The same of what stands under a lock that is no string, also in a transaction.
#[test]
fn a_redis_that_has_lost_a_hash_does_not_say_that_there_is_none() {
    let Some(mut stage) = Stage::deaf() else { return };
    for (key, is_queued) in [("lock:a", false), ("lock:b", true)] {
        enter(&mut stage.one, key, "me");
        assert_eq!(stage.redis.client().ask(&format!("DEL {key}")), ONE);
        let two = &mut stage.two;
        if !is_queued {
            assert_eq!(
                two.ask(&format!("HGETALL {key}")),
                format!("*2\r\n$2\r\nme\r\n{}", bulk("1"))
            );
            continue;
        }
        assert_eq!(two.ask("MULTI"), OK);
        assert_eq!(two.ask(&format!("HEXISTS {key} me")), "+QUEUED\r\n");
        assert_eq!(two.ask("EXEC"), format!("*1\r\n{ONE}"));
    }
}

/// Released without Redis, which has the old content still, and taken anew: the holder is shown.
#[test]
fn an_old_content_of_redis_is_not_shown() {
    let Some(mut stage) = Stage::deaf() else { return };
    enter(&mut stage.one, "lock:a", "old");
    stage.part();
    assert_eq!(stage.two.ask("HEXISTS lock:a old"), ONE);
    assert_eq!(stage.two.ask("DEL lock:a"), ONE);
    enter(&mut stage.two, "lock:a", "new");
    assert_eq!(stage.one.ask("HKEYS lock:a"), format!("*1\r\n{}", bulk("new")));
    assert_eq!(stage.two.ask("DEL lock:a"), ONE);
    assert_eq!(stage.two.ask("HLEN lock:a"), ":0\r\n");
}

/// A grant by the ledger alone, of which Redis has not heard.
#[test]
fn a_grant_without_redis_is_known_to_who_asks_redis() {
    let Some(mut stage) = Stage::deaf() else { return };
    stage.part();
    looked_at(stage, 1, |_, _| {});
}

/// Who does not reach Redis reads the ledger before it says anything.
#[test]
fn a_grant_by_redis_is_known_to_who_does_not_reach_it() {
    let Some(mut stage) = Stage::deaf() else { return };
    stage.part();
    looked_at(stage, 0, |_, _| {});
}

/// Released without Redis, which has the old value still, and granted anew: the holder is shown.
#[test]
fn an_old_value_of_redis_is_not_shown() {
    let Some(mut stage) = Stage::deaf() else { return };
    assert_eq!(stage.one.ask(&take("lock:a", B)), OK);
    stage.part();
    assert_eq!(stage.two.ask("GET lock:a"), bulk(B));
    assert_eq!(stage.two.ask("DEL lock:a"), ONE);
    assert_eq!(stage.two.ask(&take("lock:a", A)), OK);
    assert_eq!(stage.one.ask("GET lock:a"), bulk(A));
    assert_eq!(stage.one.ask(&give("lock:a", A)), ONE);
    assert_eq!(stage.two.ask("GET lock:a"), NIL);
}

/// A transaction that watches a lock which its client has no more releases nothing, whatever Redis has.
#[test]
fn a_watch_meets_what_was_released_without_redis() {
    let Some(mut stage) = Stage::deaf() else { return };
    for is_taken_again in [false, true] {
        assert_eq!(stage.one.ask(&take("lock:a", B)), OK);
        if !is_taken_again {
            stage.part();
        }
        assert_eq!(stage.one.ask("WATCH lock:a"), OK);
        assert_eq!(stage.one.ask("GET lock:a"), bulk(B));
        assert_eq!(stage.one.ask("MULTI"), OK);
        assert_eq!(stage.one.ask("DEL lock:a"), "+QUEUED\r\n");
        assert_eq!(stage.two.ask("DEL lock:a"), ONE);
        if is_taken_again {
            assert_eq!(stage.two.ask(&take("lock:a", A)), OK);
        }
        assert_eq!(stage.one.ask("EXEC"), "*-1\r\n");
        let holder = if is_taken_again { bulk(A) } else { NIL.into() };
        assert_eq!(stage.two.ask("GET lock:a"), holder);
        ask_until(&mut stage.one, "GET lock:a", |reply| reply == holder);
    }
}
