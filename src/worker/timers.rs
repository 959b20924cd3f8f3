//! The deadlines of one worker: a heap with one entry for most connections, a few more for one
//! whose deadline was brought forward.
//!
//! An entry that comes due is only a reminder to ask the connection when its deadline really is;
//! so setting and clearing a deadline on the path of a command costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A connection's place and generation in the worker.
pub(crate) type Owner = (usize, u32);

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Owner)>>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Instant, owner: Owner) {
        self.heap.push(Reverse((at, owner)));
    }

    /// When the earliest reminder is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a reminder that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Owner> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, owner))| owner)
    }
}
