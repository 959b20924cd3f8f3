//! Somebody who works in the spreadsheet meanwhile: types, clears, sorts, inserts, deletes, moves and cuts rows,
//! renames and reorders tabs. Seeded, so that the same seed does the same to the same spreadsheet.
//!
//! The person sees the visible tabs, leaves their first row alone, and is refused what is protected.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Rules;
use crate::book::{Book, Caller};
use crate::cell::Content;
use crate::random::Random;
use crate::{batch, input, values};

/// The person's account.
pub(crate) const EMAIL: &str = "person@example.com";

/// The most acts that are made up for at once.
const ACTS_AT_ONCE: u32 = 1_000;

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Types into a cell: names, numbers, `disponible ` with a blank, dates.
    Type,
    /// Clears a cell.
    Clear,
    /// Sorts all rows but the first by a column.
    Sort,
    /// Inserts an empty row.
    Insert,
    /// Deletes a row.
    Delete,
    /// Moves a row.
    Move,
    /// Cuts the cells of a row and pastes them over another: row metadata stays behind.
    Cut,
    /// Deletes the cells of a row, and those below move up: row metadata stays behind.
    ShiftUp,
    /// Renames a tab.
    Rename,
    /// Moves a tab.
    Reorder,
}

impl Act {
    /// Everything.
    pub const ALL: [Self; 10] = [
        Self::Type,
        Self::Clear,
        Self::Sort,
        Self::Insert,
        Self::Delete,
        Self::Move,
        Self::Cut,
        Self::ShiftUp,
        Self::Rename,
        Self::Reorder,
    ];

    /// By its name in lower case, as the control address takes it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| format!("{act:?}").to_lowercase() == name.replace('_', ""))
    }
}

/// A person at work.
#[derive(Debug)]
pub(crate) struct Person {
    /// Where.
    pub(crate) spreadsheet: String,
    acts: Vec<Act>,
    every: Duration,
    next: Duration,
    random: Random,
    names: u32,
}

impl Person {
    /// Does one of `acts` after each `every`; with zero only when told.
    pub(crate) fn new(
        spreadsheet: &str,
        acts: &[Act],
        every: Duration,
        seed: u64,
        now: Duration,
    ) -> Self {
        let acts = if acts.is_empty() { Act::ALL.to_vec() } else { acts.to_vec() };
        let random = Random::new(seed);
        Self {
            spreadsheet: spreadsheet.to_owned(),
            acts,
            every,
            next: now + every,
            random,
            names: 0,
        }
    }

    /// The times of the acts that are due.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Duration> {
        let mut times = Vec::new();
        while !self.every.is_zero() && self.next <= now {
            if times.len() < ACTS_AT_ONCE as usize {
                times.push(self.next);
            }
            self.next += self.every;
        }
        times
    }

    /// One act: the spreadsheet after it, or none where it was not possible.
    pub(crate) fn act(&mut self, book: &Book, caller: &Caller, rules: &Rules) -> Option<Book> {
        let visible: Vec<usize> =
            (0..book.sheets.len()).filter(|place| !book.sheets[*place].hidden).collect();
        let place = visible[self.random.below(visible.len())];
        let act = self.acts[self.random.below(self.acts.len())];
        let mut next = book.clone();
        let done = match act {
            Act::Type => self.type_into(&mut next, caller, place),
            Act::Clear => self.clear(&mut next, caller, place),
            _ => {
                let request = self.request(act, book, place)?;
                batch::run(&mut next, caller, rules, &[request]).ok().map(|_| ())
            }
        };
        done.map(|()| next)
    }

    /// A row that has data, behind the first.
    fn row(&mut self, book: &Book, place: usize) -> Option<usize> {
        let end = book.sheets[place].end_of_data();
        (end > 1).then(|| 1 + self.random.below(end - 1))
    }

    fn column(&mut self, book: &Book, place: usize) -> usize {
        let rows = &book.sheets[place].rows;
        let width = rows.iter().map(|row| row.cells.len()).max().unwrap_or(1);
        self.random.below(width)
    }

    fn type_into(&mut self, book: &mut Book, caller: &Caller, place: usize) -> Option<()> {
        let texts =
            ["disponible ", "DISPONIBLE", "JP(93)", "Juan", "42", "=1+1", "23-11-2026", "mk-1342 "];
        let text = texts[self.random.below(texts.len())];
        let (row, column) = (self.row(book, place)?, self.column(book, place));
        let area = crate::a1::Area::of(row, column, row + 1, column + 1);
        book.guard(caller, place, &area).ok()?;
        let typed = input::typed(text, &book.locale()).ok()?;
        *book.sheet_mut(place).cell_mut(row, column) = typed;
        Some(())
    }

    fn clear(&mut self, book: &mut Book, caller: &Caller, place: usize) -> Option<()> {
        let (row, column) = (self.row(book, place)?, self.column(book, place));
        let area = crate::a1::Area::of(row, column, row + 1, column + 1);
        let filled =
            book.sheets[place].cell(row, column).is_some_and(|c| c.content != Content::Empty);
        values::clear(book, caller, place, &area).ok().filter(|_| filled).map(|_| ())
    }

    fn request(&mut self, act: Act, book: &Book, place: usize) -> Option<Value> {
        let id = book.sheets[place].id;
        let rows = |from: usize| json!({"sheetId": id, "dimension": "ROWS", "startIndex": from, "endIndex": from + 1});
        Some(match act {
            Act::Sort => {
                let column = self.column(book, place);
                let order = if self.random.below(2) == 0 { "ASCENDING" } else { "DESCENDING" };
                json!({"sortRange": {
                    "range": {"sheetId": id, "startRowIndex": 1},
                    "sortSpecs": [{"dimensionIndex": column, "sortOrder": order}],
                }})
            }
            Act::Insert => json!({"insertDimension": {"range": rows(self.row(book, place)?)}}),
            Act::Delete => json!({"deleteDimension": {"range": rows(self.row(book, place)?)}}),
            Act::Move => {
                let (from, to) = (self.row(book, place)?, self.row(book, place)?);
                json!({"moveDimension": {"source": rows(from), "destinationIndex": to}})
            }
            Act::Cut => {
                let (from, to) = (self.row(book, place)?, self.row(book, place)?);
                json!({"cutPaste": {
                    "source": {"sheetId": id, "startRowIndex": from, "endRowIndex": from + 1},
                    "destination": {"sheetId": id, "rowIndex": to, "columnIndex": 0},
                }})
            }
            Act::ShiftUp => {
                let row = self.row(book, place)?;
                json!({"deleteRange": {
                    "range": {"sheetId": id, "startRowIndex": row, "endRowIndex": row + 1},
                    "shiftDimension": "ROWS",
                }})
            }
            Act::Rename => {
                self.names += 1;
                let title = format!("Renamed {}", self.names);
                json!({"updateSheetProperties": {
                    "properties": {"sheetId": id, "title": title}, "fields": "title",
                }})
            }
            Act::Reorder => {
                let index = self.random.below(book.sheets.len() + 1);
                json!({"updateSheetProperties": {
                    "properties": {"sheetId": id, "index": index}, "fields": "index",
                }})
            }
            Act::Type | Act::Clear => return None,
        })
    }
}
