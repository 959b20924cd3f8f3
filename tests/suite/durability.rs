//! What was told outlives kill -9 of Lockside at every step, and a ledger that can't be written
//! (SPEC 2, 3, 5, 6, 8): nothing that was acknowledged is lost, nothing that was refused appears,
//! and what nobody was told is decided one way and stays so.
//!
//! Lockside ends by itself at a named place (`src/crash.rs`, in debug builds alone), then it is
//! started again with the same state. What its client was told is compared with what it says then.

mod acquire;
mod degraded;
mod disk;
mod fast;
mod files;
mod release;
mod repairs;
mod replies;
mod rig;
mod transaction;
mod ttl;
mod withdrawal;
