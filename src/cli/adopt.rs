//! `lockside adopt`: takes in locks that stand in Redis already, on the day Lockside comes.
//!
//! The running Lockside does it, by its repair pass (SPEC 7): this command looks at Redis, shows
//! what the running one does not know yet, and asks it to start a pass.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::SystemTime;

use redis::Value;

use super::ask::{Failure, Link};
use super::survey::{Survey, survey};
use super::table::{Lock, table};
use super::{EXIT_UNREACHABLE, complain, print};
use crate::config::Settings;
use crate::lock::record::LockKey;
use crate::lock::value;
use crate::session::Stamper;
use crate::telemetry::{SHOWN_OF_A_TOKEN, escape};

/// Looks at Redis by `upstream` and at what the Lockside at `running` knows, if one runs there.
pub(super) fn run(
    settings: &Settings,
    upstream: &mut Link,
    running: Result<Link, Failure>,
    dry_run: bool,
) -> Result<ExitCode, Failure> {
    let mut running = match running {
        // One that does not let us in knows what we can't tell apart.
        Err(failure) if !matches!(failure, Failure::Unreachable(..)) => return Err(failure),
        running => running,
    };
    let mut found = survey(upstream, settings)?;
    if let Ok(link) = &mut running {
        let known = known(link)?;
        found.locks.retain(|lock, _| !known.contains(lock));
        found.others.retain(|lock| !known.contains(lock));
    }
    print(table(&shown(&found, settings)));
    remarks(&found);
    match running {
        Err(failure) => {
            complain(failure);
            complain("a Lockside adopts these, but for those its ledger knows, when it starts");
            Ok(if dry_run { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNREACHABLE) })
        }
        Ok(_) if dry_run => Ok(ExitCode::SUCCESS),
        Ok(mut link) => {
            link.ask_lockside(redis::cmd("LOCKSIDE").arg("REPAIR"))?;
            print("a repair pass has been started, which adopts them; see `lockside locks`");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What the running Lockside has in its table.
fn known(link: &mut Link) -> Result<BTreeSet<LockKey>, Failure> {
    let reply = link.ask_lockside(redis::cmd("LOCKSIDE").arg("LOCKS"))?;
    let Value::Array(values) = reply else { return Err(link.stranger("no list of locks")) };
    let locks = values.into_iter().map(|value| Lock::read(value)?.lock_key());
    locks.collect::<Option<_>>().ok_or_else(|| link.stranger("no list of locks"))
}

/// As `lockside locks` shows them; what the value does not tell stays empty.
fn shown(found: &Survey, settings: &Settings) -> Vec<Lock> {
    let stamper = Stamper::new(settings.time_zone.clone());
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    let lock = |(lock, stored): (&LockKey, &Vec<u8>)| {
        let rule = settings.rules.find(lock.key())?;
        let client_value = value::strip(stored, rule.stamp);
        let owner = value::worker_id(client_value).unwrap_or_default();
        // Of `a:b` the b is the secret.
        let secret = if owner.is_empty() { 0 } else { owner.len() + 1 };
        let token = String::from_utf8_lossy(client_value.get(secret..).unwrap_or_default());
        let token: String = token.chars().take(SHOWN_OF_A_TOKEN).collect();
        let age = stamper.read_timestamp(stored).map(|at| now_ms.saturating_sub(at) / 1000);
        let bulk = |text: &[u8]| Value::BulkString(text.to_vec());
        let since = value::stamped_at(stored).unwrap_or_default();
        Some(Lock::new([
            ("key", bulk(lock.key())),
            ("db", Value::Int(i64::from(lock.db()))),
            ("owner", bulk(owner.as_bytes())),
            ("token", bulk(token.as_bytes())),
            ("age_seconds", age.map_or(Value::Nil, |age| Value::Int(age.cast_signed()))),
            ("since", bulk(since.as_bytes())),
            ("rule", bulk(rule.name.as_bytes())),
        ]))
    };
    found.locks.iter().filter_map(lock).collect()
}

/// What a person should know of keys that are not in the table. Also for `eject`.
pub(super) fn remarks(found: &Survey) {
    if let Some(first) = found.others.first() {
        complain(format_args!(
            "{} keys of other types than string match as well, such as {}; hashes, sorted sets, sets \
             and lists of up to 4 KiB are adopted too, whether they are locks or data",
            found.others.len(),
            escape(first.key())
        ));
    }
    if found.cut_off {
        complain("there are more than limits.locks; the rest was not looked at: raise the limit");
    }
}
