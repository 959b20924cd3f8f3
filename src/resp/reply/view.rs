//! A look into one complete reply, one level deep.
//!
//! Total: any bytes give a view or none, and never a panic. Nothing is copied.

use super::ReplyScanner;

/// Which type an aggregate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `*`
    Array,
    /// `%`: its elements are keys and values in turn.
    Map,
    /// `~`
    Set,
    /// `>`
    Push,
}

/// One reply, seen one level deep. Attributes in front of it are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+`: a status.
    Simple(&'a [u8]),
    /// `-` or `!`: code and text.
    Error(&'a [u8]),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(&'a [u8]),
    /// `$-1`, `*-1` or `_`.
    Null,
    /// `=`: a text and its format of three letters.
    Verbatim {
        /// `txt` or `mkd`.
        format: &'a [u8],
        /// The text without the format.
        text: &'a [u8],
    },
    /// `,`: as it was written, such as `1.5`, `inf` or `nan`.
    Double(&'a [u8]),
    /// `#`
    Boolean(bool),
    /// `(`: as it was written.
    BigNumber(&'a [u8]),
    /// `*`, `%`, `~` or `>`.
    Aggregate {
        /// Which of the four.
        kind: Kind,
        /// As declared: elements, or pairs of a map.
        count: u64,
        /// The elements' bytes, for [`Elements`].
        body: &'a [u8],
    },
}

impl<'a> Reply<'a> {
    /// The reply at the start of `bytes`, and the length of its frame with its attributes. None
    /// if the frame is incomplete or malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let len = frame_len(bytes)?;
        let frame = skip_attributes(&bytes[..len])?;
        let (&kind, rest) = frame.split_first()?;
        let (line, body) = split_line(rest)?;
        let reply = match kind {
            b'+' => Self::Simple(line),
            b'-' => Self::Error(line),
            b':' => Self::Integer(number(line)?),
            b',' => Self::Double(line),
            b'(' => Self::BigNumber(line),
            b'_' if line.is_empty() => Self::Null,
            b'#' => Self::Boolean(boolean(line)?),
            b'$' | b'*' if line == b"-1" => Self::Null,
            b'$' => Self::Bulk(content(body)?),
            b'!' => Self::Error(content(body)?),
            b'=' => verbatim(content(body)?)?,
            _ => Self::Aggregate {
                kind: aggregate(kind)?,
                count: number(line)?.try_into().ok()?,
                body,
            },
        };
        Some((reply, len))
    }

    /// The elements of an aggregate; nothing for any other reply.
    pub fn elements(&self) -> Elements<'a> {
        match self {
            Self::Aggregate { body, .. } => Elements { rest: body },
            _ => Elements { rest: &[] },
        }
    }

    /// The bytes of a simple, bulk or verbatim string.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Simple(text) | Self::Bulk(text) | Self::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// The frames of an aggregate's elements, each with its attributes; [`Reply::parse`] looks into
/// them. A map gives its keys and values in turn.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The frames that `body`, of [`Reply::Aggregate`], consists of.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (element, rest) = self.rest.split_at(frame_len(self.rest)?);
        self.rest = rest;
        Some(element)
    }
}

/// The length of the complete frame at the start of `bytes`.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let progress = ReplyScanner::default().scan(bytes).ok()?;
    progress.done.then_some(progress.consumed)
}

/// What is behind the attributes at the start of a complete frame.
fn skip_attributes(mut frame: &[u8]) -> Option<&[u8]> {
    while let Some(rest) = frame.strip_prefix(b"|") {
        let (line, body) = split_line(rest)?;
        frame = body;
        for _ in 0..number(line)?.checked_mul(2)? {
            frame = &frame[frame_len(frame)?..];
        }
    }
    Some(frame)
}

/// A line without its end, and what is behind it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// A string's bytes without the line end behind them.
fn content(body: &[u8]) -> Option<&[u8]> {
    body.len().checked_sub(2).map(|len| &body[..len])
}

/// A number as Redis writes it.
fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// `t` or `f`.
fn boolean(line: &[u8]) -> Option<bool> {
    match line {
        b"t" => Some(true),
        b"f" => Some(false),
        _ => None,
    }
}

/// Three letters of a format, a colon, the text.
fn verbatim(content: &[u8]) -> Option<Reply<'_>> {
    let (format, text) = content.split_at_checked(3)?;
    Some(Reply::Verbatim { format, text: text.strip_prefix(b":")? })
}

/// The aggregate that starts with this byte.
fn aggregate(byte: u8) -> Option<Kind> {
    match byte {
        b'*' => Some(Kind::Array),
        b'%' => Some(Kind::Map),
        b'~' => Some(Kind::Set),
        b'>' => Some(Kind::Push),
        _ => None,
    }
}
