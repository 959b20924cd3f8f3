//! What a reply to a lock command tells its client. Errors that are not known to say "nothing was
//! done" leave the outcome open.

use super::Reply;
use crate::history::event::{Acquired, Released, Token, What};

/// Beginnings of errors that say that the command was not carried out: by Redis itself, or by
/// Lockside (`docs/guarantees.md`).
const NOT_DONE: [&str; 12] = [
    "-MASTERDOWN ",
    "-LOADING ",
    "-READONLY ",
    "-OOM ",
    "-MISCONF ",
    "-NOREPLICAS ",
    "-BUSY ",
    "-NOSCRIPT ",
    "-EXECABORT ",
    "-TRYAGAIN lockside: not acquired",
    "-TRYAGAIN lockside: not released",
    "-TRYAGAIN lockside: lost to ",
];

pub(super) fn is_not_done(frame: &str) -> bool {
    NOT_DONE.iter().any(|start| frame.starts_with(start))
}

/// An acquire's reply: of SET, SETNX, a script that gives a number, or EXEC of one of them.
pub(super) fn acquired(reply: &Reply) -> Result<Acquired, String> {
    let Reply::Frame(frame) = reply else { return Ok(Acquired::Unknown) };
    match frame.strip_prefix("*1\r\n").unwrap_or(frame) {
        "+OK\r\n" | ":1\r\n" => Ok(Acquired::Granted),
        "$-1\r\n" | "_\r\n" | ":0\r\n" => Ok(Acquired::Refused),
        error if is_not_done(error) => Ok(Acquired::Failed),
        error if error.starts_with('-') => Ok(Acquired::Unknown),
        other => Err(other.to_owned()),
    }
}

/// A release's reply: how many keys were deleted, or EXEC of that.
pub(super) fn released(reply: &Reply) -> Result<Released, String> {
    let Reply::Frame(frame) = reply else { return Ok(Released::Unknown) };
    match frame.strip_prefix("*1\r\n").unwrap_or(frame) {
        ":1\r\n" => Ok(Released::Done),
        ":0\r\n" => Ok(Released::NotHeld),
        // EXEC behind a WATCH that something changed.
        "*-1\r\n" | "_\r\n" => Ok(Released::Failed),
        error if is_not_done(error) => Ok(Released::Failed),
        error if error.starts_with('-') => Ok(Released::Unknown),
        other => Err(other.to_owned()),
    }
}

/// GET's reply; none for an error.
pub(super) fn seen(reply: &Reply) -> Option<What> {
    let Reply::Frame(frame) = reply else { return None };
    match frame.as_bytes().first()? {
        b'-' => None,
        b'$' if frame != "$-1\r\n" => Some(What::Saw(Some(bulk(frame)?))),
        b'$' | b'_' => Some(What::Saw(None)),
        _ => Some(What::Odd(frame.clone())),
    }
}

/// A reply of 0 or 1 to the holder's "is it mine", by a script that extends.
pub(super) fn extended(reply: &Reply, token: &Token) -> Option<What> {
    let Reply::Frame(frame) = reply else { return None };
    match frame.as_str() {
        ":1\r\n" => Some(What::Saw(Some(token.clone()))),
        ":0\r\n" => Some(What::NotMine(token.clone())),
        error if error.starts_with('-') => None,
        other => Some(What::Odd(other.to_owned())),
    }
}

/// The number of a reply.
pub(super) fn number(reply: &Reply) -> Option<i64> {
    let Reply::Frame(frame) = reply else { return None };
    frame.strip_prefix(':')?.trim_end().parse().ok()
}

fn bulk(frame: &str) -> Option<Token> {
    let (_, body) = frame.split_once("\r\n")?;
    Some(body.strip_suffix("\r\n")?.into())
}
