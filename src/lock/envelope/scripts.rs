//! Guarded scripts of Lockside's own: they act on a key only while what stands there is what the
//! guard says. Each takes any number of keys and as many guards (`Guard::encode`), and answers an
//! array with one integer for each key.

use std::sync::LazyLock;

use super::sha1_hex;

/// A fixed script.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// What EVALSHA names.
    pub sha: [u8; 40],
}

impl Script {
    fn guarded(then: &str) -> Self {
        Self::of(guarded(then))
    }

    fn of(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { sha: sha1_hex(text.as_bytes()), text }
    }
}

/// Whether what stands under a key is what its guard says, and what is done then.
fn guarded(then: &str) -> String {
    let write = if then.contains("write(") { include_str!("write.lua") } else { "" };
    let text = include_str!("guarded.lua")
        .replace("CONTENT", include_str!("content.lua"))
        .replace("WRITE", write);
    super::squeeze(&text).replace("THEN", then)
}

/// Step 4 of an acquire (SPEC section 3): takes the TTL off. 1 if the lock is ours (persistent
/// already or not), 0 if the key is another's, -1 if it is gone.
pub static PERSIST: LazyLock<Script> =
    LazyLock::new(|| Script::guarded("redis.call('PERSIST', k)"));

/// [`PERSIST`] where Redis decides (`fast`), which also gives each lock its fence (SPEC 8): behind
/// the keys the counter's, behind the guards the keys' database and a fence that all of them must be
/// above. Answers the fence where [`PERSIST`] answers 1, and -2 for each key, with nothing done, if
/// there is no counter. The counter is in database 0, whatever the keys' is.
pub static PERSIST_FENCED: LazyLock<Script> = LazyLock::new(|| {
    let guarded = guarded("redis.call('PERSIST', k)\n    fence = fence + 1")
        .replace("out[i] = 1", "out[i] = fence");
    Script::of(format!("{}{guarded}", include_str!("fenced.lua")))
});

/// Sets the counter of fences to at least this number. Answers 1.
pub static RAISE_COUNTER: LazyLock<Script> =
    LazyLock::new(|| Script::of(include_str!("raise.lua")));

/// What the counter of fences is; -1 if there is none.
pub static COUNTER: LazyLock<Script> = LazyLock::new(|| Script::of(include_str!("counter.lua")));

/// [`RAISE_COUNTER`] from any database: the number, then which one that is.
pub static RESTORE_COUNTER: LazyLock<Script> = LazyLock::new(|| {
    let select = "if ARGV[2] ~= '0' then redis.call('SELECT', '0') end";
    Script::of(format!("{select}\n{}", include_str!("raise.lua")))
});

/// Withdraws a lock. 1 if it was ours and is deleted, 0 if the key is another's, -1 if it is gone.
pub static COMPARE_AND_DELETE: LazyLock<Script> =
    LazyLock::new(|| Script::guarded("redis.call('DEL', k)"));

/// Keeps a provisional key while its claim is under way (SPEC 3): gives it so much time again. Behind
/// the guards: milliseconds, one for each key. A key that was made permanent meanwhile stays so.
/// Answers as [`PERSIST`].
pub static REFRESH: LazyLock<Script> = LazyLock::new(|| {
    Script::guarded(
        "local left, ttl = redis.call('PTTL', k), tonumber(ARGV[#KEYS + i])
    if left >= 0 and left < ttl then redis.call('PEXPIRE', k, ttl) end",
    )
});

/// A repair: gives the holder's key at least so much time. Behind the guards: milliseconds, one for
/// each key. Answers as [`PERSIST`].
pub static LENGTHEN: LazyLock<Script> = LazyLock::new(|| {
    Script::guarded(
        "local ttl = ARGV[#KEYS + i]
    if redis.call('PTTL', k) < tonumber(ttl) then redis.call('PEXPIRE', k, ttl) end",
    )
});

/// A repair: sets something else in place of what is guarded. Behind the guards: for each key what it
/// is to have, as a guard ([`super::Guard::encode`]), then milliseconds or nothing for each key. 1 if
/// it was set, 0 if something else stands there, -1 if nothing does.
pub static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::guarded(
        "redis.call('DEL', k)
    write(k, ARGV[#KEYS + i], ARGV[2 * #KEYS + i])",
    )
});

/// A repair: sets what is missing. In place of the guards `-` for each key, then the same as
/// [`REPLACE`]. 1 if it was set, 0 if something stands there.
pub static SET_MISSING: LazyLock<Script> =
    LazyLock::new(|| Script::guarded("write(k, ARGV[#KEYS + i], ARGV[2 * #KEYS + i])"));

/// Reads: three elements for each key, in the place of one integer (`look.lua`).
pub static LOOK: LazyLock<Script> =
    LazyLock::new(|| Script::of([include_str!("content.lua"), include_str!("look.lua")].concat()));
