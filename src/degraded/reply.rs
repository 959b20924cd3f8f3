//! A command's reply as a value, so that a transaction or a script can gather several. It knows
//! nothing of commands; the protocol comes in when it is written at the end.

use std::borrow::Cow;

use super::script::all_digits;
use super::steps::BYTES_PER_STEP;
use crate::resp::encode::{self, Protocol};

/// One reply.
#[derive(Debug, Clone, PartialEq)]
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
    /// True or false.
    Boolean(bool),
    /// A floating-point number.
    Double(f64),
    /// An integer of any length, in decimal.
    BigNumber(Vec<u8>),
    /// A text with its format, of which three bytes count.
    Verbatim {
        /// Such as `txt`.
        format: Vec<u8>,
        /// The text.
        text: Vec<u8>,
    },
    /// Pairs of a key and a value.
    Map(Vec<(Reply, Reply)>),
    /// Members.
    Set(Vec<Reply>),
    /// Members with their scores: in RESP2 one behind the other, in RESP3 as pairs.
    Scored(Vec<(Vec<u8>, f64)>),
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

    /// Steps for making the reply and sending it.
    pub(crate) fn weight(&self) -> u64 {
        let elements: u64 = match self {
            Self::Bulk(bytes) => return (bytes.len() / BYTES_PER_STEP) as u64,
            Self::Array(replies) | Self::Set(replies) => replies.iter().map(Self::weight).sum(),
            Self::Map(pairs) => {
                pairs.iter().map(|(name, value)| name.weight() + value.weight()).sum()
            }
            Self::Scored(members) => {
                members.iter().map(|(name, _)| (name.len() / BYTES_PER_STEP) as u64).sum()
            }
            _ => return 0,
        };
        elements + self.len() as u64
    }

    fn len(&self) -> usize {
        match self {
            Self::Array(replies) | Self::Set(replies) => replies.len(),
            Self::Map(pairs) => pairs.len() * 2,
            Self::Scored(members) => members.len() * 2,
            _ => 1,
        }
    }

    /// Appends the reply's bytes. The depth is that of the tree, which no command makes deeper
    /// than three, and no script deeper than its bound.
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
            Self::Boolean(value) => encode::boolean(out, protocol, *value),
            Self::Double(number) => double(*number, protocol, out),
            Self::BigNumber(digits) => big_number(digits, protocol, out),
            Self::Verbatim { format, text } => verbatim(format, text, protocol, out),
            Self::Map(pairs) => {
                encode::map(out, protocol, pairs.len());
                for (key, value) in pairs {
                    key.write(protocol, out);
                    value.write(protocol, out);
                }
            }
            Self::Scored(members) => scored(members, protocol, out),
            Self::Set(members) => {
                encode::set(out, protocol, members.len());
                members.iter().for_each(|member| member.write(protocol, out));
            }
        }
    }
}

fn scored(members: &[(Vec<u8>, f64)], protocol: Protocol, out: &mut Vec<u8>) {
    let flat = protocol == Protocol::Resp2;
    encode::array(out, if flat { members.len() * 2 } else { members.len() });
    for (member, score) in members {
        if !flat {
            encode::array(out, 2);
        }
        encode::bulk(out, member);
        double(*score, protocol, out);
    }
}

fn double(number: f64, protocol: Protocol, out: &mut Vec<u8>) {
    let digits = all_digits(number);
    match protocol {
        Protocol::Resp2 => encode::bulk(out, digits.as_bytes()),
        Protocol::Resp3 => line(b',', digits.as_bytes(), out),
    }
}

fn big_number(digits: &[u8], protocol: Protocol, out: &mut Vec<u8>) {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let digits: Vec<u8> =
        digits.iter().map(|byte| if is_end(byte) { b' ' } else { *byte }).collect();
    match protocol {
        Protocol::Resp2 => encode::bulk(out, &digits),
        Protocol::Resp3 => line(b'(', &digits, out),
    }
}

fn verbatim(format: &[u8], text: &[u8], protocol: Protocol, out: &mut Vec<u8>) {
    if protocol == Protocol::Resp2 {
        return encode::bulk(out, text);
    }
    let letter = |at: usize| format.get(at).copied().unwrap_or(b' ');
    line(b'=', (text.len() + 4).to_string().as_bytes(), out);
    out.extend_from_slice(&[letter(0), letter(1), letter(2), b':']);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn line(sign: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(sign);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}
