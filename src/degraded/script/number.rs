//! Lua's numbers as Redis writes and cuts them. Pure.

/// `printf("%.17g")`: so many digits that none is lost.
pub(in crate::degraded) fn all_digits(number: f64) -> String {
    general(number, 17)
}

/// `printf("%.*g")`, with 1 to 17 digits.
pub(super) fn general(number: f64, digits: u8) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let (digits, last) = (i32::from(digits), usize::from(digits.saturating_sub(1)));
    let scientific = format!("{number:.last$e}");
    // The format always has an exponent.
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..digits).contains(&exponent) {
        let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
        return without_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
}

fn without_zeros(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

/// C's cast to `long long`, as x86-64 does it: what does not fit is the smallest number.
pub(super) fn truncated(number: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&number) { number as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (1e15, "1000000000000000"),
            (1e17, "1e+17"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(all_digits(number), text);
        }
        for (number, text) in [(0.1, "0.1"), (1e14, "1e+14"), (123_456.5, "123456.5")] {
            assert_eq!(general(number, 14), text);
        }
    }

    #[test]
    fn numbers_are_cut_towards_zero() {
        for (number, cut) in [(3.99, 3), (-3.99, -3), (1e30, i64::MIN), (f64::NAN, i64::MIN)] {
            assert_eq!(truncated(number), cut);
        }
    }
}
