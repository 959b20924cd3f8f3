//! Spreadsheets in a file, so that an emulator that starts again has them. The format is its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use serde_json::{Map, Value, json};

use crate::a1::Area;
use crate::book::Book;
use crate::cell::{Cell, Content};
use crate::metadata::Entry;
use crate::sheet::{Protection, Row, Sheet};

/// Writes all spreadsheets: a new file beside the old one takes its place.
///
/// # Errors
/// What the file system says.
pub(crate) fn write(path: &Path, books: &[Arc<Book>]) -> io::Result<()> {
    let value: Vec<Value> = books.iter().map(|book| book_out(book)).collect();
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, serde_json::to_vec_pretty(&value)?)?;
    fs::rename(&new, path)
}

/// Reads them again; no file is no spreadsheets.
///
/// # Errors
/// What the file system says, or `InvalidData` for a file that is none of these.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Book>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let value: Value = serde_json::from_slice(&text)?;
    let books: Option<Vec<Book>> =
        value.as_array().and_then(|books| books.iter().map(book_in).collect());
    books.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no file of this emulator"))
}

fn book_out(book: &Book) -> Value {
    let sheets: Vec<Value> = book.sheets.iter().map(|sheet| sheet_out(sheet)).collect();
    json!({
        "id": book.id, "properties": book.properties, "owner": book.owner, "editors": book.editors,
        "readers": book.readers, "metadata": entries_out(&book.metadata), "ids": book.ids,
        "sheets": sheets,
    })
}

fn book_in(value: &Value) -> Option<Book> {
    let texts = |name: &str| -> Option<Vec<String>> {
        value[name].as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
    };
    Some(Book {
        id: value["id"].as_str()?.to_owned(),
        properties: value["properties"].as_object()?.clone(),
        owner: value["owner"].as_str()?.to_owned(),
        editors: texts("editors")?,
        readers: texts("readers")?,
        sheets: value["sheets"].as_array()?.iter().map(sheet_in).collect::<Option<_>>()?,
        metadata: entries_in(&value["metadata"])?,
        ids: value["ids"].as_u64()?,
    })
}

fn sheet_out(sheet: &Sheet) -> Value {
    let rows: Vec<Value> = sheet.rows.iter().map(|row| row_out(row)).collect();
    let columns: Map<String, Value> =
        sheet.columns.iter().map(|(at, list)| (at.to_string(), entries_out(list))).collect();
    let protections: Vec<Value> = sheet
        .protections
        .iter()
        .map(|p| {
            let open: Vec<Value> = p.open.iter().map(area_out).collect();
            json!({"id": p.id, "area": area_out(&p.area), "open": open, "fields": p.fields})
        })
        .collect();
    json!({
        "id": sheet.id, "title": sheet.title, "hidden": sheet.hidden, "row_count": sheet.row_count,
        "column_count": sheet.column_count, "grid": sheet.grid, "properties": sheet.properties,
        "metadata": entries_out(&sheet.metadata), "columns": columns, "protections": protections,
        "rows": rows,
    })
}

fn sheet_in(value: &Value) -> Option<Arc<Sheet>> {
    let columns = value["columns"].as_object()?.iter();
    let protections = value["protections"].as_array()?.iter();
    Some(Arc::new(Sheet {
        id: value["id"].as_i64()?,
        title: value["title"].as_str()?.to_owned(),
        hidden: value["hidden"].as_bool()?,
        row_count: number(&value["row_count"])?,
        column_count: number(&value["column_count"])?,
        grid: value["grid"].as_object()?.clone(),
        properties: value["properties"].as_object()?.clone(),
        rows: value["rows"].as_array()?.iter().map(row_in).collect::<Option<_>>()?,
        columns: columns
            .map(|(at, list)| Some((at.parse().ok()?, entries_in(list)?)))
            .collect::<Option<BTreeMap<usize, Vec<Entry>>>>()?,
        metadata: entries_in(&value["metadata"])?,
        protections: protections.map(protection_in).collect::<Option<_>>()?,
    }))
}

fn protection_in(value: &Value) -> Option<Protection> {
    Some(Protection {
        id: value["id"].as_i64()?,
        area: area_in(&value["area"])?,
        open: value["open"].as_array()?.iter().map(area_in).collect::<Option<_>>()?,
        fields: value["fields"].as_object()?.clone(),
    })
}

fn row_out(row: &Row) -> Value {
    let cells: Vec<Value> =
        row.cells.iter().map(|cell| json!([cell.content.entered(), cell.extra])).collect();
    json!({"cells": cells, "metadata": entries_out(&row.metadata), "properties": row.properties})
}

fn row_in(value: &Value) -> Option<Arc<Row>> {
    let cell = |value: &Value| {
        let content = Content::read(&value[0]).ok()?;
        Some(Cell { content, extra: value[1].as_object().cloned().map(Box::new) })
    };
    Some(Arc::new(Row {
        cells: value["cells"].as_array()?.iter().map(cell).collect::<Option<_>>()?,
        metadata: entries_in(&value["metadata"])?,
        properties: value["properties"].as_object()?.clone(),
    }))
}

fn entries_out(list: &[Entry]) -> Value {
    let entry = |entry: &Entry| {
        json!({
            "id": entry.id, "key": entry.key, "value": entry.value, "private": entry.private,
            "project": entry.project,
        })
    };
    list.iter().map(entry).collect()
}

fn entries_in(value: &Value) -> Option<Vec<Entry>> {
    let entry = |value: &Value| {
        Some(Entry {
            id: value["id"].as_i64()?,
            key: value["key"].as_str()?.to_owned(),
            value: value["value"].as_str().map(str::to_owned),
            private: value["private"].as_bool()?,
            project: value["project"].as_u64()?,
        })
    };
    value.as_array()?.iter().map(entry).collect()
}

fn area_out(area: &Area) -> Value {
    json!([area.top, area.left, area.bottom, area.right])
}

fn area_in(value: &Value) -> Option<Area> {
    Some(Area {
        top: number(&value[0])?,
        left: number(&value[1])?,
        bottom: number(&value[2]),
        right: number(&value[3]),
    })
}

fn number(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}
