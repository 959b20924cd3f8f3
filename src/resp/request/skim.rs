//! The rest of a multibulk request that is too large to be held: its bytes are sent on as they
//! come, and only counted here.

use super::header::{Fed, Header, short_length};
use super::{Limits, ProtocolError};

/// What a skim took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Skimmed {
    /// Bytes that belong to the frame, to be sent on. All of them, unless `done`.
    pub consumed: usize,
    /// The frame is complete; what is behind `consumed` is the next one's.
    pub done: bool,
}

/// Follows a frame to its end, without its earlier bytes and without keeping any argument.
///
/// Made by [`RequestScanner::into_skim`](super::RequestScanner::into_skim). A default one is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Skimmer {
    /// Bytes that follow before the next header: the rest of an argument and its line end.
    pass: u64,
    /// Arguments whose header is not complete.
    headers: u32,
    /// The header that is under way.
    header: Header,
    limits: Limits,
}

impl Skimmer {
    /// A skimmer that lets `pass` bytes through and then expects `headers` arguments, the first
    /// of them begun by `header`.
    pub(super) fn new(pass: u64, headers: u32, header: Header, limits: Limits) -> Self {
        Self { pass, headers, header, limits }
    }

    /// Takes what belongs to the frame from the start of `buf`, the bytes behind those of the
    /// call before. After an error the client has to be answered and closed, as by the scanner;
    /// what was sent on of the frame is an unfinished request, so its link has to be closed too.
    pub fn skim(&mut self, buf: &[u8]) -> Result<Skimmed, ProtocolError> {
        let mut consumed = 0;
        loop {
            let rest = &buf[consumed..];
            // At most the length of a slice.
            let passed = self.pass.min(rest.len() as u64);
            self.pass -= passed;
            consumed += passed as usize;
            let done = self.pass == 0 && self.headers == 0;
            if done || consumed == buf.len() {
                return Ok(Skimmed { consumed, done });
            }
            consumed += self.read_header(&buf[consumed..])?;
        }
    }

    /// Reads on in a header; gives the bytes taken.
    fn read_header(&mut self, rest: &[u8]) -> Result<usize, ProtocolError> {
        if self.header.is_empty()
            && let Some((b'$', digits)) = rest.split_first()
            && let Some((len, read)) = short_length(digits)
            && u64::from(len) <= self.limits.max_bulk
        {
            self.expect(u64::from(len));
            return Ok(1 + read);
        }
        match self.header.feed(rest, self.limits.max_inline) {
            Fed::More => Ok(rest.len()),
            Fed::TooBig => Err(ProtocolError::BulkLine),
            Fed::Done { consumed } => {
                let len = self.header.bulk_length(self.limits.max_bulk)?;
                self.expect(len);
                Ok(consumed)
            }
        }
    }

    /// A header announced an argument of `len` bytes.
    fn expect(&mut self, len: u64) {
        self.header.clear();
        self.headers -= 1;
        self.pass = len + 2;
    }
}
