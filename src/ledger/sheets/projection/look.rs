//! A last look at a person's word, in the answer of a batch, which does not lag. Pure.

use super::Edit;
use super::grid::{Cell, Columns};
use super::watch::Doubt;
use crate::ledger::sheets::api::Area;

/// Rows that are looked at in one batch.
pub(super) const MOST_LOOKS: usize = 50;

/// The range that shows the cells of a row, in A1 notation.
pub(super) fn range(title: &str, columns: Columns, row: usize) -> String {
    let (first, last) =
        columns.all().fold((usize::MAX, 0), |(a, b), (_, at)| (a.min(at), b.max(at)));
    let (title, row) = (title.replace('\'', "''"), row + 1);
    format!("'{title}'!{}{row}:{}{row}", letters(first), letters(last))
}

/// The words that the rows still say.
pub(super) fn said(doubts: Vec<Doubt>, columns: Columns, areas: &[Area]) -> Vec<Edit> {
    let is_same = |doubt: &Doubt| {
        let area = areas.iter().find(|area| area.from.0 == doubt.line.row);
        let cell = |column: usize| {
            let row = area.and_then(|area| area.rows.first());
            let place = area.and_then(|area| column.checked_sub(area.from.1));
            let value = row.zip(place).and_then(|(row, place)| row.get(place));
            value.map(Cell::of).unwrap_or_default()
        };
        area.is_some()
            && cell(columns.key) == doubt.line.key
            && cell(columns.holder) == doubt.line.holder
            && columns.since.is_none_or(|since| cell(since) == doubt.line.since)
    };
    doubts.into_iter().filter(is_same).map(|doubt| doubt.edit).collect()
}

/// A column's letters: A, …, Z, AA, …
fn letters(column: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = column + 1;
    while rest > 0 {
        let digit = u8::try_from((rest - 1) % 26).unwrap_or_default();
        letters.push(char::from(b'A' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_letters() {
        let all = [0, 25, 26, 51, 52, 701, 702].map(letters);
        assert_eq!(all, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
    }
}
