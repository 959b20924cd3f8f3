//! `lockside release`: frees a lock whose holder is gone, through the running Lockside.
//!
//! It names the claim that was shown (`LOCKSIDE RELEASE`), so that a holder that changes while a
//! person thinks keeps its lock; with or without Redis. A lock that no ledger knows is deleted as a
//! client would, guarded by a WATCH that came before it was shown.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use redis::Value;

use super::ask::{Failure, Link};
use super::locks::ask_owner;
use super::{EXIT_NO, complain, print};
use crate::config::EXIT_BAD_CONFIGURATION;

/// Shows the holder of `key`, asks unless `yes`, and ends its hold if it is still the holder.
pub(super) fn release(link: &mut Link, key: &str, yes: bool) -> Result<ExitCode, Failure> {
    // Redis may be away; then there is no lock but those of the ledger.
    let watched = link.try_ask(redis::cmd("WATCH").arg(key))?;
    let Some(owner) = ask_owner(link, key)? else {
        print("not held");
        return Ok(ExitCode::from(EXIT_NO));
    };
    print(owner.lines());
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
    match (owner.claim(), watched) {
        (Some(claim), _) => release_claim(link, key, &claim),
        (None, Ok(_)) => delete_unchanged(link, key),
        (None, Err(words)) => Err(link.refused(&words)),
    }
}

fn release_claim(link: &mut Link, key: &str, claim: &str) -> Result<ExitCode, Failure> {
    match link.ask_lockside(redis::cmd("LOCKSIDE").arg("RELEASE").arg(key).arg(claim))? {
        Value::Int(1) => {
            print("released");
            Ok(ExitCode::SUCCESS)
        }
        Value::Int(_) => {
            print("not released: the lock has changed meanwhile");
            Ok(ExitCode::from(EXIT_NO))
        }
        _ => Err(link.stranger("LOCKSIDE RELEASE does not answer with a number")),
    }
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
