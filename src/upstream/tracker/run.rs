//! The tracker's thread: connects, listens, and connects again. It moves bytes and waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::speech::{self, ANSWERS, Heard, MAX_FRAME, Opened};
use super::{Eye, Outlook, Settings, State};
use crate::upstream::line::{Fault, Line};

/// How long the thread may not notice that it is to end.
const TICK: Duration = Duration::from_millis(250);
/// After so much silence Redis is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);
/// Between two attempts to connect: the first wait, which doubles...
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// ...up to this one.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How long a Redis is left alone that will not have tracking: it may be another one by then.
const NEVER_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Runner {
    settings: Settings,
    eye: Arc<dyn Eye>,
    outlook: Arc<Outlook>,
    /// People were told that there is no tracking.
    is_warned: bool,
}

impl Runner {
    pub(super) fn new(settings: Settings, eye: Arc<dyn Eye>, outlook: Arc<Outlook>) -> Self {
        Self { settings, eye, outlook, is_warned: false }
    }

    pub(super) fn run(mut self) {
        let mut wait = FIRST_WAIT;
        while !self.is_over() {
            match self.open() {
                Ok(mut line) => {
                    wait = FIRST_WAIT;
                    let why = self.listen(&mut line);
                    self.outlook.show(State::Away(why.into()));
                }
                Err(Opened::Never(why)) => {
                    self.warn(&why);
                    self.outlook.show(State::SearchAlone(why));
                    wait = NEVER_WAIT;
                }
                Err(Opened::NotNow(why)) => self.outlook.show(State::Away(why)),
                Err(Opened::Tracking(_)) => {}
            }
            self.rest(wait);
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    fn is_over(&self) -> bool {
        self.outlook.stop.load(Ordering::Acquire)
    }

    /// Waits, or until the thread is to end.
    fn rest(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    /// A connection on which Redis tells of changes; else why there is none.
    fn open(&mut self) -> Result<Line, Opened> {
        let Settings { upstream, connect_timeout, command_timeout, .. } = &self.settings;
        let not_now = |why: &str| Opened::NotNow(why.into());
        let mut line = Line::connect(upstream, Instant::now() + *connect_timeout)
            .map_err(|_| not_now("Redis can't be reached"))?;
        let password = self.settings.password.as_ref().map(crate::config::Secret::expose);
        let user = self.settings.username.as_deref().unwrap_or("default");
        let opening = speech::opening(password.map(|it| (user, it)), &self.settings.prefixes);
        let deadline = Instant::now() + *command_timeout;
        line.send(&opening, deadline);
        let mut answers: [Vec<u8>; ANSWERS] = Default::default();
        for answer in &mut answers {
            *answer = line.reply(deadline).map_err(|_| not_now("Redis has not answered"))?;
        }
        match speech::opened(&answers) {
            Opened::Tracking(run_id) => {
                if let Some(run_id) = run_id {
                    self.eye.met_run(&run_id);
                }
                self.is_warned = false;
                self.outlook.show(State::Tracking);
                tracing::debug!("Redis tells of changed keys");
                // Whatever changed while nobody listened.
                self.eye.missed();
                Ok(line)
            }
            refused => Err(refused),
        }
    }

    /// Hands on what Redis tells, until the connection is of no more use: why.
    fn listen(&self, line: &mut Line) -> &'static str {
        let mut heard_at = Instant::now();
        let mut asked_at = None;
        while !self.is_over() {
            match line.frame(MAX_FRAME, Instant::now() + TICK) {
                Ok(frame) => {
                    (heard_at, asked_at) = (Instant::now(), None);
                    if !self.hear(&frame) {
                        return "Redis has said what can't be understood";
                    }
                }
                Err(Fault::Late) => match asked_at {
                    None if heard_at.elapsed() >= SILENCE => {
                        line.send(&speech::ping(), Instant::now() + self.settings.command_timeout);
                        asked_at = Some(Instant::now());
                    }
                    Some(at) if Instant::elapsed(&at) >= self.settings.command_timeout => {
                        return "Redis does not answer";
                    }
                    None | Some(_) => {}
                },
                Err(Fault::Ended) => return "the connection has ended",
                Err(Fault::Garbled) => return "Redis has said what can't be understood",
            }
        }
        "stopped"
    }

    /// False if this is no frame of a connection that is well.
    fn hear(&self, frame: &[u8]) -> bool {
        match speech::heard(frame) {
            Heard::Changed(keys) => {
                self.outlook.told.fetch_add(keys.len() as u64, Ordering::Relaxed);
                self.eye.changed(keys);
            }
            Heard::Flushed => self.eye.missed(),
            Heard::Alive => {}
            Heard::Garbled => return false,
        }
        true
    }

    fn warn(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_warned, true) {
            tracing::warn!(
                why,
                "Redis does not tell of changed keys: locks that others put there are found by \
                 searching all keys, once in each observe_scan"
            );
        }
    }
}
