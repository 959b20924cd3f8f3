//! Durations, sizes and switches as people write them, and back.
//!
//! Pure. Written here because the well-known crates accept more than one spelling of the same
//! thing (`1kb` as 1000, months in a time-out); a limit must mean one thing.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads `10s`, `5ms`, `2m`, `1h`, `7d`, or whole seconds without a unit. None for anything
/// else, and for more milliseconds than 64 bits hold.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATION_UNITS, 1_000).map(Duration::from_millis)
}

/// Reads `512MiB`, `64KiB`, `1GiB`, `100B`, or whole bytes without a unit. None for anything
/// else: `KB` too, which some take for 1000 and some for 1024.
pub fn parse_size(text: &str) -> Option<usize> {
    usize::try_from(parse(text, &SIZE_UNITS, 1)?).ok()
}

/// Reads a switch as services commonly spell it, in any case.
pub fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Writes a duration with the largest unit that leaves a whole number; parts of a millisecond
/// are dropped.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 { "0s".into() } else { show(millis, &DURATION_UNITS) }
}

/// Writes a size with the largest unit that leaves a whole number.
pub fn show_size(bytes: usize) -> String {
    show(bytes as u64, &SIZE_UNITS)
}

fn parse(text: &str, units: &[(&str, u64)], no_unit: u64) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" if unit.is_empty() => no_unit,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn show(count: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| count != 0 && count.is_multiple_of(*factor);
    // The first unit has factor 1 and fits every count but 0.
    let (name, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", count / factor)
}

/// The candidate that `word` is most likely a misspelling of: at most two letters (or, of a
/// short word, one) wrong, missing, added or swapped with the next one.
pub(super) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let allowed = if word.len() < 5 { 1 } else { 2 };
    let scored = candidates.iter().map(|candidate| (distance(word, candidate), *candidate));
    scored.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// Edit distance with swaps of neighbours (optimal string alignment), by bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let step = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j - 1] + step).min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("10"), Some(10_000));
        assert_eq!(ms("10s"), Some(10_000));
        assert_eq!(ms("5ms"), Some(5));
        assert_eq!(ms("5 ms"), Some(5));
        assert_eq!(ms("2m"), Some(120_000));
        assert_eq!(ms("1h"), Some(3_600_000));
        assert_eq!(ms("1d"), Some(86_400_000));
        assert_eq!(ms("0"), Some(0));
        for bad in ["", "s", "-1s", "1.5s", "10S", "10 ", " 10", "1h30m", "99999999999999999999"] {
            assert_eq!(ms(bad), None, "{bad:?}");
        }
        assert_eq!(ms("18446744073709551615s"), None, "must not overflow");
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("100"), Some(100));
        assert_eq!(parse_size("100B"), Some(100));
        for bad in ["", "KiB", "64KB", "64kib", "64k", "-1", "1.5MiB"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn misspellings() {
        assert_eq!(closest("lsiten", &["threads", "listen"]), Some("listen"));
        assert_eq!(closest("urll", &["url", "user"]), Some("url"));
        assert_eq!(closest("banana", &["listen", "url"]), None);
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(millis in any::<u64>()) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn a_shown_size_reads_back(bytes in any::<usize>()) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,12}") {
            let _ = (parse_duration(&text), parse_size(&text), parse_switch(&text));
        }

        #[test]
        fn every_unit_multiplies(count in 0u64..1_000_000, unit in 0usize..5) {
            let (name, factor) = DURATION_UNITS[unit];
            let read = parse_duration(&format!("{count}{name}"));
            prop_assert_eq!(read, Some(Duration::from_millis(count * factor)));
        }
    }
}
