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
        let text = include_str!("guarded.lua").replace("THEN", then);
        Self { sha: sha1_hex(text.as_bytes()), text }
    }
}

/// Step 4 of an acquire (SPEC section 3): takes the TTL off. 1 if the lock is ours (persistent
/// already or not), 0 if the key is another's, -1 if it is gone.
pub static PERSIST: LazyLock<Script> =
    LazyLock::new(|| Script::guarded("redis.call('PERSIST', k)"));

/// Withdraws a lock. 1 if it was ours and is deleted, 0 if the key is another's, -1 if it is gone.
pub static COMPARE_AND_DELETE: LazyLock<Script> =
    LazyLock::new(|| Script::guarded("redis.call('DEL', k)"));
