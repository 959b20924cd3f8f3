//! The same with `guarantee = "fast"`: what one sidecar has granted or released by Redis and not written
//! yet, another may release, grant and lose.

use std::time::{Duration, Instant};

use super::*;
use crate::support::{PATIENCE, wait_until};

const FAST: &str = "guarantee = \"fast\"";
/// Longer than anything here takes between a grant and the loss of Redis.
const LATE: &str = "mirror_interval = \"2s\"";
const SOON: &str = "mirror_interval = \"100ms\"";

fn fence(client: &mut Client) -> u64 {
    let reply = client.ask("LOCKSIDE FENCE lock:a");
    reply.trim_start_matches(':').trim().parse().unwrap_or_else(|_| panic!("no fence: {reply}"))
}

/// Both have lost Redis.
fn lose_redis(stage: &mut Stage) {
    stage.redis.kill();
    for client in [&mut stage.one, &mut stage.two] {
        ask_until(client, "LOCKSIDE MODE", |reply| reply.contains("degraded"));
    }
}

/// Its release and its grant are written by different sidecars, in whichever order, when Redis is lost.
#[test]
fn a_lock_that_was_released_before_its_grant_was_written_stays_released() {
    let Some(mut stage) = Stage::with(FAST, LATE) else { return };
    assert_eq!(stage.one.ask(&take("lock:a", A)), OK);
    assert_eq!(stage.two.ask("DEL lock:a"), ONE);
    lose_redis(&mut stage);
    ask_until(&mut stage.one, &take("lock:a", B), |reply| reply == OK);
    ask_until(&mut stage.two, "GET lock:a", |reply| reply == bulk(B));
    stage.redis.start_empty();
    stage.wait_modes("healthy");
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(B));
    assert_eq!(stage.two.ask(&give("lock:a", A)), ":0\r\n");
    assert_eq!(stage.one.ask(&give("lock:a", B)), ONE);
}

/// The other has granted it and not written that; this one has just lost Redis.
#[test]
fn who_has_just_lost_redis_denies_no_hold() {
    let Some(mut stage) = Stage::with(FAST, LATE) else { return };
    let keys: Vec<String> = (0..5).map(|number| format!("lock:{number}")).collect();
    for key in &keys {
        assert_eq!(stage.one.ask(&take(key, A)), OK);
    }
    let Some(process) = stage.subjects[1].process() else { return };
    stage.relay.set_for(process.pid(), Trouble::Hangup);
    stage.relay.reset();
    for key in &keys {
        // An error, or a connection that is closed, says that it is not known: the client asks again.
        wait_until("released", || {
            let reply = attempt(&stage.subjects[1], &give(key, A));
            assert_ne!(reply.as_deref(), Some(":0\r\n"), "{key}");
            reply.as_deref() == Some(ONE)
        });
        let look = format!("GET {key}");
        wait_until("read", || attempt(&stage.subjects[0], &look).as_deref() == Some(NIL));
    }
}

/// It knows an older hold of the lock, which is over: a release that names no token is not for that.
#[test]
fn who_has_just_lost_redis_releases_no_older_hold() {
    let Some(mut stage) = Stage::with(FAST, LATE) else { return };
    let ways = ["DEL", "UNLINK", "GETDEL"];
    let keys = ways.map(|way| format!("lock:{way}"));
    keys.iter().for_each(|key| assert_eq!(stage.two.ask(&take(key, A)), OK));
    for key in &keys {
        let history = format!("LOCKSIDE HISTORY {key}");
        ask_until(&mut stage.two, &history, |reply| !reply.starts_with("*0"));
    }
    for key in &keys {
        assert_eq!(stage.one.ask(&give(key, A)), ONE);
        assert_eq!(stage.one.ask(&take(key, B)), OK);
    }
    let Some(process) = stage.subjects[1].process() else { return };
    stage.relay.set_for(process.pid(), Trouble::Hangup);
    stage.relay.reset();
    // One after the other would be too late for the last.
    std::thread::scope(|scope| {
        for (way, key) in ways.iter().zip(&keys) {
            let subject = &stage.subjects[1];
            scope.spawn(move || {
                let released = if *way == "GETDEL" { bulk(B) } else { ONE.to_owned() };
                wait_until("released", || {
                    let reply = attempt(subject, &format!("{way} {key}"));
                    let reply = reply.unwrap_or_else(|| "-closed".to_owned());
                    assert!(reply == released || reply.starts_with('-'), "{way}: {reply}");
                    reply == released
                });
            });
        }
    });
    for key in &keys {
        let look = format!("GET {key}");
        wait_until("free", || attempt(&stage.subjects[0], &look).as_deref() == Some(NIL));
    }
}

/// The reply on a connection of its own; none if that is closed.
fn attempt(subject: &Subject, line: &str) -> Option<String> {
    let mut client = subject.client();
    client.send_line(line);
    let frame = client.frame_within(PATIENCE).ok()?;
    Some(String::from_utf8_lossy(&frame).into_owned())
}

/// A client with one token for all its acquires.
#[test]
fn a_token_that_is_taken_again_holds_with_its_own_fence() {
    let Some(mut stage) = Stage::with(FAST, LATE) else { return };
    assert_eq!(stage.one.ask(&take("lock:a", A)), OK);
    let first = fence(&mut stage.one);
    assert_eq!(stage.two.ask("DEL lock:a"), ONE);
    assert_eq!(stage.one.ask(&take("lock:a", A)), OK);
    let second = fence(&mut stage.one);
    assert!(second > first);
    lose_redis(&mut stage);
    let Stage { one, two, .. } = &mut stage;
    for client in [one, two] {
        ask_until(client, "GET lock:a", |reply| reply == bulk(A));
        assert_eq!(fence(client), second);
        ask_until(client, &take("lock:a", B), |reply| reply == NIL);
    }
    stage.redis.start_empty();
    stage.wait_modes("healthy");
    assert_eq!(stage.redis.ask("GET lock:a"), bulk(A));
    assert_eq!(stage.two.ask(&give("lock:a", A)), ONE);
    assert_eq!(stage.one.ask("GET lock:a"), NIL);
}

/// Grants and releases of one lock are written by two sidecars in another order than they were made.
#[test]
fn ordinary_traffic_is_no_conflict() {
    let Some(mut stage) = Stage::with(FAST, SOON) else { return };
    let began = Instant::now();
    let mut count = 0;
    // A dispute is reported after two intervals at the earliest, and a read.
    while count < 200 || began.elapsed() < Duration::from_secs(2) {
        let Stage { one, two, .. } = &mut stage;
        let (taker, giver) = if count % 3 == 0 { (two, one) } else { (one, two) };
        let token = if count % 2 == 0 { A } else { B };
        // A no is old while the one that started last has not been read of: then claims decide.
        ask_until(taker, &take("lock:a", token), |reply| reply == OK);
        let by = if count % 5 == 0 { taker } else { giver };
        assert_eq!(by.ask(&give("lock:a", token)), ONE);
        count += 1;
    }
    for (subject, client) in stage.subjects.iter().zip([&mut stage.one, &mut stage.two]) {
        let info = client.ask("INFO lockside");
        assert!(info.contains("lockside_conflicts:0\r"), "{info}");
        let log = subject.process().map(|process| process.output()).unwrap_or_default();
        assert!(!log.contains("conflict:"), "{log}");
    }
}

/// It has died with its releases and its next grants unwritten, and is there again. Redis has kept them:
/// the one that went on does not answer by the ledger either, which is behind.
#[test]
fn who_survives_denies_no_hold_that_redis_has() {
    let Some(mut stage) = Stage::with(FAST, LATE) else { return };
    let keys = ["lock:again", "lock:get", "lock:give"];
    keys.iter().for_each(|key| assert_eq!(stage.one.ask(&take(key, A)), OK));
    for key in keys {
        let history = format!("LOCKSIDE HISTORY {key}");
        ask_until(&mut stage.two, &history, |reply| !reply.starts_with("*0"));
    }
    for key in keys {
        assert_eq!(stage.one.ask(&give(key, A)), ONE);
        assert_eq!(stage.one.ask(&take(key, B)), OK);
    }
    stage.subjects[0].kill();
    stage.subjects[0].start_again();
    // Whoever does not know says so, until the ledger has heard of all of it.
    let is_unknown = |reply: &str| reply.starts_with("-TRYAGAIN");
    wait_until("the ledger has heard of all", || {
        let mut settled = true;
        for subject in &stage.subjects {
            let mut ask = |command: &str, right: &str| match attempt(subject, command) {
                Some(reply) if is_unknown(&reply) => settled = false,
                Some(reply) => assert_eq!(reply, right, "{command}"),
                None => settled = false,
            };
            ask(&take("lock:again", A), NIL);
            ask("GET lock:get", &bulk(B));
            ask(&give("lock:give", A), ":0\r\n");
        }
        let owner = attempt(&stage.subjects[1], "LOCKSIDE OWNER lock:get");
        settled && owner.is_some_and(|reply| reply.contains("observed"))
    });
    stage.redis.kill();
    for subject in &stage.subjects {
        wait_until("degraded", || {
            attempt(subject, "LOCKSIDE MODE").is_some_and(|mode| mode.contains("degraded"))
        });
        wait_until("the ledger has it", || attempt(subject, "GET lock:get") == Some(bulk(B)));
    }
}
