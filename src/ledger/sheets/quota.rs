//! How often Google is asked: a bucket for writes and one for reads, and how long to wait after a
//! refusal. Pure: time is handed in by [`Pace`].
//!
//! Google counts calls by the minute and by account (60 writes, 60 reads), and its counters start
//! anew at a moment that nobody here knows. So a bucket is small: what it holds at once and what
//! flows into it within any minute are together no more than the limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a call is charged as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes something.
    Write,
    /// It only looks.
    Read,
}

/// Calls that one sidecar may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Writes a minute. Google's own limit is 60 for an account.
    pub writes_a_minute: u32,
    /// Reads a minute. Google's own limit is 60 for an account.
    pub reads_a_minute: u32,
    /// Calls that may be made at once before the pace begins. Together with the calls of a minute it
    /// should be no more than Google's limit.
    pub at_once: u32,
}

impl Default for Quota {
    /// 55 a minute each, and five at once: 60 in the worst minute.
    fn default() -> Self {
        Self { writes_a_minute: 55, reads_a_minute: 55, at_once: 5 }
    }
}

/// Time, for whoever waits.
pub trait Pace: Send + std::fmt::Debug {
    /// Time since some start that does not move.
    fn now(&self) -> Duration;
    /// Waits so long, or until it is over.
    fn wait(&mut self, time: Duration);
    /// True once no more calls are to be made.
    fn is_over(&self) -> bool {
        false
    }
}

/// The machine's clock; waiting is sleeping.
#[derive(Debug, Clone, Copy)]
pub struct RealPace(Instant);

impl Default for RealPace {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Pace for RealPace {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the quota is a matter of time alone")]
    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Calls that may be made, flowing in evenly.
#[derive(Debug)]
struct Bucket {
    a_second: f64,
    most: f64,
    has: f64,
    at: Duration,
}

impl Bucket {
    fn new(a_minute: u32, at_once: u32) -> Self {
        let most = f64::from(at_once.max(1));
        Self { a_second: f64::from(a_minute.max(1)) / 60.0, most, has: most, at: Duration::ZERO }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.has = (self.has + passed * self.a_second).min(self.most);
        self.at = now;
    }

    /// How long until there is one.
    fn missing(&mut self, now: Duration) -> Duration {
        self.missing_for(1.0, now)
    }

    /// How long until there are so many, of those that there can be at once.
    fn missing_for(&mut self, calls: f64, now: Duration) -> Duration {
        self.fill(now);
        let calls = calls.min(self.most);
        // A nanosecond more, for what rounding takes away.
        match self.has >= calls {
            true => Duration::ZERO,
            false => {
                Duration::from_secs_f64((calls - self.has) / self.a_second)
                    + Duration::from_nanos(1)
            }
        }
    }
}

/// Rounds of one exchange that may come at once, however many share the quota: an exchange that has to
/// wait in its middle may never be whole.
const AT_ONCE: u32 = 3;

/// The own calls, kept under the own share of the quota.
#[derive(Debug)]
pub(super) struct Limiter {
    quota: Quota,
    is_shared: bool,
    writes: Bucket,
    reads: Bucket,
}

impl Limiter {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            is_shared: false,
            writes: Bucket::new(quota.writes_a_minute, quota.at_once),
            reads: Bucket::new(quota.reads_a_minute, quota.at_once),
        }
    }

    /// So many sidecars share the quota now.
    pub(super) fn share(&mut self, sidecars: usize, now: Duration) {
        let sidecars = u32::try_from(sidecars).unwrap_or(u32::MAX).max(1);
        self.is_shared = sidecars > 1;
        let most = (self.quota.at_once / sidecars).max(AT_ONCE.min(self.quota.at_once));
        let quota = [self.quota.writes_a_minute, self.quota.reads_a_minute];
        for (bucket, a_minute) in [&mut self.writes, &mut self.reads].into_iter().zip(quota) {
            bucket.fill(now);
            bucket.a_second = f64::from(a_minute.max(1)) / 60.0 / f64::from(sidecars);
            bucket.most = f64::from(most.max(1));
            bucket.has = bucket.has.min(bucket.most);
        }
    }

    /// How long to wait for one call at most, however little patience is left: where others share the
    /// quota, an exchange of several rounds would else never end.
    pub(super) fn longest(&mut self, kind: Kind) -> Duration {
        let two = Duration::from_secs_f64(2.0 / self.bucket(kind).a_second);
        if self.is_shared { two.min(LONGEST_WAIT) } else { Duration::ZERO }
    }

    /// How long until there is one more, in the long run.
    pub(super) fn pace(&mut self, kind: Kind) -> Duration {
        Duration::from_secs_f64(1.0 / self.bucket(kind).a_second)
    }

    fn bucket(&mut self, kind: Kind) -> &mut Bucket {
        match kind {
            Kind::Write => &mut self.writes,
            Kind::Read => &mut self.reads,
        }
    }

    /// How long to wait before such a call.
    pub(super) fn missing(&mut self, kind: Kind, now: Duration) -> Duration {
        self.bucket(kind).missing(now)
    }

    /// How long to wait before so many of them at once.
    pub(super) fn missing_for(&mut self, kind: Kind, calls: usize, now: Duration) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.bucket(kind).missing_for(f64::from(calls), now)
    }

    /// A call is made now.
    pub(super) fn take(&mut self, kind: Kind, now: Duration) {
        let bucket = self.bucket(kind);
        bucket.fill(now);
        bucket.has = (bucket.has - 1.0).max(0.0);
    }

    /// Google says that there were too many, whoever made them: nothing more at once.
    pub(super) fn refused(&mut self, kind: Kind, now: Duration) {
        let bucket = self.bucket(kind);
        bucket.fill(now);
        bucket.has = 0.0;
    }
}

/// A limiter that several callers of one process may share.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Mutex<Limiter>>);

impl Gate {
    pub(super) fn new(quota: Quota) -> Self {
        Self(Arc::new(Mutex::new(Limiter::new(quota))))
    }

    pub(super) fn limiter(&self) -> MutexGuard<'_, Limiter> {
        // Counts that a panic has left are still counts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest single wait after a refusal.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(32);

/// How long to wait after the refusal of this number, counted from 0: 1, 2, 4, … s and up to a second
/// more by chance, as Google advises.
pub(super) fn backoff(refusals: u32, random: u64) -> Duration {
    let doubled = Duration::from_secs(1u64 << refusals.min(5));
    (doubled + Duration::from_millis(random % 1_001)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_calls_than_google_allows() {
        let mut limiter = Limiter::new(Quota::default());
        let (mut now, mut calls) = (Duration::ZERO, Vec::new());
        while now < Duration::from_secs(300) {
            now += limiter.missing(Kind::Write, now);
            limiter.take(Kind::Write, now);
            calls.push(now);
        }
        let within = |start: Duration| {
            let end = start + Duration::from_secs(60);
            calls.iter().filter(|at| (start..end).contains(*at)).count()
        };
        let most = calls.iter().map(|start| within(*start)).max().unwrap();
        assert!((55..=60).contains(&most), "{most}");
        assert_eq!(limiter.missing(Kind::Read, now), Duration::ZERO, "reads are counted apart");
    }

    #[test]
    fn after_a_refusal_there_is_nothing_at_once() {
        let mut limiter = Limiter::new(Quota::default());
        limiter.refused(Kind::Write, Duration::ZERO);
        let wait = limiter.missing(Kind::Write, Duration::ZERO);
        assert!(wait > Duration::from_secs(1) && wait < Duration::from_secs(2), "{wait:?}");
        assert_eq!(limiter.missing(Kind::Write, wait), Duration::ZERO);
    }

    #[test]
    fn a_fleet_makes_no_more_calls_than_one() {
        let fleet = |sidecars: usize| {
            let mut calls = 0;
            for _ in 0..sidecars {
                let mut limiter = Limiter::new(Quota::default());
                limiter.share(sidecars, Duration::ZERO);
                let mut now = Duration::ZERO;
                // The second minute: what each may make at once is gone by then.
                while now < Duration::from_secs(120) {
                    now += limiter.missing(Kind::Write, now);
                    limiter.take(Kind::Write, now);
                    calls += usize::from((60..120).contains(&now.as_secs()));
                }
            }
            calls
        };
        for sidecars in 1..=10 {
            let calls = fleet(sidecars);
            assert!((45..=60).contains(&calls), "{sidecars}: {calls}");
        }
    }

    #[test]
    fn waits_double_up_to_an_end() {
        assert_eq!(backoff(0, 0), Duration::from_secs(1));
        assert_eq!(backoff(2, 1_000), Duration::from_secs(5));
        assert_eq!(backoff(5, 1_000), LONGEST_WAIT);
        assert_eq!(backoff(u32::MAX, 7), LONGEST_WAIT);
    }
}
