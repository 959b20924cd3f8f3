//! What it costs to classify one command: the name's look-up, its keys, and the SET forms.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lockside::command::{lookup, set::SetForm};
use lockside::resp::{Args, Span};

fn frame(words: &[&str]) -> (Vec<u8>, Vec<Span>) {
    let mut bytes = Vec::new();
    let spans = words.iter().map(|word| {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(word.as_bytes());
        Span { start, end: bytes.len() as u32 }
    });
    let spans = spans.collect();
    (bytes, spans)
}

fn look_up(bench: &mut Criterion) {
    for name in ["GET", "set", "EVALSHA", "georadiusbymember_ro", "JSON.SET"] {
        bench.bench_function(&format!("lookup {name}"), |bench| {
            bench.iter(|| lookup(black_box(name.as_bytes())));
        });
    }
}

fn read_keys(bench: &mut Criterion) {
    for words in [&["GET", "k"][..], &["EVALSHA", "sha", "2", "a", "b", "token"]] {
        let (bytes, spans) = frame(words);
        let args = Args::new(&bytes, &spans);
        bench.bench_function(&format!("lookup and keys {}", words[0]), |bench| {
            bench.iter(|| {
                let spec = lookup(black_box(args).get(0)?)?;
                Some(spec.keys(args).map(<[u8]>::len).sum::<usize>())
            });
        });
    }
}

fn parse_set(bench: &mut Criterion) {
    let (bytes, spans) = frame(&["SET", "lock:a", "token", "NX", "PX", "30000"]);
    let args = Args::new(&bytes, &spans);
    bench.bench_function("SET NX PX", |bench| bench.iter(|| SetForm::parse(black_box(args))));
}

criterion_group!(benches, look_up, read_keys, parse_set);
criterion_main!(benches);
