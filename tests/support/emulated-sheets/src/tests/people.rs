//! The person at the spreadsheet, and the control address.

use super::*;
use crate::Act;

/// A tab with a head and rows, and a hidden and a protected one with the same.
fn office(seed: u64) -> Emulator {
    let (emulator, client) = emulator();
    let rows: Vec<Vec<String>> =
        (0..30).map(|n| vec![format!("MK-{n}"), "DISPONIBLE".to_owned(), String::new()]).collect();
    client.batch(&json!([
        {"addSheet": {"properties": {"sheetId": 1, "title": "Hidden", "hidden": true}}},
        {"addSheet": {"properties": {"sheetId": 2, "title": "Log"}}},
    ]));
    for tab in ["Sheet1", "Hidden", "Log"] {
        client.put(&format!("{tab}!A1"), &json!([["TAG_SPOOL", "Ocupado_Por", "Fecha"]]));
        client.put(&format!("{tab}!A2"), &json!(rows));
    }
    client.batch(&json!([{"addProtectedRange": {"protectedRange": {"range": {"sheetId": 2}}}}]));
    emulator.person(&[], Duration::ZERO, seed);
    emulator
}

/// What each tab shows, by its id.
fn everything(emulator: &Emulator) -> Vec<(i64, Vec<Vec<String>>)> {
    let tabs = emulator.tabs();
    let look = |tab: &Value| {
        let title = tab["title"].as_str().unwrap();
        (tab["sheetId"].as_i64().unwrap(), emulator.look(&format!("'{title}'")).unwrap())
    };
    let mut all: Vec<_> = tabs.iter().map(look).collect();
    all.sort();
    all
}

#[test]
fn a_person_does_the_same_by_the_same_seed_and_leaves_alone_what_is_hidden_or_protected() {
    let (one, two, other) = (office(1), office(1), office(2));
    let before = everything(&one);
    for emulator in [&one, &two, &other] {
        emulator.person_acts(300);
    }
    assert_eq!((everything(&one), one.tabs()), (everything(&two), two.tabs()));
    assert_ne!(everything(&one), everything(&other));
    let after = everything(&one);
    assert_ne!(before[0], after[0]);
    assert_eq!((&before[1], &before[2]), (&after[1], &after[2]));
    assert_eq!(before[0].1[0], after[0].1[0], "the head of the table");
}

#[test]
fn a_person_acts_as_time_passes() {
    let (emulator, client) = still();
    client.put("Sheet1!A1", &json!([["head"], ["a"], ["b"], ["c"]]));
    emulator.person(&[Act::Insert], Duration::from_secs(1), 7);
    emulator.advance(Duration::from_millis(3500));
    let rows = emulator.look("Sheet1").unwrap();
    assert_eq!((rows.len(), rows.iter().filter(|row| row.is_empty()).count()), (7, 3));
    emulator.person_leaves();
    emulator.advance(Duration::from_secs(10));
    assert_eq!(emulator.look("Sheet1").unwrap(), rows);
}

#[test]
fn the_control_address_sets_what_the_handle_sets() {
    let (emulator, client) = emulator();
    let ask = |verb: &str, path: &str, body: &str| {
        client.raw(verb, &format!("/_emulator/{path}"), body).unwrap()
    };
    assert!(ask("GET", "", "").1.as_str().is_some_and(|help| help.contains("cut_after")));
    assert_eq!(ask("PUT", "table?range=A1", "key\twho\n=1+1\tx").0, 200);
    assert_eq!(ask("GET", "table?range=Sheet1", "").1, "key\twho\n2\tx\n");
    assert_eq!(ask("POST", "faults", r#"{"kind": "status", "code": 500}"#).0, 200);
    assert_eq!(client.raw("GET", &client.path(""), "").unwrap().0, 500);
    assert_eq!(ask("POST", "person", r#"{"seed": 3, "acts": ["rename"]}"#).0, 200);
    ask("POST", "person/act", "");
    assert_eq!(emulator.tabs()[0]["title"], "Renamed 1");
    ask("POST", "quota", r#"{"reads_per_user": 0}"#);
    assert_eq!(client.raw("GET", &client.path(""), "").unwrap().0, 429);
    ask("POST", "tokens", r#"{"revoke": true}"#);
    assert_eq!(client.raw("GET", &client.path(""), "").unwrap().0, 401);
    let journal = ask("GET", "journal?last=2", "").1;
    assert_eq!(
        (journal[0]["status"].as_u64(), journal[1]["status"].as_u64()),
        (Some(429), Some(401))
    );
    assert_eq!(ask("GET", "minutes", "").1[0]["refused"], 1);
    for (path, body) in
        [("faults", "{"), ("faults", "{}"), ("person", r#"{"acts": ["fly"]}"#), ("nothing", "")]
    {
        assert_eq!(ask("POST", path, body).0, 400, "{path} {body}");
    }
}
