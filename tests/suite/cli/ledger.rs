//! `lockside ledger export` and `import`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{beside, text};
use crate::support::lockside::{command, direct};
use crate::support::process::directory;
use crate::support::{Redis, Subject};

/// An export of two locks, one with bytes that are no text.
const EXPORT: &str = r#"{"fence_high":40,"guarantee":"strict","lockside_ledger":1,"namespace":"default"}
{"asked_ttl_ms":30000,"at_ms":17,"client":"worker","db":0,"fence":7,"heard":true,"key":"lock:a","rule":"default","stored":"93:550e8400-e29b-41d4-a716-446655440000"}
{"at_ms":18,"client":"worker","db":3,"fence":9,"heard":false,"key":"lock:b","rule":"default","stored_hex":"ff00"}
"#;

/// What was imported is exported again, by a file that its owner alone can read.
#[test]
fn an_export_can_be_imported() {
    if direct() {
        return;
    }
    let folder = directory("ledger");
    let (export, again) = (folder.path().join("export"), folder.path().join("again"));
    fs::write(&export, EXPORT).unwrap();
    let ledger = |arguments: &[&std::ffi::OsStr]| {
        let mut command = command();
        command.arg("ledger").args(arguments).env("LOCKSIDE_STATE_DIR", folder.path());
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, told) = ledger(&["export".as_ref(), again.as_ref()]);
    assert_eq!(code, Some(1), "there is none yet: {told}");
    assert!(!again.exists());
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 locks imported"), "{told}");
    let (code, told) = ledger(&["export".as_ref(), again.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(fs::read_to_string(&again).unwrap(), EXPORT);
    assert_eq!(fs::metadata(&again).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, told) = ledger(&["export".as_ref(), again.as_ref()]);
    assert_eq!(code, Some(1), "it is there already: {told}");
    assert!(told.contains("nothing is overwritten: name another, or move it away"), "{told}");
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("0 locks imported\n2 are in the ledger already"), "{told}");
    let (code, told) = ledger(&["export".as_ref(), "-".as_ref()]);
    assert!(code == Some(0) && told.starts_with(EXPORT), "{told}");
    fs::write(&export, EXPORT.replace("hex\":\"ff", "hex\":\"f")).unwrap();
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(":3: stored_hex is no hexadecimal text"), "{told}");
    fs::write(&export, EXPORT.replace("default\"}", "other\"}")).unwrap();
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert!(code == Some(1) && told.contains("namespace \"other\""), "{told}");
}

/// An import wants the ledger for itself.
#[test]
fn nothing_is_imported_under_a_running_lockside() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let Some(process) = subject.process() else { return };
    let export = process.path("export");
    fs::write(&export, EXPORT).unwrap();
    let output = beside(process, &["ledger", "import", export.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("stop it first"), "{}", text(&output));
}

/// A key that is no lock is not made one: nobody could release it.
#[test]
fn keys_without_a_rule_are_refused_by_their_lines() {
    if direct() {
        return;
    }
    let folder = directory("ledger");
    let export = folder.path().join("export");
    let ledger = |arguments: &[&std::ffi::OsStr]| {
        let mut command = command();
        command.arg("ledger").args(arguments).env("LOCKSIDE_STATE_DIR", folder.path());
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    let other = EXPORT.replace("lock:b", "page:b");
    let lines = other.lines().last().unwrap().replace("page:b", "page:c");
    fs::write(&export, format!("{other}{lines}\n")).unwrap();
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(1), "{told}");
    let expected = "no rule makes these keys locks; nothing was imported: add a rule for them, or \
                    take their lines out\n  line 3: page:b\n  line 4: page:c\n";
    assert!(told.ends_with(expected), "{told}");
    assert!(!folder.path().join("ledger.db").exists(), "nothing was done");
    // The rule is the one that the key has here, by whatever name.
    fs::write(&export, EXPORT.replace("\"rule\":\"default\"", "\"rule\":\"old\"")).unwrap();
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    let (_, told) = ledger(&["export".as_ref(), "-".as_ref()]);
    assert!(told.starts_with(EXPORT), "{told}");
}
