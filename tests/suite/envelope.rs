//! Scripts through the envelope against the same scripts run by Redis directly.
//!
//! Two private servers: on one a script runs as it is, on the other the same text runs in its
//! envelope on keys that are locks. What a client can see must be the same bytes, except where
//! SPEC section 5 says otherwise, and each such place is a test of its own.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub(crate) mod direct;
pub(crate) mod libraries;
pub(crate) mod random;
mod rig;
mod settle;
