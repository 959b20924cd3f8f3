//! A change of mode with its cause, and the last of them, for people. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Mode, Sign};

/// Why the mode is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The process has started; nothing is known of Redis yet.
    Started,
    /// Redis is not there, or takes no lock writes; with the words of the probe that found it.
    Lost(Sign, Arc<str>),
    /// Two lock writes had no reply in time within `recover_after`.
    WriteTimeouts,
    /// Probes were good for `recover_after`.
    Back,
    /// Another run of Redis was met: a restart or a failover that no command has noticed.
    OtherRun,
    /// Redis has lost the counter of fences (`fast`).
    NoCounter,
    /// A repair pass is complete.
    Repaired,
    /// The ledger does not answer.
    LedgerLost(Arc<str>),
    /// The ledger answers again.
    LedgerBack,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("Lockside has started"),
            Self::Lost(sign, detail) if detail.is_empty() => {
                write!(f, "Redis {}", sign.meaning())
            }
            Self::Lost(sign, detail) => write!(f, "Redis {} ({detail})", sign.meaning()),
            Self::WriteTimeouts => f.write_str("two lock commands had no reply in time"),
            Self::Back => f.write_str("Redis takes lock writes again"),
            Self::OtherRun => f.write_str("another run of Redis was met: a restart or a failover"),
            Self::NoCounter => f.write_str("Redis has lost the counter of fences"),
            Self::Repaired => f.write_str("Redis has the locks that the ledger has"),
            Self::LedgerLost(why) => write!(f, "{why}"),
            Self::LedgerBack => f.write_str("the ledger answers again"),
        }
    }
}

impl Cause {
    /// The cause in a few words, to stand behind the upstream's address in an error.
    pub fn short(&self) -> String {
        match self {
            Self::Lost(sign, _) => sign.meaning().to_owned(),
            other => other.to_string(),
        }
    }
}

/// One change of mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The mode before.
    pub from: Mode,
    /// The mode from now on. The same as `from` in the first entry of a process alone.
    pub to: Mode,
    /// Why.
    pub cause: Cause,
    /// When an outage was found: how long after the first command or probe that failed.
    pub detected_after: Option<Duration>,
}

/// A [`Change`] and when it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What changed.
    pub change: Change,
}

/// Changes that are kept.
pub const KEPT_CHANGES: usize = 64;

/// The last [`KEPT_CHANGES`] changes of mode, for `LOCKSIDE MODE` and the page. Shared by the
/// thread that writes it and whoever reads it.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    total: u64,
    lost: Option<Cause>,
}

impl History {
    /// Adds the newest event; the oldest makes room.
    pub fn push(&self, event: Event) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.events.len() == KEPT_CHANGES {
            kept.events.pop_front();
        }
        kept.events.push_back(event);
        kept.total += 1;
    }

    /// From now on Redis is not used for locks for this reason; none: it is usable.
    pub fn set_lost(&self, lost: Option<Cause>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lost = lost;
    }

    /// Why Redis is not used for locks, for error texts; none while it is usable.
    pub fn lost(&self) -> Option<Cause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lost.clone()
    }

    /// The kept events, the newest last.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).events.iter().cloned().collect()
    }

    /// The newest: why the mode is what it is, and since when.
    pub fn last(&self) -> Option<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).events.back().cloned()
    }

    /// Events ever, those that are no longer kept among them.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_bounded_and_counts_all() {
        let history = History::default();
        for at_ms in 0..100 {
            let (from, to) = (Mode::Degraded, Mode::Recovering);
            let change = Change { from, to, cause: Cause::Back, detected_after: None };
            history.push(Event { at_ms, change });
        }
        let events = history.events();
        assert_eq!((events.len(), history.total()), (KEPT_CHANGES, 100));
        assert_eq!((events[0].at_ms, history.last().unwrap().at_ms), (36, 99));
    }

    #[test]
    fn causes_read_as_sentences() {
        let lost = Cause::Lost(Sign::Refused, "127.0.0.1:6379".into());
        assert_eq!(lost.to_string(), "Redis refuses connections (127.0.0.1:6379)");
        assert_eq!(Cause::Lost(Sign::ReadOnly, "".into()).to_string().matches('(').count(), 0);
    }
}
