//! The sheet as the ledger: its keys, its defaults, the original service's variables.

use super::*;
use crate::config::sheet::Credentials;

const ID: &str = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms";
const KEY: &str = r#"{"client_email": "a@b", "private_key": "hunter2", "token_uri": "https://c"}"#;
const ADDRESS: &str = "https://docs.google.com/spreadsheets/d/\
                       1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit#gid=0";

#[test]
fn the_variables_of_the_original_service_just_work() {
    let sheet = ("GOOGLE_SHEET_ID", ID);
    let alone = settings("", &[sheet]);
    assert_eq!((alone.ledger.kind, alone.guarantee), (LedgerKind::Sheets, Guarantee::Fast));
    assert_eq!(alone.ledger.sheet.spreadsheet, ID);
    assert_eq!(alone.ledger.sheet.credentials, Credentials::Machine);
    let path = ("GOOGLE_APPLICATION_CREDENTIALS", "/k.json");
    let by_path = settings("", &[sheet, path]).ledger.sheet.credentials;
    assert_eq!(by_path, Credentials::File("/k.json".into()));
    let json = ("GOOGLE_APPLICATION_CREDENTIALS_JSON", KEY);
    let by_json = settings("", &[sheet, path, json]);
    assert_eq!(by_json.ledger.sheet.credentials, Credentials::Json(Secret::new(KEY)));
    assert!(!format!("{by_json:?}").contains("hunter2"));
    // Credentials alone are for something else.
    let without = settings("", &[path, ("GOOGLE_APPLICATION_CREDENTIALS_JSON", "x")]);
    assert_eq!(without, Settings::default());
    assert_eq!(settings("", &[("GOOGLE_SHEET_ID", "")]), Settings::default());
}

#[test]
fn a_ledger_that_takes_a_second_has_other_defaults() {
    let file = format!("[ledger]\nkind = 'sheets'\nspreadsheet = '{ADDRESS}'");
    let settings_of = |more: &str| settings(&format!("{more}\n{file}"), &[]);
    let read = settings_of("");
    assert_eq!((read.guarantee, &*read.ledger.sheet.spreadsheet), (Guarantee::Fast, ID));
    let ledger = &read.ledger;
    let times = [ledger.mirror_interval, ledger.poll, ledger.heartbeat, ledger.stall_after];
    assert_eq!(times.map(|time| time.as_secs_f64()), [3.0, 1.5, 20.0, 5.0]);
    assert_eq!(ledger.acquire_timeout, Some(Duration::from_secs(5)));
    assert_eq!(read, settings("", &[("GOOGLE_SHEET_ID", ADDRESS)]));
    assert_eq!(settings_of("guarantee = 'strict'").guarantee, Guarantee::Strict);
    let strict = settings("", &[("GOOGLE_SHEET_ID", ID), ("LOCKSIDE_GUARANTEE", "strict")]);
    assert_eq!(strict.guarantee, Guarantee::Strict);
}

#[test]
fn every_value_of_a_sheet_arrives() {
    let file = format!(
        "[ledger]\nkind = 'sheets'\nspreadsheet = '{ID}'\nname = 'orders'\ncredentials = '/k'\n\
         api_url = 'http://127.0.0.1:1'\nmetadata_url = 'http://127.0.0.1:1/x'\n\
         writes_a_minute = 110\nreads_a_minute = 111\ncall_timeout = '2s'\npoll = '1s'\n\
         acquire_timeout = 'safety_ttl'"
    );
    let ledger = settings(&file, &[]).ledger;
    let expected = Sheet {
        spreadsheet: ID.into(),
        name: "orders".into(),
        credentials: Credentials::File("/k".into()),
        api_url: "http://127.0.0.1:1".into(),
        metadata_url: Some("http://127.0.0.1:1/x".into()),
        writes_a_minute: 110,
        reads_a_minute: 111,
        call_timeout: Duration::from_secs(2),
    };
    assert_eq!(ledger.sheet, expected);
    assert_eq!((ledger.poll, ledger.acquire_timeout), (Duration::from_secs(1), None));
}

#[test]
fn a_file_that_is_asked_for_stays_the_ledger() {
    let sheet = ("GOOGLE_SHEET_ID", ID);
    let told = ["GOOGLE_SHEET_ID is set, but the ledger is an SQLite file by other settings"];
    for (file, more) in [
        ("ledger.kind = 'sqlite'", ("LOCKSIDE_STATE_DIR", "/s")),
        ("", ("LOCKSIDE_LEDGER", "/l.db")),
    ] {
        let read = settings(file, &[sheet, more]);
        assert_eq!((read.ledger.kind, read.guarantee), (LedgerKind::Sqlite, Guarantee::Strict));
        assert_eq!(read.warnings, told);
    }
}

#[test]
fn mistakes_about_a_sheet() {
    let lines = [
        (
            "kind = 'sheets'",
            r#"l.toml:2: ledger.kind: "sheets" without a spreadsheet; expected ledger.spreadsheet, or GOOGLE_SHEET_ID"#,
        ),
        (
            "kind = 'sheets'\nspreadsheet = 'mine'",
            r#"l.toml:3: ledger.spreadsheet: "mine" is no spreadsheet; expected the spreadsheet's address from the browser, or its id: what stands there between /d/ and /edit"#,
        ),
        (
            "spreadsheet = '1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms'",
            r#"l.toml:2: ledger.spreadsheet: a spreadsheet does not go with kind = "sqlite"; expected kind = "sheets", or no spreadsheet"#,
        ),
        (
            "api_url = 'http://sheets.example/'",
            r#"l.toml:2: ledger.api_url: "http://sheets.example/" is no address of the API; expected "https://..." or "http://" with an address of this machine"#,
        ),
        (
            "metadata_url = 'metadata'",
            r#"l.toml:2: ledger.metadata_url: "metadata" is no metadata server; expected "http://host/path""#,
        ),
        (
            "writes_a_minute = 1",
            "l.toml:2: ledger.writes_a_minute: 1 is out of range; expected a whole number, 6 to 60000",
        ),
        (
            "call_timeout = 0",
            r#"l.toml:2: ledger.call_timeout: 0 is out of range; expected seconds or a duration such as "500ms", 100ms to 3m"#,
        ),
        (
            "credentials = ''",
            r#"l.toml:2: ledger.credentials: "" is no file; expected the path of a service account's key file"#,
        ),
    ];
    for (line, expected) in lines {
        assert_eq!(refused(&format!("[ledger]\n{line}"), &[]), expected);
    }
    let sheet = ("GOOGLE_SHEET_ID", ID);
    let wrong = [("GOOGLE_SHEET_ID", "My sheet"), ("GOOGLE_APPLICATION_CREDENTIALS_JSON", "{")];
    assert_eq!(
        refused("", &wrong),
        "environment: GOOGLE_SHEET_ID: \"My sheet\" is no spreadsheet; expected the spreadsheet's \
         address from the browser, or its id: what stands there between /d/ and /edit\n\
         environment: GOOGLE_APPLICATION_CREDENTIALS_JSON: is no JSON; expected the JSON key of a \
         service account, as the Google Cloud console makes it"
    );
    let key = KEY.replace("token_uri", "token");
    let told = refused("", &[sheet, ("GOOGLE_APPLICATION_CREDENTIALS_JSON", &key)]);
    assert!(told.contains("has no token_uri") && !told.contains("hunter2"), "{told}");
}
