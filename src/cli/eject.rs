//! `lockside eject`: gives every lock in Redis a TTL, for the day Lockside is taken away.
//!
//! After it the locks are what they were without Lockside: keys that run out. A lock that changes
//! hands meanwhile is left alone, by a script that compares the value.

use std::process::ExitCode;
use std::time::Duration;

use redis::Value;

use super::adopt::remarks;
use super::ask::{Failure, Link};
use super::survey::survey;
use super::{EXIT_NO, advice, complain, print};
use crate::config::text::{parse_duration, show_duration};
use crate::config::{LedgerKind, Settings};
use crate::ledger::presence::Presence;
use crate::lock::record::LockKey;

/// Keys of one script: it takes well under a millisecond.
const BATCH: usize = 100;
const SCRIPT: &str = include_str!("eject.lua");

/// What the command line asks for.
#[derive(clap::Args)]
pub(super) struct Eject {
    /// The TTL: seconds, or a duration such as 30m
    #[arg(long, value_name = "N", value_parser = ttl)]
    ttl: Duration,
    /// Only say how many locks there are
    #[arg(long)]
    dry_run: bool,
    /// Also keys of other types than string, such as Redisson's hashes. Whether they are locks or
    /// data can't be seen: look before
    #[arg(long)]
    other_types: bool,
    /// Even while a Lockside serves from this ledger; its repair will take the TTLs off again
    #[arg(long)]
    force: bool,
}

/// At most ten years, as for any lock.
fn ttl(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(3650 * 86_400);
    let fits = |ttl: &Duration| (Duration::from_secs(1)..=longest).contains(ttl);
    parse_duration(text)
        .filter(fits)
        .ok_or_else(|| "expected seconds or a duration such as \"30m\", 1s to 3650d".into())
}

/// Gives the TTLs, unless a Lockside would take them off again.
pub(super) fn run(settings: &Settings, link: &mut Link, how: &Eject) -> Result<ExitCode, Failure> {
    let ledger = &settings.ledger.path;
    let alone = if how.force || how.dry_run { Ok(None) } else { Presence::alone(ledger) };
    match &alone {
        Ok(None) if !how.force && !how.dry_run => {
            let ledger = ledger.display();
            complain(format_args!(
                "a Lockside serves from {ledger}, or another command works on it; stop it first, or say \
                 --force"
            ));
            return Ok(ExitCode::from(EXIT_NO));
        }
        // No directory, no ledger: none serves from there.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let ledger = ledger.display();
            complain(format_args!(
                "can't tell whether a Lockside serves from {ledger}: {}, or say --force",
                advice::file(error)
            ));
            return Ok(ExitCode::from(EXIT_NO));
        }
        _ => {}
    }
    let found = survey(link, settings)?;
    let strings = found.locks.iter().map(|(lock, value)| (lock, Some(value.as_slice())));
    let others = found.others.iter().map(|lock| (lock, None));
    let others = others.take(if how.other_types { usize::MAX } else { 0 });
    let locks: Vec<(&LockKey, Option<&[u8]>)> = strings.chain(others).collect();
    if !how.other_types {
        remarks(&found);
    }
    if how.dry_run {
        print(format_args!("{} locks without a TTL", locks.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let given = eject(link, &locks, how.ttl)?;
    print(format_args!(
        "{given} of {} locks have a TTL of {} now{}",
        locks.len(),
        show_duration(how.ttl),
        if given == locks.len() {
            ""
        } else {
            "; the others have changed meanwhile: run it again to see to them"
        }
    ));
    if settings.ledger.kind == LedgerKind::Sheets {
        print(
            "before a Lockside serves from this spreadsheet again, give it another ledger.name: it \
             would put these locks back",
        );
    } else if ledger.exists() {
        let ledger = ledger.display();
        print(format_args!(
            "before a Lockside serves here again, move {ledger} away: it would put \
                            these locks back"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn eject(
    link: &mut Link,
    locks: &[(&LockKey, Option<&[u8]>)],
    ttl: Duration,
) -> Result<usize, Failure> {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let mut given = 0;
    for same_db in locks.chunk_by(|(one, _), (other, _)| one.db() == other.db()) {
        link.ask(redis::cmd("SELECT").arg(same_db.first().map_or(0, |(lock, _)| lock.db())))?;
        for batch in same_db.chunks(BATCH) {
            let mut script = redis::cmd("EVAL");
            script.arg(SCRIPT).arg(batch.len());
            for (lock, _) in batch {
                script.arg(lock.key());
            }
            script.arg(ttl);
            for (_, value) in batch {
                let guard = value.map(|value| [b"s".as_slice(), value].concat());
                script.arg(guard.unwrap_or_else(|| b"o".to_vec()));
            }
            match link.ask(&script)? {
                Value::Int(count) => given += usize::try_from(count).unwrap_or(0),
                _ => return Err(link.stranger("EVAL does not answer with a number")),
            }
        }
    }
    Ok(given)
}
