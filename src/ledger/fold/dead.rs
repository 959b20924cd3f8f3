//! Values that hold no lock and never will by themselves, bounded. Pure.
//!
//! What is forgotten costs this: a value that was released so long ago, and that a Redis with old
//! data brings back, is taken for a lock that was made behind Lockside's back.

use std::collections::HashMap;

use sha1::{Digest, Sha1};

use super::super::entry::Claim;
use crate::lock::content;
use crate::lock::record::LockKey;

/// Dead values in one generation; two are kept. So the last 220,000 to 440,000 are known, in about
/// 13 MiB, and a snapshot has 10 MiB of them at most. As many as fill a hash table of 2^18 places
/// without making it grow.
pub const DEAD_GENERATION: usize = 220_000;

/// Names a value of a key: the first 16 bytes of a SHA-1, so that nobody finds two by accident, and
/// every sidecar and version finds the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// The name of this value; none for a value that nothing tells from the next.
    pub fn new(key: &LockKey, stored: &[u8], other: Option<&[u8]>) -> Option<Self> {
        if stored.is_empty() && other.is_none() {
            return None;
        }
        let mut digest = Sha1::new();
        // Each part behind its length, so that no two triples are the same bytes.
        let length = |bytes: &[u8]| (bytes.len() as u64).to_be_bytes();
        digest.update(key.db().to_be_bytes());
        digest.update(length(key.key()));
        digest.update(key.key());
        digest.update(length(stored));
        digest.update(stored);
        // The time of an acquire is not seen in Redis any more; a SHA1 (format 1) is no content.
        let other = other.unwrap_or_default();
        digest.update(if content::is_told(other) { content::split(other).1 } else { other });
        let all: [u8; 20] = digest.finalize().into();
        let mut token = [0; 16];
        token.copy_from_slice(&all[..16]);
        Some(Self(token))
    }

    /// The name of a claim's value; none for a value that nothing tells from the next.
    pub fn of(claim: &Claim) -> Option<Self> {
        Self::new(&claim.key, &claim.stored, claim.other.as_deref())
    }
}

/// The dead values in two generations: when the young one is full it becomes the old one, whose
/// values are forgotten. A function of the order in which values die, so the same for all readers.
///
/// Each with the highest fence by which it has held a lock (`fast`): a client may take a lock again
/// with the value that it has released, and that grant has a higher one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dead {
    young: HashMap<Token, u64>,
    old: HashMap<Token, u64>,
}

impl Dead {
    /// From what [`Dead::generations`] gave.
    pub fn from_generations([young, old]: [Vec<(Token, u64)>; 2]) -> Self {
        Self { young: young.into_iter().collect(), old: old.into_iter().collect() }
    }

    /// Young and old, each in the order of their bytes.
    pub fn generations(&self) -> [Vec<(Token, u64)>; 2] {
        [&self.young, &self.old].map(|generation| {
            let mut all: Vec<_> =
                generation.iter().map(|(token, fence)| (*token, *fence)).collect();
            all.sort_unstable();
            all
        })
    }

    /// True if the value is known as dead.
    pub fn has(&self, token: &Token) -> bool {
        self.fence(token).is_some()
    }

    /// The highest fence by which a dead value has held the lock; zero for one that never did.
    pub fn fence(&self, token: &Token) -> Option<u64> {
        self.young.get(token).or_else(|| self.old.get(token)).copied()
    }

    pub(super) fn insert(&mut self, token: Token, fence: u64) {
        let before = self.old.remove(&token).or_else(|| self.young.remove(&token));
        self.young.insert(token, fence.max(before.unwrap_or_default()));
        if self.young.len() >= DEAD_GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }

    pub(super) fn remove(&mut self, token: &Token) {
        if self.young.remove(token).is_none() {
            self.old.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Token {
        Token((number as u128).to_be_bytes())
    }

    #[test]
    fn a_name_is_of_the_whole_triple() {
        let key = |text: &str| LockKey::new(0, text.as_bytes());
        let one = Token::new(&key("ab"), b"c", None);
        assert_ne!(one, Token::new(&key("a"), b"bc", None));
        assert_ne!(one, Token::new(&key("ab"), b"", Some(b"c")));
        assert_ne!(one, Token::new(&LockKey::new(1, b"ab"), b"c", None));
        assert_eq!(one, Token::new(&key("ab"), b"c", None));
        assert_eq!(Token::new(&key("ab"), b"", None), None);
    }

    #[test]
    fn the_last_generation_is_always_known_and_the_rest_is_forgotten() {
        let mut dead = Dead::default();
        for number in 0..2 * DEAD_GENERATION + 10 {
            dead.insert(token(number), 1);
        }
        assert!((DEAD_GENERATION..2 * DEAD_GENERATION + 10).all(|n| dead.has(&token(n))));
        assert!(!dead.has(&token(0)) && !dead.has(&token(DEAD_GENERATION - 1)));
        assert_eq!(Dead::from_generations(dead.generations()), dead);
        dead.insert(token(DEAD_GENERATION + 9), 7);
        dead.insert(token(DEAD_GENERATION + 9), 3);
        assert_eq!(dead.fence(&token(DEAD_GENERATION + 9)), Some(7), "the highest");
        dead.remove(&token(DEAD_GENERATION));
        assert!(!dead.has(&token(DEAD_GENERATION)));
    }
}
