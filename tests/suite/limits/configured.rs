//! Each configurable limit, lowered and hit; what stays below it is served.

use crate::support::process::memory_kib;
use crate::support::words::encode;
use crate::support::{Client, Redis, Settings, Subject, wait_until};

/// Lockside with one `[limits]` table; none in direct mode, where these limits are not.
fn limited(limits: &str) -> Option<(Redis, Subject)> {
    let redis = Redis::start();
    let tables = format!("[limits]\n{limits}");
    let subject = Subject::with(&redis, Settings { tables: &tables, ..Default::default() });
    subject.is_lockside().then_some((redis, subject))
}

#[test]
fn max_clients() {
    let Some((_redis, subject)) = limited("max_clients = 5") else { return };
    let mut clients = Vec::new();
    // The harness's own first connection may still be on its way out.
    wait_until("five clients are let in", || {
        let mut client = subject.client();
        let served = client.try_send(b"PING\r\n").is_ok() && client.text() == "+PONG\r\n";
        clients.extend(served.then_some(client));
        clients.len() == 5
    });
    let mut sixth = subject.client();
    assert_eq!(String::from_utf8_lossy(&sixth.rest()), "-ERR max number of clients reached\r\n");
    clients.iter_mut().for_each(Client::fence);
    clients.pop();
    wait_until("a place is free again", || {
        let mut client = subject.client();
        client.try_send(b"PING\r\n").is_ok()
            && client.frame_within(crate::support::PATIENCE).is_ok_and(|r| r == b"+PONG\r\n")
    });
}

#[test]
fn max_bulk() {
    let Some((_redis, subject)) = limited("max_bulk = \"1KiB\"") else { return };
    let mut client = subject.client();
    assert_eq!(client.call(&["SET", "k", &"v".repeat(1024)]), b"+OK\r\n");
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1025\r\n");
    let end = client.rest();
    assert_eq!(String::from_utf8_lossy(&end), "-ERR Protocol error: invalid bulk length\r\n");
    subject.client().fence();
}

#[test]
fn max_args() {
    let Some((_redis, subject)) = limited("max_args = 10") else { return };
    let mut client = subject.client();
    assert_eq!(client.call(&["DEL"; 10]), b":0\r\n");
    client.send(b"*11\r\n");
    let end = client.rest();
    assert_eq!(String::from_utf8_lossy(&end), "-ERR Protocol error: invalid multibulk length\r\n");
    subject.client().fence();
}

#[test]
fn max_args_by_default() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    if !subject.is_lockside() {
        return; // Redis 7.0 takes up to 2^31 - 1
    }
    let mut client = subject.client();
    client.send(b"*1048577\r\n");
    let end = client.rest();
    assert_eq!(String::from_utf8_lossy(&end), "-ERR Protocol error: invalid multibulk length\r\n");
}

#[test]
fn max_inline() {
    let Some((_redis, subject)) = limited("max_inline = \"1KiB\"") else { return };
    let mut client = subject.client();
    client.send(format!("ECHO {}\r\n", "a".repeat(900)).as_bytes());
    assert!(client.text().starts_with("$900\r\n"));
    let _ = client.try_send(&vec![b'a'; 2000]);
    assert_eq!(client.text(), "-ERR Protocol error: too big inline request\r\n");
    subject.client().fence();
}

/// What waits for one client to read: past the limit its link is not read, and nobody else waits.
#[test]
fn client_output() {
    let Some((redis, subject)) = limited("client_output = \"256KiB\"") else { return };
    let value = vec![b'v'; 64 << 20];
    assert_eq!(redis.client().call(&[b"SET", b"big".as_slice(), &value]), b"+OK\r\n");
    let mut other = subject.client();
    other.fence();
    let pid = subject.process().map_or(0, |process| process.pid());
    let before = memory_kib(pid);
    let mut silent = subject.client();
    silent.send_line("GET big");
    for _ in 0..300 {
        other.fence();
    }
    let now = memory_kib(pid);
    assert!(now < before + (4 << 10), "from {before} to {now} KiB");
    assert!(silent.frame().len() > value.len());
}

/// What one client may make Lockside hold: a command on a lock key is gathered whole.
#[test]
fn client_buffer() {
    let Some((_redis, subject)) = limited("client_buffer = \"64KiB\"") else { return };
    let mut other = subject.client();
    other.fence();
    let mut client = subject.client();
    // A value that only passes through is not held and not limited.
    assert_eq!(client.call(&["SET", "k", &"v".repeat(1 << 20)]), b"+OK\r\n");
    // A script on a lock key must be held to be put into its envelope.
    let script = format!("return 1 -- {}", "x".repeat(1 << 20));
    let _ = client.try_send(&encode(&["EVAL", &script, "1", "lock:a"]));
    let end = client.rest();
    assert!(end.starts_with(b"-ERR "), "{:?}", String::from_utf8_lossy(&end));
    other.fence();
}

#[test]
fn total_buffer() {
    let Some((_redis, subject)) = limited("total_buffer = \"256KiB\"") else { return };
    let mut other = subject.client();
    other.fence();
    let script = format!("return 1 -- {}", "x".repeat(1 << 20));
    let bytes = encode(&["EVAL", &script, "1", "lock:a"]);
    let mut clients: Vec<Client> = (0..8).map(|_| subject.client()).collect();
    for client in &mut clients {
        let _ = client.try_send(&bytes[..200 << 10]);
    }
    let pid = subject.process().map_or(0, |process| process.pid());
    other.fence();
    assert!(memory_kib(pid) < 64 << 10);
    drop(clients);
    other.fence();
    wait_until("the room is free again", || {
        subject.client().ask("EVAL \"return 1\" 1 lock:a") == ":1\r\n"
    });
}

/// Past these a SET NX is no lock: it passes through as it came, TTL and all.
#[test]
fn large_keys_and_values_are_no_locks() {
    for (limits, key, value) in [
        ("", "lock:k".to_owned(), "v".repeat(4097)),
        ("", format!("lock:{}", "k".repeat(1020)), "v".to_owned()),
        ("lock_value = \"16B\"", "lock:k".to_owned(), "v".repeat(17)),
        ("lock_key = \"16B\"", "lock:12345678901234567".to_owned(), "v".to_owned()),
    ] {
        let Some((redis, subject)) = limited(limits) else { return };
        let mut client = subject.client();
        assert_eq!(client.call(&["SET", &key, &value, "NX", "EX", "100"]), b"+OK\r\n");
        let mut direct = redis.client();
        let stored = direct.call(&["GET", &key]);
        assert_eq!(stored, format!("${}\r\n{value}\r\n", value.len()).into_bytes());
        let ttl = String::from_utf8(direct.call(&["TTL", &key])).unwrap();
        assert!(ttl == ":100\r\n" || ttl == ":99\r\n", "{ttl}");
        assert_eq!(client.call(&["SET", &key, &value, "NX"]), b"$-1\r\n");
        assert_eq!(client.call(&["DEL", &key]), b":1\r\n");
    }
}

/// A reply that has to be read as a whole, to find locks in it, is bounded; any other streams.
#[test]
fn replies_on_lock_keys() {
    let Some((redis, subject)) = limited("client_buffer = \"64KiB\"") else { return };
    let mut client = subject.client();
    redis.ask(&format!("SET big {}", "v".repeat(200 * 1024)));
    assert_eq!(client.ask("GET big").len(), 200 * 1024 + "$204800\r\n\r\n".len());
    let large = client.ask("MGET big lock:a");
    assert!(
        large.starts_with("-MASTERDOWN lockside: ") && large.contains("client_buffer"),
        "{large}"
    );
    let script = "return string.rep('x', 200 * 1024)";
    let large = client.call(&["EVAL", script, "1", "lock:a"]);
    let large = String::from_utf8_lossy(&large).into_owned();
    // By the ledger alone, which needs no reply of Redis's, for a client that is known to be let in.
    let is_clear = large.starts_with("-TRYAGAIN lockside: unknown outcome")
        || large.starts_with("$204800\r\n");
    assert!(is_clear, "{}", &large[..large.len().min(200)]);
    assert_eq!(client.ask("SET lock:a token-a NX"), "+OK\r\n");
    client.fence();
}

#[test]
fn locks() {
    let Some((redis, subject)) = limited("locks = 3") else { return };
    let mut client = subject.client();
    for number in 0..3 {
        assert_eq!(client.ask(&format!("SET lock:{number} token-{number} NX EX 30")), "+OK\r\n");
    }
    let refused = client.ask("SET lock:3 token-3 NX EX 30");
    assert!(refused.starts_with("-OOM lockside: "), "{refused}");
    assert_eq!(redis.ask("EXISTS lock:3"), ":0\r\n");
    let taking = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', 30000)";
    let refused = client.call(&["EVAL", taking, "1", "lock:3", "token-3"]);
    assert!(refused.starts_with(b"-OOM lockside: "), "{}", String::from_utf8_lossy(&refused));
    assert_eq!(redis.ask("EXISTS lock:3"), ":0\r\n");
    assert!(client.ask("MULTI").starts_with("+OK"));
    assert!(client.ask("SET lock:3 token-3 NX").starts_with("-OOM lockside: "));
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    // Whoever holds one goes on.
    let releasing = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) \
        else return 0 end";
    assert_eq!(client.ask("EXPIRE lock:2 60"), ":1\r\n");
    assert_eq!(client.call(&["EVAL", releasing, "1", "lock:2", "token-2"]), b":1\r\n");
    assert_eq!(client.ask("SET lock:2 token-2 NX EX 30"), "+OK\r\n");
    assert_eq!(client.ask("GET lock:1"), "$7\r\ntoken-1\r\n");
    assert_eq!(client.ask("DEL lock:1"), ":1\r\n");
    assert_eq!(client.ask("SET lock:3 token-3 NX EX 30"), "+OK\r\n");
}
