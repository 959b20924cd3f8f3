//! What the question "is this key a lock" costs: every key of every command asks it.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lockside::lock::rule::{Glob, Rule, Rules};

fn find(criterion: &mut Criterion) {
    let rules = Rules::default();
    let keys = [
        ("no rule begins so", "user:1000:session"),
        ("a rule begins with this byte", "myapp:cache:1000"),
        ("almost a lock", "lock-signal:orders"),
        ("lock", "lock:orders:1000"),
    ];
    for (name, key) in keys {
        criterion.bench_function(&format!("default rule, {name}"), |bencher| {
            bencher.iter(|| rules.find(black_box(key.as_bytes())).is_some());
        });
    }
    let many = (0..50).map(|place| {
        Rule::new(format!("rule{place}"), vec![Glob::new(format!("app{place}:lock:*").as_bytes())])
    });
    let many = Rules::new(many.collect());
    criterion.bench_function("50 rules of one first byte, no lock", |bencher| {
        bencher.iter(|| many.find(black_box(b"application:cache:1000")).is_some());
    });
    let general = Rules::new(vec![Rule::new("general", vec![Glob::new(b"*:lock:[a-z]*")])]);
    criterion.bench_function("general glob, no lock", |bencher| {
        bencher.iter(|| general.find(black_box(b"application:cache:1000")).is_some());
    });
}

criterion_group!(benches, find);
criterion_main!(benches);
