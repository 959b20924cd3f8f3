//! A command's reply as a value, so that a transaction or a script can gather several. It knows
//! nothing of commands; the protocol comes in when it is written at the end.

use std::borrow::Cow;

use crate::resp::encode::{self, Protocol};

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A short word such as `OK`.
    Status(Cow<'static, [u8]>),
    /// Code and text, without the `-`.
    Error(Cow<'static, [u8]>),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Vec<u8>),
    /// No string is there.
    Nil,
    /// No array is there: in RESP2 not the same bytes as [`Reply::Nil`].
    NilArray,
    /// Replies in order.
    Array(Vec<Reply>),
}

impl Reply {
    /// `OK`.
    pub(crate) const OK: Self = Self::Status(Cow::Borrowed(b"OK"));

    /// An error with this code and text.
    pub(crate) fn error(text: String) -> Self {
        Self::Error(text.into_bytes().into())
    }

    /// A string if it is there.
    pub(crate) fn bulk_or_nil(value: Option<impl Into<Vec<u8>>>) -> Self {
        value.map_or(Self::Nil, |value| Self::Bulk(value.into()))
    }

    /// How many there are. Nothing in memory is more than an i64 can count.
    pub(crate) fn count(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// Appends the reply's bytes. The depth is that of the tree, which no command makes deeper
    /// than three.
    pub(crate) fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        match self {
            Self::Status(word) => encode::simple(out, word),
            Self::Error(text) => encode::error(out, text),
            Self::Integer(number) => encode::integer(out, *number),
            Self::Bulk(bytes) => encode::bulk(out, bytes),
            Self::Nil => encode::null(out, protocol),
            Self::NilArray => encode::null_array(out, protocol),
            Self::Array(replies) => {
                encode::array(out, replies.len());
                replies.iter().for_each(|reply| reply.write(protocol, out));
            }
        }
    }
}
