//! Which commands a key's type does not take: Redis's answer to those on a lock of another type, for
//! commands that are not served as well. Pure.
//!
//! Redis reads some arguments before it looks at the key. A command whose arguments it might refuse
//! first is left unanswered here.

use super::number::int;
use super::turn::{Outcome, Stop, Turn, WRONG_TYPE};
use crate::lock::content::Score;
use crate::resp::Args;

/// Redis's answer to a string that is no HyperLogLog.
const NO_HYPERLOGLOG: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
/// What such a string begins with.
const HYPERLOGLOG: &[u8] = b"HYLL";

/// `outcome`, or Redis's answer to a command that was not served because it does not fit what its keys
/// hold.
pub(super) fn judged(turn: &Turn<'_>, name: &str, args: Args<'_>, outcome: Outcome) -> Outcome {
    match outcome {
        Err(stop @ (Stop::NotServed | Stop::Refused(_))) => {
            Err(wrong_type(turn, name, args).unwrap_or(stop))
        }
        outcome => outcome,
    }
}

fn wrong_type(turn: &Turn<'_>, name: &str, args: Args<'_>) -> Option<Stop> {
    let types = types_of(name)?;
    let kinds = |count: usize| {
        let keys = args.iter().skip(1).take(count);
        keys.filter_map(|key| turn.overlay.type_of(&turn.key(key)))
    };
    let is_wrong = |kind: &&str| !types.contains(kind);
    let kind = match name {
        "sdiff" | "sinter" | "sunion" | "pfcount" | "pfmerge" => kinds(args.len()).find(is_wrong),
        // Nothing happens, and nobody looks at the second key, where the first is not there.
        "lmove" | "rpoplpush" | "smove" if kinds(1).next().is_some() => kinds(2).find(is_wrong),
        _ => kinds(1).find(is_wrong),
    };
    let is_wrong = kind.is_some() && is_well_formed(name, args);
    if is_wrong {
        return Some(Stop::error(WRONG_TYPE));
    }
    let is_text = |key: &&[u8]| {
        let text = turn.overlay.shown(&turn.key(key));
        text.is_some_and(|text| !text.starts_with(HYPERLOGLOG))
    };
    let counts = matches!(name, "pfadd" | "pfcount" | "pfmerge");
    let keys = if name == "pfadd" { 1 } else { args.len() };
    let is_text = counts && args.iter().skip(1).take(keys).any(|key| is_text(&key));
    is_text.then(|| Stop::error(NO_HYPERLOGLOG))
}

/// The types that a command takes, as TYPE names them.
fn types_of(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "hdel" | "hexists" | "hget" | "hgetall" | "hincrby" | "hincrbyfloat" | "hkeys" | "hlen"
        | "hmget" | "hmset" | "hrandfield" | "hscan" | "hset" | "hsetnx" | "hstrlen" | "hvals" => {
            &["hash"]
        }
        "geoadd" | "geohash" | "geopos" | "zadd" | "zcard" | "zcount" | "zincrby" | "zlexcount"
        | "zmscore" | "zpopmax" | "zpopmin" | "zrandmember" | "zrange" | "zrangebylex"
        | "zrangebyscore" | "zrank" | "zrem" | "zremrangebylex" | "zremrangebyrank"
        | "zremrangebyscore" | "zrevrange" | "zrevrangebylex" | "zrevrangebyscore" | "zrevrank"
        | "zscan" | "zscore" => &["zset"],
        "sadd" | "scard" | "sdiff" | "sinter" | "sismember" | "smembers" | "smismember"
        | "smove" | "spop" | "srandmember" | "srem" | "sscan" | "sunion" => &["set"],
        "lindex" | "linsert" | "llen" | "lmove" | "lpop" | "lpos" | "lpush" | "lpushx"
        | "lrange" | "lrem" | "lset" | "ltrim" | "rpop" | "rpoplpush" | "rpush" | "rpushx" => {
            &["list"]
        }
        "xadd" | "xdel" | "xlen" | "xrange" | "xrevrange" => &["stream"],
        "bitcount" | "bitpos" | "getbit" | "incrbyfloat" | "pfadd" | "pfcount" | "pfmerge"
        | "setbit" => &["string"],
        "sort" | "sort_ro" => &["list", "set", "zset"],
        _ => return None,
    })
}

/// True if Redis finds nothing wrong with the arguments before it looks at the key's type. False may be
/// wrong.
fn is_well_formed(name: &str, args: Args<'_>) -> bool {
    let is = |at: usize, good: &dyn Fn(&[u8]) -> bool| args.get(at).is_some_and(good);
    let is_word = |at: usize, words: &[&[u8]]| {
        is(at, &|word| words.iter().any(|one| word.eq_ignore_ascii_case(one)))
    };
    let integer = |at: usize| is(at, &|text| int(text).is_ok());
    let float = |at: usize| is(at, &|text| Score::parse(text).is_some());
    let natural = |at: usize| is(at, &|text| int(text).is_ok_and(|number| number >= 0));
    let offset = |at: usize| is(at, &|text| int(text).is_ok_and(|bit| u32::try_from(bit).is_ok()));
    match name {
        "hincrby" | "lrem" => integer(if name == "lrem" { 2 } else { 3 }),
        "hincrbyfloat" => float(3) && is(3, &|text| !text.ends_with(b"inf")),
        "zincrby" => float(2),
        "hmset" | "hset" => args.len().is_multiple_of(2),
        "zadd" => args.len() == 4 && float(2),
        "hscan" | "sscan" | "zscan" => natural(2),
        "hrandfield" | "zrandmember" => args.len() == 2 || args.len() == 3 && integer(2),
        "srandmember" => args.len() == 2 || args.len() == 3 && integer(2),
        "lpop" | "rpop" | "spop" | "zpopmax" | "zpopmin" => {
            args.len() == 2 || args.len() == 3 && natural(2)
        }
        "ltrim" | "zremrangebyrank" | "lrange" => integer(2) && integer(3),
        "zcount" | "zremrangebyscore" => float(2) && float(3),
        "zrange" | "zrevrange" => args.len() == 4 && integer(2) && integer(3),
        "zrangebyscore" | "zrevrangebyscore" => args.len() == 4 && float(2) && float(3),
        "zlexcount" | "zrangebylex" | "zrevrangebylex" | "zremrangebylex" => {
            let ends = |at| {
                is(at, &|text| {
                    matches!(text, b"-" | b"+") || matches!(text.first(), Some(b'[' | b'('))
                })
            };
            args.len() == 4 && ends(2) && ends(3)
        }
        "geoadd" => {
            let inside = |at: usize, limit: f64| {
                is(at, &|text| Score::parse(text).is_some_and(|it| it.number().abs() <= limit))
            };
            args.len() == 5 && inside(2, 180.0) && inside(3, 85.0)
        }
        "linsert" => is_word(2, &[b"before", b"after"]),
        "lmove" => (3..5).all(|at| is_word(at, &[b"left", b"right"])),
        "lpos" | "sort" | "sort_ro" => args.len() == if name == "lpos" { 3 } else { 2 },
        "xadd" => is(2, &|id| id == b"*") && !args.len().is_multiple_of(2),
        "xrange" | "xrevrange" => {
            args.len() == 4 && (2..4).all(|at| is(at, &|id| matches!(id, b"-" | b"+")))
        }
        "bitpos" => is(2, &|bit| matches!(bit, b"0" | b"1")),
        "getbit" => offset(2),
        "setbit" => offset(2) && is(3, &|bit| matches!(bit, b"0" | b"1")),
        _ => true,
    }
}
