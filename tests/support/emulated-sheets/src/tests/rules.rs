//! batchUpdate: order, atomicity, cells, developer metadata, its own answer.

use super::*;
use crate::Rules;

#[test]
fn later_requests_build_on_earlier_ones_and_one_refusal_undoes_all() {
    let (_emulator, client) = emulator();
    client.batch(&json!([
        {"addSheet": {"properties": {"sheetId": 7, "title": "New"}}},
        {"updateCells": {"start": {"sheetId": 7}, "fields": "*",
            "rows": [{"values": [{"userEnteredValue": {"stringValue": "x"}}]}]}},
    ]));
    assert_eq!(client.values("New"), json!([["x"]]));
    let text = client.refused(
        &json!([{"deleteSheet": {"sheetId": 7}}, append("y"), {"deleteSheet": {"sheetId": 8}}]),
    );
    assert_eq!(text, "Invalid requests[2].deleteSheet: No grid with id: 8");
    assert_eq!((client.values("New"), client.values("Sheet1")), (json!([["x"]]), Value::Null));
    assert_eq!(client.refused(&json!([])), "Must specify at least one request.");
}

#[test]
fn batches_have_one_order() {
    let (_emulator, client) = emulator();
    let write = |who: usize| {
        let client = client.clone();
        move || (0..10).for_each(|n| drop(client.batch(&json!([append(&format!("{who}-{n}"))]))))
    };
    let threads: Vec<_> = (0..4).map(|who| std::thread::spawn(write(who))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let rows = client.values("Sheet1!A:A");
    let mut texts: Vec<&str> =
        rows.as_array().unwrap().iter().map(|r| r[0].as_str().unwrap()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 40);
}

#[test]
fn append_cells_goes_behind_the_last_row_of_the_tab_and_adds_rows_but_no_columns() {
    let (_emulator, client) = emulator();
    client.put("Sheet1!Z500", &json!([["a note far away"]]));
    client.batch(&json!([append("x")]));
    assert_eq!(client.values("Sheet1!A501"), json!([["x"]]));
    client.put("Sheet1!A1000", &json!([["the end"]]));
    client.batch(&json!([append("y")]));
    assert_eq!(client.values("Sheet1!A1000:A1001"), json!([["the end"], ["y"]]));
    let wide: Vec<Value> =
        (0..27).map(|_| json!({"userEnteredValue": {"boolValue": true}})).collect();
    let text = client.refused(
        &json!([{"appendCells": {"sheetId": 0, "rows": [{"values": wide}], "fields": "*"}}]),
    );
    let wanted = "Attempting to write column: 26, beyond the last requested column of: 25";
    assert_eq!(text, format!("Invalid requests[0].appendCells: {wanted}"));
}

#[test]
fn update_cells_clears_what_its_mask_names_and_its_rows_lack() {
    let (_emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["a", "b"], ["c", "d"], ["e", "f"]]));
    client.batch(&json!([{"updateCells": {
        "range": {"sheetId": 0, "startRowIndex": 0, "endRowIndex": 2, "startColumnIndex": 0, "endColumnIndex": 2},
        "rows": [{"values": [{"userEnteredValue": {"numberValue": 1}}]}], "fields": "userEnteredValue",
    }}]));
    assert_eq!(client.values("Sheet1"), json!([["1"], [], ["e", "f"]]));
    client.batch(&json!([{"updateCells": {
        "start": {"rowIndex": 2}, "rows": [{"values": [{}, {"note": "n"}]}], "fields": "userEnteredValue,note",
    }}]));
    assert_eq!(client.values("Sheet1"), json!([["1"]]));
    let text = client.refused(&json!([{"updateCells": {"start": {}, "rows": []}}]));
    assert!(text.starts_with(
        "Invalid requests[0].updateCells: At least one field must be listed in 'fields'."
    ));
    let text = client.refused(&json!([write(1000, &["x"])]));
    assert!(
        text.contains("Attempting to write row: 1000, beyond the last requested row of: 999"),
        "{text}"
    );
}

#[test]
fn texts_of_cells_are_never_parsed_and_numbers_are_doubles() {
    let (_emulator, client) = emulator();
    client.batch(&json!([write(0, &["=1+1", "007", "01-02-2026", "'x"])]));
    let seen = client.get(
        "?ranges=Sheet1!A1:D1&fields=sheets.data.rowData.values(userEnteredValue,effectiveValue)",
    );
    let cells = &seen["sheets"][0]["data"][0]["rowData"][0]["values"];
    assert_eq!(cells[0]["effectiveValue"], json!({"stringValue": "=1+1"}));
    assert_eq!(client.values("Sheet1"), json!([["=1+1", "007", "01-02-2026", "'x"]]));
    let big = json!({"userEnteredValue": {"numberValue": 9_007_199_254_740_993_i64}});
    client.batch(
        &json!([{"updateCells": {"start": {}, "rows": [{"values": [big]}], "fields": "*"}}]),
    );
    let seen = client.get("/values/A1?valueRenderOption=UNFORMATTED_VALUE");
    assert_eq!(seen["values"][0][0].as_f64(), Some(9_007_199_254_740_992.0));
    let long = "x".repeat(50_001);
    assert!(
        client
            .refused(&json!([write(0, &[&long])]))
            .ends_with("50000 characters in a single cell.")
    );
    client.batch(&json!([write(0, &[&long[1..]])]));
}

#[test]
fn a_batch_shows_what_it_has_left() {
    let (_emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["old"]]));
    let body = json!({
        "requests": [append("new")], "includeSpreadsheetInResponse": true,
        "responseRanges": ["Sheet1!A2:B3"], "responseIncludeGridData": true,
    });
    let (_, whole) = client.post(":batchUpdate", &body).unwrap();
    let data = &whole["updatedSpreadsheet"]["sheets"][0]["data"][0];
    assert_eq!(
        (data["startRow"].as_u64(), data["rowMetadata"].as_array().map(Vec::len)),
        (Some(1), Some(2))
    );
    assert_eq!(data["rowData"][0]["values"][0]["formattedValue"], "new");
    // With a mask the flag is ignored and the mask decides.
    let path = ":batchUpdate?fields=updatedSpreadsheet.sheets.properties.title";
    let (_, masked) = client.post(path, &body).unwrap();
    assert_eq!(
        masked,
        json!({"updatedSpreadsheet": {"sheets": [{"properties": {"title": "Sheet1"}}]}})
    );
    let mut without = body.clone();
    without["responseIncludeGridData"] = false.into();
    let (_, masked) = client
        .post(":batchUpdate?fields=updatedSpreadsheet.sheets.data.rowData", &without)
        .unwrap();
    assert!(masked["updatedSpreadsheet"]["sheets"][0]["data"][0]["rowData"].is_array());
    without["responseRanges"] = json!(["Nope!A1"]);
    let (status, _) = client.post(":batchUpdate", &without).unwrap();
    assert_eq!((status, client.values("Sheet1!A:A").as_array().map(Vec::len)), (400, Some(4)));
}

fn metadata(location: &Value, more: &Value) -> Value {
    let mut entry = json!({"metadataKey": "k", "visibility": "DOCUMENT", "location": location});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"createDeveloperMetadata": {"developerMetadata": entry}})
}

fn row(at: usize) -> Value {
    json!({"dimensionRange": {"sheetId": 0, "dimension": "ROWS", "startIndex": at, "endIndex": at + 1}})
}

/// Where the entry 5 is.
fn place(client: &Client) -> Value {
    client.get("/developerMetadata/5")["location"]["dimensionRange"]["startIndex"].clone()
}

#[test]
fn metadata_ids_are_distinct_and_entries_go_with_their_row() {
    let (_emulator, client) = emulator();
    client.batch(&json!([
        write(0, &["head"]),
        write(1, &["b"]),
        write(2, &["a"]),
        metadata(&row(1), &json!({"metadataId": 5}))
    ]));
    let again = json!([append("x"), metadata(&row(3), &json!({"metadataId": 5}))]);
    assert!(client.refused(&again).starts_with("Invalid requests[1].createDeveloperMetadata: "));
    assert_eq!(client.values("Sheet1!A4"), Value::Null);
    let lines = |from: usize| json!({"sheetId": 0, "dimension": "ROWS", "startIndex": from, "endIndex": from + 1});
    client.batch(&json!([{"insertDimension": {"range": lines(0)}}]));
    assert_eq!(place(&client), 2);
    client.batch(&json!([{"moveDimension": {"source": lines(2), "destinationIndex": 1}}]));
    assert_eq!(place(&client), 1);
    client.batch(&json!([{"deleteDimension": {"range": lines(1)}}]));
    let (status, gone) = client.raw("GET", &client.path("/developerMetadata/5"), "").unwrap();
    assert_eq!(
        (status, gone["error"]["message"].as_str()),
        (404, Some("No developer metadata with ID 5."))
    );
}

#[test]
fn whether_metadata_follows_a_sort_is_a_choice() {
    for follows in [true, false] {
        let rules = Rules { metadata_follows_sort: follows };
        let (_emulator, client) = start(Options { rules, ..Options::default() });
        client.batch(&json!([
            write(0, &["c"]),
            write(1, &["B"]),
            write(3, &["a"]),
            metadata(&row(0), &json!({"metadataId": 5}))
        ]));
        client.batch(&json!([{"sortRange": {"range": {"sheetId": 0}, "sortSpecs": [{"dimensionIndex": 0}]}}]));
        assert_eq!(client.values("Sheet1!A:A"), json!([["a"], ["B"], ["c"]]));
        assert_eq!(place(&client), if follows { 2 } else { 0 });
    }
}

#[test]
fn a_look_up_that_matches_nothing_is_no_error_and_budgets_are_kept() {
    let (_emulator, client) = emulator();
    let filter = json!({"developerMetadataLookup": {"metadataKey": "none"}});
    let (status, found) =
        client.post("/developerMetadata:search", &json!({"dataFilters": [filter]})).unwrap();
    assert_eq!((status, found), (200, json!({})));
    let body =
        json!({"valueInputOption": "RAW", "data": [{"dataFilter": filter, "values": [["x"]]}]});
    let (status, done) = client.post("/values:batchUpdateByDataFilter", &body).unwrap();
    assert_eq!((status, done["totalUpdatedCells"].as_u64()), (200, Some(0)));
    let long = json!({"metadataValue": "x".repeat(29_990)});
    client
        .batch(&json!([metadata(&row(0), &long), metadata(&json!({"spreadsheet": true}), &long)]));
    assert!(
        client
            .refused(&json!([metadata(&row(1), &json!({"metadataValue": "0123456789"}))]))
            .contains("30000")
    );
    let named = json!([{"developerMetadataLookup": {"metadataKey": "k", "locationType": "ROW"}}]);
    let (_, searched) =
        client.post("/developerMetadata:search", &json!({"dataFilters": named})).unwrap();
    assert_eq!(searched["matchedDeveloperMetadata"].as_array().map(Vec::len), Some(1));
    client.batch(&json!([{"updateDeveloperMetadata": {
        "dataFilters": named, "developerMetadata": {"metadataValue": "v", "location": row(4)}, "fields": "metadataValue,location",
    }}]));
    let gone = client.batch(&json!([{"deleteDeveloperMetadata": {"dataFilter": named[0]}}]));
    let gone = &gone["replies"][0]["deleteDeveloperMetadata"]["deletedDeveloperMetadata"][0];
    assert_eq!(
        (gone["metadataValue"].as_str(), gone["location"]["dimensionRange"]["startIndex"].as_u64()),
        (Some("v"), Some(4))
    );
}

#[test]
fn cells_that_move_without_their_row_leave_its_metadata_behind() {
    let (_emulator, client) = emulator();
    let rows: Vec<Value> =
        ["a", "b", "c", "d"].iter().enumerate().map(|(n, t)| write(n, &[t, "x"])).collect();
    client.batch(&json!(rows));
    client.batch(&json!([metadata(&row(2), &json!({"metadataId": 5}))]));
    let cells = |top: usize| json!({"sheetId": 0, "startRowIndex": top, "endRowIndex": top + 1, "endColumnIndex": 1});
    client.batch(&json!([{"deleteRange": {"range": cells(1), "shiftDimension": "ROWS"}}]));
    assert_eq!(client.values("Sheet1"), json!([["a", "x"], ["c", "x"], ["d", "x"], ["", "x"]]));
    client.batch(&json!([{"insertRange": {"range": cells(0), "shiftDimension": "ROWS"}}]));
    assert_eq!(client.values("Sheet1!A:A"), json!([[], ["a"], ["c"], ["d"]]));
    client.batch(&json!([{"cutPaste": {"source": cells(2), "destination": {"rowIndex": 6, "columnIndex": 2}}}]));
    assert_eq!(
        client.values("Sheet1!A2:C7"),
        json!([["a", "x"], ["", "x"], ["d", "x"], [], [], ["", "", "c"]])
    );
    assert_eq!(place(&client), 2);
    let target = json!({"sheetId": 0, "startRowIndex": 7, "endRowIndex": 9, "startColumnIndex": 0, "endColumnIndex": 1});
    client.batch(&json!([{"copyPaste": {"source": cells(1), "destination": target, "pasteType": "PASTE_VALUES"}}]));
    assert_eq!(client.values("Sheet1!A8:A9"), json!([["a"], ["a"]]));
    client.batch(&json!([{"deleteRange": {"range": cells(1), "shiftDimension": "COLUMNS"}}]));
    assert_eq!(client.values("Sheet1!A2:B2"), json!([["x"]]));
    let text = client
        .refused(&json!([{"cutPaste": {"source": cells(1), "destination": {"rowIndex": 1000}}}]));
    assert!(text.contains("exceeds grid limits"), "{text}");
    client.put("Sheet1!A1000", &json!([["end"]]));
    assert!(
        client
            .refused(&json!([{"insertRange": {"range": cells(1), "shiftDimension": "ROWS"}}]))
            .contains("off the grid")
    );
}

/// As the reference says: the first of equal rows stays, letters' cases make no difference, rows need not lie side by side,
/// and what is outside of the range stays where it is.
#[test]
fn duplicates_go_and_what_is_below_moves_up_in_the_range() {
    let (emulator, client) = emulator();
    let rows = [["a", "1", "x"], ["b", "2", "x"], ["A", "3", "x"], ["c", "4", "x"]];
    let rows: Vec<_> =
        rows.iter().map(|row| row.iter().map(|text| json!(text)).collect()).collect();
    emulator.type_in("Sheet1!A1", &rows).unwrap();
    let range = json!({"sheetId": 0, "startRowIndex": 0, "endRowIndex": 4, "startColumnIndex": 0, "endColumnIndex": 2});
    let column = json!({"sheetId": 0, "dimension": "COLUMNS", "startIndex": 0, "endIndex": 1});
    let delete = json!({"range": range, "comparisonColumns": [column]});
    let replies = client.batch(&json!([{"deleteDuplicates": delete}]));
    assert_eq!(replies["replies"][0]["deleteDuplicates"]["duplicatesRemovedCount"], 1);
    let left = emulator.look("Sheet1!A1:C").unwrap();
    let left: Vec<_> = left.iter().map(|row| row.join("|")).collect();
    assert_eq!(left, ["a|1|x", "b|2|x", "c|4|x", "||x"]);
    // By all columns if none are named.
    let delete = json!({"range": range});
    client.batch(&json!([{"deleteDuplicates": delete}]));
    assert_eq!(emulator.look("Sheet1!A1:B").unwrap().len(), 3);
}
