//! Doubles as Redis 7.0 reads them from a command: C's `strtod`, and what Redis makes of its result. Pure.

/// What `strtod` makes of a text that it reads to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Read {
    number: f64,
    /// `ERANGE`: too large, or too small to be anything but zero.
    is_out_of_range: bool,
}

/// A score (`ZADD`, `ZINCRBY`; `string2d` in Redis): no spaces, not empty, in range, not NaN.
pub(super) fn score(text: &[u8]) -> Option<f64> {
    let read = text.first().filter(|byte| !is_space(**byte)).and_then(|_| strtod(text))?;
    (!read.is_out_of_range).then_some(read.number)
}

/// An end of a range of scores, which Redis reads as C's string: up to a NUL, with spaces in front. Nothing
/// is 0, and what is out of range is infinite or 0.
pub(super) fn bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|byte| !is_space(*byte))?;
    strtod(&text[start..]).map(|read| read.number)
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// None where something is left over, and for NaN.
fn strtod(text: &[u8]) -> Option<Read> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let (number, is_zero) = match digits {
        [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
        // Rust reads a sign here.
        [b'0'..=b'9' | b'.', ..] => {
            let mantissa = digits.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next()?;
            let is_zero = mantissa.iter().all(|byte| matches!(byte, b'0' | b'.'));
            (std::str::from_utf8(digits).ok()?.parse::<f64>().ok()?, is_zero)
        }
        word => {
            let words: [&[u8]; 2] = [b"inf", b"infinity"];
            let is_infinite = words.iter().any(|known| word.eq_ignore_ascii_case(known));
            let number = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
            return is_infinite.then_some(Read { number, is_out_of_range: false });
        }
    };
    let is_out_of_range = number.is_infinite() || number == 0.0 && !is_zero;
    Some(Read { number: if negative { -number } else { number }, is_out_of_range })
}

/// What is behind `0x`: the number, and whether all its digits are zeros.
fn hexadecimal(text: &[u8]) -> Option<(f64, bool)> {
    let mut parts = text.splitn(2, |byte| byte.eq_ignore_ascii_case(&b'p'));
    let (mantissa, power) = (parts.next()?, parts.next());
    let mut exponent = power.map_or(Some(0), decimal_power)?;
    let (mut number, mut digits, mut is_behind_point) = (0_u64, 0_usize, false);
    for byte in mantissa {
        if *byte == b'.' && !is_behind_point {
            is_behind_point = true;
            continue;
        }
        let digit = u64::from(char::from(*byte).to_digit(16)?);
        digits += 1;
        exponent -= if is_behind_point { 4 } else { 0 };
        if number >> 60 == 0 {
            number = number << 4 | digit;
        } else {
            // Far behind what a double has: only whether there is something counts.
            number |= u64::from(digit != 0);
            exponent += 4;
        }
    }
    (digits > 0).then(|| (scaled(number, exponent), number == 0))
}

/// A power of two in decimal, with a sign; what is far out of range is only that.
fn decimal_power(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0_i64, |number, digit| (number * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(if negative { -number } else { number })
}

/// `number` times two to the power of `exponent`, rounded once: to the nearest, and to the even one of
/// two.
fn scaled(number: u64, exponent: i64) -> f64 {
    let bits = i64::from(64 - number.leading_zeros());
    let top = exponent + bits;
    if number == 0 || top < -1074 {
        return 0.0;
    }
    if top > 1024 {
        return f64::INFINITY;
    }
    // A double has 53 bits, and fewer near zero.
    let cut = (bits - 53).max(-1074 - exponent).max(0);
    let wide = u128::from(number);
    let (kept, rest, half) = (wide >> cut, wide & ((1 << cut) - 1), (1_u128 << cut) >> 1);
    let up = rest > half || cut > 0 && rest == half && kept & 1 == 1;
    // Exact from here on: at most 2^53, times powers that are doubles themselves.
    let (kept, power) = ((kept + u128::from(up)) as f64, (exponent + cut) as i32);
    kept * 2_f64.powi(power / 2) * 2_f64.powi(power - power / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, expected) in [
            ("+1", 1.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("0x10", 16.0),
            ("-0X.8p1", -1.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.0 + f64::EPSILON),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1.8p-1074", f64::from_bits(2)),
            ("1e-310", 1e-310),
            ("Infinity", f64::INFINITY),
        ] {
            assert_eq!(score(text.as_bytes()), Some(expected), "{text}");
            assert_eq!(bound(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["", " 1", "1e400", "1e-400", "0x1p-1076", "0x1p1024", "1\0"] {
            assert_eq!(score(text.as_bytes()), None, "{text:?}");
            assert!(bound(text.as_bytes()).is_some(), "{text:?}");
        }
        for text in [" ", "1 ", "0x", "nan", "infin", ".", "1_0", "1e", "+-1", "--1", "0x1p", "1d"]
        {
            assert_eq!((score(text.as_bytes()), bound(text.as_bytes())), (None, None), "{text:?}");
        }
    }
}
