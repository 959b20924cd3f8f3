//! The state of all locks, from what the logs say. Pure.

use std::sync::Arc;

use super::entry::{Claim, Position};

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The claim's place.
    pub at: Position,
    /// The claim.
    pub claim: Claim,
    /// Higher than that of every earlier holder of the key.
    pub fence: u64,
    /// The client was heard of after its OK.
    pub heard: bool,
}

/// The state at one place of the order, for readers that start there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// All holders.
    pub holders: Vec<Arc<Holder>>,
}
