//! Costs of the boundary scanners, in nanoseconds for a command or a reply.
//!
//! These are paid for every command that passes, so they are to stay far below the microseconds
//! of the system calls around them: under 40 ns for a GET or SET, under 20 ns for a reply.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lockside::resp::encode;
use lockside::resp::reply::ReplyScanner;
use lockside::resp::request::{Limits, RequestScanner, Scanned};

/// One command's frame.
fn frame(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, args);
    out
}

/// Scans every command of `stream` and touches its arguments; gives their number.
fn scan_all(scanner: &mut RequestScanner, mut stream: &[u8], limits: &Limits) -> usize {
    let mut commands = 0;
    while let Scanned::Command { len } = scanner.scan(stream, limits) {
        black_box(scanner.args(stream).get(0));
        commands += 1;
        stream = &stream[len..];
    }
    commands
}

fn requests(c: &mut Criterion) {
    let get = frame(&[b"GET", b"key:000000000042"]);
    let set = frame(&[b"SET", b"key:000000000042", &[b'x'; 64]]);
    let lock = frame(&[b"SET", b"lock:orders", b"93:550e8400-e29b", b"NX", b"PX", b"30000"]);
    let streams = [
        ("get", get.clone(), 1),
        ("set_64", set.clone(), 1),
        ("set_nx_px", lock, 1),
        ("get_set_pipeline_16", [get, set].concat().repeat(8), 16),
        ("inline_ping", b"PING\r\n".to_vec(), 1),
    ];
    let limits = Limits::default();
    let mut group = c.benchmark_group("request");
    for (name, stream, commands) in streams {
        let mut scanner = RequestScanner::default();
        assert_eq!(scan_all(&mut scanner, &stream, &limits), commands);
        group.throughput(Throughput::Elements(commands as u64));
        group.bench_function(name, |b| {
            b.iter(|| scan_all(&mut scanner, black_box(&stream), &limits));
        });
    }
    group.finish();
}

fn replies(c: &mut Criterion) {
    let bulk = [b"$64\r\n".as_slice(), &[b'x'; 64], b"\r\n"].concat();
    let array = [b"*10\r\n".as_slice(), &bulk.repeat(10)].concat();
    let streams = [
        ("ok", b"+OK\r\n".to_vec(), 1),
        ("integer", b":1\r\n".to_vec(), 1),
        ("bulk_64", bulk.clone(), 1),
        ("null", b"$-1\r\n".to_vec(), 1),
        ("error", b"-MOVED 3999 127.0.0.1:6381\r\n".to_vec(), 1),
        ("array_of_10", array, 1),
        ("run_16_ok", b"+OK\r\n".repeat(16), 16),
        ("run_16_bulk_64", bulk.repeat(16), 16),
        (
            "run_1000_mixed",
            [b"+OK\r\n:1\r\n".as_slice(), &bulk, b"$-1\r\n"].concat().repeat(250),
            1000,
        ),
    ];
    let mut group = c.benchmark_group("reply");
    for (name, stream, count) in streams {
        let mut scanner = ReplyScanner::default();
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |b| {
            b.iter(|| {
                let run = scanner.run(black_box(&stream), u64::MAX);
                assert_eq!(run.map(|run| run.replies), Ok(count));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(700))
        .sample_size(20);
    targets = requests, replies
}
criterion_main!(benches);
