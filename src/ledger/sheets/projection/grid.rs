//! What was read of a tab: its header, and its rows by their keys. Pure.

use std::collections::BTreeMap;

use super::terms::Terms;

/// What a cell shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Cell {
    /// Nothing.
    #[default]
    Empty,
    /// Text.
    Text(String),
    /// A number; a date is one too.
    Number(f64),
    /// A truth or an error.
    Other,
}

impl Cell {
    /// Of a value as Google shows it unformatted.
    pub(super) fn of(value: &serde_json::Value) -> Self {
        use serde_json::Value as V;
        match value {
            V::Null => Self::Empty,
            V::String(text) if text.is_empty() => Self::Empty,
            V::String(text) => Self::Text(text.clone()),
            V::Number(number) => number.as_f64().map_or(Self::Other, Self::Number),
            _ => Self::Other,
        }
    }

    /// As text, without blanks at the ends; a whole number without a point.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Empty => Some(String::new()),
            Self::Text(text) => Some(text.trim().to_owned()),
            Self::Number(number) => Some(number.to_string()),
            Self::Other => None,
        }
    }
}

/// Where the columns are, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) key: usize,
    pub(super) holder: usize,
    pub(super) since: Option<usize>,
    /// In Lockside's own tab, if people have not taken it away.
    pub(super) origin: Option<usize>,
}

/// The columns that there may be: key, holder, since, origin.
pub(super) const COLUMNS: usize = 4;

impl Columns {
    /// All of them: which it is, and where.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let all: [_; COLUMNS] = [Some(self.key), Some(self.holder), self.since, self.origin];
        all.into_iter().enumerate().filter_map(|(is, at)| Some((is, at?)))
    }
}

/// A row with a key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Line {
    /// From 0; the header is row 0.
    pub(super) row: usize,
    pub(super) key: Cell,
    pub(super) holder: Cell,
    pub(super) since: Cell,
    pub(super) origin: Cell,
}

/// A tab, as it was read at once.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub(super) columns: Columns,
    /// The headers' cells, by which column it is.
    pub(super) headers: [Cell; COLUMNS],
    pub(super) lines: Vec<Line>,
    /// Lines by what their key cells say.
    by_key: BTreeMap<String, Vec<usize>>,
}

/// The header of the column that only Lockside's own tab has.
pub(super) const ORIGIN: &str = "Origin";

/// Where a header stands.
///
/// # Errors
/// For a person: it is not there, or twice.
pub(super) fn find(header: &[Cell], name: &str, tab: &str) -> Result<usize, String> {
    let is_it = |cell: &Cell| {
        cell.text()
            .is_some_and(|text| !text.is_empty() && text.to_lowercase() == name.to_lowercase())
    };
    let found: Vec<_> = (0..header.len()).filter(|at| is_it(&header[*at])).collect();
    match found[..] {
        [at] => Ok(at),
        [] => {
            let all = header.iter().filter_map(Cell::text).filter(|text| !text.is_empty());
            let there: Vec<_> = all.take(30).map(|text| format!("{text:?}")).collect();
            let there = if there.is_empty() { "none".into() } else { there.join(", ") };
            Err(format!(
                "the tab {tab:?} has no column {name:?} in its first row; there are: {there}. Nothing is \
                 written into it"
            ))
        }
        _ => Err(format!(
            "the tab {tab:?} has {} columns {name:?}: nothing is written into it before one is left",
            found.len()
        )),
    }
}

/// The columns that a header has.
///
/// # Errors
/// As of [`find`].
pub(super) fn columns(header: &[Cell], terms: &Terms, tab: &str) -> Result<Columns, String> {
    let settings = terms.settings();
    let since = match &*settings.since_column {
        "" => None,
        name => Some(find(header, name, tab)?),
    };
    let key = find(header, &settings.key_column, tab)?;
    let origin = settings.is_own_tab().then(|| find(header, ORIGIN, tab).ok()).flatten();
    Ok(Columns { key, holder: find(header, &settings.holder_column, tab)?, since, origin })
}

impl Grid {
    /// `shown` has the cells of columns below the header, by which column it is.
    pub(super) fn new(columns: Columns, header: &[Cell], shown: Vec<(usize, Vec<Cell>)>) -> Self {
        let mut headers: [Cell; COLUMNS] = Default::default();
        for (is, at) in columns.all() {
            headers[is] = header.get(at).cloned().unwrap_or_default();
        }
        let mut below: [Vec<Cell>; COLUMNS] = Default::default();
        for (is, cells) in shown {
            below[is] = cells;
        }
        let [keys, holders, sinces, origins] = below;
        let mut rest = [holders, sinces, origins].map(Vec::into_iter);
        let mut lines = Vec::new();
        for (at, key) in keys.into_iter().enumerate() {
            let [holder, since, origin] =
                rest.each_mut().map(|cells| cells.next().unwrap_or_default());
            if key.text().is_none_or(|text| !text.is_empty()) {
                lines.push(Line { row: at + 1, key, holder, since, origin });
            }
        }
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        for (at, line) in lines.iter().enumerate() {
            if let Some(key) = line.key.text() {
                by_key.entry(key).or_default().push(at);
            }
        }
        Self { columns, headers, lines, by_key }
    }

    /// The lines of a key: several where people have it several times.
    pub(super) fn lines_of(&self, key: &str) -> impl Iterator<Item = &Line> {
        self.by_key.get(key).into_iter().flatten().map(|at| &self.lines[*at])
    }

    /// Keys in their order, with their lines.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, Vec<&Line>)> {
        let lines = |all: &Vec<usize>| all.iter().map(|at| &self.lines[*at]).collect();
        self.by_key.iter().map(move |(key, all)| (key.as_str(), lines(all)))
    }

    /// The row behind the last one with a key.
    pub(super) fn end(&self) -> usize {
        self.lines.last().map_or(1, |line| line.row + 1)
    }
}
