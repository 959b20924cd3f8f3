//! What stands under a lock that is no string: a hash, a sorted set, a set or a list. Pure.
//!
//! Lock libraries keep small structures under one key (Redisson's hash counts how often its owner
//! has locked, Symfony's sorted set has a token and its expiry). The ledger carries such a content as
//! [`Content::to_bytes`] gives it, so that a repair can put it back and commands can be answered
//! from it. It knows nothing of Redis's commands and of who may change what.
//!
//! # Bytes
//!
//! A letter for the type, then every part behind its length and a colon: `h5:field5:value`. A hash
//! and a sorted set have pairs (a member before its score), in the order of their first parts; a set
//! is in the order of its members, a list in its own. Scripts send the parts in any order
//! (`envelope/content.lua`); [`Content::parse`] takes them so.
//!
//! # What names such a lock
//!
//! `<time>:<content>` ([`mark`]): the time in ms at which the key would have run out when the lock
//! was taken tells one acquire from the next of the same content; `0` where there was none. In place
//! of a content that is too large to be kept stands its digest (`content/digest.rs`): it tells that one
//! from every other, and nothing can be put back from it. It is empty where not even that is known:
//! larger than [`digest::LARGEST`] and [`digest::MOST`] allow, or of a type that nobody locks with.
//! Ledgers of format 1 have a SHA1 in its place, which is nobody's content.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub mod digest;
mod follow;
mod score;

pub use follow::{follow, is_followed, shares_a_part};
pub use score::Score;

/// Bytes of a content, as long as a lock's value may be by default (SPEC 9). What is larger is not
/// kept but by its digest: the lock is known, and nothing of it can be put back.
pub const LARGEST: usize = 4096;

/// Elements of a content that is kept.
pub const MOST: usize = 128;

/// A content that is not empty; keys without elements do not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Fields and values.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Members and scores.
    Sorted(BTreeMap<Vec<u8>, Score>),
    /// Members.
    Set(BTreeSet<Vec<u8>>),
    /// Elements, the leftmost first.
    List(VecDeque<Vec<u8>>),
}

impl Content {
    /// Reads the bytes, in whatever order their parts are. None for what is no content, or larger
    /// than [`LARGEST`] or [`MOST`] allow.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        if bytes.len() > LARGEST {
            return None;
        }
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, behind) = part(rest)?;
            parts.push(part.to_vec());
            rest = behind;
        }
        let content = match kind {
            b'h' => Self::Hash(pairs(parts, Some)?),
            b'z' => Self::Sorted(pairs(parts, |score| Score::parse(&score))?),
            b's' => {
                let count = parts.len();
                let set: BTreeSet<_> = parts.into_iter().collect();
                Self::Set(Some(set).filter(|set| set.len() == count)?)
            }
            b'l' => Self::List(parts.into()),
            _ => return None,
        };
        (1..=MOST).contains(&content.len()).then_some(content)
    }

    /// The bytes: the same for equal contents.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.letter()];
        match self {
            Self::Hash(fields) => fields.iter().for_each(|(field, value)| {
                put(&mut out, field);
                put(&mut out, value);
            }),
            Self::Sorted(members) => members.iter().for_each(|(member, score)| {
                put(&mut out, member);
                put(&mut out, score.text().as_bytes());
            }),
            Self::Set(members) => members.iter().for_each(|member| put(&mut out, member)),
            Self::List(items) => items.iter().for_each(|item| put(&mut out, item)),
        }
        out
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Hash(fields) => fields.len(),
            Self::Sorted(members) => members.len(),
            Self::Set(members) => members.len(),
            Self::List(items) => items.len(),
        }
    }

    /// True for one that can't stand in Redis.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Redis's word for the type (`TYPE`).
    pub fn type_name(&self) -> &'static str {
        type_of(self.letter()).unwrap_or_default()
    }

    /// The first field, member or element: of most libraries what tells one owner from another. A
    /// name that begins with `_` is a library's own word (Symfony's `__write__`) where there is
    /// another.
    pub fn first(&self) -> &[u8] {
        fn named<'a>(mut names: impl Iterator<Item = &'a Vec<u8>> + Clone) -> Option<&'a Vec<u8>> {
            let first = names.clone().next();
            names.find(|name| !name.starts_with(b"_")).or(first)
        }
        let found = match self {
            Self::Hash(fields) => named(fields.keys()),
            Self::Sorted(members) => named(members.keys()),
            Self::Set(members) => named(members.iter()),
            Self::List(items) => named(items.iter()),
        };
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// True if a field, member or element has this name.
    pub fn has_part(&self, name: &[u8]) -> bool {
        match self {
            Self::Hash(fields) => fields.contains_key(name),
            Self::Sorted(members) => members.contains_key(name),
            Self::Set(members) => members.contains(name),
            Self::List(items) => items.iter().any(|item| item == name),
        }
    }

    fn letter(&self) -> u8 {
        match self {
            Self::Hash(_) => b'h',
            Self::Sorted(_) => b'z',
            Self::Set(_) => b's',
            Self::List(_) => b'l',
        }
    }
}

/// Redis's word for the type that a letter stands for.
fn type_of(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'h' => "hash",
        b'z' => "zset",
        b's' => "set",
        b'l' => "list",
        _ => return None,
    })
}

/// Redis's word for the type of a lock with this mark, if that is known.
pub fn type_of_mark(mark: &[u8]) -> Option<&'static str> {
    let content = split(mark).1;
    match content.strip_prefix(b"#") {
        Some(digest) => type_of(*digest.first()?),
        None => Content::parse(content).map(|content| content.type_name()),
    }
}

/// A part behind its length, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', bytes)?;
    let digits = &bytes[..colon];
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length: usize = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    bytes[colon + 1..].split_at_checked(length)
}

fn pairs<V>(
    parts: Vec<Vec<u8>>,
    value: impl Fn(Vec<u8>) -> Option<V>,
) -> Option<BTreeMap<Vec<u8>, V>> {
    let mut map = BTreeMap::new();
    let mut parts = parts.into_iter();
    while let Some(name) = parts.next() {
        if map.insert(name, value(parts.next()?)?).is_some() {
            return None;
        }
    }
    Some(map)
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(part.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(part);
}

/// What names a lock that is no string: its time and its content.
pub fn mark(at_ms: u64, content: Option<&Content>) -> Arc<[u8]> {
    with_content(at_ms.to_string().as_bytes(), &content.map(Content::to_bytes).unwrap_or_default())
}

/// The same name with another content.
pub fn renamed(mark: &[u8], content: &[u8]) -> Arc<[u8]> {
    with_content(split(mark).0, content)
}

fn with_content(at: &[u8], content: &[u8]) -> Arc<[u8]> {
    [at, b":", content].concat().into()
}

/// Time and content of a mark, as they stand there. Ledgers of format 1 have an `o` in front.
pub fn split(mark: &[u8]) -> (&[u8], &[u8]) {
    let mark = mark.strip_prefix(b"o").unwrap_or(mark);
    match memchr::memchr(b':', mark) {
        Some(colon) => (&mark[..colon], &mark[colon + 1..]),
        None => (mark, &[]),
    }
}

/// The content of a mark, if it is known.
pub fn of_mark(mark: &[u8]) -> Option<Content> {
    Content::parse(split(mark).1)
}

/// A mark that came from a script, with its content as [`Content::to_bytes`] has it or its digest;
/// without either where that is none or too large.
pub fn canonical(mark: &[u8]) -> Arc<[u8]> {
    let (at, content) = split(mark);
    match Content::parse(content) {
        Some(content) => with_content(at, &content.to_bytes()),
        None if digest::is_one(content) => with_content(at, content),
        None => with_content(at, &[]),
    }
}

/// True for a mark that came from a script, of a content that is too large even for a digest.
pub fn is_too_large(mark: &[u8]) -> bool {
    split(mark).1 == b"!"
}

/// True if the mark says what stands there, be it by a digest alone.
pub fn is_told(mark: &[u8]) -> bool {
    let content = split(mark).1;
    digest::is_one(content) || Content::parse(content).is_some()
}

/// True if both are known to have the same content.
pub fn is_same_content(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (split(one).1, split(other).1);
    !one.is_empty() && one == other
}

/// True if both name one hold, whose content may have changed in between.
pub fn is_same_hold(one: &[u8], other: &[u8]) -> bool {
    let (one_at, other_at) = (split(one).0, split(other).0);
    (one_at == other_at && one_at != b"0") || is_same_content(one, other)
}

/// True if both name one acquire: nobody knows the time of what was found in Redis.
pub fn is_same_take(one: &[u8], other: &[u8]) -> bool {
    let found = split(one).0 == b"0" || split(other).0 == b"0";
    one == other || found && is_same_content(one, other)
}

#[cfg(test)]
mod tests;
