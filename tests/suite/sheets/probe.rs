//! `lockside check --probe`: what it says of a sheet that is as it should be, and of one that is not; and
//! that nothing of it stays behind.

use std::time::Duration;

use emulated_sheets::{Fault, Kind, Latency, Target};

use super::check::run;
use super::outage::subject;
use super::{SOON, Sheet};
use crate::support::locks::wait_mode;
use crate::support::lockside::{command, direct};
use crate::support::process::{Process, directory, free_port};
use crate::support::{Redis, Settings, wait_until};

/// Calls without a pace that a test would feel.
const FREE: &str = "writes_a_minute = 60000\nreads_a_minute = 60000\n";
/// So that rounds are further apart than stale answers are behind.
const PACED: &str = "writes_a_minute = 400\nreads_a_minute = 60000\n";

fn probe(sheet: &Sheet, redis: &Redis, words: &[&str], lines: &str) -> (Option<i32>, String) {
    let words = [&["check", "--probe"], words].concat();
    run(sheet, redis, &words, &sheet.table(lines))
}

/// Titles of tabs that a probe has made.
fn tabs(sheet: &Sheet) -> Vec<String> {
    let titles = sheet.google.tabs().into_iter();
    let titles = titles.filter_map(|tab| tab["title"].as_str().map(str::to_owned));
    titles.filter(|title| title.contains("probe")).collect()
}

fn slow(write: u64) -> Option<Latency> {
    let (read, write) = (Duration::from_millis(5), Duration::from_millis(write));
    Some(Latency { read, write, spread: 0.2 })
}

#[test]
fn a_good_sheet_has_its_figures() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    sheet.google.set_latency(slow(40));
    let before = sheet.google.tabs();
    let (code, told) = probe(&sheet, &redis, &["--writers", "3", "--exchanges", "4"], FREE);
    assert_eq!(code, Some(0), "{told}");
    for words in [
        "probe: 3 writers with 4 exchanges each, with all of the quota, since no sidecar runs",
        "ok    of every two exchanges at least one saw the other: 48 pairs, ",
        "ok    all 12 acknowledged writes are there at the end, each at its place",
        "ok    12 of 12 writes were shown by the first read behind their acknowledgement; delay p50 0 ms",
        "ok    an exchange takes p50 ",
        "ok    a read takes p50 ",
        // Each exchange is one call, and is charged as one write.
        "ok    calls: exchanges 12 writes and 0 reads, looks ",
        "; 0 answers 429",
        "and its tabs are removed",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("48 pairs, 0 of them"), "{told}");
    assert_eq!(sheet.google.tabs(), before, "nothing is left behind, and nothing else is gone");
}

/// The property that `strict` rests on is gone: an answer has the own rows, and not what others have written
/// within a quarter of a second.
#[test]
fn a_sheet_whose_answers_are_behind_is_found_out() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    sheet.google.set_latency(slow(20));
    let stale = Kind::Stale { by: Duration::from_millis(250) };
    let batches = Target::Method("spreadsheets.batchUpdate".into());
    sheet.google.fault(Fault::chance(batches, 1.0, stale));
    let (code, told) = probe(&sheet, &redis, &["--exchanges", "3"], PACED);
    assert_eq!(code, Some(1), "{told}");
    let blind = told.lines().find(|line| line.contains("pairs of exchanges neither saw the other"));
    let blind = blind.unwrap_or_else(|| panic!("{told}"));
    assert!(blind.starts_with("fail  in "), "{blind}");
    assert!(
        blind.contains("guarantee = \"strict\" must not be used on this spreadsheet"),
        "{blind}"
    );
    assert_eq!(tabs(&sheet), [""; 0], "{told}");
}

/// Reads that are behind break no promise: how far is measured.
#[test]
fn reads_that_are_behind_are_measured() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let stale = Kind::Stale { by: Duration::from_millis(300) };
    let reads = Target::Method("spreadsheets.getByDataFilter".into());
    sheet.google.fault(Fault::chance(reads, 1.0, stale));
    // The tabs have to be there for a stale read, so they are made slowly.
    sheet.google.set_latency(slow(400));
    let (code, told) = probe(&sheet, &redis, &["--writers", "2", "--exchanges", "2"], FREE);
    assert_eq!(code, Some(0), "{told}");
    let line = told.lines().find(|line| line.contains("shown by the first read")).unwrap();
    let max = line.split("max ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let max: u64 = max.parse().unwrap();
    assert!((100..2_000).contains(&max), "{line}");
    assert!(!line.starts_with("ok    4 of 4"), "{line}");
    assert_eq!(tabs(&sheet), [""; 0], "{told}");
}

/// Answers that are lost and calls that are refused are made again, and told; nothing is lost by it.
#[test]
fn faults_are_told_and_are_no_violation() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    sheet.google.set_latency(slow(20));
    let batches = Target::Method("spreadsheets.batchUpdate".into());
    for kind in [Kind::CutAfter, Kind::Status { code: 429, applied: false }] {
        let on = batches.clone();
        sheet.google.fault(Fault { on, times: Some(5), chance: 0.3, kind });
    }
    // No answer within the time, and written later all the same.
    let late = Kind::Late { after: Duration::from_millis(800) };
    sheet.google.fault(Fault { on: batches, times: Some(2), chance: 0.2, kind: late });
    let lines = format!("{FREE}call_timeout = \"500ms\"\n");
    let (code, told) = probe(&sheet, &redis, &["--writers", "4", "--exchanges", "6"], &lines);
    assert_eq!(code, Some(0), "{told}");
    for words in [
        "ok    of every two exchanges at least one saw the other: 216 pairs",
        "ok    all 24 acknowledged writes are there at the end",
        "warn  Google refused 5 calls, the first of them a write, without a Retry-After: Google's quota",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(tabs(&sheet), [""; 0], "{told}");
}

/// A sheet that goes away in the middle: it is said, and what can't be removed goes with the next one.
#[test]
fn a_sheet_that_goes_away_is_told() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let account = sheet.google.account(1);
    let mut process = started(&sheet, &redis, "200");
    sheet.google.share(&account, "reader");
    wait_until("it ends", || process.exit_code().is_some());
    let (code, told) = (process.exit_code(), process.output());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("fail  4 writers could not go on: "), "{told}");
    assert!(told.contains("warn  probe: tabs of it may be left"), "{told}");
    sheet.google.share(&account, "editor");
    let (code, told) = probe(&sheet, &redis, &["--writers", "2", "--exchanges", "1"], FREE);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(tabs(&sheet), [""; 0], "{told}");
}

/// While a sidecar serves from the sheet: a sixth of the quota, and its ledger is untouched.
#[test]
fn a_running_sidecar_is_not_disturbed() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let Some(lockside) = subject(&redis, &sheet, SOON) else { return };
    wait_mode(lockside.port(), "healthy");
    // It makes the tab for people, and the sieve beside it, when it is serving.
    wait_until("all its tabs are made", || {
        let tabs = sheet.google.tabs();
        tabs.iter().any(|tab| tab["title"].as_str().is_some_and(|title| title.contains("sieve")))
    });
    let own = sheet.google.tabs();
    let quota = "writes_a_minute = 3600\nreads_a_minute = 3600\n";
    let (code, told) = probe(&sheet, &redis, &["--writers", "2", "--exchanges", "10"], quota);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("with a sixth of the quota, since 1 sidecars may run"), "{told}");
    assert_eq!(sheet.google.tabs(), own, "{told}");
    wait_mode(lockside.port(), "healthy");
}

/// However long a stretch of time: no more writes in it than its gate lets through.
#[test]
fn the_quota_is_kept() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let words = ["--writers", "3", "--exchanges", "6"];
    let (code, told) =
        probe(&sheet, &redis, &words, "writes_a_minute = 240\nreads_a_minute = 240\n");
    assert_eq!(code, Some(0), "{told}");
    let journal = sheet.google.journal();
    for kind in [true, false] {
        let calls = journal.iter().filter(|call| call.write == Some(kind));
        let at: Vec<f64> = calls.map(|call| call.at.as_secs_f64()).collect();
        assert!(at.len() > 18, "{kind}: {}", at.len());
        for (first, began) in at.iter().enumerate() {
            for (last, ended) in at.iter().enumerate().skip(first) {
                // 240 a minute, 3 at once; calls before the probe have a gate of their own (5 at once).
                let most = 3.0 + 5.0 + (ended - began) * 4.1;
                let made = (last + 1 - first) as f64;
                assert!(made <= most, "{kind}: {made} calls in {} s", ended - began);
            }
        }
    }
}

/// A probe as a process of its own, which goes on for long.
fn started(sheet: &Sheet, redis: &Redis, exchanges: &str) -> Process {
    let folder = directory("probe");
    let file = folder.path().join("l.toml");
    let tables = sheet.table(PACED);
    let settings = Settings { tables: &tables, ..Settings::default() };
    std::fs::write(&file, settings.text(free_port(), &redis.url())).unwrap();
    let mut command = command();
    command.args(["check", "--probe", "--exchanges", exchanges, "--config"]).arg(&file);
    command.env("LOCKSIDE_STATE_DIR", folder.path());
    let process = Process::start_in("probe", &mut command, folder.into());
    wait_until("exchanges are made", || {
        let logs = tabs(sheet).into_iter().filter(|title| title.contains(" log "));
        let rows = logs.map(|log| sheet.google.look(&format!("'{log}'!A3:A")).unwrap().len());
        rows.sum::<usize>() > 4
    });
    process
}

#[test]
fn its_tabs_go_when_it_is_stopped_and_with_the_next_one_when_it_was_killed() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let before = sheet.google.tabs();
    for signal in ["TERM", "INT"] {
        let mut stopped = started(&sheet, &redis, "200");
        stopped.signal(signal);
        wait_until("it ends", || stopped.exit_code().is_some());
        let (code, told) = (stopped.exit_code(), stopped.output());
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("fail  probe: not finished, "), "{told}");
        assert!(told.contains("it was told to stop"), "{told}");
        assert_eq!(sheet.google.tabs(), before, "{told}");
    }
    drop(started(&sheet, &redis, "200"));
    assert!(!tabs(&sheet).is_empty());
    // A person's own tab stays.
    let own = serde_json::json!({"addSheet": {"properties": {"title": "lockside probe notes"}}});
    sheet.google.edit(&[own]).unwrap();
    let (code, told) = probe(&sheet, &redis, &["--writers", "2", "--exchanges", "1"], FREE);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("ok    probe: 6 tabs of an earlier probe were removed"), "{told}");
    assert_eq!(tabs(&sheet), ["lockside probe notes"], "{told}");
}

#[test]
fn its_tabs_go_when_the_time_is_over() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let few = "writes_a_minute = 60\nreads_a_minute = 6000\n";
    let words = ["--writers", "2", "--exchanges", "200", "--time-limit", "10s"];
    let (code, told) = probe(&sheet, &redis, &words, few);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("not all will be made, ask for fewer --exchanges"), "{told}");
    assert!(told.contains("its time limit of 10 s is over"), "{told}");
    assert!(told.contains("of every two exchanges at least one saw the other"), "{told}");
    assert_eq!(tabs(&sheet), [""; 0], "{told}");
}

#[test]
fn misuse_is_said() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let folder = directory("probe");
    let told = |words: &[&str]| {
        let mut command = command();
        command.args(words).args(["--upstream", &redis.url()]);
        command.env("LOCKSIDE_STATE_DIR", folder.path());
        let output = command.output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), told)
    };
    let (code, words) = told(&["check", "--probe"]);
    assert_eq!(code, Some(64), "{words}");
    assert!(words.starts_with(
        "--probe measures a ledger in a Google spreadsheet, and this one is the SQLite"
    ));
    for wrong in [
        &["check", "--probe", "--writers", "1"][..],
        &["check", "--probe", "--exchanges", "0"],
        &["check", "--probe", "--time-limit", "2h"],
        &["check", "--writers", "3"],
    ] {
        assert_eq!(told(wrong).0, Some(64), "{wrong:?}");
    }
    let help = command().args(["check", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in ["--probe", "--writers <N>", "--exchanges <M>", "--time-limit <TIME>"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
}

/// A row that was acknowledged is gone at the end.
#[test]
fn a_write_that_is_lost_is_found_out() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let mut process = started(&sheet, &redis, "10");
    let mut tabs_now = sheet.google.tabs().into_iter();
    let log = tabs_now.find(|tab| tab["title"].as_str().unwrap().contains(" log ")).unwrap();
    let title = log["title"].as_str().unwrap().to_owned();
    // All have read on from the third row by then.
    wait_until("it has more rows", || {
        sheet.google.look(&format!("'{title}'!A2:A")).unwrap().len() > 4
    });
    let range = serde_json::json!({
        "sheetId": log["sheetId"], "startRowIndex": 2, "endRowIndex": 3
    });
    let clear = serde_json::json!({"updateCells": {"range": range, "fields": "*"}});
    sheet.google.edit(&[clear]).unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    let (code, told) = (process.exit_code(), process.output());
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("fail  what was written is not there as it was: row 3 of the tab"),
        "{told}"
    );
    assert_eq!(tabs(&sheet), [""; 0], "{told}");
}
