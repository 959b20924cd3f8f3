//! Methods that read.

use serde_json::{Value, json};

use super::Call;
use crate::a1::Area;
use crate::book::{Book, Caller};
use crate::error::{ApiError, Result};
use crate::values::{self, Reading};
use crate::{metadata, render};

/// The answer of a call that reads, before its mask.
pub(super) fn answer(call: &Call, book: &Book, caller: &Caller) -> Result<Value> {
    match call.method.name {
        "spreadsheets.get" => {
            let ranges = named(book, call.parameters("ranges"))?;
            let grid = call.flag("includeGridData");
            Ok(render::spreadsheet(book, caller, &ranges, grid, &call.mask))
        }
        "spreadsheets.getByDataFilter" => by_filter(call, book, caller),
        "spreadsheets.developerMetadata.get" => entry(call, book, caller),
        "spreadsheets.developerMetadata.search" => {
            let matched = render::matched(book, caller, filters(call)?)?;
            Ok(if matched.is_empty() {
                json!({})
            } else {
                json!({"matchedDeveloperMetadata": matched})
            })
        }
        "spreadsheets.values.get" => {
            let (place, area) = book.range_within(&call.part)?;
            Ok(values::read(book, place, &area, reading(call)))
        }
        "spreadsheets.values.batchGet" => {
            let ranges = named(book, call.parameters("ranges"))?;
            let read =
                |(place, area): &(usize, Area)| values::read(book, *place, area, reading(call));
            let list: Vec<Value> = ranges.iter().map(read).collect();
            Ok(json!({"spreadsheetId": book.id, "valueRanges": list}))
        }
        "spreadsheets.values.batchGetByDataFilter" => values_by_filter(call, book, caller),
        other => Err(ApiError::not_emulated(other)),
    }
}

/// Ranges of query parameters; one that is wrong fails the whole call.
pub(super) fn named<'a>(
    book: &Book,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<(usize, Area)>> {
    texts.map(|text| book.range_within(text)).collect()
}

fn reading(call: &Call) -> Reading {
    Reading::of(
        call.parameter("valueRenderOption"),
        call.parameter("dateTimeRenderOption"),
        call.parameter("majorDimension"),
    )
}

fn filters(call: &Call) -> Result<&[Value]> {
    let filters = call.body["dataFilters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if filters.is_empty() {
        return Err(ApiError::invalid("Must specify at least one data filter."));
    }
    Ok(filters)
}

fn by_filter(call: &Call, book: &Book, caller: &Caller) -> Result<Value> {
    let filters = call.body["dataFilters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let grid = call.body["includeGridData"].as_bool().unwrap_or(false);
    let mut ranges = Vec::new();
    for filter in filters {
        ranges.extend(metadata::ranges(book, caller, filter)?);
    }
    if ranges.is_empty() && !filters.is_empty() {
        // Look-ups that match nothing show nothing of any tab.
        let mut shown = render::spreadsheet(book, caller, &[], false, &call.mask);
        shown.as_object_mut().map(|object| object.remove("sheets"));
        return Ok(shown);
    }
    Ok(render::spreadsheet(book, caller, &ranges, grid, &call.mask))
}

fn entry(call: &Call, book: &Book, caller: &Caller) -> Result<Value> {
    let id = call.part.parse::<i64>().map_err(|_| {
        ApiError::invalid(format!("Invalid value at 'metadata_id' (TYPE_INT32), \"{}\"", call.part))
    })?;
    let mut all = metadata::entries(book).into_iter();
    let found = all.find(|(_, entry)| entry.id == id && entry.seen_by(caller));
    let (location, entry) = found.ok_or_else(|| ApiError::no_metadata(id))?;
    Ok(entry.describe(book, location))
}

fn values_by_filter(call: &Call, book: &Book, caller: &Caller) -> Result<Value> {
    let text = |name: &str| call.body[name].as_str();
    let reading = Reading::of(
        text("valueRenderOption"),
        text("dateTimeRenderOption"),
        text("majorDimension"),
    );
    // A range that several filters select is shown once, with all of them.
    let mut found: Vec<((usize, Area), Vec<Value>)> = Vec::new();
    for filter in filters(call)? {
        for range in metadata::ranges(book, caller, filter)? {
            match found.iter_mut().find(|(known, _)| *known == range) {
                Some((_, by)) => by.push(filter.clone()),
                None => found.push((range, vec![filter.clone()])),
            }
        }
    }
    let shown = |((place, area), by): &((usize, Area), Vec<Value>)| json!({"valueRange": values::read(book, *place, area, reading), "dataFilters": by});
    let list: Vec<Value> = found.iter().map(shown).collect();
    let mut answer = json!({"spreadsheetId": book.id});
    if !list.is_empty() {
        answer["valueRanges"] = list.into();
    }
    Ok(answer)
}
