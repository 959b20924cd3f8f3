//! What goes wrong, and what takes time: quotas, tokens, lost answers, late writes, old reads.

use super::*;
use crate::{Fault, Kind, Latency, Quota, Target};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_61st_write_of_a_minute_is_refused_and_the_next_minute_is_free() {
    let (emulator, client) = still();
    for _ in 0..60 {
        client.batch(&json!([append("x")]));
    }
    let (status, refused) =
        client.post(":batchUpdate", &json!({"requests": [append("y")]})).unwrap();
    assert_eq!((status, refused["error"]["status"].as_str()), (429, Some("RESOURCE_EXHAUSTED")));
    client.get("");
    emulator.advance(60 * SECOND);
    client.batch(&json!([append("z")]));
    let minutes = emulator.minutes();
    assert_eq!(
        (minutes[0].1.writes, minutes[0].1.refused, minutes[0].1.reads, minutes[1].1.writes),
        (61, 1, 1, 1)
    );
    assert_eq!(client.values("Sheet1!A60:A61"), json!([["x"], ["z"]]));
}

#[test]
fn a_limit_can_be_set() {
    let (emulator, client) = emulator();
    emulator.set_quota(Quota { reads_per_user: 0, ..Quota::unlimited() });
    assert_eq!(client.raw("GET", &client.path(""), "").unwrap().0, 429);
}

#[test]
fn tokens_expire_and_are_revoked() {
    let (emulator, client) = still();
    let status = |client: &Client| client.raw("GET", &client.path(""), "").unwrap().0;
    emulator.advance(3599 * SECOND);
    assert_eq!(status(&client), 200);
    emulator.advance(SECOND);
    assert_eq!(status(&client), 401);
    let fresh = Client::new(&emulator);
    assert_eq!(status(&fresh), 200);
    emulator.revoke_tokens();
    assert_eq!(status(&fresh), 401);
}

#[test]
fn who_may_not_is_told_why() {
    let (emulator, client) = emulator();
    let ask = |client: &Client| {
        let (status, answer) =
            client.post(":batchUpdate", &json!({"requests": [append("x")]})).unwrap();
        (status, answer["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    emulator.share(&emulator.account(1), "reader");
    assert_eq!(ask(&client), (403, "The caller does not have permission".to_owned()));
    client.get("");
    emulator.share(&emulator.account(1), "none");
    assert_eq!(client.raw("GET", &client.path(""), "").unwrap().0, 403);
    emulator.share(&emulator.account(1), "editor");
    emulator.set_enabled(false);
    assert!(ask(&client).1.starts_with("Google Sheets API has not been used in project "));
    emulator.set_enabled(true);
    let cloud = emulator.token(&["https://www.googleapis.com/auth/cloud-platform"]);
    assert!(
        ask(&Client { token: cloud, ..client.clone() })
            .1
            .contains("insufficient authentication scopes")
    );
    assert_eq!(ask(&client).0, 200);
}

#[test]
fn faults_say_whether_the_write_was_applied() {
    let (emulator, client) = emulator();
    let cases = [
        (Kind::Status { code: 503, applied: false }, Some(503), false),
        (Kind::Status { code: 503, applied: true }, Some(503), true),
        (Kind::Page { code: 502, applied: true }, Some(502), true),
        (Kind::CutBefore, None, false),
        (Kind::CutAfter, None, true),
        (Kind::CutBody { bytes: 10 }, None, true),
    ];
    for (row, (kind, status, applied)) in cases.into_iter().enumerate() {
        emulator.fault(Fault::next(Target::Writes, kind.clone()));
        client.get("");
        let answer = client.post(":batchUpdate", &json!({"requests": [write(row, &["x"])]}));
        assert_eq!(answer.ok().map(|(status, _)| status), status, "{kind:?}");
        let seen = emulator.look(&format!("Sheet1!A{}", row + 1)).unwrap();
        assert_eq!(!seen.is_empty(), applied, "{kind:?}");
        let entry = emulator.journal().pop().unwrap();
        assert_eq!((entry.applied, entry.fault.is_some()), (applied, true), "{kind:?}");
    }
}

#[test]
fn a_late_write_comes_when_its_caller_has_given_up() {
    let (emulator, client) = still();
    emulator.fault(Fault::next(Target::Writes, Kind::Late { after: 30 * SECOND }));
    drop(client.send(
        "POST",
        &client.path(":batchUpdate"),
        &json!({"requests": [write(0, &["zombie"])]}).to_string(),
    ));
    until("it is taken", || emulator.journal().len() == 1);
    client.batch(&json!([write(0, &["alive"]), write(1, &["b"])]));
    emulator.advance(29 * SECOND);
    assert_eq!(emulator.look("Sheet1").unwrap(), [["alive"], ["b"]]);
    emulator.advance(SECOND);
    assert_eq!(emulator.look("Sheet1").unwrap(), [["zombie"], ["b"]]);
}

#[test]
fn a_write_goes_on_without_its_caller() {
    let (emulator, client) = still();
    let exactly = Latency { read: SECOND, write: SECOND, spread: 0.0 };
    emulator.set_latency(Some(exactly));
    drop(client.send(
        "POST",
        &client.path(":batchUpdate"),
        &json!({"requests": [append("x")]}).to_string(),
    ));
    // Each look moves time on, since nobody can say when the request has arrived.
    until("it is applied", || {
        emulator.advance(SECOND);
        !emulator.look("Sheet1").unwrap().is_empty()
    });
}

#[test]
fn latency_passes_with_the_clock_and_no_sooner() {
    let (emulator, client) = still();
    emulator.set_latency(Some(Latency { read: 2 * SECOND, write: SECOND, spread: 0.0 }));
    let mut waiting = client.send("GET", &client.path(""), "");
    waiting.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(waiting.read(&mut [0]).is_err());
    let entered = emulator.now();
    until("it is answered", || {
        emulator.advance(SECOND);
        emulator.journal().len() == 1
    });
    assert!(emulator.now() - entered >= 2 * SECOND);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(receive(waiting).unwrap().0, 200);
}

#[test]
fn an_old_read_does_not_see_the_last_writes() {
    let (emulator, client) = still();
    emulator.advance(SECOND);
    client.batch(&json!([write(0, &["old"])]));
    emulator.advance(10 * SECOND);
    client.batch(&json!([write(0, &["new"])]));
    emulator.advance(SECOND);
    let stale = |by| Fault::next(Target::Reads, Kind::Stale { by });
    emulator.fault(stale(2 * SECOND));
    assert_eq!(client.values("Sheet1"), json!([["old"]]));
    emulator.fault(stale(SECOND / 2));
    assert_eq!(client.values("Sheet1"), json!([["new"]]));
    emulator.fault(stale(60 * SECOND));
    assert_eq!(client.values("Sheet1"), Value::Null);
}

#[test]
fn a_batch_may_not_see_others_in_its_own_answer_and_writes_right_all_the_same() {
    let (emulator, client) = still();
    emulator.advance(10 * SECOND);
    client.batch(&json!([write(0, &["other"])]));
    emulator.fault(Fault::next(Target::Writes, Kind::Stale { by: SECOND }));
    let body = json!({"requests": [write(1, &["own"])], "includeSpreadsheetInResponse": true});
    let path = ":batchUpdate?fields=updatedSpreadsheet.sheets.data.rowData.values.formattedValue";
    let (_, answer) = client.post(path, &body).unwrap();
    let rows = &answer["updatedSpreadsheet"]["sheets"][0]["data"][0]["rowData"];
    assert_eq!(*rows, json!([{}, {"values": [{"formattedValue": "own"}]}]));
    assert_eq!(emulator.look("Sheet1").unwrap(), [["other"], ["own"]]);
}

#[test]
fn a_hang_never_ends_and_slow_calls_do() {
    let (emulator, client) = still();
    emulator.fault(Fault::next(Target::Any, Kind::Hang { applied: true }));
    let mut hung = client.send(
        "POST",
        &client.path(":batchUpdate"),
        &json!({"requests": [append("x")]}).to_string(),
    );
    until("it is applied", || emulator.journal().len() == 1);
    emulator.advance(1000 * SECOND);
    hung.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(hung.read(&mut [0]).is_err());
    assert_eq!(emulator.look("Sheet1").unwrap(), [["x"]]);
    emulator.fault(Fault::next(Target::Reads, Kind::Slow { by: 5 * SECOND }));
    let slow = client.send("GET", &client.path(""), "");
    until("it is answered", || {
        emulator.advance(SECOND);
        emulator.journal().len() == 2
    });
    assert_eq!(receive(slow).unwrap().0, 200);
}

#[test]
fn a_wrong_address_gets_a_page_and_a_wrong_spreadsheet_json() {
    let (_emulator, client) = emulator();
    let (status, page) = client.raw("GET", "/v4/sheets/x", "").unwrap();
    assert_eq!(
        (status, page.as_str().is_some_and(|page| page.contains("Error 404 (Not Found)!!1"))),
        (404, true)
    );
    let (status, answer) = client.raw("GET", "/v4/spreadsheets/none", "").unwrap();
    assert_eq!((status, answer["error"]["status"].as_str()), (404, Some("NOT_FOUND")));
}
