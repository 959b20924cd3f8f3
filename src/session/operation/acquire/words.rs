//! What Redis's error replies to a lock command say, and what clients are told of an acquire.

use crate::resp::reply::Reply;

/// Redis answers, but takes no lock writes (SPEC 2).
pub(in crate::session::operation) fn is_unusable(reply: &Reply<'_>) -> bool {
    const CODES: [&[u8]; 8] = [
        b"READONLY",
        b"MISCONF",
        b"OOM",
        b"NOREPLICAS",
        b"LOADING",
        b"MASTERDOWN",
        b"CLUSTERDOWN",
        b"BUSY ",
    ];
    matches!(reply, Reply::Error(text) if CODES.iter().any(|code| text.starts_with(code)))
}

pub(in crate::session::operation) fn is_error(reply: &Reply<'_>, code: &[u8]) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(code))
}

/// Scripts, or the commands in them, are forbidden to this user, or not there at all.
pub(in crate::session::operation) fn is_forbidden(reply: &Reply<'_>) -> bool {
    is_error(reply, b"NOPERM")
        || is_error(reply, b"ERR unknown command")
        || is_error(reply, b"ERR The user executing the script")
}

pub(in crate::session::operation) const CLIENT_GONE: &str =
    "ERR lockside: not acquired: the client has closed its side of the connection";
pub(in crate::session::operation) const WAITED: &str = "TRYAGAIN lockside: not acquired: another \
    client's acquire of this lock has not ended in time; ask again";
pub(in crate::session::operation) const TABLE_FULL: &str =
    "OOM lockside: not acquired: as many locks are held as limits.locks allows";
pub(in crate::session::operation) const RAN_OUT: &str = "TRYAGAIN lockside: not acquired: the key ran out or was taken by another \
    before it was made permanent; ask again";
pub(in crate::session::operation) const HELD_BY_OTHER_TYPE: &str =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(in crate::session::operation) const UNKNOWN: &str = "TRYAGAIN lockside: unknown outcome: Redis did not say whether the lock was \
    taken; a key that was set is gone after the safety TTL; ask again with the same token";
pub(in crate::session::operation) const UNCONFIRMED: &str = "TRYAGAIN lockside: unknown outcome: Redis did not say \
    whether the lock was made permanent; ask again with the same token: if it is unique and the \
    lock stands, the answer is OK";
