//! The score of a sorted set's member. Pure.

use std::cmp::Ordering;

/// A number, never NaN.
#[derive(Debug, Clone, Copy)]
pub struct Score(f64);

impl Score {
    /// None for NaN, which Redis has no scores of.
    pub fn new(number: f64) -> Option<Self> {
        // There is one zero: equal scores have equal texts.
        (!number.is_nan()).then_some(Self(number + 0.0))
    }

    /// Reads what Redis or [`Score::text`] writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        // Rust knows words that Redis does not write.
        let is_written = |byte: u8| byte.is_ascii_digit() || b"+-.einf".contains(&byte);
        let is_number = text.len() <= 40 && text.bytes().all(is_written);
        Self::new(text.parse().ok().filter(|_| is_number)?)
    }

    /// The number.
    pub fn number(self) -> f64 {
        self.0
    }

    /// The number in so many digits that none is lost, in a form that Redis reads.
    pub fn text(self) -> String {
        let number = self.0;
        if number.is_infinite() {
            return if number < 0.0 { "-inf" } else { "inf" }.to_owned();
        }
        match number == 0.0 || (1e-5..1e17).contains(&number.abs()) {
            true => number.to_string(),
            false => format!("{number:e}"),
        }
    }

    /// The number as C's `%.17g` has it, which is how scripts write it into a digest.
    pub fn digits(self) -> String {
        let number = self.0;
        if number.is_infinite() {
            return self.text();
        }
        let exact = format!("{number:.16e}");
        // `{:e}` always writes an exponent.
        let (mantissa, exponent) = exact.split_once('e').unwrap_or((&exact, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let short = |text: &str| match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text.to_owned(),
        };
        if (-4..17).contains(&exponent) {
            let decimals = usize::try_from(16 - exponent).unwrap_or(0);
            return short(&format!("{number:.decimals$}"));
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", short(mantissa), exponent.unsigned_abs())
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // Never NaN, so they can be compared.
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}
