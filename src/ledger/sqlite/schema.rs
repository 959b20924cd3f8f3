//! The tables, for people too: `sqlite3 ledger.db 'select * from entries'` is readable.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, Transaction, named_params};

use crate::ledger::entry::{FORMAT, Guarantee, Start};
use crate::ledger::store::{OpenError, check_terms};

/// Marks the file as a ledger of Lockside (`PRAGMA application_id`): "LKSD".
pub(super) const APPLICATION_ID: i32 = 0x4c4b_5344;

/// Version of the tables; not that of the entries, which each log states for itself.
pub(super) const SCHEMA: i64 = 1;

/// A key or a value is text where it is UTF-8 without NUL, else a blob. `position` is the order of
/// all entries. `AUTOINCREMENT`: no number is used twice, whatever was removed.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE logs (
    log INTEGER PRIMARY KEY AUTOINCREMENT,
    last_seq INTEGER NOT NULL,
    format INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    guarantee TEXT NOT NULL,
    upstream TEXT NOT NULL,
    writer TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL
);
CREATE TABLE entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    db INTEGER,
    key,
    value,
    other,
    claim_log INTEGER,
    claim_seq INTEGER,
    cause TEXT,
    fence INTEGER,
    at_ms INTEGER,
    asked_ttl_ms INTEGER,
    expires_at_ms INTEGER,
    rule TEXT,
    client TEXT,
    marker TEXT,
    run_id TEXT
);
CREATE INDEX entries_of_key ON entries (key, db) WHERE key IS NOT NULL;
CREATE TABLE snapshot_holders (
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    heard INTEGER NOT NULL,
    db INTEGER NOT NULL,
    key NOT NULL,
    value NOT NULL,
    other,
    at_ms INTEGER NOT NULL,
    asked_ttl_ms INTEGER,
    expires_at_ms INTEGER,
    rule TEXT NOT NULL,
    client TEXT NOT NULL,
    marker TEXT,
    PRIMARY KEY (log, seq)
) WITHOUT ROWID;
CREATE TABLE snapshot_confirmations (log, seq, also_log, also_seq);
CREATE TABLE snapshot_conflicts (db, key, lost_log, lost_seq, by_log, by_seq);
CREATE TABLE snapshot_logs (log INTEGER PRIMARY KEY, last_seq, ended, degraded, run_id);
CREATE TABLE snapshot_dead (generation INTEGER PRIMARY KEY, tokens BLOB NOT NULL);
";

/// Makes the tables in an empty file; one transaction, so two sidecars that start at once make them
/// once.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if !has_tables(&transaction)? {
        transaction.execute_batch(TABLES)?;
        let set = "INSERT INTO meta (name, value) VALUES (?, ?)";
        transaction.execute(set, ("schema", SCHEMA))?;
        // Rows up to here are gone; the snapshot is the state after the other; the highest fence.
        for name in ["removed", "snapshot", "fence_high"] {
            transaction.execute(set, (name, 0))?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.commit()
}

/// True if the file has tables of any kind.
pub(super) fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// A number that `meta` keeps.
pub(super) fn number(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut found = connection.prepare_cached("SELECT value FROM meta WHERE name = ?")?;
    found.query_row([name], |row| row.get(0)).optional()
}

/// Changes a number that `meta` keeps.
pub(super) fn set_number(connection: &Connection, name: &str, to: i64) -> rusqlite::Result<()> {
    let mut set = connection.prepare_cached("UPDATE meta SET value = ? WHERE name = ?")?;
    set.execute((to, name)).map(drop)
}

/// Holds new terms against those of every log that is known.
pub(super) fn check_all_terms(
    transaction: &Transaction<'_>,
    new: &Start,
) -> Result<rusqlite::Result<()>, OpenError> {
    let known = || -> rusqlite::Result<Vec<Start>> {
        let mut all = transaction.prepare("SELECT * FROM logs ORDER BY log DESC")?;
        all.query_map([], start)?.collect()
    };
    match known() {
        Err(error) => Ok(Err(error)),
        Ok(known) => known.iter().try_for_each(|known| check_terms(known, new)).map(Ok),
    }
}

/// Enters a new log; its first entry is still to be written.
pub(super) fn register(transaction: &Transaction<'_>, start: &Start) -> rusqlite::Result<u64> {
    transaction.execute(
        "INSERT INTO logs
         (last_seq, format, namespace, guarantee, upstream, writer, started_at_ms)
         VALUES (0, :format, :namespace, :guarantee, :upstream, :writer, :at_ms)",
        named_params! {
            ":format": start.format.min(FORMAT),
            ":namespace": &*start.namespace,
            ":guarantee": start.guarantee.word(),
            ":upstream": &*start.upstream,
            ":writer": &*start.writer,
            ":at_ms": super::rows::signed(start.at_ms),
        },
    )?;
    Ok(transaction.last_insert_rowid().unsigned_abs())
}

/// The first entry of a log.
pub(super) fn start(row: &SqlRow<'_>) -> rusqlite::Result<Start> {
    let text = |name: &str| row.get::<_, String>(name).map(Into::into);
    let guarantee: String = row.get("guarantee")?;
    let known = [Guarantee::Strict, Guarantee::Fast].into_iter().find(|g| g.word() == guarantee);
    Ok(Start {
        format: row.get("format")?,
        namespace: text("namespace")?,
        guarantee: known.ok_or_else(|| super::rows::strange("guarantee", &guarantee))?,
        upstream: text("upstream")?,
        writer: text("writer")?,
        at_ms: row.get::<_, i64>("started_at_ms")?.unsigned_abs(),
    })
}
