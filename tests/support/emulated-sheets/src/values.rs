//! The `spreadsheets.values` collection: rows of plain values, read and written by range.
//!
//! <https://developers.google.com/workspace/sheets/api/guides/values>

use serde_json::{Map, Value, json};

use crate::a1::Area;
use crate::book::{Book, Caller, beyond};
use crate::cell::{Cell, Content};
use crate::error::{ApiError, Result};
use crate::{a1, format, input};

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Render {
    /// As a person sees them.
    Formatted,
    /// As they are.
    Unformatted,
    /// Formulas as they were entered, others as they are.
    Formula,
}

/// What a read asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// A list for each column in place of each row.
    pub(crate) columns: bool,
    /// How values are shown.
    pub(crate) render: Render,
    /// Dates as text where they would be numbers.
    pub(crate) dates_as_text: bool,
}

impl Reading {
    /// From the parameters of a call; their names differ between calls.
    pub(crate) fn of(render: Option<&str>, dates: Option<&str>, dimension: Option<&str>) -> Self {
        Self {
            columns: dimension == Some("COLUMNS"),
            render: match render {
                Some("UNFORMATTED_VALUE") => Render::Unformatted,
                Some("FORMULA") => Render::Formula,
                _ => Render::Formatted,
            },
            dates_as_text: dates == Some("FORMATTED_STRING"),
        }
    }
}

/// What of an area was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The tab.
    pub(crate) place: usize,
    /// Where values were given, skipped cells included.
    pub(crate) area: Area,
    /// Rows with a cell that was written.
    pub(crate) rows: usize,
    /// Columns with a cell that was written.
    pub(crate) columns: usize,
    /// Cells that were written.
    pub(crate) cells: usize,
}

/// An area as `ValueRange`: without empty lines and cells at the ends.
pub(crate) fn read(book: &Book, place: usize, area: &Area, reading: Reading) -> Value {
    let sheet = &book.sheets[place];
    let area = area.within(sheet.row_count, sheet.column_count);
    let shown = |row, column| sheet.cell(row, column).map_or(json!(""), |c| show(c, reading));
    // Rows and cells beyond what is stored are empty.
    let rows = area.top..area.rows().end.min(sheet.rows.len()).max(area.top);
    let width = sheet.rows.get(rows.clone()).unwrap_or_default();
    let width = width.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let columns = area.left..area.columns().end.min(width).max(area.left);
    let lines: Vec<Vec<Value>> = if reading.columns {
        columns.map(|c| rows.clone().map(|r| shown(r, c)).collect()).collect()
    } else {
        rows.map(|r| columns.clone().map(|c| shown(r, c)).collect()).collect()
    };
    let mut range = json!({
        "range": book.name(place, &area),
        "majorDimension": if reading.columns { "COLUMNS" } else { "ROWS" },
    });
    let lines = trimmed(lines);
    if !lines.is_empty() {
        range["values"] = lines.into();
    }
    range
}

fn trimmed(mut lines: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    for line in &mut lines {
        let end = line.iter().rposition(|value| value != "").map_or(0, |at| at + 1);
        line.truncate(end);
    }
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
    lines.truncate(end);
    lines
}

fn show(cell: &Cell, reading: Reading) -> Value {
    let date =
        cell.number_format().is_some_and(|(kind, _)| matches!(kind, "DATE" | "TIME" | "DATE_TIME"));
    match (&cell.content, reading.render) {
        (Content::Empty, _) => json!(""),
        (Content::Formula(text), Render::Formula) => json!(text),
        (_, Render::Formatted) => json!(cell.formatted()),
        _ => match cell.content.effective() {
            Content::Number(_) if date && reading.dates_as_text => json!(cell.formatted()),
            Content::Number(number) => format::json_number(number),
            Content::Bool(flag) => json!(flag),
            Content::Text(text) | Content::Formula(text) => json!(text),
            Content::Empty => json!(""),
        },
    }
}

/// `valueInputOption` says whether texts are parsed.
///
/// # Errors
/// 400 where it is missing.
pub(crate) fn parsed(option: Option<&str>) -> Result<bool> {
    match option {
        Some("USER_ENTERED") => Ok(true),
        Some("RAW") => Ok(false),
        _ => Err(ApiError::invalid("'valueInputOption' is required but not specified")),
    }
}

/// Writes the values of a `ValueRange` from the area's corner on. A single cell is only a corner; else
/// values must stay inside. Nulls are skipped, empty texts empty the cell.
///
/// # Errors
/// 400 where values leave the range or the grid, where a value is no plain one, where a text is too
/// long, and where the caller may not edit.
pub(crate) fn write(
    book: &mut Book,
    caller: &Caller,
    (place, area): (usize, Area),
    values: &Value,
    parse: bool,
) -> Result<Written> {
    let lines = lines(values)?;
    let height = lines.len();
    let width = lines.iter().map(Vec::len).max().unwrap_or(0);
    let target = Area::of(area.top, area.left, area.top + height.max(1), area.left + width.max(1));
    check_target(book, place, &area, &target)?;
    book.guard(caller, place, &target)?;
    let mut written = Written { place, area: target, rows: 0, columns: 0, cells: 0 };
    let mut touched = std::collections::BTreeSet::new();
    let locale = book.locale();
    let sheet = book.sheet_mut(place);
    for (row, line) in lines.iter().enumerate() {
        let before = written.cells;
        for (column, value) in line.iter().enumerate().filter(|(_, value)| !value.is_null()) {
            let new = entered(value, parse, &locale)
                .map_err(|error| plain_only(error, row, column, value))?;
            put(sheet.cell_mut(area.top + row, area.left + column), new);
            touched.insert(column);
            written.cells += 1;
        }
        written.rows += usize::from(written.cells > before);
    }
    written.columns = touched.len();
    sheet.trim();
    Ok(written)
}

/// Puts a new content into a cell; a format of its own goes with it, others stay.
fn put(cell: &mut Cell, new: Cell) {
    cell.content = new.content;
    if let Some((kind, pattern)) = new.extra.as_ref().and_then(|extra| {
        let format = extra.get("userEnteredFormat")?.get("numberFormat")?;
        Some((format["type"].as_str()?.to_owned(), format["pattern"].as_str()?.to_owned()))
    }) {
        // A cell that has a format already keeps it.
        if cell.number_format().is_none() {
            cell.set_number_format(&kind, &pattern);
        }
    }
}

/// Rows of values, whatever way round they were given.
fn lines(values: &Value) -> Result<Vec<Vec<Value>>> {
    let given = values["values"].as_array().cloned().unwrap_or_default();
    let given: Vec<Vec<Value>> =
        given.into_iter().map(|line| line.as_array().cloned().unwrap_or_default()).collect();
    if values["majorDimension"].as_str() != Some("COLUMNS") {
        return Ok(given);
    }
    let height = given.iter().map(Vec::len).max().unwrap_or(0);
    let at =
        |row: usize| given.iter().map(move |line| line.get(row).cloned().unwrap_or(Value::Null));
    Ok((0..height).map(|row| at(row).collect()).collect())
}

fn check_target(book: &Book, place: usize, area: &Area, target: &Area) -> Result<()> {
    let sheet = &book.sheets[place];
    let corner = area.bottom == Some(area.top + 1) && area.right == Some(area.left + 1);
    let (bottom, right) = (target.rows().end, target.columns().end);
    if !corner {
        let named = || book.name(place, area);
        if area.right.is_some_and(|end| right > end) {
            let column = a1::column_name(area.columns().end);
            return Err(ApiError::invalid(format!(
                "Requested writing within range [{}], but tried writing to column [{column}]",
                named()
            )));
        }
        if area.bottom.is_some_and(|end| bottom > end) {
            return Err(ApiError::invalid(format!(
                "Requested writing within range [{}], but tried writing to row [{}]",
                named(),
                area.rows().end + 1
            )));
        }
    }
    let outside = |end: Option<usize>, limit: usize| end.is_some_and(|end| end > limit);
    let named_outside =
        outside(area.bottom, sheet.row_count) || outside(area.right, sheet.column_count);
    if named_outside || bottom > sheet.row_count || right > sheet.column_count {
        return Err(beyond(sheet, if named_outside { area } else { target }));
    }
    Ok(())
}

fn entered(value: &Value, parse: bool, locale: &str) -> Result<Cell> {
    Ok(match value {
        Value::String(text) if parse => input::typed(text, locale)?,
        Value::String(text) => Cell::new(Content::text(text)?),
        Value::Bool(flag) => Cell::new(Content::Bool(*flag)),
        Value::Number(number) => Cell::new(Content::Number(number.as_f64().unwrap_or_default())),
        _ => return Err(ApiError::invalid(String::new())),
    })
}

/// Lists and objects are no values of cells: Google answers with the value in its own notation.
fn plain_only(error: ApiError, row: usize, column: usize, value: &Value) -> ApiError {
    if !error.message.is_empty() {
        return error;
    }
    let kind = if value.is_array() { "list_value" } else { "struct_value" };
    ApiError::invalid(format!("Invalid values[{row}][{column}]: {kind} {{\n}}\n"))
}

/// Clears what was entered; formats stay.
///
/// # Errors
/// 400 where the caller may not edit.
pub(crate) fn clear(book: &mut Book, caller: &Caller, place: usize, area: &Area) -> Result<String> {
    book.guard(caller, place, area)?;
    let sheet = book.sheet_mut(place);
    let area = area.within(sheet.row_count, sheet.column_count);
    for row in area.rows().start..area.rows().end.min(sheet.rows.len()) {
        let width = sheet.rows[row].cells.len();
        for column in area.left..area.columns().end.min(width) {
            sheet.cell_mut(row, column).content = Content::Empty;
        }
    }
    sheet.trim();
    Ok(book.name(place, &area))
}

/// The table in which values are appended, if the range has one: the last one that it touches.
pub(crate) fn table(book: &Book, place: usize, area: &Area) -> Option<Area> {
    let sheet = &book.sheets[place];
    let area = area.within(sheet.row_count, sheet.column_count);
    let filled = |row: usize, column: usize| sheet.cell(row, column).is_some_and(|c| !c.is_empty());
    let rows = area.top..area.rows().end.min(sheet.rows.len()).max(area.top);
    let last = rows.rev().find_map(|row| {
        let width = sheet.rows[row].cells.len();
        let columns = area.left..area.columns().end.min(width).max(area.left);
        columns.rev().find(|column| filled(row, *column)).map(|column| (row, column))
    })?;
    let (mut top, mut left, mut bottom, mut right) = (last.0, last.1, last.0 + 1, last.1 + 1);
    loop {
        let row_filled = |row: usize, l: usize, r: usize| (l..r).any(|column| filled(row, column));
        let column_filled =
            |column: usize, t: usize, b: usize| (t..b).any(|row| filled(row, column));
        let (wide_left, wide_right) = (left.saturating_sub(1), right + 1);
        if top > 0 && row_filled(top - 1, wide_left, wide_right) {
            top -= 1;
        } else if row_filled(bottom, wide_left, wide_right) {
            bottom += 1;
        } else if left > 0 && column_filled(left - 1, top, bottom) {
            left -= 1;
        } else if column_filled(right, top, bottom) {
            right += 1;
        } else {
            return Some(Area::of(top, left, bottom, right));
        }
    }
}

/// Appends values behind the table that the range touches. Rows are added at the end of the grid where
/// they are missing, or with `insert` before what follows.
///
/// # Errors
/// As of [`write`].
pub(crate) fn append(
    book: &mut Book,
    caller: &Caller,
    (place, area): (usize, Area),
    values: &Value,
    (parse, insert): (bool, bool),
) -> Result<(Option<Area>, Written)> {
    let table = table(book, place, &area);
    let (row, column) = table.map_or((area.top, area.left), |t| (t.rows().end, t.left));
    let height = lines(values)?.len();
    let sheet = book.sheet_mut(place);
    if insert && table.is_some() {
        sheet.insert_rows(row, height);
    } else if row + height > sheet.row_count {
        sheet.insert_rows(sheet.row_count, row + height - sheet.row_count);
    }
    book.check_size()?;
    let corner = Area::of(row, column, row + 1, column + 1);
    Ok((table, write(book, caller, (place, corner), values, parse)?))
}

/// As `UpdateValuesResponse`.
pub(crate) fn response(book: &Book, written: &Written, echo: Option<Reading>) -> Value {
    let mut answer = Map::new();
    answer.insert("spreadsheetId".into(), book.id.as_str().into());
    answer.insert("updatedRange".into(), book.name(written.place, &written.area).into());
    if written.cells > 0 {
        answer.insert("updatedRows".into(), written.rows.into());
        answer.insert("updatedColumns".into(), written.columns.into());
        answer.insert("updatedCells".into(), written.cells.into());
    }
    if let Some(reading) = echo {
        answer.insert("updatedData".into(), read(book, written.place, &written.area, reading));
    }
    answer.into()
}
