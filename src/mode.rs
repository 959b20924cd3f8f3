//! Whether Redis is asked first: healthy, degraded, recovering, blocked (SPEC 2). Pure.
//!
//! `Machine` decides: inputs with their time in, effects out; the thread of `health` drives it.
//! `Board` is what workers see of it, `History` what people see. `Sign` names the ways in which
//! Redis can be away.

use std::sync::atomic::{AtomicU32, Ordering};

mod change;
mod input;
mod machine;
mod sign;
mod terms;

pub use self::change::{Cause, Change, Event, History, KEPT_CHANGES};
pub use self::input::{Effect, Finding, Input, Report, UNTOLD};
pub use self::machine::Machine;
pub use self::sign::Sign;
pub use self::terms::Terms;

/// What this sidecar does with lock commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Redis is asked first.
    #[default]
    Healthy,
    /// Lock commands are served from the lock table and the ledger.
    Degraded,
    /// Redis is usable again; lock commands are still served as in degraded mode, until a repair
    /// pass is complete.
    Recovering,
    /// As degraded, and the ledger does not answer: nothing that changes a lock is done.
    Blocked,
}

impl Mode {
    /// The word in logs, metrics and `LOCKSIDE MODE`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Recovering => "recovering",
            Self::Blocked => "blocked",
        }
    }
}

/// What workers see of the mode: read at every lock command, so one atomic word.
#[derive(Debug, Default)]
pub struct Board(AtomicU32);

/// The board's word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The mode.
    pub mode: Mode,
    /// Redis answers: traffic on other keys goes upstream.
    pub reachable: bool,
    /// Changes with every new view, so that a waiter can tell that there was one.
    pub generation: u32,
}

impl Board {
    /// What holds now.
    pub fn view(&self) -> View {
        let word = self.0.load(Ordering::Acquire);
        let mode = match word & 3 {
            0 => Mode::Healthy,
            1 => Mode::Degraded,
            2 => Mode::Recovering,
            _ => Mode::Blocked,
        };
        View { mode, reachable: word & 4 == 0, generation: word >> 3 }
    }

    /// Shows another view. Only the control thread does.
    pub fn show(&self, mode: Mode, reachable: bool) {
        let generation = (self.0.load(Ordering::Relaxed) >> 3).wrapping_add(1);
        let mode = match mode {
            Mode::Healthy => 0,
            Mode::Degraded => 1,
            Mode::Recovering => 2,
            Mode::Blocked => 3,
        };
        let word = generation << 3 | u32::from(!reachable) << 2 | mode;
        self.0.store(word, Ordering::Release);
    }
}
