//! Google's quota, with Google's usual latency and Lockside's own defaults.

use std::time::{Duration, Instant};

use emulated_sheets::{Latency, Quota};

use super::Sheet;
use super::outage::subject;
use crate::support::client::ask_until;
use crate::support::locks::{A, OK, ONE, give, take, wait_mode};
use crate::support::{Redis, wait_until};

/// Locks that come and go all the time cost 20 writes a minute, however many they are, and polls 40 reads:
/// docs/sheets.md says so. Grants do not wait for Google.
#[test]
fn calm_times_stay_far_below_the_quota() {
    const PLAYED: Duration = Duration::from_secs(12);
    let (redis, sheet) = (Redis::start(), Sheet::with(Quota::default()));
    sheet.google.set_latency(Some(Latency::default()));
    let Some(lockside) = subject(&redis, &sheet, "") else { return };
    wait_mode(lockside.port(), "healthy");
    let mut client = lockside.client();
    ask_until(&mut client, &take("lock:first", A), |reply| reply == OK);
    // What the start has cost is over.
    sheet.wait_row(&["grant", "lock:first"]);
    sheet.google.clear_journal();
    let began = Instant::now();
    let (mut number, mut at_once) = (0, 0);
    while began.elapsed() < PLAYED {
        let key = format!("lock:{number}");
        let asked = Instant::now();
        // A slow answer of Google's may let the view of the ledger grow old: then it is asked first.
        ask_until(&mut client, &take(&key, A), |reply| reply == OK);
        at_once += u32::from(asked.elapsed() < Duration::from_millis(100));
        ask_until(&mut client, &give(&key, A), |reply| reply == ONE);
        number += 1;
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let calls = sheet.google.journal();
    let count = |write| calls.iter().filter(|call| call.write == Some(write)).count();
    assert!(count(true) <= 7, "{} writes in {PLAYED:?}", count(true));
    assert!(count(false) <= 11, "{} reads in {PLAYED:?}", count(false));
    assert!(calls.iter().all(|call| call.status == 200), "{calls:?}");
    assert!(at_once * 10 >= number * 9, "{at_once} of {number} at once");
    wait_until("the mirror has all", || {
        let last = format!("lock:{}", number - 1);
        sheet.rows().iter().any(|row| row.contains("release") && row.contains(&last))
    });
}
