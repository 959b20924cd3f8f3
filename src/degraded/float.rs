//! INCRBYFLOAT and HINCRBYFLOAT add as x86's long double does: a mantissa of 64 bits, written with 17
//! decimals. Pure; whole numbers and short decimals, which is what anybody counts with.

/// A number: `mantissa` times two to the power of `exponent`, which is 0 or below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Long {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// No number.
    No,
    /// A number that is not computed with here: long, with an exponent, hexadecimal, infinite.
    Beyond,
    /// A number.
    Is(Long),
}

/// Digits of a number in all, and behind the point.
const MOST_DIGITS: usize = 18;
const MOST_DECIMALS: u32 = 17;
/// Two exponents that differ more are too far apart for a sum in 128 bits.
const FARTHEST: i32 = 60;

impl Long {
    /// Reads a decimal.
    pub(super) fn read(text: &[u8]) -> Read {
        let Some(text) = std::str::from_utf8(text).ok().filter(|text| !text.is_empty()) else {
            return Read::No;
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let all: String = [whole, decimals].concat();
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            let is_number = text.parse::<f64>().is_ok() || digits.starts_with("0x");
            return if is_number { Read::Beyond } else { Read::No };
        }
        let trimmed = all.trim_start_matches('0');
        let places = u32::try_from(decimals.len()).unwrap_or(u32::MAX);
        if trimmed.len() > MOST_DIGITS || places > MOST_DECIMALS {
            return Read::Beyond;
        }
        let number: u128 = trimmed.parse().unwrap_or(0);
        let divisor = 10_u128.pow(places);
        // The quotient has more than 64 bits, or it is exact.
        let mut shift = 0;
        while number != 0 && places > 0 && (number << shift) / divisor < 1 << 66 {
            shift += 1;
        }
        let (quotient, rest) = ((number << shift) / divisor, (number << shift) % divisor);
        Read::Is(Self::rounded(negative, quotient, rest != 0, -shift))
    }

    /// To the nearest of 64 bits, and to the even one of two; `more`: there is something behind.
    fn rounded(negative: bool, number: u128, more: bool, exponent: i32) -> Self {
        let extra = 128_u32.saturating_sub(number.leading_zeros() + 64);
        if extra == 0 {
            return Self { negative, mantissa: number as u64, exponent }.reduced();
        }
        let (kept, cut) = (number >> extra, number & ((1 << extra) - 1));
        let half = 1 << (extra - 1);
        let up = cut > half || cut == half && (more || kept & 1 == 1);
        let (kept, exponent) = (kept + u128::from(up), exponent + extra as i32);
        match u64::try_from(kept) {
            Ok(mantissa) => Self { negative, mantissa, exponent }.reduced(),
            Err(_) => Self { negative, mantissa: 1 << 63, exponent: exponent + 1 }.reduced(),
        }
    }

    /// The same number with an exponent as near to 0 as it goes.
    fn reduced(mut self) -> Self {
        if self.mantissa == 0 {
            return Self { negative: false, mantissa: 0, exponent: 0 };
        }
        while self.exponent < 0 && self.mantissa & 1 == 0 {
            self.mantissa >>= 1;
            self.exponent += 1;
        }
        self
    }

    /// The sum; none where it is not computed here.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: Self| {
            let shift = number.exponent - exponent;
            let bits = 64 - number.mantissa.leading_zeros() as i32;
            if number.exponent > 0 || shift > FARTHEST && shift + bits > 120 {
                return None;
            }
            let size = i128::from(number.mantissa) << shift;
            Some(if number.negative { -size } else { size })
        };
        let sum = aligned(self)?.checked_add(aligned(other)?)?;
        let sum = Self::rounded(sum < 0, sum.unsigned_abs(), false, exponent);
        (sum.exponent <= 0).then_some(sum)
    }

    /// With 17 decimals, without the zeros at their end. None where that takes more than 128 bits.
    pub(super) fn text(self) -> Option<String> {
        let behind = u32::try_from(-self.exponent).ok().filter(|bits| *bits < 127)?;
        let (number, unit) = (u128::from(self.mantissa), 1_u128 << behind);
        let (mut whole, part) = (number >> behind, number & (unit - 1));
        let scale = 10_u128.pow(MOST_DECIMALS);
        let scaled = part.checked_mul(scale)?;
        let (mut decimals, rest) = (scaled >> behind, scaled & (unit - 1));
        let is_up = rest * 2 > unit || rest * 2 == unit && decimals & 1 == 1;
        decimals += u128::from(is_up);
        if decimals == scale {
            (whole, decimals) = (whole + 1, 0);
        }
        let sign = if self.negative && (whole, decimals) != (0, 0) { "-" } else { "" };
        let text = format!("{sign}{whole}.{decimals:017}");
        Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> Option<String> {
        match (Long::read(one.as_bytes()), Long::read(other.as_bytes())) {
            (Read::Is(one), Read::Is(other)) => one.plus(other)?.text(),
            _ => None,
        }
    }

    #[test]
    fn sums_are_those_of_a_long_double() {
        for (one, other, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.5", "0.1", "10.6"),
            ("1", "-1", "0"),
            ("-0.5", "0.25", "-0.25"),
            ("9007199254740993", "1", "9007199254740994"),
            ("3", "1.5", "4.5"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(expected), "{one} {other}");
        }
        for text in ["", "x", "1x", ".", "-", " 1"] {
            assert_eq!(Long::read(text.as_bytes()), Read::No, "{text}");
        }
        for text in ["1e5", "inf", "0x10", "1234567890123456789012"] {
            assert_eq!(Long::read(text.as_bytes()), Read::Beyond, "{text}");
        }
    }
}
