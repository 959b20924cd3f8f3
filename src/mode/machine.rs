//! The mode machine (SPEC 2): what was met of Redis and of the ledger, to a mode. Pure.
//!
//! `handle` takes one input and the time since the process started, and returns what is to be
//! done. The driver hands in an [`Input::Tick`] at [`Machine::wake_at`] at the latest, answers
//! every [`Effect::Probe`] and every [`Effect::StartPass`], and does nothing else of its own.
//!
//! Two things are kept apart: what is known of Redis (`Redis`, and whether it is reachable), and
//! whether the ledger answers. The mode follows from both, and is never stored.
//!
//! Redis's state goes `Unknown → Recovering → Up`, or by any failed probe to `Down`, and from there
//! only by `Proving` (good probes for `recover_after`) and `Recovering` (a repair pass) back to
//! `Up`. So the mode changes at most a few times in each `recover_after`, however Redis flaps.

use std::sync::Arc;
use std::time::Duration;

use super::{Cause, Change, Effect, Finding, Input, Mode, Report, Sign, Terms, UNTOLD};

/// Shortest time between the starts of two probes, so that clients whose connections fail one
/// after the other cost Redis no more than this.
const PROBE_GAP: Duration = Duration::from_millis(20);
/// While Redis is about to count as back, probes come so many times as often.
const PROVING_PROBES: u32 = 10;
/// From a pass that was not complete to the next one.
const PASS_PAUSE: Duration = Duration::from_millis(500);

/// What is known of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Redis {
    /// Nothing yet: the process has just started.
    Unknown,
    /// The last probe was bad.
    Down,
    /// After an outage, probes of `run` have been good since `since`.
    Proving { since: Duration, run: Arc<str> },
    /// It is usable, and must be brought in line with the ledger.
    Recovering(Recovery),
    /// It is in line with the ledger.
    Up { run: Arc<str>, since: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Recovery {
    /// None until a probe has told which run it is that somebody has met.
    run: Option<Arc<str>>,
    /// Not healthy before a good probe at this time or later, so that runs that take turns don't
    /// make the mode flap.
    not_before: Duration,
    /// There was such a probe.
    proved: bool,
    /// A complete pass of `run` has ended.
    repaired: bool,
    /// No pass is started before.
    pass_at: Duration,
}

/// The pass under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pass {
    run: Arc<str>,
    /// What has happened since it started makes it useless.
    stale: bool,
}

/// When to probe next, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Probing {
    due: Duration,
    fresh: bool,
    deep: bool,
    /// Asked for since the last one began.
    asked: bool,
    /// When the last one was asked for.
    began: Option<Duration>,
    under_way: bool,
}

/// The machine. See the module for its contract.
#[derive(Debug, Clone)]
pub struct Machine {
    terms: Terms,
    redis: Redis,
    reachable: bool,
    ledger: Option<Arc<str>>,
    shown: (Mode, bool),
    lost: Option<Cause>,
    /// When the first failure was met that no good probe has explained since.
    suspected: Option<Duration>,
    /// The last write time-out while Redis was up.
    write_timeout: Option<Duration>,
    /// An error reply that a blind probe can't refute.
    accused: Option<Sign>,
    busy_since: Option<Duration>,
    /// The last probe's new connection was made and then broke.
    broke: bool,
    /// The run that others have met, where Redis does not tell the probe.
    alias: Option<Arc<str>>,
    pass: Option<Pass>,
    probing: Probing,
    /// The ledger was told that Redis is lost, or that it serves.
    noted: Option<bool>,
    out: Vec<Effect>,
}

impl Machine {
    /// A machine at the start of a process, and what is to be done first.
    pub fn start(now: Duration, terms: Terms) -> (Self, Vec<Effect>) {
        let mode = Mode::Recovering;
        let started = Change { from: mode, to: mode, cause: Cause::Started, detected_after: None };
        let mut machine = Self {
            terms,
            redis: Redis::Unknown,
            reachable: true,
            ledger: None,
            shown: (mode, true),
            lost: None,
            suspected: None,
            write_timeout: None,
            accused: None,
            busy_since: None,
            broke: false,
            alias: None,
            pass: None,
            probing: Probing { due: now, fresh: true, ..Probing::default() },
            noted: None,
            out: vec![Effect::Show(mode, true), Effect::Changed(started)],
        };
        // What others have granted by Redis may not be in the ledger yet (SPEC 8, lock-delay).
        if !machine.terms.needs_ledger {
            machine.note_degraded();
        }
        let effects = machine.handle(now, Input::Tick);
        (machine, effects)
    }

    /// Takes one input. `now` never goes back.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match input {
            Input::Tick => {}
            Input::Report(report) => self.report(now, report),
            Input::Probed { began, finding } => self.probed(now, began, finding),
            Input::Ledger(trouble) => self.ledger(trouble),
            Input::PassEnded { run, complete } => self.pass_ended(now, &run, complete),
        }
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// The mode, and whether Redis is reachable.
    pub fn shown(&self) -> (Mode, bool) {
        self.shown
    }

    /// When the next [`Input::Tick`] is due; none while an answer is waited for.
    pub fn wake_at(&self) -> Option<Duration> {
        let probe = (!self.probing.under_way).then_some(self.probing.due);
        let recovery = match &self.redis {
            Redis::Recovering(Recovery { run: Some(_), repaired: false, pass_at, .. })
                if self.pass.is_none() =>
            {
                Some(*pass_at)
            }
            _ => None,
        };
        probe.into_iter().chain(recovery).min()
    }

    /// True while nothing is wrong and nothing is suspected.
    pub fn is_calm(&self) -> bool {
        let up = matches!(self.redis, Redis::Up { .. });
        up && self.ledger.is_none() && self.suspected.is_none() && self.busy_since.is_none()
    }

    fn mode(&self) -> Mode {
        let by_redis = match self.redis {
            Redis::Unknown | Redis::Recovering(_) => Mode::Recovering,
            Redis::Down | Redis::Proving { .. } => Mode::Degraded,
            Redis::Up { .. } => Mode::Healthy,
        };
        let needed = self.terms.needs_ledger || by_redis != Mode::Healthy;
        if self.ledger.is_some() && needed { Mode::Blocked } else { by_redis }
    }

    /// Tells of what has changed, and why.
    fn show(&mut self, cause: Cause, detected_after: Option<Duration>) {
        let (from, _) = self.shown;
        let now = (self.mode(), self.reachable);
        if now != self.shown {
            self.shown = now;
            self.out.push(Effect::Show(now.0, now.1));
        }
        if now.0 != from {
            let change = Change { from, to: now.0, cause, detected_after };
            self.out.push(Effect::Changed(change));
        }
    }

    fn report(&mut self, now: Duration, report: Report) {
        match report {
            Report::Refused | Report::ConnectTimeout | Report::Reset => {
                self.suspect(now);
                self.want_probe(now, true);
            }
            Report::ReadTimeout => {
                self.suspect(now);
                self.want_probe(now, false);
            }
            Report::WriteTimeout => self.write_timed_out(now),
            // Concerns the one client that was refused.
            Report::Error(Sign::MaxClients) => {}
            Report::Error(sign) => {
                self.suspect(now);
                if sign != Sign::Busy {
                    self.accused = Some(sign);
                }
                self.want_probe(now, false);
            }
            Report::Met(run) => self.met(now, run),
            Report::NoCounter => {
                if let Redis::Up { run, .. } = &self.redis {
                    let run = run.clone();
                    self.other_run(now, Some(run), Cause::NoCounter);
                }
            }
            // The driver has asked the door before it handed this in.
            Report::Ledger => {}
        }
    }

    /// Two within `recover_after` are an outage whatever PING says. Those of commands that were
    /// sent before Redis was up, `command_timeout` ago, count no more.
    fn write_timed_out(&mut self, now: Duration) {
        self.suspect(now);
        self.probing.deep = true;
        self.want_probe(now, false);
        match self.redis {
            Redis::Up { since, .. } if now >= since + self.terms.command_timeout => {}
            _ => return,
        }
        match self.write_timeout.replace(now) {
            Some(first) if now - first <= self.terms.recover_after => {
                self.suspected = Some(self.suspected.map_or(first, |since| since.min(first)));
                self.lose(now, Cause::WriteTimeouts, self.reachable);
            }
            _ => {}
        }
    }

    fn met(&mut self, now: Duration, run: Arc<str>) {
        let known = match &self.redis {
            Redis::Up { run, .. } | Redis::Proving { run, .. } => run.clone(),
            Redis::Recovering(Recovery { run: Some(run), .. }) => run.clone(),
            // A probe is on its way, or will be.
            Redis::Recovering(_) | Redis::Unknown | Redis::Down => return,
        };
        let is_same = match known.starts_with(UNTOLD) {
            true => *self.alias.get_or_insert_with(|| run.clone()) == run,
            false => known == run,
        };
        if is_same {
            return;
        }
        self.want_probe(now, true);
        if !matches!(self.redis, Redis::Proving { .. }) {
            self.other_run(now, None, Cause::OtherRun);
        }
    }

    fn probed(&mut self, now: Duration, began: Duration, finding: Finding) {
        self.probing.under_way = false;
        match finding {
            Finding::Good { run, blind, broken } => {
                self.busy_since = None;
                match self.accused.take() {
                    Some(sign) if blind => {
                        let reachable = sign.is_reachable();
                        let detail = "a lock command was refused".into();
                        self.lose(now, Cause::Lost(sign, detail), reachable);
                    }
                    _ => self.good(now, run, broken),
                }
            }
            Finding::Bad { sign, detail } => self.bad(now, began, sign, detail),
        }
        let pause = if self.probing.asked { PROBE_GAP } else { self.pause() };
        self.probing.due = now + pause;
    }

    fn good(&mut self, now: Duration, run: Arc<str>, broken: bool) {
        self.suspected = None;
        self.reachable = true;
        self.broke = false;
        match &mut self.redis {
            // No probe has ever failed: there is nothing to wait for but the pass.
            Redis::Unknown => self.recover(now, run),
            Redis::Down => self.redis = Redis::Proving { since: now, run },
            Redis::Proving { since, run: known } => {
                if *known != run || broken {
                    (*since, *known) = (now, run);
                } else if now - *since >= self.terms.recover_after {
                    self.lost = None;
                    self.out.push(Effect::Lost(None));
                    self.recover(now, run);
                }
            }
            Redis::Recovering(recovery) => match &recovery.run {
                None => {
                    recovery.run = Some(run);
                    recovery.pass_at = now;
                }
                Some(known) if *known != run => self.other_run(now, Some(run), Cause::OtherRun),
                Some(_) => recovery.proved |= now >= recovery.not_before,
            },
            Redis::Up { run: known, .. } if *known != run => {
                self.other_run(now, Some(run), Cause::OtherRun)
            }
            Redis::Up { .. } => {}
        }
        self.show(Cause::Back, None);
    }

    /// A pass is to be made, and nothing else is to be waited for.
    fn recover(&mut self, now: Duration, run: Arc<str>) {
        self.alias = None;
        self.redis = Redis::Recovering(Recovery {
            run: Some(run),
            not_before: now,
            proved: true,
            repaired: false,
            pass_at: now,
        });
    }

    /// Redis has restarted or failed over unnoticed: a pass is to be made, at once.
    fn other_run(&mut self, now: Duration, run: Option<Arc<str>>, cause: Cause) {
        let not_before = now + self.terms.recover_after;
        self.alias = None;
        self.redis = Redis::Recovering(Recovery {
            run,
            not_before,
            proved: false,
            repaired: false,
            pass_at: now,
        });
        self.end_pass();
        self.note_degraded();
        self.show(cause, None);
    }

    fn bad(&mut self, now: Duration, began: Duration, sign: Sign, detail: Arc<str>) {
        let in_use = matches!(self.redis, Redis::Up { .. } | Redis::Recovering(_));
        match sign {
            Sign::Busy => {
                let since = *self.busy_since.get_or_insert(began);
                self.suspect(since);
                if in_use && now - since <= self.terms.command_timeout {
                    return;
                }
            }
            // Whatever has broken everybody's connections may have met the new one as well. One that
            // was refused says more: nobody listens.
            Sign::Reset if !self.is_away() && !self.broke => {
                self.broke = true;
                self.suspect(began);
                self.want_probe(now, true);
                return;
            }
            // There is no room for the probe; those who have a connection may well be served.
            Sign::MaxClients if in_use => return,
            _ => self.busy_since = None,
        }
        self.accused = None;
        self.suspect(began);
        self.lose(now, Cause::Lost(sign, detail), sign.is_reachable());
    }

    /// Redis is not there, or takes no lock writes.
    fn lose(&mut self, now: Duration, cause: Cause, reachable: bool) {
        self.redis = Redis::Down;
        self.reachable = reachable;
        self.broke = false;
        self.write_timeout = None;
        let detected_after = self.suspected.take().map(|since| now.saturating_sub(since));
        if self.lost.as_ref() != Some(&cause) {
            self.lost = Some(cause.clone());
            self.out.push(Effect::Lost(self.lost.clone()));
        }
        self.end_pass();
        self.note_degraded();
        self.show(cause, detected_after);
    }

    fn ledger(&mut self, trouble: Option<Arc<str>>) {
        let cause = match (&trouble, &self.ledger) {
            (Some(why), _) => Cause::LedgerLost(why.clone()),
            (None, Some(_)) => Cause::LedgerBack,
            (None, None) => return,
        };
        self.ledger = trouble;
        self.show(cause, None);
    }

    fn pass_ended(&mut self, now: Duration, ended: &Arc<str>, complete: bool) {
        let Some(pass) = self.pass.take_if(|pass| pass.run == *ended) else { return };
        let Redis::Recovering(recovery) = &mut self.redis else { return };
        if pass.stale || recovery.run.as_ref() != Some(ended) {
            return;
        }
        recovery.repaired = complete;
        if !complete {
            recovery.pass_at = now + PASS_PAUSE;
            self.want_probe(now, false);
        }
    }

    /// What time alone brings: the end of a recovery, a pass, a probe.
    fn advance(&mut self, now: Duration) {
        if let Redis::Recovering(recovery) = &self.redis
            && let Some(run) = recovery.run.clone()
        {
            if recovery.repaired && recovery.proved {
                self.write_timeout = None;
                self.noted = Some(true);
                self.redis = Redis::Up { run: run.clone(), since: now };
                self.out.push(Effect::NoteHealthy(run));
                self.show(Cause::Repaired, None);
            } else if !recovery.repaired && self.pass.is_none() && now >= recovery.pass_at {
                self.pass = Some(Pass { run: run.clone(), stale: false });
                self.out.push(Effect::StartPass(run));
            }
        }
        if !self.probing.under_way && now >= self.probing.due {
            let deep = self.probing.deep || !matches!(self.redis, Redis::Up { .. });
            self.out.push(Effect::Probe { fresh: self.probing.fresh || self.is_away(), deep });
            self.probing = Probing { began: Some(now), under_way: true, ..Probing::default() };
        }
    }

    /// An outage is under way.
    fn is_away(&self) -> bool {
        matches!(self.redis, Redis::Down | Redis::Proving { .. })
    }

    fn suspect(&mut self, since: Duration) {
        self.suspected = Some(self.suspected.map_or(since, |known| known.min(since)));
    }

    fn want_probe(&mut self, now: Duration, fresh: bool) {
        let earliest = self.probing.began.map_or(now, |began| now.max(began + PROBE_GAP));
        self.probing.due = self.probing.due.min(earliest);
        self.probing.fresh |= fresh;
        self.probing.asked = true;
    }

    /// From the end of a probe to the next one.
    fn pause(&self) -> Duration {
        let quick = self.terms.recover_after / PROVING_PROBES;
        let quick = quick.max(PROBE_GAP).min(self.terms.probe_interval);
        match self.redis {
            Redis::Proving { .. } | Redis::Recovering(Recovery { proved: false, .. }) => quick,
            _ if self.busy_since.is_some() => quick,
            _ => self.terms.probe_interval,
        }
    }

    fn end_pass(&mut self) {
        if let Some(pass) = &mut self.pass
            && !pass.stale
        {
            pass.stale = true;
            self.out.push(Effect::StopPass);
        }
    }

    fn note_degraded(&mut self) {
        if self.noted != Some(false) {
            self.noted = Some(false);
            self.out.push(Effect::NoteDegraded);
        }
    }
}

#[cfg(test)]
mod tests;
