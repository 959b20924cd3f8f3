//! What one evaluation may take, scripts and transactions with all their commands included. Pure.
//!
//! Time is not looked at: an evaluation has no clock, and the same command on the same locks comes
//! to the same end each time. A step is about one instruction of Lua, some ten nanoseconds.

use std::cell::Cell;
use std::rc::Rc;

use super::turn::Stop;

/// Steps of one evaluation: below 100 ms, the longest that a worker may stand still. An optimised
/// build does 50 to 100 million a second. Redis itself calls a script slow after 5 s, but has nobody
/// else to serve meanwhile.
pub(super) const STEPS: u64 = 4_000_000;
/// Bytes that are copied or compared in one step.
pub(super) const BYTES_PER_STEP: usize = 32;

/// In the words of scripts, which alone get here by mistake.
pub(super) const TOO_LONG: &str = "ERR lockside: the script takes too long for a sidecar whose \
                                   upstream is unavailable; nothing was done";

/// How the refusals of a script that has passed a bound, of steps or of memory, begin.
const PASSED_A_BOUND: &[u8] = b"-ERR lockside: the script takes too ";

/// True for the reply of an evaluation that was given up because it passed a bound. It has cost all
/// that one may cost, so that it is not made again for the sake of newer facts.
pub fn has_passed_a_bound(reply: &[u8]) -> bool {
    reply.starts_with(PASSED_A_BOUND)
}

/// Keys that the commands of one evaluation may name: each is looked up, and may be a lock whose release
/// or claim the ledger writes. So many take some tens of milliseconds.
const MOST_KEYS: usize = 10_000;
/// Arguments that they may have: fields, members, values.
const MOST_ARGUMENTS: usize = 20_000;

/// How much the commands of one evaluation have named.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named {
    keys: usize,
    arguments: usize,
}

impl Named {
    /// One more command.
    ///
    /// # Errors
    /// The whole evaluation is refused where that is too much.
    pub(super) fn add(&mut self, keys: usize, arguments: usize) -> Result<(), Stop> {
        self.keys = self.keys.saturating_add(keys);
        self.arguments = self.arguments.saturating_add(arguments);
        if self.keys <= MOST_KEYS && self.arguments <= MOST_ARGUMENTS {
            return Ok(());
        }
        Err(Stop::Refused(format!(
            "ERR lockside: while upstream is unavailable a command or transaction on locks names at \
             most {MOST_KEYS} keys and has at most {MOST_ARGUMENTS} arguments; nothing was done: \
             send several"
        )))
    }
}

/// What is left of them. A copy takes from the same.
#[derive(Debug, Clone)]
pub(super) struct Steps(Rc<Cell<u64>>);

impl Steps {
    /// All.
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(STEPS)))
    }

    /// Takes some away; false, and none is left, if there are too few.
    pub(super) fn take(&self, steps: u64) -> bool {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// As [`Steps::take`].
    ///
    /// # Errors
    /// The whole evaluation is refused where there are too few.
    pub(super) fn charge(&self, steps: u64) -> Result<(), Stop> {
        if self.take(steps) { Ok(()) } else { Err(Stop::Refused(TOO_LONG.to_owned())) }
    }
}
