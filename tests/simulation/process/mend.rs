//! What `repair`'s thread does: drives real passes over one link, in the order in which the thread
//! does, one command at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockside::ledger::{Asker, Door};
use lockside::lock::record::LockKey;
use lockside::mode::Mode;
use lockside::repair::command::{self, Answer, Body, Command};
use lockside::repair::dirty::Touch;
use lockside::repair::pass::{Doubts, Hearing, Note, Pass, Step};
use lockside::repair::{Policy, Truth};
use lockside::resp::encode;
use lockside::resp::reply::Reply;

use super::conn::Act;
use super::{COMMAND_TIMEOUT, Fleet, Process, fence_counter, health, rules};
use crate::clock;

mod answer;

const RETRY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);
const SECOND_LOOK: Duration = Duration::from_secs(3);
const ROUND: usize = 1000;
const PAUSE: Duration = Duration::from_millis(20);
const RECONNECT: Duration = Duration::from_millis(500);
/// How often it is asked whether the lock-delay is over.
const DELAY_LOOK: Duration = Duration::from_millis(10);
/// Between two background passes: shorter than by default, so that there are some.
const INTERVAL: Duration = Duration::from_secs(4);

/// Why a pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Asked,
    Overflow,
    Background,
    Dirty,
}

/// A pass under way.
struct Frame {
    pass: Pass,
    purpose: Purpose,
    /// Of a pass that was asked for.
    run: Option<Arc<str>>,
    patience_ends: Option<Duration>,
    mark: Touch,
    touches: BTreeMap<LockKey, Touch>,
}

/// What is waited for.
enum Waits {
    Nothing,
    /// For the link and its run, to begin a pass that was asked for, or to send a command.
    Link(Option<Command>, Option<Arc<str>>),
    Answer(Command),
    Pause(Duration),
    /// `fast`: until the lock-delay is over, for a pass that was asked for.
    Delay(Arc<str>, Duration),
    /// `fast`: until the counter of fences is raised, which ends such a pass.
    Counter(Arc<str>, Command),
}

/// The link.
struct Link {
    id: u64,
    run: Option<Arc<str>>,
    replies: Vec<u8>,
}

/// The thread's state.
pub(crate) struct Mender {
    request: Option<Arc<str>>,
    pub(crate) is_cancelled: bool,
    link: Option<Link>,
    run: Option<Arc<str>>,
    doubts: Doubts,
    last: Option<LockKey>,
    next_background: Duration,
    next_dirty: Duration,
    next_connect: Duration,
    /// At most a pass over everything, and on it one over dirty keys.
    frames: Vec<Frame>,
    /// Sessions are told that repairs are being made.
    is_active: bool,
    /// The last touch that it was woken for.
    heard: Option<Touch>,
    waits: Waits,
    /// When an answer, or the link, is given up.
    late_at: Duration,
    /// When it looks around next.
    pub(crate) at: Duration,
    pub(crate) acts: Vec<Act>,
}

impl Mender {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            request: None,
            is_cancelled: false,
            link: None,
            run: None,
            doubts: Doubts::new(),
            last: None,
            next_background: now + INTERVAL,
            next_dirty: now,
            next_connect: now,
            frames: Vec::new(),
            is_active: false,
            heard: None,
            waits: Waits::Nothing,
            late_at: now,
            at: now,
            acts: Vec::new(),
        }
    }

    /// As `Repair::start_pass`.
    pub(crate) fn start_pass(&mut self, run: Arc<str>) {
        (self.request, self.is_cancelled, self.at) = (Some(run), false, clock::now());
    }

    /// True when no pass is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.frames.is_empty() && self.request.is_none()
    }

    fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            self.acts.push(Act::Close(link.id));
        }
    }
}

impl Process {
    /// Keys were touched: a mender that waits wakes up.
    pub(crate) fn hear_bell(&mut self) {
        let (mark, soon) = (self.dirty.mark(), clock::now() + Duration::from_micros(100));
        if self.mender.heard == Some(mark) {
            return;
        }
        self.mender.heard = Some(mark);
        match &self.mender.waits {
            Waits::Nothing => {
                self.mender.next_dirty = self.mender.next_dirty.min(clock::now());
                self.mender.at = self.mender.at.min(soon);
            }
            Waits::Pause(_) => self.mender.at = self.mender.at.min(soon),
            Waits::Link(..) | Waits::Answer(_) | Waits::Delay(..) | Waits::Counter(..) => {}
        }
    }

    fn is_usable(&self) -> bool {
        let view = self.shared.board.view();
        view.reachable && matches!(view.mode, Mode::Healthy | Mode::Recovering)
    }

    /// Goes on until something has to be waited for.
    pub(crate) fn mend(&mut self) {
        let now = clock::now();
        loop {
            match &self.mender.waits {
                Waits::Delay(run, until) => {
                    let (run, until) = (run.clone(), *until);
                    if !self.waits_out_delay(run, until) {
                        return;
                    }
                }
                Waits::Link(..) | Waits::Answer(_) | Waits::Counter(..)
                    if now < self.mender.late_at =>
                {
                    self.mender.at = self.mender.late_at;
                    return;
                }
                Waits::Link(..) | Waits::Answer(_) | Waits::Counter(..) => {
                    self.mender_link_failed("no reply in time");
                }
                Waits::Pause(until) => {
                    let until = *until;
                    if self.begin_round_in_between() {
                        continue;
                    }
                    let is_over = self.mender.frames.last().is_some_and(|f| self.is_over(f));
                    if now < until && !is_over {
                        self.mender.at = until;
                        return;
                    }
                    self.mender.waits = Waits::Nothing;
                    self.go_on_after_pause();
                }
                Waits::Nothing if self.mender.frames.is_empty() => {
                    if !self.choose() {
                        return;
                    }
                }
                Waits::Nothing => self.step(),
            }
        }
    }

    /// What `Thread::turn` does; false when there is nothing to do now.
    fn choose(&mut self) -> bool {
        let now = clock::now();
        if std::mem::take(&mut self.mender.is_active) {
            self.dirty.end();
        }
        let has_begun = self.choose_now(now);
        if has_begun {
            self.mender.is_active = true;
            self.dirty.begin();
        }
        has_begun
    }

    fn choose_now(&mut self, now: Duration) -> bool {
        if let Some(run) = self.mender.request.take() {
            self.begin_asked(run);
            return true;
        }
        if !self.is_usable() {
            self.desk.unheard.forget();
            self.mender.at = now + RECONNECT;
            return false;
        }
        let (next_dirty, next_background) = (
            self.mender.next_dirty.max(self.mender.next_connect),
            self.mender.next_background.max(self.mender.next_connect),
        );
        let is_healthy = self.shared.board.view().mode == Mode::Healthy;
        if self.dirty.has_overflowed() && now >= self.mender.next_connect {
            self.begin_full(Purpose::Overflow, None);
        } else if !self.dirty.is_empty() && now >= next_dirty {
            self.begin_round();
        } else if now >= next_background && is_healthy {
            self.begin_full(Purpose::Background, None);
        } else {
            let soonest = if self.dirty.is_empty() {
                next_background
            } else {
                next_background.min(next_dirty)
            };
            self.mender.at = soonest.max(now + RETRY);
            return false;
        }
        true
    }

    fn begin_asked(&mut self, run: Arc<str>) {
        let is_other = |link: &Link| link.run.as_ref() != Some(&run);
        if self.mender.link.as_ref().is_some_and(is_other) {
            self.mender.drop_link();
        }
        self.mender.next_connect = clock::now();
        if self.fleet.is_fast() {
            self.mender.waits = Waits::Delay(run, clock::now() + PATIENCE);
            return;
        }
        self.begin_on_link(run);
    }

    /// `fast`: others may have granted what the ledger does not know yet. False while that is so.
    fn waits_out_delay(&mut self, run: Arc<str>, until: Duration) -> bool {
        let is_over = self.mender.request.is_some() || self.mender.is_cancelled;
        if is_over || clock::now() >= until {
            self.mender.waits = Waits::Nothing;
            self.shared.reports.pass_ended(run, false);
        } else if self.desk.fence_floor().is_some() {
            self.mender.waits = Waits::Nothing;
            self.begin_on_link(run);
        } else {
            self.mender.at = clock::now() + DELAY_LOOK;
            return false;
        }
        true
    }

    fn begin_on_link(&mut self, run: Arc<str>) {
        if self.mender.link.is_some() {
            return self.begin_full(Purpose::Asked, Some(run));
        }
        self.connect(None, Some(run));
    }

    fn begin_full(&mut self, purpose: Purpose, run: Option<Arc<str>>) {
        let doubts = std::mem::take(&mut self.mender.doubts);
        let dbs = std::iter::once(0).collect();
        let mark = self.dirty.mark();
        let mut pass = Pass::full(policy(self.fleet), &*self.desk, &dbs, doubts);
        if purpose == Purpose::Background {
            pass = pass.carefully();
        }
        let (patience_ends, touches) = (None, BTreeMap::new());
        self.mender.frames.push(Frame { pass, purpose, run, patience_ends, mark, touches });
    }

    fn begin_round(&mut self) {
        let keys = self.dirty.batch(self.mender.last.as_ref(), ROUND);
        let Some((last, _)) = keys.last() else { return };
        self.mender.last = Some(last.clone());
        let doubts = std::mem::take(&mut self.mender.doubts);
        let names = keys.iter().map(|(key, _)| key.clone());
        let pass = Pass::of_keys(policy(self.fleet), names, doubts);
        let frame = Frame {
            pass,
            purpose: Purpose::Dirty,
            run: None,
            patience_ends: None,
            mark: self.dirty.mark(),
            touches: keys.into_iter().collect(),
        };
        self.mender.frames.push(frame);
    }

    /// Dirty keys do not wait for the end of a pass over everything.
    fn begin_round_in_between(&mut self) -> bool {
        let is_due = !self.dirty.is_empty() && clock::now() >= self.mender.next_dirty;
        let is_possible = self.is_usable() && self.mender.link.is_some();
        let is_in_between =
            self.mender.frames.last().is_some_and(|frame| frame.purpose != Purpose::Dirty);
        if is_due && is_possible && is_in_between {
            self.mender.waits = Waits::Nothing;
            self.begin_round();
            return true;
        }
        false
    }

    fn is_over(&self, frame: &Frame) -> bool {
        self.mender.request.is_some()
            || match frame.purpose {
                Purpose::Asked => self.mender.is_cancelled,
                Purpose::Overflow | Purpose::Background | Purpose::Dirty => !self.is_usable(),
            }
    }

    /// One step of the topmost pass.
    fn step(&mut self) {
        let Some(mut frame) = self.mender.frames.pop() else { return };
        if self.is_over(&frame) {
            return self.finish(frame, false);
        }
        frame.pass.mirrors_within(self.desk.mirror_lag());
        let step = frame.pass.next(&*self.desk, clock::unix_ms());
        self.hear(&mut frame.pass);
        if matches!(step, Step::Later | Step::Done(_))
            && frame.purpose == Purpose::Asked
            && frame.pass.failure().is_none()
        {
            self.desk.unheard.all_looked_at();
        }
        match step {
            Step::Ask(command) => {
                command.puts().for_each(|key| self.dirty.note_put(key));
                self.mender.frames.push(frame);
                return self.send(command);
            }
            Step::Tell(asks) => {
                // What the ledger can't take now is found again by the next pass.
                drop(self.desk.submit(Asker::Nobody, asks));
            }
            Step::Later => return self.later(frame),
            Step::Done(complete) => return self.finish(frame, complete),
        }
        self.mender.frames.push(frame);
        self.pause_a_moment();
    }

    fn hear(&self, pass: &mut Pass) {
        for hearing in pass.take_hearings() {
            match hearing {
                Hearing::Unheard(key) => self.desk.unheard.note(&key, clock::unix_ms()),
                Hearing::Settled(key) => self.desk.unheard.settled(&key),
            }
        }
    }

    fn later(&mut self, mut frame: Frame) {
        let now = clock::now();
        let (patience, pause) = match frame.purpose {
            Purpose::Asked => (PATIENCE, RETRY),
            Purpose::Overflow => (RETRY, RETRY),
            Purpose::Background => (SECOND_LOOK, SECOND_LOOK),
            Purpose::Dirty => (Duration::ZERO, RETRY),
        };
        if now >= *frame.patience_ends.get_or_insert(now + patience) {
            return self.finish(frame, false);
        }
        frame.pass.again();
        self.mender.frames.push(frame);
        self.mender.waits = Waits::Pause(now + pause);
    }

    /// After a command or an observation.
    fn pause_a_moment(&mut self) {
        let Some(frame) = self.mender.frames.last() else { return };
        let pause = match frame.purpose {
            Purpose::Dirty => return,
            Purpose::Background => PAUSE,
            Purpose::Asked | Purpose::Overflow => Duration::ZERO,
        };
        self.mender.waits = Waits::Pause(clock::now() + pause);
    }

    fn go_on_after_pause(&mut self) {
        if !self.mender.frames.is_empty() {
            self.step();
        }
    }

    fn finish(&mut self, mut frame: Frame, complete: bool) {
        let done = frame.pass.take_done();
        for note in frame.pass.take_notes() {
            let is_fast = self.fleet.is_fast() && frame.purpose != Purpose::Dirty;
            if let Note::CannotRestore(key) = note
                && is_fast
            {
                self.dirty.touch(key);
            }
        }
        self.mender.doubts.extend(frame.pass.into_doubts());
        match frame.purpose {
            Purpose::Dirty => {
                let is_all = done.len() == frame.touches.len();
                for key in done {
                    if let Some(touch) = frame.touches.get(&key) {
                        self.dirty.clean(&key, *touch);
                    }
                }
                let rest = if is_all { Duration::ZERO } else { RETRY };
                self.mender.next_dirty = clock::now() + rest;
            }
            purpose => {
                if complete {
                    self.dirty.passed(frame.mark);
                    self.desk.unheard.passed();
                }
                if purpose == Purpose::Background {
                    self.mender.next_background = clock::now() + INTERVAL;
                }
                match frame.run {
                    Some(run) if complete && self.fleet.is_fast() => self.raise_counter(run),
                    Some(run) => self.shared.reports.pass_ended(run, complete),
                    None => {}
                }
            }
        }
        if !self.mender.frames.is_empty() {
            // A round in between is over: the pass below goes on with its pause.
            self.mender.waits = Waits::Pause(clock::now());
        }
    }

    /// From now on Redis gives fences that are higher than all that the ledger knows.
    fn raise_counter(&mut self, run: Arc<str>) {
        let (Some(floor), Some(link)) = (self.desk.fence_floor(), &self.mender.link) else {
            return self.shared.reports.pass_ended(run, false);
        };
        let command = command::raise_counter(&fence_counter(), floor);
        self.mender.acts.push(Act::Send(link.id, encoded(&command, false)));
        self.mender.waits = Waits::Counter(run, command);
        self.mender.late_at = clock::now() + COMMAND_TIMEOUT;
    }

    fn send(&mut self, command: Command) {
        let Some(link) = &mut self.mender.link else { return self.connect(Some(command), None) };
        link.replies.clear();
        self.mender.acts.push(Act::Send(link.id, encoded(&command, false)));
        self.mender.waits = Waits::Answer(command);
        self.mender.late_at = clock::now() + COMMAND_TIMEOUT;
    }

    fn connect(&mut self, command: Option<Command>, run: Option<Arc<str>>) {
        let id = clock::name();
        self.mender.acts.push(Act::Open(id));
        self.mender.link = Some(Link { id, run: None, replies: Vec::new() });
        self.mender.waits = Waits::Link(command, run);
        self.mender.late_at = clock::now() + COMMAND_TIMEOUT;
    }
}

fn policy(fleet: Fleet) -> Policy {
    let conflict = lockside::config::Conflict::Ledger;
    Policy {
        rules: Arc::new(rules(fleet)),
        guarantee: fleet.guarantee(),
        conflict,
        fence_counter: fence_counter(),
    }
}

fn encoded(command: &Command, by_text: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    match &command.body {
        Body::Script { script, keys, args } => {
            let count = keys.len().to_string();
            let (name, text): (&[u8], &[u8]) = match by_text {
                true => (b"EVAL", script.text.as_bytes()),
                false => (b"EVALSHA", &script.sha),
            };
            let mut words = vec![name, text, count.as_bytes()];
            words.extend(keys.iter().chain(args).map(Vec::as_slice));
            encode::command(&mut bytes, &words);
        }
        Body::Scan { cursor, pattern } => {
            let cursor = cursor.to_string();
            let words: [&[u8]; 6] =
                [b"SCAN", cursor.as_bytes(), b"MATCH", pattern, b"COUNT", b"500"];
            encode::command(&mut bytes, &words);
        }
    }
    bytes
}
