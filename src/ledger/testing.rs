//! What the ledger's tests share.

use std::sync::Arc;

use super::entry::{Claim, Entry, Guarantee, Position, Row, Start};
use crate::lock::record::LockKey;

pub(crate) fn start() -> Start {
    Start {
        format: super::entry::FORMAT,
        namespace: "tests".into(),
        guarantee: Guarantee::Strict,
        upstream: "127.0.0.1:6379".into(),
        writer: "tests".into(),
        at_ms: 1,
    }
}

pub(crate) fn key(name: &str) -> LockKey {
    LockKey::new(0, name.as_bytes())
}

pub(crate) fn claim(name: &str, value: &str) -> Claim {
    Claim {
        key: key(name),
        stored: value.as_bytes().into(),
        other: None,
        rule: "default".into(),
        client: "tests".into(),
        at_ms: 7,
        asked_ttl_ms: Some(30_000),
        expires_at_ms: None,
        marker: None,
    }
}

pub(crate) fn at(log: u64, seq: u64) -> Position {
    Position { log, seq }
}

pub(crate) fn row(log: u64, seq: u64, entry: Entry) -> Row {
    Row { at: at(log, seq), entry }
}

pub(crate) fn content_change(from: &str, to: &str, whole: bool) -> super::ContentChange {
    super::ContentChange { from: from.as_bytes().into(), to: to.as_bytes().into(), whole }
}

/// One entry of each kind, all fields set.
pub(crate) fn one_of_each() -> Vec<Entry> {
    use super::entry::Cause;
    let full = Claim {
        key: LockKey::new(3, b"k\xff\x00"),
        stored: [1, 0, 255].as_slice().into(),
        other: Some(Arc::from(b"0:ab".as_slice())),
        rule: "jobs".into(),
        client: "cl\u{e9}".into(),
        at_ms: 1,
        asked_ttl_ms: Some(2),
        expires_at_ms: Some(3),
        marker: Some("DEGRADED:a:b:c".into()),
    };
    let mut all = vec![
        Entry::Claim(full.clone()),
        Entry::Claim(Claim { stored: Arc::new([]), ..claim("", "") }),
        Entry::Grant(full.clone(), 9),
        Entry::Observe(full.clone()),
        Entry::Prefer(full, at(1, 2)),
        Entry::Extend { key: key("a"), claim: at(1, 2), expires_at_ms: 5 },
        Entry::Content {
            key: key("a"),
            claim: at(1, 2),
            change: content_change("h1:a1:1", "h1:a1:\u{e9}", false),
        },
        Entry::Content { key: key("a"), claim: at(1, 2), change: content_change("", "", true) },
        Entry::Gone {
            key: LockKey::new(3, b"k\xff\x00"),
            stored: [1, 0, 255].as_slice().into(),
            cause: Cause::Client,
            fence: 9,
            at_ms: 4,
        },
        Entry::Withdraw { key: key("a"), claim: at(1, 2) },
        Entry::Won { key: key("a"), claim: at(1, 2), fence: 3 },
        Entry::Lost { key: key("a"), claim: at(1, 2) },
        Entry::Heard { key: key("a"), claim: at(1, 2) },
        Entry::Degraded,
        Entry::Healthy("run".into()),
        Entry::Heartbeat,
    ];
    let release = |cause| Entry::Release { key: key("a"), claim: at(1, 2), cause, at_ms: 4 };
    all.extend(Cause::ALL.map(release));
    all.push(Entry::End);
    all
}
