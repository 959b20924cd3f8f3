//! The thread `ledger`, which drives the committer over a store, and the [`Door`] to it.
//!
//! Whoever asks puts a request into the committer under a lock that is never held while the store
//! works; the thread takes groups out, makes the exchanges, and tells the results: first what has
//! changed to the [`Watcher`], then the answers to the [`Post`].
//!
//! # Start
//! [`Ledger::start`] waits until the log is open and everything was read, so that the watcher knows
//! every lock before a client is served. A store that fails or hangs keeps it no longer than
//! [`Settings::open_wait`]: then it returns all the same, [`Door::trouble`] says why the ledger does
//! not answer (start in mode `blocked`), and the thread goes on trying; the watcher is told of all
//! locks when it succeeds. Only terms that do not fit are an error, for time does not heal them. If
//! that is found out later, it stands in the trouble for ever.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::committer::{Committer, GROUP_ROWS, Now, Timing};
use super::entry::{Position, Row, Start};
use super::fold::{Fold, Holder, Standing};
use super::store::{OpenError, Store, StoreError};
use super::{Answer, Ask, Asker, Door, Query, Ticket, Told, Unavailable, Withdrawal};
use crate::lock::record::LockKey;

mod outlook;
mod run;

use outlook::Outlook;

/// How long questions that need the store may wait ([`Ledger::history`]).
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions that may wait.
const QUESTIONS: usize = 64;

/// Takes answers to the workers. Called on the ledger's thread; must not block.
pub trait Post: Send + Sync {
    /// Answers for the sessions of one worker, after every exchange that has some.
    fn deliver(&self, worker: usize, answers: Vec<((usize, u32), Answer)>);
    /// The answer to a question of one session of this worker.
    fn tell(&self, worker: usize, session: (usize, u32), told: Told);
}

/// Keeps a table of locks. Called on the ledger's thread, in the order of the ledger, before the
/// answers of the same exchange are delivered; must not block.
pub trait Watcher: Send + Sync {
    /// A sidecar that did not ask Redis has changed this lock, as is told next: what Redis has may be
    /// wrong.
    fn doubted(&self, key: &LockKey);
    /// This holds the lock now, in place of whatever held it; or what is known of it has changed.
    /// `lives`: the run that made the claim is known to live.
    fn held(&self, holder: &Arc<Holder>, lives: bool);

    /// This has held the lock, and does no more: both was read at once. [`Watcher::freed`] follows.
    fn passed(&self, _holder: &Arc<Holder>) {}
    /// This claim does not hold the lock any more, and nobody does.
    fn freed(&self, key: &LockKey, claim: Position);
    /// `fast`: the hold that this sidecar has granted with this fence was over before that was written:
    /// another sidecar has released it.
    fn over(&self, key: &LockKey, fence: u64);
    /// The run that made this claim is known to live, or not to live any more. Only for a client that
    /// was not heard of since its claim.
    fn turned(&self, holder: &Arc<Holder>, lives: bool);
    /// These are all locks. `living`: the runs that are known to live.
    fn reset(&self, holders: &[Arc<Holder>], living: &BTreeSet<u64>);
}

/// What a ledger is started with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The first entry of the log: who writes, under which terms.
    pub start: Start,
    /// Heartbeat, poll, clocks.
    pub timing: Timing,
    /// An exchange that takes longer is trouble while it lasts.
    pub stall_after: Duration,
    /// Longest wait of [`Ledger::start`] for the store.
    pub open_wait: Duration,
    /// Most rows of one group.
    pub group_rows: usize,
    /// Nobody else serves from this ledger when it is started: whose logs are found then are dead.
    pub was_alone: bool,
}

impl Settings {
    /// The usual times.
    pub fn new(start: Start) -> Self {
        Self {
            start,
            timing: Timing::default(),
            stall_after: Duration::from_secs(1),
            open_wait: Duration::from_secs(5),
            group_rows: GROUP_ROWS,
            was_alone: false,
        }
    }
}

/// The running ledger.
pub struct Ledger {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and those who ask have in common.
struct Shared {
    state: Mutex<State>,
    /// The state has something new for the thread, or for who waits in `start` and `stop`.
    changed: Condvar,
    fold: RwLock<Fold>,
    stall_after: Duration,
    /// The start of time for the committer.
    base: Instant,
    /// When the call to the store began that is under way, in milliseconds since `base` plus one;
    /// zero when none is. An atomic, for the thread itself may hang.
    busy_since: AtomicU64,
    /// Groups that were written.
    writes: AtomicU64,
    /// For `fast`, what workers look at without a lock.
    outlook: Outlook,
}

struct State {
    committer: Committer,
    opening: Opening,
    questions: Vec<Question>,
    /// Questions that were ever asked.
    asked: u64,
    /// The thread is to end as soon as it can, whatever waits.
    is_given_up: bool,
    has_ended: bool,
}

/// How far the start is.
enum Opening {
    Trying,
    /// The store has failed at least once; the thread goes on trying.
    Failing,
    Refused(OpenError),
    Done,
}

/// A question that only the store can answer.
struct Question {
    key: LockKey,
    count: usize,
    back: Back,
}

/// Where the answer to a question goes.
enum Back {
    /// To who waits for it.
    Here(std::sync::mpsc::SyncSender<Result<Vec<Row>, StoreError>>),
    /// To a session of a worker.
    Session(usize, (usize, u32), Query),
}

/// What [`Ledger::stop`] could not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} entries of the ledger could not be written in time ({why})")]
pub struct Unwritten {
    /// Entries whose fate is not known, or that were not written.
    pub waiting: usize,
    /// Why.
    pub why: Arc<str>,
}

impl Ledger {
    /// Opens a log and reads everything, then serves. See the module for a store that fails.
    ///
    /// # Errors
    /// [`OpenError::Mismatch`]; and [`OpenError::Store`] if no thread can be made.
    pub fn start(
        settings: Settings,
        store: Box<dyn Store>,
        post: Arc<dyn Post>,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared::new(&settings, store.is_ordered()));
        let open_wait = settings.open_wait;
        let runner = run::Runner::new(settings.start, store, shared.clone(), post, watcher);
        let thread = Builder::new().name("ledger".into()).spawn(move || runner.run());
        let thread = thread.map_err(|error| {
            StoreError::not_applied(format!("can't start the thread of the ledger: {error}"))
        })?;
        let state = shared.wait_while(open_wait, |s| matches!(s.opening, Opening::Trying));
        let refused = match &state.opening {
            Opening::Refused(error) => Some(error.clone()),
            _ => None,
        };
        drop(state);
        match refused {
            Some(error) => Err(error),
            None => Ok(Self { shared, thread: Mutex::new(Some(thread)) }),
        }
    }

    /// Takes no more requests, writes what waits and the log's end, and ends the thread.
    ///
    /// # Errors
    /// What was not known to be written by then. The thread is left to itself if it hangs.
    pub fn stop(&self, deadline: Duration) -> Result<(), Unwritten> {
        self.shared.state().committer.end();
        self.shared.changed.notify_all();
        let mut state = self.shared.wait_while(deadline, |state| !state.has_ended);
        state.is_given_up = true;
        self.shared.changed.notify_all();
        let (has_ended, waiting) = (state.has_ended, state.committer.waiting());
        let why = state.committer.trouble().cloned();
        drop(state);
        if has_ended {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A panic of that thread has said so by itself.
            let _ = thread.map(JoinHandle::join);
        }
        match waiting {
            0 => Ok(()),
            waiting => {
                let why = why.or_else(|| self.trouble()).unwrap_or_else(|| "too slow".into());
                Err(Unwritten { waiting, why })
            }
        }
    }

    /// The holder of a lock.
    pub fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        self.with_fold(|fold| fold.holder(key).cloned())
    }

    /// All holders, oldest first.
    pub fn holders(&self) -> Vec<Arc<Holder>> {
        self.with_fold(Fold::holders)
    }

    /// What the ledger knows of a value of a lock: as [`Fold::standing_of`].
    pub fn standing(&self, key: &LockKey, stored: &[u8], other: Option<&[u8]>) -> Standing {
        self.with_fold(|fold| fold.standing_of(key, stored, other))
    }

    /// True if `claim` holds the lock and was only observed: as [`Fold::is_observed`].
    pub fn is_observed(&self, key: &LockKey, claim: Position) -> bool {
        self.with_fold(|fold| fold.is_observed(key, claim))
    }

    /// Looks at the state. The ledger waits meanwhile: no work that takes long.
    pub fn with_fold<T>(&self, look: impl FnOnce(&Fold) -> T) -> T {
        look(&self.shared.fold.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The highest fence, once the lock-delay is over (`fast`, SPEC 8): none before, for others may
    /// have given higher ones that are not written yet.
    pub fn fence_floor(&self) -> Option<u64> {
        let is_over = self.shared.state().committer.is_delay_over();
        is_over.then(|| self.with_fold(Fold::fence_high))
    }

    /// True for entries of this run.
    pub fn is_own(&self, position: Position) -> bool {
        self.log() == Some(position.log)
    }

    /// True once it is known that this sidecar is one too many for the medium: it should end.
    pub fn is_surplus(&self) -> bool {
        self.shared.state().committer.is_surplus()
    }

    /// This run's log, when it is open.
    pub fn log(&self) -> Option<u64> {
        self.shared.state().committer.log()
    }

    /// The last `count` entries on a lock, the newest last. Waits for the store, a few seconds at
    /// most: not for a worker's thread.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn history(&self, key: &LockKey, count: usize) -> Result<Vec<Row>, Unavailable> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.put_question(key, count, |_| Back::Here(answer))?;
        match answered.recv_timeout(QUESTION_TIMEOUT) {
            Ok(rows) => rows.map_err(|error| Unavailable::NotAnswering(error.text.into())),
            Err(_) => Err(Unavailable::NotAnswering("no answer in time".into())),
        }
    }

    fn put_question(
        &self,
        key: &LockKey,
        count: usize,
        back: impl FnOnce(Query) -> Back,
    ) -> Result<Query, Unavailable> {
        let mut state = self.shared.state();
        if state.questions.len() >= QUESTIONS {
            return Err(Unavailable::Full);
        }
        state.asked += 1;
        let query = Query(state.asked);
        state.questions.push(Question { key: key.clone(), count, back: back(query) });
        drop(state);
        self.shared.changed.notify_all();
        Ok(query)
    }
}

impl Door for Ledger {
    fn submit(&self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        self.shared.submit(asker, |committer| committer.submit(asker, asks))
    }

    fn submit_together(
        &self,
        asker: Asker,
        requests: Vec<Vec<Ask>>,
    ) -> Result<Vec<Ticket>, Unavailable> {
        self.shared.submit(asker, |committer| committer.submit_together(asker, requests))
    }

    fn withdraw(&self, ticket: Ticket) -> Withdrawal {
        let withdrawal = self.shared.state().committer.withdraw(ticket);
        self.shared.changed.notify_all();
        withdrawal
    }

    fn forget(&self, ticket: Ticket) {
        self.shared.state().committer.forget(ticket);
    }

    fn trouble(&self) -> Option<Arc<str>> {
        self.shared.stalled().or_else(|| self.shared.state().committer.trouble().cloned())
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        self.shared.state().committer.is_releasing(key)
    }

    fn is_calm(&self) -> bool {
        let outlook = &self.shared.outlook;
        let now = u64::try_from(self.shared.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        now < outlook.calm_until.load(Ordering::Acquire)
            && !outlook.others_degraded.load(Ordering::Acquire)
    }

    fn has_company(&self) -> bool {
        self.shared.outlook.has_company.load(Ordering::Acquire)
    }

    fn was_read(&self) -> bool {
        self.shared.outlook.was_read.load(Ordering::Acquire)
    }

    fn contested(&self, key: &LockKey) -> Vec<Arc<Holder>> {
        self.shared.outlook.contested(key)
    }

    fn mirror_lag(&self) -> Duration {
        self.shared.state().committer.mirror_lag(self.shared.now())
    }

    fn fence_high(&self) -> u64 {
        self.shared.outlook.fence_high.load(Ordering::Acquire)
    }

    fn conflicts(&self) -> u64 {
        self.shared.outlook.conflicts.load(Ordering::Relaxed)
    }

    fn is_own(&self, claim: Position) -> bool {
        Self::is_own(self, claim)
    }

    fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> usize {
        self.shared.state().committer.waiting()
    }

    fn ask_history(
        &self,
        key: &LockKey,
        count: usize,
        (worker, session): (usize, (usize, u32)),
    ) -> Result<Query, Unavailable> {
        self.put_question(key, count, |query| Back::Session(worker, session, query))
    }
}

impl Ledger {
    /// What is found there at first is not known to be of the dead, whatever [`Settings::was_alone`] says:
    /// it was not read in time.
    pub fn may_have_company(&self) {
        self.shared.state().committer.presume_dead(false);
    }
}

impl Shared {
    fn new(settings: &Settings, is_ordered: bool) -> Self {
        let fold = if is_ordered { Fold::default() } else { Fold::unordered() };
        let mut committer = Committer::new(settings.timing).with_groups_of(settings.group_rows);
        committer.presume_dead(settings.was_alone);
        let state = State {
            committer,
            opening: Opening::Trying,
            questions: Vec::new(),
            asked: 0,
            is_given_up: false,
            has_ended: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            fold: RwLock::new(fold),
            stall_after: settings.stall_after,
            base: Instant::now(),
            busy_since: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            outlook: Outlook::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the committer take something, and wakes the thread if it is to be written at once.
    fn submit<T>(
        &self,
        asker: Asker,
        hand_in: impl FnOnce(&mut Committer) -> Result<T, Unavailable>,
    ) -> Result<T, Unavailable> {
        if let (Asker::Session(..), Some(stalled)) = (asker, self.stalled()) {
            return Err(Unavailable::NotAnswering(stalled));
        }
        let mut state = self.state();
        let was_due = state.committer.rides_along();
        let taken = hand_in(&mut state.committer)?;
        let wakes = !(was_due && state.committer.rides_along());
        drop(state);
        if wakes {
            self.changed.notify_all();
        }
        Ok(taken)
    }

    fn wait_while(
        &self,
        longest: Duration,
        mut is_so: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), longest, |state| is_so(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn now(&self) -> Now {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let unix_ms = since_epoch.map_or(0, |time| time.as_millis() as u64);
        Now { mono: self.base.elapsed(), unix_ms }
    }

    /// Why the store hangs, if a call to it takes too long.
    fn stalled(&self) -> Option<Arc<str>> {
        let since = self.busy_since.load(Ordering::Acquire).checked_sub(1)?;
        let taken = self.base.elapsed().saturating_sub(Duration::from_millis(since));
        (taken > self.stall_after)
            .then(|| format!("the store has not answered for {} ms", taken.as_millis()).into())
    }

    fn set_busy(&self, is_busy: bool) {
        let now = if is_busy { self.base.elapsed().as_millis() as u64 + 1 } else { 0 };
        self.busy_since.store(now, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
