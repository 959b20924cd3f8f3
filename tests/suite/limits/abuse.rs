//! Input that no client library sends.

use std::time::Duration;

use crate::support::process::{MemoryWatch, descriptors, memory_kib};
use crate::support::words::encode;
use crate::support::{Client, Redis, Subject, wait_until};

/// How much Lockside's memory may grow by one misbehaving client, in KiB.
const GROWTH: u64 = 48 << 10;

/// Lockside and a client that must be served all the time.
struct Bystander {
    _redis: Redis,
    subject: Subject,
    client: Client,
    before: u64,
}

impl Bystander {
    fn start() -> Self {
        let redis = Redis::start();
        let subject = Subject::start(&redis);
        let mut client = subject.client();
        client.fence();
        let before = subject.process().map_or(0, |process| memory_kib(process.pid()));
        Self { _redis: redis, subject, client, before }
    }

    /// The bystander is served and Lockside has not grown much.
    fn check(&mut self) {
        self.client.fence();
        if let Some(process) = self.subject.process() {
            let now = memory_kib(process.pid());
            assert!(now < self.before + GROWTH, "from {} to {now} KiB", self.before);
        }
    }
}

#[test]
fn garbage() {
    let mut bystander = Bystander::start();
    let mut state = 1u64;
    for _ in 0..200 {
        let mut client = bystander.subject.client();
        let noise: Vec<u8> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as u8
            })
            .collect();
        let _ = client.try_send(&noise);
        bystander.check();
    }
}

#[test]
fn wrong_bulk_lengths() {
    let mut bystander = Bystander::start();
    for length in ["-2", "-1", "1099511627776", "9223372036854775808", "536870913", "4x", "0x10"] {
        let mut client = bystander.subject.client();
        client.send(format!("*2\r\n$4\r\nECHO\r\n${length}\r\n").as_bytes());
        let reply = client.rest();
        let reply = String::from_utf8_lossy(&reply);
        assert_eq!(reply, "-ERR Protocol error: invalid bulk length\r\n", "length {length}");
        bystander.check();
    }
}

/// An announced length costs nothing before its bytes come.
#[test]
fn announced_and_not_sent() {
    let mut bystander = Bystander::start();
    let clients: Vec<Client> = (0..100)
        .map(|number| {
            let mut client = bystander.subject.client();
            match number % 3 {
                0 => client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nstart"),
                1 => client.send(b"*1048576\r\n$3\r\nDEL\r\n"),
                _ => client.send(b"*2\r\n$536870912\r\n"),
            }
            client
        })
        .collect();
    for _ in 0..20 {
        bystander.check();
    }
    drop(clients);
    bystander.check();
}

/// A million arguments in small pieces, the first thousand bytes one by one.
#[test]
fn heavy_million_elements_in_pieces() {
    const COUNT: usize = 1_000_000;
    let mut bystander = Bystander::start();
    let watch = bystander.subject.process().map(|process| MemoryWatch::start(process.pid()));
    let mut client = bystander.subject.client();
    let mut bytes = format!("*{}\r\n$3\r\nDEL\r\n", COUNT + 1).into_bytes();
    (0..COUNT).for_each(|_| bytes.extend_from_slice(b"$1\r\nk\r\n"));
    let (start, rest) = bytes.split_at(1000);
    for byte in start.chunks(1) {
        client.send(byte);
    }
    for (number, piece) in rest.chunks(611).enumerate() {
        client.send(piece);
        if number % 500 == 0 {
            bystander.client.fence();
        }
    }
    assert_eq!(client.text(), ":0\r\n");
    bystander.client.fence();
    if let Some(peak) = watch.map(MemoryWatch::peak_kib) {
        assert!(peak < bystander.before + (128 << 10), "peak of {peak} KiB");
    }
}

#[test]
fn nested_arrays() {
    let mut bystander = Bystander::start();
    let mut client = bystander.subject.client();
    let _ = client.try_send(&b"*1\r\n".repeat(100_000));
    let reply = client.rest();
    assert_eq!(String::from_utf8_lossy(&reply), "-ERR Protocol error: expected '$', got '*'\r\n");
    bystander.check();
}

#[test]
fn endless_inline_line() {
    let mut bystander = Bystander::start();
    let mut client = bystander.subject.client();
    // The server may close while the rest is still being written.
    let _ = client.try_send(&vec![b'a'; 66 << 10]);
    let reply = client.frame();
    assert_eq!(reply, b"-ERR Protocol error: too big inline request\r\n");
    bystander.check();
}

#[test]
fn endless_count_lines() {
    let mut bystander = Bystander::start();
    for (start, error) in [
        ("*", "-ERR Protocol error: too big mbulk count string\r\n"),
        ("*1\r\n$", "-ERR Protocol error: too big bulk count string\r\n"),
    ] {
        let mut client = bystander.subject.client();
        let _ = client.try_send(&[start.as_bytes(), &vec![b'1'; 66 << 10]].concat());
        assert_eq!(String::from_utf8_lossy(&client.frame()), error);
        bystander.check();
    }
}

#[test]
fn half_a_command_and_silence() {
    let mut bystander = Bystander::start();
    let whole = encode(&["SET", "key", "value"]);
    let mut halves: Vec<Client> = (1..whole.len())
        .map(|at| {
            let mut client = bystander.subject.client();
            client.send(&whole[..at]);
            client
        })
        .collect();
    for _ in 0..50 {
        bystander.check();
    }
    // The silent ones have lost nothing: the other half completes the command.
    for (client, at) in halves.iter_mut().zip(1..) {
        client.send(&whole[at..]);
        assert_eq!(client.text(), "+OK\r\n");
    }
}

#[test]
fn heavy_ten_thousand_connections() {
    let mut bystander = Bystander::start();
    let pid = bystander.subject.process().map(|process| process.pid());
    let open = || pid.map_or(0, descriptors);
    let before = open();
    for batch in 0..20 {
        let mut clients: Vec<Client> = (0..500).map(|_| bystander.subject.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            match number % 4 {
                0 => client.fence(),
                1 => client.send(b"*1\r\n$4"),
                2 => client.send(b"PING\r\nPING\r\n"),
                _ => {}
            }
        }
        bystander.client.fence();
        drop(clients);
        wait_until(&format!("batch {batch} is gone"), || open() <= before + 10);
    }
    bystander.check();
}

/// A connection that is closed while a reply of many MiB is on its way.
#[test]
fn closed_in_the_middle_of_a_reply() {
    let mut bystander = Bystander::start();
    let value = vec![b'v'; 16 << 20];
    assert_eq!(bystander.client.call(&[b"SET", b"big".as_slice(), &value]), b"+OK\r\n");
    for _ in 0..20 {
        let mut client = bystander.subject.client();
        client.send_line("GET big");
        assert!(client.frame_within(Duration::ZERO).is_err());
        drop(client);
        bystander.client.fence();
    }
    bystander.check();
}
