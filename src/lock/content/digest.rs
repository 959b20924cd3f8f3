//! The name of a content that is too large to be kept. Pure.
//!
//! `#`, the letter of the type, and a SHA-1 in hex. Of a list it is that of its bytes; else that of the
//! letter and of the digests of all elements (a pair is one element), sorted: so it does not depend on
//! the order that Redis has the elements in, nor on how a server's locale sorts bytes. A score is
//! written as `%.17g`. Scripts make it (`envelope/content.lua`); [`of`] is what they are held to.

use crate::lock::envelope::sha1_hex;

use super::{Content, put};

/// Bytes of a content that has a digest. What is larger is no lock: a script that would make one is
/// refused, and what stands there all the same is told from nothing else and left alone.
pub const LARGEST: usize = 65_536;

/// Elements of a content that has a digest: what scripts look at under one key, in one to three
/// milliseconds.
pub const MOST: usize = 1024;

/// Bytes of a digest.
const LENGTH: usize = 42;

/// True for the digest of a content.
pub fn is_one(content: &[u8]) -> bool {
    let is_hex = |digits: &[u8]| {
        digits.iter().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit))
    };
    content.len() == LENGTH
        && content[0] == b'#'
        && super::type_of(content[1]).is_some()
        && is_hex(&content[2..])
}

/// The digest of a content, however large.
pub fn of(content: &Content) -> Vec<u8> {
    let mut all = vec![content.letter()];
    let pair = |name: &[u8], value: &[u8]| {
        let mut bytes = Vec::new();
        put(&mut bytes, name);
        put(&mut bytes, value);
        sha1_hex(&bytes)
    };
    let mut digests: Vec<[u8; 40]> = match content {
        Content::Hash(fields) => fields.iter().map(|(field, value)| pair(field, value)).collect(),
        Content::Sorted(members) => {
            members.iter().map(|(name, score)| pair(name, score.digits().as_bytes())).collect()
        }
        Content::Set(members) => {
            let bytes = |member: &Vec<u8>| {
                let mut bytes = Vec::new();
                put(&mut bytes, member);
                sha1_hex(&bytes)
            };
            members.iter().map(bytes).collect()
        }
        Content::List(items) => {
            items.iter().for_each(|item| put(&mut all, item));
            Vec::new()
        }
    };
    digests.sort_unstable();
    digests.iter().for_each(|digest| all.extend_from_slice(digest));
    [b"#", &[content.letter()][..], &sha1_hex(&all)].concat()
}
