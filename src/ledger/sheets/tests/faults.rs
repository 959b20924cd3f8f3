//! What Google and people do to the spreadsheet: nothing is lost, nothing stands twice, and what is said
//! of it is true.

use std::collections::BTreeSet;
use std::time::Duration;

use emulated_sheets::{Fault, Kind, Target};
use serde_json::json;

use super::*;
use crate::ledger::entry::Entry;
use crate::ledger::store::Applied;
use crate::ledger::testing::{claim, row, start};

/// A clock that jumps when somebody waits.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    now: Duration,
}

impl Pace for Jumps {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }
}

impl Google {
    /// A store that waits for nobody.
    fn hasty(&self) -> Sheets {
        self.hasty_with(|_| {})
    }

    fn hasty_with(&self, change: impl FnOnce(&mut Settings)) -> Sheets {
        let mut settings = self.settings();
        settings.call_timeout = Duration::from_millis(700);
        change(&mut settings);
        Sheets::with_pace(settings, Box::new(Jumps::default()))
    }

    pub(super) fn breaks(&self, on: Target, kind: Kind) {
        self.0.fault(Fault::next(on, kind));
    }

    pub(super) fn tab(&self, prefix: &str) -> (i64, String) {
        let tabs = self.0.tabs();
        let found =
            tabs.iter().find(|tab| tab["title"].as_str().is_some_and(|t| t.starts_with(prefix)));
        let tab = found.unwrap();
        (tab["sheetId"].as_i64().unwrap(), tab["title"].as_str().unwrap().to_owned())
    }

    fn rows_of(&self, log: u64) -> usize {
        self.0.look(&format!("'lockside log {log}'!A2:A")).unwrap().len()
    }
}

pub(super) fn claims(log: u64, from: u64, count: u64) -> Vec<Row> {
    let claim = |seq| row(log, seq, Entry::Claim(claim(&format!("k{seq}"), "=1+1")));
    (from..from + count).map(claim).collect()
}

pub(super) fn opened(google: &Google) -> (Sheets, u64) {
    let mut store = google.hasty();
    let log = store.open(&start()).unwrap();
    (store, log)
}

/// Every fault of a write, whether its rows may be there, and whether the store hides it by trying again.
fn faults() -> Vec<(Kind, Applied)> {
    let status = |code, applied| Kind::Status { code, applied };
    let page = |code, applied| Kind::Page { code, applied };
    let (no, unknown) = (Applied::No, Applied::Unknown);
    vec![
        (status(400, false), no),
        (status(403, false), no),
        (status(404, false), no),
        (status(408, false), unknown),
        (status(408, true), unknown),
        (status(409, false), unknown),
        (status(500, false), unknown),
        (status(500, true), unknown),
        (status(502, true), unknown),
        (status(504, true), unknown),
        (page(404, false), no),
        (page(500, true), unknown),
        (page(502, false), unknown),
        (page(408, true), unknown),
        (Kind::CutBefore, unknown),
        (Kind::CutAfter, unknown),
        (Kind::CutBody { bytes: 20 }, unknown),
        (Kind::CutBody { bytes: 0 }, unknown),
        (Kind::Hang { applied: false }, unknown),
        (Kind::Hang { applied: true }, unknown),
    ]
}

#[test]
fn after_any_fault_the_same_rows_come_through_once() {
    let google = Google::new();
    let (mut store, log) = opened(&google);
    let mut seq = 2;
    let mut seen = store.exchange(&[]).unwrap().rows.len() as u64;
    for (kind, applied) in faults() {
        let own = claims(log, seq, 2);
        // A 400 is asked again with the tabs' new names.
        let times = if kind == (Kind::Status { code: 400, applied: false }) { 2 } else { 1 };
        for _ in 0..times {
            google.breaks(Target::Writes, kind.clone());
        }
        let error = store.exchange(&own).unwrap_err();
        assert_eq!(error.applied, applied, "{kind:?}: {error}");
        assert!(!error.text.contains("k2") && !error.text.contains("ya29"), "{error}");
        let rows = store.exchange(&own).unwrap().rows;
        assert_eq!(rows, own, "{kind:?}");
        (seq, seen) = (seq + 2, seen + 2);
        assert_eq!(google.rows_of(log) as u64, seen, "{kind:?}");
    }
    let (mut other, _) = opened(&google);
    let read = other.exchange(&[]).unwrap().rows;
    assert_eq!(read.iter().filter(|row| row.at.log == log).count() as u64, seen);
}

#[test]
fn a_refusal_for_a_moment_is_waited_out() {
    let google = Google::new();
    let (mut store, log) = opened(&google);
    store.exchange(&[]).unwrap();
    let kinds = [
        Kind::Status { code: 429, applied: false },
        Kind::Page { code: 429, applied: false },
        Kind::Status { code: 503, applied: false },
        Kind::Status { code: 503, applied: true },
        Kind::Page { code: 503, applied: true },
    ];
    for (at, kind) in (0..).zip(kinds) {
        google.breaks(Target::Writes, kind.clone());
        let own = claims(log, 2 + at, 1);
        assert_eq!(store.exchange(&own).unwrap().rows, own, "{kind:?}");
    }
    assert_eq!(google.rows_of(log), 6);
}

#[test]
fn a_refusal_that_stays_is_an_error_in_bounded_time() {
    let google = Google::new();
    let (mut store, log) = opened(&google);
    google.0.fault(Fault::chance(Target::Any, 1.0, Kind::Status { code: 429, applied: false }));
    google.0.clear_journal();
    let error = store.exchange(&claims(log, 2, 1)).unwrap_err();
    assert_eq!(error.applied, Applied::No);
    assert!(error.text.contains("quota"), "{error}");
    assert!(google.0.journal().len() < 6, "{:?}", google.0.journal().len());
    google.0.clear_faults();
    // A 503 that was applied, and then a 429: nobody knows.
    google.breaks(Target::Writes, Kind::Status { code: 503, applied: true });
    google.0.fault(Fault::chance(Target::Any, 1.0, Kind::Status { code: 429, applied: false }));
    assert_eq!(store.exchange(&claims(log, 2, 1)).unwrap_err().applied, Applied::Unknown);
    google.0.clear_faults();
    assert_eq!(store.exchange(&claims(log, 2, 1)).unwrap().rows.len(), 2);
    assert_eq!(google.rows_of(log), 2);
}

#[test]
fn the_own_quota_is_kept_and_told() {
    let google = Google::new();
    let quota = Quota { writes_a_minute: 6, reads_a_minute: 600, at_once: 2 };
    let mut store = google.hasty_with(|settings| {
        settings.quota = quota;
        settings.patience = Duration::from_secs(1);
    });
    let log = store.open(&start()).unwrap();
    let error = store.exchange(&claims(log, 2, 1)).unwrap_err();
    assert_eq!(error.applied, Applied::No);
    assert!(error.text.contains("own quota"), "{error}");
    assert!(store.exchange(&[]).is_ok(), "reads have a quota of their own");
}

#[test]
fn a_write_that_comes_late_changes_nothing() {
    let google = Google::new();
    let (mut store, log) = opened(&google);
    let own = claims(log, 2, 2);
    google.breaks(Target::Writes, Kind::Late { after: Duration::from_millis(900) });
    assert_eq!(store.exchange(&own).unwrap_err().applied, Applied::Unknown);
    store.exchange(&own).unwrap();
    store.exchange(&claims(log, 4, 3)).unwrap();
    let rows = google.0.look(&format!("'lockside log {log}'!A:E")).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while google.0.now() < Duration::from_millis(2_500) {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
    assert_eq!(google.0.look(&format!("'lockside log {log}'!A:E")).unwrap(), rows);
    assert_eq!(store.exchange(&[]).unwrap(), Seen::default());
}

#[test]
fn a_revoked_token_is_renewed_once() {
    let google = Google::new();
    let (mut store, log) = opened(&google);
    google.0.revoke_tokens();
    assert_eq!(store.exchange(&claims(log, 2, 1)).unwrap().rows.len(), 2);
    google.0.set_account(&google.0.account(1), false);
    google.0.revoke_tokens();
    let error = store.exchange(&claims(log, 3, 1)).unwrap_err();
    assert_eq!(error.applied, Applied::No);
    assert!(error.text.contains(&google.0.account(1)), "{error}");
    google.0.set_account(&google.0.account(1), true);
    assert_eq!(store.exchange(&claims(log, 3, 1)).unwrap().rows.len(), 1);
}

#[test]
fn tokens_that_do_not_come_are_not_applied() {
    let google = Google::new();
    let (mut store, log) = opened(&google);
    let kinds = [
        Kind::Status { code: 500, applied: false },
        Kind::Page { code: 503, applied: false },
        Kind::CutBefore,
        Kind::CutBody { bytes: 10 },
        Kind::Hang { applied: false },
    ];
    for kind in kinds {
        google.0.revoke_tokens();
        google.breaks(Target::Tokens, kind.clone());
        let error = store.exchange(&claims(log, 2, 1)).unwrap_err();
        assert_eq!(error.applied, Applied::No, "{kind:?}: {error}");
        assert!(!error.text.contains("PRIVATE") && !error.text.contains("ya29"), "{error}");
    }
    assert_eq!(store.exchange(&claims(log, 2, 1)).unwrap().rows.len(), 2);
}

#[test]
fn what_to_do_is_said() {
    let google = Google::new();
    let account = google.0.account(1);
    google.0.share(&account, "none");
    let told = |store: &mut Sheets| store.open(&start()).unwrap_err().to_string();
    let text = told(&mut google.hasty());
    assert!(text.contains(&format!("share it with {account}")), "{text}");
    google.0.share(&account, "editor");
    let text = told(&mut google.hasty_with(|s| s.spreadsheet = "1other".into()));
    assert!(text.contains("/d/"), "{text}");
    google.0.set_enabled(false);
    assert!(told(&mut google.hasty()).contains("https://console.developers.google.com/"));
    google.0.set_enabled(true);
    let text = told(&mut google.hasty_with(|s| s.base_url = "http://example.com/".into()));
    assert!(text.contains("not usable"), "{text}");
    let text = told(&mut google.hasty_with(|s| {
        s.credentials = Credentials::KeyJson("{\"private_key\": \"PRIVATE\"}".into());
    }));
    assert!(text.contains("JSON key") && !text.contains("PRIVATE"), "{text}");
}

#[test]
fn other_credentials_work_as_well() {
    let google = Google::new();
    let token = google.0.token(&[auth::SCOPE]);
    let url = format!(
        "{}computeMetadata/v1/instance/service-accounts/default/token",
        google.0.base_url()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), google.0.key(1).to_string()).unwrap();
    let all = [
        Credentials::Token(token),
        Credentials::Default { metadata_url: Some(url) },
        Credentials::KeyFile(file.path().into()),
    ];
    for credentials in all {
        let name = format!("{credentials:?}");
        let opened = google.hasty_with(|s| s.credentials = credentials).open(&start());
        assert!(opened.is_ok(), "{name}: {opened:?}");
    }
}

#[test]
fn renamed_and_moved_tabs_are_found_by_their_ids() {
    let google = Google::new();
    let (mut one, log) = opened(&google);
    let (mut two, _) = opened(&google);
    one.exchange(&claims(log, 2, 1)).unwrap();
    for (id, title) in [google.tab("lockside registry"), google.tab("lockside log")] {
        let properties = json!({"sheetId": id, "title": format!("'{title}'! again"), "index": 0});
        let rename =
            json!({"updateSheetProperties": {"properties": properties, "fields": "title,index"}});
        google.0.edit(&[rename]).unwrap();
    }
    assert_eq!(one.exchange(&claims(log, 3, 1)).unwrap().rows, claims(log, 3, 1));
    assert_eq!(two.exchange(&[]).unwrap().rows.len(), 4);
    let (mut three, _) = opened(&google);
    assert_eq!(three.exchange(&[]).unwrap().rows.len(), 5);
}

#[test]
fn names_that_people_exchange_mislead_nobody() {
    let google = Google::new();
    let (mut one, a) = opened(&google);
    let (mut two, b) = opened(&google);
    one.exchange(&claims(a, 2, 1)).unwrap();
    two.exchange(&claims(b, 2, 2)).unwrap();
    let name = |id: u64, title: &str| {
        json!({"updateSheetProperties": {
            "properties": {"sheetId": id, "title": title}, "fields": "title"}})
    };
    let (first, second) = (format!("lockside log {a}"), format!("lockside log {b}"));
    google.0.edit(&[name(a, "x"), name(b, &first), name(a, &second)]).unwrap();
    let rows = one.exchange(&claims(a, 3, 1)).unwrap().rows;
    assert_eq!(rows.iter().filter(|row| row.at.log == b).count(), 2);
    assert_eq!(rows.iter().filter(|row| row.at.log == a).count(), 1);
}

#[test]
fn a_sorted_registry_is_as_good_and_lost_rows_are_written_again() {
    let google = Google::new();
    let (mut one, a) = opened(&google);
    let (mut two, _) = opened(&google);
    one.exchange(&[]).unwrap();
    two.exchange(&[]).unwrap();
    let (id, title) = google.tab("lockside registry");
    let sort = json!({"sortRange": {
        "range": {"sheetId": id},
        "sortSpecs": [{"dimensionIndex": 1, "sortOrder": "DESCENDING"}]}});
    google.0.edit(&[sort]).unwrap();
    let (mut three, c) = opened(&google);
    assert_eq!(one.exchange(&claims(a, 2, 1)).unwrap().rows.len(), 2);
    assert_eq!(three.exchange(&[]).unwrap().rows.len(), 4);
    // All rows but the first.
    let delete = json!({"deleteDimension": {"range":
        {"sheetId": id, "dimension": "ROWS", "startIndex": 1, "endIndex": 4}}});
    let header = json!({"sortRange": {
        "range": {"sheetId": id},
        "sortSpecs": [{"dimensionIndex": 0, "sortOrder": "DESCENDING"}]}});
    google.0.edit(&[header]).unwrap();
    assert_eq!(google.0.look(&format!("'{title}'!A1")).unwrap()[0][0], "log");
    let lines = google.0.look(&format!("'{title}'!A:A")).unwrap();
    let at = lines.iter().position(|line| line[0].starts_with("lockside")).unwrap();
    let to_top = json!({"moveDimension": {"source":
        {"sheetId": id, "dimension": "ROWS", "startIndex": at, "endIndex": at + 1}, "destinationIndex": 0}});
    google.0.edit(&[to_top, delete]).unwrap();
    let refused = google.hasty().open(&start()).unwrap_err().to_string();
    assert!(refused.contains("does not name the tab"), "{refused}");
    assert!(one.exchange(&[]).is_ok(), "what a read does not show yet may come");
    one.exchange(&claims(a, 3, 1)).unwrap();
    three.exchange(&claims(c, 2, 1)).unwrap();
    let (mut four, _) = opened(&google);
    let logs: BTreeSet<_> = four.exchange(&[]).unwrap().rows.iter().map(|row| row.at.log).collect();
    assert_eq!(logs.len(), 4, "one and its rows, two and three");
}

#[test]
fn a_deleted_registry_is_made_again() {
    let google = Google::new();
    let (mut one, a) = opened(&google);
    one.exchange(&claims(a, 2, 1)).unwrap();
    let (id, _) = google.tab("lockside registry");
    google.0.edit(&[json!({"deleteSheet": {"sheetId": id}})]).unwrap();
    let error = one.exchange(&[]).unwrap_err();
    assert!(error.text.contains("written again"), "{error}");
    one.exchange(&claims(a, 3, 1)).unwrap();
    assert_eq!(google.tab("lockside registry").0, id);
    let (mut two, _) = opened(&google);
    assert_eq!(two.exchange(&[]).unwrap().rows.len(), 4);
}

#[test]
fn what_a_person_does_to_a_log_is_told_and_nothing_is_skipped() {
    let edits = |id: u64| {
        let cell = |row: u64, value: serde_json::Value| {
            json!({"updateCells": {
                "start": {"sheetId": id, "rowIndex": row, "columnIndex": 3},
                "rows": [{"values": [{"userEnteredValue": value}]}],
                "fields": "userEnteredValue"}})
        };
        let rows = |kind: &str, start: u64, end: u64| {
            json!({kind: {"range":
                {"sheetId": id, "dimension": "ROWS", "startIndex": start, "endIndex": end}}})
        };
        vec![
            (cell(3, json!({"stringValue": "other"})), "row 4 "),
            (cell(3, json!({"numberValue": 7})), "row 4 "),
            (rows("deleteDimension", 3, 4), "row 4 "),
            (rows("insertDimension", 2, 3), "row 4 "),
            (rows("deleteDimension", 1, 2), "row 4 "),
            (json!({"deleteSheet": {"sheetId": id}}), ""),
        ]
    };
    for at in 0..6 {
        let google = Google::new();
        let (mut one, a) = opened(&google);
        let (mut two, b) = opened(&google);
        one.exchange(&claims(a, 2, 2)).unwrap();
        two.exchange(&[]).unwrap();
        let (edit, place) = edits(a).remove(at);
        google.0.edit(&[edit]).unwrap();
        let written = two.exchange(&claims(b, 2, 1)).unwrap_err();
        assert!(written.text.contains("restore") && written.text.contains(place), "{written}");
        assert!(written.text.contains("lockside log"), "{written}");
        let owner = one.exchange(&claims(a, 4, 1)).unwrap_err();
        assert!(owner.text.contains("restore") || owner.text.contains("restart"), "{owner}");
    }
}

#[test]
fn a_read_that_lags_loses_nothing() {
    // Its clock stands still but for what this test says, so a lag is exactly what it is.
    let google = Google::with(Options { manual_clock: true, ..Options::default() });
    let (mut one, a) = opened(&google);
    let (mut two, _) = opened(&google);
    two.exchange(&[]).unwrap();
    google.0.advance(Duration::from_secs(2));
    one.exchange(&claims(a, 2, 2)).unwrap();
    let lag = || Kind::Stale { by: Duration::from_secs(1) };
    google.breaks(Target::Reads, lag());
    assert_eq!(two.exchange(&[]).unwrap(), Seen::default());
    assert_eq!(two.exchange(&[]).unwrap().rows, claims(a, 2, 2));
    // Behind what this reader has seen.
    google.breaks(Target::Reads, lag());
    assert_eq!(two.exchange(&[]).unwrap_err().applied, Applied::No);
    assert_eq!(two.exchange(&[]).unwrap(), Seen::default());
    // Behind the ledger itself.
    google.breaks(Target::Reads, Kind::Stale { by: Duration::from_secs(50) });
    assert_eq!(two.exchange(&[]).unwrap_err().applied, Applied::No);
    assert_eq!(two.exchange(&[]).unwrap(), Seen::default());
}

#[test]
fn a_grid_grows_and_large_groups_go_in_parts() {
    let google = Google::new();
    let mut one = google.store();
    let a = one.open(&start()).unwrap();
    let own = claims(a, 2, 2_500);
    google.0.clear_journal();
    assert_eq!(one.exchange(&own).unwrap().rows.len(), 2_501);
    let large = google.0.journal().iter().map(|entry| entry.bytes_in).max().unwrap();
    assert!(large < 2_000_000, "{large}");
    let mut long = claim("long", "v");
    long.stored = vec![b'a'; 50_001].into();
    let refused = one.exchange(&[row(a, 2_502, Entry::Claim(long.clone()))]).unwrap_err();
    assert_eq!(refused.applied, Applied::No);
    assert!(refused.text.contains("50000"), "{refused}");
    long.stored = vec![b'a'; 50_000].into();
    let rows = [row(a, 2_502, Entry::Claim(long))];
    assert_eq!(one.exchange(&rows).unwrap().rows, rows);
}

#[test]
fn a_late_comer_is_asked_for_before_an_exchange_counts() {
    let google = Google::new();
    let (mut one, a) = opened(&google);
    one.exchange(&[]).unwrap();
    let (mut two, b) = opened(&google);
    two.exchange(&claims(b, 2, 1)).unwrap();
    let rows = one.exchange(&claims(a, 2, 1)).unwrap().rows;
    assert_eq!(rows.iter().filter(|row| row.at.log == b).count(), 2);
    // The call after which it counted was a write: reads may lag.
    let methods: Vec<_> = google.0.journal().iter().map(|entry| entry.write).collect();
    assert_eq!(methods.last(), Some(&Some(true)));
}

#[test]
fn of_two_exchanges_at_once_one_sees_the_other() {
    let google = Google::new();
    let (mut one, a) = opened(&google);
    let (mut two, b) = opened(&google);
    for round in 2..12 {
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| one.exchange(&claims(a, round, 1)).unwrap().rows);
            let second = scope.spawn(|| two.exchange(&claims(b, round, 1)).unwrap().rows);
            (first.join().unwrap(), second.join().unwrap())
        });
        let has = |rows: &[Row], log| rows.contains(&claims(log, round, 1)[0]);
        assert!(has(&first, b) || has(&second, a), "round {round}");
    }
    assert_eq!(one.exchange(&[]).unwrap().rows.len() + two.exchange(&[]).unwrap().rows.len(), 1);
}

#[test]
fn an_unknown_registration_leaves_an_empty_log() {
    let google = Google::new();
    let mut store = google.hasty();
    store.open(&start()).unwrap();
    google.breaks(Target::Writes, Kind::CutAfter);
    let mut second = google.hasty();
    let error = second.open(&start()).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError { applied: Applied::Unknown, .. })));
    let log = second.open(&start()).unwrap();
    let rows = second.exchange(&claims(log, 2, 1)).unwrap().rows;
    assert_eq!(rows.len(), 4, "three starts and a claim");
}

#[test]
fn all_calls_ask_for_spreadsheets_alone_and_tabs_are_as_they_should_be() {
    let google = Google::new();
    let (_one, log) = opened(&google);
    let tabs = google.0.tabs();
    let tab = tabs.iter().find(|tab| tab["sheetId"] == log).unwrap();
    assert_eq!(tab["title"], format!("lockside log {log}"));
    assert_eq!((&tab["hidden"], &tab["gridProperties"]["columnCount"]), (&json!(true), &json!(5)));
    assert!((1 << 20..1 << 31).contains(&log));
    let narrow = google.0.token(&[auth::SCOPE]);
    let mut store = google.hasty_with(|s| s.credentials = Credentials::Token(narrow));
    assert!(store.open(&start()).is_ok(), "the scope of spreadsheets is enough");
}
