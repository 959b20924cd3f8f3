//! Values of cells as people see them, in Google's forms. Pure.

use google_sheets4::api as google;
use serde_json::Value;

use super::{Area, Part, Tab, View};

fn index(at: usize) -> Option<i32> {
    i32::try_from(at).ok()
}

fn place(at: Option<i32>) -> usize {
    usize::try_from(at.unwrap_or_default()).unwrap_or_default()
}

/// What asks for these parts, unformatted: numbers as numbers, dates as numbers too.
pub(super) fn request(parts: &[Part]) -> google::BatchGetValuesByDataFilterRequest {
    let filter = |part: &Part| google::DataFilter {
        grid_range: Some(google::GridRange {
            sheet_id: Some(part.tab),
            start_row_index: index(part.rows.0),
            end_row_index: part.rows.1.and_then(index),
            start_column_index: index(part.columns.0),
            end_column_index: part.columns.1.and_then(index),
        }),
        ..Default::default()
    };
    google::BatchGetValuesByDataFilterRequest {
        data_filters: Some(parts.iter().map(filter).collect()),
        value_render_option: Some("UNFORMATTED_VALUE".into()),
        date_time_render_option: Some("SERIAL_NUMBER".into()),
        major_dimension: Some("ROWS".into()),
    }
}

/// An answer says by which filter each range was found: that names tab and place.
pub(super) fn view(answer: google::BatchGetValuesByDataFilterResponse) -> View {
    let mut view = View::new();
    for matched in answer.value_ranges.unwrap_or_default() {
        let rows = matched.value_range.and_then(|range| range.values).unwrap_or_default();
        let filters = matched.data_filters.unwrap_or_default();
        for range in filters.into_iter().filter_map(|filter| filter.grid_range) {
            let from = (place(range.start_row_index), place(range.start_column_index));
            let tab: &mut Tab = view.entry(range.sheet_id.unwrap_or_default()).or_default();
            tab.areas.push(Area { from, rows: rows.clone() });
        }
    }
    view
}

/// What a batch shows after it was applied.
pub(super) fn looked(spreadsheet: google::Spreadsheet) -> View {
    let mut view = View::new();
    for sheet in spreadsheet.sheets.unwrap_or_default() {
        let properties = sheet.properties.unwrap_or_default();
        let area = |data: google::GridData| Area {
            from: (place(data.start_row), place(data.start_column)),
            rows: data.row_data.unwrap_or_default().into_iter().map(row).collect(),
        };
        let areas = sheet.data.unwrap_or_default().into_iter().map(area).collect();
        let title = properties.title.unwrap_or_default();
        let tab = Tab { title, areas, ..Tab::default() };
        view.insert(properties.sheet_id.unwrap_or_default(), tab);
    }
    view
}

fn row(row: google::RowData) -> Vec<Value> {
    let value = |cell: google::CellData| match cell.effective_value {
        Some(google::ExtendedValue { string_value: Some(text), .. }) => text.into(),
        Some(google::ExtendedValue { number_value: Some(number), .. }) => number.into(),
        Some(google::ExtendedValue { bool_value: Some(truth), .. }) => truth.into(),
        // An error is shown as text by other calls; here it is something that is no text.
        Some(google::ExtendedValue { error_value: Some(_), .. }) => true.into(),
        _ => Value::Null,
    };
    row.values.unwrap_or_default().into_iter().map(value).collect()
}
