//! Each error of the command line says what to do next.

use super::{run, text};
use crate::support::lockside::direct;
use crate::support::process::{directory, free_port};
use crate::support::{Redis, Settings, Subject};

/// What is asked of whom is not there, or not as it should be.
#[test]
fn every_error_says_what_to_do() {
    if direct() {
        return;
    }
    let (redis, folder) = (Redis::start(), directory("advice"));
    let (nobody, here) = (format!("127.0.0.1:{}", free_port()), redis.url());
    let nowhere = format!("redis://{nobody}");
    let plain = format!("127.0.0.1:{}", redis.port());
    let file = folder.path().join("none/export");
    let file = file.to_str().unwrap();
    std::fs::write(folder.path().join("empty"), "").unwrap();
    let empty = folder.path().join("empty");
    let empty = empty.to_str().unwrap();
    let start_redis = "start Redis, or correct upstream.url";
    let start_lockside = "start Lockside, or say where it listens: --at HOST:PORT";
    for (arguments, expected) in [
        (&["check", "--upstream", &nowhere][..], start_redis),
        (&["adopt", "--upstream", &nowhere], start_redis),
        (&["eject", "--ttl", "5", "--upstream", &nowhere], start_redis),
        (&["adopt", "--upstream", &here, "--at", &nobody], start_lockside),
        (&["locks", "--at", &nobody], start_lockside),
        (&["owner", "lock:a", "--at", &plain], "say where Lockside listens: --at HOST:PORT"),
        (&["ledger", "export", file], "`lockside check` looks at the ledger's place"),
        (&["ledger", "import", file], "correct the path, or make its directory"),
        (&["ledger", "import", empty], "make a new export"),
    ] {
        let output = run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
    }
}

/// A user that is not let in, or may not.
#[test]
fn a_refusal_says_what_to_do() {
    let redis = Redis::start();
    let subject = Subject::with(&redis, Settings::default());
    if !subject.is_lockside() {
        return;
    }
    redis.ask("CONFIG SET requirepass hunter2");
    let at = format!("127.0.0.1:{}", subject.port());
    let output = run(&["locks", "--at", &at]);
    let told = text(&output);
    assert!(told.contains("say --user NAME, with the password in LOCKSIDE_PASSWORD"), "{told}");
    let wrong = format!("redis://:wrong@127.0.0.1:{}", redis.port());
    for command in [&["check"][..], &["adopt"], &["eject", "--ttl", "5"]] {
        let output = run(&[command, &["--upstream", &wrong]].concat());
        let told = text(&output);
        assert!(!output.status.success() && !told.contains("wrong"), "{told}");
        assert!(told.contains("give upstream.url the user and the password"), "{told}");
    }
}
