//! Entries as cells, and back. Pure.
//!
//! A row has five cells: the entry's number, what it is, the lock's key, its value, and the rest as
//! JSON. All are plain text, never a number, a date or a formula. Bytes stand as they are where they
//! are text that a sheet keeps; everything else has a `~` before it and its bytes as `%XX`, so that
//! any bytes come back as they were, an empty value is not an empty cell, and people can read most.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::ledger::entry::{Cause, Claim, ContentChange, Entry, Guarantee, Position, Row, Start};
use crate::lock::record::LockKey;

/// Cells of a row.
pub(super) const COLUMNS: usize = 5;
/// The first row of a log's tab.
pub(super) const HEADER: [&str; COLUMNS] = ["lockside log 1", "what", "lock", "value", "details"];
/// The most characters of a cell, says Google; counted here as it may count them, in UTF-16.
pub(super) const LONGEST: usize = 50_000;

/// What a cell has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// Nothing.
    Empty,
    /// Text, as all that is written here.
    Text(String),
    /// A number, a truth, a formula: nothing that was written here.
    Other,
}

/// The texts of a row without the empty ones at its end; none if something else is in it.
pub(super) fn texts(row: &[Cell]) -> Option<Vec<String>> {
    let text = |cell: &Cell| match cell {
        Cell::Empty => Some(String::new()),
        Cell::Text(text) => Some(text.clone()),
        Cell::Other => None,
    };
    let mut texts: Vec<String> = row.iter().map(text).collect::<Option<_>>()?;
    while texts.last().is_some_and(String::is_empty) {
        texts.pop();
    }
    Some(texts)
}

/// Bytes for people, and back by [`bytes`].
pub(super) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_kept(text) => text.to_owned(),
        Ok(text) => {
            let mut shown = String::from("~");
            let edge = |at: usize, c: char| at == 0 || at + c.len_utf8() == text.len();
            for (at, c) in text.char_indices() {
                let is_plain = !is_odd(c) && c != '%' && !(edge(at, c) && c.is_whitespace());
                if is_plain {
                    shown.push(c);
                } else {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escape(byte, &mut shown));
                }
            }
            shown
        }
        Err(_) => {
            let mut shown = String::from("~");
            for byte in bytes {
                match byte {
                    b'!'..=b'~' if *byte != b'%' => shown.push(char::from(*byte)),
                    _ => escape(*byte, &mut shown),
                }
            }
            shown
        }
    }
}

fn escape(byte: u8, shown: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    shown.push('%');
    for half in [byte >> 4, byte & 15] {
        shown.push(char::from(DIGITS[usize::from(half)]));
    }
}

/// True for text that a sheet gives back as it took it. A quote at the start is how people force
/// text.
fn is_kept(text: &str) -> bool {
    let (first, last) = (text.chars().next(), text.chars().next_back());
    let is_edge_kept = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    is_edge_kept(first)
        && is_edge_kept(last)
        && !matches!(first, Some('~' | '\''))
        && !text.chars().any(is_odd)
}

/// Characters that a sheet, a browser or a transport may drop or change.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// The bytes of [`shown`]; none if it was made by something else.
pub(super) fn bytes(shown: &str) -> Option<Vec<u8>> {
    let Some(escaped) = shown.strip_prefix('~') else { return Some(shown.into()) };
    let mut rest = escaped.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    Some(bytes)
}

/// The cells of a row, without empty ones at its end.
pub(super) fn of_row(row: &Row) -> Vec<String> {
    let mut details = Map::new();
    let mut lock = Lock::default();
    let what = what(&row.entry, &mut lock, &mut details);
    if let Some(key) = lock.key.filter(|key| key.db() != 0) {
        details.insert("db".into(), key.db().into());
    }
    let key = lock.key.map(|key| shown(key.key())).unwrap_or_default();
    let value = lock.value.map(shown).unwrap_or_default();
    let details = if details.is_empty() { String::new() } else { Value::from(details).to_string() };
    let mut cells = vec![row.at.seq.to_string(), what.to_owned(), key, value, details];
    while cells.last().is_some_and(String::is_empty) {
        cells.pop();
    }
    cells
}

/// Columns of their own.
#[derive(Default)]
struct Lock<'a> {
    key: Option<&'a LockKey>,
    value: Option<&'a [u8]>,
}

fn what<'a>(
    entry: &'a Entry,
    lock: &mut Lock<'a>,
    details: &mut Map<String, Value>,
) -> &'static str {
    match entry {
        Entry::Start(start) => {
            *details = of_start(start);
            return "start";
        }
        Entry::Claim(claim) | Entry::Observe(claim) => put_claim(claim, lock, details),
        Entry::Grant(claim, fence) => {
            put_claim(claim, lock, details);
            details.insert("fence".into(), (*fence).into());
        }
        Entry::Prefer(claim, lost) => {
            put_claim(claim, lock, details);
            details.insert("claim".into(), place(*lost));
        }
        Entry::Extend { key, claim, expires_at_ms } => {
            lock.key = Some(key);
            details.insert("claim".into(), place(*claim));
            details.insert("expires_at_ms".into(), (*expires_at_ms).into());
        }
        Entry::Content { key, claim, change } => {
            (lock.key, lock.value) = (Some(key), Some(&*change.from));
            details.insert("claim".into(), place(*claim));
            details.insert("to".into(), shown(&change.to).into());
        }
        Entry::Release { key, claim, cause, at_ms } => {
            lock.key = Some(key);
            details.insert("claim".into(), place(*claim));
            details.insert("cause".into(), cause.word().into());
            details.insert("at_ms".into(), (*at_ms).into());
        }
        Entry::Gone { key, stored, cause, fence, at_ms } => {
            (lock.key, lock.value) = (Some(key), Some(&**stored));
            details.insert("cause".into(), cause.word().into());
            details.insert("fence".into(), (*fence).into());
            details.insert("at_ms".into(), (*at_ms).into());
        }
        Entry::Won { key, claim, fence } => {
            lock.key = Some(key);
            details.insert("claim".into(), place(*claim));
            details.insert("fence".into(), (*fence).into());
        }
        Entry::Withdraw { key, claim }
        | Entry::Lost { key, claim }
        | Entry::Heard { key, claim } => {
            lock.key = Some(key);
            details.insert("claim".into(), place(*claim));
        }
        Entry::Healthy(run_id) => drop(details.insert("run_id".into(), (&**run_id).into())),
        Entry::Degraded | Entry::Heartbeat | Entry::End => {}
    }
    word(entry)
}

fn word(entry: &Entry) -> &'static str {
    match entry {
        Entry::Start(_) => "start",
        Entry::Claim(_) => "claim",
        Entry::Grant(..) => "grant",
        Entry::Observe(_) => "observe",
        Entry::Prefer(..) => "prefer",
        Entry::Extend { .. } => "extend",
        Entry::Content { change, .. } if change.whole => "content",
        Entry::Content { .. } => "content_parts",
        Entry::Release { .. } => "release",
        Entry::Gone { .. } => "gone",
        Entry::Withdraw { .. } => "withdraw",
        Entry::Won { .. } => "won",
        Entry::Lost { .. } => "lost",
        Entry::Heard { .. } => "heard",
        Entry::Degraded => "degraded",
        Entry::Healthy(_) => "healthy",
        Entry::Heartbeat => "heartbeat",
        Entry::End => "end",
    }
}

fn put_claim<'a>(claim: &'a Claim, lock: &mut Lock<'a>, details: &mut Map<String, Value>) {
    (lock.key, lock.value) = (Some(&claim.key), Some(&*claim.stored));
    let mut put = |name: &str, value: Value| drop(details.insert(name.into(), value));
    put("rule", (&*claim.rule).into());
    put("client", (&*claim.client).into());
    put("at_ms", claim.at_ms.into());
    if let Some(other) = &claim.other {
        put("other", shown(other).into());
    }
    if let Some(ttl) = claim.asked_ttl_ms {
        put("asked_ttl_ms", ttl.into());
    }
    if let Some(at) = claim.expires_at_ms {
        put("expires_at_ms", at.into());
    }
    if let Some(marker) = &claim.marker {
        put("marker", (&**marker).into());
    }
}

fn place(at: Position) -> Value {
    shown_place(at).into()
}

/// A place as text: `log:seq`.
pub(super) fn shown_place(at: Position) -> String {
    format!("{}:{}", at.log, at.seq)
}

/// The place of [`shown_place`].
pub(super) fn read_place(shown: &str) -> Option<Position> {
    let (log, seq) = shown.split_once(':')?;
    Some(Position { log: log.parse().ok()?, seq: seq.parse().ok()? })
}

/// The terms of a log.
pub(super) fn of_start(start: &Start) -> Map<String, Value> {
    let terms = json!({
        "format": start.format,
        "namespace": &*start.namespace,
        "guarantee": start.guarantee.word(),
        "upstream": &*start.upstream,
        "writer": &*start.writer,
        "at_ms": start.at_ms,
    });
    match terms {
        Value::Object(terms) => terms,
        // `json!({…})` is an object.
        _ => Map::new(),
    }
}

/// Details, as they were read.
pub(super) struct Details(Value);

impl Details {
    /// Of a cell's text; an empty cell has none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let value = if text.is_empty() { json!({}) } else { serde_json::from_str(text).ok()? };
        value.is_object().then_some(Self(value))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0[name].as_u64()
    }

    pub(super) fn text(&self, name: &str) -> Option<Arc<str>> {
        self.0[name].as_str().map(Into::into)
    }

    pub(super) fn truth(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    pub(super) fn list(&self, name: &str) -> Option<Vec<u64>> {
        self.0[name].as_array()?.iter().map(Value::as_u64).collect()
    }

    pub(super) fn values(&self, name: &str) -> Option<&Vec<Value>> {
        self.0[name].as_array()
    }

    /// Numbers by number.
    pub(super) fn numbers(&self, name: &str) -> Option<BTreeMap<u64, u64>> {
        let all = self.0[name].as_object()?.iter();
        all.map(|(name, value)| Some((name.parse().ok()?, value.as_u64()?))).collect()
    }

    fn place(&self) -> Option<Position> {
        read_place(self.0["claim"].as_str()?)
    }

    /// Terms of a log.
    pub(super) fn start(&self) -> Option<Start> {
        let guarantee = [Guarantee::Strict, Guarantee::Fast]
            .into_iter()
            .find(|known| Some(known.word()) == self.0["guarantee"].as_str())?;
        Some(Start {
            format: u32::try_from(self.number("format")?).ok()?,
            namespace: self.text("namespace")?,
            guarantee,
            upstream: self.text("upstream")?,
            writer: self.text("writer")?,
            at_ms: self.number("at_ms")?,
        })
    }
}

/// The entry of a row's cells; none if it is nothing that this version writes.
pub(super) fn entry(cells: &[String]) -> Option<Entry> {
    let cell = |at: usize| cells.get(at).map_or("", String::as_str);
    let details = Details::read(cell(4))?;
    let key = || {
        let db = u32::try_from(details.number("db").unwrap_or_default()).ok()?;
        Some(LockKey::new(db, &bytes(cell(2))?))
    };
    let claim = || claim(key()?, cell(3), &details);
    let named = || Some((key()?, details.place()?));
    let cause = || {
        let word = details.text("cause")?;
        Cause::ALL.into_iter().find(|cause| cause.word() == &*word)
    };
    Some(match cell(1) {
        "start" => Entry::Start(details.start()?),
        "claim" => Entry::Claim(claim()?),
        "observe" => Entry::Observe(claim()?),
        "grant" => Entry::Grant(claim()?, details.number("fence")?),
        "prefer" => Entry::Prefer(claim()?, details.place()?),
        "extend" => {
            let (key, claim) = named()?;
            Entry::Extend { key, claim, expires_at_ms: details.number("expires_at_ms")? }
        }
        what @ ("content" | "content_parts") => {
            let (key, claim) = named()?;
            let to = bytes(&details.text("to")?)?.into();
            let from = bytes(cell(3))?.into();
            Entry::Content {
                key,
                claim,
                change: ContentChange { from, to, whole: what == "content" },
            }
        }
        "release" => {
            let (key, claim) = named()?;
            Entry::Release { key, claim, cause: cause()?, at_ms: details.number("at_ms")? }
        }
        "gone" => Entry::Gone {
            key: key()?,
            stored: bytes(cell(3))?.into(),
            cause: cause()?,
            fence: details.number("fence")?,
            at_ms: details.number("at_ms")?,
        },
        "won" => {
            let (key, claim) = named()?;
            Entry::Won { key, claim, fence: details.number("fence")? }
        }
        "withdraw" => named().map(|(key, claim)| Entry::Withdraw { key, claim })?,
        "lost" => named().map(|(key, claim)| Entry::Lost { key, claim })?,
        "heard" => named().map(|(key, claim)| Entry::Heard { key, claim })?,
        "degraded" => Entry::Degraded,
        "healthy" => Entry::Healthy(details.text("run_id")?),
        "heartbeat" => Entry::Heartbeat,
        "end" => Entry::End,
        _ => return None,
    })
}

fn claim(key: LockKey, value: &str, details: &Details) -> Option<Claim> {
    let other = match details.text("other") {
        Some(other) => Some(bytes(&other)?.into()),
        None => None,
    };
    Some(Claim {
        key,
        stored: bytes(value)?.into(),
        other,
        rule: details.text("rule")?,
        client: details.text("client")?,
        at_ms: details.number("at_ms")?,
        asked_ttl_ms: details.number("asked_ttl_ms"),
        expires_at_ms: details.number("expires_at_ms"),
        marker: details.text("marker"),
    })
}

/// The length of a cell as Google may count it.
pub(super) fn length(cell: &str) -> usize {
    // Most are far shorter, and bytes are never fewer.
    if cell.len() <= LONGEST { cell.len() } else { cell.encode_utf16().count() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::testing::{one_of_each, row, start};

    #[test]
    fn every_entry_comes_back() {
        let all = one_of_each().into_iter().chain([Entry::Start(start())]);
        for entry in all {
            let cells = of_row(&row(1, 7, entry.clone()));
            assert_eq!((cells[0].as_str(), super::entry(&cells)), ("7", Some(entry)), "{cells:?}");
        }
    }

    #[test]
    fn text_stays_as_people_know_it() {
        for text in ["=1+1", "MR(93)", "007", "1E5", "caf\u{e9} ole", "50%", "2026-02-01"] {
            assert_eq!(shown(text.as_bytes()), text);
        }
        assert_eq!(shown(b""), "~");
        assert_eq!(shown(b"~a"), "~~a");
        assert_eq!(shown(b"'a"), "~'a");
        assert_eq!(shown(b"a%b "), "~a%25b%20");
        assert_eq!(shown(b"k\xff\x00"), "~k%FF%00");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(given: Vec<u8>, text: String) {
            prop_assert_eq!(bytes(&shown(&given)), Some(given));
            let shown = shown(text.as_bytes());
            prop_assert!(!shown.is_empty() && !shown.starts_with('\''));
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(shown.trim(), &shown);
            prop_assert_eq!(bytes(&shown), Some(text.into_bytes()));
        }

        #[test]
        fn what_is_no_row_is_none_and_no_panic(cells: Vec<String>) {
            prop_assert!(entry(&cells).is_none() || cells.len() > 1);
        }
    }
}
