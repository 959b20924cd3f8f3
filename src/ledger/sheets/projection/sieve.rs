//! Requests that write a row only if it is still as it was read. Pure.
//!
//! Each write has a block of three rows in a hidden tab, the sieve:
//!
//! | row | cells of the row | cells of the header |
//! |---|---|---|
//! | 1 | what is expected; a mark in place of the key | what is expected |
//! | 2 | copied from the tab; the key replaced by the mark if it is the expected one | copied from the tab |
//! | 3 | what is to be written | nothing |
//!
//! `deleteDuplicates` then removes row 2 if it is what was expected, and row 3 moves up into its place.
//! What stands in the second row is copied back to where row 2 came from: what is to be written, or else what
//! stood there, which changes nothing. `deleteDuplicates` does not tell letters' cases apart, and keys
//! differ by them: that is why the key is replaced first, by an exact search. (Not where the key itself is
//! written, in Lockside's own tab, for then it has to be as it was: two free rows there are alike.)
//!
//! All of it is one batch, which Google applies as a whole and in its order. A new row goes through the sieve too,
//! for the columns may have moved; it is inserted, so it takes nobody's place.

use google_sheets4::api as google;
use google_sheets4::common::FieldMask;

use super::grid::{COLUMNS, Cell, Columns, Grid};
use super::watch::{Add, MOST_WRITES, Write};

/// Rows of a block.
const BLOCK: usize = 3;
/// Rows and columns of the sieve: blocks, and one row with the header.
pub(super) const SIZE: (usize, usize) = (BLOCK * 2 * MOST_WRITES + 1, 2 * COLUMNS);

/// The tabs and columns of a batch.
pub(super) struct Sieve<'a> {
    /// The business tab's id.
    pub(super) tab: i32,
    /// The sieve's tab's id.
    pub(super) sieve: i32,
    pub(super) grid: &'a Grid,
    /// A text that is in no cell.
    pub(super) mark: String,
}

/// One of the columns: where it stands in the tab, and which of [`COLUMNS`] it is.
#[derive(Clone, Copy)]
struct Column {
    at: usize,
    is: usize,
}

impl Sieve<'_> {
    /// The requests for these writes and new rows, up to [`MOST_WRITES`] of each.
    pub(super) fn requests(&self, writes: &[Write], adds: &[Add]) -> Vec<google::Request> {
        let writes = &writes[..writes.len().min(MOST_WRITES)];
        let adds = &adds[..adds.len().min(MOST_WRITES)];
        let order = order(self.grid.columns);
        let wide = order.len();
        let end = self.grid.end();
        let header_row = BLOCK * (writes.len() + adds.len());
        let mut rows = Vec::new();
        for write in writes {
            let key = write.key.clone().unwrap_or_default();
            let new = [key, write.holder.clone(), write.since.clone(), write.origin.into()];
            rows.extend(self.block(&order, Some(write), &new));
        }
        for add in adds {
            rows.extend(self.block(
                &order,
                None,
                &[&*add.key, &add.holder, &add.since, add.origin].map(str::to_owned),
            ));
        }
        let mut batch = vec![fill(self.sieve, header_row + 1, rows)];
        if !adds.is_empty() {
            batch.push(insert(self.tab, end, adds.len()));
        }
        for run in runs(&order, |_| true) {
            let to = (header_row, wide + run.0);
            batch.push(copy((self.tab, (0, order[run.0].at)), (self.sieve, to), run.1));
        }
        for (number, write) in writes.iter().enumerate() {
            let row = BLOCK * number + 1;
            for (first, count) in runs(&order, |_| true) {
                let from = (self.tab, (write.line.row, order[first].at));
                batch.push(copy(from, (self.sieve, (row, first)), count));
            }
            if let (Cell::Text(key), None) = (&write.line.key, &write.key) {
                let column = order.iter().position(|column| column.is == 0).unwrap_or_default();
                batch.push(replace(self.sieve, (row, column), key, &self.mark));
            }
            self.pass(&mut batch, &order, (row, header_row), write.line.row, write.key.is_some());
        }
        for number in 0..adds.len() {
            let row = BLOCK * (writes.len() + number) + 1;
            self.pass(&mut batch, &order, (row, header_row), end + number, true);
        }
        batch
    }

    /// From the header's copy on: what stands in row `row` of the sieve after it goes into the tab.
    fn pass(
        &self,
        batch: &mut Vec<google::Request>,
        order: &[Column],
        (row, header_row): (usize, usize),
        target: usize,
        with_key: bool,
    ) {
        let wide = order.len();
        let header = (self.sieve, (header_row, wide));
        batch.push(copy(header, (self.sieve, (row, wide)), wide));
        batch.push(delete_duplicates(self.sieve, row - 1, 2 * wide));
        for (first, count) in runs(order, |column| with_key || column.is != 0) {
            let to = (self.tab, (target, order[first].at));
            batch.push(copy((self.sieve, (row, first)), to, count));
        }
    }

    fn block(
        &self,
        order: &[Column],
        write: Option<&Write>,
        new: &[String; COLUMNS],
    ) -> [Vec<Cell>; BLOCK] {
        let expected = |is: usize| match (write, is) {
            (None, _) => Cell::Empty,
            // A number is not searched for, but compared as it is.
            (Some(write), 0) => match (&write.line.key, &write.key) {
                (Cell::Text(_), None) => Cell::Text(self.mark.clone()),
                (key, _) => key.clone(),
            },
            (Some(write), 1) => write.line.holder.clone(),
            (Some(write), 2) => write.line.since.clone(),
            (Some(write), _) => write.line.origin.clone(),
        };
        let mut first: Vec<Cell> = order.iter().map(|column| expected(column.is)).collect();
        first.extend(order.iter().map(|column| self.grid.headers[column.is].clone()));
        let third = order.iter().map(|column| Cell::Text(new[column.is].clone())).collect();
        [first, Vec::new(), third]
    }
}

/// The columns as they stand in the tab: those side by side are copied at once.
fn order(columns: Columns) -> Vec<Column> {
    let mut order: Vec<_> = columns.all().map(|(is, at)| Column { at, is }).collect();
    order.sort_by_key(|column| column.at);
    order
}

/// Where columns lie side by side: the first one's place in `order`, and how many.
fn runs(order: &[Column], is_meant: impl Fn(&Column) -> bool) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (place, column) in order.iter().enumerate().filter(|(_, column)| is_meant(column)) {
        match runs.last_mut() {
            Some((first, count))
                if *first + *count == place && order[place - 1].at + 1 == column.at =>
            {
                *count += 1;
            }
            _ => runs.push((place, 1)),
        }
    }
    runs
}

fn index(at: usize) -> Option<i32> {
    i32::try_from(at).ok()
}

fn area(
    tab: i32,
    (row, column): (usize, usize),
    (rows, columns): (usize, usize),
) -> google::GridRange {
    google::GridRange {
        sheet_id: Some(tab),
        start_row_index: index(row),
        end_row_index: index(row + rows),
        start_column_index: index(column),
        end_column_index: index(column + columns),
    }
}

/// One row of cells to another place, without their format. Both are named by tab, row and column.
fn copy(
    (from, source): (i32, (usize, usize)),
    (to, target): (i32, (usize, usize)),
    columns: usize,
) -> google::Request {
    let paste = google::CopyPasteRequest {
        source: Some(area(from, source, (1, columns))),
        destination: Some(area(to, target, (1, columns))),
        paste_type: Some("PASTE_VALUES".into()),
        paste_orientation: Some("NORMAL".into()),
    };
    google::Request { copy_paste: Some(paste), ..Default::default() }
}

fn replace(tab: i32, place: (usize, usize), find: &str, replacement: &str) -> google::Request {
    let replace = google::FindReplaceRequest {
        find: Some(find.into()),
        replacement: Some(replacement.into()),
        match_case: Some(true),
        match_entire_cell: Some(true),
        search_by_regex: Some(false),
        include_formulas: Some(false),
        range: Some(area(tab, place, (1, 1))),
        ..Default::default()
    };
    google::Request { find_replace: Some(replace), ..Default::default() }
}

/// In the block that begins with this row.
fn delete_duplicates(tab: i32, row: usize, columns: usize) -> google::Request {
    let compared = google::DimensionRange {
        sheet_id: Some(tab),
        dimension: Some("COLUMNS".into()),
        start_index: Some(0),
        end_index: index(columns),
    };
    let delete = google::DeleteDuplicatesRequest {
        range: Some(area(tab, (row, 0), (BLOCK, columns))),
        comparison_columns: Some(vec![compared]),
    };
    google::Request { delete_duplicates: Some(delete), ..Default::default() }
}

/// The sieve's first rows; what they don't have is cleared.
fn fill(tab: i32, rows: usize, cells: Vec<Vec<Cell>>) -> google::Request {
    let cell = |cell: Cell| {
        let value = match cell {
            Cell::Text(text) if !text.is_empty() => {
                google::ExtendedValue { string_value: Some(text), ..Default::default() }
            }
            Cell::Number(number) => {
                google::ExtendedValue { number_value: Some(number), ..Default::default() }
            }
            Cell::Text(_) | Cell::Empty | Cell::Other => return google::CellData::default(),
        };
        google::CellData { user_entered_value: Some(value), ..Default::default() }
    };
    let row =
        |cells: Vec<Cell>| google::RowData { values: Some(cells.into_iter().map(cell).collect()) };
    let update = google::UpdateCellsRequest {
        range: Some(area(tab, (0, 0), (rows, SIZE.1))),
        rows: Some(cells.into_iter().map(row).collect()),
        fields: Some(FieldMask::new(&["userEnteredValue"])),
        ..Default::default()
    };
    google::Request { update_cells: Some(update), ..Default::default() }
}

/// New rows at this place, which look as those above.
fn insert(tab: i32, row: usize, count: usize) -> google::Request {
    let insert = google::InsertDimensionRequest {
        inherit_from_before: Some(row > 1),
        range: Some(google::DimensionRange {
            sheet_id: Some(tab),
            dimension: Some("ROWS".into()),
            start_index: index(row),
            end_index: index(row + count),
        }),
    };
    google::Request { insert_dimension: Some(insert), ..Default::default() }
}
