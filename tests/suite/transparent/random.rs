//! Random pipelines, whole or with bytes changed, cut anywhere: the same answer as from Redis.
//!
//! The seed is fixed, so that a failure comes again; `RANDOM_CASES` asks for more cases.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::support::Client;
use crate::support::scenario::Pair;
use crate::support::words::encode_line;

/// How long one answer may take. Shorter than elsewhere, because a failure is tried again and
/// again, to make it smaller.
const PROMPT: Duration = Duration::from_secs(10);

/// What the pipelines are made of. Nothing here names a time, an id or an address.
const COMMANDS: &[&str] = &[
    "SET k v",
    "GET k",
    "GET nothing",
    "SET k \"a b\\r\\n\\0c\"",
    "INCR n",
    "MGET k n nothing",
    "DEL k n",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH k",
    "LPUSH l a b c",
    "LRANGE l 0 -1",
    "HSET h f v",
    "HGETALL h",
    "NOSUCH x",
    "GET",
    "SELECT 1",
    "SELECT 0",
    "RESET",
    "PING",
    "ECHO hi",
    "SUBSCRIBE ch",
    "UNSUBSCRIBE",
    "PUBLISH ch hi",
    "EVAL \"return redis.call('GET', KEYS[1])\" 1 k",
];

/// Commands on locks.
const LOCKS: &[&str] = &[
    "MGET k n lock:a nothing",
    "WATCH lock:a",
    "SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX PX 30000",
    "SET lock:a 1 NX EX 30",
    "SETNX lock:b 93:550e8400-e29b-41d4-a716-446655440000",
    "GET lock:a",
    "STRLEN lock:b",
    "EXPIRE lock:a 100",
    "SET lock:a 2 XX PX 100000",
    "DEL lock:a",
    "GETDEL lock:b",
    "EVAL \"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end\" 1 lock:a 1",
    "EVAL \"return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)\" 1 lock:b x",
];

/// Commands as arrays, some as inline lines, and so many of ten on locks.
fn command(locks: u32) -> impl Strategy<Value = Vec<u8>> {
    let inline =
        select(&["PING\r\n", "GET k\n", "\r\n", "SET k 'x y'\r\n", "*0\r\n", "ECHO \"\\x41\"\r\n"]);
    prop_oneof![
        9 - locks => select(COMMANDS).prop_map(encode_line),
        locks => select(LOCKS).prop_map(encode_line),
        1 => inline.prop_map(|line| line.as_bytes().to_vec()),
    ]
}

/// A pipeline, and the places (as shares of its length) where it is cut.
fn pipeline(locks: u32) -> impl Strategy<Value = (Vec<u8>, Vec<u16>)> {
    (vec(command(locks), 1..25).prop_map(|commands| commands.concat()), vec(any::<u16>(), 0..4))
}

/// A pipeline of which a few bytes are changed, put in or left out.
fn damaged() -> impl Strategy<Value = (Vec<u8>, Vec<u16>)> {
    let byte = prop_oneof![select(b"*$:+-\r\n 0123456789\"'x".as_slice()), any::<u8>()];
    let change = (any::<u16>(), byte, prop_oneof![Just(0), Just(1), Just(2)]);
    (pipeline(0), vec(change, 1..4)).prop_map(|((mut bytes, cuts), changes)| {
        for (place, byte, kind) in changes {
            let place = share(bytes.len(), place);
            match kind {
                0 if place < bytes.len() => bytes[place] = byte,
                1 if place < bytes.len() => drop(bytes.remove(place)),
                _ => bytes.insert(place, byte),
            }
        }
        (bytes, cuts)
    })
}

fn share(length: usize, place: u16) -> usize {
    length * usize::from(place) / (usize::from(u16::MAX) + 1)
}

/// How the end of an answer is known.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Two more commands, whose replies are known in every state. The connection stays.
    Trailer,
    /// The writing ends; the server answers all that came before, and closes. A client that has
    /// gone gets no lock, so this is not for locks.
    Close,
}

/// Sends the pieces and reads all replies.
fn answer(port: u16, fence: &mut Client, bytes: &[u8], cuts: &[u16], end: End) -> String {
    let mut client = Client::connect(port);
    let mut places: Vec<usize> = cuts.iter().map(|cut| share(bytes.len(), *cut)).collect();
    places.sort_unstable();
    let mut from = 0;
    for to in places.into_iter().chain([bytes.len()]) {
        if client.try_send(&bytes[from..to]).is_err() {
            break;
        }
        from = to;
        fence.fence();
    }
    if end == End::Close {
        client.finish();
        return String::from_utf8_lossy(&client.rest_within(PROMPT)).into_owned();
    }
    client.send(b"RESET\r\nPING the-end\r\n");
    let mut replies = String::new();
    while !replies.ends_with("+RESET\r\n$7\r\nthe-end\r\n") {
        replies.push_str(&client.text());
    }
    replies
}

fn compare(cases: u32, strategy: impl Strategy<Value = (Vec<u8>, Vec<u16>)>, end: End) {
    let pair = Pair::start();
    let ports = [pair.reference().port(), pair.subject().port()];
    let state = std::cell::RefCell::new(ports.map(Client::connect));
    let cases = std::env::var("RANDOM_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 40,
        max_shrink_time: 8_000,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(bytes, cuts)| {
        let fences = &mut *state.borrow_mut();
        for fence in fences.iter_mut() {
            assert_eq!(fence.ask("FLUSHALL"), "+OK\r\n");
        }
        let expected = answer(ports[0], &mut fences[0], &bytes, &cuts, end);
        let actual = answer(ports[1], &mut fences[1], &bytes, &cuts, end);
        proptest::prop_assert_eq!(actual, expected, "left is here, right is Redis");
        Ok(())
    });
    if let Err(TestError::Fail(reason, (bytes, cuts))) = outcome {
        panic!("{reason}\ninput {:?}\ncuts {cuts:?}", String::from_utf8_lossy(&bytes));
    }
    outcome.unwrap();
}

#[test]
fn random_pipelines() {
    compare(400, pipeline(5), End::Trailer);
}

#[test]
fn damaged_pipelines() {
    compare(600, damaged(), End::Close);
}
