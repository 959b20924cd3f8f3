//! What a lock is: rules, values, and the machines that acquire and settle it. Pure.

pub mod acquire;
pub mod content;
pub mod envelope;
pub mod record;
pub mod rule;
pub mod value;
