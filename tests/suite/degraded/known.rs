//! Where the engine may answer differently from a plain Redis, all of it.
//!
//! - Two clocks: a time is the same within [`TOLERANCE_MS`].
//! - A persistent lock has no TTL (SPEC 5): TTL and its kin say -1 where Redis has one.
//! - A persistent lock has the TTL that its client gave it, or none, whatever came behind: PERSIST finds
//!   one that an earlier PERSIST has taken away in Redis, and none that an EXPIRE has given there.
//!
//! A `ttl` rule gives a lock without TTL its default; the test does the same to Redis. NX, XX, GT
//! and LT of EXPIRE go by the virtual TTL: the test gives them to persistent locks only with a
//! companion as key, since the answer decides about what is there afterwards.

use lockside::lock::rule::Mode;
use lockside::resp::reply::Reply;

/// Time between the engine's evaluation and Redis's command, on a busy machine.
const TOLERANCE_MS: i64 = 5_000;

/// Whether a reply of the engine is right where Redis gave `redis`.
pub(super) fn is_right(words: &[Vec<u8>], mode: Mode, engine: &[u8], redis: &[u8]) -> bool {
    if engine == redis {
        return true;
    }
    let name = words[0].to_ascii_lowercase();
    let is_lock = words.get(1).is_some_and(|key| key.starts_with(b"lock:"));
    let is_persistent = is_lock && mode == Mode::Persistent;
    let (Some(ours), Some(theirs)) = (number(engine), number(redis)) else { return false };
    match name.as_slice() {
        b"persist" => is_persistent && matches!((ours, theirs), (1, 0) | (0, 1)),
        b"ttl" | b"expiretime" | b"pttl" | b"pexpiretime" if is_persistent => {
            ours == -1 && theirs >= 0
        }
        b"ttl" | b"expiretime" => is_near(ours, theirs, TOLERANCE_MS / 1000),
        b"pttl" | b"pexpiretime" => is_near(ours, theirs, TOLERANCE_MS),
        _ => false,
    }
}

fn is_near(ours: i64, theirs: i64, tolerance: i64) -> bool {
    ours >= 0 && theirs >= 0 && (ours - theirs).abs() <= tolerance
}

fn number(frame: &[u8]) -> Option<i64> {
    match Reply::parse(frame) {
        Some((Reply::Integer(number), _)) => Some(number),
        _ => None,
    }
}
