//! Tabs, grids, protections: titles, sizes, order, who may write.

use super::*;

fn titles(emulator: &Emulator) -> Vec<String> {
    emulator.tabs().iter().map(|tab| tab["title"].as_str().unwrap().to_owned()).collect()
}

fn properties(properties: &Value, fields: &str) -> Value {
    json!({"updateSheetProperties": {"properties": properties, "fields": fields}})
}

#[test]
fn titles_are_distinct_and_the_last_visible_tab_stays() {
    let (emulator, client) = emulator();
    let text = client.refused(&json!([{"addSheet": {"properties": {"title": "Sheet1"}}}]));
    assert_eq!(
        text,
        "Invalid requests[0].addSheet: A sheet with the name \"Sheet1\" already exists. Please enter another name."
    );
    let made = client.batch(
        &json!([{"addSheet": {}}, {"addSheet": {"properties": {"hidden": true, "title": "h"}}}]),
    );
    let id = made["replies"][0]["addSheet"]["properties"]["sheetId"].as_i64().unwrap();
    assert_eq!(titles(&emulator), ["Sheet1", "Sheet2", "h"]);
    client.refused(&json!([properties(&json!({"sheetId": id, "title": "h"}), "title")]));
    client.batch(&json!([{"deleteSheet": {"sheetId": id}}]));
    client.refused(&json!([{"deleteSheet": {"sheetId": 0}}]));
    client.refused(&json!([properties(&json!({"hidden": true}), "hidden")]));
}

#[test]
fn indexes_are_those_before_the_move() {
    let (emulator, client) = emulator();
    client.batch(&json!([{"addSheet": {"properties": {"sheetId": 2, "title": "S2"}}}, {"addSheet": {"properties": {"title": "S3"}}}]));
    client.batch(&json!([properties(&json!({"sheetId": 0, "index": 2}), "index")]));
    assert_eq!(titles(&emulator), ["S2", "Sheet1", "S3"]);
    client.put("A1", &json!([["first visible tab"]]));
    assert_eq!(client.values("S2!A1"), json!([["first visible tab"]]));
    client.batch(&json!([properties(&json!({"sheetId": 2, "hidden": true}), "hidden")]));
    assert_eq!((client.values("A1"), client.values("Sheet1!A1")), (Value::Null, Value::Null));
}

#[test]
fn a_mask_says_which_sizes_change() {
    let (emulator, client) = emulator();
    let grid = |fields: &str| {
        properties(
            &json!({"sheetId": 0, "gridProperties": {"rowCount": 20, "columnCount": 5, "frozenRowCount": 1}}),
            fields,
        )
    };
    client.batch(&json!([grid("gridProperties/rowCount")]));
    assert_eq!(emulator.tabs()[0]["gridProperties"], json!({"rowCount": 20, "columnCount": 26}));
    client.batch(&json!([grid("gridProperties(columnCount,frozenRowCount)")]));
    let wanted = json!({"rowCount": 20, "columnCount": 5, "frozenRowCount": 1});
    assert_eq!(emulator.tabs()[0]["gridProperties"], wanted);
    let delete = |from: u32, to: u32| json!([{"deleteDimension": {"range": {"sheetId": 0, "dimension": "ROWS", "startIndex": from, "endIndex": to}}}]);
    assert_eq!(
        client.refused(&delete(1, 20)),
        "Invalid requests[0].deleteDimension: Sorry, it is not possible to delete all non-frozen rows."
    );
    client.refused(&delete(19, 21));
    client.batch(&delete(1, 19));
    assert_eq!(emulator.tabs()[0]["gridProperties"]["rowCount"], 2);
}

#[test]
fn ten_million_cells_are_the_most_and_empty_ones_count() {
    let (_emulator, client) = emulator();
    let add = |rows: u64| json!([{"addSheet": {"properties": {"gridProperties": {"rowCount": rows, "columnCount": 10}}}}]);
    let text = client.refused(&add(997_401));
    assert_eq!(
        text,
        "Invalid requests[0].addSheet: This action would increase the number of cells in the workbook above the limit of 10000000 cells."
    );
    client.batch(&add(997_400));
    client.refused(&json!([{"appendDimension": {"sheetId": 0, "dimension": "ROWS", "length": 1}}]));
}

#[test]
fn inserting_and_appending_lines_moves_what_is_behind() {
    let (emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["a", "b"], ["c", "d"]]));
    let range = |dimension: &str, from: u32, to: u32| json!({"sheetId": 0, "dimension": dimension, "startIndex": from, "endIndex": to});
    client.batch(&json!([
        {"insertDimension": {"range": range("ROWS", 1, 3)}},
        {"insertDimension": {"range": range("COLUMNS", 1, 2), "inheritFromBefore": true}},
        {"appendDimension": {"sheetId": 0, "dimension": "COLUMNS", "length": 2}},
    ]));
    assert_eq!(client.values("Sheet1"), json!([["a", "", "b"], [], [], ["c", "", "d"]]));
    assert_eq!(emulator.tabs()[0]["gridProperties"], json!({"rowCount": 1002, "columnCount": 29}));
    client.refused(
        &json!([{"insertDimension": {"range": range("ROWS", 0, 1), "inheritFromBefore": true}}]),
    );
    client.refused(
        &json!([{"insertDimension": {"range": {"sheetId": 0, "startIndex": 1, "endIndex": 2}}}]),
    );
}

#[test]
fn what_is_protected_is_written_by_its_editors_only() {
    let (emulator, client) = emulator();
    let made = client.batch(&json!([
        {"addSheet": {"properties": {"sheetId": 3, "title": "Log"}}},
        {"addProtectedRange": {"protectedRange": {"range": {"sheetId": 3}, "description": "d"}}},
    ]));
    let protection = &made["replies"][1]["addProtectedRange"]["protectedRange"];
    assert_eq!(protection["editors"]["users"], json!(["owner@example.com", emulator.account(1)]));
    assert_eq!(client.put("Log!A1", &json!([["x"]])).0, 200);
    let text = emulator.type_in("Log!A1", &[vec![json!("y")]]).unwrap_err().message;
    assert!(text.starts_with("You are trying to edit a protected cell or object."), "{text}");
    let id = &protection["protectedRangeId"];
    client.batch(&json!([{"updateProtectedRange": {
        "protectedRange": {"protectedRangeId": id, "warningOnly": true}, "fields": "warningOnly",
    }}]));
    emulator.type_in("Log!A1", &[vec![json!("y")]]).unwrap();
    client.batch(&json!([{"deleteProtectedRange": {"protectedRangeId": id}}]));
    emulator.edit(&[json!({"addProtectedRange": {"protectedRange": {
        "range": {"sheetId": 3}, "unprotectedRanges": [{"sheetId": 3, "startColumnIndex": 1, "endColumnIndex": 2}],
    }}})]).unwrap();
    assert_eq!(
        (client.put("Log!A1", &json!([["z"]])).0, client.put("Log!B1", &json!([["z"]])).0),
        (400, 200)
    );
    client.refused(&json!([{"deleteSheet": {"sheetId": 3}}]));
    client.refused(&json!([properties(&json!({"sheetId": 3, "title": "Other"}), "title")]));
}

#[test]
fn what_the_emulator_lacks_it_says_so() {
    let (_emulator, client) = emulator();
    let (status, answer) =
        client.post(":batchUpdate", &json!({"requests": [{"addChart": {}}]})).unwrap();
    assert_eq!((status, answer["error"]["status"].as_str()), (501, Some("UNIMPLEMENTED")));
}

#[test]
fn a_file_has_the_spreadsheet_and_new_accounts_are_its_editors() {
    let file = std::env::temp_dir().join(format!("emulated-sheets-{}.json", std::process::id()));
    let options = |accounts| Options { save: Some(file.clone()), accounts, ..Options::default() };
    let (emulator, client) = start(options(1));
    client.batch(&json!([write(0, &["kept", "=1+1"])]));
    drop(emulator);
    let (emulator, client) = start(options(2));
    assert_eq!(client.values("Sheet1"), json!([["kept", "=1+1"]]));
    let made = client
        .batch(&json!([{"addProtectedRange": {"protectedRange": {"range": {"sheetId": 0}}}}]));
    let editors = &made["replies"][0]["addProtectedRange"]["protectedRange"]["editors"]["users"];
    assert_eq!(editors[1], emulator.account(1));
    drop(emulator);
    std::fs::write(&file, "{}").unwrap();
    assert!(Emulator::start(options(1)).is_err());
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_huge_insertion_is_refused_before_it_is_made() {
    let (_emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["a"]]));
    let range = json!({"sheetId": 0, "dimension": "ROWS", "startIndex": 0, "endIndex": i32::MAX});
    let text = client.refused(&json!([{"insertDimension": {"range": range}}]));
    assert!(text.contains("limit of 10000000 cells"), "{text}");
}
