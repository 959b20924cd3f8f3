//! Entries as rows of the table `entries`, and back.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Error, Row as SqlRow, Transaction, named_params};

use super::failure::{Step, explain};
use super::{StoreError, schema};
use crate::ledger::entry::{Cause, Claim, ContentChange, Entry, Position, Row, Start};
use crate::lock::record::LockKey;

/// Names that are kept once: rules, and clients as far as they fit.
const NAMES: usize = 4_096;

/// Texts that stand in many rows, shared.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        if self.0.len() < NAMES {
            self.0.insert(name.clone());
        }
        name
    }
}

/// Bytes for people: text where they are text.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

impl ToSql for Shown<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let is_text = std::str::from_utf8(self.0).is_ok() && !self.0.contains(&0);
        let value = if is_text { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// SQLite has signed numbers; what is past them, which no clock and no Redis gives, is the highest.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An error for a text that this version does not know.
pub(super) fn strange(column: &str, text: &str) -> Error {
    let short: String = text.chars().take(32).collect();
    let cause = format!("{column} {short:?} is not known: a newer version has written it");
    Error::FromSqlConversionFailure(0, Type::Text, cause.into())
}

/// Sees that the log of this number is this run's: another file that came into the ledger's place has
/// logs of other runs under the same numbers, and their entries would pass for the own ones.
pub(super) fn check_own(
    transaction: &Transaction<'_>,
    path: &Path,
    log: u64,
    start: &Start,
) -> Result<(), StoreError> {
    use rusqlite::OptionalExtension;
    let found = transaction
        .prepare_cached("SELECT * FROM logs WHERE log = ?")
        .and_then(|mut query| query.query_row([signed(log)], schema::start).optional())
        .map_err(|error| explain(path, Step::Before, &error))?;
    match found {
        Some(found) if found == *start => Ok(()),
        Some(_) => lost(path, "its log is another run's"),
        None => lost(path, "its log is not there"),
    }
}

fn lost<T>(path: &Path, what: &str) -> Result<T, StoreError> {
    Err(StoreError::not_applied(format!(
        "{} has lost entries of this run ({what}), as an older copy of it would: restart Lockside to \
         go on with what it has",
        path.display()
    )))
}

/// Writes those of the own rows that are not there yet.
pub(super) fn write(
    transaction: &Transaction<'_>,
    path: &Path,
    log: u64,
    own: &[Row],
) -> Result<(), StoreError> {
    if own.is_empty() {
        return Ok(());
    }
    let failed = |error| explain(path, Step::Before, &error);
    let Some(last) = last_seq(transaction, log).map_err(failed)? else {
        return lost(path, "its log is not there");
    };
    let new = own.iter().position(|row| row.at.seq > last).map_or(&[][..], |at| &own[at..]);
    let (Some(first), Some(end)) = (new.first(), new.last()) else { return Ok(()) };
    if first.at.seq != last + 1 {
        return lost(path, "they end too early");
    }
    new.iter().try_for_each(|row| insert(transaction, row)).map_err(failed)?;
    set_last_seq(transaction, log, end.at.seq).map_err(failed)
}

fn last_seq(transaction: &Transaction<'_>, log: u64) -> rusqlite::Result<Option<u64>> {
    use rusqlite::OptionalExtension;
    let mut query = transaction.prepare_cached("SELECT last_seq FROM logs WHERE log = ?")?;
    let last: Option<i64> = query.query_row([signed(log)], |row| row.get(0)).optional()?;
    Ok(last.map(i64::unsigned_abs))
}

fn set_last_seq(transaction: &Transaction<'_>, log: u64, seq: u64) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached("UPDATE logs SET last_seq = ? WHERE log = ?")?;
    update.execute((signed(seq), signed(log))).map(drop)
}

/// The columns of an entry beside its place.
#[derive(Default)]
struct Columns<'a> {
    kind: &'static str,
    key: Option<&'a LockKey>,
    claim: Option<&'a Claim>,
    /// A value without a claim.
    stored: Option<&'a [u8]>,
    names: Option<Position>,
    cause: Option<Cause>,
    fence: Option<u64>,
    at_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    run_id: Option<&'a str>,
    /// A content before and after: `value` and `other`.
    change: Option<&'a ContentChange>,
}

impl<'a> Columns<'a> {
    fn plain(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    fn of_claim(kind: &'static str, claim: &'a Claim) -> Self {
        Self {
            kind,
            key: Some(&claim.key),
            claim: Some(claim),
            at_ms: Some(claim.at_ms),
            expires_at_ms: claim.expires_at_ms,
            ..Self::default()
        }
    }

    fn on_key(kind: &'static str, key: &'a LockKey, claim: &Position) -> Self {
        Self { kind, key: Some(key), names: Some(*claim), ..Self::default() }
    }
}

fn columns(entry: &Entry) -> Columns<'_> {
    let (plain, of_claim, on_key) = (Columns::plain, Columns::of_claim, Columns::on_key);
    match entry {
        Entry::Start(start) => Columns { at_ms: Some(start.at_ms), ..plain("start") },
        Entry::Claim(claim) => of_claim("claim", claim),
        Entry::Observe(claim) => of_claim("observe", claim),
        Entry::Prefer(claim, lost) => Columns { names: Some(*lost), ..of_claim("prefer", claim) },
        Entry::Grant(claim, fence) => Columns { fence: Some(*fence), ..of_claim("grant", claim) },
        Entry::Extend { key, claim, expires_at_ms } => {
            Columns { expires_at_ms: Some(*expires_at_ms), ..on_key("extend", key, claim) }
        }
        Entry::Content { key, claim, change } => {
            let kind = if change.whole { "content" } else { "content_parts" };
            Columns { change: Some(change), ..on_key(kind, key, claim) }
        }
        Entry::Release { key, claim, cause, at_ms } => {
            Columns { cause: Some(*cause), at_ms: Some(*at_ms), ..on_key("release", key, claim) }
        }
        Entry::Gone { key, stored, cause, fence, at_ms } => Columns {
            key: Some(key),
            stored: Some(stored),
            cause: Some(*cause),
            fence: Some(*fence),
            at_ms: Some(*at_ms),
            ..plain("gone")
        },
        Entry::Withdraw { key, claim } => on_key("withdraw", key, claim),
        Entry::Won { key, claim, fence } => {
            Columns { fence: Some(*fence), ..on_key("won", key, claim) }
        }
        Entry::Lost { key, claim } => on_key("lost", key, claim),
        Entry::Heard { key, claim } => on_key("heard", key, claim),
        Entry::Degraded => plain("degraded"),
        Entry::Healthy(run_id) => Columns { run_id: Some(run_id), ..plain("healthy") },
        Entry::Heartbeat => plain("heartbeat"),
        Entry::End => plain("end"),
    }
}

fn insert(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO entries (log, seq, kind, db, key, value, other, claim_log, claim_seq, cause,
            fence, at_ms, asked_ttl_ms, expires_at_ms, rule, client, marker, run_id)
         VALUES (:log, :seq, :kind, :db, :key, :value, :other, :claim_log, :claim_seq, :cause,
            :fence, :at_ms, :asked_ttl_ms, :expires_at_ms, :rule, :client, :marker, :run_id)",
    )?;
    let columns = columns(&row.entry);
    let claim = columns.claim;
    let value = claim.map(|claim| &*claim.stored).or(columns.stored);
    let value = value.or(columns.change.map(|change| &*change.from));
    let other =
        claim.map_or(columns.change.map(|change| &*change.to), |claim| claim.other.as_deref());
    insert.execute(named_params! {
        ":log": signed(row.at.log),
        ":seq": signed(row.at.seq),
        ":kind": columns.kind,
        ":db": columns.key.map(LockKey::db),
        ":key": columns.key.map(|key| Shown(key.key())),
        ":value": value.map(Shown),
        ":other": other.map(Shown),
        ":claim_log": columns.names.map(|at| signed(at.log)),
        ":claim_seq": columns.names.map(|at| signed(at.seq)),
        ":cause": columns.cause.map(Cause::word),
        ":fence": columns.fence.map(signed),
        ":at_ms": columns.at_ms.map(signed),
        ":asked_ttl_ms": claim.and_then(|claim| claim.asked_ttl_ms).map(signed),
        ":expires_at_ms": columns.expires_at_ms.map(signed),
        ":rule": claim.map(|claim| &*claim.rule),
        ":client": claim.map(|claim| &*claim.client),
        ":marker": claim.and_then(|claim| claim.marker.as_deref()),
        ":run_id": columns.run_id,
    })?;
    Ok(())
}

/// The rows behind a place, and the place of the last one. Own rows are handed back as they are.
pub(super) fn read(
    transaction: &Transaction<'_>,
    from: i64,
    own: &[Row],
    names: &mut Names,
) -> rusqlite::Result<(Vec<Row>, i64)> {
    let mut select =
        transaction.prepare_cached("SELECT * FROM entries WHERE position > ? ORDER BY position")?;
    let mut found = select.query([from])?;
    let (mut rows, mut last) = (Vec::with_capacity(own.len()), from);
    while let Some(row) = found.next()? {
        last = row.get("position")?;
        let at = position(row, "log", "seq")?;
        let first = own.first().filter(|first| first.at.log == at.log);
        let index = first.and_then(|first| at.seq.checked_sub(first.at.seq));
        let known = index.and_then(|index| own.get(usize::try_from(index).ok()?));
        rows.push(match known {
            Some(known) if known.at == at => known.clone(),
            _ => Row { at, entry: entry(transaction, row, at, names)? },
        });
    }
    Ok((rows, last))
}

/// The last rows on one key, the newest last.
pub(super) fn history(
    transaction: &Transaction<'_>,
    key: &LockKey,
    count: usize,
    names: &mut Names,
) -> rusqlite::Result<Vec<Row>> {
    let mut select = transaction.prepare_cached(
        "SELECT * FROM entries WHERE key = ? AND db = ? ORDER BY position DESC LIMIT ?",
    )?;
    let mut found = select.query((Shown(key.key()), key.db(), signed(count as u64)))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let at = position(row, "log", "seq")?;
        rows.push(Row { at, entry: entry(transaction, row, at, names)? });
    }
    rows.reverse();
    Ok(rows)
}

fn entry(
    transaction: &Transaction<'_>,
    row: &SqlRow<'_>,
    at: Position,
    names: &mut Names,
) -> rusqlite::Result<Entry> {
    let number = |name: &str| row.get::<_, i64>(name).map(i64::unsigned_abs);
    let named = || position(row, "claim_log", "claim_seq");
    let kind = row.get_ref("kind")?.as_str()?;
    Ok(match kind {
        "start" => {
            let mut log = transaction.prepare_cached("SELECT * FROM logs WHERE log = ?")?;
            Entry::Start(log.query_row([signed(at.log)], schema::start)?)
        }
        "claim" => Entry::Claim(claim(row, names)?),
        "observe" => Entry::Observe(claim(row, names)?),
        "prefer" => Entry::Prefer(claim(row, names)?, named()?),
        "grant" => Entry::Grant(claim(row, names)?, number("fence")?),
        "extend" => Entry::Extend {
            key: key(row)?,
            claim: named()?,
            expires_at_ms: number("expires_at_ms")?,
        },
        "content" | "content_parts" => Entry::Content {
            key: key(row)?,
            claim: named()?,
            change: ContentChange {
                from: bytes(row, "value")?.unwrap_or_default().into(),
                to: bytes(row, "other")?.unwrap_or_default().into(),
                whole: kind == "content",
            },
        },
        "release" => Entry::Release {
            key: key(row)?,
            claim: named()?,
            cause: cause(row.get_ref("cause")?.as_str()?)?,
            at_ms: number("at_ms")?,
        },
        "gone" => Entry::Gone {
            key: key(row)?,
            stored: bytes(row, "value")?.unwrap_or_default().into(),
            cause: cause(row.get_ref("cause")?.as_str()?)?,
            fence: number("fence")?,
            at_ms: number("at_ms")?,
        },
        "withdraw" => Entry::Withdraw { key: key(row)?, claim: named()? },
        "won" => Entry::Won { key: key(row)?, claim: named()?, fence: number("fence")? },
        "lost" => Entry::Lost { key: key(row)?, claim: named()? },
        "heard" => Entry::Heard { key: key(row)?, claim: named()? },
        "degraded" => Entry::Degraded,
        "healthy" => Entry::Healthy(names.share(row.get_ref("run_id")?.as_str()?)),
        "heartbeat" => Entry::Heartbeat,
        "end" => Entry::End,
        other => return Err(strange("kind", other)),
    })
}

fn cause(word: &str) -> rusqlite::Result<Cause> {
    let known = Cause::ALL.into_iter().find(|cause| cause.word() == word);
    known.ok_or_else(|| strange("cause", word))
}

/// The claim that a row of `entries` or of `snapshot_holders` has.
pub(super) fn claim(row: &SqlRow<'_>, names: &mut Names) -> rusqlite::Result<Claim> {
    let optional = |name: &str| -> rusqlite::Result<Option<u64>> {
        Ok(row.get::<_, Option<i64>>(name)?.map(i64::unsigned_abs))
    };
    Ok(Claim {
        key: key(row)?,
        stored: bytes(row, "value")?.unwrap_or_default().into(),
        other: bytes(row, "other")?.map(Into::into),
        rule: names.share(row.get_ref("rule")?.as_str()?),
        client: names.share(row.get_ref("client")?.as_str()?),
        at_ms: optional("at_ms")?.unwrap_or_default(),
        asked_ttl_ms: optional("asked_ttl_ms")?,
        expires_at_ms: optional("expires_at_ms")?,
        marker: row.get_ref("marker")?.as_str_or_null()?.map(Into::into),
    })
}

pub(super) fn key(row: &SqlRow<'_>) -> rusqlite::Result<LockKey> {
    Ok(LockKey::new(row.get("db")?, bytes(row, "key")?.unwrap_or_default()))
}

pub(super) fn position(row: &SqlRow<'_>, log: &str, seq: &str) -> rusqlite::Result<Position> {
    let number = |name: &str| row.get::<_, i64>(name).map(i64::unsigned_abs);
    Ok(Position { log: number(log)?, seq: number(seq)? })
}

fn bytes<'a>(row: &'a SqlRow<'_>, name: &str) -> rusqlite::Result<Option<&'a [u8]>> {
    Ok(row.get_ref(name)?.as_bytes_or_null()?)
}
