//! Group commit: which entries go into the next exchange, and what its result means to those who
//! asked. Pure, without clock and thread.
//!
//! # Contract
//! Whoever drives it (`thread`, a simulation, a model) holds a [`Fold`] beside it and
//! 1. opens a log in the store and says [`Committer::opened`],
//! 2. asks [`Committer::next`]: an exchange to make, or until when to wait,
//! 3. makes the exchange and hands its result to [`Committer::seen`] or [`Committer::failed`],
//! 4. tells the changes and then the answers in [`Done`], and begins again at 2.
//!
//! Requests may come at any time, also while an exchange is under way: they form the next group.
//! So one exchange serves everybody who came during the one before.
//!
//! A group whose exchange fails is kept and written again as it was, at the same positions, until
//! its fate is known. Meanwhile sessions are refused: nobody waits for something that nobody can
//! tell. What was accepted before stays, and is written when the store answers again.
//!
//! Time is handed in as [`Now`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Position, Row};
use super::fold::{Change, Fold, Holder, Token};
use super::store::{Applied, Seen, StoreError};
use super::{Answer, Ask, Ticket};
use crate::lock::record::LockKey;

mod conflict;
pub(crate) mod decide;
mod early;
mod fleet;
mod form;
mod group;
mod left;
mod now;
mod peers;
mod queue;
mod request;
mod settle;
mod submit;
mod timing;
mod withdraw;

use conflict::Disputes;
pub use conflict::{ALONE_KEPT, Dispute};
use early::Early;
use fleet::Fleet;
use group::Group;
pub use left::Contested;
pub use now::Now;
use peers::Peers;
use queue::Queue;
use request::{Kind, Request, Want};
pub use timing::{FIRST_RETRY, LAST_RETRY, MOST_SIDECARS, Quota, Timing};
use withdraw::{Answered, Withdrawn};

/// Rows of one group. A thousand rows are a few milliseconds of work beside the one sync that they
/// share; more would make the first of them wait for the last.
pub const GROUP_ROWS: usize = 1_000;
/// Bytes of one group, roughly. Values have 4 KiB at most.
pub const GROUP_BYTES: usize = 1 << 20;
/// Asks that may wait. Ten seconds of the fastest store; past that clients get an error.
pub const QUEUE_ROWS: usize = 100_000;
/// Bytes of all asks that wait, roughly.
pub const QUEUE_BYTES: usize = 64 << 20;
/// Notes that may wait for a group to ride along with; then they make one.
pub const LAZY_ROWS: usize = GROUP_ROWS / 2;
/// What Redis has done and waits to be written; past that it is written at once.
pub const MIRROR_ROWS: usize = GROUP_ROWS / 2;
/// Own grants that were beaten and whose release may come still.
pub const BEATEN_KEPT: usize = 1_000;
/// How often "release whoever holds it" is tried. Each time but the first that another holds the
/// key, it was free after the request came, which is what a release of a free key may say.
pub const RELEASE_TRIES: u8 = 3;
/// Answered requests whose claims can still be withdrawn: their asker may have given up while the
/// answer was under way to it.
pub const ANSWERED_KEPT: usize = 16_384;
/// Rows since the last snapshot that make a new one worth its while. With many locks it is twice
/// their number, so that a snapshot costs each row little.
pub const COMPACT_AFTER: usize = 20_000;
/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// This exchange, now. No rows: it only reads.
    Exchange(Arc<Vec<Row>>),
    /// Nothing before this time ([`Now::mono`]), unless something is submitted.
    Until(Duration),
    /// Nothing until [`Committer::seen`], [`Committer::failed`] or [`Committer::opened`].
    Wait,
    /// The log has ended; nothing more will be written.
    Ended,
}

/// An answer and where it goes: the worker, its name for the session.
pub type Addressed = (usize, (usize, u32), Answer);

/// What an exchange has come to. The changes are to be told before the answers.
#[derive(Debug, Default)]
pub struct Done {
    /// The reader started from a snapshot: whoever keeps a table begins anew from the fold.
    pub reset: bool,
    /// Locks that were changed by sidecars that did not ask Redis: it may be wrong about them.
    pub doubtful: BTreeSet<LockKey>,
    /// What has changed, in order.
    pub changes: Vec<Change>,
    /// Runs that live, the own one among them. Of any other a claim that its client was not heard of
    /// again is one that the client may have been told of or not (SPEC 8).
    pub living: BTreeSet<u64>,
    /// Such claims of runs that have turned out not to live any more.
    pub left: Vec<Arc<Holder>>,
    /// Such claims of runs that have turned out to live.
    pub found: Vec<Arc<Holder>>,
    /// A store without order: all claims of other runs that are not decided. They stand among the
    /// changes as holders with fence 0.
    pub undecided: Vec<Arc<Holder>>,
    /// Answers: the worker, its name for the session, the answer.
    pub answers: Vec<Addressed>,
    /// Conflicts that have become certain (`fast`).
    pub disputes: Vec<Dispute>,
    /// Own grants by Redis, with their fences, whose hold was over before they were written (`fast`).
    pub over: Vec<(LockKey, u64)>,
}

/// The state of the group commit. See the module.
#[derive(Debug, Clone, Default)]
pub struct Committer {
    /// As configured...
    base: Timing,
    /// ...and as it is for one of so many sidecars that live.
    timing: Timing,
    sidecars: usize,
    is_surplus: bool,
    /// Most rows of one group.
    group_rows: usize,
    log: Option<u64>,
    /// The number of the last own entry that was given out.
    last_seq: u64,
    last_ticket: u64,
    queue: Queue,
    /// `fast` alone.
    fleet: Option<Fleet>,
    peers: Peers,
    /// Since when what Redis has done waits to be written.
    mirror_since: Option<Duration>,
    /// Own grants that were no holders when they were read, by their values, for the releases
    /// that come after them.
    beaten: VecDeque<(Token, Position)>,
    /// `fast` alone.
    disputes: Option<Disputes>,
    /// Values that were released before their grants were read (`fast`).
    early: Early,
    /// Withdrawals, which go before everything else.
    urgent: VecDeque<Want>,
    /// Notes that wait for a group.
    lazy: VecDeque<Want>,
    group: Option<Group>,
    under_way: bool,
    /// For each lock, how many releases wait to become durable.
    releasing: HashMap<LockKey, usize>,
    /// A store without order: requests whose claims are written and not decided, or whose LOST is not
    /// durable yet.
    deciding: BTreeMap<Ticket, Request>,
    /// Undecided claims of other runs.
    left: left::Left,
    /// Requests that were answered with claims that have won.
    answered: BTreeMap<Ticket, Answered>,
    /// The last of them that was forgotten because there were too many.
    answers_gone: Ticket,
    /// Requests that were given up, until that is durable.
    withdrawn: BTreeMap<Ticket, Withdrawn>,
    trouble: Option<Arc<str>>,
    failures: u32,
    retry_at: Duration,
    wrote_at: Duration,
    read_at: Option<Duration>,
    /// When the exchange under way began, or the last one.
    began: Duration,
    /// When the last one that succeeded had begun.
    read_began: Duration,
    rows_since_snapshot: usize,
    is_ending: bool,
    has_ended: bool,
}

impl Committer {
    /// Nothing is written before [`Committer::opened`]. Until then sessions are refused.
    pub fn new(timing: Timing) -> Self {
        let trouble = Some("it is being opened".into());
        let fleet = timing.mirror_interval.map(Fleet::new);
        let peers = Peers::new(timing.heartbeat);
        let disputes = timing.mirror_interval.map(|_| Disputes::default());
        Self {
            base: timing,
            timing,
            sidecars: 1,
            trouble,
            fleet,
            peers,
            disputes,
            group_rows: GROUP_ROWS,
            ..Self::default()
        }
    }

    /// `was_alone`: the logs that are found at first are of the dead.
    pub fn presume_dead(&mut self, was_alone: bool) {
        self.peers.presume_dead(was_alone);
    }

    /// The store has registered this log, and its first entry is written.
    pub fn opened(&mut self, log: u64, now: Now) {
        (self.log, self.last_seq, self.wrote_at) = (Some(log), 1, now.mono);
        self.retry_at = Duration::ZERO;
    }

    /// The own log's number, when it is open.
    pub fn log(&self) -> Option<u64> {
        self.log
    }

    /// Why the ledger does not answer; none if it does.
    pub fn trouble(&self) -> Option<&Arc<str>> {
        self.trouble.as_ref()
    }

    /// True while releases of this lock wait to become durable, whether or not somebody waits.
    pub fn is_releasing(&self, key: &LockKey) -> bool {
        self.releasing.contains_key(key)
    }

    /// How many asks are not known to be durable.
    pub fn waiting(&self) -> usize {
        let group = self.group.as_ref().map_or(0, |group| group.rows.len());
        self.queue.size().rows + self.urgent.len() + self.lazy.len() + self.deciding.len() + group
    }

    /// Takes no more requests; what waits is written, then the log's last entry.
    pub fn end(&mut self) {
        self.is_ending = true;
    }

    /// True after [`Committer::end`].
    pub fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// What is to be done now.
    pub fn next(&mut self, fold: &Fold, now: Now) -> Step {
        if self.has_ended {
            return Step::Ended;
        }
        if self.under_way || self.log.is_none() {
            return Step::Wait;
        }
        if now.mono < self.retry_at {
            return Step::Until(self.retry_at);
        }
        if self.queue.count(Kind::Mirror) == 0 {
            self.mirror_since = None;
        } else if self.mirror_since.is_none() {
            self.mirror_since = Some(now.mono);
        }
        if self.group.is_none() && self.is_group_due(now) {
            self.group = Some(self.form(fold, now));
        }
        let due = self.poll_due();
        match &self.group {
            Some(group) => {
                (self.under_way, self.began) = (true, now.mono);
                Step::Exchange(group.rows.clone())
            }
            None if now.mono >= due => {
                (self.under_way, self.began) = (true, now.mono);
                Step::Exchange(Arc::default())
            }
            None => {
                let others = [self.mirror_due(), self.urgent_due()].into_iter().flatten();
                Step::Until(others.fold(due.min(self.heartbeat_due()), Duration::min))
            }
        }
    }

    /// The exchange has failed: its rows are kept, and its fate is asked for by writing it again. The
    /// answers to what was given up and certainly not written.
    pub fn failed(&mut self, error: &StoreError, now: Now) -> Vec<Addressed> {
        self.under_way = false;
        self.fail(error.text.as_str().into(), now);
        if let Some(group) = self.group.as_mut().filter(|_| error.applied == Applied::Unknown) {
            group.may_stand = true;
        }
        self.strike()
    }

    /// The log could not be opened (yet): sessions are refused for this reason.
    pub fn not_opened(&mut self, why: &str) {
        self.trouble = Some(why.into());
    }

    /// The exchange has shown this.
    pub fn seen(&mut self, seen: Seen, fold: &mut Fold, now: Now) -> Done {
        self.under_way = false;
        self.rows_since_snapshot += seen.rows.len();
        let is_own = |row: &Row| Some(row.at.log) == self.log;
        let is_foreign = seen.snapshot.is_some() || !seen.rows.iter().all(is_own);
        let had_group = self.group.is_some();
        let mut done = self.settle(seen, fold, now);
        if is_foreign {
            self.peers.look(fold, self.log, now.mono);
        }
        self.share(now);
        self.note_who_lives(fold, now, &mut done);
        let has_written = had_group && self.group.is_none();
        self.show_undecided(fold, has_written, &mut done);
        if let Some(group) = &mut self.group {
            // Never a false OK: rows that do not come back count as unknown.
            group.may_stand = true;
            self.fail("the store does not return what was written".into(), now);
            return done;
        }
        (self.trouble, self.failures, self.read_at) = (None, 0, Some(now.mono));
        self.read_began = self.began;
        let patience = self.timing.mirror_interval.unwrap_or_default() * 2;
        if let Some(disputes) = &mut self.disputes {
            done.disputes = disputes.ripe(fold, patience, now.mono);
        }
        if let Some(fleet) = &mut self.fleet {
            let last = self.log.and_then(|own| fold.log(own)).map_or(0, |log| log.last_seq);
            fleet.seen(&self.peers, last, self.began, now.mono);
        }
        done
    }

    /// True when it is time to hand the store a snapshot.
    pub fn is_snapshot_due(&self, fold: &Fold) -> bool {
        self.rows_since_snapshot >= COMPACT_AFTER.max(2 * fold.len())
    }

    /// A snapshot was handed to the store, or could not be: the next one is due as long after.
    pub fn snapshot_tried(&mut self) {
        self.rows_since_snapshot = 0;
    }

    /// The runs that live, the own one among them.
    fn living(&self) -> BTreeSet<u64> {
        self.peers.living().iter().copied().chain(self.log).collect()
    }

    fn note_who_lives(&mut self, fold: &Fold, now: Now, done: &mut Done) {
        let turned = self.peers.turn(now.mono);
        done.living = self.living();
        if !done.reset {
            done.left = fold.unheard_of(&turned.over);
            done.found = fold.unheard_of(&turned.back);
        }
    }

    /// What a medium allows is shared by those who live.
    fn share(&mut self, now: Now) {
        self.sidecars = 1 + self.peers.count(now.mono);
        self.timing = self.base.shared_by(self.sidecars);
        self.peers.set_heartbeat(self.timing.heartbeat);
        self.is_surplus |=
            self.timing.quota.is_some() && self.peers.elders(now.mono) >= MOST_SIDECARS;
        let most = 1 + self.peers.count_at_most(now.mono);
        if let (Some(fleet), Some(interval)) = (&mut self.fleet, self.timing.mirror_interval) {
            let longest = self.base.shared_by(most).mirror_interval;
            fleet.set_intervals(interval, longest.unwrap_or(interval));
        }
    }

    /// How many sidecars live, this one among them.
    pub fn sidecars(&self) -> usize {
        self.sidecars
    }

    /// True once so many others live, and did before this one, that the medium is not enough for it.
    pub fn is_surplus(&self) -> bool {
        self.is_surplus
    }

    /// The times of now.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// True if the next exchange writes.
    pub fn writes_next(&self, now: Now) -> bool {
        self.group.is_some() || self.is_group_due(now)
    }

    fn fail(&mut self, why: Arc<str>, now: Now) {
        let Timing { first_retry, last_retry, .. } = self.timing;
        let wait = first_retry.saturating_mul(1 << self.failures.min(10)).min(last_retry);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.mono + wait;
        self.trouble = Some(why);
    }

    fn is_group_due(&self, now: Now) -> bool {
        self.queue.count(Kind::Now) > 0
            || self.queue.count(Kind::Claim) > 0 && self.is_delay_over()
            || self.queue.count(Kind::Mirror) >= MIRROR_ROWS
            || self.mirror_due().is_some_and(|due| now.mono >= due)
            || self.urgent_due().is_some_and(|due| now.mono >= due)
            || self.lazy.len() >= LAZY_ROWS
            || now.mono >= self.heartbeat_due()
            || self.is_ending
    }

    fn heartbeat_due(&self) -> Duration {
        self.wrote_at + self.timing.heartbeat
    }

    fn poll_due(&self) -> Duration {
        // Where calls take long and are counted, their pace is from begin to begin.
        let from = |at| if self.timing.quota.is_some() { self.read_began } else { at };
        let poll = self.read_at.map_or(Duration::ZERO, |at| from(at) + self.timing.poll());
        let delay = self.fleet.as_ref().and_then(Fleet::read_due);
        delay.map_or(poll, |delay| delay.min(poll))
    }

    /// When what goes before everything else is to be written: at once; but for a WON alone, where calls
    /// are counted and take long. Its client was told; the next claim would have to wait for it.
    fn urgent_due(&self) -> Option<Duration> {
        let can_wait = self.timing.quota.is_some()
            && self.urgent.iter().all(|want| matches!(want, Want::Won(..)));
        let wait = if can_wait { self.timing.poll() } else { Duration::ZERO };
        (!self.urgent.is_empty()).then(|| self.read_at.unwrap_or_default() + wait)
    }

    /// When what Redis has done is to be written: in `strict`, or when Redis does not decide any
    /// more, at once.
    fn mirror_due(&self) -> Option<Duration> {
        let wait = self.fleet.as_ref().map_or(Duration::ZERO, Fleet::mirror_wait);
        self.mirror_since.map(|since| since + wait)
    }

    fn refuses_grants(&self) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| !fleet.serves())
    }

    /// False while claims are not written, because other sidecars may have granted locks that the
    /// ledger has not heard of (`fast`, SPEC 8: lock-delay).
    pub fn is_delay_over(&self) -> bool {
        self.fleet.as_ref().is_none_or(Fleet::is_delay_over)
    }

    /// A live sidecar says that it has lost Redis (`fast`).
    pub fn has_others_degraded(&self, now: Now) -> bool {
        self.peers.has_degraded(now.mono)
    }

    /// As [`super::Door::mirror_lag`].
    pub fn mirror_lag(&self, now: Now) -> Duration {
        let lag = |fleet: &Fleet| fleet.mirror_lag(&self.peers, self.timing.poll(), now.mono);
        self.fleet.as_ref().map_or(Duration::ZERO, lag)
    }

    /// As [`super::Door::has_company`].
    pub fn has_company(&self, now: Now) -> bool {
        !self.peers.is_alone(now.mono)
    }

    /// When the last exchange that succeeded had begun: what stood in the ledger then was read.
    pub fn read_since(&self) -> Option<Duration> {
        self.read_at.map(|_| self.read_began)
    }

    /// True if the next group is known to be due at some time, so that a request that came now and
    /// may wait until then wakes nobody.
    pub fn rides_along(&self) -> bool {
        self.mirror_since.is_some()
            && self.fleet.as_ref().is_some_and(|fleet| !fleet.hurries())
            && self.queue.has_only(Kind::Mirror)
            && self.queue.count(Kind::Mirror) < MIRROR_ROWS
    }
}

#[cfg(test)]
mod tests;
