//! `lockside release`: frees a lock whose holder is gone, through the running Lockside.
//!
//! WATCH comes before the owner is shown, so that a holder that changes while a person thinks
//! makes EXEC do nothing. The DEL goes through Lockside like any client's: it is a release there
//! as well (SPEC 5).

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use redis::Value;

use super::ask::{Failure, Link};
use super::locks::ask_owner;
use super::{EXIT_NO, complain, print};
use crate::config::EXIT_BAD_CONFIGURATION;
use crate::telemetry::redact;

/// Shows the holder of `key`, asks unless `yes`, and deletes the key if it is unchanged.
pub(super) fn release(link: &mut Link, key: &str, yes: bool) -> Result<ExitCode, Failure> {
    link.ask(redis::cmd("WATCH").arg(key))?;
    let owner = ask_owner(link, key)?;
    let token = match link.ask(redis::cmd("GET").arg(key))? {
        Value::Nil => {
            print("not held");
            return Ok(ExitCode::from(EXIT_NO));
        }
        Value::BulkString(token) => token,
        _ => return Err(link.stranger("GET does not answer with a value")),
    };
    match owner {
        Some(owner) => print(owner.lines()),
        None => print(format_args!("held with token {}, by nobody known", redact(&token))),
    }
    if !yes {
        match confirmed(key) {
            Some(true) => {}
            Some(false) => {
                print("not released");
                return Ok(ExitCode::from(EXIT_NO));
            }
            None => {
                complain("standard input is no terminal to ask at; say --yes");
                return Ok(ExitCode::from(EXIT_BAD_CONFIGURATION));
            }
        }
    }
    delete_unchanged(link, key)
}

fn delete_unchanged(link: &mut Link, key: &str) -> Result<ExitCode, Failure> {
    link.ask(&redis::cmd("MULTI"))?;
    link.ask(redis::cmd("DEL").arg(key))?;
    let (outcome, code) = match link.ask(&redis::cmd("EXEC"))? {
        Value::Array(replies) if replies == [Value::Int(1)] => ("released", ExitCode::SUCCESS),
        Value::Array(_) => ("not held any more", ExitCode::from(EXIT_NO)),
        Value::Nil => ("not released: the lock has changed meanwhile", ExitCode::from(EXIT_NO)),
        _ => return Err(link.stranger("EXEC does not answer with replies")),
    };
    print(outcome);
    Ok(code)
}

/// What the person at the terminal says; None where there is none.
fn confirmed(key: &str) -> Option<bool> {
    let mut input = std::io::stdin().lock();
    if !input.is_terminal() {
        return None;
    }
    let mut error = std::io::stderr();
    let _ = write!(error, "Release {}? [y/N] ", crate::telemetry::escape(key.as_bytes()));
    let _ = error.flush();
    let mut answer = String::new();
    input.read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}
