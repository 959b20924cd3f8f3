//! What a script may use: steps and memory. Pure.
//!
//! Lua's instructions are counted, each by the memory that it might handle, and what a library
//! function may do beside them is charged for beforehand. Steps are the turn's (`steps`).

use std::cell::{Cell, RefCell};

use crate::degraded::steps::{Steps, TOO_LONG};
use crate::degraded::turn::Stop;

/// Bytes of a script's Lua state, its arguments included.
pub(super) const MEMORY: usize = 4 << 20;
/// Lua's instructions between two looks at the budget.
pub(super) const PERIOD: u32 = 20;

/// Memory beside the libraries that costs nothing.
const FREE_MEMORY: usize = 16 << 10;
/// One instruction can handle all memory there is (a concatenation, a call with thousands of
/// arguments): it counts once more for each so many bytes.
const MEMORY_STEP: usize = 512;
/// The longest pattern: matching uses the C stack, in proportion to it.
const LONGEST_PATTERN: usize = 1024;

const TOO_LARGE: &str = "ERR lockside: the script takes too much memory for a sidecar whose \
                         upstream is unavailable; nothing was done";

/// The script is given up: nothing in it may catch that.
#[derive(Debug, thiserror::Error)]
#[error("the script is given up")]
pub(super) struct GivenUp;

/// What one run may still use.
pub(super) struct Budget {
    left: Steps,
    end: RefCell<Option<Stop>>,
    /// Memory of the state before the script, in bytes.
    base: Cell<usize>,
}

impl Budget {
    /// What is left of the turn's steps.
    pub(super) fn new(left: Steps) -> Self {
        Self { left, end: RefCell::new(None), base: Cell::new(usize::MAX) }
    }

    /// The script begins: from here on its memory counts.
    pub(super) fn begin(&self, used_memory: usize) {
        self.base.set(used_memory.saturating_add(FREE_MEMORY));
    }

    /// Takes steps away. An error once there are too few.
    pub(super) fn charge(&self, steps: u64) -> mlua::Result<()> {
        if self.left.take(steps) { self.check() } else { Err(self.refuse(TOO_LONG)) }
    }

    /// Memory that counts, in bytes.
    pub(super) fn counted(&self, used_memory: usize) -> usize {
        used_memory.saturating_sub(self.base.get())
    }

    /// The charge for [`PERIOD`] instructions, while so many bytes are used.
    pub(super) fn charge_period(&self, used_memory: usize) -> mlua::Result<()> {
        let more = self.counted(used_memory) / MEMORY_STEP;
        self.charge(u64::from(PERIOD).saturating_mul(1 + more as u64))
    }

    /// The charge for matching a pattern on a text of so many bytes.
    pub(super) fn charge_pattern(&self, length: usize, pattern: &[u8]) -> mlua::Result<()> {
        self.charge(pattern_steps(length, pattern))
    }

    /// An error if the script is given up.
    pub(super) fn check(&self) -> mlua::Result<()> {
        if self.end.borrow().is_some() { Err(mlua::Error::external(GivenUp)) } else { Ok(()) }
    }

    /// Gives the script up; the first reason counts.
    pub(super) fn give_up(&self, reason: Stop) -> mlua::Error {
        self.end.borrow_mut().get_or_insert(reason);
        mlua::Error::external(GivenUp)
    }

    /// Gives the script up with an error for the client.
    pub(super) fn refuse(&self, text: &str) -> mlua::Error {
        self.give_up(Stop::Refused(text.to_owned()))
    }

    /// Gives the script up for its memory.
    pub(super) fn exhausted(&self) -> mlua::Error {
        self.refuse(TOO_LARGE)
    }

    /// Why the script was given up, if it was.
    pub(super) fn end(&self) -> Option<Stop> {
        self.end.borrow().clone()
    }
}

/// A bound for the steps of Lua's matcher, which tries again with every other length of every
/// repetition: as many ways as there are to part the text at so many places.
fn pattern_steps(length: usize, pattern: &[u8]) -> u64 {
    if pattern.len() > LONGEST_PATTERN {
        return u64::MAX;
    }
    let shape = PatternShape::of(pattern);
    let length = length as u64 + 1;
    (1..=shape.parts)
        .fold(shape.step, |steps, part| steps.saturating_mul(length.saturating_add(part)) / part)
}

/// What makes a pattern slow.
struct PatternShape {
    /// Places at which a text is parted.
    parts: u64,
    /// Steps for each way to do so.
    step: u64,
}

impl PatternShape {
    fn of(pattern: &[u8]) -> Self {
        let (mut parts, mut choices) = (u64::from(!pattern.starts_with(b"^")), 1_u64);
        let (mut longest_set, mut set_start) = (0, None);
        let mut at = 0;
        while let Some(byte) = pattern.get(at) {
            at += 1;
            match byte {
                b'%' => {
                    // %b and %1 walk over text.
                    let next = pattern.get(at);
                    parts += u64::from(next.is_some_and(|next| b"b123456789".contains(next)));
                    at += 1;
                }
                b'[' if set_start.is_none() => set_start = Some(at),
                b']' => {
                    let length = set_start.take().map_or(0, |start| at - start);
                    longest_set = longest_set.max(length as u64);
                }
                _ if set_start.is_some() => {}
                b'*' | b'+' | b'-' => parts += 1,
                b'?' => choices = choices.saturating_mul(2),
                _ => {}
            }
        }
        // A set that begins with `]` ends later than it seems: then its rest counts as repetitions.
        Self { parts, step: choices.saturating_mul(2 + longest_set) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::degraded::steps::STEPS;

    #[test]
    fn usual_patterns_are_cheap_and_catastrophes_are_not() {
        for (length, pattern) in [
            (60, "^(%d+):(.+)$"),
            (60, "([^:]+):([^:]+)"),
            (19, "^%d%d%-%d%d%-%d%d%d%d %d%d:%d%d:%d%d$"),
            (4000, ":"),
        ] {
            let steps = pattern_steps(length, pattern.as_bytes());
            assert!(steps < STEPS / 2, "{pattern}: {steps}");
        }
        let long = "a?".repeat(600);
        for (length, pattern) in
            [(1000, "(.-)(.-)(.-)(.-)b"), (30, "a?".repeat(30).as_str()), (1, long.as_str())]
        {
            assert!(pattern_steps(length, pattern.as_bytes()) > STEPS, "{pattern}");
        }
    }

    #[test]
    fn what_is_given_up_stays_given_up() {
        let budget = Budget::new(Steps::new());
        assert!(budget.charge(STEPS).is_ok());
        assert!(budget.charge(1).is_err());
        assert!(budget.check().is_err());
        budget.exhausted();
        assert_eq!(budget.end(), Some(Stop::Refused(TOO_LONG.to_owned())));
    }
}
