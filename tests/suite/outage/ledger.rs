//! The ledger does not answer (SPEC 2, `blocked`): nothing is granted that is not durable, what is
//! known can be read, and it goes on by itself when the ledger answers again.

use std::process::Command;

use super::{A, B, NIL, ONE, STRANGER, Stage, ZERO, answer, bulk, take};
use crate::support::{Settings, wait_until};

/// A shell that ignores SIGXFSZ, so that a file that may not grow is an error and no end.
const NO_SIGNAL: &[&str] = &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
/// Room for the log, and for a few entries of the ledger.
const ROOM: &str = "131072";

fn limit_files(stage: &Stage, size: &str) {
    let pid = stage.subject.process().unwrap().pid().to_string();
    // The hard limit stays, so that it can be taken back without rights.
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:")]).status();
    assert!(done.unwrap().success(), "prlimit --fsize={size}:");
}

/// Fills what room there is; gives the first error.
fn fill(stage: &mut Stage) -> String {
    for number in 0..2000 {
        let reply = answer(&mut stage.holder, &take(&format!("lock:n{number}"), STRANGER));
        if reply.starts_with('-') {
            return reply;
        }
        let reply = answer(&mut stage.holder, &format!("DEL lock:n{number}"));
        if reply.starts_with('-') {
            return reply;
        }
        assert_eq!(reply, ONE);
    }
    panic!("the disk is full, and acquires go on");
}

/// Disk full, with Redis up or down: an error that names the ledger, reads go on, and all is well
/// once there is room.
fn disk_full(without_redis: bool) {
    let settings = Settings { through: NO_SIGNAL, ..Settings::default() };
    let Some(mut stage) = Stage::with(&["--appendonly", "yes"], settings) else { return };
    stage.take("lock:a", A);
    stage.take("lock:b", B);
    if without_redis {
        stage.redis.kill();
        stage.wait_mode("degraded");
    }
    limit_files(&stage, ROOM);
    let error = fill(&mut stage);
    assert!(error.contains("lockside") && error.contains("ledger"), "{error}");
    assert!(!error.contains(STRANGER), "no token in an error: {error}");
    // What is known is read; nothing is granted and nothing is released with a false OK.
    assert_eq!(answer(&mut stage.stranger, "GET lock:a"), bulk(A));
    let taken = answer(&mut stage.stranger, &take("lock:new", STRANGER));
    assert!(taken.starts_with('-'), "{taken}");
    let held = answer(&mut stage.stranger, &take("lock:a", STRANGER));
    assert!(held == NIL || held.starts_with('-'), "{held}");
    limit_files(&stage, "unlimited");
    if without_redis {
        stage.redis.start_with_data();
    }
    stage.wait_mode("healthy");
    wait_until("a release is durable again", || {
        matches!(answer(&mut stage.holder, "DEL lock:b").as_str(), ONE | ZERO)
    });
    // Also the release that was promised while there was no room.
    wait_until("nothing else is there", || super::locks_of(&stage.redis).len() == 1);
    stage.assert_recovers_with(&[("lock:a", A)]);
}

#[test]
fn the_disk_is_full() {
    disk_full(false);
}

#[test]
fn the_disk_is_full_while_redis_is_down() {
    disk_full(true);
}

/// A Lockside that starts while its ledger can't be read knows of no lock, and does not say that there
/// is none, in strict or fast, with Redis or without: neither to the holder nor to anybody else.
#[test]
fn a_ledger_that_was_never_read_is_no_empty_one() {
    for (top, without_redis) in [("", false), ("guarantee = \"fast\"", false), ("", true)] {
        let settings = Settings { top, ..Settings::default() };
        let Some(mut stage) = Stage::with(&["--appendonly", "yes"], settings) else { return };
        stage.take("lock:a", A);
        let ledger = stage.subject.process().unwrap().path("state").join("ledger.db");
        stage.subject.kill();
        let other = rusqlite::Connection::open(ledger).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        if without_redis {
            stage.redis.kill();
        }
        stage.subject.start_again();
        stage.wait_mode("blocked");
        let mut client = stage.subject.client();
        let release = super::script(super::RELEASE, "lock:a", A);
        let takes = format!("SET lock:a {STRANGER} XX");
        for line in ["GET lock:a", "EXISTS lock:a", "PTTL lock:a", "DEL lock:a", &release, &takes] {
            let reply = answer(&mut client, line);
            assert!(reply.starts_with("-TRYAGAIN lockside: nothing was done"), "{line}: {reply}");
        }
        assert_eq!(answer(&mut client, "MULTI"), super::OK);
        assert!(answer(&mut client, "GET lock:a").starts_with("+QUEUED"));
        let reply = answer(&mut client, "EXEC");
        assert!(reply.starts_with("-TRYAGAIN"), "{reply}");
        drop(other);
        if without_redis {
            stage.redis.start_with_data();
        }
        stage.wait_mode("healthy");
        assert_eq!(answer(&mut client, "GET lock:a"), bulk(A));
        assert_eq!(answer(&mut client, &release), ONE);
    }
}
