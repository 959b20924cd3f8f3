//! Helpers of the tests: arguments without a parser.

use crate::resp::{Args, Span};

/// Owns a frame of concatenated arguments, and lends it as [`Args`].
pub(crate) struct OwnedArgs {
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    pub(crate) fn new<T: AsRef<[u8]>>(words: impl IntoIterator<Item = T>) -> Self {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            let start = frame.len() as u32;
            frame.extend_from_slice(word.as_ref());
            spans.push(Span { start, end: frame.len() as u32 });
        }
        Self { frame, spans }
    }

    pub(crate) fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }
}

/// Arguments split at spaces; `''` stands for an empty one.
pub(crate) fn words(line: &str) -> OwnedArgs {
    OwnedArgs::new(line.split(' ').map(|word| if word == "''" { "" } else { word }))
}
