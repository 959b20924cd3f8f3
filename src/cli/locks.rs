//! `lockside locks` and `lockside owner`: what a running Lockside knows.

use std::process::ExitCode;

use redis::Value;
use serde_json::Value as Json;

use super::ask::{Failure, Link};
use super::table::{Lock, table};
use super::{EXIT_NO, print};

/// Prints every lock, or those whose key matches `glob`.
pub(super) fn list(link: &mut Link, glob: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let reply = link.ask_lockside(redis::cmd("LOCKSIDE").arg("LOCKS").arg(glob))?;
    let Value::Array(values) = reply else { return Err(link.stranger("no list of locks")) };
    let locks: Option<Vec<Lock>> = values.into_iter().map(Lock::read).collect();
    let locks = locks.ok_or_else(|| link.stranger("no list of locks"))?;
    if json {
        print(Json::Array(locks.iter().map(Lock::json).collect()));
    } else {
        print(table(&locks));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints who holds `key`.
pub(super) fn owner(link: &mut Link, key: &str, json: bool) -> Result<ExitCode, Failure> {
    let owner = ask_owner(link, key)?;
    match (&owner, json) {
        (owner, true) => print(owner.as_ref().map_or(Json::Null, Lock::json)),
        (Some(owner), false) => print(owner.lines()),
        (None, false) => print("not held"),
    }
    Ok(if owner.is_some() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// The record of `key`, if Lockside has one.
pub(super) fn ask_owner(link: &mut Link, key: &str) -> Result<Option<Lock>, Failure> {
    match link.ask_lockside(redis::cmd("LOCKSIDE").arg("OWNER").arg(key))? {
        Value::Nil => Ok(None),
        value => Lock::read(value).map(Some).ok_or_else(|| link.stranger("no owner of a lock")),
    }
}
