//! Where workers and the repair say what they have met: bounded, coalesced, and never waited for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::mode::Report;

/// Reports that may wait; what is said already is not said again. So many different ones say
/// nothing that the first did not.
const MAX_REPORTS: usize = 64;
/// Ended passes that may wait. One is under way at a time.
const MAX_ENDED: usize = 8;

/// The inlet of the health thread. A clone is the same inlet.
///
/// Made before the thread is started, so that whoever reports can be built first; what is noted
/// before is read when the thread starts. A call takes a lock that nobody holds for longer than
/// it takes to copy a word.
#[derive(Debug, Clone, Default)]
pub struct Reports(Arc<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    good: AtomicU64,
    /// Zero: not known.
    databases: AtomicU32,
}

/// What has come since the thread looked last.
#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    /// The run that links are expected to meet: saying so again is no news.
    expected: Option<Arc<str>>,
}

/// What [`Reports::take`] gives.
#[derive(Debug, Default)]
pub struct Batch {
    /// What was met, the oldest first.
    pub reports: Vec<Report>,
    /// Passes that have ended: of which run, and whether complete.
    pub ended: Vec<(Arc<str>, bool)>,
    /// The thread is to end.
    pub stop: bool,
}

impl Reports {
    /// Says what was met. Never fails: one that says nothing new is dropped.
    pub fn note(&self, report: Report) {
        let mut waiting = self.lock();
        let is_known = match &report {
            // How many there were counts.
            Report::WriteTimeout => false,
            Report::Met(run) if waiting.expected.as_ref() == Some(run) => true,
            other => waiting.batch.reports.contains(other),
        };
        if !is_known && waiting.batch.reports.len() < MAX_REPORTS {
            waiting.batch.reports.push(report);
            self.0.wake.notify_one();
        }
    }

    /// A link was opened and met this run of Redis (`run_id` of `INFO server`). Costs next to
    /// nothing while it is the one that is known.
    pub fn verify(&self, run_id: &str) {
        if self.lock().expected.as_deref() != Some(run_id) {
            self.note(Report::Met(run_id.into()));
        }
    }

    /// How many probes were good so far.
    pub fn good_probes(&self) -> u64 {
        self.0.good.load(Ordering::Acquire)
    }

    /// A probe was good.
    pub(crate) fn count_good(&self) {
        self.0.good.fetch_add(1, Ordering::AcqRel);
    }

    /// How many databases Redis has, if it has said so to a probe.
    pub fn databases(&self) -> Option<u32> {
        Some(self.0.databases.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }

    /// Redis has so many databases.
    pub(super) fn note_databases(&self, count: u32) {
        self.0.databases.store(count, Ordering::Relaxed);
    }

    /// True if this is the run that the last repair pass was made for, as far as can be told.
    pub fn is_expected(&self, run_id: &str) -> bool {
        let waiting = self.lock();
        let told = |expected: &Arc<str>| !expected.starts_with(crate::mode::UNTOLD);
        waiting.expected.as_ref().filter(|run| told(run)).is_none_or(|run| **run == *run_id)
    }

    /// True once a run is known that links should meet.
    pub fn expects(&self) -> bool {
        self.lock().expected.is_some()
    }

    /// The repair pass on `run_id` has ended. `complete`: every won holder stands in Redis without
    /// TTL, all of it on that run. Said exactly once for each pass that was started, also for one
    /// that failed, was stopped, or was never begun.
    pub fn pass_ended(&self, run_id: Arc<str>, complete: bool) {
        let mut waiting = self.lock();
        if waiting.batch.ended.len() < MAX_ENDED {
            waiting.batch.ended.push((run_id, complete));
            self.0.wake.notify_one();
        }
    }

    /// Waits for something to come, at most `timeout`, and takes it. For who drives the mode machine
    /// alone.
    pub fn take(&self, timeout: Duration) -> Batch {
        let is_empty = |waiting: &mut Waiting| {
            let batch = &waiting.batch;
            batch.reports.is_empty() && batch.ended.is_empty() && !batch.stop
        };
        let waited = self.0.wake.wait_timeout_while(self.lock(), timeout, is_empty);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut waiting.batch)
    }

    /// Which run links are expected to meet; none: every one is news. For who drives the mode machine
    /// alone.
    pub fn expect(&self, run: Option<Arc<str>>) {
        self.lock().expected = run;
    }

    /// Ends the thread at its next look.
    pub(super) fn stop(&self) {
        self.lock().batch.stop = true;
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn said_twice_is_said_once_but_for_write_timeouts() {
        let reports = Reports::default();
        reports.expect(Some("a".into()));
        for report in [Report::Refused, Report::Refused, Report::WriteTimeout, Report::WriteTimeout]
        {
            reports.note(report);
        }
        reports.verify("a");
        reports.verify("b");
        reports.verify("b");
        let batch = reports.take(Duration::ZERO);
        let expected =
            [Report::Refused, Report::WriteTimeout, Report::WriteTimeout, Report::Met("b".into())];
        assert_eq!(batch.reports, expected);
        assert!(reports.take(Duration::ZERO).reports.is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let reports = Reports::default();
        for number in 0..1000 {
            reports.verify(&number.to_string());
            reports.pass_ended("a".into(), true);
        }
        let batch = reports.take(Duration::ZERO);
        assert_eq!((batch.reports.len(), batch.ended.len()), (MAX_REPORTS, MAX_ENDED));
    }

    #[test]
    fn a_waiter_is_woken() {
        let reports = Reports::default();
        let inlet = reports.clone();
        let waiter = std::thread::spawn(move || inlet.take(Duration::from_secs(60)));
        reports.pass_ended("a".into(), false);
        assert_eq!(waiter.join().unwrap().ended, [("a".into(), false)]);
    }
}
