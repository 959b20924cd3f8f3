//! `spreadsheets.batchUpdate`: the requests in their order, on a copy of the spreadsheet. If one is refused
//! the copy is thrown away, so nothing of the batch has happened.

mod cells;
mod duplicates;
mod guards;
mod lines;
mod ranges;
mod tabs;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Rules;
use crate::book::{Book, Caller};
use crate::error::{ApiError, Result};

/// The most requests of a batch.
const REQUESTS_LIMIT: usize = 100_000;

/// A batch at work.
struct Batch<'a> {
    book: &'a mut Book,
    caller: &'a Caller,
    rules: &'a Rules,
}

/// Applies all requests and returns their replies.
///
/// # Errors
/// Of the first request that is refused, with its place.
pub(crate) fn run(
    book: &mut Book,
    caller: &Caller,
    rules: &Rules,
    requests: &[Value],
) -> Result<Vec<Value>> {
    if requests.is_empty() {
        return Err(ApiError::invalid("Must specify at least one request."));
    }
    if requests.len() > REQUESTS_LIMIT {
        let text = format!("Cannot exceed {REQUESTS_LIMIT} requests in a single batch.");
        return Err(ApiError::invalid(text));
    }
    let before = book.sheets.clone();
    let mut batch = Batch { book, caller, rules };
    let mut replies = Vec::with_capacity(requests.len());
    for (at, request) in requests.iter().enumerate() {
        let mut kinds = request.as_object().into_iter().flatten();
        let (Some((kind, body)), None) = (kinds.next(), kinds.next()) else {
            return Err(ApiError::invalid(format!("Invalid requests[{at}]: No request set.")));
        };
        let place = format!("requests[{at}].{kind}");
        replies.push(batch.apply(kind, body).map_err(|error| error.within(&place))?);
    }
    for place in 0..batch.book.sheets.len() {
        let untouched = before.iter().any(|old| Arc::ptr_eq(old, &batch.book.sheets[place]));
        if !untouched {
            batch.book.sheet_mut(place).trim();
        }
    }
    Ok(replies)
}

impl Batch<'_> {
    fn apply(&mut self, kind: &str, body: &Value) -> Result<Value> {
        match kind {
            "addSheet" => self.add_sheet(body),
            "deleteSheet" => self.delete_sheet(body),
            "duplicateSheet" => self.duplicate_sheet(body),
            "updateSheetProperties" => self.update_sheet_properties(body),
            "updateSpreadsheetProperties" => self.update_spreadsheet_properties(body),
            "updateCells" => self.update_cells(body),
            "appendCells" => self.append_cells(body),
            "repeatCell" => self.repeat_cell(body),
            "deleteDuplicates" => self.delete_duplicates(body),
            "findReplace" => self.find_replace(body),
            "cutPaste" => self.cut_paste(body),
            "copyPaste" => self.copy_paste(body),
            "insertRange" => self.insert_range(body),
            "deleteRange" => self.delete_range(body),
            "insertDimension" => self.insert_dimension(body),
            "deleteDimension" => self.delete_dimension(body),
            "appendDimension" => self.append_dimension(body),
            "moveDimension" => self.move_dimension(body),
            "sortRange" => self.sort_range(body),
            "addProtectedRange" => self.add_protected_range(body),
            "updateProtectedRange" => self.update_protected_range(body),
            "deleteProtectedRange" => self.delete_protected_range(body),
            "createDeveloperMetadata" => self.create_metadata(body),
            "updateDeveloperMetadata" => self.update_metadata(body),
            "deleteDeveloperMetadata" => self.delete_metadata(body),
            other => Err(ApiError::not_emulated(&format!("the request {other}"))),
        }
    }
}

/// The mask of a request's `fields`, which must name something.
///
/// # Errors
/// 400 in Google's words.
fn fields(body: &Value, message: &str) -> Result<crate::mask::Mask> {
    match body["fields"].as_str() {
        Some(text) if !text.trim().is_empty() => crate::mask::Mask::parse(text, message),
        _ => Err(ApiError::invalid(
            "At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)",
        )),
    }
}

/// The reply of a request that has none.
fn nothing() -> Value {
    json!({})
}
