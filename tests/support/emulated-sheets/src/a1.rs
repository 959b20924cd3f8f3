//! A1 notation, both ways: `'Tab name'!B2:D`, and which cells that is on a grid.
//!
//! <https://developers.google.com/workspace/sheets/api/guides/concepts#cell>. R1C1 and named ranges
//! are not read.

/// Cells of a tab: rows and columns from zero, ends exclusive, none for "to the end of the grid".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    /// First row.
    pub(crate) top: usize,
    /// First column.
    pub(crate) left: usize,
    /// Row after the last.
    pub(crate) bottom: Option<usize>,
    /// Column after the last.
    pub(crate) right: Option<usize>,
}

impl Area {
    /// These rows and columns.
    pub(crate) fn of(top: usize, left: usize, bottom: usize, right: usize) -> Self {
        Self { top, left, bottom: Some(bottom), right: Some(right) }
    }

    /// The same with its open ends, and those beyond, at the end of a grid of this size.
    pub(crate) fn within(self, rows: usize, columns: usize) -> Self {
        let bottom = self.bottom.unwrap_or(rows).min(rows);
        let right = self.right.unwrap_or(columns).min(columns);
        Self { bottom: Some(bottom), right: Some(right), ..self }
    }

    /// Rows of an area whose end is known.
    pub(crate) fn rows(&self) -> std::ops::Range<usize> {
        self.top..self.bottom.unwrap_or(usize::MAX).max(self.top)
    }

    /// Columns of an area whose end is known.
    pub(crate) fn columns(&self) -> std::ops::Range<usize> {
        self.left..self.right.unwrap_or(usize::MAX).max(self.left)
    }

    /// True if both have a cell in common.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let overlap = |a: std::ops::Range<usize>, b: std::ops::Range<usize>| {
            a.start < b.end && b.start < a.end
        };
        overlap(self.rows(), other.rows()) && overlap(self.columns(), other.columns())
    }

    /// True if all of `other` is here.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        let inside = |a: std::ops::Range<usize>, b: std::ops::Range<usize>| {
            a.start <= b.start && b.end <= a.end
        };
        inside(self.rows(), other.rows()) && inside(self.columns(), other.columns())
    }

    /// `B2:D5`, or `B2` for a single cell; the ends must be known.
    pub(crate) fn name(&self) -> String {
        let first = format!("{}{}", column_name(self.left), self.top + 1);
        let (bottom, right) = (self.rows().end, self.columns().end);
        if bottom <= self.top + 1 && right <= self.left + 1 {
            return first;
        }
        format!("{first}:{}{bottom}", column_name(right.saturating_sub(1)))
    }
}

/// A range as written: its tab, if named, and its cells; no cells for a whole tab.
#[derive(Debug, PartialEq)]
pub(crate) struct Reference {
    /// The title before the `!`, without quotes.
    pub(crate) title: Option<String>,
    /// What stands behind it.
    pub(crate) area: Option<Area>,
}

/// Reads A1 notation. None for what is none; a text that could be a cell or a title comes back
/// as a cell, as in Google's own reading.
pub(crate) fn parse(text: &str) -> Option<Reference> {
    let (title, rest) = split_title(text)?;
    match (title, rest) {
        (Some(title), None) => Some(Reference { title: Some(title), area: None }),
        (Some(title), Some(cells)) => {
            Some(Reference { title: Some(title), area: Some(area(cells)?) })
        }
        (None, Some(text)) => Some(match area(text) {
            Some(area) => Reference { title: None, area: Some(area) },
            None => Reference { title: Some(text.to_owned()), area: None },
        }),
        (None, None) => None,
    }
}

/// The title without its quotes, and what is behind the `!`.
fn split_title(text: &str) -> Option<(Option<String>, Option<&str>)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut title = String::new();
        let mut rest = quoted;
        loop {
            let at = rest.find('\'')?;
            title.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(more) = rest.strip_prefix('\'') else { break };
            title.push('\'');
            rest = more;
        }
        return match rest.strip_prefix('!') {
            Some(cells) => Some((Some(title), Some(cells))),
            None if rest.is_empty() => Some((Some(title), None)),
            None => None,
        };
    }
    if text.is_empty() {
        return None;
    }
    Some(match text.rsplit_once('!') {
        Some((title, cells)) => (Some(title.to_owned()), Some(cells)),
        None => (None, Some(text)),
    })
}

fn area(text: &str) -> Option<Area> {
    let (from, to) = match text.split_once(':') {
        Some((from, to)) => (corner(from)?, Some(corner(to)?)),
        None => (corner(text)?, None),
    };
    let Some(to) = to else {
        // A single cell needs both.
        let (column, row) = (from.0?, from.1?);
        return Some(Area::of(row, column, row + 1, column + 1));
    };
    let (left, right) = span(from.0, to.0);
    let (top, bottom) = span(from.1, to.1);
    Some(Area { top, left, bottom, right })
}

/// First and end of two corners, in either order; an end that is not named is open.
fn span(from: Option<usize>, to: Option<usize>) -> (usize, Option<usize>) {
    match (from, to) {
        (Some(a), Some(b)) => (a.min(b), Some(a.max(b) + 1)),
        (Some(a), None) => (a, None),
        (None, Some(b)) => (0, Some(b + 1)),
        (None, None) => (0, None),
    }
}

/// Column and row of `B7`, `$B$7`, `B` or `7`.
fn corner(text: &str) -> Option<(Option<usize>, Option<usize>)> {
    let text = text.strip_prefix('$').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (letters, digits) = text.split_at(end);
    let digits =
        if letters.is_empty() { digits } else { digits.strip_prefix('$').unwrap_or(digits) };
    if letters.len() > 3 || digits.len() > 9 || (letters.is_empty() && digits.is_empty()) {
        return None;
    }
    let column = if letters.is_empty() { None } else { Some(column_index(letters)) };
    let row = match digits {
        "" => None,
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse::<usize>().ok()?.checked_sub(1)?)
        }
        _ => return None,
    };
    Some((column, row))
}

fn column_index(letters: &str) -> usize {
    let digit = |letter: u8| usize::from(letter.to_ascii_uppercase() - b'A') + 1;
    letters.bytes().fold(0, |sum, letter| sum * 26 + digit(letter)) - 1
}

/// `A` for 0, `AB` for 27.
pub(crate) fn column_name(index: usize) -> String {
    let mut name = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        // The remainder is below 26.
        name.push(b'A' + u8::try_from((rest - 1) % 26).unwrap_or_default());
        rest = (rest - 1) / 26;
    }
    name.iter().rev().map(|letter| char::from(*letter)).collect()
}

/// A title as it stands in a range: quoted where it must be.
pub(crate) fn quoted(title: &str) -> String {
    let plain = title.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !title.starts_with(|c: char| c.is_ascii_digit())
        && area(title).is_none()
        && !looks_like_r1c1(title);
    if plain && !title.is_empty() {
        return title.to_owned();
    }
    format!("'{}'", title.replace('\'', "''"))
}

fn looks_like_r1c1(title: &str) -> bool {
    let upper = title.to_ascii_uppercase();
    upper.strip_prefix('R').is_some_and(|rest| {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        digits.is_empty()
            || digits.strip_prefix('C').is_some_and(|c| c.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> (Option<String>, Option<Area>) {
        let reference = parse(text).unwrap();
        (reference.title, reference.area)
    }

    #[test]
    fn the_examples_of_the_guide() {
        let tab = Some("Sheet1".to_owned());
        assert_eq!(cells("Sheet1!A1:B2"), (tab.clone(), Some(Area::of(0, 0, 2, 2))));
        let column = Area { top: 0, left: 0, bottom: None, right: Some(1) };
        assert_eq!(cells("Sheet1!A:A"), (tab.clone(), Some(column)));
        let rows = Area { top: 0, left: 0, bottom: Some(2), right: None };
        assert_eq!(cells("Sheet1!1:2"), (tab.clone(), Some(rows)));
        let open = Area { top: 4, left: 0, bottom: None, right: Some(1) };
        assert_eq!(cells("Sheet1!A5:A"), (tab.clone(), Some(open)));
        assert_eq!(cells("A1:B2"), (None, Some(Area::of(0, 0, 2, 2))));
        assert_eq!(cells("Sheet1"), (tab, None));
        let quoted = Some("Jon's_Data".to_owned());
        assert_eq!(cells("'Jon''s_Data'!A1:D5"), (quoted, Some(Area::of(0, 0, 5, 4))));
        assert_eq!(cells("'My Custom Sheet'"), (Some("My Custom Sheet".to_owned()), None));
    }

    #[test]
    fn a_title_that_looks_like_a_cell_needs_quotes() {
        assert_eq!(cells("AB12"), (None, Some(Area::of(11, 27, 12, 28))));
        assert_eq!(cells("'AB12'"), (Some("AB12".to_owned()), None));
        for title in ["AB12", "R1C1", "Op #1", "Bob's", "2026", "a b", "rc"] {
            let text = format!("{}!B2", quoted(title));
            assert_eq!(cells(&text), (Some(title.to_owned()), Some(Area::of(1, 1, 2, 2))));
            assert!(text.starts_with('\''), "{text}");
        }
        assert_eq!((quoted("Sheet1"), quoted("Daten_ä")), ("Sheet1".into(), "Daten_ä".into()));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in ["", "Sheet1!", "Sheet1!A0", "'open!A1", "'a'b!A1", "T!A1:B2:C3", "T!1A"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_of_areas_are_as_in_answers() {
        assert_eq!(Area::of(0, 0, 1, 1).name(), "A1");
        assert_eq!(
            Area { top: 4, left: 0, bottom: None, right: None }.within(1000, 28).name(),
            "A5:AB1000"
        );
        assert_eq!(cells("$B$7:A1").1.map(|a| a.name()), Some("A1:B7".to_owned()));
        assert_eq!(
            (column_name(25), column_name(701), column_name(702)),
            ("Z".into(), "ZZ".into(), "AAA".into())
        );
    }
}
