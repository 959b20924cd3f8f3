//! SQLite's errors in words that say what to do, and what they leave behind.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use super::{BUSY_TIMEOUT, OpenError, StoreError};

/// Where it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Before the commit: what was written is rolled back.
    Before,
    /// At the commit of a transaction that writes.
    Commit,
}

/// What an exchange's error means.
pub(super) fn explain(path: &Path, step: Step, error: &Error) -> StoreError {
    let text = words(path, error);
    // Who could not get the lock has written nothing, at the commit too.
    match (step, error.sqlite_error_code()) {
        (Step::Before, _) | (_, Some(ErrorCode::DatabaseBusy)) => StoreError::not_applied(text),
        (Step::Commit, _) => StoreError::unknown(text),
    }
}

/// What it means that a file can't be opened: one that is no ledger never will be.
pub(super) fn explain_open(path: &Path, error: &Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Mismatch(format!(
            "{} is no SQLite file, or is damaged: name another file for the ledger, or restore \
             this one from a backup",
            path.display()
        )),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Mismatch(words(path, error)),
        _ => OpenError::Store(explain(path, Step::Before, error)),
    }
}

/// No statement's text and no parameter: values are lock tokens.
fn words(path: &Path, error: &Error) -> String {
    let place = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            format!("the disk of {place} is full: make room, and the ledger goes on by itself")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            format!("{place} or its directory can't be written to: check owner, mode and mount")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let seconds = BUSY_TIMEOUT.as_secs();
            format!("another process has held {place} for more than {seconds} s")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("{place} is damaged: stop Lockside and restore it from a backup")
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!("reading or writing {place} failed: check its disk")
        }
        Some(code) => format!("SQLite fails at {place}: {code:?}"),
        None => format!("{place} holds what this version can't read: {}", plain(error)),
    }
}

/// An error that is not SQLite's own, without any value.
fn plain(error: &Error) -> String {
    match error {
        Error::FromSqlConversionFailure(_, _, cause) => cause.to_string(),
        Error::InvalidColumnType(_, name, kind) => format!("column {name} has type {kind}"),
        Error::InvalidColumnName(name) => format!("no column {name}"),
        _ => "an unexpected answer".into(),
    }
}
