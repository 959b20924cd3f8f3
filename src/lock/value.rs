//! The two views of a lock's value: what the client wrote, and what stands in Redis.
//!
//! Pure: bytes in, bytes out. The time and the random bits of a stamp are handed in. The same
//! rules exist a second time in Lua (`envelope/values.lua`), because scripts stamp and strip inside
//! Redis; `tests/suite/envelope.rs` holds the two against each other.
//!
//! # Grammar (SPEC section 4)
//!
//! ```text
//! timestamp = DD-MM-YYYY HH:MM:SS            19 bytes, only the shape is looked at
//! nonce     = 16 lower-case hex digits
//! pair      = a ":" b                        UTF-8, exactly one colon, a and b not empty
//! worker    = pair ":" timestamp             where b is unique by itself
//! marked    = value ":~" nonce ":" timestamp
//! ```
//!
//! *Looks stamped*: has the form `worker` or `marked`. [`strip`] takes one stamp off a value that
//! looks stamped, `marked` before `worker`. [`stamp`] never leaves a value that looks stamped as
//! it is: such a value gets a `marked` stamp of its own, which is the one that [`strip`] takes
//! off. A `worker` stamp cannot be taken for a `marked` one, because `~` is in no b that is unique
//! by itself. So `strip(stamp(v)) = v` holds for every byte string.
//!
//! With [`Stamp::Never`] both are the identity: a suffix that a client wrote itself stays. A value
//! that was stamped before its rule was changed to `never` is then shown as it stands.
//!
//! A value that Lockside did not write is shown as it stands unless it looks stamped. That is
//! meant for `worker`, the form of the original service, and cannot be told apart for `marked`.

use std::borrow::Cow;

/// Bytes of a timestamp.
const TIMESTAMP: usize = 19;
/// Bytes of a nonce.
const NONCE: usize = 16;
/// Bytes of a marked stamp: `:~`, nonce, `:`, timestamp.
const MARKED: usize = 2 + NONCE + 1 + TIMESTAMP;
/// A value below this many bytes is not unique by itself.
const UNIQUE_LENGTH: usize = 16;

/// Which values of a rule get a stamp (SPEC section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamp {
    /// Those that are not unique by themselves, and `a:b` with a unique b.
    #[default]
    Auto,
    /// All.
    Always,
    /// None: Redis has the bytes that the client wrote.
    Never,
}

/// What makes a stamp unique to its acquire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unique {
    timestamp: [u8; TIMESTAMP],
    nonce: [u8; NONCE],
}

impl Unique {
    /// A stamp of `timestamp` (`DD-MM-YYYY HH:MM:SS`, in the configured time zone) and 64 random
    /// bits. `None` if the timestamp has another shape.
    pub fn new(timestamp: &str, random: u64) -> Option<Self> {
        let timestamp: [u8; TIMESTAMP] = timestamp.as_bytes().try_into().ok()?;
        if !is_timestamp(&timestamp) {
            return None;
        }
        let mut nonce = [0; NONCE];
        for (place, digit) in nonce.iter_mut().enumerate() {
            let nibble = (random >> (60 - 4 * place)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        Some(Self { timestamp, nonce })
    }

    /// The timestamp's text.
    pub fn timestamp(&self) -> &[u8] {
        &self.timestamp
    }

    /// The 16 hex digits.
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }
}

/// True for a value that [`stamp`] leaves as it is, so that no stamp has to be made for it.
pub fn stays(value: &[u8], mode: Stamp) -> bool {
    match mode {
        Stamp::Never => true,
        Stamp::Always => false,
        // No pair is a token: a token with a colon in it is not UTF-8.
        Stamp::Auto => is_token(value) && stamp_start(value).is_none(),
    }
}

/// The stored value for a client value.
pub fn stamp<'a>(value: &'a [u8], mode: Stamp, unique: &Unique) -> Cow<'a, [u8]> {
    if stays(value, mode) {
        return Cow::Borrowed(value);
    }
    if stamp_start(value).is_some() {
        return Cow::Owned(marked(value, unique));
    }
    if pair(value).is_some_and(|(_, token)| is_token(token)) {
        let mut stored = Vec::with_capacity(value.len() + 1 + TIMESTAMP);
        stored.extend_from_slice(value);
        stored.push(b':');
        stored.extend_from_slice(&unique.timestamp);
        return Cow::Owned(stored);
    }
    Cow::Owned(marked(value, unique))
}

/// The client value of a stored value, by the mode of the key's rule.
pub fn strip(stored: &[u8], mode: Stamp) -> &[u8] {
    match stamp_start(stored) {
        Some(start) if mode != Stamp::Never => &stored[..start],
        _ => stored,
    }
}

/// Whether `presented` names the lock that has `stored`: the client value or the whole stored
/// value; for values of the original service also their `a:b`, whatever b is.
pub fn matches(stored: &[u8], presented: &[u8], mode: Stamp) -> bool {
    stored == presented
        || strip(stored, mode) == presented
        || original(stored).is_some_and(|(value, _)| value == presented)
}

/// What names the lock that has `stored`, each form as [`matches()`] takes it.
pub fn forms(stored: &[u8], mode: Stamp) -> [Option<&[u8]>; 3] {
    [Some(stored), Some(strip(stored, mode)), original(stored).map(|(value, _)| value)]
}

/// Whether nobody else will come with the same client value: a UUID; 16 bytes or more of hex or
/// base64 with a digit; 16 bytes or more that are not UTF-8; or `a:b` where b is one of these.
pub fn is_unique(value: &[u8]) -> bool {
    is_token(value) || pair(value).is_some_and(|(_, token)| is_token(token))
}

/// The a of a client value `a:b`.
pub fn worker_id(value: &[u8]) -> Option<&str> {
    pair(value).map(|(worker, _)| worker)
}

/// The timestamp in a stored value, as text; also in values of the original service.
pub fn stamped_at(stored: &[u8]) -> Option<&str> {
    let stamped = is_marked(stored) || original(stored).is_some();
    let text = stored.get(stored.len().checked_sub(TIMESTAMP)?..)?;
    if stamped { std::str::from_utf8(text).ok() } else { None }
}

/// Where the stamp of a value that looks stamped begins.
fn stamp_start(value: &[u8]) -> Option<usize> {
    if is_marked(value) {
        return Some(value.len() - MARKED);
    }
    let (head, token) = original(value)?;
    is_token(token).then_some(head.len())
}

/// `a:b` and b of a value of the form `a:b:timestamp`, whatever b is.
fn original(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let cut = value.len().checked_sub(1 + TIMESTAMP)?;
    let (head, tail) = value.split_at(cut);
    if tail[0] != b':' || !is_timestamp(&tail[1..]) {
        return None;
    }
    pair(head).map(|(_, token)| (head, token))
}

fn is_marked(value: &[u8]) -> bool {
    let Some(cut) = value.len().checked_sub(MARKED) else { return false };
    let tail = &value[cut..];
    tail.starts_with(b":~")
        && tail[2..2 + NONCE].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && tail[2 + NONCE] == b':'
        && is_timestamp(&tail[MARKED - TIMESTAMP..])
}

fn marked(value: &[u8], unique: &Unique) -> Vec<u8> {
    let mut stored = Vec::with_capacity(value.len() + MARKED);
    stored.extend_from_slice(value);
    stored.extend_from_slice(b":~");
    stored.extend_from_slice(&unique.nonce);
    stored.push(b':');
    stored.extend_from_slice(&unique.timestamp);
    stored
}

/// Digits where `DD-MM-YYYY HH:MM:SS` has digits, and its separators where it has them.
fn is_timestamp(text: &[u8]) -> bool {
    text.len() == TIMESTAMP
        && text.iter().zip(b"00-00-0000 00:00:00").all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            separator => byte == separator,
        })
}

/// a and b of `a:b`: UTF-8, one colon, both not empty.
fn pair(value: &[u8]) -> Option<(&str, &[u8])> {
    let colon = memchr::memchr(b':', value)?;
    let (worker, token) = (&value[..colon], &value[colon + 1..]);
    if worker.is_empty() || token.is_empty() || memchr::memchr(b':', token).is_some() {
        return None;
    }
    std::str::from_utf8(token).ok()?;
    Some((std::str::from_utf8(worker).ok()?, token))
}

/// Unique by itself, not as a pair.
fn is_token(value: &[u8]) -> bool {
    value.len() >= UNIQUE_LENGTH
        && (is_base64_with_digit(value) || is_uuid(value) || std::str::from_utf8(value).is_err())
}

/// The standard alphabet, which has that of hex in it, and up to two `=` at the end. The URL
/// alphabet is left out: `worker-host-0001` would be unique by it, and a stamp too many is
/// harmless.
fn is_base64_with_digit(value: &[u8]) -> bool {
    let padding = value.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let body = &value[..value.len() - padding];
    body.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && body.iter().any(u8::is_ascii_digit)
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: &str = "23-11-2026 13:20:05";
    const MODES: [Stamp; 3] = [Stamp::Auto, Stamp::Always, Stamp::Never];

    fn unique() -> Unique {
        Unique::new(TIME, 0x0123_4567_89ab_cdef).unwrap()
    }

    fn stamped(value: &str, mode: Stamp) -> String {
        String::from_utf8(stamp(value.as_bytes(), mode, &unique()).into_owned()).unwrap()
    }

    #[test]
    fn a_worker_and_a_unique_token_get_the_original_services_form() {
        let value = "93:550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(stamped(value, Stamp::Auto), format!("{value}:{TIME}"));
        assert_eq!(stamped(value, Stamp::Always), format!("{value}:{TIME}"));
        assert_eq!(stamped(value, Stamp::Never), value);
    }

    #[test]
    fn a_value_that_repeats_gets_the_marked_form() {
        for value in ["", "1", "locked", "host:4711", "a:", ":b", "a:b:c", "worker-host-0001"] {
            let expected = format!("{value}:~0123456789abcdef:{TIME}");
            assert_eq!(stamped(value, Stamp::Auto), expected);
        }
    }

    #[test]
    fn a_unique_value_stays_as_it_is_unless_always_is_set() {
        let values =
            ["550e8400-e29b-41d4-a716-446655440000", "0123456789abcdef", "q2/Zr+8LkdM1yW0xKQ=="];
        for value in values {
            assert!(is_unique(value.as_bytes()));
            assert_eq!(stamped(value, Stamp::Auto), value);
            assert_eq!(stamped(value, Stamp::Always), format!("{value}:~0123456789abcdef:{TIME}"));
        }
        let binary = [0xff_u8; 20];
        assert!(is_unique(&binary));
        assert_eq!(stamp(&binary, Stamp::Auto, &unique()), &binary[..]);
    }

    #[test]
    fn short_or_readable_values_are_not_unique() {
        for value in ["0123456789abcde", "onlylettersinhere", "====", "a=b0123456789abcdef", ""] {
            assert!(!is_unique(value.as_bytes()), "{value}");
        }
        assert!(!is_unique(&[0xff; 15]));
    }

    #[test]
    fn a_value_that_looks_stamped_gets_a_stamp_of_its_own() {
        let once = stamped("93:550e8400-e29b-41d4-a716-446655440000", Stamp::Auto);
        assert_eq!(stamped(&once, Stamp::Auto), format!("{once}:~0123456789abcdef:{TIME}"));
        assert_eq!(stamped(&once, Stamp::Never), once);
        assert_eq!(strip(once.as_bytes(), Stamp::Never), once.as_bytes());
    }

    #[test]
    fn both_forms_of_a_token_match_the_same_lock() {
        let stored = format!("93:550e8400-e29b-41d4-a716-446655440000:{TIME}").into_bytes();
        assert!(matches(&stored, &stored, Stamp::Auto));
        assert!(matches(&stored, b"93:550e8400-e29b-41d4-a716-446655440000", Stamp::Auto));
        assert!(!matches(&stored, b"94:550e8400-e29b-41d4-a716-446655440000", Stamp::Auto));
        let original = format!("93:7:{TIME}").into_bytes();
        assert_eq!(strip(&original, Stamp::Auto), original);
        assert!(matches(&original, b"93:7", Stamp::Auto));
        assert!(!matches(&original, b"93", Stamp::Auto));
    }

    #[test]
    fn worker_and_time_are_found() {
        assert_eq!(worker_id(b"93:7"), Some("93"));
        assert_eq!(worker_id(b"93:7:8"), None);
        assert_eq!(stamped_at(format!("93:7:{TIME}").as_bytes()), Some(TIME));
        assert_eq!(stamped_at(stamped("1", Stamp::Auto).as_bytes()), Some(TIME));
        assert_eq!(stamped_at(TIME.as_bytes()), None);
        assert_eq!(stamped_at(b"1"), None);
    }

    #[test]
    fn a_timestamp_of_another_shape_is_refused() {
        for text in ["", "2026-11-23 13:20:05", "23-11-2026 13:20:0x", "23-11-2026 13:20:055"] {
            assert_eq!(Unique::new(text, 1), None);
        }
    }

    /// Byte strings built from the pieces that the grammar is made of.
    fn adversarial() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b":".to_vec()),
            Just(b"~".to_vec()),
            Just(b":~".to_vec()),
            Just(b"0123456789abcdef".to_vec()),
            Just(TIME.as_bytes().to_vec()),
            Just(b":~fedcba9876543210:01-02-2003 04:05:06".to_vec()),
            Just(b"550e8400-e29b-41d4-a716-446655440000".to_vec()),
            Just(b"w".to_vec()),
            Just(b"\xff\xfe".to_vec()),
            Just("é".as_bytes().to_vec()),
            Just(b"=".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn strip_undoes_stamp(value in adversarial(), random in any::<u64>()) {
            let unique = Unique::new(TIME, random).unwrap();
            for mode in MODES {
                let stored = stamp(&value, mode, &unique);
                prop_assert_eq!(strip(&stored, mode), &value[..]);
                prop_assert!(matches(&stored, &value, mode));
                prop_assert!(matches(&stored, &stored, mode));
                let again = stamp(&stored, mode, &unique);
                prop_assert_eq!(strip(&again, mode), &stored[..]);
            }
        }

        #[test]
        fn a_stored_value_is_unique_unless_stamps_are_off(value in adversarial()) {
            let [one, two] = [1, 2].map(|random| Unique::new(TIME, random).unwrap());
            for mode in [Stamp::Auto, Stamp::Always] {
                let same = stamp(&value, mode, &one) == stamp(&value, mode, &two);
                prop_assert!(!same || is_unique(&value));
            }
        }

        #[test]
        fn what_lockside_did_not_write_is_shown_as_it_stands(value in any::<Vec<u8>>()) {
            prop_assume!(stamped_at(&value).is_none());
            for mode in MODES {
                prop_assert_eq!(strip(&value, mode), &value[..]);
            }
        }
    }
}
