//! A client that ends its side right behind its commands (`printf … | nc -N`). Redis carries out all
//! that came before the end, and its replies can still be read. So does Lockside, but for what would
//! take a lock: a client that has died or given up looks the same, and its lock would stay for ever.
//! It takes nothing, and says so; with Redis and without.

use std::net::Shutdown;

use super::{A, B, EXTEND, NIL, OK, ONE, QUICK, RELEASE, SHORT, bulk, script, take, wait_mode};
use crate::support::{Client, Redis, Settings, Subject, direct, wait_until};

const TAKES: &str = "return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)";
const GONE: &str =
    "-ERR lockside: not acquired: the client has closed its side of the connection\r\n";

/// Forms of an acquire, and what stands before its own reply.
fn acquires(key: &str) -> [(String, &'static str); 4] {
    [
        (format!("SET {key} {B} NX PX 30000"), ""),
        (format!("SETNX {key} {B}"), ""),
        (script(TAKES, key, B), ""),
        (format!("MULTI\r\nSET {key} {B} NX PX 30000\r\nEXEC"), "+OK\r\n+QUEUED\r\n"),
    ]
}

/// Lockside before a Redis, and nothing between them: the relay would not pass on an end of one side.
struct Pair {
    redis: Redis,
    subject: Subject,
    other: Client,
}

impl Pair {
    fn start() -> Option<Self> {
        if direct() {
            return None;
        }
        let redis = Redis::start();
        let settings = Settings { upstream: QUICK, tables: SHORT, ..Settings::default() };
        let subject = Subject::with(&redis, settings);
        wait_mode(subject.port(), "healthy");
        let other = subject.client();
        Some(Self { redis, subject, other })
    }

    /// Sends the lines and ends its side while Lockside sleeps, which so finds both at once.
    fn end_behind(&self, lines: &str, end: impl FnOnce(&mut Client)) -> Client {
        let mut client = self.subject.client();
        client.fence();
        let lockside = self.subject.process().expect("Lockside runs");
        lockside.signal("STOP");
        wait_until("it sleeps", || lockside.is_stopped());
        client.send(format!("{lines}\r\n").as_bytes());
        end(&mut client);
        lockside.signal("CONT");
        client
    }

    /// All replies to who has ended its side and still reads.
    fn replies(&self, lines: &str) -> String {
        String::from_utf8(self.end_behind(lines, Client::finish).rest()).unwrap()
    }

    /// `lock:free` is free, and stays so.
    fn assert_takes_nothing(&mut self) {
        for (lines, before) in acquires("lock:free") {
            let replies = self.replies(&format!("{lines}\r\nECHO behind"));
            assert_eq!(replies, format!("{before}{GONE}{}", bulk("behind")), "{lines}");
            let owner = "LOCKSIDE OWNER lock:free";
            wait_until("nobody has it", || self.other.ask(owner) == NIL);
            // One who has gone altogether is not told.
            let close = |client: &mut Client| drop(client.stream().shutdown(Shutdown::Both));
            drop(self.end_behind(&lines, close));
            wait_until("it can be taken", || self.other.ask(&take("lock:free", A)) == OK);
            assert_eq!(self.other.ask("DEL lock:free"), ONE);
        }
    }

    /// What takes no lock is carried out as in Redis.
    fn assert_does_the_rest(&mut self) {
        let extend = script(EXTEND, "lock:a", &format!("{A} 5000"));
        let release = script(RELEASE, "lock:a", A);
        for (release, replied) in [
            (release.as_str(), ONE),
            ("DEL lock:a", ONE),
            ("MULTI\r\nDEL lock:a\r\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"),
        ] {
            assert_eq!(self.other.ask(&take("lock:a", A)), OK);
            let replies = self.replies(&format!("GET lock:a\r\n{extend}\r\n{release}\r\nPING"));
            assert_eq!(replies, format!("{}{ONE}{replied}+PONG\r\n", bulk(A)), "{release}");
            assert_eq!(self.other.ask("GET lock:a"), NIL, "{release}");
        }
    }
}

#[test]
fn redis_carries_out_what_came_before_the_end() {
    let redis = Redis::start();
    for (number, (lines, before)) in acquires("lock:free").into_iter().enumerate() {
        let mut client = Client::connect(redis.port());
        client.send(format!("{lines}\r\nECHO behind\r\n").as_bytes());
        client.finish();
        let own = [OK, ONE, OK, "*1\r\n+OK\r\n"][number];
        let replies = String::from_utf8(client.rest()).unwrap();
        assert_eq!(replies, format!("{before}{own}{}", bulk("behind")), "{lines}");
        assert_eq!(redis.ask("DEL lock:free"), ONE);
    }
}

#[test]
fn who_has_ended_its_side_takes_no_lock() {
    let Some(mut pair) = Pair::start() else { return };
    pair.assert_takes_nothing();
    pair.assert_does_the_rest();
    wait_until("nothing is left", || pair.redis.ask("KEYS lock:*") == "*0\r\n");
    pair.redis.kill();
    wait_mode(pair.subject.port(), "degraded");
    pair.assert_takes_nothing();
    pair.assert_does_the_rest();
    pair.redis.start_empty();
    wait_mode(pair.subject.port(), "healthy");
    assert_eq!(pair.redis.ask("KEYS lock:*"), "*0\r\n");
}
