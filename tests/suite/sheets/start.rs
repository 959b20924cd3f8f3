//! How a sheet and the right to use it are given.

use super::{SOON, Sheet, launch};
use crate::support::client::ask_until;
use crate::support::locks::{A, OK, QUICK, take, wait_mode};
use crate::support::process::directory;
use crate::support::{Redis, Settings, Subject, direct, wait_until};

/// Grants a lock, and sees it in the sheet.
fn works(sheet: &Sheet, tables: &str, through: &[&str]) {
    let redis = Redis::start();
    let settings = Settings { upstream: QUICK, tables, through, ..Settings::default() };
    let lockside = Subject::with(&redis, settings);
    wait_mode(lockside.port(), "healthy");
    ask_until(&mut lockside.client(), &take("lock:a", A), |reply| reply == OK);
    sheet.wait_row(&["grant", "lock:a", A]);
}

/// The original service's variables, and nothing else of who may write where.
#[test]
fn the_original_services_environment() {
    if direct() {
        return;
    }
    let sheet = Sheet::new();
    let id = format!("GOOGLE_SHEET_ID={}", sheet.google.spreadsheet_id());
    let tables = format!("[ledger]\napi_url = \"{}\"\n{SOON}", sheet.google.base_url());
    let json = format!("GOOGLE_APPLICATION_CREDENTIALS_JSON={}", sheet.google.key(1));
    works(&sheet, &tables, &["env", &id, &json]);
    let sheet = Sheet::new();
    let tables = format!("[ledger]\napi_url = \"{}\"\n{SOON}", sheet.google.base_url());
    let path = format!("GOOGLE_APPLICATION_CREDENTIALS={}", sheet.key_file());
    works(&sheet, &tables, &["env", &id, &path]);
}

/// Application Default Credentials of a machine or a pod.
#[test]
fn the_metadata_server() {
    if direct() {
        return;
    }
    let sheet = Sheet::new();
    let place = "computeMetadata/v1/instance/service-accounts/default/token";
    let url = format!("metadata_url = \"{}{place}\"\n", sheet.google.base_url());
    works(&sheet, &format!("{}{url}{SOON}", sheet.anonymous()), &[]);
}

/// What time does not heal ends the process, with what to do.
#[test]
fn a_key_that_is_none_is_refused() {
    if direct() {
        return;
    }
    let (sheet, redis, folder) = (Sheet::new(), Redis::start(), directory("bad-key"));
    let file = folder.path().join("key.json");
    let missing = "can't be read";
    for (text, expected) in [
        (None, missing),
        (Some("{\"type\": \"authorized_user\"}"), "is of another kind of credentials"),
        (Some("{\"private_key\": \"hunter2\"}"), "lacks something"),
    ] {
        text.iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let tables = format!("{}credentials = \"{}\"\n", sheet.anonymous(), file.display());
        let mut process = launch(&redis, &tables, &folder);
        wait_until("lockside has ended", || process.exit_code() == Some(1));
        let told = process.output();
        assert!(told.contains(expected) && told.contains("in the spreadsheet"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
