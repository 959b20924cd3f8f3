//! Long pipelines and large values: everything arrives, in order, and Lockside's memory stays
//! small, because bytes pass through and are not gathered.

use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::time::Duration;

use crate::support::process::MemoryWatch;
use crate::support::words::encode;
use crate::support::{Client, Redis, Subject};

/// What Lockside may hold while any amount of data passes, in KiB.
const MEMORY_WHILE_PASSING: u64 = 64 << 10;

/// A watch on Lockside's memory; none in direct mode.
fn watch(subject: &Subject) -> Option<MemoryWatch> {
    subject.process().map(|process| MemoryWatch::start(process.pid()))
}

fn assert_bounded(watch: Option<MemoryWatch>) {
    if let Some(peak) = watch.map(MemoryWatch::peak_kib) {
        assert!(peak < MEMORY_WHILE_PASSING, "peak of {peak} KiB");
    }
}

#[test]
fn heavy_pipeline_of_100_000_commands() {
    const COUNT: usize = 100_000;
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let watch = watch(&subject);
    let mut client = subject.client();
    let mut writer = client.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut bytes = Vec::new();
            for number in 0..COUNT {
                bytes.extend(match number % 4 {
                    0 => encode(&["INCR", "n"]),
                    1 => encode(&["ECHO", &number.to_string()]),
                    2 => format!("ECHO {number}\r\n").into_bytes(),
                    _ => encode(&["NOSUCH"]),
                });
            }
            writer.write_all(&bytes).unwrap();
        });
        for number in 0..COUNT {
            let text = number.to_string();
            let expected = match number % 4 {
                0 => format!(":{}\r\n", number / 4 + 1),
                1 | 2 => format!("${}\r\n{text}\r\n", text.len()),
                _ => "-ERR unknown command 'NOSUCH', with args beginning with: \r\n".to_owned(),
            };
            assert_eq!(client.text(), expected, "reply {number}");
        }
    });
    client.fence();
    assert_bounded(watch);
}

/// All commands are written before the first reply is read: the replies wait where there is room.
#[test]
fn heavy_pipeline_read_afterwards() {
    const COUNT: usize = 100_000;
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let mut client = subject.client();
    client.send(&encode(&["PING"]).repeat(COUNT));
    for number in 0..COUNT {
        assert_eq!(client.frame(), b"+PONG\r\n", "reply {number}");
    }
    client.fence();
}

/// Bytes that differ from place to place, so that a lost or doubled piece changes the hash.
fn pattern(at: usize, length: usize) -> Vec<u8> {
    (at..at + length).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

/// Reads `$length\r\n`, the body piece by piece, and `\r\n`: the hash of the body.
fn read_bulk(client: &mut Client, length: usize) -> u64 {
    let mut stream = client.stream();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut head = vec![0; format!("${length}\r\n").len()];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(String::from_utf8_lossy(&head), format!("${length}\r\n"));
    let (mut hasher, mut left, mut piece) = (DefaultHasher::new(), length, vec![0; 1 << 20]);
    while left > 0 {
        let size = left.min(piece.len());
        stream.read_exact(&mut piece[..size]).unwrap();
        hasher.write(&piece[..size]);
        left -= size;
    }
    let mut end = [0; 2];
    stream.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"\r\n");
    hasher.finish()
}

#[test]
fn heavy_value_of_512_mib() {
    const PIECE: usize = 1 << 20;
    const LENGTH: usize = 512 << 20;
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let watch = watch(&subject);
    let mut client = subject.client();
    let (piece, mut hasher) = (pattern(0, PIECE + 251), DefaultHasher::new());
    client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${LENGTH}\r\n").as_bytes());
    for number in 0..LENGTH / PIECE {
        // A window that moves through the pattern makes every piece another one.
        let window = &piece[number % 251..number % 251 + PIECE];
        client.send(window);
        hasher.write(window);
    }
    client.send(b"\r\n");
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.ask("STRLEN big"), format!(":{LENGTH}\r\n"));
    client.send_line("GET big");
    assert_eq!(read_bulk(&mut client, LENGTH), hasher.finish());
    client.fence();
    assert_bounded(watch);
}

#[test]
fn heavy_values_of_10_mib_in_a_pipeline() {
    const LENGTH: usize = 10 << 20;
    const COUNT: usize = 8;
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let watch = watch(&subject);
    let mut client = subject.client();
    let mut writer = client.stream().try_clone().unwrap();
    let values: Vec<_> = (0..COUNT).map(|number| pattern(number * 977, LENGTH)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, value) in values.iter().enumerate() {
                let key = format!("k{number}");
                let set = encode(&[b"SET", key.as_bytes(), value]);
                writer.write_all(&[set, encode(&["GET", &key])].concat()).unwrap();
            }
        });
        for value in &values {
            assert_eq!(client.text(), "+OK\r\n");
            let mut hasher = DefaultHasher::new();
            value.chunks(1 << 20).for_each(|piece| hasher.write(piece));
            // The reply's bytes may be in the client's buffer: take it as a frame.
            let frame = client.frame();
            let body = &frame[frame.len() - 2 - LENGTH..frame.len() - 2];
            let mut seen = DefaultHasher::new();
            body.chunks(1 << 20).for_each(|piece| seen.write(piece));
            assert_eq!(seen.finish(), hasher.finish());
        }
    });
    client.fence();
    assert_bounded(watch);
}

/// While one client moves hundreds of MiB, another one is served.
#[test]
fn heavy_others_go_on_beside_a_large_value() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let mut client = subject.client();
    client.fence();
    std::thread::scope(|scope| {
        let mut mover = subject.client();
        let moving = scope.spawn(move || {
            let value = pattern(0, 64 << 20);
            assert_eq!(mover.call(&[b"SET", b"big".as_slice(), &value]), b"+OK\r\n");
            (0..4).for_each(|_| assert!(mover.call(&["GET", "big"]).len() > value.len()));
        });
        let mut served = 0;
        while !moving.is_finished() {
            client.fence();
            served += 1;
        }
        assert!(served > 20, "only {served} replies meanwhile");
    });
}
