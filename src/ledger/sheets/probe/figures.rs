//! What a probe has found, and how its times are summed up. Pure.

use std::time::Duration;

use super::pairs::Pairs;
use crate::ledger::sheets::meter::{End, Sample};
use crate::ledger::sheets::quota::Kind;

/// What a probe has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Exchanges that were acknowledged.
    pub made: usize,
    /// Exchanges that failed as often as they were tried.
    pub failed: usize,
    /// What was said of the first one that failed, or that was made again.
    pub said: Option<String>,
    /// Exchanges that were made again after an error.
    pub again: usize,
    /// Answers of exchanges that did not show what must have been there: rows that the same writer had been
    /// shown before, or its own.
    pub odd: usize,
    /// Reads that did not show what the same reader had been shown before.
    pub odd_reads: usize,
    /// Of exchanges two by two.
    pub pairs: Pairs,
    /// Acknowledged rows that are not there at the end. None: nobody could look.
    pub lost: Option<usize>,
    /// What is wrong with the order of the rows at the end.
    pub disorder: Option<String>,
    /// Of each exchange, from its begin to its acknowledgement.
    pub exchanges: Vec<Duration>,
    /// Of each read that was answered.
    pub reads: Vec<Duration>,
    /// From each acknowledgement to the sending of the read that showed its row; zero for a read that was
    /// the first one sent behind it.
    pub delays: Vec<Duration>,
    /// Rows that were not shown by the first read behind their acknowledgement.
    pub late: usize,
    /// Of those, rows that no read has shown for as long as it was tried.
    pub never: usize,
    /// Calls that were made.
    pub calls: Calls,
    /// Each 429.
    pub refusals: Vec<Refusal>,
    /// Why it was not finished.
    pub trouble: Option<String>,
    /// Tabs of earlier probes that were removed.
    pub removed: usize,
    /// Tabs of this one that are still there.
    pub left: Vec<String>,
    /// All in all.
    pub took: Duration,
}

/// Calls by what they were for and what they are charged as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Writes of exchanges.
    pub exchange_writes: usize,
    /// Reads of exchanges: of what a write could not show.
    pub exchange_reads: usize,
    /// Reads of the one who only looks.
    pub polls: usize,
    /// Writes that make and remove tabs.
    pub other_writes: usize,
    /// Reads before and behind.
    pub other_reads: usize,
}

/// A 429.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The refused call is one that Lockside counts as a write.
    pub is_write: bool,
    /// Google's words.
    pub said: String,
    /// How long to wait, if that was said.
    pub retry_after: Option<String>,
}

impl Report {
    /// Takes calls that were made around the measurement.
    pub(super) fn around(&mut self, samples: &[Sample]) {
        let writes = self.refusals_of(samples);
        self.calls.other_writes += writes;
        self.calls.other_reads += samples.len() - writes;
    }

    /// Takes calls of exchanges.
    pub(super) fn exchanged(&mut self, samples: &[Sample]) {
        let writes = self.refusals_of(samples);
        self.calls.exchange_writes += writes;
        self.calls.exchange_reads += samples.len() - writes;
    }

    /// Takes calls of the one who only looks.
    pub(super) fn polled(&mut self, samples: &[Sample]) {
        self.refusals_of(samples);
        self.calls.polls += samples.len();
        let answered = samples.iter().filter(|sample| sample.end == End::Answered);
        self.reads.extend(answered.map(|sample| sample.took));
    }

    /// Keeps the refusals, and counts the writes.
    fn refusals_of(&mut self, samples: &[Sample]) -> usize {
        for sample in samples {
            if let End::Refused(said, retry_after) = &sample.end {
                self.refusals.push(Refusal {
                    is_write: sample.kind == Kind::Write,
                    said: said.clone(),
                    retry_after: retry_after.clone(),
                });
            }
        }
        samples.iter().filter(|sample| sample.kind == Kind::Write).count()
    }
}

/// Times in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Half are no longer.
    pub p50: Duration,
    /// Nine of ten are no longer.
    pub p90: Duration,
    /// All but one of a hundred are no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Spread {
    /// None without any. Of few times the higher ones are all the longest.
    pub fn of(times: &[Duration]) -> Option<Self> {
        let mut sorted = times.to_vec();
        sorted.sort();
        let max = *sorted.last()?;
        let rank = |percent: usize| {
            let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(at).copied().unwrap_or(max)
        };
        Some(Self { p50: rank(50), p90: rank(90), p99: rank(99), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_short_are_times_that_were_measured() {
        let times: Vec<_> = (1..=10).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(&times).unwrap();
        let ms = [spread.p50, spread.p90, spread.p99, spread.max].map(|time| time.as_millis());
        assert_eq!(ms, [5, 9, 10, 10]);
        assert_eq!(Spread::of(&[]), None);
        let one = Spread::of(&times[..1]).unwrap();
        assert_eq!((one.p50, one.max), (times[0], times[0]));
    }

    #[test]
    fn calls_are_counted_by_what_they_are_charged_as() {
        let sample = |kind, end| Sample { kind, at: Duration::ZERO, took: Duration::ZERO, end };
        let refused = End::Refused("no".into(), Some("7".into()));
        let mut report = Report::default();
        report.exchanged(&[
            sample(Kind::Write, refused),
            sample(Kind::Write, End::Answered),
            sample(Kind::Read, End::Answered),
        ]);
        report.polled(&[sample(Kind::Read, End::Answered), sample(Kind::Read, End::Failed)]);
        let expected =
            Calls { exchange_writes: 2, exchange_reads: 1, polls: 2, ..Calls::default() };
        assert_eq!((report.calls, report.reads.len()), (expected, 1));
        let refusal = Refusal { is_write: true, said: "no".into(), retry_after: Some("7".into()) };
        assert_eq!(report.refusals, [refusal]);
    }
}
