//! The thread "repair": drives passes over one link to Redis. It moves bytes, waits and counts; what
//! is done to which key is decided by `pass` and `plan`.
//!
//! In this order: a pass that was asked for; dirty keys; keys of observed rules that others have
//! changed; the slow background pass. Every wait has an
//! end, and each of them is cut short by something to do ([`Dirty::ring`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::crash;
use crate::ledger::{Ask, Asker, Guarantee};
use crate::lock::record::LockKey;
use crate::mode::Mode;

use super::command::{self, Answer, Command};
use super::counters::Counters;
use super::dirty::Touch;
use super::link::Link;
use super::pass::{Doubts, Pass, Signs, Step};
use super::{Dirty, Parts, Shared, Unheard};

mod known;
mod note;
mod tell;
mod watch;

use known::Ledger;

/// How long what waits is left alone before it is looked at again.
const RETRY: Duration = Duration::from_millis(100);
/// How long a pass that was asked for looks again at what waits: a provisional key lives for a safety
/// TTL (10 s by default), and its owner may renew it once or twice before its claim is decided.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between the two looks of a background pass at a lock that is missing: longer than a release takes
/// from Redis into a ledger that is slow (an exchange with Google Sheets: two seconds).
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// Dirty keys of one round.
const ROUND: usize = 1000;
/// Between two commands of a background pass: it takes its time, others have theirs.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts to connect while Redis is said to be usable, and between two looks at the mode
/// while it is not.
const RECONNECT: Duration = Duration::from_millis(500);
/// How often it is asked whether the lock-delay is over.
const DELAY_LOOK: Duration = Duration::from_millis(10);
/// Log lines about single keys in one pass; the counts are in its last line.
const LINES: u32 = 20;

/// What a Redis says that does not let Lockside's own user in.
const REFUSALS: [&str; 3] = ["NOAUTH", "WRONGPASS", "NOPERM"];

/// The thread's state.
pub(super) struct Thread {
    shared: Arc<Shared>,
    link: Option<Link>,
    /// The run of Redis that was met last.
    run: Option<Arc<str>>,
    doubts: Doubts,
    /// What was seen once of keys that others have changed.
    signs: Signs,
    /// The last dirty key that was looked at.
    last: Option<LockKey>,
    next_background: Instant,
    next_dirty: Instant,
    next_connect: Instant,
    /// Redis has refused Lockside's own user.
    is_refused: bool,
    /// Sessions know that repairs are being made.
    is_active: bool,
    /// Who was there before this process is dead, and no pass was complete since.
    is_alone: bool,
    lines: u32,
}

/// Why a pass is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It was asked for, and its end is reported.
    Asked,
    /// Too many keys were dirty.
    Overflow,
    /// It is time.
    Background,
    /// Dirty keys.
    Dirty,
    /// Keys that others have changed.
    Watched,
}

impl Purpose {
    /// How long such a pass looks again at what waits, and how often.
    fn waits(self) -> (Duration, Duration) {
        match self {
            Self::Asked => (PATIENCE, RETRY),
            Self::Overflow => (RETRY, RETRY),
            // One second look.
            Self::Background => (SECOND_LOOK, SECOND_LOOK),
            // What waits is still dirty, or watched, and has its turn again.
            Self::Dirty | Self::Watched => (Duration::ZERO, RETRY),
        }
    }

    /// True for passes that are made while locks are served by Redis: there others may take and
    /// release locks directly.
    fn follows(self) -> bool {
        matches!(self, Self::Background | Self::Watched)
    }
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            next_background: now + shared.parts.interval,
            next_dirty: now,
            next_connect: now,
            is_alone: shared.parts.was_alone,
            shared,
            link: None,
            run: None,
            doubts: Doubts::new(),
            signs: Signs::default(),
            last: None,
            is_refused: false,
            is_active: false,
            lines: 0,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        if let Some(run_id) = self.shared.take_request() {
            self.begin();
            let complete = self.asked(&run_id);
            self.end();
            self.shared.parts.events.pass_ended(&run_id, complete);
            return;
        }
        if !self.is_usable() {
            self.unheard().forget();
            // Nobody rings when the mode changes.
            self.dirty().wait(RECONNECT);
            return;
        }
        let now = Instant::now();
        if self.dirty().has_overflowed() && now >= self.next_connect {
            self.begin();
            self.full(Purpose::Overflow);
            self.end();
        } else if !self.dirty().is_empty() && now >= self.next_dirty.max(self.next_connect) {
            self.begin();
            self.round();
            self.end();
        } else if self.is_watch_due() {
            self.watch_round();
        } else if self.is_background_due(now) && now >= self.next_connect && self.is_healthy() {
            self.begin();
            self.full(Purpose::Background);
            self.end();
            self.next_background = Instant::now() + self.shared.parts.interval;
        } else {
            self.rest(now);
        }
    }

    /// Sessions are told that repairs are being made.
    fn begin(&mut self) {
        self.is_active = true;
        self.dirty().begin();
    }

    fn end(&mut self) {
        self.dirty().end();
        self.is_active = false;
    }

    /// It is time for a pass in the background, or somebody has asked for one.
    fn is_background_due(&self, now: Instant) -> bool {
        now >= self.next_background || self.dirty().has_been_asked()
    }

    /// Waits for something to do. What is rung for is done at once.
    fn rest(&mut self, now: Instant) {
        let waits = [self.next_background, self.next_dirty].map(|at| at.max(self.next_connect));
        let waits = if self.dirty().has_been_asked() { [now; 2] } else { waits };
        let soonest = if self.dirty().is_empty() { waits[0] } else { waits[0].min(waits[1]) };
        // At least a moment: a background pass may be due while the mode does not allow it.
        let wait = soonest.saturating_duration_since(now).max(RETRY);
        self.dirty().wait(self.until_watch().map_or(wait, |left| left.min(wait)));
        self.next_dirty = self.next_dirty.min(Instant::now());
    }

    fn dirty(&self) -> &Dirty {
        &self.shared.parts.dirty
    }

    fn unheard(&self) -> &Unheard {
        &self.shared.parts.unheard
    }

    fn is_usable(&self) -> bool {
        let view = self.shared.parts.board.view();
        view.reachable && matches!(view.mode, Mode::Healthy | Mode::Recovering)
    }

    fn is_healthy(&self) -> bool {
        self.shared.parts.board.view().mode == Mode::Healthy
    }

    /// A pass for one run of Redis; false at once if Redis is at another.
    fn asked(&mut self, run_id: &Arc<str>) -> bool {
        if self.link.as_ref().is_some_and(|link| link.run_id() != run_id) {
            self.link = None;
        }
        self.next_connect = Instant::now();
        if !self.await_lock_delay() {
            return false;
        }
        match self.connected().map(|link| link.run_id() == run_id) {
            Some(true) => self.full(Purpose::Asked) && self.raise_counter(run_id),
            None if self.is_refused => self.without_repairs(),
            Some(false) | None => false,
        }
    }

    /// `fast`: others may have granted what the ledger does not know yet (SPEC 8). False if the
    /// pass is not to be made any more.
    fn await_lock_delay(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while self.is_fast() && self.shared.parts.truth.fence_floor().is_none() {
            if self.is_over(Purpose::Asked) || Instant::now() >= until {
                return false;
            }
            self.dirty().wait(DELAY_LOOK);
        }
        true
    }

    /// `fast`: from now on Redis gives fences that are higher than all that the ledger knows (SPEC
    /// 7). A Redis that refuses leaves every acquire to the ledger.
    fn raise_counter(&mut self, run_id: &Arc<str>) -> bool {
        if !self.is_fast() {
            return true;
        }
        let Some(floor) = self.shared.parts.truth.fence_floor() else { return false };
        let command = command::raise_counter(&self.shared.parts.policy.fence_counter, floor);
        match self.ask(&command) {
            Answer::Marks(_) => self.link.as_ref().is_some_and(|link| link.run_id() == run_id),
            Answer::Refused(reason) => {
                tracing::warn!(%reason, "Redis refuses the counter of fences: every acquire waits for the ledger");
                true
            }
            _ => false,
        }
    }

    fn is_fast(&self) -> bool {
        self.shared.parts.policy.guarantee == Guarantee::Fast
    }

    /// Redis does not let Lockside's own user in: no lock can be repaired, ever. So none is asked
    /// of Redis that was held before: the lock table answers for those, until they are released.
    fn without_repairs(&mut self) -> bool {
        let parts = &self.shared.parts;
        tracing::warn!(
            upstream = %parts.upstream.address,
            "Redis does not let Lockside's own connection in, so it can't be brought in line with \
             the ledger; set user and password in upstream.url"
        );
        parts.truth.holders().iter().for_each(|holder| parts.dirty.touch(holder.claim.key.clone()));
        parts.unheard.all_looked_at();
        true
    }

    /// A pass over everything. True if it is complete.
    fn full(&mut self, purpose: Purpose) -> bool {
        let parts = &self.shared.parts;
        let mark = parts.dirty.mark();
        parts.dirty.take_asked();
        let doubts = std::mem::take(&mut self.doubts);
        let began = Instant::now();
        let dbs = parts.databases.list();
        let mut pass = Pass::full(parts.policy.clone(), &*parts.truth, &dbs, doubts);
        if purpose == Purpose::Background {
            pass = pass.carefully();
            if let Some(observed) = &parts.observed {
                let signs = self.signs.clone().with_changed([]);
                pass = pass.following(observed.databases.clone(), signs);
            }
        } else {
            // Whatever was seen before an outage says nothing after it.
            self.signs = Signs::default();
        }
        self.lines = 0;
        let complete = self.drive(&mut pass, purpose);
        let failure = pass.failure().cloned();
        self.revisit(&mut pass);
        self.doubts.extend(pass.into_doubts());
        let counters = &self.shared.parts.counters;
        Counters::add(if complete { &counters.complete } else { &counters.incomplete });
        if complete {
            self.dirty().passed(mark);
            self.unheard().passed();
            self.is_alone &= purpose != Purpose::Asked;
        }
        if purpose != Purpose::Background {
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let reason = failure.as_deref().unwrap_or("-");
            tracing::info!(complete, ms, reason, "a repair pass has ended");
        }
        complete
    }

    /// Dirty keys, once each. What is not done stays, and has its turn again.
    fn round(&mut self) {
        let keys = self.dirty().batch(self.last.as_ref(), ROUND);
        let Some((last, _)) = keys.last() else { return };
        self.last = Some(last.clone());
        let names = keys.iter().map(|(key, _)| key.clone());
        let doubts = std::mem::take(&mut self.doubts);
        let mut pass = Pass::of_keys(self.shared.parts.policy.clone(), names, doubts);
        self.drive(&mut pass, Purpose::Dirty);
        let done = pass.take_done();
        self.doubts.extend(pass.into_doubts());
        let touches: std::collections::BTreeMap<LockKey, Touch> = keys.into_iter().collect();
        let is_all = done.len() == touches.len();
        for key in done {
            if let Some(touch) = touches.get(&key) {
                self.dirty().clean(&key, *touch);
            }
        }
        self.next_dirty = Instant::now() + if is_all { Duration::ZERO } else { RETRY };
    }

    /// Makes the steps of a pass. True if it is complete.
    fn drive(&mut self, pass: &mut Pass, purpose: Purpose) -> bool {
        let mut end_of_patience = None;
        loop {
            if self.is_over(purpose) {
                return false;
            }
            let shared = self.shared.clone();
            let Parts { truth, door, dirty, unheard, .. } = &shared.parts;
            let truth = Ledger { truth: &**truth, door: &**door, dirty, unheard };
            if purpose.follows() {
                pass.at(self.moment());
            }
            pass.mirrors_within(door.mirror_lag());
            pass.alone(self.is_alone);
            match pass.next(&truth, (shared.parts.unix_ms)()) {
                Step::Ask(command) => {
                    command.puts().for_each(|key| dirty.note_put(key));
                    // Others have said so for longer.
                    let is_news = purpose == Purpose::Watched && command.is_repair();
                    let answer = self.ask_by(&command, is_news && !self.is_active);
                    if command.is_repair() {
                        crash::here("repaired");
                    }
                    pass.answer(answer, &truth);
                }
                Step::Tell(asks) => self.tell(asks),
                Step::Later => {
                    self.looked(pass, purpose);
                    let (patience, pause) = purpose.waits();
                    let now = Instant::now();
                    if now >= *end_of_patience.get_or_insert(now + patience) {
                        return false;
                    }
                    self.pause(purpose, pause);
                    pass.again();
                }
                Step::Done(complete) => {
                    self.looked(pass, purpose);
                    return complete;
                }
            }
            self.note(pass, purpose);
            let pause = if purpose == Purpose::Background { PAUSE } else { Duration::ZERO };
            self.pause(purpose, pause);
        }
    }

    /// Between two commands of a pass over everything: dirty keys do not wait for its end.
    fn pause(&mut self, purpose: Purpose, pause: Duration) {
        if matches!(purpose, Purpose::Dirty | Purpose::Watched) {
            return;
        }
        let until = Instant::now() + pause;
        loop {
            let now = Instant::now();
            let is_due = !self.dirty().is_empty() && now >= self.next_dirty;
            if is_due && self.is_usable() && self.link.is_some() {
                self.round();
            }
            if purpose == Purpose::Background && self.is_watch_due() && self.link.is_some() {
                self.watch_round();
            }
            if now >= until || self.is_over(purpose) {
                return;
            }
            let wait = until - now;
            self.dirty().wait(self.until_watch().map_or(wait, |left| left.min(wait)));
        }
    }

    /// True when a pass has to end early: there is something else to do, or Redis is gone.
    fn is_over(&self, purpose: Purpose) -> bool {
        let shared = &self.shared;
        if shared.has_request() || shared.stop.load(Ordering::Acquire) {
            return true;
        }
        match purpose {
            // The mode may still be on its way to what this pass was asked for.
            Purpose::Asked => shared.cancelled.load(Ordering::Acquire),
            Purpose::Overflow | Purpose::Background | Purpose::Dirty => !self.is_usable(),
            Purpose::Watched => !self.is_healthy(),
        }
    }

    /// Asks; `begins`: sessions are told that repairs are being made, for as long as it takes.
    fn ask_by(&mut self, command: &Command, begins: bool) -> Answer {
        if begins {
            self.dirty().begin();
        }
        let answer = self.ask(command);
        if begins {
            self.dirty().end();
        }
        answer
    }

    fn ask(&mut self, command: &Command) -> Answer {
        let Some(link) = self.connected() else {
            return Answer::Failed("Redis can't be reached".into());
        };
        let answer = link.ask(command);
        if let Answer::Failed(reason) = &answer {
            tracing::info!(%reason, "repair has lost its link to Redis");
            self.link = None;
        }
        answer
    }

    /// The link, opened where there is none.
    fn connected(&mut self) -> Option<&mut Link> {
        if self.link.is_none() {
            match Link::open(&self.shared.parts.upstream) {
                Ok(link) => {
                    if self.run.as_ref() != Some(link.run_id()) {
                        self.run = Some(link.run_id().clone());
                        self.shared.parts.events.met_run(link.run_id());
                    }
                    self.link = Some(link);
                    self.is_refused = false;
                }
                Err(reason) => {
                    self.is_refused = REFUSALS.iter().any(|code| reason.starts_with(code));
                    tracing::debug!(%reason, "repair can't connect to Redis");
                    self.next_connect = Instant::now() + RECONNECT;
                }
            }
        }
        self.link.as_mut()
    }

    /// What the ledger can't take now is found again by the next pass.
    fn tell(&self, asks: Vec<Ask>) {
        if let Err(reason) = self.shared.parts.door.submit(Asker::Nobody, asks) {
            tracing::debug!(%reason, "the ledger was not told of what was found in Redis");
        }
    }
}
