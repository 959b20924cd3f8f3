//! Requests that write cells: at a place, over a range, behind the last row, wherever a text stands.

use serde_json::{Map, Value, json};

use super::{Batch, fields, nothing};
use crate::a1::Area;
use crate::cell::Content;
use crate::error::{ApiError, Result};
use crate::mask::Mask;

/// Cells as `RowData` lists them.
type Rows = Vec<Vec<Map<String, Value>>>;

impl Batch<'_> {
    pub(super) fn update_cells(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "CellData")?;
        let rows = rows(body);
        if let Some(start) = body.get("start") {
            let place = self.book.place(start["sheetId"].as_i64().unwrap_or(0))?;
            let index = |name: &str| {
                let number = start[name].as_i64().unwrap_or(0);
                usize::try_from(number).map_err(|_| {
                    ApiError::invalid(format!("start.{name}[{number}] must not be negative."))
                })
            };
            let (top, left) = (index("rowIndex")?, index("columnIndex")?);
            let sheet = &self.book.sheets[place];
            let limit = Area::of(0, 0, sheet.row_count, sheet.column_count);
            self.write_rows(place, (top, left), &limit, &mask, &rows)?;
        } else if let Some(range) = body.get("range") {
            let (place, area) = self.book.grid_range(range)?;
            let sheet = &self.book.sheets[place];
            if area.top >= sheet.row_count || area.left >= sheet.column_count {
                return Err(crate::book::beyond(sheet, &area));
            }
            let area = area.within(sheet.row_count, sheet.column_count);
            self.book.guard(self.caller, place, &area)?;
            // What the rows do not cover is cleared.
            self.fill(place, &area, &mask, &Map::new())?;
            self.write_rows(place, (area.top, area.left), &area, &mask, &rows)?;
        } else {
            return Err(ApiError::invalid("Must specify one of 'start' or 'range'."));
        }
        Ok(nothing())
    }

    pub(super) fn append_cells(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "CellData")?;
        if body.get("tableId").is_some() {
            return Err(ApiError::not_emulated("tables"));
        }
        let place = self.book.place(body["sheetId"].as_i64().unwrap_or(0))?;
        let rows = rows(body);
        let sheet = self.book.sheet_mut(place);
        let top = sheet.end_of_data();
        if top + rows.len() > sheet.row_count {
            sheet.insert_rows(sheet.row_count, top + rows.len() - sheet.row_count);
        }
        let limit = Area::of(0, 0, sheet.row_count, sheet.column_count);
        self.book.check_size()?;
        self.write_rows(place, (top, 0), &limit, &mask, &rows)?;
        Ok(nothing())
    }

    pub(super) fn repeat_cell(&mut self, body: &Value) -> Result<Value> {
        let mask = fields(body, "CellData")?;
        let (place, area) = self.book.grid_range(&body["range"])?;
        let sheet = &self.book.sheets[place];
        let area = area.within(sheet.row_count, sheet.column_count);
        self.book.guard(self.caller, place, &area)?;
        let cell = body["cell"].as_object().cloned().unwrap_or_default();
        self.fill(place, &area, &mask, &cell)?;
        Ok(nothing())
    }

    fn fill(
        &mut self,
        place: usize,
        area: &Area,
        mask: &Mask,
        cell: &Map<String, Value>,
    ) -> Result<()> {
        let sheet = self.book.sheet_mut(place);
        let end =
            if cell.is_empty() { sheet.rows.len().min(area.rows().end) } else { area.rows().end };
        for row in area.top..end {
            let width = sheet.rows.get(row).map_or(0, |row| row.cells.len());
            let right =
                if cell.is_empty() { width.min(area.columns().end) } else { area.columns().end };
            for column in area.left..right {
                sheet.cell_mut(row, column).write(mask, cell)?;
            }
        }
        Ok(())
    }

    fn write_rows(
        &mut self,
        place: usize,
        (top, left): (usize, usize),
        limit: &Area,
        mask: &Mask,
        rows: &Rows,
    ) -> Result<()> {
        let (bottom, right) = (limit.rows().end, limit.columns().end);
        let attempt = |what: &str, at: usize, last: usize| {
            ApiError::invalid(format!(
                "Attempting to write {what}: {at}, beyond the last requested {what} of: {}",
                last.saturating_sub(1)
            ))
        };
        if top + rows.len() > bottom {
            return Err(attempt("row", top.max(bottom), bottom));
        }
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        if left + width > right {
            return Err(attempt("column", left.max(right), right));
        }
        if rows.is_empty() || width == 0 {
            return Ok(());
        }
        let target = Area::of(top, left, top + rows.len(), left + width);
        self.book.guard(self.caller, place, &target)?;
        let sheet = self.book.sheet_mut(place);
        for (at, cells) in rows.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                sheet
                    .cell_mut(top + at, left + column)
                    .write(mask, cell)
                    .map_err(|error| error_in_cell(error, at, column))?;
            }
        }
        Ok(())
    }

    /// Plain texts only: a search by a regular expression is not emulated.
    pub(super) fn find_replace(&mut self, body: &Value) -> Result<Value> {
        if body["searchByRegex"].as_bool() == Some(true) {
            return Err(ApiError::not_emulated("searchByRegex"));
        }
        let places: Vec<(usize, Area)> = if body["allSheets"].as_bool() == Some(true) {
            (0..self.book.sheets.len()).map(|place| (place, Area::default())).collect()
        } else if let Some(range) = body.get("range") {
            vec![self.book.grid_range(range)?]
        } else {
            vec![(self.book.place(body["sheetId"].as_i64().unwrap_or(0))?, Area::default())]
        };
        let search = Search {
            find: body["find"].as_str().unwrap_or_default().to_owned(),
            replacement: body["replacement"].as_str().unwrap_or_default().to_owned(),
            case: body["matchCase"].as_bool().unwrap_or(false),
            entire: body["matchEntireCell"].as_bool().unwrap_or(false),
        };
        let (mut occurrences, mut values, mut rows, mut sheets) = (0, 0, 0, 0);
        for (place, area) in places {
            let changes = self.replace_in(place, &area, &search)?;
            let mut lines: Vec<usize> = changes.iter().map(|(row, _)| *row).collect();
            lines.dedup();
            occurrences += changes.iter().map(|(_, count)| count).sum::<usize>();
            values += changes.len();
            rows += lines.len();
            sheets += usize::from(!changes.is_empty());
        }
        Ok(json!({"findReplace": {
            "valuesChanged": values,
            "rowsChanged": rows,
            "sheetsChanged": sheets,
            "occurrencesChanged": occurrences,
        }}))
    }

    fn replace_in(
        &mut self,
        place: usize,
        area: &Area,
        search: &Search,
    ) -> Result<Vec<(usize, usize)>> {
        let sheet = &self.book.sheets[place];
        let area = area.within(sheet.row_count, sheet.column_count);
        let mut found = Vec::new();
        for row in area.top..area.rows().end.min(sheet.rows.len()) {
            for column in area.columns().start..area.columns().end.min(sheet.rows[row].cells.len())
            {
                let Some(Content::Text(text)) = sheet.cell(row, column).map(|c| &c.content) else {
                    continue;
                };
                let (new, count) = search.replaced(text);
                if count > 0 {
                    found.push((row, column, new, count));
                }
            }
        }
        for (row, column, new, _) in &found {
            self.book.guard(self.caller, place, &Area::of(*row, *column, row + 1, column + 1))?;
            self.book.sheet_mut(place).cell_mut(*row, *column).content = Content::text(new)?;
        }
        Ok(found.into_iter().map(|(row, _, _, count)| (row, count)).collect())
    }
}

struct Search {
    find: String,
    replacement: String,
    case: bool,
    entire: bool,
}

impl Search {
    fn replaced(&self, text: &str) -> (String, usize) {
        let same = |a: &str, b: &str| {
            if self.case { a == b } else { a.to_lowercase() == b.to_lowercase() }
        };
        if self.find.is_empty() {
            return (text.to_owned(), 0);
        }
        if self.entire {
            let hit = same(text, &self.find);
            return (
                if hit { self.replacement.clone() } else { text.to_owned() },
                usize::from(hit),
            );
        }
        let (mut new, mut count, mut rest) = (String::new(), 0, text);
        while let Some(letter) = rest.chars().next() {
            let here = rest.get(..self.find.len()).filter(|here| same(here, &self.find));
            if let Some(here) = here {
                new.push_str(&self.replacement);
                count += 1;
                rest = &rest[here.len()..];
            } else {
                new.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        (new, count)
    }
}

fn rows(body: &Value) -> Rows {
    let cells = |row: &Value| -> Vec<Map<String, Value>> {
        let values = row["values"].as_array().into_iter().flatten();
        values.map(|cell| cell.as_object().cloned().unwrap_or_default()).collect()
    };
    body["rows"].as_array().into_iter().flatten().map(cells).collect()
}

fn error_in_cell(mut error: ApiError, row: usize, column: usize) -> ApiError {
    if error.message.starts_with("oneof") || error.message.starts_with("A formula") {
        error.message = format!("rows[{row}].values[{column}]: {}", error.message);
    }
    error
}
