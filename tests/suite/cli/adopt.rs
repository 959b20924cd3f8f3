//! `lockside adopt` and `eject`: the day Lockside comes, and the day it is taken away.

use std::io::{Read, Write};

use super::{USAGE, beside, run, text};
use crate::support::lockside::direct;
use crate::support::process::free_port;
use crate::support::{Redis, Subject, wait_until};

/// `adopt --dry-run` shows permanent locks that the running Lockside does not know, and no others.
#[test]
fn adopt_shows_what_is_not_known() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let Some(process) = subject.process() else { return };
    let token = "550e8400-e29b-41d4-a716-446655440000";
    let mut client = subject.client();
    assert_eq!(client.ask(&format!("SET lock:known {token} NX PX 30000")), "+OK\r\n");
    let mut before = redis.client();
    before.call(&["SET", "lock:old", &format!("93:{token}:23-11-2024 14:12:20")]);
    before.ask("SET lock:provisional x EX 100");
    before.ask("SET page:1 x");
    before.ask("SET lock-signal:x y");
    before.ask("HSET lock:hash field 1");
    before.ask("SELECT 3");
    before.ask(&format!("SET mutex:other {token}"));
    let output = beside(process, &["adopt", "--dry-run"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for shown in ["lock:old", "93", "550e8400", "23-11-2024 14:12:20", "mutex:other", "2 locks"] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
    assert!(told.contains("1 keys of other types") && told.contains("lock:hash"), "{told}");
    for hidden in ["lock:known", "provisional", "page:1", "lock-signal", token] {
        assert!(!told.contains(hidden), "{hidden}: {told}");
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = beside(process, &["adopt", "--dry-run", "--at", &nobody]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("lock:known"), "nobody knows it: {}", text(&output));
    let output = beside(process, &["adopt", "--at", &nobody]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// `adopt` asks the running Lockside for a repair pass, after it has asked what that one knows.
#[test]
fn adopt_asks_for_a_pass() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    redis.ask("SET lock:old x");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    // Answers as a Lockside that knows no lock; gives what it was asked.
    let running = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut asked, mut part) = (Vec::new(), [0; 1024]);
        loop {
            let count = stream.read(&mut part).unwrap();
            if count == 0 {
                return String::from_utf8(asked).unwrap();
            }
            asked.extend_from_slice(&part[..count]);
            if asked.ends_with(b"LOCKS\r\n") {
                stream.write_all(b"*0\r\n").unwrap();
            } else if asked.ends_with(b"REPAIR\r\n") {
                stream.write_all(b"+OK\r\n").unwrap();
            }
        }
    });
    let output = run(&["adopt", "--upstream", &redis.url(), "--at", &at]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("lock:old") && text(&output).contains("1 lock\n"));
    let asked = running.join().unwrap();
    assert_eq!(
        asked,
        "*2\r\n$8\r\nLOCKSIDE\r\n$5\r\nLOCKS\r\n*2\r\n$8\r\nLOCKSIDE\r\n$6\r\nREPAIR\r\n"
    );
}

/// `eject` gives each permanent lock a TTL, once no sidecar would take it off again.
#[test]
fn eject_gives_every_lock_a_ttl() {
    let redis = Redis::start();
    let mut subject = Subject::start(&redis);
    if !subject.is_lockside() {
        return;
    }
    let token = "550e8400-e29b-41d4-a716-446655440000";
    let mut client = subject.client();
    assert_eq!(client.ask(&format!("SET lock:a 93:{token} NX PX 30000")), "+OK\r\n");
    assert_eq!(client.ask(&format!("SETNX mutex:b {token}")), ":1\r\n");
    let mut other = redis.client();
    other.ask("SET page:1 x");
    other.ask("HSET lock:hash field 1");
    other.ask("SET lock:short x EX 10");
    other.ask("SELECT 3");
    other.ask("SET lock:c x");
    let process = subject.process().unwrap();
    let refused = beside(process, &["eject", "--ttl", "30m"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("stop it first"), "{}", text(&refused));
    let dry = beside(process, &["eject", "--ttl", "30m", "--dry-run"]);
    assert!(dry.status.success() && text(&dry).contains("3 locks"), "{}", text(&dry));
    for key in ["lock:a", "mutex:b"] {
        assert_eq!(redis.ask(&format!("TTL {key}")), ":-1\r\n", "{key}");
    }
    process.signal("TERM");
    let process = subject.process_mut().unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    let done = beside(process, &["eject", "--ttl", "30m"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    assert!(text(&done).contains("3 of 3 locks have a TTL of 30m now"), "{}", text(&done));
    let ttl = |reply: String| reply.trim_matches([':', '\r', '\n']).parse::<i64>().unwrap();
    for key in ["lock:a", "mutex:b"] {
        assert!((1700..=1800).contains(&ttl(redis.ask(&format!("TTL {key}")))), "{key}");
    }
    assert!((1700..=1800).contains(&ttl(other.ask("TTL lock:c"))));
    assert!(ttl(redis.ask("TTL lock:short")) <= 10);
    for key in ["page:1", "lock:hash"] {
        assert_eq!(redis.ask(&format!("TTL {key}")), ":-1\r\n", "{key}");
    }
    let hash = beside(process, &["eject", "--ttl", "60", "--other-types"]);
    assert!(text(&hash).contains("1 of 1 locks"), "{}", text(&hash));
    assert!(ttl(redis.ask("TTL lock:hash")) <= 60);
    for wrong in ["0", "soon", "4000d"] {
        let output = beside(process, &["eject", "--ttl", wrong]);
        assert_eq!(output.status.code(), Some(USAGE), "{}", text(&output));
    }
}
