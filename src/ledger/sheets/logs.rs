//! One log as far as it was read: where it stands, and what its tab must show next. Pure.

use super::api::Tab;
use super::cells::{self, Cell, HEADER, texts};
use super::registry::Segment;
use crate::ledger::entry::{Entry, Position, Row};

/// How far a log was read.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub(super) log: u64,
    pub(super) tab: i32,
    pub(super) title: String,
    /// The entry of number `n` stands in the row `n - base`, counted from 0: the header is row 0.
    pub(super) base: u64,
    /// The last entry that was read.
    pub(super) last: u64,
    /// The cells of the last row that was read, which must not change. None: only its number is known.
    check: Option<Vec<String>>,
    /// Rows of the tab's grid, as they were seen last.
    pub(super) rows: u64,
    /// The log has ended in order: nothing comes after it.
    pub(super) ended: bool,
    /// The spreadsheet has no such tab any more.
    pub(super) is_missing: bool,
}

impl Tail {
    /// A tab of which nothing was read.
    pub(super) fn new(segment: &Segment, title: String) -> Self {
        Self {
            log: segment.log,
            tab: segment.tab,
            title,
            base: segment.base,
            last: segment.base,
            check: Some(HEADER.map(String::from).to_vec()),
            rows: 0,
            ended: false,
            is_missing: false,
        }
    }

    /// A tab of which all up to `last` is known from elsewhere.
    pub(super) fn known_up_to(self, last: u64) -> Self {
        if last <= self.base {
            return self;
        }
        Self { last, check: None, ..self }
    }

    /// The row of an entry, from 0.
    pub(super) fn row_of(&self, seq: u64) -> u64 {
        seq.saturating_sub(self.base)
    }

    /// Where to read from: the last known row is read again, to see that it is still what it was, and
    /// because a range that begins behind the grid is refused.
    pub(super) fn from(&self) -> u64 {
        self.row_of(self.last)
    }

    /// Takes what the tab shows from [`Tail::from`] on, and gives the new rows.
    ///
    /// # Errors
    /// What is wrong with the tab, for a person.
    pub(super) fn read(&mut self, tab: &Tab) -> Result<Vec<Row>, String> {
        self.title.clone_from(&tab.title);
        self.rows = tab.rows;
        let from = self.from();
        let (start, shown) = match &tab.shown {
            Some((start, shown)) => (*start, shown.as_slice()),
            None => (from, &[][..]),
        };
        let end = shown.iter().rposition(|row| texts(row).is_none_or(|texts| !texts.is_empty()));
        let shown = &shown[..end.map_or(0, |end| end + 1)];
        let Some((first, new)) = shown.split_first().filter(|_| start == from) else {
            return Err(self.damage(from, "is not there any more"));
        };
        let known = texts(first);
        let is_kept = match (&self.check, &known) {
            (Some(check), Some(known)) => check == known,
            (None, Some(known)) => known.first() == Some(&self.last.to_string()),
            (_, None) => false,
        };
        if !is_kept {
            return Err(self.damage(from, "is not what it was"));
        }
        self.check = known;
        let mut rows = Vec::with_capacity(new.len());
        for cells in new {
            rows.push(self.next(cells)?);
        }
        Ok(rows)
    }

    fn next(&mut self, shown: &[Cell]) -> Result<Row, String> {
        let seq = self.last + 1;
        let place = self.row_of(seq);
        let Some(cells) = texts(shown) else {
            return Err(self.damage(place, "has a number, a date or a formula in it"));
        };
        if cells.is_empty() {
            return Err(self.damage(place, "is empty, and rows follow"));
        }
        if cells[0] != seq.to_string() {
            return Err(self.damage(place, "has another row's number, or none"));
        }
        let Some(entry) = cells::entry(&cells) else {
            return Err(self.damage(place, "is nothing that this version of Lockside writes"));
        };
        (self.last, self.check) = (seq, Some(cells));
        self.ended |= entry == Entry::End;
        Ok(Row { at: Position { log: self.log, seq }, entry })
    }

    fn damage(&self, row: u64, what: &str) -> String {
        format!(
            "row {} of the tab {:?} (hidden, #gid={}) {what}. If this stays, a person or a program has \
             changed Lockside's ledger: undo it, or restore a version of the spreadsheet from before \
             (File, Version history)",
            row + 1,
            self.title,
            self.tab
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{claim, row, start};

    fn cells(texts: &[String]) -> Vec<Cell> {
        let cell = |text: &String| match text.as_str() {
            "" => Cell::Empty,
            text => Cell::Text(text.into()),
        };
        texts.iter().map(cell).collect()
    }

    fn tail() -> Tail {
        let segment = Segment { tab: 5, log: 5, base: 0, start: start() };
        Tail::new(&segment, "lockside log 5".into())
    }

    fn tab(start: u64, rows: Vec<Vec<Cell>>) -> Tab {
        Tab { title: "renamed".into(), rows: 1_000, shown: Some((start, rows)), ..Tab::default() }
    }

    fn entries(count: u64) -> Vec<Row> {
        (1..=count).map(|seq| row(5, seq, Entry::Claim(claim("k", "v")))).collect()
    }

    fn shown(rows: &[Row]) -> Vec<Vec<Cell>> {
        rows.iter().map(|row| cells(&cells::of_row(row))).collect()
    }

    #[test]
    fn a_tail_goes_on_where_it_was() {
        let (mut tail, rows) = (tail(), entries(3));
        let header = cells(&HEADER.map(String::from));
        let first = [vec![header], shown(&rows[..2]), vec![vec![Cell::Empty]]].concat();
        assert_eq!(tail.read(&tab(0, first)).unwrap(), rows[..2]);
        assert_eq!((tail.from(), tail.title.as_str(), tail.rows), (2, "renamed", 1_000));
        assert_eq!(tail.read(&tab(2, shown(&rows[1..]))).unwrap(), rows[2..]);
        assert_eq!(tail.read(&tab(3, shown(&rows[2..]))).unwrap(), []);
    }

    #[test]
    fn what_a_person_did_is_told_with_its_row() {
        let (mut known, rows) = (tail(), entries(4));
        let header = cells(&HEADER.map(String::from));
        known.read(&tab(0, [vec![header], shown(&rows[..1])].concat())).unwrap();
        let told = |rows: Vec<Vec<Cell>>| known.clone().read(&tab(1, rows)).unwrap_err();
        assert!(told(vec![]).starts_with("row 2 "));
        assert!(told(shown(&rows[1..2])).contains("is not what it was"));
        let hole = [shown(&rows[..1]), vec![vec![]], shown(&rows[2..3])].concat();
        assert!(told(hole).starts_with("row 3 of the tab \"renamed\""));
        let sorted = [shown(&rows[..1]), shown(&rows[2..3]), shown(&rows[1..2])].concat();
        assert!(told(sorted).contains("another row's number"));
        let mut typed = shown(&rows[..2]);
        typed[1][3] = Cell::Other;
        assert!(told(typed).contains("a number"));
    }
}
