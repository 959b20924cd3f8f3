//! The thread that knows how Redis is: it owns the mode machine and one connection of its own.
//!
//! It feeds [`mode::Machine`](crate::mode::Machine) with probes, with what workers report
//! ([`Reports`]), with the ends of repair passes and with the ledger's trouble, and does what the
//! machine asks for: it shows workers the mode on the [`Board`], writes one log line for a change,
//! starts passes by a callback. It decides nothing, and no command waits for it.
//!
//! `probe` says what a probe is and why it does no harm, `upstream::line` is its connection, `reports` the
//! inlet. While all is well it wakes up once in each `probe_interval`; while something is wrong
//! every [`TICK`] too, to ask the ledger's door.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Secret;
use crate::degraded::Denied;
use crate::ledger::{Ask, Asker, Door};
use crate::mode::{
    Board, Change, Effect, Event, Finding, History, Input, Machine, Mode, Report, Terms,
};
use crate::upstream::Upstream;

mod probe;
mod reports;

pub use probe::Sample;
use probe::{Prober, Whom};
pub use reports::{Batch, Reports};

/// How often the ledger's door is asked while something is wrong.
pub const TICK: Duration = Duration::from_millis(100);

/// What the thread is to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Times of the mode machine.
    pub terms: Terms,
    /// Longest time of one probe. A process that hangs is found within `probe_interval` and this.
    pub probe_timeout: Duration,
    /// The Redis. Its name is looked up by others.
    pub upstream: Arc<Upstream>,
    /// Lockside's own user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Lock keys of each rule, with the rule's name: for [`Callbacks::open`].
    pub samples: Vec<Sample>,
}

/// Default of [`Settings::probe_timeout`].
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Is told of a rule by its name, and of an epoch: [`Callbacks::open`].
pub type OnOpen = Box<dyn Fn(&str, Denied, u64) + Send>;

/// What others do when the thread says so. They are called on its thread and must not block.
pub struct Callbacks {
    /// There is a new view on the board: wakes workers.
    pub view_changed: Box<dyn Fn() + Send>,
    /// Start a repair pass on this run of Redis. [`Reports::pass_ended`] is to be called exactly
    /// once for it; no second pass is asked for before.
    pub start_pass: Box<dyn Fn(Arc<str>) + Send>,
    /// The pass under way has become useless: it should end soon, and say so.
    pub stop_pass: Box<dyn Fn() + Send>,
    /// Redis has been found to let nobody in who has not authenticated.
    pub closed: Box<dyn Fn() + Send>,
    /// Redis has been found to let everybody who has not authenticated use the locks of a rule, on a
    /// connection that was opened when [`Callbacks::epoch`] said so; but for these commands.
    pub open: OnOpen,
    /// The gate's epoch ([`crate::degraded::auth::Gate::epoch`]).
    pub epoch: Box<dyn Fn() -> u64 + Send>,
}

/// What the thread shares with others.
pub struct Parts {
    /// Where workers see the mode.
    pub board: Arc<Board>,
    /// Where people see it.
    pub history: Arc<History>,
    /// The ledger.
    pub door: Arc<dyn Door>,
    /// The inlet for those who meet something.
    pub reports: Reports,
    /// What is to be done by others.
    pub callbacks: Callbacks,
}

/// The running thread. Dropped, it stops as by [`Health::stop`].
#[derive(Debug)]
pub struct Health {
    reports: Reports,
    thread: Option<JoinHandle<()>>,
}

impl Health {
    /// Starts the thread. The board shows `recovering` when this returns, and goes on from there
    /// as soon as a probe has ended.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(settings: Settings, parts: Parts) -> io::Result<Self> {
        let reports = parts.reports.clone();
        let (machine, first) = Machine::start(Duration::ZERO, settings.terms);
        let prober = Prober::new(Whom {
            upstream: settings.upstream,
            username: settings.username,
            password: settings.password,
            timeout: settings.probe_timeout,
            samples: settings.samples,
        });
        let (mode, reachable) = machine.shown();
        parts.board.show(mode, reachable);
        let driver =
            Driver { machine, prober, parts, origin: Instant::now(), unwritten: Vec::new() };
        let run = move || driver.run(first);
        let thread = std::thread::Builder::new().name("health".into()).spawn(run)?;
        Ok(Self { reports, thread: Some(thread) })
    }

    /// Ends the thread and waits for it: for a probe that is under way, `probe_timeout` at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.reports.stop();
            if thread.join().is_err() {
                tracing::error!("the health thread has panicked");
            }
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's own state.
struct Driver {
    machine: Machine,
    prober: Prober,
    parts: Parts,
    origin: Instant,
    /// Notes that the ledger's queue had no room for: that Redis was lost, then that it is back.
    unwritten: Vec<Ask>,
}

impl Driver {
    fn run(mut self, first: Vec<Effect>) {
        self.perform(first);
        loop {
            let batch = self.parts.reports.take(self.pause());
            if batch.stop {
                return;
            }
            self.ask_door();
            for (run, complete) in batch.ended {
                self.feed(Input::PassEnded { run, complete });
            }
            for report in batch.reports {
                self.report(report);
            }
            self.feed(Input::Tick);
            self.write_again();
        }
    }

    /// Until when to wait for something to come.
    fn pause(&self) -> Duration {
        let next = self.machine.wake_at().map(|at| at.saturating_sub(self.origin.elapsed()));
        let is_calm = self.machine.is_calm() && self.unwritten.is_empty();
        match next {
            Some(next) if is_calm => next,
            Some(next) => next.min(TICK),
            None => TICK,
        }
    }

    /// A run that changed nothing is the one to be expected from now on.
    fn report(&mut self, report: Report) {
        let met = match &report {
            Report::Met(run) => Some(run.clone()),
            _ => None,
        };
        self.feed(Input::Report(report));
        if met.is_some() && self.machine.is_calm() {
            self.parts.reports.expect(met);
        }
    }

    fn ask_door(&mut self) {
        let trouble = self.parts.door.trouble();
        self.feed(Input::Ledger(trouble));
    }

    fn feed(&mut self, input: Input) {
        let effects = self.machine.handle(self.origin.elapsed(), input);
        self.perform(effects);
    }

    /// Does what the machine asks for, and what it asks for by the answers.
    fn perform(&mut self, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            let mut probe = None;
            for effect in effects {
                match effect {
                    Effect::Probe { fresh, deep } => probe = Some((fresh, deep)),
                    Effect::StartPass(run) => (self.parts.callbacks.start_pass)(run),
                    Effect::StopPass => (self.parts.callbacks.stop_pass)(),
                    Effect::Show(mode, reachable) => self.show(mode, reachable),
                    Effect::Changed(change) => self.changed(change),
                    Effect::Lost(lost) => self.parts.history.set_lost(lost),
                    Effect::NoteDegraded => self.write(Ask::Degraded),
                    Effect::NoteHealthy(run) => {
                        self.parts.reports.expect(Some(run.clone()));
                        self.write(Ask::Healthy(run));
                    }
                }
            }
            effects = probe.map(|(fresh, deep)| self.probe(fresh, deep)).unwrap_or_default();
        }
    }

    fn probe(&mut self, fresh: bool, deep: bool) -> Vec<Effect> {
        let began = self.origin.elapsed();
        let epoch = (self.parts.callbacks.epoch)();
        let finding = self.prober.probe(fresh, deep);
        tracing::trace!(?finding, fresh, deep, "probed");
        if let Some(count) = self.prober.databases() {
            self.parts.reports.note_databases(count);
        }
        if self.prober.take_closed() {
            (self.parts.callbacks.closed)();
        }
        for (rule, denied) in self.prober.take_open() {
            (self.parts.callbacks.open)(&rule, denied, epoch);
        }
        if matches!(finding, Finding::Good { .. }) {
            self.parts.reports.count_good();
        }
        self.machine.handle(self.origin.elapsed(), Input::Probed { began, finding })
    }

    fn show(&self, mode: Mode, reachable: bool) {
        self.parts.board.show(mode, reachable);
        (self.parts.callbacks.view_changed)();
    }

    fn changed(&self, change: Change) {
        if change.to != Mode::Healthy {
            self.parts.reports.expect(None);
        }
        if change.from != change.to {
            tracing::info!(
                from = change.from.word(),
                to = change.to.word(),
                detected_ms = change.detected_after.map(whole_ms),
                cause = %change.cause,
                "mode"
            );
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.parts.history.push(Event { at_ms: whole_ms(since), change });
    }

    /// Nobody waits for a note; while the ledger's queue is full it is kept. What was before a
    /// new loss need not be said any more.
    fn write(&mut self, note: Ask) {
        if note == Ask::Degraded {
            self.unwritten.clear();
        }
        self.unwritten.push(note);
        self.write_again();
    }

    fn write_again(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        if self.parts.door.submit(Asker::Nobody, self.unwritten.clone()).is_ok() {
            self.unwritten.clear();
        }
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
