//! Methods that write. They work on a copy, so an error leaves everything as it was.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Call, reads};
use crate::a1::Area;
use crate::book::{Book, Caller};
use crate::error::{ApiError, Result};
use crate::values::{self, Reading, Written};
use crate::{Rules, batch, metadata, render};

/// The answer of a call that writes, before its mask; `book` is changed.
pub(super) fn answer(
    call: &Call,
    book: &mut Book,
    caller: &Caller,
    rules: &Rules,
) -> Result<Value> {
    match call.method.name {
        "spreadsheets.batchUpdate" => batch_update(call, book, caller, rules),
        "spreadsheets.values.update" => update(call, book, caller),
        "spreadsheets.values.append" => append(call, book, caller),
        "spreadsheets.values.batchUpdate" => update_ranges(call, book, caller),
        "spreadsheets.values.batchUpdateByDataFilter" => update_by_filter(call, book, caller),
        "spreadsheets.values.clear" => {
            let (place, area) = book.range(&call.part)?;
            let cleared = values::clear(book, caller, place, &area)?;
            Ok(json!({"spreadsheetId": book.id, "clearedRange": cleared}))
        }
        "spreadsheets.values.batchClear" => {
            let texts = call.body["ranges"].as_array().cloned().unwrap_or_default();
            let ranges = texts.iter().filter_map(Value::as_str).map(|text| book.range(text));
            let ranges: Vec<(usize, Area)> = ranges.collect::<Result<_>>()?;
            let mut cleared = Vec::new();
            for (place, area) in ranges {
                cleared.push(values::clear(book, caller, place, &area)?);
            }
            Ok(json!({"spreadsheetId": book.id, "clearedRanges": cleared}))
        }
        other => Err(ApiError::not_emulated(other)),
    }
}

fn batch_update(call: &Call, book: &mut Book, caller: &Caller, rules: &Rules) -> Result<Value> {
    let body = &call.body;
    let requests = body["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let replies = batch::run(book, caller, rules, requests)?;
    let mut answer = json!({"spreadsheetId": book.id, "replies": replies});
    if body["includeSpreadsheetInResponse"].as_bool() == Some(true) {
        let texts = body["responseRanges"].as_array().into_iter().flatten();
        let ranges = reads::named(book, texts.filter_map(Value::as_str))?;
        let grid = body["responseIncludeGridData"].as_bool().unwrap_or(false);
        let mask = call.mask.below("updatedSpreadsheet");
        if call.mask.has("updatedSpreadsheet") {
            answer["updatedSpreadsheet"] = render::spreadsheet(book, caller, &ranges, grid, &mask);
        }
    }
    Ok(answer)
}

/// How values are shown again, if they are to be.
fn echo(call: &Call) -> Option<Reading> {
    let dimension = call.body["majorDimension"].as_str();
    call.flag("includeValuesInResponse").then(|| {
        let render = call.parameter("responseValueRenderOption");
        Reading::of(render, call.parameter("responseDateTimeRenderOption"), dimension)
    })
}

/// The range of the body must be that of the path.
fn check_range(call: &Call) -> Result<()> {
    match call.body["range"].as_str() {
        Some(own) if !own.is_empty() && own != call.part => Err(ApiError::invalid(format!(
            "Request range[{}] does not match value's range[{own}]",
            call.part
        ))),
        _ => Ok(()),
    }
}

fn update(call: &Call, book: &mut Book, caller: &Caller) -> Result<Value> {
    let parse = values::parsed(call.parameter("valueInputOption"))?;
    check_range(call)?;
    let range = book.range(&call.part)?;
    let written = values::write(book, caller, range, &call.body, parse)?;
    Ok(values::response(book, &written, echo(call)))
}

fn append(call: &Call, book: &mut Book, caller: &Caller) -> Result<Value> {
    let parse = values::parsed(call.parameter("valueInputOption"))?;
    check_range(call)?;
    let insert = call.parameter("insertDataOption") == Some("INSERT_ROWS");
    let range = book.range(&call.part)?;
    let (table, written) = values::append(book, caller, range, &call.body, (parse, insert))?;
    let updates = values::response(book, &written, echo(call));
    let mut answer = json!({"spreadsheetId": book.id, "updates": updates});
    if let Some(table) = table {
        answer["tableRange"] = book.name(range.0, &table).into();
    }
    Ok(answer)
}

/// Totals of a values.batchUpdate, over what each range says.
fn totals(book: &Book, all: &[Written], responses: Vec<Value>) -> Value {
    let sum = |part: fn(&Written) -> usize| all.iter().map(part).sum::<usize>();
    let sheets: BTreeSet<usize> = all.iter().filter(|w| w.cells > 0).map(|w| w.place).collect();
    json!({
        "spreadsheetId": book.id,
        "totalUpdatedRows": sum(|w| w.rows),
        "totalUpdatedColumns": sum(|w| w.columns),
        "totalUpdatedCells": sum(|w| w.cells),
        "totalUpdatedSheets": sheets.len(),
        "responses": responses,
    })
}

fn body_echo(body: &Value) -> Option<Reading> {
    let text = |name: &str| body[name].as_str();
    (body["includeValuesInResponse"].as_bool() == Some(true)).then(|| {
        Reading::of(text("responseValueRenderOption"), text("responseDateTimeRenderOption"), None)
    })
}

fn update_ranges(call: &Call, book: &mut Book, caller: &Caller) -> Result<Value> {
    let body = &call.body;
    let parse = values::parsed(body["valueInputOption"].as_str())?;
    let mut all = Vec::new();
    for (at, data) in body["data"].as_array().into_iter().flatten().enumerate() {
        let place = format!("data[{at}]");
        let text = data["range"].as_str().unwrap_or_default();
        let range = book.range(text)?;
        let written = values::write(book, caller, range, data, parse);
        all.push(written.map_err(|error| error.within(&place))?);
    }
    let echo = body_echo(body);
    let responses = all.iter().map(|written| values::response(book, written, echo)).collect();
    Ok(totals(book, &all, responses))
}

fn update_by_filter(call: &Call, book: &mut Book, caller: &Caller) -> Result<Value> {
    let body = &call.body;
    let parse = values::parsed(body["valueInputOption"].as_str())?;
    let mut all = Vec::new();
    let mut filters = Vec::new();
    for (at, data) in body["data"].as_array().into_iter().flatten().enumerate() {
        let place = format!("data[{at}]");
        let filter = &data["dataFilter"];
        let ranges = metadata::ranges(book, caller, filter).map_err(|e| e.within(&place))?;
        for range in ranges {
            let written = values::write(book, caller, range, data, parse);
            all.push(written.map_err(|error| error.within(&place))?);
            filters.push(filter.clone());
        }
    }
    let echo = body_echo(body);
    let each = all.iter().zip(filters).map(|(written, filter)| {
        let mut answer = values::response(book, written, echo);
        if let Some(object) = answer.as_object_mut() {
            object.remove("spreadsheetId");
            object.insert("dataFilter".into(), filter);
        }
        answer
    });
    let responses = each.collect();
    Ok(totals(book, &all, responses))
}
