//! `lockside check`.

use std::fs;

use super::{USAGE, run, text};
use crate::support::lockside::{command, direct};
use crate::support::process::{directory, free_port};
use crate::support::{Redis, Settings};

#[test]
fn check() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let folder = directory("check");
    let file = folder.path().join("lockside.toml");
    let name = file.to_str().unwrap();
    fs::write(&file, Settings::default().text(free_port(), &redis.url())).unwrap();
    let good = run(&["check", "--config", name]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    fs::write(&file, Settings::default().text(free_port(), &nobody)).unwrap();
    let bad = run(&["check", "--config", name]);
    assert!(!matches!(bad.status.code(), Some(0 | USAGE)), "{}", text(&bad));
    assert!(text(&bad).contains(nobody.trim_start_matches("redis://")), "{}", text(&bad));
}

/// `check` says what is observed, and refuses what can't be.
#[test]
fn check_says_what_is_observed() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let folder = directory("check");
    let name = folder.path().join("l.toml");
    let check = |rule: &str| {
        let text = format!(
            "state_dir = \"{}\"\nobserve_databases = [0, 3]\n[upstream]\nurl = \"{}\"\n\
             [[rule]]\nname = \"jobs\"\n{rule}\nobserve = true\n",
            folder.path().display(),
            redis.url()
        );
        fs::write(&name, text).unwrap();
        run(&["check", "--config", name.to_str().unwrap()])
    };
    let output = check("keys = [\"job:*\", \"lock:?\"]");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "observes locks that others put into Redis: rules jobs, keys that begin with \
                    job: lock:, databases 0 3, all keys searched every 1m";
    assert!(told.contains(expected), "{told}");
    let output = check("keys = [\"*\"]");
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("l.toml:8: rule.observe: rule jobs: \"*\" begins with no"), "{told}");
}

/// What `check` says of the Redis behind and of the ledger's place, and its exit code.
#[test]
fn check_judges_redis_and_the_ledger() {
    if direct() {
        return;
    }
    let folder = directory("check");
    let check = |redis: &Redis, ledger: &str| {
        let mut check = command();
        check.args(["check", "--upstream", &redis.url()]);
        check.env("LOCKSIDE_STATE_DIR", folder.path()).env("LOCKSIDE_LEDGER", ledger);
        let output = check.output().unwrap();
        (output.status.code(), text(&output))
    };
    let lru = ["--maxmemory-policy", "allkeys-lru"];
    let (code, told) = check(&Redis::with(&lru), "ledger.db");
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "warn  maxmemory-policy allkeys-lru evicts held locks",
        "warn  persistence is off",
        &format!("ok    ledger {}/ledger.db will be made", folder.path().display()),
        "ok    guarantee strict: OK waits for a durable write, ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!folder.path().join("ledger.db").exists());
    fs::write(folder.path().join("other"), "not a ledger").unwrap();
    let (code, told) = check(&Redis::with(&["--cluster-enabled", "yes"]), "other");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("fail  Redis runs as a cluster"), "{told}");
    assert!(told.contains("other: it is no SQLite file"), "{told}");
}

/// Passwords are never shown.
#[test]
fn check_hides_passwords() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let url = format!("redis://default:hunter2secret@127.0.0.1:{}", redis.port());
    let output = run(&["check", "--upstream", &url]);
    assert!(!text(&output).contains("hunter2secret"), "{}", text(&output));
}

/// A state directory that can't be made, beside a ledger elsewhere and without: what is wrong, and what to
/// do.
#[test]
fn check_says_that_the_state_directory_cant_be_made() {
    if direct() {
        return;
    }
    let (redis, folder) = (Redis::start(), directory("check"));
    let (name, file) = (folder.path().join("l.toml"), folder.path().join("file"));
    let (link, elsewhere) = (folder.path().join("link"), folder.path().join("elsewhere.db"));
    fs::write(&file, "no directory").unwrap();
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    let check = |state: &std::path::Path, ledger: &str| {
        let text = format!(
            "state_dir = \"{}\"\n{ledger}\n[upstream]\nurl = \"{}\"\n",
            state.display(),
            redis.url()
        );
        fs::write(&name, text).unwrap();
        let mut check = command();
        let output = check.args(["check", "--config", name.to_str().unwrap()]).output().unwrap();
        (output.status.code(), self::text(&output))
    };
    let ledger = format!("[ledger]\npath = \"{}\"", elsewhere.display());
    for ledger in ["", &ledger] {
        for (state, why) in [
            (file.join("state"), "no directory: move it away, or correct"),
            (link.join("state"), "a link to what is not there"),
            (
                "/proc/lockside/state".into(),
                "nothing can be made there: name another place, or correct",
            ),
        ] {
            let (code, told) = check(&state, ledger);
            assert_eq!(code, Some(1), "{told}");
            let begin = format!("fail  can't make {}: ", state.display());
            assert!(told.contains(&begin) && told.contains(why), "{told}");
            assert!(
                told.contains(if ledger.is_empty() { "ledger.path" } else { "state_dir" }),
                "{told}"
            );
        }
        let (code, told) = check(&folder.path().join("new/state"), ledger);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("new/state will be made"), "{told}");
        assert!(!folder.path().join("new").exists());
    }
}

/// A configuration that is no text says where.
#[test]
fn a_file_that_is_not_utf_8_is_refused_with_its_place() {
    if direct() {
        return;
    }
    let folder = directory("check");
    let name = folder.path().join("l.toml");
    fs::write(&name, b"# one\n# two\nclient = \"caf\xe9\"\n").unwrap();
    let output = run(&["check", "--config", name.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(USAGE));
    let told = text(&output);
    let expected = "l.toml:3: byte 14 of the line (0xe9) is not UTF-8; expected text in UTF-8\n";
    assert!(told.ends_with(expected), "{told}");
}
