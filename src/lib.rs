//! Lockside: a Redis-protocol sidecar for distributed locks.
//!
//! The order of the `mod` lines is the reading order; `ARCHITECTURE.md` has the picture and the
//! path of one command with its real bytes.

pub mod app;
pub mod cli;
pub mod config;
pub mod telemetry;

pub mod worker;

pub mod session;

pub mod resp;

pub mod command;

pub mod router;

pub mod lock;

pub mod table;

pub mod mode;

pub mod ledger;

pub mod scripts;

pub mod degraded;

pub mod upstream;

pub mod repair;

pub mod health;

pub mod crash;

#[cfg(test)]
mod model;
