//! What each value may be: its reading from text, its bounds, and what is said otherwise.
//!
//! File, environment and flags all come through here, so that a value means the same wherever it
//! is written.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing_subscriber::filter::Targets;

use super::problem::Wrong;
use super::text::{parse_duration, parse_size, parse_switch, show_duration, show_size};
use super::{Conflict, LedgerKind, Listen, LogFormat, MAX_THREADS, Upstream, address};
use crate::ledger::Guarantee;
use crate::lock::rule::{Glob, Mode, Outage, Stamp};

/// Bounds of a whole number, a size or a duration, both included.
pub(super) struct Range<T> {
    pub(super) min: T,
    pub(super) max: T,
}

pub(super) const THREADS: Range<usize> = Range { min: 1, max: MAX_THREADS };
/// A tenth of a second leaves room for two round trips; above an hour it would be no safety.
pub(super) const SAFETY_TTL: Range<Duration> =
    Range { min: Duration::from_millis(100), max: Duration::from_secs(3600) };
/// Ten years: longer is a mistake in the unit.
pub(super) const LOCK_TTL: Range<Duration> =
    Range { min: Duration::from_millis(100), max: Duration::from_secs(3650 * 86_400) };
pub(super) const CONNECT_TIMEOUT: Range<Duration> =
    Range { min: Duration::from_millis(1), max: Duration::from_secs(60) };
pub(super) const COMMAND_TIMEOUT: Range<Duration> =
    Range { min: Duration::from_millis(10), max: Duration::from_secs(600) };
/// Longer than a second, and clients would notice a lock that is free.
pub(super) const HELD_CACHE: Range<Duration> =
    Range { min: Duration::ZERO, max: Duration::from_secs(1) };
pub(super) const DRAIN_TIMEOUT: Range<Duration> =
    Range { min: Duration::ZERO, max: Duration::from_secs(3600) };
/// Below a tenth of a second a busy disk would refuse acquires; nobody waits longer than an hour.
pub(super) const ACQUIRE_TIMEOUT: Range<Duration> =
    Range { min: Duration::from_millis(100), max: Duration::from_secs(3600) };
pub(super) const RELEASE_WAIT: Range<Duration> =
    Range { min: Duration::from_millis(100), max: Duration::from_secs(600) };
/// Of `mirror_interval`, `poll` and `stall_after`, and of probes: shorter is a busy loop, longer
/// leaves an outage unseen.
pub(super) const BEAT: Range<Duration> =
    Range { min: Duration::from_millis(10), max: Duration::from_secs(60) };
pub(super) const HEARTBEAT: Range<Duration> =
    Range { min: Duration::from_millis(100), max: Duration::from_secs(600) };
pub(super) const CLOCK_SKEW: Range<Duration> =
    Range { min: Duration::ZERO, max: Duration::from_secs(3600) };
pub(super) const RECOVER_AFTER: Range<Duration> =
    Range { min: Duration::ZERO, max: Duration::from_secs(600) };
/// No Redis has more.
pub(super) const REPLICAS: Range<usize> = Range { min: 0, max: 1000 };
/// Shorter than a round trip between two data centres would refuse every acquire.
pub(super) const REPLICA_TIMEOUT: Range<Duration> =
    Range { min: Duration::from_millis(10), max: Duration::from_secs(60) };
/// A pass reads every lock: more often than each second it would be traffic of its own.
pub(super) const REPAIR_INTERVAL: Range<Duration> =
    Range { min: Duration::from_secs(1), max: Duration::from_secs(86_400) };
/// Where it is on: a shorter one would free locks that are just being used.
const MAX_HOLD: Range<Duration> =
    Range { min: Duration::from_secs(1), max: Duration::from_secs(3650 * 86_400) };
/// Most addresses to listen on.
const MAX_LISTEN: usize = 16;
/// Longest glob, in bytes.
const MAX_GLOB: usize = 1024;
/// Longest suffix of keys that show a fence, in bytes.
const MAX_SUFFIX: usize = 64;
/// Longest name of a rule or a namespace, in bytes: it is a label in metrics.
const MAX_NAME: usize = 64;

impl Range<usize> {
    /// Reads a whole number.
    pub(super) fn parse(&self, text: &str) -> Result<usize, Wrong> {
        let expected = || format!("a whole number, {} to {}", self.min, self.max);
        let number = text.parse().map_err(|_| unusable(text, "whole number", expected()))?;
        self.within(text, number, expected)
    }

    /// Reads a size in bytes.
    pub(super) fn parse_size(&self, text: &str) -> Result<usize, Wrong> {
        let (min, max) = (show_size(self.min), show_size(self.max));
        let expected = || format!("bytes or a size such as \"64KiB\", {min} to {max}");
        let size = parse_size(text).ok_or_else(|| unusable(text, "size", expected()))?;
        self.within(text, size, expected)
    }
}

impl Range<Duration> {
    /// Reads a duration.
    pub(super) fn parse(&self, text: &str) -> Result<Duration, Wrong> {
        let (min, max) = (show_duration(self.min), show_duration(self.max));
        let expected = || format!("seconds or a duration such as \"500ms\", {min} to {max}");
        let duration =
            parse_duration(text).ok_or_else(|| unusable(text, "duration", expected()))?;
        self.within(text, duration, expected)
    }
}

impl<T: PartialOrd> Range<T> {
    fn within(&self, text: &str, value: T, expected: impl Fn() -> String) -> Result<T, Wrong> {
        if value >= self.min && value <= self.max {
            return Ok(value);
        }
        Err(Wrong::new(format!("{text} is out of range"), expected()))
    }
}

pub(super) fn set_upstream(upstream: &mut Upstream, url: &str) -> Result<(), Wrong> {
    let endpoint = address::parse_upstream(url)?;
    upstream.address = endpoint.address;
    upstream.username = endpoint.username;
    upstream.password = endpoint.password;
    Ok(())
}

/// What must hold for all of `listen` together.
pub(super) fn check_listen(listen: &[Listen]) -> Result<(), Wrong> {
    let port_chosen = |entry: &Listen| !matches!(entry, Listen::Tcp(tcp) if tcp.port() == 0);
    let repeated = |(place, entry): (usize, &Listen)| listen[..place].contains(entry);
    let twice = listen.iter().enumerate().filter(|(_, entry)| port_chosen(entry));
    if let Some((_, entry)) = twice.into_iter().find(|&pair| repeated(pair)) {
        return Err(Wrong::new(format!("{entry} stands twice"), "each address once"));
    }
    if listen.is_empty() || listen.len() > MAX_LISTEN {
        let what = format!("{} addresses", listen.len());
        return Err(Wrong::new(what, format!("1 to {MAX_LISTEN}")));
    }
    Ok(())
}

pub(super) fn state_dir(text: &str) -> Result<PathBuf, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not absolute"), "an absolute path");
    let path = Path::new(text);
    path.is_absolute().then(|| path.to_owned()).ok_or_else(wrong)
}

pub(super) fn time_zone(name: &str) -> Result<TimeZone, Wrong> {
    let expected = r#"an IANA name such as "UTC" or "Europe/Berlin""#;
    TimeZone::get(name).map_err(|_| unusable(name, "time zone", expected))
}

/// A bare word must be a level: `tracing` itself would take any other word for a module's name
/// and log nothing.
pub(super) fn log_level(text: &str) -> Result<String, Wrong> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |part: &str| part.contains('=') || LEVELS.contains(&part.to_lowercase().as_str());
    if text.split(',').all(known) && text.parse::<Targets>().is_ok() {
        return Ok(text.to_owned());
    }
    let expected =
        r#"error, warn, info, debug, trace or off, or directives such as "info,lockside=debug""#;
    Err(unusable(text, "log level", expected))
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    choice(text, "log format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

pub(super) fn mode(text: &str) -> Result<Mode, Wrong> {
    choice(text, "mode", &[("persistent", Mode::Persistent), ("ttl", Mode::Ttl)])
}

pub(super) fn stamp(text: &str) -> Result<Stamp, Wrong> {
    let choices = [("auto", Stamp::Auto), ("always", Stamp::Always), ("never", Stamp::Never)];
    choice(text, "stamp", &choices)
}

pub(super) fn guarantee(text: &str) -> Result<Guarantee, Wrong> {
    let choices = [Guarantee::Strict, Guarantee::Fast].map(|choice| (choice.word(), choice));
    choice(text, "guarantee", &choices)
}

pub(super) fn conflict(text: &str) -> Result<Conflict, Wrong> {
    choice(text, "side", &[("ledger", Conflict::Ledger), ("upstream", Conflict::Upstream)])
}

/// `strict` has told the ledger's holder that the lock is its own; Redis can't take it away.
pub(super) fn check_conflict(conflict: Conflict, guarantee: Guarantee) -> Result<(), Wrong> {
    match (conflict, guarantee) {
        (Conflict::Upstream, Guarantee::Strict) => {
            let what = r#""upstream" does not go with guarantee = "strict""#;
            Err(Wrong::new(what, r#""ledger", or guarantee = "fast""#))
        }
        _ => Ok(()),
    }
}

/// `fast` tells grants apart by their stored values (SPEC 4).
pub(super) fn check_stamp(stamp: Stamp, repeats: bool, guarantee: Guarantee) -> Result<(), Wrong> {
    match (stamp, guarantee) {
        (Stamp::Never, Guarantee::Fast) if !repeats => {
            let what = r#""never" does not go with guarantee = "fast""#;
            Err(Wrong::new(what, r#""auto" or "always", or allow_repeated_values = true"#))
        }
        _ => Ok(()),
    }
}

pub(super) fn ledger_kind(text: &str) -> Result<LedgerKind, Wrong> {
    let choices = [("sqlite", LedgerKind::Sqlite), ("sheets", LedgerKind::Sheets)];
    let kind = choice(text, "kind of ledger", &choices)?;
    check_built(kind)?;
    Ok(kind)
}

/// The client of Google can be left out of a build.
pub(super) fn check_built(kind: LedgerKind) -> Result<(), Wrong> {
    if kind == LedgerKind::Sheets && !cfg!(feature = "sheets") {
        let what = "a sheet ledger is not in this build of Lockside";
        return Err(Wrong::new(what, r#""sqlite", or a build with the feature `sheets`"#));
    }
    Ok(())
}

/// Relative to `state_dir`, or absolute.
pub(super) fn ledger_path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        return Err(unusable(text, "file", r#"a path such as "ledger.db""#));
    }
    Ok(PathBuf::from(text))
}

/// A duration, or that each rule's own counts.
pub(super) fn acquire_timeout(text: &str) -> Result<Option<Duration>, Wrong> {
    if text == "safety_ttl" {
        return Ok(None);
    }
    ACQUIRE_TIMEOUT.parse(text).map(Some).map_err(|wrong| {
        Wrong::new(wrong.what, format!("\"safety_ttl\" (the rule's), or {}", wrong.expected))
    })
}

/// The wait for replicas is one step of a lock command.
pub(super) fn check_replicas(upstream: &Upstream) -> Result<(), Wrong> {
    if upstream.min_replicas == 0 || upstream.replica_timeout < upstream.command_timeout {
        return Ok(());
    }
    let (wait, step) = (upstream.replica_timeout, upstream.command_timeout);
    let what = format!("replica_timeout ({}) is too long for it", show_duration(wait));
    Err(Wrong::new(what, format!("less than command_timeout ({})", show_duration(step))))
}

pub(super) fn outage(text: &str) -> Result<Outage, Wrong> {
    let choices =
        [("ledger", Outage::Ledger), ("refuse", Outage::Refuse), ("local", Outage::Local)];
    choice(text, "answer to an outage", &choices)
}

/// Zero is off.
pub(super) fn max_hold(text: &str) -> Result<Option<Duration>, Wrong> {
    if parse_duration(text) == Some(Duration::ZERO) {
        return Ok(None);
    }
    let read = MAX_HOLD.parse(text).map(Some);
    read.map_err(|wrong| Wrong::new(wrong.what, format!("0 (off), or {}", wrong.expected)))
}

/// An empty one is off.
pub(super) fn fence_suffix(text: &str) -> Result<Option<Vec<u8>>, Wrong> {
    let is_plain = text.len() <= MAX_SUFFIX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let expected = || format!("\"\" (off), or up to {MAX_SUFFIX} visible ASCII characters");
    match is_plain {
        true => Ok(Some(text.as_bytes().to_vec()).filter(|suffix| !suffix.is_empty())),
        false => Err(unusable(text, "suffix", expected())),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, Wrong> {
    parse_switch(text).ok_or_else(|| unusable(text, "switch", "true or false"))
}

pub(super) fn glob(text: &str) -> Result<Glob, Wrong> {
    match text.len() {
        1..=MAX_GLOB => Ok(Glob::new(text.as_bytes())),
        0 => Err(Wrong::new("an empty glob matches the empty key only", r#"a glob like "lock:*""#)),
        long => Err(Wrong::new(format!("a glob of {long} bytes"), format!("at most {MAX_GLOB}"))),
    }
}

/// A rule's name, or a namespace.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    let expected = format!("1 to {MAX_NAME} of a-z A-Z 0-9 - _ .");
    Err(unusable(text, "name", expected))
}

fn choice<T: Copy>(text: &str, noun: &str, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        unusable(text, noun, names.join(" or "))
    })
}

fn unusable(text: &str, noun: &str, expected: impl Display) -> Wrong {
    Wrong::new(format!("{text:?} is no {noun}"), expected.to_string())
}
