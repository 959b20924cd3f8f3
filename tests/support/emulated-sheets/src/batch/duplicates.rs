//! `deleteDuplicates`, as Google's reference tells it: the first of several rows that are equal in the compared
//! columns stays; those below move up, within the range alone. Letters' cases, formats and formulas make no
//! difference.
//! <https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/request#DeleteDuplicatesRequest>

use serde_json::{Value, json};

use super::Batch;
use crate::cell::{Cell, Content};
use crate::error::{ApiError, Result};
use crate::sheet::Sheet;

impl Batch<'_> {
    pub(super) fn delete_duplicates(&mut self, body: &Value) -> Result<Value> {
        let (place, area) = self.book.grid_range(&body["range"])?;
        let sheet = &self.book.sheets[place];
        let area = area.within(sheet.row_count, sheet.column_count);
        let columns = compared(body, area.columns())?;
        self.book.guard(self.caller, place, &area)?;
        let sheet = &self.book.sheets[place];
        let (mut seen, mut kept): (Vec<Vec<Content>>, Vec<usize>) = (Vec::new(), Vec::new());
        // Rows that are not stored are blank, and equal to each other.
        for row in area.rows() {
            let key: Vec<Content> = columns.iter().map(|at| shown(sheet, row, *at)).collect();
            if !seen.contains(&key) {
                seen.push(key);
                kept.push(row);
            }
        }
        let removed = area.rows().len() - kept.len();
        let cell = |row, column| sheet.cell(row, column).cloned().unwrap_or_default();
        let block: Vec<Vec<Cell>> = kept
            .iter()
            .map(|row| area.columns().map(|column| cell(*row, column)).collect())
            .collect();
        let blank = vec![Cell::default(); area.columns().len()];
        let sheet = self.book.sheet_mut(place);
        for (down, row) in area.rows().enumerate() {
            let cells = block.get(down).unwrap_or(&blank);
            for (column, cell) in area.columns().zip(cells) {
                if !cell.is_blank() || sheet.cell(row, column).is_some() {
                    sheet.cell_mut(row, column).clone_from(cell);
                }
            }
        }
        Ok(json!({"deleteDuplicates": {"duplicatesRemovedCount": removed}}))
    }
}

/// The columns to compare: all of the range if none are named.
fn compared(body: &Value, all: std::ops::Range<usize>) -> Result<Vec<usize>> {
    let named = body["comparisonColumns"].as_array().map(Vec::as_slice).unwrap_or_default();
    if named.is_empty() {
        return Ok(all.collect());
    }
    let mut columns = Vec::new();
    for range in named {
        let end = |name: &str| range[name].as_u64().and_then(|at| usize::try_from(at).ok());
        let (start, end) = (end("startIndex").unwrap_or(0), end("endIndex").unwrap_or(all.end));
        if range["dimension"].as_str() != Some("COLUMNS") || start < all.start || end > all.end {
            let text = "The comparison columns must be columns within the range.";
            return Err(ApiError::invalid(text));
        }
        columns.extend(start..end);
    }
    Ok(columns)
}

fn shown(sheet: &Sheet, row: usize, column: usize) -> Content {
    match sheet.cell(row, column).map(|cell| cell.content.effective()) {
        Some(Content::Text(text)) => Content::Text(text.to_lowercase()),
        other => other.unwrap_or_default(),
    }
}
