//! Bytes of every command and reply that Lockside itself makes.
//!
//! Replies of Redis are forwarded as they came and never pass through here. The functions append
//! to what the caller gives and never fail. Where RESP2 and RESP3 differ a function takes the
//! [`Protocol`] that the client chose with HELLO; the others are the same in both. The rules are
//! those of the Redis protocol specification (redis.io, "Redis serialization protocol").

use bytes::{BufMut, BytesMut};
use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::encode as resp2;
pub use redis_protocol::resp2::types::BytesFrame as Tree;
use redis_protocol::resp3::encode::complete as resp3;

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Protocol {
    /// What a connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// A command as clients send it: an array of bulks.
pub fn command(out: &mut impl BufMut, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

/// A command whose number of arguments is known only at its end.
#[derive(Debug, Clone, Default)]
pub struct CommandBuilder {
    args: usize,
    body: Vec<u8>,
}

impl CommandBuilder {
    /// A command that has its name.
    pub fn new(name: &[u8]) -> Self {
        let mut builder = Self::default();
        builder.arg(name);
        builder
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: &[u8]) -> &mut Self {
        bulk(&mut self.body, arg);
        self.args += 1;
        self
    }

    /// Adds a number, in decimal.
    pub fn integer(&mut self, value: i64) -> &mut Self {
        let mut digits = [0; DIGITS];
        self.arg(decimal(value, &mut digits))
    }

    /// Appends the whole command to `out`.
    pub fn write(&self, out: &mut impl BufMut) {
        array(out, self.args);
        out.put_slice(&self.body);
    }
}

/// A short status such as `OK`. A line end inside becomes spaces.
pub fn simple(out: &mut impl BufMut, text: &[u8]) {
    out.put_u8(b'+');
    line(out, text);
}

/// An error: its code and text, without the `-`. A line end inside becomes spaces, as in Redis.
pub fn error(out: &mut impl BufMut, text: &[u8]) {
    out.put_u8(b'-');
    line(out, text);
}

/// A number.
pub fn integer(out: &mut impl BufMut, value: i64) {
    header(out, b':', value);
}

/// A string of any bytes.
pub fn bulk(out: &mut impl BufMut, bytes: &[u8]) {
    header(out, b'$', length(bytes.len()));
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// The null of a missing string: `$-1` or `_`.
pub fn null(out: &mut impl BufMut, protocol: Protocol) {
    out.put_slice(match protocol {
        Protocol::Resp2 => b"$-1\r\n".as_slice(),
        Protocol::Resp3 => b"_\r\n".as_slice(),
    });
}

/// The null of a missing array, such as the reply of an EXEC that was not executed: `*-1` or `_`.
pub fn null_array(out: &mut impl BufMut, protocol: Protocol) {
    out.put_slice(match protocol {
        Protocol::Resp2 => b"*-1\r\n".as_slice(),
        Protocol::Resp3 => b"_\r\n".as_slice(),
    });
}

/// True or false: `#t` and `#f`, or the numbers 1 and 0.
pub fn boolean(out: &mut impl BufMut, protocol: Protocol, value: bool) {
    match protocol {
        Protocol::Resp2 => integer(out, i64::from(value)),
        Protocol::Resp3 => out.put_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
    }
}

/// A text for people, such as INFO's: a verbatim string, or a bulk.
pub fn verbatim(out: &mut impl BufMut, protocol: Protocol, text: &[u8]) {
    match protocol {
        Protocol::Resp2 => bulk(out, text),
        Protocol::Resp3 => {
            header(out, b'=', length(text.len().saturating_add(4)));
            out.put_slice(b"txt:");
            out.put_slice(text);
            out.put_slice(b"\r\n");
        }
    }
}

/// The start of an array; its `len` elements follow.
pub fn array(out: &mut impl BufMut, len: usize) {
    header(out, b'*', length(len));
}

/// The start of a map; `pairs` times a key and a value follow. In RESP2 it is a flat array.
pub fn map(out: &mut impl BufMut, protocol: Protocol, pairs: usize) {
    match protocol {
        Protocol::Resp2 => array(out, pairs.saturating_mul(2)),
        Protocol::Resp3 => header(out, b'%', length(pairs)),
    }
}

/// The start of a set; its `len` members follow. In RESP2 it is an array.
pub fn set(out: &mut impl BufMut, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => array(out, len),
        Protocol::Resp3 => header(out, b'~', length(len)),
    }
}

/// The start of a push, out of the order of replies; its `len` elements follow. In RESP2, where
/// only a subscribed client gets any, it is an array.
pub fn push(out: &mut impl BufMut, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => array(out, len),
        Protocol::Resp3 => header(out, b'>', length(len)),
    }
}

/// A reply that was built as a tree, for replies whose shape is known only at their end. It has
/// the types that both protocols share; a map or a set needs the functions above. No line end may
/// be inside its statuses and errors.
///
/// # Errors
/// None for the types of [`Tree`]; kept because the encoder below is fallible.
pub fn tree(out: &mut BytesMut, protocol: Protocol, tree: Tree) -> Result<(), RedisProtocolError> {
    match protocol {
        Protocol::Resp2 => resp2::extend_encode(out, &tree, false).map(drop),
        Protocol::Resp3 => resp3::extend_encode(out, &tree.into_resp3(), false).map(drop),
    }
}

/// Room for any number that a header can hold.
const DIGITS: usize = 20;

/// A type byte, a number, the line end; in one piece, as this is most of what is written.
fn header(out: &mut impl BufMut, kind: u8, value: i64) {
    let mut digits = [0; DIGITS];
    out.put_u8(kind);
    out.put_slice(decimal(value, &mut digits));
    out.put_slice(b"\r\n");
}

/// A length as a header's number. Nothing in memory is longer than an i64 can count.
fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The digits of `value`, written to the end of `digits`.
fn decimal(value: i64, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = DIGITS;
    loop {
        at -= 1;
        // A remainder of 10 fits.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

/// Text that must stay in its line.
fn line(out: &mut impl BufMut, text: &[u8]) {
    for part in text.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
        match part.split_last() {
            Some((b'\r' | b'\n', before)) => {
                out.put_slice(before);
                out.put_u8(b' ');
            }
            _ => out.put_slice(part),
        }
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp2;
    use redis_protocol::resp3::decode::complete::decode;
    use redis_protocol::resp3::types::{OwnedFrame, VerbatimStringFormat};

    use super::*;

    /// What `write` appends.
    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn both_protocols_byte_for_byte() {
        use Protocol::{Resp2, Resp3};
        type Row = (fn(&mut Vec<u8>, Protocol), &'static [u8], &'static [u8]);
        let rows: &[Row] = &[
            (|out, _| simple(out, b"OK"), b"+OK\r\n", b"+OK\r\n"),
            (|out, _| error(out, b"ERR x"), b"-ERR x\r\n", b"-ERR x\r\n"),
            (|out, _| error(out, b"E a\r\nb\n"), b"-E a  b \r\n", b"-E a  b \r\n"),
            (|out, _| simple(out, b""), b"+\r\n", b"+\r\n"),
            (|out, _| integer(out, 0), b":0\r\n", b":0\r\n"),
            (|out, _| integer(out, -10), b":-10\r\n", b":-10\r\n"),
            (|out, _| bulk(out, b"a\r\n"), b"$3\r\na\r\n\r\n", b"$3\r\na\r\n\r\n"),
            (null, b"$-1\r\n", b"_\r\n"),
            (null_array, b"*-1\r\n", b"_\r\n"),
            (|out, p| boolean(out, p, true), b":1\r\n", b"#t\r\n"),
            (|out, p| boolean(out, p, false), b":0\r\n", b"#f\r\n"),
            (|out, p| verbatim(out, p, b"ab"), b"$2\r\nab\r\n", b"=6\r\ntxt:ab\r\n"),
            (|out, _| array(out, 12), b"*12\r\n", b"*12\r\n"),
            (|out, p| map(out, p, 3), b"*6\r\n", b"%3\r\n"),
            (|out, p| set(out, p, 3), b"*3\r\n", b"~3\r\n"),
            (|out, p| push(out, p, 3), b"*3\r\n", b">3\r\n"),
        ];
        for (write, resp2, resp3) in rows {
            assert_eq!(written(|out| write(out, Resp2)), *resp2);
            assert_eq!(written(|out| write(out, Resp3)), *resp3);
        }
    }

    #[test]
    fn a_builder_makes_what_command_makes() {
        let mut builder = CommandBuilder::new(b"SET");
        builder.arg(b"k").integer(i64::MIN);
        let built = written(|out| builder.write(out));
        let plain = written(|out| command(out, &[b"SET", b"k", b"-9223372036854775808"]));
        assert_eq!(built, plain);
        let mut bytes = BytesMut::new();
        command(&mut bytes, &[b"SET", b"k", b"-9223372036854775808"]);
        assert_eq!(bytes, plain);
    }

    #[test]
    fn a_tree_is_written_for_both_protocols() {
        let text = Tree::BulkString(b"a".as_slice().into());
        let frame = Tree::Array(vec![Tree::Integer(7), Tree::Null, Tree::Array(vec![text])]);
        let mut out = BytesMut::from(&b"+OK\r\n"[..]);
        tree(&mut out, Protocol::Resp2, frame.clone()).unwrap();
        assert_eq!(out, b"+OK\r\n*3\r\n:7\r\n$-1\r\n*1\r\n$1\r\na\r\n"[..]);
        out.clear();
        tree(&mut out, Protocol::Resp3, frame).unwrap();
        assert_eq!(out, b"*3\r\n:7\r\n_\r\n*1\r\n$1\r\na\r\n"[..]);
    }

    proptest! {
        #[test]
        fn redis_protocol_reads_what_was_written(
            number in any::<i64>(),
            bytes in any::<Vec<u8>>(),
            line in any::<Vec<u8>>(),
        ) {
            let frame = |out: Vec<u8>| decode(&out).map(|read| read.filter(|r| r.1 == out.len()));
            let read = frame(written(|out| integer(out, number)));
            prop_assert_eq!(read.unwrap().unwrap().0, OwnedFrame::Number { data: number, attributes: None });
            let read = frame(written(|out| bulk(out, &bytes)));
            let data = bytes.clone();
            prop_assert_eq!(read.unwrap().unwrap().0, OwnedFrame::BlobString { data, attributes: None });
            let read = frame(written(|out| verbatim(out, Protocol::Resp3, &bytes)));
            let format = VerbatimStringFormat::Text;
            let text = OwnedFrame::VerbatimString { data: bytes.clone(), format, attributes: None };
            prop_assert_eq!(read.unwrap().unwrap().0, text);
            let read = frame(written(|out| simple(out, &line)));
            prop_assert!(read.unwrap().is_some(), "no line end gets through");
            let out = written(|out| command(out, &[&bytes, &line]));
            let args = [bytes, line].map(resp2::types::OwnedFrame::BulkString);
            let expected = (resp2::types::OwnedFrame::Array(args.to_vec()), out.len());
            prop_assert_eq!(resp2::decode::decode(&out).unwrap(), Some(expected));
        }
    }
}
