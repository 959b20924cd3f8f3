//! The table of every command: its keys, its arity, and what Lockside does with it.
//!
//! It knows nothing of rules: whether a key is a lock key is the caller's question. A class of
//! [`Class::Lock`] matters only if one of [`Spec::lock_keys`] is a lock key; else the command is
//! forwarded as it came. Names, arities and key positions are those of `COMMAND` of Redis 7.0,
//! with the key commands of Redis 7.2 to 8.6 and Valkey 8 to 9 added; a test compares the table
//! with a running server. Names that are not here (modules, typing errors) are forwarded.
//!
//! # How each command was decided, for a lock key (SPEC sections 3 to 5)
//!
//! The rule: a client must read back what it wrote, a lock must not change its name, and a lock
//! stays persistent. A command that can be answered so in one script is *computed*: Lockside
//! runs it in its envelope, which gives and takes client values. One that can't be is *refused*.
//! What touches no string value and no expiry is *plain*.
//!
//! | commands | decision | why |
//! |---|---|---|
//! | `GET` `MGET` `GETDEL` | own path | the reply is a stored value: shown as the client value |
//! | `SET` `SETNX` | own path | an acquire with NX; else an overwrite by a stored value |
//! | `DEL` `UNLINK` | own path | a release |
//! | `EVAL` `EVALSHA` and `_RO` | own path | the text runs in the envelope |
//! | `GETEX` `GETSET` | computed | reads the value, and changes the expiry or the value |
//! | `STRLEN` `GETRANGE` `SUBSTR` `GETBIT` `BITCOUNT` `BITPOS` `BITFIELD_RO` | computed | shows a property of the value: it must be that of the client value |
//! | `APPEND` `SETRANGE` `SETBIT` `BITFIELD` `INCR` `INCRBY` `INCRBYFLOAT` `DECR` `DECRBY` | computed | works on the client value, the result is stored as a stored value |
//! | `SETEX` `PSETEX` `MSET` `MSETNX` `MSETEX` | computed | writes a value: stored form, no TTL in a persistent rule; `MSETNX` can be an acquire |
//! | `EXPIRE` `PEXPIRE` `EXPIREAT` `PEXPIREAT` `PERSIST` | computed | answers as Redis would and leaves a held lock persistent; a past time releases |
//! | `DELEX` `DELIFEQ` | computed | a release that compares with the client value |
//! | `RENAME` `RENAMENX` | refused | a lock's name is its identity in the ledger |
//! | `MOVE` `MIGRATE` | refused | the lock would leave its database or server while it is held |
//! | `COPY` | refused | a second lock with the same stored value, or a stored value shown elsewhere |
//! | `RESTORE` `RESTORE-ASKING` | refused | writes a serialized value that can't be stamped |
//! | `DUMP` | refused | the serialized form carries the stored value |
//! | `BITOP` `LCS` | refused, each key | shows or stores bits of stored values of several keys |
//! | `DIGEST` | refused | it would be the digest of the stored value |
//! | `SORT` … `STORE`, `GEORADIUS` and `GEORADIUSBYMEMBER` … `STORE`/`STOREDIST`, `GEOSEARCHSTORE` `ZRANGESTORE` `ZDIFFSTORE` `ZINTERSTORE` `ZUNIONSTORE` `SDIFFSTORE` `SINTERSTORE` `SUNIONSTORE` | refused as destination only | replaces a held lock of any type without asking; as a source it can't show a string |
//! | `EXISTS` `TOUCH` `TYPE` `TTL` `PTTL` `EXPIRETIME` `PEXPIRETIME` | own path | a lock that Redis has lost is there all the same; TTL asked directly tells the truth (-1) |
//! | `OBJECT` `MEMORY USAGE` | plain | shows no value |
//! | `PFADD` `PFCOUNT` `PFMERGE` | plain | a string that is no HyperLogLog answers WRONGTYPE |
//! | what writes one hash, list, set or sorted set | computed while a lock of such a type is held there, else plain | the ledger follows the content of a lock that a script has taken; what a client keeps under a key that nobody holds is its own business |
//! | what reads one hash, list, set or sorted set | own path while a lock of such a type is held there, else plain | what Redis has lost is told by the ledger |
//! | the rest on hashes, lists, sets, sorted sets, streams, vector sets | plain | reads of several keys (`SINTER`); a write between two keys (`SMOVE`) or that blocks is found by the next repair pass in the background |
//! | `FCALL` `FCALL_RO` | plain | functions run untouched (SPEC 5) |
//! | `FLUSHDB` `FLUSHALL` `SWAPDB` | keyspace | no key, but ends or moves every lock of a database |
//!
//! A known gap: patterns after `BY` and `GET` of `SORT` name no keys, so that
//! `SORT list GET lock:*` shows stored values.

use super::{Class, Keys, KeyspaceUse, LockUse, Spec, StateUse};

const NONE: Keys = Keys::None;
const FIRST: Keys = range(1, 1, 1);
const SECOND: Keys = range(2, 2, 1);
const TWO: Keys = range(1, 2, 1);
const ALL: Keys = range(1, -1, 1);
const BUT_LAST: Keys = range(1, -2, 1);
const FROM_SECOND: Keys = range(2, -1, 1);
const PAIRS: Keys = range(1, -1, 2);
const COUNTED_PAIRS: Keys = Keys::Counted { count: 1, step: 2, destination: 0 };
const STORE_COUNTED: Keys = Keys::Counted { count: 2, step: 1, destination: 1 };

const PLAIN: Class = Class::Plain;
const COMPUTED: Class = Class::Lock(LockUse::Computed);
const CONTENT: Class = Class::Lock(LockUse::Content);
const LOOK: Class = Class::Lock(LockUse::Look);
const INSIDE: Class = Class::Lock(LockUse::Inside);
const STORES: Class = Class::Lock(LockUse::StoreRefused(
    "a result can't be stored over a lock key; store it under a key that matches no lock rule",
));

const RENAMES: &str = "a lock can't be renamed; release it and acquire the other name";
const COPIES: &str = "a lock can't be copied; acquire the other name";
const MOVES: &str = "a lock can't be moved to another database; release it and acquire it there";
const RESTORES: &str = "a lock can't be restored from a dump; acquire it with SET NX";
const MIGRATES: &str = "a lock can't be migrated while it is held; release it and acquire it there";
const DUMPS: &str = "a dump would carry the value as stored, not as written; read it with GET";
const READS_TWO: &str = "values of lock keys can't be compared inside Redis; read them with GET";
const COMBINES: &str = "bits of lock values can't be combined inside Redis; read them with GET";
const DIGESTS: &str = "the digest would be that of the stored value; read the value with GET";

const fn spec(name: &'static str, arity: i16, keys: Keys, class: Class) -> Spec {
    Spec { name, keys, class, arity }
}

const fn range(first: u8, last: i8, step: u8) -> Keys {
    Keys::Range { first, last, step }
}

const fn counted(count: u8) -> Keys {
    Keys::Counted { count, step: 1, destination: 0 }
}

const fn script(by_sha: bool, read_only: bool) -> Class {
    Class::Lock(LockUse::Script { by_sha, read_only })
}

const fn refused(advice: &'static str) -> Class {
    Class::Lock(LockUse::Refused(advice))
}

const fn keyspace(what: KeyspaceUse) -> Class {
    Class::Keyspace(what)
}

const fn state(what: StateUse) -> Class {
    Class::State(what)
}

/// Every command, grouped by class. Arities count the command's name; negative: at least so many.
pub(super) const TABLE: &[Spec] = &[
    // The value of a lock key: own paths, or the envelope.
    spec("append", 3, FIRST, COMPUTED),
    spec("bitcount", -2, FIRST, COMPUTED),
    spec("bitfield", -2, FIRST, COMPUTED),
    spec("bitfield_ro", -2, FIRST, COMPUTED),
    spec("bitpos", -3, FIRST, COMPUTED),
    spec("decr", 2, FIRST, COMPUTED),
    spec("decrby", 3, FIRST, COMPUTED),
    spec("del", -2, ALL, Class::Lock(LockUse::Delete)),
    spec("delex", -2, FIRST, COMPUTED),
    spec("delifeq", 3, FIRST, COMPUTED),
    spec("eval", -3, counted(2), script(false, false)),
    spec("eval_ro", -3, counted(2), script(false, true)),
    spec("evalsha", -3, counted(2), script(true, false)),
    spec("evalsha_ro", -3, counted(2), script(true, true)),
    spec("exists", -2, ALL, Class::Lock(LockUse::Exists)),
    spec("expire", -3, FIRST, COMPUTED),
    spec("expireat", -3, FIRST, COMPUTED),
    spec("get", 2, FIRST, Class::Lock(LockUse::Get)),
    spec("getbit", 3, FIRST, COMPUTED),
    spec("getdel", 2, FIRST, Class::Lock(LockUse::Getdel)),
    spec("getex", -2, FIRST, COMPUTED),
    spec("getrange", 4, FIRST, COMPUTED),
    spec("getset", 3, FIRST, COMPUTED),
    spec("incr", 2, FIRST, COMPUTED),
    spec("incrby", 3, FIRST, COMPUTED),
    spec("incrbyfloat", 3, FIRST, COMPUTED),
    spec("mget", -2, ALL, Class::Lock(LockUse::Mget)),
    spec("mset", -3, PAIRS, COMPUTED),
    spec("msetex", -4, COUNTED_PAIRS, COMPUTED),
    spec("msetnx", -3, PAIRS, COMPUTED),
    spec("persist", 2, FIRST, COMPUTED),
    spec("pexpire", -3, FIRST, COMPUTED),
    spec("pexpireat", -3, FIRST, COMPUTED),
    spec("psetex", 4, FIRST, COMPUTED),
    spec("set", -3, FIRST, Class::Lock(LockUse::Set)),
    spec("setbit", 4, FIRST, COMPUTED),
    spec("setex", 4, FIRST, COMPUTED),
    spec("setnx", 3, FIRST, Class::Lock(LockUse::Setnx)),
    spec("setrange", 4, FIRST, COMPUTED),
    spec("strlen", 2, FIRST, COMPUTED),
    spec("substr", 4, FIRST, COMPUTED),
    spec("unlink", -2, ALL, Class::Lock(LockUse::Delete)),
    // Refused on a lock key.
    spec("bitop", -4, FROM_SECOND, refused(COMBINES)),
    spec("copy", -3, TWO, refused(COPIES)),
    spec("digest", 2, FIRST, refused(DIGESTS)),
    spec("dump", 2, FIRST, refused(DUMPS)),
    spec("georadius", -6, Keys::GeoRadius { options: 6 }, STORES),
    spec("georadiusbymember", -5, Keys::GeoRadius { options: 5 }, STORES),
    spec("geosearchstore", -8, TWO, STORES),
    spec("lcs", -3, TWO, refused(READS_TWO)),
    spec("migrate", -6, Keys::Migrate, refused(MIGRATES)),
    spec("move", 3, FIRST, refused(MOVES)),
    spec("rename", 3, TWO, refused(RENAMES)),
    spec("renamenx", 3, TWO, refused(RENAMES)),
    spec("restore", -4, FIRST, refused(RESTORES)),
    spec("restore-asking", -4, FIRST, refused(RESTORES)),
    spec("sdiffstore", -3, ALL, STORES),
    spec("sinterstore", -3, ALL, STORES),
    spec("sort", -2, Keys::Sort, STORES),
    spec("sunionstore", -3, ALL, STORES),
    spec("zdiffstore", -4, STORE_COUNTED, STORES),
    spec("zinterstore", -4, STORE_COUNTED, STORES),
    spec("zrangestore", -5, TWO, STORES),
    spec("zunionstore", -4, STORE_COUNTED, STORES),
    // Whole keyspace.
    spec("flushall", -1, NONE, keyspace(KeyspaceUse::FlushAll)),
    spec("flushdb", -1, NONE, keyspace(KeyspaceUse::FlushDb)),
    spec("swapdb", 3, NONE, keyspace(KeyspaceUse::SwapDb)),
    // Connection state.
    spec("auth", -2, NONE, state(StateUse::Auth)),
    spec("client", -2, NONE, state(StateUse::Client)),
    spec("discard", 1, NONE, state(StateUse::Discard)),
    spec("exec", 1, NONE, state(StateUse::Exec)),
    spec("hello", -1, NONE, state(StateUse::Hello)),
    spec("info", -1, NONE, state(StateUse::Info)),
    spec("lockside", -2, NONE, state(StateUse::Lockside)),
    spec("monitor", 1, NONE, state(StateUse::Monitor)),
    spec("multi", 1, NONE, state(StateUse::Multi)),
    spec("psubscribe", -2, NONE, state(StateUse::Psubscribe)),
    spec("psync", -3, NONE, state(StateUse::Sync)),
    spec("punsubscribe", -1, NONE, state(StateUse::Punsubscribe)),
    spec("quit", -1, NONE, state(StateUse::Quit)),
    spec("replconf", -1, NONE, state(StateUse::Replconf)),
    spec("reset", 1, NONE, state(StateUse::Reset)),
    spec("script", -2, NONE, state(StateUse::Script)),
    spec("select", 2, NONE, state(StateUse::Select)),
    spec("ssubscribe", -2, NONE, state(StateUse::Ssubscribe)),
    spec("subscribe", -2, NONE, state(StateUse::Subscribe)),
    spec("sunsubscribe", -1, NONE, state(StateUse::Sunsubscribe)),
    spec("sync", 1, NONE, state(StateUse::Sync)),
    spec("unsubscribe", -1, NONE, state(StateUse::Unsubscribe)),
    spec("unwatch", 1, NONE, state(StateUse::Unwatch)),
    spec("watch", -2, ALL, state(StateUse::Watch)),
    // Plain, with keys, or so where no lock that is no string is held.
    spec("blmove", 6, TWO, PLAIN),
    spec("blmpop", -5, counted(2), PLAIN),
    spec("blpop", -3, BUT_LAST, PLAIN),
    spec("brpop", -3, BUT_LAST, PLAIN),
    spec("brpoplpush", 4, TWO, PLAIN),
    spec("bzmpop", -5, counted(2), PLAIN),
    spec("bzpopmax", -3, BUT_LAST, PLAIN),
    spec("bzpopmin", -3, BUT_LAST, PLAIN),
    spec("expiretime", 2, FIRST, LOOK),
    spec("fcall", -3, counted(2), PLAIN),
    spec("fcall_ro", -3, counted(2), PLAIN),
    spec("geoadd", -5, FIRST, PLAIN),
    spec("geodist", -4, FIRST, INSIDE),
    spec("geohash", -2, FIRST, INSIDE),
    spec("geopos", -2, FIRST, INSIDE),
    spec("georadius_ro", -6, FIRST, INSIDE),
    spec("georadiusbymember_ro", -5, FIRST, INSIDE),
    spec("geosearch", -7, FIRST, INSIDE),
    spec("hdel", -3, FIRST, CONTENT),
    spec("hexists", 3, FIRST, INSIDE),
    spec("hexpire", -6, FIRST, PLAIN),
    spec("hexpireat", -6, FIRST, PLAIN),
    spec("hexpiretime", -5, FIRST, INSIDE),
    spec("hget", 3, FIRST, INSIDE),
    spec("hgetall", 2, FIRST, INSIDE),
    spec("hgetdel", -5, FIRST, PLAIN),
    spec("hgetex", -5, FIRST, PLAIN),
    spec("hincrby", 4, FIRST, CONTENT),
    spec("hincrbyfloat", 4, FIRST, CONTENT),
    spec("hkeys", 2, FIRST, INSIDE),
    spec("hlen", 2, FIRST, INSIDE),
    spec("hmget", -3, FIRST, INSIDE),
    spec("hmset", -4, FIRST, CONTENT),
    spec("hpersist", -5, FIRST, PLAIN),
    spec("hpexpire", -6, FIRST, PLAIN),
    spec("hpexpireat", -6, FIRST, PLAIN),
    spec("hpexpiretime", -5, FIRST, INSIDE),
    spec("hpttl", -5, FIRST, INSIDE),
    spec("hrandfield", -2, FIRST, INSIDE),
    spec("hscan", -3, FIRST, INSIDE),
    spec("hset", -4, FIRST, CONTENT),
    spec("hsetex", -6, FIRST, PLAIN),
    spec("hsetnx", 4, FIRST, CONTENT),
    spec("hstrlen", 3, FIRST, INSIDE),
    spec("httl", -5, FIRST, INSIDE),
    spec("hvals", 2, FIRST, INSIDE),
    spec("lindex", 3, FIRST, INSIDE),
    spec("linsert", 5, FIRST, CONTENT),
    spec("llen", 2, FIRST, INSIDE),
    spec("lmove", 5, TWO, PLAIN),
    spec("lmpop", -4, counted(1), PLAIN),
    spec("lpop", -2, FIRST, CONTENT),
    spec("lpos", -3, FIRST, INSIDE),
    spec("lpush", -3, FIRST, CONTENT),
    spec("lpushx", -3, FIRST, CONTENT),
    spec("lrange", 4, FIRST, INSIDE),
    spec("lrem", 4, FIRST, CONTENT),
    spec("lset", 4, FIRST, CONTENT),
    spec("ltrim", 4, FIRST, CONTENT),
    spec("memory", -2, SECOND, PLAIN),
    spec("object", -2, SECOND, PLAIN),
    spec("pexpiretime", 2, FIRST, LOOK),
    spec("pfadd", -2, FIRST, PLAIN),
    spec("pfcount", -2, ALL, PLAIN),
    spec("pfdebug", 3, SECOND, PLAIN),
    spec("pfmerge", -2, ALL, PLAIN),
    spec("pttl", 2, FIRST, LOOK),
    spec("rpop", -2, FIRST, CONTENT),
    spec("rpoplpush", 3, TWO, PLAIN),
    spec("rpush", -3, FIRST, CONTENT),
    spec("rpushx", -3, FIRST, CONTENT),
    spec("sadd", -3, FIRST, CONTENT),
    spec("scard", 2, FIRST, INSIDE),
    spec("sdiff", -2, ALL, PLAIN),
    spec("sinter", -2, ALL, PLAIN),
    spec("sintercard", -3, counted(1), PLAIN),
    spec("sismember", 3, FIRST, INSIDE),
    spec("smembers", 2, FIRST, INSIDE),
    spec("smismember", -3, FIRST, INSIDE),
    spec("smove", 4, TWO, PLAIN),
    spec("sort_ro", -2, FIRST, INSIDE),
    spec("spop", -2, FIRST, CONTENT),
    spec("srandmember", -2, FIRST, INSIDE),
    spec("srem", -3, FIRST, CONTENT),
    spec("sscan", -3, FIRST, INSIDE),
    spec("sunion", -2, ALL, PLAIN),
    spec("touch", -2, ALL, Class::Lock(LockUse::Exists)),
    spec("ttl", 2, FIRST, LOOK),
    spec("type", 2, FIRST, LOOK),
    spec("vadd", -1, FIRST, PLAIN),
    spec("vcard", -1, FIRST, PLAIN),
    spec("vdim", -1, FIRST, PLAIN),
    spec("vemb", -1, FIRST, PLAIN),
    spec("vgetattr", -1, FIRST, PLAIN),
    spec("vinfo", -1, FIRST, PLAIN),
    spec("vismember", -1, FIRST, PLAIN),
    spec("vlinks", -1, FIRST, PLAIN),
    spec("vrandmember", -1, FIRST, PLAIN),
    spec("vrange", -1, FIRST, PLAIN),
    spec("vrem", -1, FIRST, PLAIN),
    spec("vsetattr", -1, FIRST, PLAIN),
    spec("vsim", -1, FIRST, PLAIN),
    spec("xack", -4, FIRST, PLAIN),
    spec("xackdel", -6, FIRST, PLAIN),
    spec("xadd", -5, FIRST, PLAIN),
    spec("xautoclaim", -6, FIRST, PLAIN),
    spec("xcfgset", -2, FIRST, PLAIN),
    spec("xclaim", -6, FIRST, PLAIN),
    spec("xdel", -3, FIRST, PLAIN),
    spec("xdelex", -5, FIRST, PLAIN),
    spec("xgroup", -2, SECOND, PLAIN),
    spec("xinfo", -2, SECOND, PLAIN),
    spec("xlen", 2, FIRST, PLAIN),
    spec("xpending", -3, FIRST, PLAIN),
    spec("xrange", -4, FIRST, PLAIN),
    spec("xread", -4, Keys::Streams, PLAIN),
    spec("xreadgroup", -7, Keys::Streams, PLAIN),
    spec("xrevrange", -4, FIRST, PLAIN),
    spec("xsetid", -3, FIRST, PLAIN),
    spec("xtrim", -4, FIRST, PLAIN),
    spec("zadd", -4, FIRST, CONTENT),
    spec("zcard", 2, FIRST, INSIDE),
    spec("zcount", 4, FIRST, INSIDE),
    spec("zdiff", -3, counted(1), PLAIN),
    spec("zincrby", 4, FIRST, CONTENT),
    spec("zinter", -3, counted(1), PLAIN),
    spec("zintercard", -3, counted(1), PLAIN),
    spec("zlexcount", 4, FIRST, INSIDE),
    spec("zmpop", -4, counted(1), PLAIN),
    spec("zmscore", -3, FIRST, INSIDE),
    spec("zpopmax", -2, FIRST, CONTENT),
    spec("zpopmin", -2, FIRST, CONTENT),
    spec("zrandmember", -2, FIRST, INSIDE),
    spec("zrange", -4, FIRST, INSIDE),
    spec("zrangebylex", -4, FIRST, INSIDE),
    spec("zrangebyscore", -4, FIRST, INSIDE),
    spec("zrank", 3, FIRST, INSIDE),
    spec("zrem", -3, FIRST, CONTENT),
    spec("zremrangebylex", 4, FIRST, CONTENT),
    spec("zremrangebyrank", 4, FIRST, CONTENT),
    spec("zremrangebyscore", 4, FIRST, CONTENT),
    spec("zrevrange", -4, FIRST, INSIDE),
    spec("zrevrangebylex", -4, FIRST, INSIDE),
    spec("zrevrangebyscore", -4, FIRST, INSIDE),
    spec("zrevrank", 3, FIRST, INSIDE),
    spec("zscan", -3, FIRST, INSIDE),
    spec("zscore", 3, FIRST, INSIDE),
    spec("zunion", -3, counted(1), PLAIN),
    // Plain, without keys.
    spec("acl", -2, NONE, PLAIN),
    spec("asking", 1, NONE, PLAIN),
    spec("bgrewriteaof", 1, NONE, PLAIN),
    spec("bgsave", -1, NONE, PLAIN),
    spec("cluster", -2, NONE, PLAIN),
    spec("command", -1, NONE, PLAIN),
    spec("commandlog", -2, NONE, PLAIN),
    spec("config", -2, NONE, PLAIN),
    spec("dbsize", 1, NONE, PLAIN),
    spec("debug", -2, NONE, PLAIN),
    spec("echo", 2, NONE, PLAIN),
    spec("failover", -1, NONE, PLAIN),
    spec("function", -2, NONE, PLAIN),
    spec("hotkeys", -2, NONE, PLAIN),
    spec("keys", 2, NONE, PLAIN),
    spec("lastsave", 1, NONE, PLAIN),
    spec("latency", -2, NONE, PLAIN),
    spec("lolwut", -1, NONE, PLAIN),
    spec("module", -2, NONE, PLAIN),
    spec("pfselftest", 1, NONE, PLAIN),
    spec("ping", -1, NONE, PLAIN),
    spec("publish", 3, NONE, PLAIN),
    spec("pubsub", -2, NONE, PLAIN),
    spec("randomkey", 1, NONE, PLAIN),
    spec("readonly", 1, NONE, PLAIN),
    spec("readwrite", 1, NONE, PLAIN),
    spec("replicaof", 3, NONE, PLAIN),
    spec("role", 1, NONE, PLAIN),
    spec("save", 1, NONE, PLAIN),
    spec("scan", -2, NONE, PLAIN),
    spec("sentinel", -2, NONE, PLAIN),
    spec("sflush", -3, NONE, PLAIN),
    spec("shutdown", -1, NONE, PLAIN),
    spec("slaveof", 3, NONE, PLAIN),
    spec("slowlog", -2, NONE, PLAIN),
    spec("spublish", 3, NONE, PLAIN),
    spec("time", 1, NONE, PLAIN),
    spec("wait", 3, NONE, PLAIN),
    spec("waitaof", 4, NONE, PLAIN),
];

/// More than twice the table, so that probes are short; a power of two.
const SLOTS: usize = 1024;
/// A slot of no command.
const VACANT: u16 = u16::MAX;
/// The longest name of the table (`georadiusbymember_ro`); longer names are not looked for.
const LONGEST: usize = 20;

/// Open addressing from a name's hash to its place in `TABLE`; built by the compiler.
static INDEX: [u16; SLOTS] = build_index();

/// The entry of `name` in any case, or `None` for a command that Lockside does not know (which
/// is then forwarded untouched). No allocation; the work is bounded by the longest known name.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Spec> {
    if name.len() > LONGEST {
        return None;
    }
    let mut slot = hash(name);
    loop {
        // A place in the index is below `TABLE.len()`, or `VACANT`, which is above it.
        let spec = TABLE.get(usize::from(INDEX[slot % SLOTS]))?;
        if spec.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(spec);
        }
        slot += 1;
    }
}

/// Letters of both cases hash alike; other bytes may meet, the comparison tells them apart.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = name.len() as u32;
    let mut at = 0;
    while at < name.len() {
        hash = (hash.rotate_left(5) ^ (name[at] | 0x20) as u32).wrapping_mul(0x9E37_79B1);
        at += 1;
    }
    (hash >> 20) as usize
}

const fn build_index() -> [u16; SLOTS] {
    assert!(TABLE.len() * 2 < SLOTS);
    let mut index = [VACANT; SLOTS];
    let mut place = 0;
    while place < TABLE.len() {
        let name = TABLE[place].name.as_bytes();
        assert!(name.len() <= LONGEST);
        let mut slot = hash(name) % SLOTS;
        while index[slot] != VACANT {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = place as u16;
        place += 1;
    }
    index
}
