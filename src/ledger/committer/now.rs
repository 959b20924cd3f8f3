//! The time, as it is handed in. Pure.

use std::time::Duration;

/// The time, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Since some start that never changes; never goes back.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch, for people and for entries.
    pub unix_ms: u64,
}
