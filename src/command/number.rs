//! Integers as Redis reads them from arguments.

/// `text` as Redis's `string2ll` reads it: an optional `-`, then digits without leading zeros
/// and without anything else; within i64. No `+`, no spaces, no `-0`.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => i64::from(digit - b'0'),
            _ => return None,
        };
        let shifted = value.checked_mul(10)?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}
