//! The tab that people look at, on an emulated Google, with people in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use emulated_sheets::{Act, Fault, Kind, Target};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::faults::Jumps;
use super::*;
use crate::config::Projection;
use crate::config::projection::MissingRow;
use crate::ledger::entry::{Cause, Claim, Entry, Position};
use crate::ledger::fold::Fold;
use crate::ledger::sheets::projection::Setup;
use crate::ledger::testing::{at, claim, key, start};

mod busy;
mod stale;
mod undecided;

const LONG: Duration = Duration::from_secs(30);
const FREE: &str = "DISPONIBLE";
/// 23 November 2026, 14:12:20 in UTC.
const NOW: u64 = 1_795_443_140_000;
const SINCE: &str = "23-11-2026 11:12:20";
/// The tab that every spreadsheet has.
const TAB: i64 = 0;

/// One sidecar and its business tab.
struct Desk {
    google: Google,
    store: Sheets,
    fold: Fold,
    log: u64,
    seq: u64,
    now_ms: u64,
    is_changed: bool,
    /// It was given the state of a checkpoint.
    has_begun_anew: bool,
}

pub(super) fn business() -> Projection {
    Projection {
        tab: "Bodega".into(),
        key_column: "TAG_SPOOL".into(),
        holder_column: "Ocupado_Por".into(),
        since_column: "Fecha_Ocupacion".into(),
        key: "spool_lock:{key}".into(),
        free: FREE.into(),
        time_zone: Some(TimeZone::get("America/Santiago").unwrap()),
        ..Projection::default()
    }
}

pub(super) fn a_tab(google: &Google, rows: &[[&str; 4]]) {
    let properties = json!({"sheetId": TAB, "title": "Bodega"});
    let rename = json!({"updateSheetProperties": {"properties": properties, "fields": "title"}});
    let more =
        json!({"appendDimension": {"sheetId": TAB, "dimension": "ROWS", "length": rows.len() + 1}});
    google.0.edit(&[rename, more]).unwrap();
    let header = ["TAG_SPOOL", "Ocupado_Por", "Fecha_Ocupacion", "Nota"];
    let rows: Vec<Value> = [header].iter().chain(rows).map(|row| cells(row)).collect();
    let update = json!({"updateCells": {
        "start": {"sheetId": TAB}, "rows": rows, "fields": "userEnteredValue",
    }});
    google.0.edit(&[update]).unwrap();
}

fn cells(row: &[&str]) -> Value {
    let cell = |text: &&str| match *text {
        "" => json!({}),
        text => json!({"userEnteredValue": {"stringValue": text}}),
    };
    json!({"values": row.iter().map(cell).collect::<Vec<_>>()})
}

/// What people see of a tab; its title may have changed.
pub(super) fn shown(google: &Google, tab: i64) -> Vec<Vec<String>> {
    let tabs = google.0.tabs();
    let found = tabs.iter().find(|known| known["sheetId"].as_i64() == Some(tab)).unwrap();
    let title = found["title"].as_str().unwrap().replace('\'', "''");
    google.0.look(&format!("'{title}'!A1:Z")).unwrap()
}

pub(super) fn cell(rows: &[Vec<String>], row: usize, column: usize) -> &str {
    rows.get(row).and_then(|row| row.get(column)).map_or("", String::as_str)
}

pub(super) fn held(name: &str, worker: &str) -> Claim {
    let value = format!("{worker}:550e8400-e29b-41d4-a716-446655440000:23-11-2026 11:12:20");
    Claim { at_ms: NOW, ..claim(&format!("spool_lock:{name}"), &value) }
}

impl Desk {
    fn new(google: Google, projection: Projection) -> Self {
        Self::under(google, projection, |_| {})
    }

    fn under(google: Google, projection: Projection, change: impl Fn(&mut Settings)) -> Self {
        let mut settings = google.settings();
        change(&mut settings);
        let store = Sheets::with_pace(settings, Box::new(Jumps::default()));
        let mut store = store.with_projection(Setup {
            projection,
            time_zone: TimeZone::UTC,
            mirror_interval: Duration::ZERO,
            poll: Duration::ZERO,
            rule: Box::new(|_| Some("spools".into())),
        });
        let log = store.open(&start()).unwrap();
        let fold = Fold::unordered();
        let mut desk = Self {
            google,
            store,
            fold,
            log,
            seq: 1,
            now_ms: NOW,
            is_changed: false,
            has_begun_anew: false,
        };
        desk.write([Entry::Healthy("run".into())]);
        desk
    }

    /// Where the entry will be.
    fn next(&self) -> u64 {
        self.seq + 1
    }

    fn write(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let rows: Vec<Row> = entries
            .into_iter()
            .map(|entry| {
                self.seq += 1;
                Row { at: at(self.log, self.seq), entry }
            })
            .collect();
        let seen = (0..20).find_map(|_| self.store.exchange(&rows).ok());
        let seen = seen.expect("the emulator answers in the end");
        if let Some(snapshot) = seen.snapshot {
            self.fold = Fold::from(snapshot);
            self.has_begun_anew = true;
        }
        for row in seen.rows {
            self.fold.apply(&row);
        }
        self.is_changed = true;
    }

    fn grant(&mut self, name: &str, worker: &str) -> Position {
        let place = at(self.log, self.next());
        self.write([Entry::Grant(held(name, worker), place.seq)]);
        place
    }

    fn release(&mut self, name: &str, claim: Position) {
        let key = key(&format!("spool_lock:{name}"));
        self.write([Entry::Release { key, claim, cause: Cause::Client, at_ms: NOW }]);
    }

    fn try_project(&mut self, is_idle: bool) -> Result<Vec<Ask>, StoreError> {
        self.store.project(&Truth {
            fold: &self.fold,
            log: self.log,
            is_first: true,
            living: &BTreeSet::from([self.log]),
            is_changed: std::mem::take(&mut self.is_changed),
            is_idle,
            now_ms: self.now_ms,
        })
    }

    fn project(&mut self) -> Vec<Ask> {
        self.try_project(true).unwrap()
    }

    fn shown(&self) -> Vec<Vec<String>> {
        shown(&self.google, TAB)
    }

    /// Rows as people see them, without the header.
    fn rows(&self) -> Vec<String> {
        self.shown().iter().skip(1).map(|row| row.join("|")).collect()
    }

    /// The holder that the ledger has for a key's cell.
    fn truth(&self, name: &str) -> String {
        let holder = self.fold.holder(&key(&format!("spool_lock:{name}")));
        let worker = |stored: &[u8]| {
            String::from_utf8_lossy(stored).split(':').next().unwrap_or_default().to_owned()
        };
        holder.map_or(FREE.into(), |holder| worker(&holder.claim.stored))
    }
}

fn three() -> Desk {
    let google = Google::new();
    a_tab(
        &google,
        &[["MK-1", FREE, "", "a"], ["MK-2", "disponible ", "", "b"], ["MK-3", "", "", "c"]],
    );
    Desk::new(google, business())
}

#[test]
fn the_column_says_who_holds_what() {
    let mut desk = three();
    assert_eq!(desk.project(), []);
    assert_eq!(desk.rows(), ["MK-1|DISPONIBLE||a", "MK-2|disponible ||b", "MK-3|||c"]);
    let one = desk.grant("MK-1", "93");
    desk.grant("MK-3", "94");
    desk.grant("not-here", "95");
    desk.project();
    let said = format!("MK-1|93|{SINCE}|a");
    assert_eq!(desk.rows(), [said, "MK-2|disponible ||b".into(), format!("MK-3|94|{SINCE}|c")]);
    desk.release("MK-1", one);
    desk.project();
    assert_eq!(desk.rows()[0], "MK-1|DISPONIBLE||a");
}

#[test]
fn cells_are_text_and_what_does_not_differ_is_not_written() {
    let mut desk = three();
    desk.grant("MK-1", "=1+1");
    desk.project();
    assert_eq!(cell(&desk.shown(), 1, 1), "=1+1");
    desk.google.0.clear_journal();
    (0..3).for_each(|_| drop(desk.project()));
    assert!(desk.google.0.journal().iter().all(|call| call.write == Some(false)));
}

#[test]
fn rows_ride_along_with_a_group() {
    let mut desk = three();
    desk.project();
    desk.grant("MK-1", "93");
    desk.google.0.clear_journal();
    desk.try_project(false).unwrap();
    assert_eq!(desk.rows()[0], "MK-1|DISPONIBLE||a");
    desk.write([Entry::Heartbeat]);
    assert_eq!(desk.rows()[0], format!("MK-1|93|{SINCE}|a"));
    let writes = desk.google.0.journal().iter().filter(|call| call.write == Some(true)).count();
    assert_eq!(writes, 1);
    // No group comes: then by themselves.
    desk.grant("MK-3", "94");
    desk.try_project(false).unwrap();
    assert_eq!(desk.rows()[2], "MK-3|||c");
    desk.project();
    assert_eq!(desk.rows()[2], format!("MK-3|94|{SINCE}|c"));
    // Neither is written again.
    desk.google.0.clear_journal();
    desk.project();
    assert!(desk.google.0.journal().iter().all(|call| call.write == Some(false)));
}

/// Between the reading and the write somebody does anything at all, columns included. What the write has
/// changed then stands in rows of the right key and says what the ledger says.
#[test]
fn nothing_is_written_into_a_wrong_row() {
    let mut landed = 0;
    for seed in 0..60 {
        let google = Google::new();
        let names: Vec<_> = (0..8).map(|n| format!("MK-{n}")).collect();
        let rows: Vec<_> = names.iter().map(|name| [name.as_str(), FREE, "", "n"]).collect();
        a_tab(&google, &rows);
        let mut desk = Desk::new(google, business());
        desk.project();
        for (number, name) in names.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
            desk.grant(name, &format!("{}", 90 + number));
        }
        desk.try_project(false).unwrap();
        desk.google.0.person(&Act::ALL, Duration::ZERO, seed);
        desk.google.0.person_acts(usize::try_from(seed % 4).unwrap());
        let lines = |dimension: &str, from: u64| json!({"sheetId": TAB, "dimension": dimension, "startIndex": from, "endIndex": from + 1});
        let column = match seed % 5 {
            0 => Some(json!({"insertDimension": {"range": lines("COLUMNS", seed / 5 % 4)}})),
            1 => Some(json!({"moveDimension": {
                "source": lines("COLUMNS", seed / 5 % 4), "destinationIndex": 4 - seed / 5 % 2 * 4,
            }})),
            2 => Some(json!({"deleteDimension": {"range": lines("COLUMNS", seed / 5 % 3)}})),
            _ => None,
        };
        column.into_iter().for_each(|edit| drop(desk.google.0.edit(&[edit]).unwrap()));
        let before = desk.shown();
        desk.write([Entry::Heartbeat]);
        landed += check(&desk, &before, seed);
        // What could not be written is, as long as the columns are there; and still in no wrong row.
        for _ in 0..3 {
            let before = desk.shown();
            let _ = desk.try_project(true);
            check(&desk, &before, seed);
        }
    }
    assert!(landed > 40, "{landed}");
}

/// Compares the tab with how it was before a write; how many cells were written.
fn check(desk: &Desk, before: &[Vec<String>], seed: u64) -> usize {
    let after = desk.shown();
    let header = &after[0];
    let column = |name: &str| header.iter().position(|cell| cell == name);
    let mut changes = 0;
    for row in 0..before.len().max(after.len()) {
        for at in 0..before.iter().chain(&after).map(Vec::len).max().unwrap_or_default() {
            let (old, new) = (cell(before, row, at), cell(&after, row, at));
            if old == new {
                continue;
            }
            changes += 1;
            let place = format!("seed {seed}, row {row}, column {at}: {old:?} became {new:?}");
            assert!(row > 0, "{place}");
            let named = column("TAG_SPOOL").map(|key| cell(before, row, key).trim());
            let name = named.unwrap_or_else(|| panic!("no column of keys, {place}"));
            let truth = desk.truth(name);
            match Some(at) {
                at if at == column("Ocupado_Por") => assert_eq!(new, truth, "{place}"),
                at if at == column("Fecha_Ocupacion") => {
                    assert_eq!(new, if truth == FREE { "" } else { SINCE }, "{place}");
                }
                _ => panic!("{place}"),
            }
        }
    }
    changes
}

/// Somebody works in the tab all the time. When they have gone the column is right, whatever they have left.
#[test]
fn the_column_is_right_when_people_have_gone() {
    for seed in 0..6 {
        let google = Google::new();
        let names: Vec<_> = (0..12).map(|n| format!("MK-{n}")).collect();
        let rows: Vec<_> = names.iter().map(|name| [name.as_str(), FREE, "", "n"]).collect();
        a_tab(&google, &rows);
        let mut desk = Desk::new(google, business());
        desk.google.0.person(&Act::ALL, Duration::from_millis(4), seed);
        let mut held = BTreeMap::new();
        for turn in 0..40_usize {
            let name = &names[turn * 7 % names.len()];
            match held.remove(name) {
                Some(claim) => desk.release(name, claim),
                None => drop(held.insert(name, desk.grant(name, &format!("{}", 10 + turn)))),
            }
            let _ = desk.try_project(turn % 3 == 0);
        }
        desk.google.0.person_leaves();
        for _ in 0..25 {
            let _ = desk.try_project(true);
        }
        for row in desk.shown().iter().skip(1) {
            let [key, holder] = [0, 1].map(|at| row.get(at).map_or("", |cell| cell.trim()));
            let truth = desk.truth(key);
            let is_free = holder.is_empty() || holder.to_lowercase() == FREE.to_lowercase();
            let is_right = if truth == FREE { key.is_empty() || is_free } else { holder == truth };
            assert!(is_right, "seed {seed}: {row:?}, and the ledger says {truth}");
        }
    }
}

#[test]
fn a_word_written_in_the_moment_between_stays() {
    let mut desk = three();
    desk.project();
    desk.grant("MK-1", "93");
    desk.try_project(false).unwrap();
    desk.google.0.type_in("Bodega!B2", &[vec![json!("Juan")]]).unwrap();
    desk.write([Entry::Heartbeat]);
    assert_eq!(cell(&desk.shown(), 1, 1), "Juan");
}

#[test]
fn a_cleared_cell_releases_and_a_moved_one_does_not() {
    let mut desk = three();
    let place = desk.grant("MK-1", "93");
    // Written, and seen.
    (0..2).for_each(|_| drop(desk.project()));
    desk.google.0.type_in("Bodega!B2", &[vec![json!("disponible ")]]).unwrap();
    assert_eq!(desk.project(), []);
    let released = Ask::Release(key("spool_lock:MK-1"), place, Cause::Sheet);
    assert_eq!(desk.project(), [released]);
    assert_eq!(cell(&desk.shown(), 1, 1), "disponible ");
    // The time of the hold goes as well.
    desk.release("MK-1", place);
    desk.project();
    assert_eq!(desk.rows()[0], "MK-1|DISPONIBLE||a");

    let mut desk = three();
    desk.grant("MK-1", "93");
    (0..2).for_each(|_| drop(desk.project()));
    let cut = json!({"cutPaste": {
        "source": {"sheetId": TAB, "startRowIndex": 1, "endRowIndex": 2, "startColumnIndex": 1, "endColumnIndex": 3},
        "destination": {"sheetId": TAB, "rowIndex": 2, "columnIndex": 1},
    }});
    desk.google.0.edit(&[cut]).unwrap();
    for _ in 0..4 {
        assert_eq!(desk.project(), []);
    }
    assert_eq!(desk.rows()[..2], [format!("MK-1|93|{SINCE}|a"), "MK-2|DISPONIBLE||b".into()]);
}

/// Readings that show the tab as it was before the lock was taken, or while it was held, though writes
/// show what is: neither releases nor claims.
#[test]
fn a_reading_that_lags_is_no_word() {
    let google = Google::with(Options { manual_clock: true, ..Options::default() });
    a_tab(&google, &[["MK-1", FREE, "", "a"]]);
    let mut desk = Desk::new(google, business());
    desk.google.0.advance(Duration::from_secs(20));
    desk.project();
    let place = desk.grant("MK-1", "93");
    (0..2).for_each(|_| drop(desk.project()));
    assert_eq!(cell(&desk.shown(), 1, 1), "93");
    let lag = |desk: &Desk| {
        desk.google.0.advance(Duration::from_secs(5));
        desk.google.0.clear_faults();
        let stale = Kind::Stale { by: Duration::from_secs(10) };
        desk.google.0.fault(Fault { on: Target::Reads, times: None, chance: 1.0, kind: stale });
    };
    lag(&desk);
    for _ in 0..4 {
        assert_eq!(desk.project(), []);
    }
    assert_eq!(cell(&desk.shown(), 1, 1), "93");
    desk.google.0.clear_faults();
    desk.google.0.advance(Duration::from_secs(20));
    desk.write([Entry::Degraded]);
    desk.release("MK-1", place);
    desk.project();
    assert_eq!(cell(&desk.shown(), 1, 1), FREE);
    lag(&desk);
    for _ in 0..4 {
        assert_eq!(desk.project(), []);
    }
    assert_eq!(cell(&desk.shown(), 1, 1), FREE);
}

#[test]
fn a_filled_cell_is_claimed_while_redis_is_away() {
    let mut desk = three();
    desk.project();
    desk.write([Entry::Degraded]);
    desk.google.0.type_in("Bodega!B3", &[vec![json!("Juan")]]).unwrap();
    let asks = desk.project();
    let [Ask::Claim(claim)] = &asks[..] else { panic!("{asks:?}") };
    assert_eq!((&claim.key, &*claim.rule), (&key("spool_lock:MK-2"), "spools"));
    let seq = desk.next();
    let claim = Claim { at_ms: NOW, ..claim.clone() };
    desk.write([Entry::Grant(claim, seq)]);
    desk.project();
    assert_eq!(desk.rows()[1], format!("MK-2|Juan|{SINCE}|b"));
    // Its end is told to people.
    desk.release("MK-2", at(desk.log, seq));
    desk.project();
    assert_eq!(desk.rows()[1], "MK-2|DISPONIBLE||b");
}

#[test]
fn a_missing_header_is_told_and_nothing_is_written() {
    let mut desk = three();
    desk.project();
    desk.grant("MK-1", "93");
    desk.google.0.type_in("Bodega!B1", &[vec![json!("Quien")]]).unwrap();
    let before = desk.shown();
    let error = desk.try_project(true).unwrap_err();
    assert!(error.text.contains("\"Ocupado_Por\"") && error.text.contains("\"Quien\""), "{error}");
    assert_eq!(desk.shown(), before);
    // The ledger goes on, and so do cells when the header is back.
    desk.write([Entry::Heartbeat]);
    desk.google.0.type_in("Bodega!B1", &[vec![json!("Ocupado_Por")]]).unwrap();
    desk.project();
    assert_eq!(desk.rows()[0], format!("MK-1|93|{SINCE}|a"));
}

#[test]
fn a_renamed_tab_is_found_and_one_that_is_not_there_is_told() {
    let mut desk = three();
    desk.project();
    let google = desk.google.clone();
    let properties = json!({"sheetId": TAB, "title": "Otra 'hoja' #1"});
    let rename = json!({"updateSheetProperties": {"properties": properties, "fields": "title"}});
    google.0.edit(&[rename]).unwrap();
    desk.grant("MK-1", "93");
    desk.project();
    assert_eq!(cell(&desk.shown(), 1, 1), "93");
    // The next run finds it too.
    let mut next = Desk::new(google, business());
    next.write([]);
    next.project();
    assert_eq!(next.shown().len(), 4);

    let mut desk = Desk::new(Google::new(), business());
    let error = desk.try_project(true).unwrap_err();
    assert!(error.text.contains("\"Bodega\"") && error.text.contains("\"Sheet1\""), "{error}");
}

#[test]
fn missing_rows_are_added_once_in_rows_of_their_own() {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"], ["", "", "", "Total: 1"]]);
    let mut desk = Desk::new(google, Projection { missing_row: MissingRow::Add, ..business() });
    desk.project();
    desk.grant("MK-8", "93");
    desk.grant("MK-9", "94");
    (0..3).for_each(|_| drop(desk.project()));
    let added = |name: &str, worker: &str| format!("{name}|{worker}|{SINCE}");
    let rows = desk.rows();
    let expected = ["MK-1|DISPONIBLE||a".into(), added("MK-8", "93"), added("MK-9", "94")];
    assert_eq!((&rows[..3], rows[3].as_str()), (&expected[..], "|||Total: 1"));
    assert_eq!(rows.len(), 4);
}

#[test]
fn lockside_keeps_a_tab_of_its_own_where_none_is_configured() {
    let mut desk = Desk::new(Google::new(), Projection::default());
    let one = desk.grant("a", "93");
    let own = |desk: &Desk| -> Vec<String> {
        let shown = desk.google.0.look("Locks!A1:D").unwrap();
        shown.iter().map(|row| row.join("|")).collect()
    };
    (0..2).for_each(|_| drop(desk.project()));
    assert_eq!(
        own(&desk),
        ["Key|Holder|Since|Origin", "spool_lock:a|93|23-11-2026 14:12:20|redis"]
    );
    desk.release("a", one);
    (0..2).for_each(|_| drop(desk.project()));
    assert_eq!(own(&desk)[1], "spool_lock:a|free");
    // Its row is the next one's.
    desk.grant("b", "94");
    (0..2).for_each(|_| drop(desk.project()));
    assert_eq!(own(&desk)[1..], ["spool_lock:b|94|23-11-2026 14:12:20|redis"]);
}

/// Leaves the tab so many rows.
fn cut_off(google: &Google, rows: usize) {
    let range = json!({"sheetId": TAB, "dimension": "ROWS", "startIndex": rows});
    google.0.edit(&[json!({"deleteDimension": {"range": range}})]).unwrap();
}

#[test]
fn a_full_grid_and_one_with_a_header_alone_take_new_rows() {
    let adds = || Projection { missing_row: MissingRow::Add, ..business() };
    for rows in [&[["MK-1", FREE, "", "a"]][..], &[]] {
        let google = Google::new();
        a_tab(&google, rows);
        cut_off(&google, rows.len() + 1);
        let mut desk = Desk::new(google, adds());
        desk.grant("MK-8", "93");
        (0..2).for_each(|_| drop(desk.project()));
        assert_eq!(desk.rows()[rows.len()], format!("MK-8|93|{SINCE}"));
        // People take all rows away; the next one comes all the same.
        cut_off(&desk.google, 1);
        desk.now_ms += 1;
        let _ = desk.try_project(true);
        let _ = desk.try_project(true);
        assert!(desk.rows().is_empty());
        desk.grant("MK-9", "94");
        (0..3).for_each(|_| drop(desk.try_project(true)));
        assert!(desk.rows().contains(&format!("MK-9|94|{SINCE}")), "{:?}", desk.rows());
    }
}

#[test]
fn what_another_run_has_left_in_a_cell_is_no_word() {
    let mut desk = three();
    let place = desk.grant("MK-1", "93");
    desk.project();
    desk.release("MK-1", place);
    let mut next = Desk::new(desk.google.clone(), business());
    assert_eq!(cell(&next.shown(), 1, 1), "93");
    for _ in 0..3 {
        assert_eq!(next.project(), []);
    }
    assert_eq!(cell(&next.shown(), 1, 1), FREE);
}

#[test]
fn names_come_from_the_look_up_tab() {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"]]);
    let add = json!({"addSheet": {"properties": {"sheetId": 77, "title": "Trabajadores"}}});
    let rows = [cells(&["Nombre", "Id"]), cells(&["MR(93)", "93"])];
    let fill = json!({"updateCells": {"start": {"sheetId": 77}, "rows": rows, "fields": "userEnteredValue"}});
    google.0.edit(&[add, fill]).unwrap();
    let mut desk = Desk::new(
        google,
        Projection {
            lookup_tab: "Trabajadores".into(),
            lookup_name: "Nombre".into(),
            ..business()
        },
    );
    desk.grant("MK-1", "93");
    desk.project();
    assert_eq!(cell(&desk.shown(), 1, 1), "MR(93)");
}

/// Every way in which a write may fail: cells are right in the end, and only then.
#[test]
fn whatever_goes_wrong_cells_are_right_in_the_end() {
    let kinds = [
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::Status { code: 503, applied: true },
        Kind::Status { code: 429, applied: false },
        Kind::Page { code: 500, applied: true },
        Kind::CutBody { bytes: 3 },
        Kind::Late { after: Duration::from_millis(900) },
    ];
    for (kind, is_idle) in kinds.into_iter().flat_map(|kind| [(kind.clone(), true), (kind, false)])
    {
        let google = Google::new();
        a_tab(&google, &[["MK-1", FREE, "", "a"], ["MK-2", FREE, "", "b"]]);
        let mut desk = Desk::under(google, business(), |settings| {
            settings.call_timeout = Duration::from_millis(500);
        });
        // A busy machine may be too slow for a call.
        let read = (0..20).find_map(|_| desk.try_project(true).ok());
        assert_eq!(read, Some(Vec::new()));
        let one = desk.grant("MK-1", "93");
        // By a batch of its own, or by the group's.
        let _ = if is_idle { Ok(Vec::new()) } else { desk.try_project(false) };
        desk.google.0.fault(Fault::next(Target::Writes, kind.clone()));
        let _ = if is_idle { desk.try_project(true) } else { Ok(Vec::new()) };
        desk.release("MK-1", one);
        desk.grant("MK-2", "94");
        let is_right = |desk: &Desk| {
            desk.rows() == ["MK-1|DISPONIBLE||a".into(), format!("MK-2|94|{SINCE}|b")]
        };
        let mut rights = 0;
        // A late write comes after they were right.
        let late = if matches!(kind, Kind::Late { .. }) { 1_500 } else { 100 };
        let end = Instant::now() + Duration::from_millis(late);
        while Instant::now() < end || rights == 0 && Instant::now() < end + LONG {
            let _ = desk.try_project(true);
            rights = if is_right(&desk) { rights + 1 } else { 0 };
        }
        assert!(rights > 0, "{kind:?}: {:?}", desk.rows());
    }
}

#[test]
fn a_batch_that_google_refuses_is_the_ledgers_without_the_cells() {
    let mut desk = three();
    desk.project();
    desk.grant("MK-1", "93");
    desk.try_project(false).unwrap();
    // The hidden tab is gone.
    let tabs = desk.google.0.tabs();
    let sieve = tabs.iter().find(|tab| tab["title"].as_str().unwrap().contains("sieve")).unwrap();
    desk.google.0.edit(&[json!({"deleteSheet": {"sheetId": sieve["sheetId"]}})]).unwrap();
    let place = desk.grant("MK-2", "94");
    assert!(desk.fold.holder(&key("spool_lock:MK-2")).is_some_and(|holder| holder.at == place));
    (0..3).for_each(|_| drop(desk.try_project(true)));
    let expected = [format!("MK-1|93|{SINCE}|a"), format!("MK-2|94|{SINCE}|b"), "MK-3|||c".into()];
    assert_eq!(desk.rows(), expected);
}

/// A row that Lockside may not write keeps neither the others nor the ledger from going on.
#[test]
fn a_protected_row_waits_and_the_others_do_not() {
    for is_idle in [true, false] {
        let mut desk = three();
        desk.project();
        let range = json!({"sheetId": TAB, "startRowIndex": 1, "endRowIndex": 2});
        let protected = json!({"range": range, "editors": {"users": []}});
        desk.google.0.edit(&[json!({"addProtectedRange": {"protectedRange": protected}})]).unwrap();
        desk.grant("MK-1", "93");
        desk.grant("MK-2", "94");
        desk.grant("MK-3", "95");
        for _ in 0..8 {
            let _ = desk.try_project(is_idle);
            desk.write([Entry::Heartbeat]);
        }
        let said = |name: &str, worker: &str, note: &str| format!("{name}|{worker}|{SINCE}|{note}");
        let expected =
            ["MK-1|DISPONIBLE||a".into(), said("MK-2", "94", "b"), said("MK-3", "95", "c")];
        assert_eq!(desk.rows(), expected, "idle: {is_idle}");
    }
}

#[test]
fn the_ledger_goes_first_when_calls_are_few() {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"]]);
    let mut desk = Desk::under(google, business(), |settings| {
        settings.quota = Quota { writes_a_minute: 60, reads_a_minute: 60, at_once: 1 };
        settings.patience = Duration::from_secs(60);
    });
    desk.grant("MK-1", "93");
    desk.google.0.clear_journal();
    assert_eq!(desk.project(), []);
    assert!(desk.google.0.journal().is_empty());
    assert_eq!(cell(&desk.shown(), 1, 1), FREE);
}

#[test]
fn keys_that_are_numbers_twice_or_odd_find_their_rows() {
    let google = Google::new();
    a_tab(&google, &[["mk-1", FREE, "", ""], ["MK-1 ", FREE, "", ""], ["MK-1", FREE, "", ""]]);
    google.0.type_in("Bodega!A5", &[vec![json!(1342), json!(FREE)]]).unwrap();
    let mut desk = Desk::new(google, business());
    desk.grant("MK-1", "93");
    desk.grant("1342", "94");
    desk.project();
    let rows = desk.rows();
    let expected = [
        "mk-1|DISPONIBLE".into(),
        format!("MK-1 |93|{SINCE}"),
        format!("MK-1|93|{SINCE}"),
        format!("1342|94|{SINCE}"),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_large_tab_is_brought_in_line_in_portions() {
    let google = Google::new();
    let names: Vec<_> = (0..20_000).map(|n| format!("MK-{n}")).collect();
    let rows: Vec<_> = names.iter().map(|name| [name.as_str(), FREE, "", ""]).collect();
    a_tab(&google, &rows);
    let mut desk = Desk::new(google, business());
    let entries = (0..250).map(|n| Entry::Grant(held(&names[n * 79], "93"), n as u64 + 1));
    desk.write(entries.collect::<Vec<_>>());
    for _ in 0..3 {
        desk.project();
    }
    let shown = desk.shown();
    let by_holder = shown.iter().skip(1).fold(BTreeMap::<&str, usize>::new(), |mut all, row| {
        *all.entry(row[1].as_str()).or_default() += 1;
        all
    });
    assert_eq!(by_holder, BTreeMap::from([("93", 250), (FREE, 19_750)]));
    assert!((0..250).all(|n| shown[n * 79 + 1][1] == "93"));
}
