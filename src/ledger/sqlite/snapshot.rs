//! The snapshot that stands for removed rows, in tables of its own.
//!
//! Two places of the order are kept in `meta`: `snapshot`, after which the snapshot is the state,
//! and `removed`, up to which rows are gone. Rows between the two stay for people to look at, and
//! for readers that are not far behind.

use std::sync::Arc;

use rusqlite::{Transaction, named_params};

use super::rows::{Names, Shown, claim, key, position, signed};
use super::{Kept, schema};
use crate::ledger::entry::Position;
use crate::ledger::fold::{Conflict, Holder, Log, LogMode, Snapshot, Token};

/// What a reader at this place has to start from, if the rows behind it are gone, with its place.
pub(super) fn start(
    transaction: &Transaction<'_>,
    cursor: i64,
    names: &mut Names,
) -> rusqlite::Result<Option<(Snapshot, i64)>> {
    let removed = schema::number(transaction, "removed")?.unwrap_or_default();
    if cursor >= removed {
        return Ok(None);
    }
    let place = schema::number(transaction, "snapshot")?.unwrap_or_default();
    Ok(Some((load(transaction, names)?, place)))
}

/// Keeps `snapshot` as the state after the place `cursor`, and removes rows that it stands for, but
/// for the last ones. Nothing if the snapshot that is there is as good.
pub(super) fn replace(
    transaction: &Transaction<'_>,
    cursor: i64,
    snapshot: &Snapshot,
    kept: Kept,
) -> rusqlite::Result<()> {
    let place = schema::number(transaction, "snapshot")?.unwrap_or_default();
    if cursor < place + kept.step {
        return Ok(());
    }
    save(transaction, snapshot)?;
    schema::set_number(transaction, "snapshot", cursor)?;
    schema::set_number(transaction, "fence_high", signed(snapshot.fence_high))?;
    let removed = cursor - kept.history;
    if removed > schema::number(transaction, "removed")?.unwrap_or_default() {
        transaction.execute("DELETE FROM entries WHERE position <= ?", [removed])?;
        schema::set_number(transaction, "removed", removed)?;
        forget_logs(transaction)?;
    }
    Ok(())
}

/// Logs that the fold does not remember and of which no row is left. Their numbers are not used
/// again.
fn forget_logs(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM logs WHERE log < (SELECT max(log) FROM snapshot_logs)
         AND log NOT IN (SELECT log FROM snapshot_logs)
         AND log NOT IN (SELECT DISTINCT log FROM entries)",
        [],
    )?;
    Ok(())
}

fn save(transaction: &Transaction<'_>, snapshot: &Snapshot) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DELETE FROM snapshot_holders; DELETE FROM snapshot_confirmations;
         DELETE FROM snapshot_conflicts; DELETE FROM snapshot_logs; DELETE FROM snapshot_dead;",
    )?;
    snapshot.holders.iter().try_for_each(|holder| save_holder(transaction, holder))?;
    let mut confirm =
        transaction.prepare_cached("INSERT INTO snapshot_confirmations VALUES (?, ?, ?, ?)")?;
    for (holder, other) in &snapshot.confirmations {
        confirm.execute((
            signed(holder.log),
            signed(holder.seq),
            signed(other.log),
            signed(other.seq),
        ))?;
    }
    let mut dispute =
        transaction.prepare_cached("INSERT INTO snapshot_conflicts VALUES (?, ?, ?, ?, ?, ?)")?;
    for Conflict { key, lost, by, .. } in &snapshot.conflicts {
        let (lost, by) = ((signed(lost.log), signed(lost.seq)), (signed(by.log), signed(by.seq)));
        dispute.execute((key.db(), Shown(key.key()), lost.0, lost.1, by.0, by.1))?;
    }
    let mut log = transaction.prepare_cached("INSERT INTO snapshot_logs VALUES (?, ?, ?, ?, ?)")?;
    for (number, state) in &snapshot.logs {
        let run_id = match &state.mode {
            LogMode::Healthy(run_id) => Some(&**run_id),
            _ => None,
        };
        let is_degraded = state.mode == LogMode::Degraded;
        log.execute((signed(*number), signed(state.last_seq), state.ended, is_degraded, run_id))?;
    }
    let mut dead = transaction.prepare_cached("INSERT INTO snapshot_dead VALUES (?, ?)")?;
    for (generation, tokens) in (0..).zip(&snapshot.dead) {
        let all: Vec<u8> = tokens.iter().flat_map(|(token, _)| token.0).collect();
        dead.execute((generation, all))?;
        let fences: Vec<u8> = tokens.iter().flat_map(|(_, fence)| fence.to_be_bytes()).collect();
        dead.execute((generation + FENCES_OF_DEAD, fences))?;
    }
    let values = snapshot.conflicts.iter().map(|conflict| conflict.value.map(|value| value.0));
    let values: Vec<u8> = values.flat_map(Option::unwrap_or_default).collect();
    dead.execute((VALUES_OF_CONFLICTS, values))?;
    let granted = snapshot.granted.iter().flat_map(|at| [at.log, at.seq]);
    let granted: Vec<u8> = granted.flat_map(u64::to_be_bytes).collect();
    dead.execute((GRANTED_HOLDERS, granted))?;
    Ok(())
}

fn save_holder(transaction: &Transaction<'_>, holder: &Holder) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO snapshot_holders (log, seq, fence, heard, db, key, value, other, at_ms,
            asked_ttl_ms, expires_at_ms, rule, client, marker)
         VALUES (:log, :seq, :fence, :heard, :db, :key, :value, :other, :at_ms,
            :asked_ttl_ms, :expires_at_ms, :rule, :client, :marker)",
    )?;
    let claim = &holder.claim;
    insert.execute(named_params! {
        ":log": signed(holder.at.log),
        ":seq": signed(holder.at.seq),
        ":fence": signed(holder.fence),
        ":heard": holder.heard,
        ":db": claim.key.db(),
        ":key": Shown(claim.key.key()),
        ":value": Shown(&claim.stored),
        ":other": claim.other.as_deref().map(Shown),
        ":at_ms": signed(claim.at_ms),
        ":asked_ttl_ms": claim.asked_ttl_ms.map(signed),
        ":expires_at_ms": claim.expires_at_ms.map(signed),
        ":rule": &*claim.rule,
        ":client": &*claim.client,
        ":marker": claim.marker.as_deref(),
    })?;
    Ok(())
}

fn load(transaction: &Transaction<'_>, names: &mut Names) -> rusqlite::Result<Snapshot> {
    let fence_high = schema::number(transaction, "fence_high")?.unwrap_or_default();
    Ok(Snapshot {
        undecided: None,
        holders: load_holders(transaction, names)?,
        granted: load_granted(transaction)?,
        confirmations: load_confirmations(transaction)?,
        dead: [load_dead(transaction, 0)?, load_dead(transaction, 1)?],
        fence_high: fence_high.unsigned_abs(),
        logs: load_logs(transaction)?,
        conflicts: load_conflicts(transaction)?,
    })
}

fn load_holders(
    transaction: &Transaction<'_>,
    names: &mut Names,
) -> rusqlite::Result<Vec<Arc<Holder>>> {
    let mut all = transaction.prepare("SELECT * FROM snapshot_holders ORDER BY log, seq")?;
    let holder = |row: &rusqlite::Row<'_>| {
        Ok(Arc::new(Holder {
            at: position(row, "log", "seq")?,
            claim: claim(row, names)?,
            fence: row.get::<_, i64>("fence")?.unsigned_abs(),
            heard: row.get("heard")?,
        }))
    };
    all.query_map([], holder)?.collect()
}

fn load_confirmations(
    transaction: &Transaction<'_>,
) -> rusqlite::Result<Vec<(Position, Position)>> {
    let mut all =
        transaction.prepare("SELECT * FROM snapshot_confirmations ORDER BY log, seq, rowid")?;
    let pair = |row: &rusqlite::Row<'_>| {
        Ok((position(row, "log", "seq")?, position(row, "also_log", "also_seq")?))
    };
    all.query_map([], pair)?.collect()
}

fn load_conflicts(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Conflict>> {
    let mut all =
        transaction.prepare("SELECT * FROM snapshot_conflicts ORDER BY lost_log, lost_seq")?;
    let values = load_bytes(transaction, VALUES_OF_CONFLICTS)?;
    let mut values = values.as_chunks::<16>().0.iter();
    let conflict = |row: &rusqlite::Row<'_>| {
        Ok(Conflict {
            key: key(row)?,
            lost: position(row, "lost_log", "lost_seq")?,
            by: position(row, "by_log", "by_seq")?,
            value: values.next().filter(|value| **value != [0; 16]).map(|value| Token(*value)),
        })
    };
    all.query_map([], conflict)?.collect()
}

fn load_logs(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<(u64, Log)>> {
    let mut all = transaction.prepare(
        "SELECT s.log AS log, s.last_seq AS last_read, ended, degraded, run_id, format, namespace,
            guarantee, upstream, writer, started_at_ms
         FROM snapshot_logs AS s LEFT JOIN logs USING (log) ORDER BY log",
    )?;
    let log = |row: &rusqlite::Row<'_>| {
        let run_id: Option<String> = row.get("run_id")?;
        let mode = match run_id {
            Some(run_id) => LogMode::Healthy(run_id.into()),
            None if row.get("degraded")? => LogMode::Degraded,
            None => LogMode::Unsaid,
        };
        let is_known = row.get::<_, Option<i64>>("format")?.is_some();
        let start = if is_known { Some(Arc::new(schema::start(row)?)) } else { None };
        let last_seq = row.get::<_, i64>("last_read")?.unsigned_abs();
        let number = row.get::<_, i64>("log")?.unsigned_abs();
        Ok((number, Log { start, last_seq, ended: row.get("ended")?, mode }))
    };
    all.query_map([], log)?.collect()
}

fn load_dead(
    transaction: &Transaction<'_>,
    generation: i64,
) -> rusqlite::Result<Vec<(Token, u64)>> {
    let all = load_bytes(transaction, generation)?;
    let fences = load_bytes(transaction, generation + FENCES_OF_DEAD)?;
    // An older version wrote none: then a value is dead for fences that have been.
    let fences = fences.as_chunks::<8>().0.iter().map(|fence| u64::from_be_bytes(*fence));
    let high = schema::number(transaction, "fence_high")?.unwrap_or_default().unsigned_abs();
    let fences = fences.chain(std::iter::repeat(high));
    Ok(all.as_chunks::<16>().0.iter().map(|token| Token(*token)).zip(fences).collect())
}

fn load_bytes(transaction: &Transaction<'_>, row: i64) -> rusqlite::Result<Vec<u8>> {
    use rusqlite::OptionalExtension;
    let mut query = transaction.prepare("SELECT tokens FROM snapshot_dead WHERE generation = ?")?;
    let found = query.query_row([row], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or_default())
}

/// The fences of the dead values of a generation stand in the row of this number and its own.
const FENCES_OF_DEAD: i64 = 2;
/// The row of the values of conflicts, in their order; zero where nothing tells it from the next.
const VALUES_OF_CONFLICTS: i64 = 4;

fn load_granted(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Position>> {
    let bytes = load_bytes(transaction, GRANTED_HOLDERS)?;
    let numbers: Vec<u64> =
        bytes.as_chunks::<8>().0.iter().map(|number| u64::from_be_bytes(*number)).collect();
    let (pairs, _) = numbers.as_chunks::<2>();
    Ok(pairs.iter().map(|[log, seq]| Position { log: *log, seq: *seq }).collect())
}

/// The row of the places of holders whose fences Redis has given.
const GRANTED_HOLDERS: i64 = 5;
