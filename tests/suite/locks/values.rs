//! Two views of a value: what the client wrote and reads, and what stands in Redis (SPEC 4).

use super::{NIL, OK, ONE, Stage, TOKEN, as_bulk};
use crate::support::scenario::Pair;

/// Values that are unique by themselves stand in Redis as they came.
#[test]
fn unique_values_as_they_are() {
    for token in [
        TOKEN,
        "550e8400e29b41d4a716446655440000",
        "0123456789abcdef0123456789abcdef",
        "kJ2vbg9aQ3+1xZ0pL8==",
    ] {
        let mut stage = Stage::start();
        stage.take("lock:a", token);
        assert_eq!(stage.stored("lock:a"), token);
        assert_eq!(stage.client.ask("GET lock:a"), as_bulk(token));
    }
}

/// `{worker_id}:{token}` gets a timestamp, `DD-MM-YYYY HH:MM:SS`; the client never sees it.
#[test]
fn worker_and_token_get_a_timestamp() {
    let mut stage = Stage::start();
    let token = format!("93:{TOKEN}");
    stage.take("lock:a", &token);
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(&token));
    if stage.is_lockside() {
        let stored = stage.stored("lock:a");
        let stamp = stored.strip_prefix(&format!("{token}:")).expect("a stamp behind the value");
        assert!(is_timestamp(stamp), "{stored}");
    }
    // Whoever presents the whole stored value means the same lock, and reads go on.
    assert_eq!(stage.client.ask("STRLEN lock:a"), format!(":{}\r\n", token.len()));
    assert_eq!(stage.client.ask("GETRANGE lock:a 0 2"), as_bulk("93:"));
    assert_eq!(stage.client.ask("GETDEL lock:a"), as_bulk(&token));
}

/// Values that repeat get a unique part: the next holder's stored value is another one.
#[test]
fn constant_values_are_made_unique() {
    for value in
        ["1", "locked", "host-7:4711", "x:y:z", "with~marker:~x", "a:b:01-01-2026 10:00:00"]
    {
        let mut stage = Stage::start();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let taken = stage.client.call(&["SET", "lock:a", value, "NX", "EX", "30"]);
            assert_eq!(taken, OK.as_bytes());
            assert_eq!(stage.client.ask("GET lock:a"), as_bulk(value));
            let stored = stage.stored("lock:a");
            if stage.is_lockside() {
                let stamp = stored.strip_prefix(&format!("{value}:~")).expect("a unique stamp");
                let (unique, time) = stamp.split_once(':').expect("unique part and time");
                assert!(unique.len() >= 8 && is_timestamp(time), "{stored}");
            }
            seen.push(stored);
            assert_eq!(stage.client.ask("DEL lock:a"), ONE);
        }
        seen.dedup();
        assert!(seen.len() == 3 || !stage.is_lockside(), "{seen:?}");
    }
}

/// Any bytes come back as they were written.
#[test]
fn any_bytes_round_trip() {
    let mut stage = Stage::start();
    let every: Vec<u8> = (0..=255).collect();
    let values: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\r\n".to_vec(),
        b"$5\r\nhello\r\n".to_vec(),
        b"\0".to_vec(),
        every.clone(),
        every.iter().rev().copied().take(20).collect(),
        b"a:b".to_vec(),
        b":~:".to_vec(),
        b"a:~b:01-01-2026 10:00:00".to_vec(),
        vec![b'x'; 4096],
    ];
    for value in &values {
        let taken =
            stage.client.call(&[b"SET", b"lock:a".as_slice(), value, b"NX", b"PX", b"9000"]);
        assert_eq!(taken, OK.as_bytes(), "{value:?}");
        let expected = [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        assert_eq!(stage.client.call(&["GET", "lock:a"]), expected);
        assert_eq!(stage.client.call(&["MGET", "lock:a"]), [b"*1\r\n", &expected[..]].concat());
        let length = format!(":{}\r\n", value.len());
        assert_eq!(stage.client.ask("STRLEN lock:a"), length);
        assert_eq!(stage.client.call(&["GETDEL", "lock:a"]), expected);
        assert_eq!(stage.client.ask("GET lock:a"), NIL);
    }
}

/// Every reply that carries the value carries the client's, wherever it stands.
#[test]
fn every_reply_shows_the_clients_value() {
    Pair::start().compare_all(
        r#"
a> SET lock:a 1 NX PX 30000
a> SET k v
a> GET lock:a
a> MGET k lock:a lock:none lock:a
a> STRLEN lock:a
a> GETRANGE lock:a 0 -1
a> SUBSTR lock:a 0 5
a> GETRANGE lock:a 5 9
a> GETSET lock:a 2
a> GET lock:a
a> SET lock:a 3 GET
a> GETEX lock:a
a> EVAL "return {redis.call('GET', KEYS[1]), redis.call('STRLEN', KEYS[1])}" 1 lock:a
a> GETDEL lock:a

a> SET lock:n 41 NX
a> INCR lock:n
a> GET lock:n
a> INCRBY lock:n 8
a> DECR lock:n
a> GET lock:n

a> SET lock:s abc NX
a> APPEND lock:s def
a> GET lock:s
a> SETRANGE lock:s 1 X
a> GET lock:s
a> STRLEN lock:s
a> GETBIT lock:s 1
a> BITCOUNT lock:s
"#,
    );
}

/// `DD-MM-YYYY HH:MM:SS`
fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00-00-0000 00:00:00"
}

/// Each reply is in the protocol that its client speaks when it comes.
#[test]
fn protocols_change_between_lock_commands() {
    crate::support::scenario::Pair::start().compare_lines(
        r#"
a> SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX PX 30000
a>~ HELLO 3
a> GET lock:a
a> SET lock:a 1 NX
a> SET lock:a 1 NX GET
a> GETEX lock:b
a> MGET lock:a lock:b k
a> EVAL "return {redis.call('get', KEYS[1]), redis.call('get', KEYS[2]), false}" 2 lock:a lock:b
a> GETDEL lock:a
a> GETDEL lock:a
a> SET lock:a 1 NX GET
a>~ HELLO 2
a> SET lock:a 2 NX GET
a> GETDEL lock:a
a> GETDEL lock:a
a> EVAL "return redis.call('get', KEYS[1])" 1 lock:a
a> MULTI
a> SETNX lock:a 550e8400-e29b-41d4-a716-446655440000
a> GET lock:b
a> MGET lock:a lock:b
a> EXEC
a>~ HELLO 3
a> MULTI
a> SET lock:a x NX
a> GET lock:b
a> EXEC
a> STRLEN lock:a
"#,
    );
}
