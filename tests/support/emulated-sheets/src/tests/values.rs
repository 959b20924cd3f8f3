//! The values collection: what is left out, what is parsed, where values go.

use super::*;

#[test]
fn empty_ends_are_left_out_and_blanks_between_stay() {
    let (_emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["a", "", "c"], [], ["", "b", ""]]));
    let seen = client.get("/values/Sheet1!A1:Z99");
    assert_eq!(
        seen,
        json!({"range": "Sheet1!A1:Z99", "majorDimension": "ROWS", "values": [["a", "", "c"], [], ["", "b"]]})
    );
    assert_eq!(
        client.get("/values/Sheet1!A5:B"),
        json!({"range": "Sheet1!A5:B1000", "majorDimension": "ROWS"})
    );
    let columns = client.get("/values/Sheet1?majorDimension=COLUMNS");
    assert_eq!(
        (&columns["range"], &columns["values"]),
        (&json!("Sheet1!A1:Z1000"), &json!([["a"], ["", "", "b"], ["c"]]))
    );
}

#[test]
fn nulls_are_skipped_and_empty_texts_empty_a_cell() {
    let (_emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["a", "b", "c"]]));
    let (_, done) = client.put("Sheet1!A1:C1", &json!([[null, "", "z"]]));
    assert_eq!(
        (done["updatedCells"].as_u64(), done["updatedRange"].as_str()),
        (Some(2), Some("Sheet1!A1:C1"))
    );
    assert_eq!(client.values("Sheet1"), json!([["a", "", "z"]]));
}

#[test]
fn values_stay_inside_their_range_and_the_grid() {
    let (_emulator, client) = emulator();
    let message = |(status, answer): (u16, Value)| {
        assert_eq!(status, 400, "{answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        message(client.put("Sheet1!A2:B2", &json!([["a", "b", "c"]]))),
        "Requested writing within range [Sheet1!A2:B2], but tried writing to column [C]"
    );
    assert_eq!(
        message(client.put("Sheet1!A1:B1", &json!([["a"], ["b"]]))),
        "Requested writing within range [Sheet1!A1:B1], but tried writing to row [2]"
    );
    let text = message(client.put("Sheet1!Z1000", &json!([["a"], ["b"]])));
    assert_eq!(
        text,
        "Range (Sheet1!Z1000:Z1001) exceeds grid limits. Max rows: 1000, max columns: 26"
    );
    let data = json!([{"range": "Sheet1!A1", "values": [["ok"]]}, {"range": "Sheet1!A1:A1", "values": [[[1]]]}]);
    let answer = client
        .post("/values:batchUpdate", &json!({"valueInputOption": "RAW", "data": data}))
        .unwrap();
    assert!(message(answer).starts_with("Invalid data[1]: Invalid values[0][0]: list_value"));
    assert_eq!(client.values("Sheet1"), Value::Null);
    let answer = client.post("/values:batchUpdate", &json!({"data": []})).unwrap();
    assert_eq!(message(answer), "'valueInputOption' is required but not specified");
    let answer =
        client.raw("GET", &client.path("/values:batchGet?ranges=Sheet1&ranges=No!A1"), "").unwrap();
    assert_eq!(message(answer), "Unable to parse range: No!A1");
}

/// The tables A1:C2 and B4:D6 of the guide.
fn guide() -> (Emulator, Client) {
    let (emulator, client) = emulator();
    client.put("Sheet1!A1", &json!([["x", "y", "z"], ["x", "y", "z"]]));
    client.put("Sheet1!B4", &json!([["x", "y"], ["y", "z"], ["x", "y", "z"]]));
    (emulator, client)
}

#[test]
fn appending_finds_the_table_as_the_guide_says() {
    let cases = [
        ("Sheet1", "B7"),
        ("Sheet1!B4", "B7"),
        ("Sheet1!C5:D5", "B7"),
        ("Sheet1!B2:D4", "B7"),
        ("Sheet1!A3:G10", "B7"),
        ("Sheet1!A1", "A3"),
        ("Sheet1!E4", "E4"),
        ("Sheet1!A4", "A4"),
    ];
    for (range, wanted) in cases {
        let (_emulator, client) = guide();
        let path = format!("/values/{range}:append?valueInputOption=RAW");
        let (_, done) = client.post(&path, &json!({"values": [["new"]]})).unwrap();
        assert_eq!(done["updates"]["updatedRange"], format!("Sheet1!{wanted}"), "{range}");
    }
}

#[test]
fn appended_rows_are_inserted_when_asked_and_overwrite_otherwise() {
    for (insert, wanted, rows) in [
        ("INSERT_ROWS", json!([["n"], [], ["", "x", "y"]]), 1001),
        ("OVERWRITE", json!([["n"], ["", "x", "y"]]), 1000),
    ] {
        let (emulator, client) = guide();
        let path =
            format!("/values/Sheet1!A1:append?valueInputOption=RAW&insertDataOption={insert}");
        let (_, done) = client.post(&path, &json!({"values": [["n"]]})).unwrap();
        assert_eq!(done["tableRange"], "Sheet1!A1:C2");
        assert_eq!(
            (
                client.values(&format!("Sheet1!A3:C{}", rows - 996)),
                emulator.tabs()[0]["gridProperties"]["rowCount"].as_u64()
            ),
            (wanted, Some(rows))
        );
    }
}

#[test]
fn dates_come_as_numbers_or_as_the_locale_shows_them() {
    let (_emulator, client) = start(Options { locale: "es_CL".to_owned(), ..Options::default() });
    let path = client.path("/values/Sheet1!A1?valueInputOption=USER_ENTERED");
    client
        .raw("PUT", &path, &json!({"values": [["01-02-2026", "1E5", "=1+1"]]}).to_string())
        .unwrap();
    let seen =
        |query: &str| client.get(&format!("/values/Sheet1!A1:C1?{query}"))["values"][0].clone();
    assert_eq!(seen(""), json!(["01-02-2026", "100000", "2"]));
    assert_eq!(seen("valueRenderOption=UNFORMATTED_VALUE"), json!([46054, 100_000, 2]));
    let text = "valueRenderOption=UNFORMATTED_VALUE&dateTimeRenderOption=FORMATTED_STRING";
    assert_eq!(seen(text), json!(["01-02-2026", 100_000, 2]));
    assert_eq!(seen("valueRenderOption=FORMULA"), json!([46054, 100_000, "=1+1"]));
}

#[test]
fn clearing_empties_and_keeps_the_grid() {
    let (_emulator, client) = guide();
    let (_, done) = client.post("/values/Sheet1!B2:C5:clear", &json!({})).unwrap();
    assert_eq!(done["clearedRange"], "Sheet1!B2:C5");
    assert_eq!(
        client.values("Sheet1"),
        json!([["x", "y", "z"], ["x"], [], [], [], ["", "x", "y", "z"]])
    );
}

#[test]
fn filters_select_ranges_by_grid_and_notation() {
    let (_emulator, client) = guide();
    let filters = json!([{"a1Range": "Sheet1!A1:B1"}, {"gridRange": {"sheetId": 0, "startRowIndex": 5, "endRowIndex": 6}}]);
    let (_, seen) =
        client.post("/values:batchGetByDataFilter", &json!({"dataFilters": filters})).unwrap();
    let of = |at: usize| seen["valueRanges"][at]["valueRange"]["values"].clone();
    assert_eq!((of(0), of(1)), (json!([["x", "y"]]), json!([["", "x", "y", "z"]])));
    let body = json!({"dataFilters": filters, "includeGridData": true});
    let (_, seen) = client.post(":getByDataFilter", &body).unwrap();
    assert_eq!(seen["sheets"][0]["data"].as_array().map(Vec::len), Some(2));
}
