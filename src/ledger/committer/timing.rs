//! The committer's times, and how they stretch where a medium counts calls. Pure.

use std::time::Duration;

/// First wait before a failed exchange is made again; it doubles...
pub const FIRST_RETRY: Duration = Duration::from_millis(50);
/// ...up to this.
pub const LAST_RETRY: Duration = Duration::from_secs(1);

/// So much of the quota may go into reads for which nobody waits: the rest is for those of a start,
/// and for clocks that are not one.
const READS_IN_TENTHS: u32 = 8;
/// A sidecar that has nothing to write takes a sixth of its share of the writes.
const HEARTBEATS: u32 = 6;

/// So many sidecars can share what a medium allows (SPEC 8).
pub const MOST_SIDECARS: usize = 10;

/// What all live sidecars together may ask of a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Exchanges with rows, in a minute.
    pub writes_a_minute: u32,
    /// Exchanges without, in a minute.
    pub reads_a_minute: u32,
}

/// The committer's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Longest silence of a log; others take a log for dead after three of it (SPEC 8).
    pub heartbeat: Duration,
    /// Longest time between two reads: how late another sidecar's entries are seen.
    pub poll: Duration,
    /// How far clocks may be apart (`ttl` rules, SPEC 3).
    pub max_clock_skew: Duration,
    /// `fast`: how soon what Redis has done is in the ledger. None in `strict`.
    pub mirror_interval: Option<Duration>,
    /// First wait before a failed exchange is made again; it doubles...
    pub first_retry: Duration,
    /// ...up to this.
    pub last_retry: Duration,
    /// What a medium allows that counts calls, and takes long for each. None: as many as one likes.
    pub quota: Option<Quota>,
}

impl Timing {
    /// Longest time between two reads. In `fast` at least two are in a `mirror_interval`: who has lost
    /// Redis is heard of, and what was granted till then is written, before that one's lock-delay is
    /// over (SPEC 8). So long the view of the ledger is young, twice (SPEC 2, calm).
    pub fn poll(&self) -> Duration {
        self.mirror_interval.map_or(self.poll, |interval| self.poll.min(interval / 2))
    }

    /// The times of each of so many live sidecars, which share a quota: longer where it would not do.
    #[must_use]
    pub fn shared_by(&self, sidecars: usize) -> Self {
        let Some(quota) = self.quota else { return *self };
        let sidecars = u32::try_from(sidecars).unwrap_or(u32::MAX).max(1);
        let a_call = |a_minute: u32| Duration::from_secs(60) / a_minute.max(1);
        let read = a_call(quota.reads_a_minute).saturating_mul(sidecars) * 10 / READS_IN_TENTHS;
        let beat = a_call(quota.writes_a_minute).saturating_mul(sidecars) * HEARTBEATS;
        Self {
            poll: self.poll.max(read),
            mirror_interval: self.mirror_interval.map(|interval| interval.max(read * 2)),
            heartbeat: self.heartbeat.max(beat),
            ..*self
        }
    }
}

impl Default for Timing {
    /// For SQLite: a read costs microseconds, a heartbeat one sync.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            max_clock_skew: Duration::from_secs(1),
            mirror_interval: None,
            first_retry: FIRST_RETRY,
            last_retry: LAST_RETRY,
            quota: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sheet() -> Timing {
        Timing {
            heartbeat: 20 * SECOND,
            poll: 3 * SECOND / 2,
            mirror_interval: Some(3 * SECOND),
            quota: Some(Quota { writes_a_minute: 55, reads_a_minute: 55 }),
            ..Timing::default()
        }
    }

    #[test]
    fn a_medium_that_counts_nothing_has_one_pace() {
        assert_eq!(Timing::default().shared_by(10), Timing::default());
        assert_eq!(sheet().shared_by(1), sheet());
    }

    #[test]
    fn no_fleet_idles_beyond_the_quota() {
        for sidecars in 1..=10u32 {
            let timing = sheet().shared_by(sidecars as usize);
            let minute = Duration::from_secs(60).as_secs_f64() * f64::from(sidecars);
            assert!(minute / timing.poll().as_secs_f64() <= 55.0 * 0.81, "{sidecars}");
            assert!(minute / timing.heartbeat.as_secs_f64() <= 55.0 / 4.0, "{sidecars}");
            // Grants all the time: each writes once in so long.
            let mirror = timing.mirror_interval.unwrap();
            assert!(minute / (mirror * 3 / 4).as_secs_f64() <= 35.0, "{sidecars}");
            assert!(timing.poll() * 2 <= mirror, "{sidecars}");
        }
    }
}
