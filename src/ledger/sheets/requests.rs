//! Requests of a batch. Everything is named by the tab's id and a place, and every cell is text.

use google_sheets4::api as google;
use google_sheets4::common::FieldMask;

/// What tells people that a tab is not theirs.
const HINT: &str = "Lockside's ledger: rows that are changed, sorted or deleted here stop it";

/// A range of a tab from a row (from 0) to its end, in A1 notation.
pub(super) fn range(title: &str, row: u64, last_column: char) -> String {
    format!("'{}'!A{}:{last_column}", title.replace('\'', "''"), row + 1)
}

/// A new hidden tab with exactly these rows and columns, and its first rows.
pub(super) fn tab(
    id: i32,
    title: &str,
    (rows, columns): (usize, usize),
    first: &[Vec<String>],
) -> Vec<google::Request> {
    let mut batch = added(id, title, true, (rows, columns), first);
    // A warning, which the accounts of other sidecars may pass: they remove what is over.
    let protected = google::ProtectedRange {
        range: Some(google::GridRange { sheet_id: Some(id), ..Default::default() }),
        description: Some(HINT.into()),
        warning_only: Some(true),
        ..Default::default()
    };
    let protect = google::AddProtectedRangeRequest { protected_range: Some(protected) };
    batch.push(google::Request { add_protected_range: Some(protect), ..Default::default() });
    batch
}

/// The same for people: visible, and theirs to change.
pub(super) fn open_tab(
    id: i32,
    title: &str,
    size: (usize, usize),
    first: &[Vec<String>],
) -> Vec<google::Request> {
    added(id, title, false, size, first)
}

fn added(
    id: i32,
    title: &str,
    hidden: bool,
    (rows, columns): (usize, usize),
    first: &[Vec<String>],
) -> Vec<google::Request> {
    let count = |count: usize| i32::try_from(count).ok();
    let properties = google::SheetProperties {
        sheet_id: Some(id),
        title: Some(title.into()),
        hidden: Some(hidden),
        grid_properties: Some(google::GridProperties {
            row_count: count(rows),
            column_count: count(columns),
            ..Default::default()
        }),
        ..Default::default()
    };
    let add = google::AddSheetRequest { properties: Some(properties) };
    vec![google::Request { add_sheet: Some(add), ..Default::default() }, cells(id, 0, first)]
}

/// Another title for a tab.
pub(super) fn rename(tab: i32, title: &str) -> google::Request {
    let properties = google::SheetProperties {
        sheet_id: Some(tab),
        title: Some(title.into()),
        ..Default::default()
    };
    let update = google::UpdateSheetPropertiesRequest {
        properties: Some(properties),
        fields: Some(FieldMask::new(&["title"])),
    };
    google::Request { update_sheet_properties: Some(update), ..Default::default() }
}

/// Rows of text from a row on.
pub(super) fn cells(tab: i32, row: u64, rows: &[Vec<String>]) -> google::Request {
    let cell = |text: &String| google::CellData {
        user_entered_value: Some(google::ExtendedValue {
            string_value: Some(text.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let row_of =
        |texts: &Vec<String>| google::RowData { values: Some(texts.iter().map(cell).collect()) };
    let update = google::UpdateCellsRequest {
        start: Some(google::GridCoordinate {
            sheet_id: Some(tab),
            row_index: i32::try_from(row).ok(),
            column_index: Some(0),
        }),
        rows: Some(rows.iter().map(row_of).collect()),
        fields: Some(FieldMask::new(&["userEnteredValue"])),
        ..Default::default()
    };
    google::Request { update_cells: Some(update), ..Default::default() }
}

/// A row of text that comes between the first row and the second.
pub(super) fn insert(tab: i32, texts: &[String]) -> [google::Request; 2] {
    let insert = google::InsertDimensionRequest {
        inherit_from_before: Some(false),
        range: Some(google::DimensionRange {
            sheet_id: Some(tab),
            dimension: Some("ROWS".into()),
            start_index: Some(1),
            end_index: Some(2),
        }),
    };
    let insert = google::Request { insert_dimension: Some(insert), ..Default::default() };
    [insert, cells(tab, 1, &[texts.to_vec()])]
}

/// More rows at the end of the grid.
///
/// Not "so many rows in all": that arriving late would cut off what was written since.
pub(super) fn grow(tab: i32, rows: u64) -> google::Request {
    let append = google::AppendDimensionRequest {
        sheet_id: Some(tab),
        dimension: Some("ROWS".into()),
        length: i32::try_from(rows).ok(),
    };
    google::Request { append_dimension: Some(append), ..Default::default() }
}

/// A tab's end.
pub(super) fn delete(tab: i32) -> google::Request {
    let delete = google::DeleteSheetRequest { sheet_id: Some(tab) };
    google::Request { delete_sheet: Some(delete), ..Default::default() }
}
