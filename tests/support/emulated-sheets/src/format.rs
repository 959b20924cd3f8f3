//! Numbers and dates as people see them, and dates as numbers: days since 30 December 1899.
//!
//! <https://developers.google.com/workspace/sheets/api/guides/formats>. Of the patterns only those of dates
//! and times are followed; other numbers are shown as in a plain cell.

use serde_json::Value;

/// A number in JSON as Google writes it: without a fraction when it has none.
pub(crate) fn json_number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Value::from(number as i64);
    }
    Value::from(number)
}

/// A number with its format's type and pattern.
pub(crate) fn number(number: f64, format: Option<(&str, &str)>) -> String {
    match format {
        Some(("DATE", pattern)) => {
            date(number, if pattern.is_empty() { "m/d/yyyy" } else { pattern })
        }
        Some(("DATE_TIME", pattern)) => {
            date(number, if pattern.is_empty() { "m/d/yyyy h:mm:ss" } else { pattern })
        }
        Some(("TIME", pattern)) => {
            date(number, if pattern.is_empty() { "h:mm:ss" } else { pattern })
        }
        Some(("PERCENT", _)) => format!("{}%", general((number * 1e4).round() / 100.0)),
        _ => general(number),
    }
}

/// As a plain cell shows it: ten digits, and an exponent from 10^15 on.
fn general(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if number.abs() >= 1e15 || number.abs() < 1e-9 {
        let text = format!("{number:.5E}");
        let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}E{sign}{exponent:0>2}");
    }
    if number.fract() == 0.0 {
        return format!("{number:.0}");
    }
    // Digits before the point take theirs from the ten; there are at most 15.
    let before = format!("{:.0}", number.abs().trunc()).len();
    let text = format!("{number:.*}", 10_usize.saturating_sub(before));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Year, month and day of a day's number.
pub(crate) fn civil(serial: f64) -> (i64, u32, u32) {
    // Days since 1970-01-01; the algorithm is Howard Hinnant's `civil_from_days`.
    let days = serial.floor() as i64 - 25_569 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// The number of a day; none where the calendar has no such day.
pub(crate) fn serial(year: i64, month: u32, day: u32) -> Option<f64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_index = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * month_index + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let number = (era * 146_097 + of_era - 719_468 + 25_569) as f64;
    (civil(number) == (year, month, day)).then_some(number)
}

fn date(serial: f64, pattern: &str) -> String {
    // To the second, so that a fraction like 0.9999999 is not one short.
    let whole = (serial * 86_400.0).round();
    let (year, month, day) = civil((whole / 86_400.0).floor());
    let seconds = whole.rem_euclid(86_400.0) as u32;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    let mut after_hour = false;
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let run = rest.chars().take_while(|c| c.eq_ignore_ascii_case(&letter)).count();
        let before_seconds =
            rest[run * letter.len_utf8()..].trim_start_matches(':').starts_with('s');
        let value = match letter.to_ascii_lowercase() {
            'y' if run >= 4 => Some((u32::try_from(year).unwrap_or(0), 4)),
            'y' => Some((u32::try_from(year.rem_euclid(100)).unwrap_or(0), 2)),
            'm' if after_hour || before_seconds => Some((minute, run)),
            'm' => Some((month, run)),
            'd' => Some((day, run)),
            'h' => Some((hour, run)),
            's' => Some((second, run)),
            _ => None,
        };
        match value {
            Some((number, width)) => {
                after_hour = letter.eq_ignore_ascii_case(&'h');
                text.push_str(&format!("{number:0width$}"));
            }
            None => text.extend(std::iter::repeat_n(letter, run)),
        }
        rest = &rest[run * letter.len_utf8()..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_end_of_1899() {
        assert_eq!(serial(1899, 12, 30), Some(0.0));
        assert_eq!(serial(2026, 2, 1), Some(46_054.0));
        assert_eq!((serial(2026, 2, 29), serial(2024, 2, 29)), (None, Some(45_351.0)));
        assert_eq!(civil(46_054.7), (2026, 2, 1));
    }

    #[test]
    fn numbers_are_shown_as_in_a_plain_cell() {
        let shown = |n| number(n, None);
        assert_eq!((shown(100_000.0), shown(0.1 + 0.2)), ("100000".into(), "0.3".into()));
        assert_eq!(shown(12_345_678_901_234_567.0), "1.23457E+16");
        assert_eq!(shown(-1.5), "-1.5");
        assert_eq!(
            (json_number(5.0).to_string(), json_number(0.5).to_string()),
            ("5".into(), "0.5".into())
        );
    }

    #[test]
    fn dates_follow_their_pattern() {
        let at = 46_054.0 + 13.0 / 24.0 + 5.0 / 1440.0 + 9.0 / 86_400.0;
        let shown = |pattern| number(at, Some(("DATE_TIME", pattern)));
        assert_eq!(shown("dd-mm-yyyy hh:mm:ss"), "01-02-2026 13:05:09");
        assert_eq!(shown("m/d/yy h:mm"), "2/1/26 13:05");
        assert_eq!(number(46_054.0, Some(("DATE", ""))), "2/1/2026");
    }
}
