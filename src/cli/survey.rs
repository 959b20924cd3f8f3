//! Which permanent keys of persistent rules stand in Redis: what `adopt` and `eject` speak of.
//!
//! Only reads. Asks with SCAN, so Redis goes on meanwhile; what changes while it is asked may be
//! seen as it was before or after.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Pipeline, Value};

use super::ask::{Failure, Link};
use crate::config::Settings;
use crate::lock::record::LockKey;
use crate::lock::rule::{Mode, Rule};

/// Keys of one SCAN, and of one batch of questions.
const BATCH: usize = 1000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Permanent strings under persistent rules, with their values: locks, as they stand.
    pub(super) locks: BTreeMap<LockKey, Vec<u8>>,
    /// Permanent keys of other types there: a lock of a library that has such ones, or data. The
    /// running Lockside adopts those whose content is small enough for its ledger.
    pub(super) others: BTreeSet<LockKey>,
    /// There are more than the limit; the rest was not looked at.
    pub(super) cut_off: bool,
}

/// What one batch showed of a key.
type Found = (Vec<u8>, Option<Vec<u8>>);

/// Looks at all databases.
pub(super) fn survey(link: &mut Link, settings: &Settings) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    for db in databases(link)? {
        link.ask(redis::cmd("SELECT").arg(db))?;
        for (_, rule) in settings.rules.iter().filter(|(_, rule)| rule.mode == Mode::Persistent) {
            for glob in &rule.keys {
                let mut scan = Scan { link, settings, rule, db, survey: &mut survey };
                scan.run(glob.source())?;
            }
        }
    }
    Ok(survey)
}

/// Databases that have keys.
fn databases(link: &mut Link) -> Result<Vec<u32>, Failure> {
    let info = match link.ask(redis::cmd("INFO").arg("keyspace"))? {
        Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
        Value::VerbatimString { text, .. } => text,
        _ => return Err(link.stranger("INFO has no text")),
    };
    let number = |line: &str| line.strip_prefix("db")?.split(':').next()?.parse().ok();
    Ok(info.lines().filter_map(number).collect())
}

/// One glob of one rule in one database.
struct Scan<'a> {
    link: &'a mut Link,
    settings: &'a Settings,
    rule: &'a Rule,
    db: u32,
    survey: &'a mut Survey,
}

impl Scan<'_> {
    fn run(&mut self, pattern: &[u8]) -> Result<(), Failure> {
        let mut cursor = b"0".to_vec();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(BATCH);
            let (next, keys) = scanned(self.link.ask(&scan)?)
                .ok_or_else(|| self.link.stranger("SCAN does not answer with keys"))?;
            for (key, value) in self.look(&keys)? {
                self.note(&key, value);
            }
            cursor = next;
            if cursor == b"0" || self.survey.cut_off {
                return Ok(());
            }
        }
    }

    /// Which of these are permanent and this rule's; with their values where they are strings.
    fn look(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Found>, Failure> {
        let rules = &self.settings.rules;
        let own = |key: &&Vec<u8>| rules.find(key).is_some_and(|rule| rule.name == self.rule.name);
        let keys: Vec<&Vec<u8>> = keys.iter().filter(own).collect();
        let mut questions = Pipeline::new();
        for key in &keys {
            // One byte more than a lock's value may have tells that it is too long for one.
            let end = self.settings.limits.lock_value;
            questions.cmd("PTTL").arg(key).cmd("GETRANGE").arg(key).arg(0).arg(end);
        }
        let answers = self.link.ask_all(&mut questions)?;
        let mut found = Vec::new();
        for (key, answer) in keys.into_iter().zip(answers.chunks(2)) {
            match answer {
                [Ok(Value::Int(-1)), Ok(Value::BulkString(value))] => {
                    found.push((key.clone(), Some(value.clone())));
                }
                [Ok(Value::Int(-1)), Err(text)] if text.starts_with("WRONGTYPE") => {
                    found.push((key.clone(), None));
                }
                [Ok(Value::Int(_)), _] => {}
                [Err(text), _] | [_, Err(text)] => return Err(self.link.refused(text)),
                _ => return Err(self.link.stranger("PTTL does not answer with a number")),
            }
        }
        Ok(found)
    }

    fn note(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let limits = &self.settings.limits;
        if self.survey.locks.len() + self.survey.others.len() >= limits.locks {
            self.survey.cut_off = true;
            return;
        }
        let lock = LockKey::new(self.db, key);
        match value {
            // Sets: SCAN may name a key twice, and two globs may match it.
            None => drop(self.survey.others.insert(lock)),
            Some(value) if value.len() > limits.lock_value => {}
            Some(value) => drop(self.survey.locks.insert(lock, value)),
        }
    }
}

/// Cursor and keys of a reply to SCAN.
fn scanned(reply: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Value::Array(parts) = reply else { return None };
    let [Value::BulkString(cursor), Value::Array(keys)] = <[Value; 2]>::try_from(parts).ok()?
    else {
        return None;
    };
    let bytes = |key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    };
    Some((cursor, keys.into_iter().map(bytes).collect::<Option<_>>()?))
}
