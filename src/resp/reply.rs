//! The boundaries of what Redis sends: bytes to replies, RESP2 and RESP3 alike.
//!
//! The scanner counts, it does not build: how many values are still missing until the reply is
//! complete. So any depth of nesting costs the same few bytes, no earlier bytes are needed, and
//! what was scanned can be sent on at once. Lines are not looked into, lengths are strict: a
//! reply that is no reply is an error, because behind it nothing can be given to the right client.
//!
//! `view` looks into one complete reply. The streamed types of RESP3 (`$?`, `*?`) are never sent
//! by Redis and are refused.

mod view;

use std::fmt;

pub use self::view::{Elements, Kind, Reply};

/// Digits of the longest length that is accepted: 18 always fit into an i64.
const MAX_DIGITS: u8 = 18;

/// Why a reply cannot be one of Redis. Its link has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// No type starts with this byte.
    Kind(u8),
    /// The length behind this type byte is no number, or negative where no null is allowed.
    Length(u8),
    /// The values of a reply are more than can be counted.
    Count,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "a reply starts with the byte 0x{byte:02x}"),
            Self::Length(kind) => {
                write!(f, "a reply of type '{}' has a bad length", char::from(*kind))
            }
            Self::Count => f.write_str("a reply has too many values"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// What [`ReplyScanner::scan`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Bytes taken: all, or those up to the end of the frame.
    pub consumed: usize,
    /// The frame is complete.
    pub done: bool,
}

/// What [`ReplyScanner::run`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Run {
    /// Bytes taken: all, or those up to the end of the last reply that was asked for.
    pub consumed: usize,
    /// Replies that were completed; pushes are not among them.
    pub replies: u64,
}

/// Where the scanner stands in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the type byte of a value.
    #[default]
    Head,
    /// In a line; `cr`: its last byte was a `\r`.
    Line { cr: bool },
    /// In the number of a header.
    Length { kind: u8, digits: u8, negative: bool, value: u64 },
    /// Behind the `\r` of a header.
    LengthEnd { kind: u8, negative: bool, value: u64 },
    /// In the bytes of a string and its line end; so many follow.
    Body { left: u64 },
}

/// Finds the replies in Redis's bytes, one after the other.
///
/// Hand in each byte once and in order. What was consumed may be sent on and dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplyScanner {
    state: State,
    /// Values missing until the top-level frame is complete; 0 between two frames.
    missing: u64,
    /// The type of the current or last top-level frame, behind its attributes.
    kind: u8,
}

impl ReplyScanner {
    /// Takes bytes up to the end of the current top-level frame, which may be a push.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Progress, ReplyError> {
        let mut at = 0;
        while at < buf.len() {
            at += self.step(&buf[at..])?;
            if self.at_boundary() {
                return Ok(Progress { consumed: at, done: true });
            }
        }
        Ok(Progress { consumed: at, done: false })
    }

    /// Takes whole frames and a trailing piece of one, and stops behind the reply number `max`.
    /// Top-level pushes are taken on the way and not counted, those behind the last reply are
    /// left; attributes belong to the reply behind them.
    pub fn run(&mut self, buf: &[u8], max: u64) -> Result<Run, ReplyError> {
        let mut run = Run { consumed: 0, replies: 0 };
        while run.replies < max && run.consumed < buf.len() {
            let rest = &buf[run.consumed..];
            if self.at_boundary()
                && let Some(len) = short_value(rest)
            {
                self.kind = rest[0];
                run.consumed += len;
                run.replies += 1;
                continue;
            }
            let progress = self.scan(rest)?;
            run.consumed += progress.consumed;
            run.replies += u64::from(progress.done && self.kind != b'>');
        }
        Ok(run)
    }

    /// True between two top-level frames: nothing of a frame was seen yet.
    #[inline]
    pub fn at_boundary(&self) -> bool {
        self.missing == 0
    }

    /// The first byte of the current or last top-level frame, behind its attributes; 0 before the
    /// first, and while a frame's attributes are all that has come of it.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// Takes at least one byte of `buf`, which is not empty, and at most one value's head.
    #[inline]
    fn step(&mut self, buf: &[u8]) -> Result<usize, ReplyError> {
        match self.state {
            State::Head => self.head(buf),
            State::Line { cr } => Ok(self.line(buf, cr)),
            State::Length { kind, digits, negative, value } => {
                self.length(buf, kind, digits, negative, value)
            }
            State::LengthEnd { kind, negative, value } => {
                if buf[0] != b'\n' {
                    return Err(ReplyError::Length(kind));
                }
                self.header(kind, negative, value)?;
                Ok(1)
            }
            State::Body { left } => Ok(self.body(buf, left)),
        }
    }

    /// Takes a type byte, and the rest of its value's head as far as it is there.
    #[inline]
    fn head(&mut self, buf: &[u8]) -> Result<usize, ReplyError> {
        let kind = buf[0];
        if self.missing == 0 {
            self.missing = 1;
            self.kind = 0;
        }
        if self.missing == 1 && self.kind == 0 && kind != b'|' {
            self.kind = kind;
        }
        if let Some(len) = short_value(buf) {
            self.value_done();
            return Ok(len);
        }
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(1 + self.line(&buf[1..], false)),
            b'$' | b'*' | b'!' | b'=' | b'%' | b'~' | b'>' | b'|' => {
                Ok(1 + self.length(&buf[1..], kind, 0, false, 0)?)
            }
            other => Err(ReplyError::Kind(other)),
        }
    }

    /// Takes bytes up to the end of a line; `cr`: the byte before `buf` was a `\r`.
    #[inline]
    fn line(&mut self, buf: &[u8], mut cr: bool) -> usize {
        let mut at = 0;
        while at < buf.len() {
            if cr && buf[at] == b'\n' {
                self.value_done();
                return at + 1;
            }
            match memchr::memchr(b'\r', &buf[at..]) {
                Some(found) => at += found + 1,
                None => {
                    cr = false;
                    break;
                }
            }
            cr = true;
        }
        self.state = State::Line { cr };
        buf.len()
    }

    /// Takes the number of a header and its line end.
    #[inline]
    fn length(
        &mut self,
        buf: &[u8],
        kind: u8,
        mut digits: u8,
        mut negative: bool,
        mut value: u64,
    ) -> Result<usize, ReplyError> {
        for (at, &byte) in buf.iter().enumerate() {
            match byte {
                b'0'..=b'9' if digits < MAX_DIGITS => {
                    value = value * 10 + u64::from(byte - b'0');
                    digits += 1;
                }
                b'-' if digits == 0 && !negative => negative = true,
                b'\r' if digits > 0 => {
                    self.state = State::LengthEnd { kind, negative, value };
                    return Ok(at + 1);
                }
                _ => return Err(ReplyError::Length(kind)),
            }
        }
        self.state = State::Length { kind, digits, negative, value };
        Ok(buf.len())
    }

    /// A header is complete: what follows it.
    #[inline]
    fn header(&mut self, kind: u8, negative: bool, value: u64) -> Result<(), ReplyError> {
        if negative {
            let null = value == 1 && matches!(kind, b'$' | b'*');
            if !null {
                return Err(ReplyError::Length(kind));
            }
            self.value_done();
            return Ok(());
        }
        let children = match kind {
            b'$' | b'!' | b'=' => {
                self.state = State::Body { left: value + 2 };
                return Ok(());
            }
            // At most 18 digits: twice the value still fits.
            b'%' | b'|' => value * 2,
            _ => value,
        };
        self.missing = self.missing.checked_add(children).ok_or(ReplyError::Count)?;
        if kind == b'|' {
            // Attributes are no value: the one they belong to is still missing.
            self.state = State::Head;
        } else {
            self.value_done();
        }
        Ok(())
    }

    /// Takes bytes of a string; `left` are to come.
    #[inline]
    fn body(&mut self, buf: &[u8], left: u64) -> usize {
        if left <= buf.len() as u64 {
            self.value_done();
            return left as usize;
        }
        self.state = State::Body { left: left - buf.len() as u64 };
        buf.len()
    }

    /// A value, or the header of one that has children, is complete.
    #[inline]
    fn value_done(&mut self) {
        self.missing -= 1;
        self.state = State::Head;
    }
}

/// How far the end of a number is looked for, which has at most 20 digits.
const NUMBER_LINE: usize = 22;

/// The length of the status, error, number or string at the start of `buf`, if it is complete
/// and of a common form. None says nothing.
#[inline]
fn short_value(buf: &[u8]) -> Option<usize> {
    match buf {
        [b'+', b'O', b'K', b'\r', b'\n', ..] | [b'$', b'-', b'1', b'\r', b'\n', ..] => Some(5),
        [b'$', rest @ ..] => {
            let (len, read) = short_length(rest)?;
            let end = 1 + read + len + 2;
            (end <= buf.len()).then_some(end)
        }
        // Byte by byte: for so few a call of memchr costs more.
        [b':', rest @ ..] => {
            let mut ends = rest.windows(2).take(NUMBER_LINE);
            ends.position(|end| end == b"\r\n").map(|at| at + 3)
        }
        [b'+' | b'-', rest @ ..] => {
            let end = memchr::memchr(b'\r', rest)?;
            (rest.get(end + 1) == Some(&b'\n')).then_some(end + 3)
        }
        _ => None,
    }
}

/// Reads up to 7 digits and `\r\n`; gives the number and the bytes read.
#[inline]
fn short_length(buf: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, &byte) in buf.iter().take(8).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let ended = at > 0 && byte == b'\r' && buf.get(at + 1) == Some(&b'\n');
            return ended.then_some((value, at + 2));
        }
        value = value * 10 + usize::from(digit);
    }
    None
}

#[cfg(test)]
mod tests;
