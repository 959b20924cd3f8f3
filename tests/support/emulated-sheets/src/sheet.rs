//! One tab: its grid, what hangs on rows and columns, and how both move. It knows nothing of requests.
//!
//! Rows are shared between versions of a spreadsheet and copied when they are written, so that a batch
//! works on a copy and an old version costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::a1::Area;
use crate::cell::Cell;
use crate::metadata::Entry;

/// A row: its cells up to the last that is not blank, and the metadata that goes with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// The cells from the first column on.
    pub(crate) cells: Vec<Cell>,
    /// Developer metadata of this row.
    pub(crate) metadata: Vec<Entry>,
    /// `DimensionProperties` that were set.
    pub(crate) properties: Map<String, Value>,
}

/// A protected range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Protection {
    /// Its id.
    pub(crate) id: i64,
    /// What it protects.
    pub(crate) area: Area,
    /// What of it is open all the same.
    pub(crate) open: Vec<Area>,
    /// The other fields of `ProtectedRange` as they were given.
    pub(crate) fields: Map<String, Value>,
}

/// A tab.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sheet {
    /// Its id (gid), which nothing changes.
    pub(crate) id: i64,
    /// Its title.
    pub(crate) title: String,
    /// Not shown in the tab bar.
    pub(crate) hidden: bool,
    /// Size of the grid.
    pub(crate) row_count: usize,
    /// Size of the grid.
    pub(crate) column_count: usize,
    /// Other `GridProperties`.
    pub(crate) grid: Map<String, Value>,
    /// Other `SheetProperties`.
    pub(crate) properties: Map<String, Value>,
    /// Rows up to the last that is not blank.
    pub(crate) rows: Vec<Arc<Row>>,
    /// Metadata of columns.
    pub(crate) columns: BTreeMap<usize, Vec<Entry>>,
    /// Metadata of the tab itself.
    pub(crate) metadata: Vec<Entry>,
    /// Who may write what.
    pub(crate) protections: Vec<Protection>,
}

impl Sheet {
    /// An empty tab.
    pub(crate) fn new(id: i64, title: &str, rows: usize, columns: usize) -> Self {
        Self {
            id,
            title: title.to_owned(),
            hidden: false,
            row_count: rows,
            column_count: columns,
            grid: Map::new(),
            properties: Map::new(),
            rows: Vec::new(),
            columns: BTreeMap::new(),
            metadata: Vec::new(),
            protections: Vec::new(),
        }
    }

    /// The cell at a place; none where it is blank.
    pub(crate) fn cell(&self, row: usize, column: usize) -> Option<&Cell> {
        self.rows.get(row)?.cells.get(column)
    }

    /// The cell at a place of the grid, to be written.
    pub(crate) fn cell_mut(&mut self, row: usize, column: usize) -> &mut Cell {
        let cells = &mut self.row_mut(row).cells;
        if cells.len() <= column {
            cells.resize(column + 1, Cell::default());
        }
        &mut cells[column]
    }

    /// A row of the grid, to be written.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut Row {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Arc::default);
        }
        Arc::make_mut(&mut self.rows[row])
    }

    /// Cells of the grid, whether anything is in them or not.
    pub(crate) fn cells(&self) -> usize {
        self.row_count * self.column_count
    }

    /// The row after the last in which anything was entered.
    pub(crate) fn end_of_data(&self) -> usize {
        let filled = |row: &Arc<Row>| row.cells.iter().any(|cell| !cell.is_empty());
        self.rows.iter().rposition(filled).map_or(0, |at| at + 1)
    }

    /// Puts `count` blank rows before row `at`.
    pub(crate) fn insert_rows(&mut self, at: usize, count: usize) {
        self.row_count += count;
        if at < self.rows.len() {
            let new = std::iter::repeat_with(Arc::default).take(count);
            self.rows.splice(at..at, new);
        }
        for protection in &mut self.protections {
            let area = &mut protection.area;
            (area.top, area.bottom) = grown(area.top, area.bottom, at, count);
        }
    }

    /// Puts `count` blank columns before column `at`.
    pub(crate) fn insert_columns(&mut self, at: usize, count: usize) {
        self.column_count += count;
        for row in &mut self.rows {
            if at < row.cells.len() {
                let new = std::iter::repeat_with(Cell::default).take(count);
                Arc::make_mut(row).cells.splice(at..at, new);
            }
        }
        let old = std::mem::take(&mut self.columns);
        let moved = |column| if column >= at { column + count } else { column };
        self.columns = old.into_iter().map(|(column, list)| (moved(column), list)).collect();
        for protection in &mut self.protections {
            let area = &mut protection.area;
            (area.left, area.right) = grown(area.left, area.right, at, count);
        }
    }

    /// Takes these rows away, with all that hangs on them.
    pub(crate) fn delete_rows(&mut self, range: Range<usize>) {
        self.row_count -= range.len();
        let end = range.end.min(self.rows.len());
        if range.start < end {
            self.rows.drain(range.start..end);
        }
        self.protections.retain_mut(|protection| {
            let area = &mut protection.area;
            shrunk(&mut area.top, &mut area.bottom, &range)
        });
    }

    /// Takes these columns away, with all that hangs on them.
    pub(crate) fn delete_columns(&mut self, range: Range<usize>) {
        self.column_count -= range.len();
        for row in &mut self.rows {
            let end = range.end.min(row.cells.len());
            if range.start < end {
                Arc::make_mut(row).cells.drain(range.start..end);
            }
        }
        let old = std::mem::take(&mut self.columns);
        self.columns = old
            .into_iter()
            .filter(|(column, _)| !range.contains(column))
            .map(|(column, list)| {
                (if column >= range.end { column - range.len() } else { column }, list)
            })
            .collect();
        self.protections.retain_mut(|protection| {
            let area = &mut protection.area;
            shrunk(&mut area.left, &mut area.right, &range)
        });
    }

    /// Moves rows to before row `to` of the grid as it is.
    pub(crate) fn move_rows(&mut self, range: Range<usize>, to: usize) {
        let last = range.end.max(to);
        if self.rows.len() < last {
            self.rows.resize_with(last, Arc::default);
        }
        if to < range.start {
            self.rows[to..range.end].rotate_right(range.len());
        } else if to > range.end {
            self.rows[range.start..to].rotate_left(range.len());
        }
        self.trim();
    }

    /// Moves columns to before column `to` of the grid as it is.
    pub(crate) fn move_columns(&mut self, range: Range<usize>, to: usize) {
        let mut order: Vec<usize> = (0..self.column_count).collect();
        if to < range.start {
            order[to..range.end].rotate_right(range.len());
        } else if to > range.end {
            order[range.start..to].rotate_left(range.len());
        }
        for row in &mut self.rows {
            let row = Arc::make_mut(row);
            let old = std::mem::take(&mut row.cells);
            row.cells = order.iter().map(|at| old.get(*at).cloned().unwrap_or_default()).collect();
        }
        let old = std::mem::take(&mut self.columns);
        let place = |column: usize| order.iter().position(|at| *at == column).unwrap_or(column);
        self.columns = old.into_iter().map(|(column, list)| (place(column), list)).collect();
        self.trim();
    }

    /// Another size of the grid; what lies outside is gone.
    pub(crate) fn resize(&mut self, rows: usize, columns: usize) {
        if rows < self.row_count {
            self.delete_rows(rows..self.row_count);
        }
        if columns < self.column_count {
            self.delete_columns(columns..self.column_count);
        }
        (self.row_count, self.column_count) = (rows, columns);
    }

    /// Forgets blank cells and rows at the ends.
    pub(crate) fn trim(&mut self) {
        for row in &mut self.rows {
            if row.cells.last().is_some_and(Cell::is_blank) {
                let cells = &mut Arc::make_mut(row).cells;
                let end = cells.iter().rposition(|cell| !cell.is_blank()).map_or(0, |at| at + 1);
                cells.truncate(end);
            }
        }
        while self.rows.last().is_some_and(|row| **row == Row::default()) {
            self.rows.pop();
        }
    }

    /// As `SheetProperties`; `index` is the tab's place.
    pub(crate) fn describe(&self, index: usize) -> Value {
        let mut grid = self.grid.clone();
        grid.insert("rowCount".into(), self.row_count.into());
        grid.insert("columnCount".into(), self.column_count.into());
        let mut properties = self.properties.clone();
        properties.extend([
            ("sheetId".to_owned(), json!(self.id)),
            ("title".to_owned(), json!(self.title)),
            ("index".to_owned(), json!(index)),
            ("sheetType".to_owned(), json!("GRID")),
            ("gridProperties".to_owned(), grid.into()),
        ]);
        if self.hidden {
            properties.insert("hidden".into(), true.into());
        }
        properties.into()
    }

    /// An area of this tab as `GridRange`; open ends stay open.
    pub(crate) fn grid_range(&self, area: &Area) -> Value {
        let mut range = json!({"sheetId": self.id});
        let mut set = |name: &str, value: usize| range[name] = value.into();
        if area.top > 0 || area.bottom.is_some() {
            set("startRowIndex", area.top);
        }
        if let Some(bottom) = area.bottom {
            set("endRowIndex", bottom);
        }
        if area.left > 0 || area.right.is_some() {
            set("startColumnIndex", area.left);
        }
        if let Some(right) = area.right {
            set("endColumnIndex", right);
        }
        range
    }
}

/// A span after `count` lines came before line `at`: it grows when they came inside.
fn grown(start: usize, end: Option<usize>, at: usize, count: usize) -> (usize, Option<usize>) {
    let start = if at <= start && start > 0 { start + count } else { start };
    (start, end.map(|end| if at < end { end + count } else { end }))
}

/// A span after these lines went; false when nothing of it is left.
fn shrunk(start: &mut usize, end: &mut Option<usize>, gone: &Range<usize>) -> bool {
    let before = |line: usize| line.min(gone.end).saturating_sub(gone.start).min(gone.len());
    let old = *start;
    *start -= before(old);
    if let Some(line) = end {
        *line -= before(*line);
        return *line > *start;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Content;

    fn column(sheet: &Sheet) -> Vec<String> {
        (0..sheet.rows.len())
            .map(|r| sheet.cell(r, 0).map(Cell::formatted).unwrap_or_default())
            .collect()
    }

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new(0, "a", 6, 2);
        for (row, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
            *sheet.cell_mut(row, 0) = Cell::new(Content::Text(text.into()));
        }
        sheet
    }

    #[test]
    fn rows_move_as_the_ui_moves_them() {
        let mut one = sheet();
        one.move_rows(0..2, 4);
        assert_eq!(column(&one), ["c", "d", "a", "b"]);
        one.move_rows(3..4, 0);
        assert_eq!(column(&one), ["b", "c", "d", "a"]);
        one.insert_rows(1, 2);
        assert_eq!((column(&one).len(), one.row_count), (6, 8));
        one.delete_rows(0..3);
        assert_eq!((column(&one), one.row_count), (vec!["c".into(), "d".into(), "a".into()], 5));
    }

    #[test]
    fn a_protection_moves_with_its_rows() {
        let mut one = sheet();
        let area = Area { top: 2, left: 0, bottom: Some(4), right: None };
        one.protections.push(Protection { id: 1, area, open: vec![], fields: Map::new() });
        one.insert_rows(0, 1);
        assert_eq!((one.protections[0].area.top, one.protections[0].area.bottom), (3, Some(5)));
        one.insert_rows(4, 2);
        assert_eq!((one.protections[0].area.top, one.protections[0].area.bottom), (3, Some(7)));
        one.delete_rows(0..4);
        assert_eq!((one.protections[0].area.top, one.protections[0].area.bottom), (0, Some(3)));
        one.delete_rows(0..3);
        assert!(one.protections.is_empty());
    }
}
