//! Stamp and strip of a lock's value: what every acquire and every reply with a value costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lockside::lock::envelope::{Envelope, unwrap};
use lockside::lock::value::{Stamp, Unique, is_unique, matches, stamp, strip};

const WORKER: &[u8] = b"93:550e8400-e29b-41d4-a716-446655440000";

fn unique() -> Unique {
    Unique::new("23-11-2026 13:20:05", 0x0123_4567_89ab_cdef).expect("a right timestamp")
}

fn values(c: &mut Criterion) {
    let unique = unique();
    for (name, value) in [("uuid", &WORKER[3..]), ("worker", WORKER), ("constant", b"locked")] {
        let stored = stamp(value, Stamp::Auto, &unique).into_owned();
        c.bench_function(&format!("stamp {name}"), |b| {
            b.iter(|| stamp(black_box(value), Stamp::Auto, &unique).len());
        });
        c.bench_function(&format!("strip {name}"), |b| {
            b.iter(|| strip(black_box(&stored), Stamp::Auto).len());
        });
        c.bench_function(&format!("matches {name}"), |b| {
            b.iter(|| matches(black_box(&stored), black_box(value), Stamp::Auto));
        });
    }
    c.bench_function("is_unique", |b| b.iter(|| is_unique(black_box(WORKER))));
}

fn envelopes(c: &mut Criterion) {
    let text = b"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
    c.bench_function("wrap", |b| b.iter(|| Envelope::wrap(black_box(text)).text.len()));
    let marker = b"fedcba9876543210";
    let frame = b"*3\r\n$16\r\nfedcba9876543210\r\n$23\r\nr0000001 0 0 -1 5 stok1\r\n:1\r\n";
    c.bench_function("unwrap released", |b| b.iter(|| unwrap(black_box(frame), marker).is_ok()));
    c.bench_function("unwrap raw", |b| b.iter(|| unwrap(black_box(b":1\r\n"), marker).is_ok()));
}

criterion_group!(benches, values, envelopes);
criterion_main!(benches);
