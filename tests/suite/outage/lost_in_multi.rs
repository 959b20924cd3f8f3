//! A lock that vanishes from Redis behind Lockside's back, and its holder's transaction: no element says
//! that the lock is not there, or not his (SPEC 2).

use super::*;

/// Runs these in a transaction; EXEC's reply.
#[track_caller]
fn transact(client: &mut Client, lines: &[&str]) -> String {
    assert_eq!(answer(client, "MULTI"), OK);
    for line in lines {
        let reply = answer(client, line);
        assert_eq!(reply, "+QUEUED\r\n", "{line}");
    }
    answer(client, "EXEC")
}

#[test]
fn looks_in_a_transaction() {
    let Some(mut stage) = Stage::start() else { return };
    for (look, told) in [
        ("GET", bulk(A)),
        ("EXISTS", ONE.to_owned()),
        ("PTTL", ":-1\r\n".to_owned()),
        ("TYPE", "+string\r\n".to_owned()),
    ] {
        let key = format!("lock:{look}");
        stage.take(&key, A);
        stage.redis.ask("FLUSHALL");
        let reply = transact(&mut stage.holder, &[&format!("{look} {key}"), "SET plain 1"]);
        assert_eq!(reply, format!("*2\r\n{told}{OK}"), "{look}");
        assert_eq!(answer(&mut stage.holder, &format!("DEL {key}")), ONE, "{look}");
    }
}

/// What the transaction itself has ended is not there.
#[test]
fn a_release_and_a_look_in_a_transaction() {
    let Some(mut stage) = Stage::start() else { return };
    for release in ["DEL", "UNLINK"] {
        let key = format!("lock:{release}");
        stage.take(&key, A);
        stage.redis.ask(&format!("DEL {key}"));
        let lines = ["GET", release, "GET", "EXISTS"].map(|word| format!("{word} {key}"));
        let reply = transact(&mut stage.holder, &lines.each_ref().map(String::as_str));
        assert_eq!(reply, format!("*4\r\n{}{ONE}{NIL}{ZERO}", bulk(A)), "{release}");
        stage.take(&key, B);
        stage.assert_held(&key, B);
    }
}

/// A release by script: never 0, and it works once Redis has the lock again.
#[test]
fn a_script_in_a_transaction() {
    let Some(mut stage) = Stage::start() else { return };
    for (key, behind) in [("lock:a", "DEL lock:a"), ("lock:b", "FLUSHALL")] {
        stage.take(key, A);
        stage.redis.ask(behind);
        let release = script(RELEASE, key, A);
        let reply = transact(&mut stage.holder, &[&release, "SET plain 1"]);
        assert!(reply.starts_with("*2\r\n-TRYAGAIN lockside: "), "{behind}: {reply}");
        assert!(reply.ends_with(OK), "the rest was carried out: {reply}");
        again(&mut stage, &release);
        stage.take(key, B);
        stage.give(key, B);
    }
}

/// As some libraries extend a lock.
#[test]
fn an_extension_in_a_transaction() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.ask("FLUSHALL");
    let reply = transact(&mut stage.holder, &["EXPIRE lock:a 30"]);
    assert!(reply.starts_with("*1\r\n-TRYAGAIN lockside: "), "{reply}");
    again(&mut stage, "EXPIRE lock:a 30");
    assert_eq!(answer(&mut stage.holder, &script(RELEASE, "lock:a", A)), ONE);
}

/// The same transaction until it says 1, and never 0.
#[track_caller]
fn again(stage: &mut Stage, line: &str) {
    let start = Instant::now();
    loop {
        let reply = transact(&mut stage.holder, &[line]);
        if reply == format!("*1\r\n{ONE}") {
            return;
        }
        let is_honest = ["*1\r\n-TRYAGAIN", "-EXECABORT"].iter().any(|it| reply.starts_with(it));
        assert!(is_honest && start.elapsed() < PATIENCE, "{reply}");
    }
}

/// Who does not hold it is not told that he does.
#[test]
fn a_stranger_in_a_transaction() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.ask("FLUSHALL");
    let reply = transact(&mut stage.stranger, &[&take("lock:a", STRANGER)]);
    assert!(reply.starts_with("*1\r\n-TRYAGAIN lockside: not acquired: lost to "), "{reply}");
    stage.redis.ask("FLUSHALL");
    let reply = transact(&mut stage.stranger, &[&script(RELEASE, "lock:a", STRANGER)]);
    let is_no = reply.starts_with("*1\r\n-TRYAGAIN lockside: ") || reply == format!("*1\r\n{ZERO}");
    assert!(is_no || reply.starts_with("-EXECABORT"), "{reply}");
    stage.assert_held("lock:a", A);
}

/// Redis restarts empty, and the holder's next word is a transaction, on a link that is new.
#[test]
fn a_transaction_after_a_restart() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    stage.redis.kill();
    stage.redis.start_empty();
    let release = script(RELEASE, "lock:a", A);
    let start = Instant::now();
    loop {
        let mut replies: Vec<String> = Vec::new();
        for line in ["MULTI", &release, "EXEC"] {
            replies.push(answer(&mut stage.holder, line));
        }
        if replies[2] == format!("*1\r\n{ONE}") {
            break;
        }
        let is_honest = replies[2].starts_with('-') || replies[2].starts_with("*1\r\n-TRYAGAIN");
        assert!(is_honest && start.elapsed() < PATIENCE, "{replies:?}");
    }
    stage.take("lock:a", B);
    stage.give("lock:a", B);
}
