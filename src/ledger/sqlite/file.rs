//! Opens the file, and sees that it is a ledger and stays where it is.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::failure::{Step, explain, explain_open};
use super::schema;
use super::{BUSY_TIMEOUT, OpenError, StoreError};

/// Bytes that the write-ahead log may keep on disk between checkpoints; a compaction makes it
/// larger for a moment.
const WAL_KEPT: i64 = 8 << 20;

/// Which file it is: device and inode.
pub(super) type Identity = (u64, u64);

/// Creates the file and its directory where they are missing, for their owner alone.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let failed = |what: &str, error: io::Error| {
        let place = path.display();
        StoreError::not_applied(format!(
            "can't {what} the ledger {place} ({error}): set the state directory to one that this \
             user may write to"
        ))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed("make the directory of", error))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map(drop).map_err(|error| failed("open", error))
}

/// Opens a file that exists. `is_suspect`: what its write-ahead log says is written to the disk
/// once more before it is believed.
pub(super) fn open(path: &Path, is_suspect: bool) -> Result<(Connection, Identity), OpenError> {
    let failed = |error: rusqlite::Error| explain_open(path, &error);
    let identity = identity(path).map_err(|error| {
        let place = path.display();
        StoreError::not_applied(format!("can't open the ledger {place}: {error}"))
    })?;
    // No SQLITE_OPEN_CREATE: a file that has gone is noticed, not replaced by an empty one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    prepare(&mut connection, path)?;
    if is_suspect {
        carry_over(&connection, path)?;
    }
    Ok((connection, identity))
}

/// True if the path leads to this file.
pub(super) fn is_still_at(path: &Path, known: Identity) -> bool {
    identity(path).is_ok_and(|found| found == known)
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| explain_open(path, &error);
    let is_ours = is_ledger(connection).map_err(failed)?;
    if is_ours == Some(false) {
        return Err(OpenError::Mismatch(format!(
            "{} is an SQLite file of something else: name another file for the ledger",
            path.display()
        )));
    }
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::Mismatch(format!(
            "the file system of {} can't hold a write-ahead log (SQLite says {mode:?}): put the \
             ledger on a local disk",
            path.display()
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT).map_err(failed)?;
    schema::create(connection).map_err(failed)?;
    let version = schema::number(connection, "schema").map_err(failed)?;
    if version != Some(schema::SCHEMA) {
        return Err(OpenError::Mismatch(format!(
            "{} has tables of version {}, and this version of Lockside knows {}: upgrade it",
            path.display(),
            version.unwrap_or_default(),
            schema::SCHEMA
        )));
    }
    Ok(())
}

/// Whether the tables are a ledger's; none if there are no tables.
fn is_ledger(connection: &Connection) -> rusqlite::Result<Option<bool>> {
    if !schema::has_tables(connection)? {
        return Ok(None);
    }
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(Some(id == schema::APPLICATION_ID))
}

/// Writes everything that the write-ahead log holds into the main file and syncs that.
fn carry_over(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|error| StoreError { ..explain(path, Step::Commit, &error) })?;
    if busy != 0 {
        let text = format!("another process keeps {} from being repaired", path.display());
        return Err(StoreError::unknown(text));
    }
    Ok(())
}
