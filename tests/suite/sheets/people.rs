//! The tab that people look at, beside a real Redis: what is held is shown, and who clears a cell is obeyed.

use serde_json::json;

use super::outage::subject;
use super::{SOON, Sheet};
use crate::support::client::ask_until;
use crate::support::locks::{A, B, NIL, OK, give, take, wait_mode};
use crate::support::lockside::direct;
use crate::support::{Redis, wait_until};

const BUSINESS: &str = "[projection]\ntab = \"Bodega\"\nkey_column = \"TAG_SPOOL\"\n\
                        holder_column = \"Ocupado_Por\"\nsince_column = \"Fecha_Ocupacion\"\n\
                        key = \"lock:{key}\"\nfree = \"DISPONIBLE\"\n";

fn business() -> Sheet {
    let sheet = Sheet::new();
    let properties = json!({"sheetId": 0, "title": "Bodega"});
    let rename = json!({"updateSheetProperties": {"properties": properties, "fields": "title"}});
    sheet.google.edit(&[rename]).unwrap();
    let rows = [
        ["TAG_SPOOL", "Ocupado_Por", "Fecha_Ocupacion"],
        ["MK-1", "DISPONIBLE", ""],
        ["MK-2", "DISPONIBLE", ""],
    ];
    let rows: Vec<_> =
        rows.iter().map(|row| row.iter().map(|cell| json!(cell)).collect()).collect();
    sheet.google.type_in("Bodega!A1", &rows).unwrap();
    sheet
}

fn holder(sheet: &Sheet, row: usize) -> String {
    let shown = sheet.google.look(&format!("Bodega!B{row}")).unwrap();
    shown.first().and_then(|row| row.first()).cloned().unwrap_or_default()
}

fn readings(sheet: &Sheet) -> usize {
    let calls = sheet.google.journal();
    calls.iter().filter(|call| call.method.contains("batchGetByDataFilter")).count()
}

#[test]
fn people_see_who_holds_a_lock_and_may_end_it() {
    let (mut redis, sheet) = (Redis::start(), business());
    let Some(lockside) = subject(&redis, &sheet, &format!("{SOON}{BUSINESS}")) else { return };
    wait_mode(lockside.port(), "healthy");
    let (mut one, mut other) = (lockside.client(), lockside.client());
    ask_until(&mut one, &take("lock:MK-1", A), |reply| reply == OK);
    wait_until("the cell names somebody", || holder(&sheet, 2) != "DISPONIBLE");
    ask_until(&mut one, &give("lock:MK-1", A), |reply| reply == ":1\r\n");
    wait_until("the cell is free", || holder(&sheet, 2) == "DISPONIBLE");

    // Cleared by a person: free in the ledger, and then in Redis.
    ask_until(&mut one, &take("lock:MK-2", A), |reply| reply == OK);
    wait_until("the cell names somebody", || holder(&sheet, 3) != "DISPONIBLE");
    let before = readings(&sheet);
    wait_until("the tab was read", || readings(&sheet) >= before + 2);
    sheet.google.type_in("Bodega!B3", &[vec![json!("disponible ")]]).unwrap();
    ask_until(&mut other, &take("lock:MK-2", B), |reply| reply == OK);
    sheet.wait_row(&["release", "lock:MK-2", "sheet"]);

    // Taken by a person while Redis is away; kept when it is back.
    redis.kill();
    wait_mode(lockside.port(), "degraded");
    wait_until("the cell is free", || holder(&sheet, 2) == "DISPONIBLE");
    sheet.google.type_in("Bodega!B2", &[vec![json!("Juan")]]).unwrap();
    sheet.wait_row(&["claim", "lock:MK-1", "Juan"]);
    assert_eq!(one.ask(&take("lock:MK-1", A)), NIL);
    redis.start_empty();
    wait_mode(lockside.port(), "healthy");
    assert_eq!(one.ask(&take("lock:MK-1", A)), NIL);
    assert!(redis.ask("GET lock:MK-1").contains("Juan:~"));
}

/// Before anything is served: the tab and its headers, or which are there instead.
#[test]
fn check_looks_at_the_tab_that_people_see() {
    if direct() {
        return;
    }
    let (redis, sheet, business_sheet) = (Redis::start(), Sheet::new(), business());
    let checked = |sheet: &Sheet, table: &str| {
        super::check::run(sheet, &redis, &["check"], &format!("{}{table}", sheet.table("")))
    };
    let (code, told) = checked(&sheet, "");
    assert!(told.contains("ok    the tab \"Locks\" for people will be made"), "{told}");
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = checked(&sheet, BUSINESS);
    assert!(told.contains("fail  projection: the spreadsheet has no tab \"Bodega\""), "{told}");
    assert_eq!(code, Some(1), "{told}");
    let tabs = business_sheet.google.tabs().len();
    let (code, told) = checked(&business_sheet, BUSINESS);
    let there = "ok    the tab \"Bodega\" for people has its columns, and 2 rows with a key";
    assert!(told.contains(there), "{told}");
    assert_eq!(code, Some(0), "{told}");
    business_sheet.google.type_in("Bodega!B1", &[vec![json!("Ocupado")]]).unwrap();
    let (code, told) = checked(&business_sheet, BUSINESS);
    let missing =
        "no column \"Ocupado_Por\" in its first row; there are: \"TAG_SPOOL\", \"Ocupado\"";
    assert!(told.contains(missing), "{told}");
    assert_eq!((code, business_sheet.google.tabs().len()), (Some(1), tabs), "nothing is left");
}
