//! Glob patterns with the meaning that Redis gives them in KEYS, SCAN and ACL rules.
//!
//! Pure. A pattern is compiled once, when the configuration is read; `lock:*` then costs one
//! compare of a prefix. Case-sensitive. `*` any bytes, `?` one byte, `[abc]` `[a-c]` `[^a]` one
//! byte of a set, `\x` the byte x. What Redis does in odd cases is kept, since a rule must
//! claim the keys that `KEYS` shows for it: a class that never ends is a class to the end, a
//! range that is written backwards counts forwards, `[a-]` runs from `a` to `]`, `\` at the end
//! is itself, and only `*` and the empty pattern match the empty key (`**` does not).

use std::ffi::c_char;
use std::fmt;

use super::{ByteSet, Head};

/// A compiled glob pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    source: Box<[u8]>,
    /// Bytes that every match begins with.
    prefix: Box<[u8]>,
    /// Length of the shortest match.
    min_len: usize,
    shape: Shape,
}

/// What must stand behind the prefix.
#[derive(Clone, PartialEq, Eq)]
enum Shape {
    /// Nothing: the prefix is the key.
    Exact,
    /// Anything: `prefix*`.
    Open,
    /// Anything that ends so: `prefix*suffix`.
    Ends(Box<[u8]>),
    /// These tokens.
    General(Box<[Token]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Any number of any bytes.
    Star,
    /// One byte.
    Byte(u8),
    /// One byte of a set.
    Class(ByteSet),
}

impl Glob {
    /// Compiles `pattern`. Every byte string is a pattern, as in Redis.
    pub fn new(pattern: &[u8]) -> Self {
        let tokens = tokenize(pattern);
        let stars = tokens.iter().filter(|token| **token == Token::Star).count();
        let min_len = match tokens.len() - stars {
            // Redis compares nothing with an empty key, but treats the pattern `*` as "all".
            0 if pattern.len() > 1 => 1,
            len => len,
        };
        let (prefix, rest) = literal(&tokens);
        let shape = match rest {
            [] => Shape::Exact,
            [Token::Star] => Shape::Open,
            [Token::Star, tail @ ..] if literal(tail).1.is_empty() => Shape::Ends(literal(tail).0),
            _ => Shape::General(rest.into()),
        };
        Self { source: pattern.into(), prefix, min_len, shape }
    }

    /// True if the whole of `key` matches.
    #[inline]
    pub fn matches(&self, key: &[u8]) -> bool {
        if key.len() < self.min_len || !key.starts_with(&self.prefix) {
            return false;
        }
        match &self.shape {
            Shape::Open => true,
            Shape::Exact => key.len() == self.prefix.len(),
            // `min_len` keeps prefix and suffix from overlapping.
            Shape::Ends(suffix) => key.ends_with(suffix),
            Shape::General(tokens) => walk(tokens, &key[self.prefix.len()..]),
        }
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// The bytes that every match begins with; empty where the pattern begins with none.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// How every match begins, for a quick "no".
    pub(super) fn head(&self) -> Head {
        Head::new(&self.prefix)
    }

    /// The bytes that a matching, non-empty key can begin with.
    pub(super) fn first_bytes(&self) -> ByteSet {
        let mut set = ByteSet::default();
        match (self.prefix.first(), &self.shape) {
            (Some(&byte), _) => set.add(byte),
            (None, Shape::Exact) => {}
            (None, Shape::General(tokens)) => match tokens.first() {
                Some(Token::Class(class)) => set = *class,
                _ => set = ByteSet::ALL,
            },
            (None, Shape::Open | Shape::Ends(_)) => set = ByteSet::ALL,
        }
        set
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({self})")
    }
}

impl fmt::Display for Glob {
    /// The pattern as it was written, with bytes that are not printable ASCII escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.source) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.source.escape_ascii()),
        }
    }
}

/// The leading bytes of `tokens`, and what follows them.
fn literal(tokens: &[Token]) -> (Box<[u8]>, &[Token]) {
    let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
    let bytes: Box<[u8]> = tokens.iter().map_while(byte).collect();
    let rest = &tokens[bytes.len()..];
    (bytes, rest)
}

/// Matches all of `key`, going back to the last star only: a match that an earlier star could
/// give, the last one gives too. So the cost is at most `tokens` times `key`.
fn walk(tokens: &[Token], key: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < key.len() {
        match tokens.get(token) {
            Some(Token::Star) => {
                retry = Some((token, at));
                token += 1;
            }
            Some(one) if one.takes(key[at]) => {
                token += 1;
                at += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                (token, at) = (star + 1, from + 1);
            }
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Star)
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Star => false,
            Token::Byte(own) => *own == byte,
            Token::Class(class) => class.has(byte),
        }
    }
}

fn tokenize(pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let token = match (byte, tail.split_first()) {
            (b'*', _) if tokens.last() == Some(&Token::Star) => continue,
            (b'*', _) => Token::Star,
            (b'?', _) => Token::Class(ByteSet::ALL),
            (b'[', _) => {
                let (class, behind) = class(tail);
                rest = behind;
                Token::Class(class)
            }
            (b'\\', Some((&escaped, behind))) => {
                rest = behind;
                Token::Byte(escaped)
            }
            _ => Token::Byte(byte),
        };
        tokens.push(token);
    }
    tokens
}

/// Reads a class behind its `[`: the set, and what follows its `]`.
fn class(pattern: &[u8]) -> (ByteSet, &[u8]) {
    let negated = pattern.first() == Some(&b'^');
    let mut rest = &pattern[usize::from(negated)..];
    let mut set = ByteSet::default();
    loop {
        rest = match rest {
            [] => break,
            [b'\\', escaped, tail @ ..] => {
                set.add(*escaped);
                tail
            }
            [b']', tail @ ..] => {
                rest = tail;
                break;
            }
            [from, b'-', to, tail @ ..] => {
                add_range(&mut set, *from, *to);
                tail
            }
            [byte, tail @ ..] => {
                set.add(*byte);
                tail
            }
        };
    }
    (if negated { set.complement() } else { set }, rest)
}

/// Redis compares the ends as C's `char`, whose sign is the platform's: bytes from 128 stand
/// below 0 on x86-64 and above 127 on 64-bit Arm. Ranges of ASCII are the same everywhere.
fn add_range(set: &mut ByteSet, from: u8, to: u8) {
    let order = |byte: u8| c_char::from_ne_bytes([byte]);
    let (low, high) = (order(from).min(order(to)), order(from).max(order(to)));
    (0..=u8::MAX)
        .filter(|&byte| (low..=high).contains(&order(byte)))
        .for_each(|byte| set.add(byte));
}

#[cfg(test)]
mod tests;
