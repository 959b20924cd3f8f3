//! Those who do not read: a client, and a Redis. Memory stays bounded and nobody else waits.

use std::time::{Duration, Instant};

use crate::support::process::{MemoryWatch, memory_kib};
use crate::support::words::encode;
use crate::support::{Client, Redis, Subject, poll_for};

/// How much Lockside may hold for one slow peer, in KiB.
const BOUND: u64 = 32 << 10;

/// Waits until a number has not changed for a while: what flows has come to a stand.
fn standstill(mut number: impl FnMut() -> u64) -> u64 {
    let (mut last, mut since) = (number(), Instant::now());
    poll_for("a standstill", Duration::from_secs(15), || {
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(300)).then_some(last)
    })
}

#[test]
fn heavy_client_that_never_reads() {
    const LENGTH: usize = 100 << 20;
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let mut loader = redis.client();
    assert_eq!(loader.call(&[b"SET", b"big".as_slice(), &vec![b'v'; LENGTH]]), b"+OK\r\n");
    let mut other = subject.client();
    other.fence();
    let before = subject.process().map(|process| memory_kib(process.pid()));
    let mut silent = subject.client();
    silent.send_line("GET big");
    if let (Some(process), Some(before)) = (subject.process(), before) {
        let held = standstill(|| memory_kib(process.pid()));
        assert!(held < before + BOUND, "from {before} to {held} KiB");
    }
    for number in 0..200 {
        assert_eq!(other.ask(&format!("SET k{number} v")), "+OK\r\n");
    }
    // It was slow, not gone: all of it comes when it reads.
    assert_eq!(silent.frame().len(), LENGTH + format!("${LENGTH}\r\n\r\n").len());
    silent.fence();
}

/// A client that writes pipelines and never reads a reply stops only itself.
#[test]
fn heavy_client_that_only_writes() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let mut other = subject.client();
    other.fence();
    let value = vec![b'v'; 1 << 20];
    assert_eq!(other.call(&[b"SET", b"k".as_slice(), &value]), b"+OK\r\n");
    let before = subject.process().map(|process| memory_kib(process.pid()));
    let mut writer = subject.client();
    writer.send(&encode(&["GET", "k"]).repeat(60));
    if let (Some(process), Some(before)) = (subject.process(), before) {
        let held = standstill(|| memory_kib(process.pid()));
        assert!(held < before + BOUND, "from {before} to {held} KiB");
    }
    other.fence();
    assert!(writer.frames(60).iter().all(|frame| frame.len() > value.len()));
}

#[test]
fn heavy_redis_that_does_not_read() {
    const CLIENTS: usize = 10;
    const LENGTH: usize = 10 << 20;
    let redis = Redis::start();
    let subject = Subject::with(
        &redis,
        crate::support::Settings { upstream: "command_timeout = \"60s\"", ..Default::default() },
    );
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| subject.client()).collect();
    clients.iter_mut().for_each(Client::fence);
    let watch = subject.process().map(|process| MemoryWatch::start(process.pid()));
    let before = subject.process().map_or(0, |process| memory_kib(process.pid()));
    redis.process().signal("STOP");
    std::thread::scope(|scope| {
        let senders: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                scope.spawn(move || {
                    let key = format!("k{number}");
                    let value = vec![b'v'; LENGTH];
                    client.send(&encode(&[b"SET", key.as_bytes(), &value]));
                    client.text()
                })
            })
            .collect();
        if let Some(process) = subject.process() {
            standstill(|| memory_kib(process.pid()));
        }
        redis.process().signal("CONT");
        for sender in senders {
            assert_eq!(sender.join().unwrap(), "+OK\r\n");
        }
    });
    if let Some(peak) = watch.map(MemoryWatch::peak_kib) {
        assert!(peak < before + 2 * BOUND, "from {before} to a peak of {peak} KiB");
    }
    for number in 0..CLIENTS {
        assert_eq!(redis.ask(&format!("STRLEN k{number}")), format!(":{LENGTH}\r\n"));
    }
}

/// A subscriber that does not read: Redis's own limit ends it, nobody else notices.
#[test]
fn heavy_subscriber_that_does_not_read() {
    let redis = Redis::with(&["--client-output-buffer-limit", "pubsub 4mb 2mb 1"]);
    let subject = Subject::start(&redis);
    let mut silent = subject.client();
    assert!(silent.ask("SUBSCRIBE flood").contains("subscribe"));
    let before = subject.process().map(|process| memory_kib(process.pid()));
    let mut writer = subject.client();
    let message = "m".repeat(1 << 20);
    let published = (0..200).find(|_| writer.ask(&format!("PUBLISH flood {message}")) == ":0\r\n");
    assert!(published.is_some(), "Redis has ended the subscriber");
    if let (Some(process), Some(before)) = (subject.process(), before) {
        let held = standstill(|| memory_kib(process.pid()));
        assert!(held < before + BOUND, "from {before} to {held} KiB");
    }
    writer.fence();
    // What had been sent comes, and then the end.
    silent.rest();
}
