//! RESP, the Redis serialization protocol: bytes to command and reply boundaries, and back.
//!
//! Everything here is sans-io and incremental: callers hand in what they have, and get the
//! boundary of the next command or reply, or "not yet". Nothing here knows what a command means.

pub mod encode;
pub mod reply;
pub mod request;

/// Where one argument of a command lies inside the bytes of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte, from the start of the frame.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

/// The arguments of one complete command, as slices of the bytes that it came in.
///
/// `get(0)` is the command's name. Copying an `Args` copies two pointers.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    frame: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Arguments at `spans` of `frame`. Every span must lie inside the frame.
    pub fn new(frame: &'a [u8], spans: &'a [Span]) -> Self {
        Self { frame, spans }
    }

    /// How many arguments there are, the command's name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True for a command without any argument (an empty inline line, `*0`, `*-1`): Redis
    /// ignores it and sends no reply.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, if there are that many.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| &self.frame[span.start as usize..span.end as usize])
    }

    /// All arguments in order, the command's name first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + 'a {
        let frame = self.frame;
        self.spans.iter().map(move |span| &frame[span.start as usize..span.end as usize])
    }

    /// The whole frame as it came from the client; of an inline command, the same as an array.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// A copy that outlives the client's bytes.
    pub fn to_command(&self) -> Command {
        Command { frame: self.frame.to_vec(), spans: self.spans.to_vec() }
    }
}

/// A whole command, as it came from the client.
#[derive(Debug, Clone)]
pub struct Command {
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Command {
    /// Its arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }
}
