//! When the tab may be asked and written by calls of its own. Pure.
//!
//! Groups of entries go first, so these calls are made when the quota has some to spare. While clients keep
//! asking without Redis it never has: then rows that differ ride along with groups, which costs no call, and
//! people are heard at every turn: after eight calls that groups could have made, and ten seconds at least.

use std::time::Duration;

/// Between two turns, at least.
const TURN: Duration = Duration::from_secs(10);
/// One call of so many is for people, when there are too few.
const SHARE: u32 = 8;

/// When it was people's turn last, or they began to wait for their first.
#[derive(Debug, Default)]
pub(super) struct Turns {
    since: Option<Duration>,
}

impl Turns {
    /// True if calls may be made now: the quota has some (`is_spare`), or people have waited long enough.
    /// `pace`: how long until the quota has one more call.
    pub(super) fn is_now(&mut self, is_spare: bool, pace: Duration, now: Duration) -> bool {
        is_spare || now >= *self.since.get_or_insert(now) + TURN.max(pace * SHARE)
    }

    /// Calls are made.
    pub(super) fn taken(&mut self, now: Duration) {
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_heard_however_busy_groups_are() {
        let (second, mut turns) = (Duration::from_secs(1), Turns::default());
        assert!(!turns.is_now(false, second, Duration::ZERO));
        assert!(turns.is_now(false, second, 10 * second), "the first");
        turns.taken(Duration::ZERO);
        assert!(turns.is_now(true, second, second));
        assert!(!turns.is_now(false, second, 9 * second));
        assert!(turns.is_now(false, second, 10 * second));
        // Ten sidecars share the quota.
        assert!(!turns.is_now(false, 11 * second, 87 * second));
        assert!(turns.is_now(false, 11 * second, 88 * second));
    }
}
