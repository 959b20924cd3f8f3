//! Is the spreadsheet as the ledger needs it? Measured in it, for Google does not say (SPEC 8).
//!
//! A probe is a small ledger of its own beside the real one: a registry and a log for each of some writers, in
//! hidden tabs that are removed at the end. The writers are the store itself, so an exchange here is the
//! exchange of a sidecar. They all make one at the same time, round after round, because only exchanges that
//! are under way together put the property to the test; meanwhile somebody reads, and looks when each row
//! appears. All calls go through one gate, which is the configured quota or a part of it.
//!
//! Reading order: `pace`, `pairs`, `figures` (pure), `tabs`, `writer`, `reader`, and here the whole.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::api::Api;
use super::meter::{End, Meter, Sample};
use super::quota::{Gate, Kind};
use super::{Pace, Quota, Settings, Sheets};
use crate::ledger::entry::{Row, Start};
use crate::ledger::store::OpenError;

mod figures;
mod pace;
mod pairs;
mod reader;
mod tabs;
mod writer;

pub use figures::{Calls, Refusal, Report, Spread};
use pace::Clock;
pub use pace::Stop;
pub use pairs::Pairs;
use reader::Reader;
use tabs::Janitor;
use writer::Writer;

/// How long one exchange or look may wait for the quota and after refusals.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often something is tried, with the same rows, as a sidecar does, and how long it waits in between.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked at the end whether all is there, and how long it is waited in between.
const LOOKS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Writers, at least two.
    pub writers: usize,
    /// Exchanges of each.
    pub exchanges: usize,
    /// It is ended after so long.
    pub limit: Duration,
    /// It takes this part of the quota: 1 all, 6 a sixth.
    pub part: u32,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rounds that are done.
    pub rounds: usize,
    /// Rounds in all.
    pub of: usize,
    /// Since the start.
    pub took: Duration,
}

impl Plan {
    /// The calls that it may make: no minute has more than one of a sidecar that has this part.
    fn quota(&self, own: Quota) -> Quota {
        let at_once = u32::try_from(self.writers).unwrap_or(u32::MAX);
        let most = |calls: u32| calls.saturating_add(own.at_once).saturating_sub(at_once);
        let part = |calls: u32| (most(calls) / self.part.max(1)).max(1);
        Quota {
            writes_a_minute: part(own.writes_a_minute),
            reads_a_minute: part(own.reads_a_minute),
            at_once,
        }
    }

    /// About how long it takes, at the usual latency of Google: a round a second, a call for a tab half.
    pub fn estimate(&self, own: Quota) -> Duration {
        let quota = self.quota(own);
        let count = |calls: usize| u32::try_from(calls).unwrap_or(u32::MAX);
        let (writers, made) = (count(self.writers), count(self.writers * self.exchanges));
        let pace = |calls: u32, a_minute: u32| {
            Duration::from_secs(60) * calls.saturating_sub(quota.at_once) / a_minute
        };
        // Logs and their end. One look for two rows; each writer reads tabs, registry, and twice the others.
        let writes = pace(made + writers + 2, quota.writes_a_minute);
        let reads = pace(made / 2 + 4 * writers + 12, quota.reads_a_minute);
        let alone = Duration::from_secs(1) * count(self.exchanges)
            + Duration::from_millis(500) * (4 * writers + 8);
        writes.max(reads).max(alone)
    }
}

/// A row was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Ack {
    writer: usize,
    seq: u64,
    acked: Duration,
}

/// Measures. Its tabs are removed in the end, whatever came between, as far as Google takes calls; and those
/// that an earlier one has left are removed first.
pub fn run(
    settings: &Settings,
    plan: &Plan,
    start: &Start,
    stop: &Stop,
    tell: &mut dyn FnMut(Progress),
) -> Report {
    let clock = Clock::new(stop, plan.limit);
    let began = clock.now();
    let settings = &Settings { patience: PATIENCE, ..settings.clone() };
    let gate = Gate::new(plan.quota(settings.quota));
    let mut report = Report::default();
    let mut janitor = match Janitor::new(settings, &gate, &clock) {
        Ok(janitor) => janitor,
        Err(failure) => return Report { trouble: Some(failure.text), ..report },
    };
    match janitor.remove(None) {
        Ok(count) => report.removed = count,
        Err(failure) => return Report { trouble: Some(failure.text), ..report },
    }
    let name = janitor.name();
    let own = Settings { ledger: name.clone(), ..settings.clone() };
    let measured = measure(&own, plan, start, (&gate, &clock), tell, &mut report);
    report.trouble = measured.err().or_else(|| ended(&clock, plan));
    report.left = janitor.clean_up(&name);
    report.around(&janitor.samples());
    report.took = clock.now().saturating_sub(began);
    report
}

/// Why not all was measured.
fn ended(clock: &Clock, plan: &Plan) -> Option<String> {
    match (clock.stop.is_told(), clock.is_over()) {
        (true, _) => Some("it was told to stop".into()),
        (false, true) => Some(format!("its time limit of {} s is over", plan.limit.as_secs())),
        (false, false) => None,
    }
}

fn measure(
    settings: &Settings,
    plan: &Plan,
    start: &Start,
    (gate, clock): (&Gate, &Clock),
    tell: &mut dyn FnMut(Progress),
    report: &mut Report,
) -> Result<(), String> {
    let told = |error: OpenError| ended(clock, plan).unwrap_or_else(|| error.to_string());
    let mut writers = Vec::new();
    for number in 0..plan.writers {
        writers.push(Writer::open(settings, (gate, clock), start, number).map_err(told)?);
    }
    let logs: Vec<u64> = writers.iter().map(|writer| writer.log).collect();
    for writer in &mut writers {
        writer.meet(&logs).map_err(|error| told(error.into()))?;
        report.around(&writer.samples());
    }
    let mut reader = Reader::open(settings, (gate, clock), start, &logs).map_err(told)?;
    report.around(&reader.samples());
    let began = clock.now();
    for round in 0..plan.exchanges {
        if !wait_for_all(plan.writers, gate, clock) {
            break;
        }
        make_round(&mut writers, &mut reader, start);
        let took = clock.now().saturating_sub(began);
        tell(Progress { rounds: round + 1, of: plan.exchanges, took });
    }
    sum_up(&mut writers, &mut reader, report);
    if clock.stop.is_told() {
        return Ok(());
    }
    look_at_all(settings, (gate, clock), start, &writers, report)
}

/// Waits until all writers can write at once. False if the time is over.
fn wait_for_all(writers: usize, gate: &Gate, clock: &Clock) -> bool {
    let mut clock = clock.clone();
    while !clock.is_over() {
        let missing = gate.limiter().missing_for(Kind::Write, writers, clock.now());
        if missing == Duration::ZERO {
            return true;
        }
        clock.wait(missing);
    }
    false
}

fn make_round(writers: &mut [Writer], reader: &mut Reader, start: &Start) {
    let (sender, acks) = mpsc::channel();
    thread::scope(|scope| {
        for writer in writers {
            let sender = sender.clone();
            scope.spawn(move || writer.exchange(start, &sender));
        }
        drop(sender);
        reader.follow(&acks);
    });
}

fn sum_up(writers: &mut [Writer], reader: &mut Reader, report: &mut Report) {
    let mut done = Vec::new();
    for writer in writers {
        report.exchanged(&writer.samples());
        report.again += writer.again;
        report.odd += writer.odd;
        report.failed += writer.failed;
        report.said = report.said.take().or_else(|| writer.said.clone());
        done.extend(writer.done.iter().cloned());
    }
    report.made = done.len();
    report.exchanges = done.iter().map(|it| it.acked.saturating_sub(it.began)).collect();
    report.pairs = Pairs::of(&done);
    report.polled(&reader.samples());
    report.odd_reads += reader.odd;
    report.delays.clone_from(&reader.delays);
    (report.late, report.never) = (reader.late, reader.never);
}

/// Is everything there that was acknowledged? Looked at by somebody who comes new, after the limit too.
fn look_at_all(
    settings: &Settings,
    (gate, clock): (&Gate, &Clock),
    start: &Start,
    writers: &[Writer],
    report: &mut Report,
) -> Result<(), String> {
    let mut clock = clock.clone();
    for look in 1..=LOOKS {
        let mut store =
            opened(settings, gate, Box::new(clock.time)).map_err(|error| error.to_string())?;
        let seen = store.survey(start);
        let samples = samples(&mut store);
        let is_answered = samples.last().is_some_and(|sample| sample.end == End::Answered);
        report.around(&samples);
        match seen {
            Ok(survey) => {
                let rows = survey.seen.map(|seen| seen.rows).unwrap_or_default();
                let own = writers.iter().flat_map(|writer| &writer.rows);
                report.lost = Some(own.filter(|row| !rows.contains(row)).count());
                report.disorder = None;
            }
            // Rows are there, and not as they were written.
            Err(error) if is_answered => report.disorder = Some(error.to_string()),
            Err(error) => return Err(error.to_string()),
        }
        if (report.lost == Some(0) && report.disorder.is_none()) || look == LOOKS {
            break;
        }
        clock.wait(BETWEEN_LOOKS);
    }
    Ok(())
}

/// Tries until it is done, or was tried often enough.
fn patiently<T, E>(clock: &Clock, mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut clock = clock.clone();
    for _ in 1..TRIES {
        match work() {
            Err(_) if !clock.is_over() => clock.wait(PAUSE),
            done => return done,
        }
    }
    work()
}

/// A store whose calls are measured, through the gate.
fn opened(settings: &Settings, gate: &Gate, pace: Box<dyn Pace>) -> Result<Sheets, OpenError> {
    let mut store = Sheets::with_pace(settings.clone(), pace);
    store.connected()?.join(gate);
    Ok(store)
}

/// A store's calls since the last time.
fn samples(store: &mut Sheets) -> Vec<Sample> {
    let meter = store.api.as_mut().and_then(Api::meter);
    meter.map(Meter::take).unwrap_or_default()
}

/// Keeps of each log the last entry.
fn note(rows: &[Row], logs: &[u64], saw: &mut [u64]) {
    for row in rows {
        let of_log = logs.iter().position(|log| *log == row.at.log);
        if let Some(last) = of_log.and_then(|at| saw.get_mut(at)) {
            *last = row.at.seq.max(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(writers: usize, part: u32) -> Plan {
        Plan { writers, exchanges: 5, limit: Duration::from_secs(600), part }
    }

    #[test]
    fn no_minute_has_more_calls_than_those_of_a_sidecar() {
        let own = Quota::default();
        for (writers, part) in [(2, 1), (4, 1), (10, 1), (4, 6), (10, 6)] {
            let quota = plan(writers, part).quota(own);
            let most = quota.at_once + quota.writes_a_minute;
            assert!(most <= own.writes_a_minute + own.at_once, "{writers} {part}: {quota:?}");
            assert!(part == 1 || most <= 18, "{writers} {part}: {quota:?}");
            assert_eq!(quota.at_once as usize, writers);
        }
    }

    #[test]
    fn an_estimate_follows_the_quota() {
        let seconds = |plan: Plan| plan.estimate(Quota::default()).as_secs();
        assert!((15..60).contains(&seconds(plan(4, 1))), "{}", seconds(plan(4, 1)));
        assert!((150..300).contains(&seconds(plan(4, 6))), "{}", seconds(plan(4, 6)));
    }
}
