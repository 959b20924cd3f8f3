//! The boundaries of what a client sends: bytes to commands, exactly as Redis 7.0 reads them.
//!
//! Redis does not decode RESP here, it scans for what it needs: the header of an argument ends at
//! the first `\r` and the byte behind that is skipped unseen, so are the two bytes behind an
//! argument, a NUL hides a later line end, and a line that does not start with `*` is an inline
//! command with quotes. A proxy that read more strictly, or more loosely, could be led to see
//! another command than Redis sees, so every one of these rules is kept.
//!
//! Differences from Redis, all by configuration or by design: the number of arguments is limited
//! by [`Limits::max_args`] (Redis 7.0: 2^31 - 1), a request of 4 GiB that is not streamed is
//! refused, and the smaller limits for clients that have not authenticated are left to Redis.
//!
//! This file holds the scanner; `header` reads one header line, `inline` splits an inline
//! command, `skim` follows a request that is too large to be held. Nothing here knows what a
//! command means, and nothing here holds the client's bytes.

mod header;
mod inline;
mod skim;

use std::fmt;

use self::header::{Fed, Header, short_length};
pub use self::skim::{Skimmed, Skimmer};
use super::{Args, Span};

/// Spans that a scanner keeps room for between commands (2 KiB); beyond, the room is given back.
const KEPT_SPANS: usize = 256;
/// Bytes of a re-encoded inline command that a scanner keeps room for between commands.
const KEPT_UNQUOTED: usize = 1024;
/// Spans to make room for at once when a client announces many: more have to be sent first.
const RESERVED_SPANS: u32 = 64;
/// The longest frame that spans can describe.
const MAX_FRAME: u64 = u32::MAX as u64;

/// What one request may be at most (SPEC section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one argument; Redis's `proto-max-bulk-len`, 512 MiB.
    pub max_bulk: u64,
    /// Arguments of one command, its name included; 1,048,576.
    pub max_args: u32,
    /// Bytes without a line end that are taken for the start of an inline command or of a
    /// header; 64 KiB as in Redis.
    pub max_inline: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bulk: 512 * 1024 * 1024, max_args: 1_048_576, max_inline: 64 * 1024 }
    }
}

/// Why a request is malformed. After it nothing more can be read from this client: Redis answers
/// with the error and closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number behind `*` is none, or above [`Limits::max_args`].
    MultibulkLength,
    /// The number behind `$` is none, negative, or above [`Limits::max_bulk`].
    BulkLength,
    /// An argument does not start with `$` but with this byte.
    ExpectedBulk(u8),
    /// The line behind `*` does not end within [`Limits::max_inline`].
    MultibulkLine,
    /// The line behind `$` does not end within [`Limits::max_inline`].
    BulkLine,
    /// An inline command does not end within [`Limits::max_inline`].
    InlineLine,
    /// A quote in an inline command is left open, or closed in front of a letter.
    UnbalancedQuotes,
    /// More than 4 GiB in one request that the caller did not stream. Not an error of Redis,
    /// which closes such connections by its `client-query-buffer-limit`.
    FrameLength,
}

impl ProtocolError {
    /// Appends the error reply, `-ERR Protocol error: …\r\n`, byte for byte as Redis sends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR ");
        match self {
            // Not by Display, which would make two bytes of one that is not ASCII.
            Self::ExpectedBulk(byte) => {
                out.extend_from_slice(b"Protocol error: expected '$', got '");
                out.push(printable(*byte));
                out.push(b'\'');
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Redis turns the bytes of a line end inside an error into spaces.
fn printable(byte: u8) -> u8 {
    if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }
}

/// Redis's text, without the `-ERR ` in front.
impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::MultibulkLength => f.write_str("invalid multibulk length"),
            Self::BulkLength => f.write_str("invalid bulk length"),
            Self::ExpectedBulk(byte) => {
                write!(f, "expected '$', got '{}'", char::from(printable(*byte)))
            }
            Self::MultibulkLine => f.write_str("too big mbulk count string"),
            Self::BulkLine => f.write_str("too big bulk count string"),
            Self::InlineLine => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            Self::FrameLength => f.write_str("too big request"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Scanned {
    /// The frame is not complete; call again with the same bytes and more behind them.
    NeedMore,
    /// The first `len` bytes are one command. It may have no arguments at all: see
    /// [`Args::is_empty`].
    Command {
        /// Bytes of the frame, from the start of the buffer.
        len: usize,
    },
    /// The client has to be answered with the error and closed.
    Invalid(ProtocolError),
}

/// What is known of a multibulk frame before it is complete, for a caller that wants to decide
/// early where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Partial<'a> {
    /// How many arguments the client announced, at least 1.
    pub declared: u32,
    /// The arguments that are complete, fewer than `declared`.
    pub args: Args<'a>,
    /// The length of the argument behind them, if its header is complete.
    pub pending: Option<u64>,
}

/// Where the scanner stands in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// No byte of the frame was seen. What `args` describes is the frame before it.
    #[default]
    Start,
    /// In a line that does not start with `*`.
    Inline,
    /// In the line of the number of arguments.
    Count,
    /// In the arguments.
    Bulks,
}

/// Finds the commands in a client's bytes, one after the other.
///
/// The caller owns the bytes. It hands in the unconsumed ones, always from the start of the
/// current frame; between two calls for the same frame more bytes may follow but none may change.
/// A byte that was looked at is not looked at again. After [`Scanned::Command`] the caller uses
/// [`args`](Self::args) and [`frame`](Self::frame), drops `len` bytes, and calls again for the
/// next frame; a call with no bytes left gives back the room that a huge command took.
#[derive(Debug, Default)]
pub struct RequestScanner {
    /// The complete arguments, in the caller's bytes or, for an inline command, in `unquoted`.
    spans: Vec<Span>,
    /// An inline command, encoded again as an array of bulks.
    unquoted: Vec<u8>,
    stage: Stage,
    /// The current or last frame is an inline command.
    inline: bool,
    /// A NUL stands in front of any line end of this inline command: Redis sees none.
    inline_stuck: bool,
    /// Bytes of this inline command that were searched for a line end.
    inline_searched: usize,
    /// The header that is under way at `pos`, if it did not come in one piece.
    header: Header,
    /// Arguments that the client announced.
    declared: u32,
    /// The length of the argument that starts at `pos`, if its header was read.
    bulk: Option<u64>,
    /// The start of the next header, or of the argument `bulk`.
    pos: usize,
    /// Length of the frame that was last returned.
    len: usize,
    /// Limits of the last scan that needed more, for a skimmer.
    limits: Limits,
}

impl RequestScanner {
    /// Looks for the end of the frame that starts at `buf[0]`.
    #[inline]
    pub fn scan(&mut self, buf: &[u8], limits: &Limits) -> Scanned {
        if self.stage == Stage::Start {
            self.begin();
            self.stage = match buf.first() {
                None => return Scanned::NeedMore,
                Some(b'*') => Stage::Count,
                Some(_) => Stage::Inline,
            };
        }
        let outcome = match self.stage {
            Stage::Inline => self.scan_inline(buf, limits),
            Stage::Count => self.scan_count(buf, limits),
            Stage::Start | Stage::Bulks => self.scan_bulks(buf, limits),
        };
        match outcome {
            Ok(Some(len)) => {
                self.stage = Stage::Start;
                self.len = len;
                Scanned::Command { len }
            }
            Ok(None) => {
                self.limits = *limits;
                Scanned::NeedMore
            }
            Err(error) => Scanned::Invalid(error),
        }
    }

    /// The arguments of the command that was just returned. `buf` starts with its frame.
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(self.frame(buf), &self.spans)
    }

    /// The bytes to send on for the command that was just returned: those of `buf`, which starts
    /// with its frame, or for an inline command the same as an array of bulks.
    pub fn frame<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        if self.inline { &self.unquoted } else { &buf[..self.len] }
    }

    /// True if the command that was just returned came inline, not as an array.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// What is known of the multibulk frame that is under way; none if its number of arguments
    /// has not come yet, or if no such frame is under way. `buf` is that of the last scan.
    pub fn partial<'a>(&'a self, buf: &'a [u8]) -> Option<Partial<'a>> {
        (self.stage == Stage::Bulks).then(|| Partial {
            declared: self.declared,
            args: Args::new(&buf[..self.pos], &self.spans),
            pending: self.bulk,
        })
    }

    /// Hands the rest of the multibulk frame that is under way to a skimmer, so that the caller
    /// need not hold it, and makes the scanner ready for the frame behind it.
    ///
    /// `have` is how many bytes of the frame the caller takes out of its buffer now; at most as
    /// many as the last scan saw. Where [`partial`](Self::partial) gives none, the skimmer has
    /// nothing to do and says so.
    pub fn into_skim(&mut self, have: usize) -> Skimmer {
        let skimmer = if self.stage == Stage::Bulks {
            let started = self.spans.len() as u32 + u32::from(self.bulk.is_some());
            let known = self.pos as u64 + self.bulk.map_or(0, |len| len + 2);
            let pass = known.saturating_sub(have as u64);
            let header = self.header.prefix(have.saturating_sub(self.pos));
            Skimmer::new(pass, self.declared - started, header, self.limits)
        } else {
            Skimmer::default()
        };
        self.begin();
        skimmer
    }

    /// Forgets the last frame.
    #[inline]
    fn begin(&mut self) {
        self.spans.clear();
        if self.spans.capacity() > KEPT_SPANS {
            self.spans = Vec::new();
        }
        if self.unquoted.capacity() > KEPT_UNQUOTED {
            self.unquoted = Vec::new();
        }
        self.stage = Stage::Start;
        self.inline = false;
        self.header.clear();
        self.bulk = None;
        self.pos = 0;
    }

    /// Reads `*<count>\r\n`.
    #[inline]
    fn scan_count(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let (count, next) = match short_length(&buf[1..]) {
            Some((count, read)) => (i64::from(count), 1 + read),
            None => match self.header_line(buf, limits, ProtocolError::MultibulkLine)? {
                Some(next) => (self.header.count().ok_or(ProtocolError::MultibulkLength)?, next),
                None => return Ok(None),
            },
        };
        if count > i64::from(limits.max_args) {
            return Err(ProtocolError::MultibulkLength);
        }
        if count <= 0 {
            return Ok(Some(next));
        }
        // Fits: it is at most max_args, a u32.
        self.declared = count as u32;
        self.spans.reserve(self.declared.min(RESERVED_SPANS) as usize);
        self.header.clear();
        self.pos = next;
        self.stage = Stage::Bulks;
        self.scan_bulks(buf, limits)
    }

    /// Reads arguments, `$<length>\r\n<bytes>\r\n` each, from `pos` on.
    #[inline]
    fn scan_bulks(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let mut pending = self.bulk.take();
        while self.spans.len() < self.declared as usize {
            let len = match pending.take() {
                Some(len) => len,
                None => match self.bulk_header(buf, limits)? {
                    Some(len) => len,
                    None => return Ok(None),
                },
            };
            // The argument and the two bytes behind it.
            let end = (self.pos as u64).saturating_add(len).saturating_add(2);
            if (buf.len() as u64) < end {
                self.bulk = Some(len);
                let held = buf.len() as u64 <= MAX_FRAME;
                return if held { Ok(None) } else { Err(ProtocolError::FrameLength) };
            }
            if end > MAX_FRAME {
                return Err(ProtocolError::FrameLength);
            }
            let start = self.pos as u32;
            self.pos = end as usize;
            self.spans.push(Span { start, end: start + len as u32 });
        }
        Ok(Some(self.pos))
    }

    /// Reads `$<length>\r\n` at `pos`, and moves `pos` behind it.
    #[inline]
    fn bulk_header(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<u64>, ProtocolError> {
        if let Some((b'$', digits)) = buf[self.pos..].split_first()
            && let Some((len, read)) = short_length(digits)
            && u64::from(len) <= limits.max_bulk
        {
            self.pos += 1 + read;
            self.header.clear();
            return Ok(Some(u64::from(len)));
        }
        let Some(next) = self.header_line(buf, limits, ProtocolError::BulkLine)? else {
            return Ok(None);
        };
        let len = self.header.bulk_length(limits.max_bulk)?;
        self.header.clear();
        self.pos = next;
        Ok(Some(len))
    }

    /// Reads on in the header at `pos`; gives the offset behind it, or `too_big`.
    #[cold]
    fn header_line(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let seen = self.pos + self.header.seen();
        match self.header.feed(&buf[seen..], limits.max_inline) {
            Fed::Done { consumed } => Ok(Some(seen + consumed)),
            Fed::More => Ok(None),
            Fed::TooBig => Err(too_big),
        }
    }

    /// Reads a line that does not start with `*`.
    #[cold]
    fn scan_inline(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if !self.inline {
            self.inline = true;
            self.inline_stuck = false;
            self.inline_searched = 0;
            self.unquoted.clear();
        }
        let Some(newline) = self.find_newline(buf) else {
            let too_big = buf.len() > limits.max_inline;
            return if too_big { Err(ProtocolError::InlineLine) } else { Ok(None) };
        };
        let line = &buf[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() as u64 > inline::MAX_LINE {
            return Err(ProtocolError::FrameLength);
        }
        inline::encode_again(line, &mut self.unquoted, &mut self.spans)
            .ok_or(ProtocolError::UnbalancedQuotes)?;
        Ok(Some(newline + 1))
    }

    /// The offset of the first line feed, unless a NUL stands in front of it.
    fn find_newline(&mut self, buf: &[u8]) -> Option<usize> {
        if self.inline_stuck {
            return None;
        }
        let unseen = &buf[self.inline_searched..];
        match memchr::memchr2(b'\n', 0, unseen) {
            Some(at) if unseen[at] == b'\n' => Some(self.inline_searched + at),
            found => {
                self.inline_stuck = found.is_some();
                self.inline_searched = buf.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
