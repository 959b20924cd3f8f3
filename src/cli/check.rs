//! `lockside check`: is the configuration valid, and does the Redis behind it fit.
//!
//! One line for each finding: `ok`, `warn` or `fail`. The questions are asked here; what the
//! answers mean is [`findings`]' business, which is pure. With `--probe` a spreadsheet is measured too.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use redis::Value;

use super::ask::{Failure, Link};
use super::{EXIT_NO, print, wrong};
use crate::config::text::{parse_duration, show_duration};
use crate::config::{LedgerKind, Settings, Upstream};
use crate::lock::rule::{Mode, Outage, Rule};
use crate::upstream::tracker;
use findings::{Finding, Save, judge};

mod findings;
mod ledger;
#[cfg(feature = "sheets")]
mod probe;
#[cfg(feature = "sheets")]
mod sheet;

/// What is checked beyond the usual.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Measure on the spreadsheet that is the ledger what Google does not document, above all whether of two
    /// concurrent exchanges one always sees the other. It writes into hidden tabs of its own, and removes
    /// them
    #[arg(long)]
    probe: bool,
    /// With --probe: writers at the same time, 2 to 10
    #[arg(long, value_name = "N", default_value_t = 4, requires = "probe",
          value_parser = clap::value_parser!(u16).range(2..=10))]
    writers: u16,
    /// With --probe: exchanges of each writer, 1 to 200
    #[arg(long, value_name = "M", default_value_t = 5, requires = "probe",
          value_parser = clap::value_parser!(u16).range(1..=200))]
    exchanges: u16,
    /// With --probe: end it after this time, 10s to 1h
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "probe",
          value_parser = time_limit)]
    time_limit: Duration,
}

fn time_limit(text: &str) -> Result<Duration, &'static str> {
    let range = Duration::from_secs(10)..=Duration::from_secs(3_600);
    parse_duration(text).filter(|time| range.contains(time)).ok_or("expected 10s to 1h")
}

/// Prints the findings. The configuration has been read, so it is valid.
pub(super) fn run(settings: &Settings, options: &Options) -> ExitCode {
    if options.probe && settings.ledger.kind == LedgerKind::Sqlite {
        return wrong(format!(
            "--probe measures a ledger in a Google spreadsheet, and this one is the SQLite file {}, which \
             needs no such proof: leave --probe out, or set ledger.kind = \"sheets\"",
            settings.ledger.path.display()
        ));
    }
    let mut found = vec![Finding::ok("configuration is valid")];
    found.extend(settings.warnings.iter().map(Finding::warn));
    found.extend(settings.rules.iter().flat_map(|(_, rule)| about(rule)));
    found.extend(observed(settings));
    if settings.rules.is_empty() {
        found.push(Finding::warn("there is no rule, so no key is a lock: add [[rule]]"));
    }
    let logs = look_at_ledger(settings, &mut found);
    match upstream(&settings.upstream) {
        Ok(findings) => found.extend(findings),
        Err(failure) => found.push(Finding::fail(failure)),
    }
    found.iter().for_each(print);
    if options.probe {
        let probed = measured(settings, options, logs);
        probed.iter().for_each(print);
        found.extend(probed);
    }
    match found.iter().any(Finding::is_failure) {
        true => ExitCode::from(EXIT_NO),
        false => ExitCode::SUCCESS,
    }
}

/// Looks at the ledger. How many logs of a spreadsheet have not ended, where it can be used.
fn look_at_ledger(settings: &Settings, found: &mut Vec<Finding>) -> Option<usize> {
    match settings.ledger.kind {
        LedgerKind::Sqlite => {
            found.extend(ledger::judge(settings));
            None
        }
        #[cfg(feature = "sheets")]
        LedgerKind::Sheets => {
            let (judged, logs) = sheet::judge(settings);
            found.extend(judged);
            logs
        }
        // The configuration has refused it.
        #[cfg(not(feature = "sheets"))]
        LedgerKind::Sheets => None,
    }
}

/// What a probe has found, if it can be made.
fn measured(settings: &Settings, options: &Options, logs: Option<usize>) -> Vec<Finding> {
    #[cfg(feature = "sheets")]
    if let Some(logs) = logs {
        return probe::run(settings, options, logs);
    }
    #[cfg(not(feature = "sheets"))]
    let _ = (settings, options, logs);
    vec![Finding::fail("probe: not made, since the spreadsheet can't be used as it is (see above)")]
}

/// What a rule makes of its keys, and what its owner has to know.
fn about(rule: &Rule) -> Vec<Finding> {
    let globs: Vec<String> = rule.keys.iter().map(ToString::to_string).collect();
    let (name, mode) = match rule.mode {
        Mode::Persistent => (&rule.name, "persistent"),
        Mode::Ttl => (&rule.name, "ttl"),
    };
    let mut found = vec![Finding::ok(format!("rule {name} ({mode}): {}", globs.join(" ")))];
    match rule.outage {
        Outage::Ledger => {}
        Outage::Refuse => found.push(Finding::ok(format!(
            "rule {name}: while Redis is away no lock of it is granted (outage = \"refuse\")"
        ))),
        Outage::Local => found.push(Finding::warn(format!(
            "rule {name}: while Redis is away two sidecars may grant one lock (outage = \"local\")"
        ))),
    }
    if let Some(suffix) = &rule.fence_suffix {
        let suffix = String::from_utf8_lossy(suffix);
        found.push(Finding::ok(format!(
            "rule {name}: GET of a lock's key with {suffix} behind it reads its fence; no such key is \
             a lock"
        )));
    }
    if let Some(hold) = rule.max_hold {
        found.push(Finding::warn(format!(
            "rule {name}: a lock is released after {} though its holder may still work (max_hold); \
             safe only where the resource checks the fence",
            show_duration(hold)
        )));
    }
    found
}

/// What is observed of locks that others put into Redis directly.
fn observed(settings: &Settings) -> Option<Finding> {
    let rules: Vec<&str> = settings
        .rules
        .iter()
        .filter(|(_, rule)| rule.observe)
        .map(|(_, rule)| rule.name.as_str())
        .collect();
    let databases: Vec<String> =
        settings.observe.databases.iter().map(ToString::to_string).collect();
    let prefixes = tracker::prefixes(&settings.rules);
    let prefixes: Vec<_> = prefixes.iter().map(|it| String::from_utf8_lossy(it)).collect();
    (!rules.is_empty()).then(|| {
        Finding::ok(format!(
            "observes locks that others put into Redis: rules {}, keys that begin with {}, \
             databases {}, all keys searched every {}",
            rules.join(" "),
            prefixes.join(" "),
            databases.join(" "),
            show_duration(settings.observe.scan)
        ))
    })
}

fn upstream(upstream: &Upstream) -> Result<Vec<Finding>, Failure> {
    let mut link = Link::upstream(upstream)?;
    link.ask(&redis::cmd("PING"))?;
    let mut found = vec![Finding::ok(format!("{} answers", upstream.address))];
    match link.try_ask(&redis::cmd("INFO"))? {
        Ok(Value::BulkString(info)) => {
            let save = save_points(&mut link)?;
            found.extend(judge(&String::from_utf8_lossy(&info), save, upstream.min_replicas));
        }
        Ok(Value::VerbatimString { text, .. }) => {
            let save = save_points(&mut link)?;
            found.extend(judge(&text, save, upstream.min_replicas));
        }
        Ok(_) => found.push(Finding::warn("INFO has no text: version and mode are unknown")),
        Err(text) => {
            let text = format!(
                "INFO is refused ({text}): version and mode are unknown; allow it to the user"
            );
            found.push(Finding::warn(text));
        }
    }
    found.push(scripts(&mut link)?);
    Ok(found)
}

/// Whether Redis writes snapshots: INFO does not say.
fn save_points(link: &mut Link) -> Result<Save, Failure> {
    let reply = link.try_ask(redis::cmd("CONFIG").arg("GET").arg("save"))?;
    Ok(match reply {
        Ok(Value::Array(pair)) => match pair.get(1) {
            Some(Value::BulkString(points)) if points.is_empty() => Save::Off,
            Some(_) => Save::On,
            None => Save::Unknown,
        },
        _ => Save::Unknown,
    })
}

fn scripts(link: &mut Link) -> Result<Finding, Failure> {
    let eval = link.try_ask(redis::cmd("EVAL").arg("return 1").arg(0))?;
    Ok(match eval {
        Ok(_) => Finding::ok("EVAL is allowed"),
        Err(text) => Finding::warn(format!(
            "EVAL is refused ({text}): acquires fall back to a plain PERSIST, and lock libraries \
             that use scripts don't work: allow it to the user (ACL SETUSER)"
        )),
    })
}
