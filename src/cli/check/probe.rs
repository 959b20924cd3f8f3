//! `lockside check --probe`: what a measurement on the spreadsheet has shown, in words.
//!
//! The measurement itself is the ledger's (`ledger::sheets::probe`); here it is told how far it may go, how
//! it is stopped, and what its figures mean for locks.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Options;
use super::findings::Finding;
use crate::cli::ledger::start;
use crate::cli::{EXIT_NO, complain};
use crate::config::Settings;
use crate::config::text::show_duration;
use crate::ledger::sheets::probe::{self, Plan, Progress, Refusal, Report, Spread, Stop};

/// The part of the quota that is taken where a sidecar may run: what one leaves in calm times, when it reads 40
/// times a minute.
const BESIDE_OTHERS: u32 = 6;
/// How often is said how far it is, on long work.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Measures, and judges what was found. `logs` have not ended in this ledger.
pub(super) fn run(settings: &Settings, options: &Options, logs: usize) -> Vec<Finding> {
    let part = if logs == 0 { 1 } else { BESIDE_OTHERS };
    let plan = Plan {
        writers: options.writers.into(),
        exchanges: options.exchanges.into(),
        limit: options.time_limit,
        part,
    };
    let sheets = crate::app::store::sheets(&settings.ledger.sheet);
    let stop = Stop::default();
    if let Err(error) = listen(&stop) {
        return vec![Finding::fail(format!("probe: signals can't be caught: {error}"))];
    }
    complain(announcement(&plan, plan.estimate(sheets.quota), logs));
    let mut told = Duration::ZERO;
    let mut tell = |progress: Progress| {
        if progress.took >= told + TELL_EVERY && progress.rounds < progress.of {
            told = progress.took;
            let Progress { rounds, of, took } = progress;
            complain(format!("probe: {rounds} of {of} rounds after {} s", took.as_secs()));
        }
    };
    let report = probe::run(&sheets, &plan, &start(settings), &stop, &mut tell);
    judge(&report, &plan)
}

/// What is about to happen.
fn announcement(plan: &Plan, takes: Duration, logs: usize) -> String {
    let Plan { writers, exchanges, limit, part } = plan;
    let beside = match part {
        1 => "all of the quota, since no sidecar runs at this ledger".into(),
        _ => format!(
            "a sixth of the quota, since {logs} sidecars may run at this ledger (the key of another service \
             account has a quota of its own)"
        ),
    };
    let short = match takes > *limit {
        true => ": not all will be made, ask for fewer --exchanges or a longer --time-limit",
        false => "",
    };
    format!(
        "probe: {writers} writers with {exchanges} exchanges each, with {beside}; takes about {}, at most \
         {}{short}; Ctrl-C ends it",
        show_duration(Duration::from_secs(takes.as_secs().max(1))),
        show_duration(*limit)
    )
}

/// The first signal stops the probe, which then removes its tabs; a second one ends the process.
fn listen(stop: &Stop) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let stop = stop.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            for is_second in [false, true] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if is_second {
                    std::process::exit(EXIT_NO.into());
                }
                complain("probe: stopping, and removing its tabs");
                stop.stop();
            }
        });
    })?;
    Ok(())
}

/// What the figures mean.
fn judge(report: &Report, plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    if report.removed > 0 {
        let count = report.removed;
        found.push(Finding::ok(format!("probe: {count} tabs of an earlier probe were removed")));
    }
    if let Some(trouble) = &report.trouble {
        let wanted = plan.writers * plan.exchanges;
        found.push(Finding::fail(format!(
            "probe: not finished, {} of {wanted} exchanges were made: {trouble}",
            report.made
        )));
    }
    if report.made > 0 {
        found.push(sight(report));
        found.extend(oddities(report));
        found.push(losses(report));
        found.extend(delays(report));
        found.extend(latency("an exchange", &report.exchanges));
        found.extend(latency("a read", &report.reads));
    }
    found.push(calls(report));
    found.extend(report.refusals.first().map(|first| refusals(first, report.refusals.len())));
    found.push(match report.left.first() {
        None => Finding::ok(format!(
            "probe: took {:.1} s, and its tabs are removed",
            report.took.as_secs_f64()
        )),
        Some(why) => Finding::warn(format!(
            "probe: tabs of it may be left, hidden and with \"probe\" in their names: the next --probe \
             removes them, or a person may ({why})"
        )),
    });
    found
}

/// The property that everything rests on.
fn sight(report: &Report) -> Finding {
    let pairs = report.pairs;
    if pairs.blind > 0 {
        return Finding::fail(format!(
            "in {} of {} pairs of exchanges neither saw the other: guarantee = \"strict\" must not be used \
             on this spreadsheet, and no lock is safe there while Redis is away (outage = \"refuse\")",
            pairs.blind, pairs.all
        ));
    }
    if pairs.overlapping == 0 {
        return Finding::fail(
            "no two exchanges were under way at the same time, so it is not known whether one of two sees \
             the other: do not use guarantee = \"strict\" on this alone, and probe again",
        );
    }
    Finding::ok(format!(
        "of every two exchanges at least one saw the other: {} pairs, {} of them at the same time (in {} \
         both did)",
        pairs.all, pairs.overlapping, pairs.mutual
    ))
}

/// Answers that can't be, and exchanges that failed.
fn oddities(report: &Report) -> Vec<Finding> {
    let said = report.said.as_deref().unwrap_or("no reason given");
    let mut found = Vec::new();
    if report.odd > 0 {
        found.push(Finding::fail(format!(
            "{} answers of exchanges lacked rows that the spreadsheet had shown before, or their own: \
             guarantee = \"strict\" must not be used on this spreadsheet ({said})",
            report.odd
        )));
    } else if report.again > 0 {
        found.push(Finding::warn(format!(
            "{} exchanges had to be made again: {said}",
            report.again
        )));
    }
    if report.failed > 0 {
        let failed = report.failed;
        found.push(Finding::fail(format!("{failed} writers could not go on: {said}")));
    }
    found
}

fn losses(report: &Report) -> Finding {
    if let Some(disorder) = &report.disorder {
        return Finding::fail(format!("what was written is not there as it was: {disorder}"));
    }
    match report.lost {
        Some(0) => Finding::ok(format!(
            "all {} acknowledged writes are there at the end, each at its place",
            report.made
        )),
        Some(lost) => Finding::fail(format!(
            "{lost} of {} acknowledged writes are not there at the end: no ledger can be kept in this \
             spreadsheet",
            report.made
        )),
        None => Finding::warn("nobody has looked whether all writes are there at the end"),
    }
}

/// How far reads are behind.
fn delays(report: &Report) -> Option<Finding> {
    let spread = Spread::of(&report.delays);
    if report.never > 0 {
        return Some(Finding::fail(format!(
            "{} acknowledged writes were not shown by any read for half a minute",
            report.never
        )));
    }
    let Spread { p50, p99, max, .. } = spread?;
    let odd = match report.odd_reads {
        0 => String::new(),
        odd => format!("; {odd} reads lacked what an earlier one had shown"),
    };
    Some(Finding::ok(format!(
        "{} of {} writes were shown by the first read behind their acknowledgement; delay p50 {} ms, p99 {} \
         ms, max {} ms{odd}",
        report.delays.len().saturating_sub(report.late),
        report.delays.len(),
        p50.as_millis(),
        p99.as_millis(),
        max.as_millis()
    )))
}

fn latency(what: &str, times: &[Duration]) -> Option<Finding> {
    let Spread { p50, p90, p99, max } = Spread::of(times)?;
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(|time| time.as_millis());
    Some(Finding::ok(format!(
        "{what} takes p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, max {max} ms ({} of them)",
        times.len()
    )))
}

fn calls(report: &Report) -> Finding {
    let calls = report.calls;
    Finding::ok(format!(
        "calls: exchanges {} writes and {} reads, looks {} reads, tabs {} writes and {} reads; {} answers 429",
        calls.exchange_writes,
        calls.exchange_reads,
        calls.polls,
        calls.other_writes,
        calls.other_reads,
        report.refusals.len()
    ))
}

/// Which quota was used up.
fn refusals(first: &Refusal, count: usize) -> Finding {
    let kind = if first.is_write { "a write" } else { "a read" };
    let wait = match &first.retry_after {
        Some(time) => format!("with Retry-After {time}"),
        None => "without a Retry-After".into(),
    };
    Finding::warn(format!(
        "Google refused {count} calls, the first of them {kind}, {wait}: {}",
        first.said
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sheets::probe::Pairs;

    const PLAN: Plan = Plan { writers: 2, exchanges: 3, limit: Duration::from_secs(60), part: 1 };

    fn good() -> Report {
        Report {
            made: 6,
            pairs: Pairs { all: 9, overlapping: 3, mutual: 0, blind: 0 },
            lost: Some(0),
            delays: vec![Duration::ZERO; 6],
            ..Report::default()
        }
    }

    fn lines(report: &Report) -> Vec<String> {
        judge(report, &PLAN).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_fails_where_all_is_well() {
        let lines = lines(&good());
        assert!(lines.iter().all(|line| line.starts_with("ok ")), "{lines:?}");
        assert!(lines[0].contains("9 pairs, 3 of them at the same time"), "{lines:?}");
    }

    #[test]
    fn each_misfit_has_its_line() {
        let refusal = Refusal { is_write: true, said: "Write requests".into(), retry_after: None };
        let pairs = good().pairs;
        let cases = [
            (
                Report { pairs: Pairs { blind: 2, ..pairs }, ..good() },
                "fail  in 2 of 9 pairs of exchanges neither saw the other: guarantee = \"strict\" must \
                 not be used on this spreadsheet",
            ),
            (
                Report { pairs: Pairs { overlapping: 0, ..pairs }, ..good() },
                "fail  no two exchanges were under way at the same time",
            ),
            (Report { odd: 1, ..good() }, "fail  1 answers of exchanges lacked rows"),
            (Report { again: 1, ..good() }, "warn  1 exchanges had to be made again"),
            (Report { failed: 1, ..good() }, "fail  1 writers could not go on"),
            (Report { lost: Some(1), ..good() }, "fail  1 of 6 acknowledged writes are not there"),
            (Report { lost: None, ..good() }, "warn  nobody has looked"),
            (
                Report { disorder: Some("x".into()), ..good() },
                "fail  what was written is not there",
            ),
            (Report { never: 1, ..good() }, "fail  1 acknowledged writes were not shown"),
            (Report { late: 2, ..good() }, "ok    4 of 6 writes were shown by the first read"),
            (Report { trouble: Some("x".into()), ..good() }, "fail  probe: not finished, 6 of 6"),
            (Report { left: vec!["x".into()], ..good() }, "warn  probe: tabs of it may be left"),
            (
                Report { refusals: vec![refusal], ..good() },
                "warn  Google refused 1 calls, the first of them a write, without a Retry-After: Write",
            ),
        ];
        for (report, expected) in cases {
            let lines = lines(&report);
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {lines:?}");
        }
    }

    #[test]
    fn what_takes_too_long_is_said_before() {
        let told = |part: u32| announcement(&Plan { part, ..PLAN }, Duration::from_secs(61), 2);
        assert!(
            told(1).contains("takes about 61s, at most 1m: not all will be made"),
            "{}",
            told(1)
        );
        assert!(told(6).contains("a sixth of the quota, since 2 sidecars may run"));
    }
}
