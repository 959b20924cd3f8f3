//! Which commands on locks are served without Redis, each by name. What is not here is refused, and
//! says so. Pure.

use super::turn::Stop;
use crate::command::{Keys, Spec, lookup};

/// What a command does to its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Reads,
    Writes,
}

use Does::{Reads, Writes};

/// All that is served, in the order of the names.
const SERVED: &[(&str, Does)] = &[
    ("append", Writes),
    ("blmove", Writes),
    ("blpop", Writes),
    ("brpop", Writes),
    ("brpoplpush", Writes),
    ("decr", Writes),
    ("decrby", Writes),
    ("del", Writes),
    ("delex", Writes),
    ("delifeq", Writes),
    ("eval", Writes),
    ("eval_ro", Reads),
    ("evalsha", Writes),
    ("evalsha_ro", Reads),
    ("exists", Reads),
    ("expire", Writes),
    ("expireat", Writes),
    ("expiretime", Reads),
    ("get", Reads),
    ("getdel", Writes),
    ("getex", Writes),
    ("getrange", Reads),
    ("getset", Writes),
    ("hdel", Writes),
    ("hexists", Reads),
    ("hget", Reads),
    ("hgetall", Reads),
    ("hincrby", Writes),
    ("hincrbyfloat", Writes),
    ("hkeys", Reads),
    ("hlen", Reads),
    ("hmget", Reads),
    ("hmset", Writes),
    ("hscan", Reads),
    ("hset", Writes),
    ("hsetnx", Writes),
    ("hstrlen", Reads),
    ("hvals", Reads),
    ("incr", Writes),
    ("incrby", Writes),
    ("incrbyfloat", Writes),
    ("lindex", Reads),
    ("linsert", Writes),
    ("llen", Reads),
    ("lmove", Writes),
    ("lmpop", Writes),
    ("lpop", Writes),
    ("lpos", Reads),
    ("lpush", Writes),
    ("lpushx", Writes),
    ("lrange", Reads),
    ("lrem", Writes),
    ("lset", Writes),
    ("ltrim", Writes),
    ("mget", Reads),
    ("mset", Writes),
    ("msetnx", Writes),
    ("persist", Writes),
    ("pexpire", Writes),
    ("pexpireat", Writes),
    ("pexpiretime", Reads),
    ("psetex", Writes),
    ("pttl", Reads),
    ("rpop", Writes),
    ("rpoplpush", Writes),
    ("rpush", Writes),
    ("rpushx", Writes),
    ("sadd", Writes),
    ("scard", Reads),
    ("set", Writes),
    ("setex", Writes),
    ("setnx", Writes),
    ("setrange", Writes),
    ("sismember", Reads),
    ("smembers", Reads),
    ("smismember", Reads),
    ("srem", Writes),
    ("sscan", Reads),
    ("strlen", Reads),
    ("substr", Reads),
    ("touch", Reads),
    ("ttl", Reads),
    ("type", Reads),
    ("unlink", Writes),
    ("zadd", Writes),
    ("zcard", Reads),
    ("zcount", Reads),
    ("zincrby", Writes),
    ("zlexcount", Reads),
    ("zmpop", Writes),
    ("zmscore", Reads),
    ("zpopmax", Writes),
    ("zpopmin", Writes),
    ("zrange", Reads),
    ("zrangebylex", Reads),
    ("zrangebyscore", Reads),
    ("zrank", Reads),
    ("zrem", Writes),
    ("zremrangebylex", Writes),
    ("zremrangebyrank", Writes),
    ("zremrangebyscore", Writes),
    ("zrevrange", Reads),
    ("zrevrangebylex", Reads),
    ("zrevrangebyscore", Reads),
    ("zrevrank", Reads),
    ("zscan", Reads),
    ("zscore", Reads),
];

/// Without keys; scripts and transactions have them.
const KEYLESS: [&str; 6] = ["echo", "ping", "publish", "select", "spublish", "time"];

/// A command's place among those that are served.
pub(super) fn place(name: &str) -> Option<usize> {
    SERVED.binary_search_by(|(served, _)| (*served).cmp(name)).ok()
}

/// The names of all that are served.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SERVED.iter().map(|(name, _)| *name)
}

/// A call of this command on this key, as short as its arity allows: what a server looks at before it
/// queues it in a transaction.
pub(super) fn words<'a>(spec: &Spec, key: &'a [u8]) -> Vec<&'a [u8]> {
    let least = usize::from(spec.arity.unsigned_abs());
    let mut words: Vec<&[u8]> = vec![b"0"; least.max(2)];
    words[0] = spec.name.as_bytes();
    match spec.keys {
        Keys::Range { first, last, step } => {
            let last = match usize::try_from(last) {
                Ok(last) => last,
                Err(_) => words.len() - usize::from(last.unsigned_abs()),
            };
            let keys = (usize::from(first)..=last).step_by(usize::from(step.max(1)));
            words.resize(words.len().max(last + 1), b"0");
            keys.for_each(|at| words[at] = key);
        }
        Keys::Counted { count, step, destination } => {
            let count = usize::from(count);
            words.resize(words.len().max(count + 1 + usize::from(step)), b"0");
            (words[count], words[count + 1]) = (b"1", key);
            if destination > 0 {
                words[usize::from(destination)] = key;
            }
        }
        _ => words[1] = key,
    }
    words
}

/// Commands that somebody may not use, of those that are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Denied(u128);

const _: () = assert!(SERVED.len() <= 128);

impl Denied {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// True for a command that may not be used.
    pub fn has(self, name: &str) -> bool {
        place(name).is_some_and(|at| self.0 >> at & 1 == 1)
    }

    /// Adds the command with this place in [`questions`] if that is Redis's reply. False for a reply
    /// that says nothing of rights: then nothing is known of any.
    pub fn hear(&mut self, at: usize, reply: &[u8]) -> bool {
        if reply.starts_with(b"-NOPERM") {
            // What is not served is never asked for.
            self.0 |= u32::try_from(at).ok().and_then(|at| 1_u128.checked_shl(at)).unwrap_or(0);
            return true;
        }
        // Nobody is refused what this Redis does not have.
        reply == b"+QUEUED\r\n" || reply.starts_with(b"-ERR unknown command")
    }
}

/// A call on this key of each command that is served. Redis says in MULTI who may not, and carries
/// nothing out before EXEC.
pub fn questions(key: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let call = |name: &str| lookup(name.as_bytes()).map(|spec| words(spec, key));
    names().map(move |name| call(name).unwrap_or_else(|| vec![b"PING"]))
}

/// True for what is served and writes nothing.
pub(super) fn is_read(name: &str) -> bool {
    KEYLESS.contains(&name) || place(name).is_some_and(|at| SERVED[at].1 == Reads)
}

/// What is said to a command on locks that is not served.
pub(super) fn refusal(name: &str) -> Stop {
    let name = name.to_ascii_uppercase();
    Stop::Refused(format!(
        "MASTERDOWN lockside: {name} on a lock is not served while upstream is unavailable"
    ))
}
