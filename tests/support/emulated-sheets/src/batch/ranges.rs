//! Requests that move cells without their rows: to cut, copy, insert and delete ranges. Developer metadata
//! stays where it was, as people measured: it goes with rows, not with cells.

use serde_json::Value;

use super::{Batch, nothing};
use crate::a1::Area;
use crate::book::beyond;
use crate::cell::Cell;
use crate::error::{ApiError, Result};
use crate::sheet::Sheet;

/// Cells of a rectangle, by rows.
type Block = Vec<Vec<Cell>>;

impl Batch<'_> {
    /// The tab and the cells of a range, within the grid.
    fn block_area(&self, range: &Value) -> Result<(usize, Area)> {
        let (place, area) = self.book.grid_range(range)?;
        let sheet = &self.book.sheets[place];
        if area.top >= sheet.row_count || area.left >= sheet.column_count {
            return Err(beyond(sheet, &area));
        }
        Ok((place, area.within(sheet.row_count, sheet.column_count)))
    }

    pub(super) fn cut_paste(&mut self, body: &Value) -> Result<Value> {
        let kind = paste(body)?;
        let (from, area) = self.block_area(&body["source"])?;
        let to = &body["destination"];
        let place = self.book.place(to["sheetId"].as_i64().unwrap_or(0))?;
        let index =
            |name: &str| usize::try_from(to[name].as_i64().unwrap_or(0)).unwrap_or(usize::MAX);
        let corner = (index("rowIndex"), index("columnIndex"));
        self.book.guard(self.caller, from, &area)?;
        let block = take(&self.book.sheets[from], &area);
        let blank = vec![vec![Cell::default(); area.columns().len()]; area.rows().len()];
        put(self.book.sheet_mut(from), (area.top, area.left), &blank, Paste::All);
        self.paste(place, corner, &block, kind)?;
        Ok(nothing())
    }

    pub(super) fn copy_paste(&mut self, body: &Value) -> Result<Value> {
        let kind = paste(body)?;
        if body["pasteOrientation"].as_str() == Some("TRANSPOSE") {
            return Err(ApiError::not_emulated("pasteOrientation TRANSPOSE"));
        }
        let (from, area) = self.block_area(&body["source"])?;
        let (place, target) = self.block_area(&body["destination"])?;
        let block = take(&self.book.sheets[from], &area);
        let (height, width) = (area.rows().len(), area.columns().len());
        // Repeated where the destination is a multiple; else copied once.
        let times =
            |span: usize, size: usize| if span.is_multiple_of(size) { span / size } else { 1 };
        for down in 0..times(target.rows().len(), height).max(1) {
            for right in 0..times(target.columns().len(), width).max(1) {
                let corner = (target.top + down * height, target.left + right * width);
                self.paste(place, corner, &block, kind)?;
            }
        }
        Ok(nothing())
    }

    fn paste(
        &mut self,
        place: usize,
        (top, left): (usize, usize),
        block: &Block,
        kind: Paste,
    ) -> Result<()> {
        let width = block.first().map_or(0, Vec::len);
        let target =
            Area::of(top, left, top.saturating_add(block.len()), left.saturating_add(width));
        let sheet = &self.book.sheets[place];
        if target.rows().end > sheet.row_count || target.columns().end > sheet.column_count {
            return Err(beyond(sheet, &target));
        }
        self.book.guard(self.caller, place, &target)?;
        put(self.book.sheet_mut(place), (top, left), block, kind);
        Ok(())
    }

    pub(super) fn delete_range(&mut self, body: &Value) -> Result<Value> {
        let (place, area, behind) = self.shifted(body)?;
        let block = take(&self.book.sheets[place], &behind);
        let blank = vec![vec![Cell::default(); behind.columns().len()]; behind.rows().len()];
        let sheet = self.book.sheet_mut(place);
        put(sheet, (behind.top, behind.left), &blank, Paste::All);
        let gone = vec![vec![Cell::default(); area.columns().len()]; area.rows().len()];
        put(sheet, (area.top, area.left), &gone, Paste::All);
        put(sheet, (area.top, area.left), &block, Paste::All);
        Ok(nothing())
    }

    /// What would be pushed off the grid must be blank.
    pub(super) fn insert_range(&mut self, body: &Value) -> Result<Value> {
        let (place, area, behind) = self.shifted(body)?;
        let down = body["shiftDimension"].as_str() == Some("ROWS");
        let whole = Area::of(area.top, area.left, behind.rows().end, behind.columns().end);
        let (height, width) = (area.rows().len(), area.columns().len());
        let sheet = &self.book.sheets[place];
        let edge = if down {
            Area { top: whole.rows().end.saturating_sub(height).max(whole.top), ..whole }
        } else {
            Area { left: whole.columns().end.saturating_sub(width).max(whole.left), ..whole }
        };
        if take(sheet, &edge).iter().flatten().any(|cell| !cell.is_empty()) {
            return Err(ApiError::invalid("The insertion would push data off the grid."));
        }
        let kept = if down {
            Area { bottom: Some(edge.top), ..whole }
        } else {
            Area { right: Some(edge.left), ..whole }
        };
        let block = take(sheet, &kept);
        let blank = vec![vec![Cell::default(); width]; height];
        let sheet = self.book.sheet_mut(place);
        let corner =
            if down { (area.top + height, area.left) } else { (area.top, area.left + width) };
        put(sheet, corner, &block, Paste::All);
        put(sheet, (area.top, area.left), &blank, Paste::All);
        Ok(nothing())
    }

    /// The range of a request, and the cells behind it that move; the caller may edit both.
    fn shifted(&self, body: &Value) -> Result<(usize, Area, Area)> {
        let (place, area) = self.block_area(&body["range"])?;
        let sheet = &self.book.sheets[place];
        // Rows beyond what is stored are blank, and need not be moved.
        let (rows, columns) = (sheet.row_count, sheet.column_count);
        let behind = match body["shiftDimension"].as_str() {
            Some("ROWS") => Area { top: area.rows().end, bottom: Some(rows), ..area },
            Some("COLUMNS") => Area { left: area.columns().end, right: Some(columns), ..area },
            _ => return Err(ApiError::invalid("No shiftDimension specified.")),
        };
        let whole = Area::of(area.top, area.left, behind.rows().end, behind.columns().end);
        self.book.guard(self.caller, place, &whole)?;
        Ok((place, area, behind))
    }
}

/// What of a cell is pasted.
#[derive(Clone, Copy, PartialEq)]
enum Paste {
    All,
    Values,
}

fn paste(body: &Value) -> Result<Paste> {
    match body["pasteType"].as_str() {
        None | Some("PASTE_NORMAL") => Ok(Paste::All),
        Some("PASTE_VALUES") => Ok(Paste::Values),
        Some(other) => Err(ApiError::not_emulated(&format!("pasteType {other}"))),
    }
}

/// The cells of an area that lies within the grid; rows behind the last that is stored are left out.
fn take(sheet: &Sheet, area: &Area) -> Block {
    let end = area.rows().end.min(sheet.rows.len()).max(area.top);
    let cell = |row, column| sheet.cell(row, column).cloned().unwrap_or_default();
    (area.top..end).map(|row| area.columns().map(|column| cell(row, column)).collect()).collect()
}

fn put(sheet: &mut Sheet, (top, left): (usize, usize), block: &Block, kind: Paste) {
    for (down, cells) in block.iter().enumerate() {
        for (right, cell) in cells.iter().enumerate() {
            let (row, column) = (top + down, left + right);
            if cell.is_blank() && sheet.cell(row, column).is_none() {
                continue;
            }
            let old = sheet.cell_mut(row, column);
            match kind {
                Paste::All => old.clone_from(cell),
                Paste::Values => old.content = cell.content.effective(),
            }
        }
    }
}
