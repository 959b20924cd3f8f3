//! A spreadsheet as the API shows it: tabs, grids, metadata and protections, as far as a mask takes them.

use serde_json::{Map, Value, json};

use crate::a1::Area;
use crate::book::{Book, Caller};
use crate::mask::Mask;
use crate::metadata::{self, Location};
use crate::sheet::{Protection, Sheet};

/// The resource `Spreadsheet`. With `ranges` only their tabs, and of these only the ranges' cells. Cells are
/// shown where `grid` says so; with a mask, `grid` is ignored and the mask decides.
pub(crate) fn spreadsheet(
    book: &Book,
    caller: &Caller,
    ranges: &[(usize, Area)],
    grid: bool,
    mask: &Mask,
) -> Value {
    let mut shown = Map::new();
    shown.insert("spreadsheetId".into(), book.id.as_str().into());
    shown.insert("properties".into(), book.properties.clone().into());
    if mask.has("sheets") {
        let below = mask.below("sheets");
        let places = 0..book.sheets.len();
        let chosen = places.filter(|p| ranges.is_empty() || ranges.iter().any(|(own, _)| own == p));
        let list: Vec<Value> = chosen
            .map(|place| {
                let mut areas: Vec<Area> =
                    ranges.iter().filter(|(own, _)| *own == place).map(|(_, area)| *area).collect();
                if areas.is_empty() {
                    areas.push(Area::default());
                }
                let data = if mask.is_all() { grid } else { below.takes(&["data"]) };
                sheet(book, caller, place, if data { &areas } else { &[] }, &below)
            })
            .collect();
        shown.insert("sheets".into(), list.into());
    }
    let own: Vec<Value> = own_metadata(book, caller, Location::Book);
    if !own.is_empty() {
        shown.insert("developerMetadata".into(), own.into());
    }
    let url = format!("https://docs.google.com/spreadsheets/d/{}/edit", book.id);
    shown.insert("spreadsheetUrl".into(), url.into());
    mask.filter(shown.into())
}

fn sheet(book: &Book, caller: &Caller, place: usize, areas: &[Area], mask: &Mask) -> Value {
    let own = &book.sheets[place];
    let mut shown = Map::new();
    shown.insert("properties".into(), own.describe(place));
    if !areas.is_empty() {
        let below = mask.below("data");
        let data: Vec<Value> =
            areas.iter().map(|area| grid_data(book, caller, place, area, &below)).collect();
        shown.insert("data".into(), data.into());
    }
    let entries = own_metadata(book, caller, Location::Sheet(place));
    if !entries.is_empty() {
        shown.insert("developerMetadata".into(), entries.into());
    }
    if !own.protections.is_empty() && mask.has("protectedRanges") {
        let list = own.protections.iter().map(|p| protection(book, caller, place, p));
        shown.insert("protectedRanges".into(), list.collect::<Vec<_>>().into());
    }
    shown.into()
}

/// `GridData`: what is behind the last cell that has something is left out.
fn grid_data(book: &Book, caller: &Caller, place: usize, area: &Area, mask: &Mask) -> Value {
    let sheet = &book.sheets[place];
    let area = area.within(sheet.row_count, sheet.column_count);
    let mut data = Map::new();
    if area.top > 0 {
        data.insert("startRow".into(), area.top.into());
    }
    if area.left > 0 {
        data.insert("startColumn".into(), area.left.into());
    }
    if mask.has("rowData") {
        let rows = row_data(sheet, &area, &mask.below("rowData").below("values"));
        if !rows.is_empty() {
            data.insert("rowData".into(), rows.into());
        }
    }
    let line = |location: Location| {
        let mut shown =
            json!({"pixelSize": if matches!(location, Location::Row(..)) { 21 } else { 100 }});
        let entries = own_metadata(book, caller, location);
        if !entries.is_empty() {
            shown["developerMetadata"] = entries.into();
        }
        shown
    };
    if mask.has("rowMetadata") {
        let rows = area.rows().map(|row| line(Location::Row(place, row)));
        data.insert("rowMetadata".into(), rows.collect::<Vec<_>>().into());
    }
    if mask.has("columnMetadata") {
        let columns = area.columns().map(|column| line(Location::Column(place, column)));
        data.insert("columnMetadata".into(), columns.collect::<Vec<_>>().into());
    }
    data.into()
}

fn row_data(sheet: &Sheet, area: &Area, mask: &Mask) -> Vec<Value> {
    let end = area.rows().end.min(sheet.rows.len()).max(area.top);
    let mut rows: Vec<Value> = (area.top..end)
        .map(|at| {
            let cells = &sheet.rows[at].cells;
            let right = area.columns().end.min(cells.len()).max(area.left);
            let mut values: Vec<Value> = cells
                .get(area.left..right)
                .unwrap_or_default()
                .iter()
                .map(|c| c.data(mask))
                .collect();
            let last = values.iter().rposition(|value| *value != json!({}));
            values.truncate(last.map_or(0, |at| at + 1));
            if values.is_empty() { json!({}) } else { json!({ "values": values }) }
        })
        .collect();
    let last = rows.iter().rposition(|row| *row != json!({}));
    rows.truncate(last.map_or(0, |at| at + 1));
    rows
}

/// Metadata of one place, as far as the caller sees it.
fn own_metadata(book: &Book, caller: &Caller, location: Location) -> Vec<Value> {
    let list = match location {
        Location::Book => Some(&book.metadata),
        Location::Sheet(place) => Some(&book.sheets[place].metadata),
        Location::Row(place, row) => book.sheets[place].rows.get(row).map(|row| &row.metadata),
        Location::Column(place, column) => book.sheets[place].columns.get(&column),
    };
    let seen = list.into_iter().flatten().filter(|entry| entry.seen_by(caller));
    seen.map(|entry| entry.describe(book, location)).collect()
}

/// As `ProtectedRange`: its editors are shown to editors only.
pub(crate) fn protection(book: &Book, caller: &Caller, place: usize, own: &Protection) -> Value {
    let sheet = &book.sheets[place];
    let mut shown = own.fields.clone();
    let may = book.may_edit(caller, &own.fields);
    if !may {
        shown.remove("editors");
    }
    shown.insert("protectedRangeId".into(), own.id.into());
    shown.insert("range".into(), sheet.grid_range(&own.area));
    shown.insert("requestingUserCanEdit".into(), may.into());
    if !own.open.is_empty() {
        let open: Vec<Value> = own.open.iter().map(|area| sheet.grid_range(area)).collect();
        shown.insert("unprotectedRanges".into(), open.into());
    }
    shown.into()
}

/// Data of a search: entries with the filters that found them.
pub(crate) fn matched(
    book: &Book,
    caller: &Caller,
    filters: &[Value],
) -> crate::error::Result<Vec<Value>> {
    let mut found: Vec<(i64, Value, Vec<Value>)> = Vec::new();
    for filter in filters {
        for (location, entry) in metadata::select(book, caller, filter)? {
            match found.iter_mut().find(|(id, _, _)| *id == entry.id) {
                Some((_, _, by)) => by.push(filter.clone()),
                None => {
                    found.push((entry.id, entry.describe(book, location), vec![filter.clone()]));
                }
            }
        }
    }
    let shown = |(_, entry, by)| json!({"developerMetadata": entry, "dataFilters": by});
    Ok(found.into_iter().map(shown).collect())
}
