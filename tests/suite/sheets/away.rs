//! Google Sheets itself goes away: at the start, in calm times, in an outage of Redis.

use std::time::{Duration, Instant};

use emulated_sheets::{Fault, Kind, Target};

use super::outage::subject;
use super::{SOON, Sheet};
use crate::support::client::ask_until;
use crate::support::locks::{A, B, NIL, OK, ONE, bulk, give, take, wait_mode};
use crate::support::{Client, Redis, Settings, Subject, direct, wait_until};

/// The ways to be away, and what clients are told then.
fn ways() -> [(Kind, &'static str); 3] {
    [
        (Kind::Status { code: 503, applied: false }, "status 503"),
        (Kind::CutBefore, "connection to Google Sheets broke"),
        (Kind::Hang { applied: false }, "Google Sheets has not answered within 1 s"),
    ]
}

/// Every call of the API from now on.
fn goes_away(sheet: &Sheet, kind: &Kind) {
    for on in [Target::Reads, Target::Writes] {
        sheet.google.fault(Fault::chance(on, 1.0, kind.clone()));
    }
}

const IMPATIENT: &str = "call_timeout = \"1s\"\nstall_after = \"3s\"\n";

/// Asks until the reply is an error that says why, and sees that none is an OK.
fn wait_told(client: &mut Client, line: &str, why: &str) {
    wait_until(&format!("{line} is told {why}"), || {
        let reply = client.ask(line);
        assert!(reply.starts_with('-'), "{line}: {reply}");
        reply.contains(why)
    });
}

#[test]
fn a_start_without_google_is_told_and_heals() {
    for (kind, why) in ways() {
        let (redis, sheet) = (Redis::start(), Sheet::new());
        goes_away(&sheet, &kind);
        let lines = format!("{SOON}{IMPATIENT}");
        let Some(lockside) = subject(&redis, &sheet, &lines) else { return };
        let mut client = lockside.client();
        // What is no lock is none of the ledger's business.
        assert_eq!(client.ask("SET other 1"), OK);
        wait_told(&mut client, &take("lock:a", A), why);
        assert_eq!(redis.ask("GET lock:a"), NIL, "{why}");
        sheet.google.clear_faults();
        ask_until(&mut client, &take("lock:a", A), |reply| reply == OK);
        sheet.wait_row(&["lock:a", A]);
    }
}

/// Redis and Google are both away: what is held stays held, nothing is granted, and nothing is taken for
/// released that is not.
#[test]
fn an_outage_without_google_is_told_and_heals() {
    for (kind, why) in ways() {
        let (mut redis, sheet) = (Redis::start(), Sheet::new());
        let lines = format!("{SOON}{IMPATIENT}");
        let Some(lockside) = subject(&redis, &sheet, &lines) else { return };
        wait_mode(lockside.port(), "healthy");
        let mut client = lockside.client();
        ask_until(&mut client, &take("lock:a", A), |reply| reply == OK);
        sheet.wait_row(&["grant", "lock:a", A]);
        redis.kill();
        wait_mode(lockside.port(), "degraded");
        goes_away(&sheet, &kind);
        wait_told(&mut client, &take("lock:b", B), why);
        ask_until(&mut client, "LOCKSIDE MODE", |reply| reply.contains("blocked"));
        assert_eq!(client.ask("GET lock:a"), bulk(A), "{why}");
        let released = client.ask(&give("lock:a", A));
        assert!(released.starts_with('-'), "{why}: {released}");
        sheet.google.clear_faults();
        ask_until(&mut client, &take("lock:c", B), |reply| reply == OK);
        // Whether that release is still on its way or was never written, the next one ends the lock.
        ask_until(&mut client, &give("lock:a", A), |reply| [ONE, ":0\r\n"].contains(&reply));
        assert_eq!(client.ask("GET lock:a"), NIL);
        redis.start_empty();
        wait_mode(lockside.port(), "healthy");
        wait_until("repaired", || redis.ask("GET lock:c") == bulk(B));
    }
}

/// Without Redis and Google a sidecar does not know what another has granted since it could read the sheet
/// last, and does not show that as free. What it knows is shown (SPEC 2).
#[test]
fn nobody_knows_without_google_what_another_has_granted() {
    let (mut redis, sheet) = (Redis::start(), Sheet::new());
    let lines = format!("{SOON}{IMPATIENT}");
    let (Some(one), Some(two)) = (subject(&redis, &sheet, &lines), subject(&redis, &sheet, &lines))
    else {
        return;
    };
    let [mut holder, mut other] = [&one, &two].map(|lockside| {
        wait_mode(lockside.port(), "healthy");
        lockside.client()
    });
    ask_until(&mut holder, &take("lock:b", B), |reply| reply == OK);
    assert_eq!(other.ask("GET lock:b"), bulk(B));
    redis.kill();
    [&one, &two].iter().for_each(|lockside| wait_mode(lockside.port(), "degraded"));
    ask_until(&mut other, "GET lock:b", |reply| reply == bulk(B));
    let Some(process) = two.process() else { return };
    process.signal("STOP");
    ask_until(&mut holder, &take("lock:a", A), |reply| reply == OK);
    goes_away(&sheet, &Kind::Status { code: 503, applied: false });
    process.signal("CONT");
    for line in ["GET lock:a", "MGET lock:b lock:a", "EXISTS lock:a", "STRLEN lock:a"] {
        let reply = other.ask(line);
        assert!(reply.starts_with("-TRYAGAIN lockside: nothing was done"), "{line}: {reply}");
    }
    assert_eq!(other.ask("GET lock:b"), bulk(B));
    assert_eq!(holder.ask("GET lock:a"), bulk(A));
    sheet.google.clear_faults();
    ask_until(&mut other, "GET lock:a", |reply| reply == bulk(A));
    ask_until(&mut other, "GET lock:free", |reply| reply == NIL);
}

/// Google says that there were too many calls: nobody is told OK for what is not written, and it goes on.
#[test]
fn too_many_calls_are_waited_for() {
    let (mut redis, sheet) = (Redis::start(), Sheet::new());
    let Some(lockside) = subject(&redis, &sheet, SOON) else { return };
    wait_mode(lockside.port(), "healthy");
    let mut client = lockside.client();
    ask_until(&mut client, &take("lock:a", A), |reply| reply == OK);
    redis.kill();
    wait_mode(lockside.port(), "degraded");
    let refused = Kind::Status { code: 429, applied: false };
    sheet.google.fault(Fault { on: Target::Writes, times: Some(2), chance: 1.0, kind: refused });
    ask_until(&mut client, &take("lock:b", B), |reply| reply == OK);
    sheet.wait_row(&["claim", "lock:b", B]);
    assert!(sheet.google.journal().iter().filter(|call| call.status == 429).count() == 2);
}

/// Redis is well and Google is not: once nobody knows any more what the others do, nothing is granted; what
/// Redis has granted before that is written when Google is back.
#[test]
fn calm_times_without_google_end_and_come_back() {
    for (kind, why) in ways() {
        let (redis, sheet) = (Redis::start(), Sheet::new());
        let Some(lockside) = subject(&redis, &sheet, &format!("{SOON}{IMPATIENT}")) else { return };
        wait_mode(lockside.port(), "healthy");
        let mut client = lockside.client();
        ask_until(&mut client, &take("lock:a", A), |reply| reply == OK);
        goes_away(&sheet, &kind);
        let mut granted = Vec::new();
        wait_until(&format!("told {why}"), || {
            let key = format!("lock:{}", granted.len());
            match client.ask(&take(&key, B)) {
                reply if reply == OK => granted.push(key),
                reply => return reply.starts_with('-') && reply.contains(why),
            }
            false
        });
        assert_eq!(client.ask("GET lock:a"), bulk(A), "{why}");
        assert_eq!(client.ask("SET other 1"), OK, "{why}");
        sheet.google.clear_faults();
        ask_until(&mut client, &take("lock:later", B), |reply| reply == OK);
        granted.iter().for_each(|key| sheet.wait_row(&["grant", key, B]));
    }
}

/// Tokens are taken back: a new one is fetched, and nobody notices. The account is deleted: that is said,
/// with its name, and heals when it is there again.
#[test]
fn tokens_and_accounts_that_go_away() {
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let Some(lockside) = subject(&redis, &sheet, SOON) else { return };
    wait_mode(lockside.port(), "healthy");
    let mut client = lockside.client();
    ask_until(&mut client, &take("lock:a", A), |reply| reply == OK);
    sheet.google.revoke_tokens();
    ask_until(&mut client, &take("lock:b", A), |reply| reply == OK);
    sheet.wait_row(&["grant", "lock:b", A]);
    let account = sheet.google.account(1);
    sheet.google.set_account(&account, false);
    sheet.google.revoke_tokens();
    let mut number = 0;
    wait_until("it is said", || {
        number += 1;
        let reply = client.ask(&take(&format!("lock:{number}"), B));
        assert!(reply == OK || reply.starts_with('-'), "{reply}");
        reply.contains(&account)
    });
    sheet.google.set_account(&account, true);
    ask_until(&mut client, &take("lock:d", B), |reply| reply == OK);
    let Some(process) = lockside.process() else { return };
    let told = process.output();
    assert!(!told.contains("ya29") && !told.contains("PRIVATE"), "{told}");
}

/// An orderly end takes no longer than it may, though Google never answers, and says what was lost.
#[test]
fn an_end_without_google_is_in_time() {
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let late = SOON.replace("300ms", "60s");
    let tables = sheet.table(&late);
    let settings =
        Settings { top: "drain_timeout = \"2s\"", tables: &tables, ..Settings::default() };
    if direct() {
        return;
    }
    let mut lockside = Subject::with(&redis, settings);
    wait_mode(lockside.port(), "healthy");
    ask_until(&mut lockside.client(), &take("lock:a", A), |reply| reply == OK);
    goes_away(&sheet, &Kind::Hang { applied: false });
    let Some(process) = lockside.process_mut() else { return };
    let began = Instant::now();
    process.signal("TERM");
    wait_until("lockside has ended", || process.exit_code() == Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let told = process.output();
    assert!(told.contains("entries of the ledger could not be written in time"), "{told}");
}
