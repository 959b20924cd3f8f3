//! An outage of Redis, with the sheet as all that is left.

use super::{SOON, Sheet};
use crate::support::client::ask_until;
use crate::support::locks::{A, B, C, NIL, OK, ONE, QUICK, bulk, give, locks_of, take, wait_mode};
use crate::support::{Redis, Settings, Subject, direct, wait_until};

/// Lockside with its ledger in `sheet`; none in direct mode.
pub(super) fn subject(redis: &Redis, sheet: &Sheet, lines: &str) -> Option<Subject> {
    if direct() {
        return None;
    }
    let tables = sheet.table(lines);
    Some(Subject::with(redis, Settings { upstream: QUICK, tables: &tables, ..Settings::default() }))
}

/// The whole story of an outage: what was granted before it is held in it, what is granted and released
/// in it survives a crash, and all of it is in Redis afterwards.
#[test]
fn locks_outlive_redis_and_lockside() {
    let (mut redis, sheet) = (Redis::start(), Sheet::new());
    let Some(mut lockside) = subject(&redis, &sheet, SOON) else { return };
    wait_mode(lockside.port(), "healthy");
    let (mut holder, mut stranger) = (lockside.client(), lockside.client());
    ask_until(&mut holder, &take("lock:kept", A), |reply| reply == OK);
    ask_until(&mut holder, &take("lock:freed", A), |reply| reply == OK);
    sheet.wait_row(&["grant", "lock:kept", A]);
    sheet.wait_row(&["grant", "lock:freed", A]);

    redis.kill();
    wait_mode(lockside.port(), "degraded");
    assert_eq!(holder.ask("GET lock:kept"), bulk(A));
    assert_eq!(stranger.ask(&take("lock:kept", B)), NIL);
    assert_eq!(stranger.ask(&give("lock:freed", B)), ":0\r\n");
    assert_eq!(holder.ask(&give("lock:freed", A)), ONE);
    ask_until(&mut stranger, &take("lock:new", C), |reply| reply == OK);
    sheet.wait_row(&["claim", "lock:new", C]);
    sheet.wait_row(&["won", "lock:new"]);

    lockside.kill();
    lockside.start_again();
    let mut stranger = lockside.client();
    ask_until(&mut stranger, "GET lock:kept", |reply| reply == bulk(A));
    assert_eq!(stranger.ask("GET lock:new"), bulk(C));
    assert_eq!(stranger.ask("GET lock:freed"), NIL);
    assert_eq!(stranger.ask(&take("lock:kept", B)), NIL);
    ask_until(&mut stranger, &take("lock:freed", B), |reply| reply == OK);

    redis.start_empty();
    wait_mode(lockside.port(), "healthy");
    wait_until("Redis has the locks", || {
        let expected = [("lock:freed", B), ("lock:kept", A), ("lock:new", C)];
        locks_of(&redis) == expected.map(|(key, value)| (key.into(), value.into())).into()
    });
    assert_eq!(stranger.ask(&give("lock:new", C)), ONE);
    assert_eq!(redis.ask("GET lock:new"), NIL);
}

/// SIGTERM: what waits for the mirror is in the sheet before the process ends, and the log says that it
/// has ended.
#[test]
fn an_orderly_end_writes_what_waits() {
    let (redis, sheet) = (Redis::start(), Sheet::new());
    let late = SOON.replace("300ms", "60s");
    let Some(mut lockside) = subject(&redis, &sheet, &late) else { return };
    wait_mode(lockside.port(), "healthy");
    let mut holder = lockside.client();
    ask_until(&mut holder, &take("lock:a", A), |reply| reply == OK);
    assert!(!sheet.rows().iter().any(|row| row.contains("lock:a")), "the mirror is a minute late");
    let Some(process) = lockside.process_mut() else { return };
    process.signal("TERM");
    wait_until("lockside has ended", || process.exit_code() == Some(0));
    sheet.wait_row(&["grant", "lock:a", A]);
    sheet.wait_row(&["end"]);
}
