//! What the machine is told, and what it wants done. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::{Cause, Change, Mode, Sign};

/// What a worker, or another part that talks to Redis, has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A connection was refused.
    Refused,
    /// A connection was not made within `connect_timeout`.
    ConnectTimeout,
    /// A connection ended while a reply was due on it.
    Reset,
    /// A lock command that reads had no reply within `command_timeout`.
    ReadTimeout,
    /// A lock command that writes had no reply within `command_timeout`.
    WriteTimeout,
    /// A lock command got an error reply that speaks of Redis's state.
    Error(Sign),
    /// A connection was made, to this run of Redis.
    Met(Arc<str>),
    /// Redis has lost the counter of fences, and so perhaps its locks (`fast`).
    NoCounter,
    /// The ledger has refused or left something: its door should be asked at once.
    Ledger,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Redis answers, and takes lock writes as far as can be told.
    Good {
        /// The run of Redis. Where Redis does not tell it, a name that begins with [`UNTOLD`] and
        /// stays the same for as long as one connection stands.
        run: Arc<str>,
        /// The write was not permitted, so that it is known only that Redis answers.
        blind: bool,
        /// The connection of the probe before had ended by itself.
        broken: bool,
    },
    /// Redis is not there, or takes no lock writes.
    Bad {
        /// How it shows.
        sign: Sign,
        /// The address or Redis's own words, for people.
        detail: Arc<str>,
    },
}

/// First character of the name of a run that Redis does not tell.
pub const UNTOLD: char = '?';

/// One input of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Somebody has met something.
    Report(Report),
    /// The probe that an [`Effect::Probe`] asked for has ended.
    Probed {
        /// When it began.
        began: Duration,
        /// What it found.
        finding: Finding,
    },
    /// None while the ledger answers; else why not.
    Ledger(Option<Arc<str>>),
    /// The pass that an [`Effect::StartPass`] asked for has ended.
    PassEnded {
        /// Of this run.
        run: Arc<str>,
        /// Every won holder stands in Redis without TTL. False: failed, or was interrupted.
        complete: bool,
    },
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Probe Redis, and answer with [`Input::Probed`]. No second probe is asked for before.
    Probe {
        /// By a new connection, since somebody's has failed or has met another run.
        fresh: bool,
        /// By a write that leaves something, so that a disk that hangs is found.
        deep: bool,
    },
    /// Start a repair pass on this run of Redis, and answer with [`Input::PassEnded`], whatever
    /// becomes of it. No second pass is asked for before.
    StartPass(Arc<str>),
    /// The pass under way is no longer of use: it should end soon.
    StopPass,
    /// Show workers the mode and whether Redis is reachable.
    Show(Mode, bool),
    /// The mode has changed: one line in the log.
    Changed(Change),
    /// Why Redis is not used for locks, for error texts; none when it is usable again.
    Lost(Option<Cause>),
    /// To be written to the ledger: this sidecar has lost Redis, or has met another run of it.
    NoteDegraded,
    /// To be written to the ledger: this sidecar serves by this run of Redis again.
    NoteHealthy(Arc<str>),
}
