//! One header line of a request: `*<count>\r` or `$<length>\r` and the byte behind it.
//!
//! Redis searches for `\r`, up to the first NUL, and takes the byte behind it for the line feed
//! whatever it is. The number is read by `string2ll`: no leading zero, no plus sign, no blank.

use super::ProtocolError;

/// Bytes of a header that are kept. A longer one holds no valid number (at most 20 characters
/// behind the type byte), so of the rest only the length matters.
const KEPT: usize = 24;

/// A header that came in pieces, or that is not of the common form.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Header {
    kept: [u8; KEPT],
    /// Bytes before the `\r`, those not kept included.
    len: usize,
    /// The `\r` was the last byte that was seen.
    ended: bool,
    /// A NUL was seen: Redis finds no line end behind it.
    stuck: bool,
}

/// What feeding a header came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// All bytes were taken and the line has not ended.
    More,
    /// All bytes were taken, and they are too many for a header.
    TooBig,
    /// The line is complete.
    Done {
        /// Bytes that were taken, the byte behind `\r` included.
        consumed: usize,
    },
}

impl Header {
    /// Makes it ready for the next line.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.ended = false;
        self.stuck = false;
    }

    /// True if no byte was fed.
    pub(super) fn is_empty(&self) -> bool {
        self.seen() == 0
    }

    /// How many bytes were fed.
    pub(super) fn seen(&self) -> usize {
        self.len + usize::from(self.ended)
    }

    /// The header as it was after its first `seen` bytes, if it has more.
    pub(super) fn prefix(self, seen: usize) -> Self {
        // A NUL behind `seen` may stay noted: no `\r` is in front of it, it will be met again.
        Self { len: self.len.min(seen), ended: self.ended && seen > self.len, ..self }
    }

    /// Takes more bytes of the line. `max` is how many may be waiting without a line end.
    pub(super) fn feed(&mut self, new: &[u8], max: usize) -> Fed {
        if self.ended {
            return if new.is_empty() { Fed::More } else { Fed::Done { consumed: 1 } };
        }
        if !self.stuck {
            match memchr::memchr2(b'\r', 0, new) {
                Some(at) if new[at] == b'\r' => return self.end(new, at),
                found => self.stuck = found.is_some(),
            }
        }
        self.keep(new);
        if self.len > max { Fed::TooBig } else { Fed::More }
    }

    /// Takes the line's last bytes, up to the `\r` at `at`.
    fn end(&mut self, new: &[u8], at: usize) -> Fed {
        self.keep(&new[..at]);
        if at + 1 < new.len() {
            return Fed::Done { consumed: at + 2 };
        }
        self.ended = true;
        Fed::More
    }

    /// Counts bytes and keeps the first ones.
    fn keep(&mut self, bytes: &[u8]) {
        let start = self.len.min(KEPT);
        let room = bytes.len().min(KEPT - start);
        self.kept[start..start + room].copy_from_slice(&bytes[..room]);
        self.len += bytes.len();
    }

    /// The number behind the type byte of a complete line.
    pub(super) fn count(&self) -> Option<i64> {
        let line = self.kept.get(..self.len)?;
        decimal(line.get(1..)?)
    }

    /// The length that a complete line announces for an argument.
    pub(super) fn bulk_length(&self, max: u64) -> Result<u64, ProtocolError> {
        // An empty line: the byte that Redis looks at is the `\r` itself.
        let first = if self.len == 0 { b'\r' } else { self.kept[0] };
        if first != b'$' {
            return Err(ProtocolError::ExpectedBulk(first));
        }
        let len = self.count().and_then(|len| u64::try_from(len).ok());
        len.filter(|len| *len <= max).ok_or(ProtocolError::BulkLength)
    }
}

/// Reads a number of the common form: up to 7 digits, `\r`, and one byte more. Gives the number
/// and the bytes read. None says nothing: the line may be incomplete, unusual or wrong.
#[inline]
pub(super) fn short_length(buf: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (at, &byte) in buf.iter().take(8).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let canonical = at == 1 || (at > 1 && buf[0] != b'0');
            let ended = byte == b'\r' && at + 1 < buf.len();
            return (canonical && ended).then_some((value, at + 2));
        }
        value = value * 10 + u32::from(digit);
    }
    None
}

/// A number as Redis's `string2ll` reads it.
fn decimal(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical =
        text == b"0" || digits.first().is_some_and(|first| (b'1'..=b'9').contains(first));
    if !canonical || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_reads_what_string2ll_reads() {
        let good: &[(&[u8], i64)] = &[
            (b"0", 0),
            (b"1", 1),
            (b"-1", -1),
            (b"9223372036854775807", i64::MAX),
            (b"-9223372036854775808", i64::MIN),
        ];
        for (text, value) in good {
            assert_eq!(decimal(text), Some(*value), "{text:?}");
        }
        let bad: &[&[u8]] =
            &[b"", b"-", b"+1", b"-0", b"00", b"01", b" 1", b"1 ", b"1a", b"9223372036854775808"];
        for text in bad {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_short_form_agrees_with_the_long_one() {
        let texts: &[&[u8]] = &[
            b"0\r\n",
            b"7\r\n",
            b"12\rx",
            b"1048576\r\n",
            b"01\r\n",
            b"00\r\n",
            b"\r\n",
            b"-1\r\n",
        ];
        for text in texts {
            let end = text.len() - 2;
            if let Some((value, read)) = short_length(text) {
                assert_eq!(Some(i64::from(value)), decimal(&text[..end]));
                assert_eq!(read, text.len());
            } else {
                assert!(decimal(&text[..end]).is_none_or(|value| value < 0), "{text:?}");
            }
        }
        assert_eq!(short_length(b"7\r"), None, "the byte behind the line end is awaited");
    }
}
