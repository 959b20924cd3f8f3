//! What `health`'s thread does: drives the real mode machine, with probes over the simulated
//! network. While a probe is under way nothing else is taken up, as there.

use std::sync::Arc;
use std::time::Duration;

use lockside::health::{Batch, PROBE_TIMEOUT, TICK};
use lockside::ledger::{Ask, Asker, Door};
use lockside::mode::{Change, Effect, Event, Finding, Input, Machine, Mode, Report, Sign};
use lockside::resp::encode;
use lockside::resp::reply::Reply;

use super::Process;
use super::conn::Act;
use crate::clock;

/// The thread's state.
pub(crate) struct Nurse {
    pub(crate) machine: Machine,
    first: Vec<Effect>,
    waiting: Batch,
    unwritten: Vec<Ask>,
    probe: Option<Probe>,
    /// The connection between probes, and the run it belongs to.
    standing: Option<(u64, Arc<str>)>,
    has_broken: bool,
    /// When it looks around next.
    pub(crate) at: Duration,
    pub(crate) acts: Vec<Act>,
    /// Connections have to look at the mode.
    pub(crate) has_new_view: bool,
}

struct Probe {
    began: Duration,
    /// When it is given up.
    until: Duration,
    link: u64,
    /// On a new connection: which run it is has to be asked first.
    is_new: bool,
    is_connected: bool,
    run: Option<Arc<str>>,
    deep: bool,
    replies: Vec<u8>,
}

/// What has happened to a connection of the process's own.
#[derive(Debug)]
pub(crate) enum Pulse {
    LinkUp(u64),
    FromRedis(u64, Vec<u8>),
    LinkDown(u64, &'static str),
}

impl Nurse {
    pub(crate) fn new(machine: Machine, first: Vec<Effect>) -> Self {
        Self {
            machine,
            first,
            waiting: Batch::default(),
            unwritten: Vec::new(),
            probe: None,
            standing: None,
            has_broken: false,
            at: clock::now(),
            acts: Vec::new(),
            has_new_view: false,
        }
    }

    /// True if nothing is wrong, as far as it knows.
    pub(crate) fn is_calm(&self) -> bool {
        self.machine.is_calm() && self.unwritten.is_empty()
    }
}

impl Process {
    /// Takes what workers and repair have reported; true if there was something.
    pub(crate) fn collect_reports(&mut self) -> bool {
        let batch = self.shared.reports.take(Duration::ZERO);
        let is_news = !batch.reports.is_empty() || !batch.ended.is_empty();
        self.nurse.waiting.reports.extend(batch.reports);
        self.nurse.waiting.ended.extend(batch.ended);
        is_news
    }

    /// One turn of the thread.
    pub(crate) fn look_after(&mut self) {
        if let Some(probe) = &self.nurse.probe {
            if clock::now() < probe.until {
                self.nurse.at = probe.until;
                return;
            }
            self.probe_is_late();
            if self.nurse.probe.is_some() {
                return;
            }
        }
        let first = std::mem::take(&mut self.nurse.first);
        self.perform(first);
        self.collect_reports();
        let batch = std::mem::take(&mut self.nurse.waiting);
        let trouble = self.desk.trouble();
        self.feed(Input::Ledger(trouble));
        for (run, complete) in batch.ended {
            self.feed(Input::PassEnded { run, complete });
        }
        for report in batch.reports {
            let met = match &report {
                Report::Met(run) => Some(run.clone()),
                _ => None,
            };
            self.feed(Input::Report(report));
            if met.is_some() && self.nurse.machine.is_calm() {
                self.shared.reports.expect(met);
            }
        }
        self.feed(Input::Tick);
        self.write_again();
        self.plan_next_look();
    }

    fn plan_next_look(&mut self) {
        if let Some(probe) = &self.nurse.probe {
            self.nurse.at = probe.until;
            return;
        }
        let tick = clock::now() + TICK;
        self.nurse.at = match self.nurse.machine.wake_at() {
            Some(at) if self.nurse.is_calm() => at,
            Some(at) => at.min(tick),
            None => tick,
        };
    }

    /// While a probe is under way the thread is in it: then inputs wait in the machine's driver.
    fn feed(&mut self, input: Input) {
        let effects = self.nurse.machine.handle(clock::now(), input);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe { fresh, deep } => self.begin_probe(fresh, deep),
                Effect::StartPass(run) => self.mender.start_pass(run),
                Effect::StopPass => self.mender.is_cancelled = true,
                Effect::Show(mode, reachable) => {
                    self.shared.board.show(mode, reachable);
                    self.nurse.has_new_view = true;
                }
                Effect::Changed(change) => self.mode_changed(change),
                Effect::Lost(lost) => self.shared.history.set_lost(lost),
                Effect::NoteDegraded => self.write(Ask::Degraded),
                Effect::NoteHealthy(run) => {
                    self.shared.reports.expect(Some(run.clone()));
                    self.write(Ask::Healthy(run));
                }
            }
        }
    }

    fn mode_changed(&mut self, change: Change) {
        if change.to != Mode::Healthy {
            self.shared.reports.expect(None);
        }
        self.shared.history.push(Event { at_ms: clock::unix_ms(), change });
    }

    fn write(&mut self, note: Ask) {
        if note == Ask::Degraded {
            self.nurse.unwritten.clear();
        }
        self.nurse.unwritten.push(note);
        self.write_again();
    }

    fn write_again(&mut self) {
        let notes = self.nurse.unwritten.clone();
        if !notes.is_empty() && self.desk.submit(Asker::Nobody, notes).is_ok() {
            self.nurse.unwritten.clear();
        }
    }

    fn begin_probe(&mut self, fresh: bool, deep: bool) {
        let began = clock::now();
        match self.nurse.standing.take() {
            Some((link, run)) if !fresh => {
                let probe = Probe {
                    began,
                    until: began + PROBE_TIMEOUT / 2,
                    link,
                    is_new: false,
                    is_connected: true,
                    run: Some(run),
                    deep,
                    replies: Vec::new(),
                };
                self.nurse.acts.push(Act::Send(link, question(false, deep)));
                self.nurse.probe = Some(probe);
            }
            standing => {
                if let Some((link, _)) = standing {
                    self.nurse.acts.push(Act::Close(link));
                }
                self.probe_anew(began, deep);
            }
        }
    }

    fn probe_anew(&mut self, began: Duration, deep: bool) {
        let link = clock::name();
        self.nurse.acts.push(Act::Open(link));
        self.nurse.probe = Some(Probe {
            began,
            until: began + PROBE_TIMEOUT,
            link,
            is_new: true,
            is_connected: false,
            run: None,
            deep,
            replies: Vec::new(),
        });
        self.nurse.at = began + PROBE_TIMEOUT;
    }

    fn probe_is_late(&mut self) {
        let Some(probe) = self.nurse.probe.take() else { return };
        self.nurse.acts.push(Act::Close(probe.link));
        if !probe.is_new {
            self.nurse.has_broken = true;
            return self.probe_anew(probe.began, probe.deep);
        }
        let sign = match (probe.is_connected, probe.replies.is_empty()) {
            (false, _) => Sign::ConnectTimeout,
            (true, true) => Sign::Silent,
            (true, false) => Sign::WritesHang,
        };
        self.probed(probe.began, Finding::Bad { sign, detail: "redis:1".into() });
    }

    /// Something of the nurse's own connection.
    pub(crate) fn pulse(&mut self, pulse: Pulse) {
        match pulse {
            Pulse::LinkUp(link) => {
                if let Some(probe) = self.probe_on(link) {
                    probe.is_connected = true;
                    let question = question(true, probe.deep);
                    self.nurse.acts.push(Act::Send(link, question));
                }
            }
            Pulse::FromRedis(link, bytes) => {
                if let Some(probe) = self.probe_on(link) {
                    probe.replies.extend_from_slice(&bytes);
                    self.read_probe();
                }
            }
            Pulse::LinkDown(link, why) => self.contact_lost(link, why),
        }
    }

    fn probe_on(&mut self, link: u64) -> Option<&mut Probe> {
        self.nurse.probe.as_mut().filter(|probe| probe.link == link)
    }

    fn contact_lost(&mut self, link: u64, why: &'static str) {
        if self.nurse.standing.as_ref().is_some_and(|(standing, _)| *standing == link) {
            self.nurse.standing = None;
            self.nurse.has_broken = true;
        }
        let Some(probe) = self.probe_on(link) else { return };
        let (began, is_new, deep) = (probe.began, probe.is_new, probe.deep);
        self.nurse.probe = None;
        if !is_new {
            self.nurse.has_broken = true;
            return self.probe_anew(began, deep);
        }
        let sign = if why == "connection refused" { Sign::Refused } else { Sign::Reset };
        self.probed(began, Finding::Bad { sign, detail: "redis:1".into() });
    }

    fn read_probe(&mut self) {
        let Some(probe) = &self.nurse.probe else { return };
        let mut replies = Vec::new();
        let mut rest = probe.replies.as_slice();
        while let Some((reply, len)) = Reply::parse(rest) {
            replies.push(reply);
            rest = &rest[len..];
        }
        if replies.len() < 2 + usize::from(probe.is_new) {
            return;
        }
        let run = match &probe.run {
            Some(run) => run.clone(),
            None => run_id(replies[0].text().unwrap()),
        };
        let (began, link) = (probe.began, probe.link);
        self.nurse.probe = None;
        self.nurse.standing = Some((link, run.clone()));
        let broken = std::mem::take(&mut self.nurse.has_broken);
        self.probed(began, Finding::Good { run, blind: false, broken });
    }

    fn probed(&mut self, began: Duration, finding: Finding) {
        self.feed(Input::Probed { began, finding });
        if self.nurse.probe.is_none() {
            // Back in its loop: what came meanwhile is next.
            self.nurse.at = clock::now();
        }
    }
}

fn question(is_new: bool, deep: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if is_new {
        encode::command(&mut bytes, &[b"INFO", b"server"]);
    }
    encode::command(&mut bytes, &[b"PING"]);
    match deep {
        true => encode::command(&mut bytes, &[b"SET", b"lockside:deep", b"1", b"PX", b"1000"]),
        false => {
            encode::command(&mut bytes, &[b"SET", b"lockside:probe", b"1", b"PX", b"1000", b"XX"]);
        }
    }
    bytes
}

/// `run_id` of INFO's text.
pub(crate) fn run_id(info: &[u8]) -> Arc<str> {
    let text = std::str::from_utf8(info).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("run_id:"));
    Arc::from(line.unwrap().trim())
}
