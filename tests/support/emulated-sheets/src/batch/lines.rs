//! Requests about rows and columns: to insert, delete, append, move and sort them.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::tabs::FROZEN_ROWS;
use super::{Batch, nothing};
use crate::a1::Area;
use crate::cell::{Cell, Content};
use crate::error::{ApiError, Result};
use crate::sheet::Row;

/// A `DimensionRange`: the tab, whether it is rows, and which.
struct Lines {
    place: usize,
    rows: bool,
    range: Range<usize>,
}

impl Lines {
    /// What of the grid they are.
    fn area(&self) -> Area {
        let Range { start, end } = self.range.clone();
        if self.rows {
            Area { top: start, left: 0, bottom: Some(end), right: None }
        } else {
            Area { top: 0, left: start, bottom: None, right: Some(end) }
        }
    }
}

impl Batch<'_> {
    /// Reads a `DimensionRange`; open ends are the grid's.
    fn lines(&self, range: &Value) -> Result<Lines> {
        let place = self.book.place(range["sheetId"].as_i64().unwrap_or(0))?;
        let rows = dimension(range)?;
        let count = self.count(place, rows);
        let start = range["startIndex"].as_i64().unwrap_or(0);
        let end = range["endIndex"].as_i64().unwrap_or(i64::try_from(count).unwrap_or(i64::MAX));
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) if start < end => Ok(Lines { place, rows, range: start..end }),
            _ => Err(ApiError::invalid(format!(
                "range.startIndex[{start}] must be less than range.endIndex[{end}] and not negative."
            ))),
        }
    }

    fn count(&self, place: usize, rows: bool) -> usize {
        let sheet = &self.book.sheets[place];
        if rows { sheet.row_count } else { sheet.column_count }
    }

    fn inside(&self, lines: &Lines) -> Result<()> {
        let count = self.count(lines.place, lines.rows);
        if lines.range.end > count {
            let what = if lines.rows { "rows" } else { "columns" };
            let Range { start, end } = lines.range.clone();
            return Err(ApiError::invalid(format!(
                "range {what}[{start}:{end}] is outside the grid of {count} {what}."
            )));
        }
        self.book.guard(self.caller, lines.place, &lines.area())
    }

    pub(super) fn insert_dimension(&mut self, body: &Value) -> Result<Value> {
        let lines = self.lines(&body["range"])?;
        let before = body["inheritFromBefore"].as_bool().unwrap_or(false);
        if before && lines.range.start == 0 {
            let text = "inheritFromBefore: there is nothing before the first row or column.";
            return Err(ApiError::invalid(text));
        }
        let count = self.count(lines.place, lines.rows);
        if lines.range.start >= count + usize::from(before) {
            return Err(ApiError::invalid(format!(
                "range.startIndex[{}] must be less than the size of the grid[{count}].",
                lines.range.start
            )));
        }
        // New lines inside a protected range would be of it.
        let at = lines.range.start;
        let touched = Lines { range: at.saturating_sub(1)..at + 1, ..lines };
        let inside = self.book.sheets[touched.place].protections.iter().any(|protection| {
            let own = if touched.rows { protection.area.rows() } else { protection.area.columns() };
            own.start < at && at < own.end || protection.area == Area::default()
        });
        if inside {
            self.book.guard(self.caller, touched.place, &touched.area())?;
        }
        let other = self.count(touched.place, !touched.rows);
        self.book.check_growth(lines.range.len().saturating_mul(other))?;
        let sheet = self.book.sheet_mut(touched.place);
        if touched.rows {
            sheet.insert_rows(at, lines.range.len());
        } else {
            sheet.insert_columns(at, lines.range.len());
        }
        Ok(nothing())
    }

    pub(super) fn delete_dimension(&mut self, body: &Value) -> Result<Value> {
        let lines = self.lines(&body["range"])?;
        self.inside(&lines)?;
        let sheet = &self.book.sheets[lines.place];
        let frozen = |name: &str| {
            sheet
                .grid
                .get(name)
                .and_then(Value::as_u64)
                .map_or(0, |n| usize::try_from(n).unwrap_or(0))
        };
        let kept_frozen = |name: &str| {
            let frozen = frozen(name);
            frozen - frozen.min(lines.range.end).saturating_sub(lines.range.start)
        };
        let left = self.count(lines.place, lines.rows) - lines.range.len();
        if lines.rows {
            if left <= kept_frozen("frozenRowCount") {
                return Err(ApiError::invalid(FROZEN_ROWS));
            }
            self.book.sheet_mut(lines.place).delete_rows(lines.range);
        } else {
            if left <= kept_frozen("frozenColumnCount") {
                let text = "Sorry, it is not possible to delete all non-frozen columns.";
                return Err(ApiError::invalid(text));
            }
            self.book.sheet_mut(lines.place).delete_columns(lines.range);
        }
        Ok(nothing())
    }

    pub(super) fn append_dimension(&mut self, body: &Value) -> Result<Value> {
        let place = self.book.place(body["sheetId"].as_i64().unwrap_or(0))?;
        let rows = dimension(body)?;
        let length = body["length"].as_i64().and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| *length > 0) else {
            return Err(ApiError::invalid("length must be greater than 0."));
        };
        let at = self.count(place, rows);
        let sheet = self.book.sheet_mut(place);
        if rows {
            sheet.insert_rows(at, length);
        } else {
            sheet.insert_columns(at, length);
        }
        self.book.check_size()?;
        Ok(nothing())
    }

    pub(super) fn move_dimension(&mut self, body: &Value) -> Result<Value> {
        let lines = self.lines(&body["source"])?;
        self.inside(&lines)?;
        let to = body["destinationIndex"].as_i64().unwrap_or(0);
        let count = self.count(lines.place, lines.rows);
        let to = usize::try_from(to).ok().filter(|to| *to <= count);
        let Some(to) = to.filter(|to| !(lines.range.start + 1..lines.range.end).contains(to))
        else {
            return Err(ApiError::invalid(
                "destinationIndex is outside the grid or inside the source.",
            ));
        };
        let sheet = self.book.sheet_mut(lines.place);
        if lines.rows {
            sheet.move_rows(lines.range, to);
        } else {
            sheet.move_columns(lines.range, to);
        }
        Ok(nothing())
    }

    pub(super) fn sort_range(&mut self, body: &Value) -> Result<Value> {
        let (place, area) = self.book.grid_range(&body["range"])?;
        let sheet = &self.book.sheets[place];
        let area = area.within(sheet.row_count, sheet.column_count);
        self.book.guard(self.caller, place, &area)?;
        let specs: Vec<(usize, bool)> = body["sortSpecs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|spec| {
                let column = spec["dimensionIndex"].as_u64().unwrap_or(0);
                let descending = spec["sortOrder"].as_str() == Some("DESCENDING");
                (usize::try_from(column).unwrap_or(0), descending)
            })
            .collect();
        if specs.is_empty() {
            return Err(ApiError::invalid("At least one sort spec must be specified."));
        }
        let follows = self.rules.metadata_follows_sort;
        let sheet = self.book.sheet_mut(place);
        let end = area.rows().end.min(sheet.rows.len());
        if area.top >= end {
            return Ok(nothing());
        }
        let old: Vec<Arc<Row>> = sheet.rows[area.top..end].to_vec();
        let mut order: Vec<usize> = (0..old.len()).collect();
        order.sort_by(|a, b| compare_rows(&old[*a], &old[*b], &specs));
        for (to, from) in order.into_iter().enumerate().filter(|(to, from)| to != from) {
            let source = &old[from];
            let row = sheet.row_mut(area.top + to);
            for column in area.columns().start..area.columns().end {
                let cell = source.cells.get(column).cloned().unwrap_or_default();
                if column < row.cells.len() {
                    row.cells[column] = cell;
                } else if !cell.is_blank() {
                    row.cells.resize(column + 1, Cell::default());
                    row.cells[column] = cell;
                }
            }
            if follows {
                row.metadata.clone_from(&source.metadata);
            }
        }
        Ok(nothing())
    }
}

fn dimension(value: &Value) -> Result<bool> {
    match value["dimension"].as_str() {
        Some("ROWS") => Ok(true),
        Some("COLUMNS") => Ok(false),
        _ => Err(ApiError::invalid("No dimension specified.")),
    }
}

fn compare_rows(a: &Row, b: &Row, specs: &[(usize, bool)]) -> Ordering {
    for (column, descending) in specs {
        let content = |row: &Row| row.cells.get(*column).map(|c| c.content.effective());
        let (a, b) = (content(a).unwrap_or_default(), content(b).unwrap_or_default());
        let order = match (rank(&a), rank(&b)) {
            // Empty cells come last, whichever way it goes.
            (EMPTY, EMPTY) => Ordering::Equal,
            (EMPTY, _) => Ordering::Greater,
            (_, EMPTY) => Ordering::Less,
            _ if *descending => compare(&b, &a),
            _ => compare(&a, &b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

const EMPTY: u8 = 3;

/// Numbers before texts before booleans.
fn rank(content: &Content) -> u8 {
    match content {
        Content::Number(_) => 0,
        Content::Text(_) | Content::Formula(_) => 1,
        Content::Bool(_) => 2,
        Content::Empty => EMPTY,
    }
}

fn compare(a: &Content, b: &Content) -> Ordering {
    match (a, b) {
        (Content::Number(a), Content::Number(b)) => a.total_cmp(b),
        (Content::Text(a), Content::Text(b)) => a.to_lowercase().cmp(&b.to_lowercase()),
        (Content::Bool(a), Content::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}
