//! Integration tests: one binary, each test against redis-server processes of its own.
//!
//! `LOCKSIDE_BIN` names another Lockside binary than the one that cargo built; `LOCKSIDE_DIRECT=1`
//! puts a plain redis-server in Lockside's place, which proves a test against Redis itself (what
//! only Lockside does is skipped then).
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod architecture;
mod asks;
mod auth;
mod cli;
mod company;
mod conflict;
mod degraded;
mod docs;
mod durability;
mod envelope;
mod faults;
mod history;
mod limits;
mod locks;
mod observe;
mod outage;
mod repair;
mod replicas;
#[cfg(feature = "sheets")]
mod sheets;
mod support;
mod transparent;
