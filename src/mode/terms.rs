//! The times by which the mode machine goes. Pure.

use std::time::Duration;

/// The times and terms of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long probes must be good, after an outage, before Redis counts as back (SPEC 2).
    pub recover_after: Duration,
    /// Time between two probes while nothing is wrong.
    pub probe_interval: Duration,
    /// For how long `-BUSY` is waited out; also after how long workers report a time-out.
    pub command_timeout: Duration,
    /// `guarantee = "strict"`: nothing that changes a lock is done without the ledger.
    pub needs_ledger: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            recover_after: Duration::from_secs(1),
            probe_interval: Duration::from_millis(500),
            command_timeout: Duration::from_secs(5),
            needs_ledger: true,
        }
    }
}
