//! The ledger in one SQLite file, for one sidecar or several of one machine.
//!
//! An exchange that writes is one immediate transaction, so entries have one order; one that only
//! reads takes no lock and makes no sync. WAL and `synchronous = FULL`: a commit is one sync of the
//! log file, and survives a loss of power as far as the disk keeps its word.
//!
//! Errors are told apart by what they leave behind. What fails before the commit is not applied; a
//! commit that fails is unknown, and the file is opened anew before the next exchange. Since a sync
//! that follows a failed one may report success for bytes that never reached the disk, the log file
//! is then carried over into the main file first, which writes those bytes once more.
//!
//! The file is `rw` for its owner alone, because values are lock tokens. `schema` has the tables,
//! `rows` writes and reads them, `snapshot` keeps the state that stands for removed rows, `failure`
//! turns SQLite's errors into words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::entry::{Entry, Position, Row, Start};
use super::fold::Snapshot;
use super::store::{Applied, OpenError, Seen, Store, StoreError};
use crate::crash;
use crate::lock::record::LockKey;

mod failure;
mod file;
mod rows;
mod schema;
mod snapshot;

use failure::{Step, explain};
use rows::Names;

/// How long to wait for another process that writes. An exchange takes milliseconds; who holds the
/// file for longer is stopped or stuck, and the exchange is tried again anyway.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Statements that are kept prepared: all of them.
const STATEMENTS: usize = 32;

/// What a compaction keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Rows that stay for `LOCKSIDE HISTORY` though a snapshot stands for them.
    pub history: i64,
    /// Another sidecar's snapshot is as good if it is fewer than so many rows older.
    pub step: i64,
}

impl Default for Kept {
    /// A few megabytes of history, and a snapshot for every so many rows whatever the number of
    /// sidecars.
    fn default() -> Self {
        Self { history: 10_000, step: 10_000 }
    }
}

/// A ledger in an SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    kept: Kept,
    open: Option<Open>,
    /// The place of the last row that was shown.
    cursor: i64,
    /// The own log, and its first entry: another run's log may have the same number in another file.
    own: Option<(u64, Start)>,
    /// The last commit has failed: what the log file says may never have reached the disk.
    is_suspect: bool,
    names: Names,
}

/// The open file.
#[derive(Debug)]
struct Open {
    connection: Connection,
    identity: file::Identity,
}

impl Sqlite {
    /// A ledger at `path`. Nothing is opened or created before [`Store::open`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            kept: Kept::default(),
            open: None,
            cursor: 0,
            own: None,
            is_suspect: false,
            names: Names::default(),
        }
    }

    /// The same, with other bounds.
    pub fn keeping(self, kept: Kept) -> Self {
        Self { kept, ..self }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that the file has, without a log of its own: for questions from the command line.
    ///
    /// # Errors
    /// When there is no such file, or no ledger in it that this version can read.
    pub fn read(&mut self) -> Result<Seen, OpenError> {
        if !self.path.exists() {
            let text = format!("there is no ledger at {}", self.path.display());
            return Err(StoreError::not_applied(text).into());
        }
        self.connect()?;
        Ok(self.exchange(&[])?)
    }

    /// The open connection; opens the file if it is not open.
    fn connect(&mut self) -> Result<&mut Connection, OpenError> {
        if self.open.is_none() {
            let (connection, identity) = file::open(&self.path, self.is_suspect)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            self.is_suspect = false;
            self.open = Some(Open { connection, identity });
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.connection),
            // Set in the lines above.
            None => Err(StoreError::not_applied("the ledger's file is not open").into()),
        }
    }

    /// A connection to the file that is at the path now.
    fn connected(&mut self) -> Result<(), StoreError> {
        self.connect().map_err(as_store_error)?;
        if let Some(open) = &self.open
            && !file::is_still_at(&self.path, open.identity)
        {
            self.open = None;
            return Err(StoreError::not_applied(format!(
                "{} was removed or replaced while it was in use: put it back, or restart Lockside",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// Runs `work` in one transaction. After an error the file is closed, and opened anew by the
    /// next call: nothing of the failed one is left behind.
    fn transact<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>, &mut Names) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connected()?;
        let Self { open, names, path, .. } = self;
        let Some(open) = open else {
            // `connected` has opened it.
            return Err(StoreError::not_applied("the ledger's file is not open"));
        };
        let result =
            run(&mut open.connection, behavior, path, |transaction| work(transaction, names));
        if let Err(error) = &result {
            self.is_suspect |= error.applied == Applied::Unknown;
            self.open = None;
        }
        result
    }
}

impl Store for Sqlite {
    fn is_ordered(&self) -> bool {
        true
    }

    fn open(&mut self, start: &Start) -> Result<u64, OpenError> {
        file::create(&self.path)?;
        self.connect()?;
        let path = self.path.clone();
        let log = self.transact(TransactionBehavior::Immediate, |transaction, _| {
            match schema::check_all_terms(transaction, start) {
                Err(error) => return Ok(Err(error)),
                Ok(Err(error)) => return Err(explain(&path, Step::Before, &error)),
                Ok(Ok(())) => {}
            }
            let log = schema::register(transaction, start)
                .map_err(|error| explain(&path, Step::Before, &error))?;
            let first = Row { at: Position { log, seq: 1 }, entry: Entry::Start(start.clone()) };
            rows::write(transaction, &path, log, &[first])?;
            Ok(Ok(log))
        })??;
        (self.own, self.cursor) = (Some((log, start.clone())), 0);
        Ok(log)
    }

    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        let (path, run, cursor) = (self.path.clone(), self.own.clone(), self.cursor);
        let behavior = match own {
            [] => TransactionBehavior::Deferred,
            _ => TransactionBehavior::Immediate,
        };
        let (seen, cursor) = self.transact(behavior, |transaction, names| {
            if let Some((log, start)) = &run {
                rows::check_own(transaction, &path, *log, start)?;
                rows::write(transaction, &path, *log, own)?;
                crash_if_locks(own, "exchange-begun");
            }
            let failed = |error| explain(&path, Step::Before, &error);
            let start = snapshot::start(transaction, cursor, names).map_err(failed)?;
            let (snapshot, from) = match start {
                Some((snapshot, place)) => (Some(snapshot), place),
                None => (None, cursor),
            };
            let (rows, last) = rows::read(transaction, from, own, names).map_err(failed)?;
            Ok((Seen { snapshot, rows, ..Seen::default() }, last))
        })?;
        crash_if_locks(own, "exchange-committed");
        self.cursor = cursor;
        Ok(seen)
    }

    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let (path, cursor, kept) = (self.path.clone(), self.cursor, self.kept);
        let run = self.own.clone();
        self.transact(TransactionBehavior::Immediate, |transaction, _| {
            if let Some((log, start)) = &run {
                rows::check_own(transaction, &path, *log, start)?;
            }
            snapshot::replace(transaction, cursor, snapshot, kept)
                .map_err(|error| explain(&path, Step::Before, &error))
        })
    }

    fn history(&mut self, key: &LockKey, count: usize) -> Result<Vec<Row>, StoreError> {
        let path = self.path.clone();
        self.transact(TransactionBehavior::Deferred, |transaction, names| {
            rows::history(transaction, key, count, names)
                .map_err(|error| explain(&path, Step::Before, &error))
        })
    }
}

fn run<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    path: &Path,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection
        .transaction_with_behavior(behavior)
        .map_err(|error| explain(path, Step::Before, &error))?;
    // Dropping the transaction rolls it back.
    let result = work(&transaction)?;
    let writes = matches!(behavior, TransactionBehavior::Immediate);
    let step = if writes { Step::Commit } else { Step::Before };
    transaction.commit().map_err(|error| explain(path, step, &error))?;
    Ok(result)
}

/// Only at an exchange that says something of a lock: not at a heartbeat.
fn crash_if_locks(own: &[Row], place: &str) {
    let says_something = |row: &Row| {
        matches!(
            row.entry,
            Entry::Claim(..) | Entry::Grant(..) | Entry::Release { .. } | Entry::Extend { .. }
        )
    };
    if own.iter().any(says_something) {
        crash::here(place);
    }
    if own.iter().any(|row| matches!(row.entry, Entry::Withdraw { .. })) {
        crash::here(if place == "exchange-begun" {
            "withdrawal-begun"
        } else {
            "withdrawal-committed"
        });
    }
}

fn as_store_error(error: OpenError) -> StoreError {
    match error {
        OpenError::Store(error) => error,
        OpenError::Mismatch(text) => StoreError::not_applied(text),
    }
}

#[cfg(test)]
mod tests;
