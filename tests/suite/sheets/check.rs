//! What `lockside check` and `lockside ledger export` say of a sheet: each thing that is missing, with what
//! to do about it, and no key or token.

use emulated_sheets::{Fault, Kind, Target};

use super::outage::subject;
use super::{SOON, Sheet};
use crate::support::client::ask_until;
use crate::support::locks::{A, OK, take, wait_mode};
use crate::support::lockside::{command, direct};
use crate::support::process::{directory, free_port};
use crate::support::{Redis, Settings, wait_until};

/// The exit code and all that is said.
pub(super) fn run(
    sheet: &Sheet,
    redis: &Redis,
    words: &[&str],
    table: &str,
) -> (Option<i32>, String) {
    let folder = directory("check");
    let file = folder.path().join("l.toml");
    let settings = Settings { tables: table, ..Settings::default() };
    std::fs::write(&file, settings.text(free_port(), &redis.url())).unwrap();
    let mut command = command();
    command.args(words).arg("--config").arg(&file).env("LOCKSIDE_STATE_DIR", folder.path());
    let output = command.output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let key = sheet.google.key(1);
    let secret = key["private_key"].as_str().unwrap().lines().nth(1).unwrap();
    assert!(!told.contains(secret) && !told.contains("ya29"), "{told}");
    (output.status.code(), told)
}

fn check(sheet: &Sheet, redis: &Redis) -> (Option<i32>, String) {
    run(sheet, redis, &["check"], &sheet.table(""))
}

#[test]
fn a_sheet_that_fits() {
    if direct() {
        return;
    }
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let tabs = sheet.google.tabs().len();
    let (code, told) = check(&sheet, &redis);
    assert_eq!(code, Some(0), "{told}");
    let account = sheet.google.account(1);
    for line in [
        &format!("ok    {account} reads the spreadsheet {}", sheet.google.spreadsheet_id()),
        "ok    the ledger lockside will be made in it, in hidden tabs",
        &format!("ok    {account} may write it ("),
        "ok    an acquire that the sheet decides takes ",
        "Jedis 2s, go-redis and Redisson 3s, StackExchange.Redis 5s, Lettuce 1m",
        "ok    guarantee fast: Redis decides while all is calm; a loss of it may overturn grants of the \
         last 3s",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert_eq!(sheet.google.tabs().len(), tabs, "nothing is left behind");
    // Slow, as Google is: an acquire may take longer than it may wait.
    let slow = Kind::Slow { by: std::time::Duration::from_millis(900) };
    sheet.google.fault(Fault::chance(Target::Writes, 1.0, slow));
    let short = sheet.table("acquire_timeout = \"1500ms\"\n");
    let (code, told) = run(&sheet, &redis, &["check"], &short);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("warn  ledger.acquire_timeout (1500ms) is shorter than that"), "{told}");
    sheet.google.clear_faults();
    let table = format!("{}name = \"other\"\n", sheet.table(""));
    let (_, told) = run(&sheet, &redis, &["check"], &table);
    assert!(told.contains("the ledger other will be made"), "{told}");
}

/// Each of them fails with what to do, and not with a stack of errors.
#[test]
fn what_is_missing_is_said_with_what_to_do() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let account = Sheet::new().google.account(1);
    type Change<'a> = &'a dyn Fn(&Sheet);
    let cases: [(Change<'_>, &[&str]); 5] = [
        (
            &|sheet| sheet.google.share(&account, "none"),
            &["may not use the spreadsheet", &format!("share it with {account} as an editor")],
        ),
        (
            &|sheet| sheet.google.share(&account, "reader"),
            &[
                &format!("ok    {account} reads the spreadsheet"),
                &format!("share it with {account} as an editor"),
            ],
        ),
        (
            &|sheet| sheet.google.set_enabled(false),
            &["the Google Sheets API is off for this account's project", "Enable it by visiting"],
        ),
        (
            &|sheet| sheet.google.set_account(&account, false),
            &[
                "Google gives no access token",
                &account,
                "whether the account or its key was deleted",
            ],
        ),
        (
            &|sheet| {
                let kind = Kind::Status { code: 503, applied: false };
                sheet.google.fault(Fault::chance(Target::Reads, 1.0, kind));
            },
            &["Google Sheets fails with status 503"],
        ),
    ];
    for (change, expected) in cases {
        let sheet = Sheet::new();
        change(&sheet);
        let (code, told) = check(&sheet, &redis);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.lines().any(|line| line.starts_with("fail  ledger: ")), "{told}");
        expected.iter().for_each(|words| assert!(told.contains(words), "{words}: {told}"));
    }
    let sheet = Sheet::new();
    let id = sheet.google.spreadsheet_id();
    let table = sheet.table("").replace(id, "1Another_spreadsheet_that_is_not_there_00000");
    let (code, told) = run(&sheet, &redis, &["check"], &table);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("there is no spreadsheet 1Another_"), "{told}");
    let table = sheet.table("").replace("key.json", "no-key.json");
    let (code, told) = run(&sheet, &redis, &["check"], &table);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no-key.json can't be read"), "{told}");
}

/// While a Lockside serves from it: how many locks it holds, and terms that do not fit.
#[test]
fn a_ledger_that_is_there() {
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let Some(lockside) = subject(&redis, &sheet, SOON) else { return };
    wait_mode(lockside.port(), "healthy");
    ask_until(&mut lockside.client(), &take("lock:a", A), |reply| reply == OK);
    sheet.wait_row(&["grant", "lock:a", A]);
    let (code, told) = check(&sheet, &redis);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("ok    the ledger lockside in it has 1 held locks"), "{told}");

    let (code, told) = run(&sheet, &redis, &["ledger", "export", "-"], &sheet.table(""));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 locks; the file contains secrets"), "{told}");
    let (code, told) = run(&sheet, &redis, &["ledger", "import", "-"], &sheet.table(""));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("this one is a spreadsheet"), "{told}");

    let other = Redis::start();
    let (code, told) = check(&sheet, &other);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("fail  ledger: this ledger was written with upstream"), "{told}");
    wait_until("it goes on", || lockside.client().ask("GET lock:a").contains(A));
}
