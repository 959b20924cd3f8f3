//! Several sidecars at one sheet.

use super::outage::subject;
use super::{SOON, Sheet, launch};
use crate::support::client::ask_until;
use crate::support::locks::{
    A, B, EXTEND, NIL, OK, ONE, QUICK, bulk, give, script, take, wait_mode,
};
use crate::support::process::directory;
use crate::support::{Redis, Settings, Subject, direct, wait_until};

/// Both have lost Redis, and both are asked for one lock at one time, again and again: never two hold it.
#[test]
fn one_lock_has_one_holder() {
    let (mut redis, sheet) = (Redis::start(), Sheet::new());
    let started = [(); 2].map(|()| subject(&redis, &sheet, SOON));
    let [Some(one), Some(two)] = started else { return };
    for subject in [&one, &two] {
        wait_mode(subject.port(), "healthy");
        let own = format!("lock:{}", subject.port());
        ask_until(&mut subject.client(), &take(&own, A), |reply| reply == OK);
    }
    redis.kill();
    for subject in [&one, &two] {
        wait_mode(subject.port(), "degraded");
        let own = format!("lock:degraded:{}", subject.port());
        ask_until(&mut subject.client(), &take(&own, A), |reply| reply == OK);
    }
    let mut granted = 0;
    for number in 0..20 {
        let key = format!("lock:{number}");
        let ask = |subject: &Subject, token| subject.client().ask(&take(&key, token));
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| ask(&one, A));
            let second = ask(&two, B);
            (first.join().unwrap(), second)
        });
        let oks = [&first, &second].iter().filter(|reply| ***reply == OK).count();
        assert!(oks <= 1, "{key}: {first} {second}");
        granted += oks;
    }
    assert!(granted > 0, "each time both lost");
    // Whoever has it, the other knows.
    let mut client = one.client();
    ask_until(&mut client, &take("lock:last", A), |reply| reply == OK);
    ask_until(&mut two.client(), "GET lock:last", |reply| reply == bulk(A));
    assert_eq!(two.client().ask(&take("lock:last", B)), NIL);
    redis.start_empty();
    for subject in [&one, &two] {
        wait_mode(subject.port(), "healthy");
    }
    wait_until("repaired", || redis.ask("GET lock:last") == bulk(A));
}

/// Ten share what Google allows; the next one is told so, and the others go on.
#[test]
fn the_eleventh_is_refused_with_advice() {
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let beats = SOON.replace("heartbeat = \"1s\"", "heartbeat = \"200ms\"");
    let started: Vec<Option<Subject>> = (0..10).map(|_| subject(&redis, &sheet, &beats)).collect();
    let Some(ten) = started.into_iter().collect::<Option<Vec<_>>>() else { return };
    // It may end before it has answered anything.
    let folder = directory("eleventh");
    let mut process = launch(&redis, &sheet.table(&beats), &folder);
    wait_until("the eleventh has ended", || process.exit_code() == Some(1));
    let told = process.output();
    assert!(told.contains("10 other sidecars use the spreadsheet"), "{told}");
    assert!(told.contains("another spreadsheet and another service account"), "{told}");
    for (number, one) in ten.iter().enumerate() {
        let key = format!("lock:{number}");
        ask_until(&mut one.client(), &take(&key, A), |reply| reply == OK);
    }
}

/// A sidecar dies when its client was told OK and WON is not written. Wherever the client asks then, it
/// holds the lock: by Redis or without, by a look, a script or an extension.
#[test]
fn who_was_told_before_won_was_written_holds() {
    let (mut redis, sheet) = (Redis::start(), Sheet::new());
    let lines = &SOON.replace("poll = \"150ms\"", "poll = \"5s\"");
    let started = [(); 2].map(|()| strict(&redis, &sheet, lines));
    let [Some(mut one), Some(two)] = started else { return };
    for subject in [&one, &two] {
        wait_mode(subject.port(), "healthy");
    }
    ask_until(&mut one.client(), &take("lock:a", A), |reply| reply == OK);
    one.kill();
    assert!(!sheet.rows().iter().any(|row| row.contains("won | lock:a")), "WON waits for others");
    let mut client = two.client();
    let holds = |client: &mut crate::support::Client| {
        for _ in 0..2 {
            assert_eq!(client.ask("GET lock:a"), bulk(A));
            let extend = script(EXTEND, "lock:a", &format!("{A} 5000"));
            assert_eq!(client.ask(&extend), ONE);
            assert_eq!(client.ask(&take("lock:a", B)), NIL);
        }
    };
    // When the other has read the claim.
    ask_until(&mut client, "LOCKSIDE LOCKS", |reply| reply.contains("lock:a"));
    holds(&mut client);
    redis.kill();
    wait_mode(two.port(), "degraded");
    holds(&mut client);
    redis.start_empty();
    wait_mode(two.port(), "healthy");
    holds(&mut client);
    one.start_again();
    wait_mode(one.port(), "healthy");
    let mut client = one.client();
    holds(&mut client);
    assert_eq!(client.ask(&give("lock:a", A)), ONE);
    assert_eq!(client.ask(&take("lock:a", B)), OK);
}

/// As `subject`, with `guarantee = "strict"`.
fn strict(redis: &Redis, sheet: &Sheet, lines: &str) -> Option<Subject> {
    if direct() {
        return None;
    }
    let (top, tables) = ("guarantee = \"strict\"", sheet.table(lines));
    let settings = Settings { top, upstream: QUICK, tables: &tables, ..Settings::default() };
    Some(Subject::with(redis, settings))
}
