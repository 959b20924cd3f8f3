//! What is followed of locks that others put into Redis directly (SPEC 6).

use std::collections::BTreeSet;
use std::time::Duration;

use super::problem::Wrong;
use super::values::Range;
use crate::lock::rule::Rule;

/// Most databases that are observed: each changed key is looked at in each of them, for Redis does
/// not say in which one it was changed.
pub const MAX_DATABASES: usize = 16;
/// The highest number of a database that is searched for locks.
const LAST_DATABASE: u32 = 63;
/// More often than each second it would be traffic of its own.
const SCAN: Range<Duration> =
    Range { min: Duration::from_secs(1), max: Duration::from_secs(86_400) };

/// How rules with `observe = true` are observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// For rules that do not say it themselves.
    pub by_default: bool,
    /// In which databases. Never empty. Default: 0, which is what a URL without a number names.
    pub databases: BTreeSet<u32>,
    /// How long after one search through all keys the next one begins, at most: each of them takes
    /// its time, 500 keys and a pause by turns.
    pub scan: Duration,
}

impl Default for Observe {
    fn default() -> Self {
        Self { by_default: false, databases: BTreeSet::from([0]), scan: Duration::from_secs(60) }
    }
}

/// One number of `observe_databases`.
pub(super) fn database(text: &str) -> Result<u32, Wrong> {
    let number = text.parse().ok().filter(|number| *number <= LAST_DATABASE);
    number.ok_or_else(|| {
        let expected = format!("numbers of databases such as [0, 1], each 0 to {LAST_DATABASE}");
        Wrong::new(format!("{text:?} is no database that can be observed"), expected)
    })
}

/// What must hold for all of `observe_databases` together.
pub(super) fn check_databases(databases: &[u32]) -> Result<(), Wrong> {
    let expected = || format!("1 to {MAX_DATABASES} databases, each once");
    let distinct: BTreeSet<_> = databases.iter().collect();
    match databases.len() {
        1..=MAX_DATABASES if distinct.len() == databases.len() => Ok(()),
        1..=MAX_DATABASES => Err(Wrong::new("a database stands twice", expected())),
        count => Err(Wrong::new(format!("{count} databases"), expected())),
    }
}

/// A duration between two searches.
pub(super) fn scan(text: &str) -> Result<Duration, Wrong> {
    SCAN.parse(text)
}

/// Redis tells of changed keys by how they begin: a glob without a literal beginning would make it
/// tell of every key.
pub(super) fn check_rule(rule: &Rule) -> Result<(), Wrong> {
    let open = rule.keys.iter().find(|glob| glob.prefix().is_empty());
    match open.filter(|_| rule.observe) {
        None => Ok(()),
        Some(glob) => {
            let name = &rule.name;
            let what = format!("rule {name}: \"{glob}\" begins with no literal text");
            let expected =
                r#"globs such as "lock:*" in a rule that is observed, or observe = false in it"#;
            Err(Wrong::new(what, expected))
        }
    }
}
