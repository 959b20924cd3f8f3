//! The meaning of an envelope's reply: the client's reply as it is, or what the script did to its
//! lock keys and then the client's reply.
//!
//! A wrapped reply is an array of the marker, one bulk string with a report for each lock that was
//! taken or released, and the client's value last. So the bytes of the value are the rest of the
//! frame, whatever they are; a value that is missing was nil.

use crate::lock::content;

/// What came back for an envelope.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No lock was taken or released: the whole frame is the client's reply.
    Raw,
    /// Locks were taken or released.
    Wrapped {
        /// To be made persistent (persistent rule) and recorded, before the client is answered.
        taken: Vec<Taken<'a>>,
        /// To be recorded.
        released: Vec<Released<'a>>,
        /// To be recorded.
        changed: Vec<Changed<'a>>,
        /// The counter of fences behind what was released, where that was asked for.
        fence: Option<u64>,
        /// The client's reply. `None`: null, in the client's protocol (`$-1` or `_`).
        reply: Option<&'a [u8]>,
    },
}

/// A lock key that the script left in Redis, with a value of its own or with a TTL.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Place in the call's keys, from 0.
    pub index: usize,
    /// The database that it is in.
    pub database: u32,
    /// False if the script found what it left (a lock of a ttl rule that was extended, or one of
    /// a persistent rule that still had a TTL and whose holder asked for more).
    pub fresh: bool,
    /// The TTL that the script left, in ms: what its client asked for. `None`: without.
    pub ttl_ms: Option<u64>,
    /// What stands there.
    pub guard: Guard<'a>,
}

/// A lock key that was there before the script and is gone, or has another value now.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<'a> {
    /// Place in the call's keys, from 0.
    pub index: usize,
    /// The database that it was in.
    pub database: u32,
    /// What stood there.
    pub guard: Guard<'a>,
}

/// A lock that is no string and that the script has changed: the same hold goes on.
#[derive(Debug, PartialEq, Eq)]
pub struct Changed<'a> {
    /// Place in the call's keys, from 0.
    pub index: usize,
    /// The database that it is in.
    pub database: u32,
    /// The content before, in any order; empty if it is not known.
    pub from: &'a [u8],
    /// The content now.
    pub to: &'a [u8],
}

/// What tells one lock from the next under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard<'a> {
    /// A string: the stored value.
    Value(&'a [u8]),
    /// Another type: expiry time and content, as [`crate::lock::content`] has it; empty for a
    /// released one.
    Other(&'a [u8]),
}

impl Guard<'_> {
    /// Appends the guard as the scripts in [`super::scripts`] take it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, bytes): (u8, &[u8]) = match self {
            Guard::Value(bytes) => (b's', bytes),
            // Ledgers of format 1 have the letter in it.
            Guard::Other(bytes) => (b'o', bytes.strip_prefix(b"o").unwrap_or(bytes)),
        };
        out.push(kind);
        out.extend_from_slice(bytes);
    }
}

/// A frame that begins as a wrapped reply and is none: not from an envelope of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reply with the envelope's marker has no readable report")]
pub struct Malformed;

/// Takes a complete reply frame apart. `marker` is the one that the call carried.
pub fn unwrap<'a>(frame: &'a [u8], marker: &[u8; 16]) -> Result<Outcome<'a>, Malformed> {
    let Some(rest) = after_marker(frame, marker) else { return Ok(Outcome::Raw) };
    let (mut report, rest) = bulk(rest).ok_or(Malformed)?;
    let reply = if frame[1] == b'2' { None } else { Some(rest) };
    if rest.is_empty() != reply.is_none() {
        return Err(Malformed);
    }
    let (mut taken, mut released, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut before, mut fence) = (None, None);
    while let Some((kind, entry)) = report.split_first() {
        let (entry, rest) = Entry::parse(entry).ok_or(Malformed)?;
        report = rest;
        match kind {
            b't' => taken.push(entry.taken()),
            b'r' => released.push(entry.released()),
            // It stands in the place of the key.
            b'f' => fence = Some(entry.index as u64 + 1),
            b'x' => before = Some(entry),
            b'c' => changed.push(entry.changed(before.take().ok_or(Malformed)?)),
            _ => return Err(Malformed),
        }
    }
    Ok(Outcome::Wrapped { taken, released, changed, fence, reply })
}

/// The rest behind `*2` or `*3` and the marker.
fn after_marker<'a>(frame: &'a [u8], marker: &[u8; 16]) -> Option<&'a [u8]> {
    let rest = frame.strip_prefix(b"*3\r\n").or_else(|| frame.strip_prefix(b"*2\r\n"))?;
    rest.strip_prefix(b"$16\r\n")?.strip_prefix(marker)?.strip_prefix(b"\r\n")
}

/// A bulk string and what is behind it.
fn bulk(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(frame.strip_prefix(b"$")?, b'\r')?;
    let length = usize::try_from(length).ok()?;
    let (bytes, rest) = rest.strip_prefix(b"\n")?.split_at_checked(length)?;
    Some((bytes, rest.strip_prefix(b"\r\n")?))
}

/// A decimal number up to `end`, and what is behind that.
fn number(bytes: &[u8], end: u8) -> Option<(i64, &[u8])> {
    let stop = memchr::memchr(end, bytes)?;
    let number = std::str::from_utf8(&bytes[..stop]).ok()?.parse().ok()?;
    Some((number, &bytes[stop + 1..]))
}

/// `<key> <database> <fresh> <ttl> <length> <guard>`
struct Entry<'a> {
    index: usize,
    database: u32,
    fresh: bool,
    ttl: i64,
    guard: Guard<'a>,
}

impl<'a> Entry<'a> {
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (key, bytes) = number(bytes, b' ')?;
        let (database, bytes) = number(bytes, b' ')?;
        let (fresh, bytes) = number(bytes, b' ')?;
        let (ttl, bytes) = number(bytes, b' ')?;
        let (length, bytes) = number(bytes, b' ')?;
        let (guard, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
        let guard = match guard.split_first()? {
            (b's', value) => Guard::Value(value),
            (b'o', value) => Guard::Other(value),
            _ => return None,
        };
        let index = usize::try_from(key).ok()?.checked_sub(1)?;
        let database = u32::try_from(database).ok()?;
        Some((Self { index, database, fresh: fresh == 1, ttl, guard }, rest))
    }

    fn taken(self) -> Taken<'a> {
        let Self { index, database, fresh, ttl, guard } = self;
        Taken { index, database, fresh, ttl_ms: u64::try_from(ttl).ok(), guard }
    }

    /// `before`: the entry with what stood there.
    fn changed(self, before: Self) -> Changed<'a> {
        let content = |guard: Guard<'a>| match guard {
            Guard::Other(mark) => content::split(mark).1,
            Guard::Value(_) => &[],
        };
        let (from, to) = (content(before.guard), content(self.guard));
        Changed { index: self.index, database: self.database, from, to }
    }

    fn released(self) -> Released<'a> {
        Released { index: self.index, database: self.database, guard: self.guard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: &[u8; 16] = b"0123456789abcdef";

    #[test]
    fn a_reply_without_the_marker_is_the_clients() {
        for frame in [&b":1\r\n"[..], b"*3\r\n$1\r\na\r\n:1\r\n:2\r\n", b"$-1\r\n", b"*0\r\n"] {
            assert_eq!(unwrap(frame, MARKER), Ok(Outcome::Raw));
        }
    }

    #[test]
    fn reports_and_the_clients_bytes_are_told_apart() {
        let frame = b"*3\r\n$16\r\n0123456789abcdef\r\n$48\r\nt1 0 1 30000 3 sabr2 7 0 -1 1 of70000 0 0 -1 1 o\r\n";
        let frame = [&frame[..], b"*2\r\n:1\r\n$1\r\nx\r\n"].concat();
        let expected = Outcome::Wrapped {
            taken: vec![Taken {
                index: 0,
                database: 0,
                fresh: true,
                ttl_ms: Some(30_000),
                guard: Guard::Value(b"ab"),
            }],
            released: vec![Released { index: 1, database: 7, guard: Guard::Other(b"") }],
            changed: vec![],
            fence: Some(70_000),
            reply: Some(b"*2\r\n:1\r\n$1\r\nx\r\n"),
        };
        assert_eq!(unwrap(&frame, MARKER), Ok(expected));
    }

    #[test]
    fn a_change_has_what_stood_there_before_it() {
        let frame = b"*2\r\n$16\r\n0123456789abcdef\r\n$46\r\n\
            x2 3 0 -1 10 o0:h1:a1:1c2 3 0 -1 10 o0:h1:a1:2\r\n";
        let changed = Changed { index: 1, database: 3, from: b"h1:a1:1", to: b"h1:a1:2" };
        let expected = Outcome::Wrapped {
            taken: vec![],
            released: vec![],
            changed: vec![changed],
            fence: None,
            reply: None,
        };
        assert_eq!(unwrap(frame, MARKER), Ok(expected));
    }

    #[test]
    fn a_missing_value_is_null() {
        let frame = b"*2\r\n$16\r\n0123456789abcdef\r\n$0\r\n\r\n";
        let expected = Outcome::Wrapped {
            taken: vec![],
            released: vec![],
            changed: vec![],
            fence: None,
            reply: None,
        };
        assert_eq!(unwrap(frame, MARKER), Ok(expected));
    }

    #[test]
    fn a_broken_report_is_an_error_and_never_a_panic() {
        let head = b"*3\r\n$16\r\n0123456789abcdef\r\n";
        for tail in
            ["", "$3\r\n", "$-1\r\n", "$2\r\nt1\r\n:1\r\n", "$3\r\nabc\r\n:1\r\n", "$0\r\n\r\n"]
        {
            let frame = [&head[..], tail.as_bytes()].concat();
            assert_eq!(unwrap(&frame, MARKER), Err(Malformed), "{tail:?}");
        }
    }
}
