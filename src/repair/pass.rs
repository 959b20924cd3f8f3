//! One pass over many keys: what to ask Redis next, and what its answers mean. No socket, no clock.
//!
//! # Contract
//!
//! [`Pass::next`] says what to do: send a command and hand its answer to [`Pass::answer`], hand
//! claims to the ledger, or come again later ([`Pass::again`]). One command is under way at a time.
//! The ledger is asked anew whenever something is decided: a repair is planned from what it says right
//! before the command is made, and if it says something else once the answer is there, the key is
//! looked at again. So a release or a new holder during the pass never leaves behind what the pass
//! has just put into Redis. A pass can be dropped between any two steps.
//!
//! A pass is complete when each holder stands in Redis as it should, or can't be put there at all
//! ([`Plan::CannotRestore`]). Locks won while it runs are caught up with `CATCH_UPS` times; later
//! ones are brought to Redis by who wins them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::config::Conflict;
use crate::ledger::fold::Holder;
use crate::ledger::{Ask, Claim, Guarantee, Position};
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;
use crate::lock::rule::Rules;

use super::Truth;
use super::command::{Answer, BATCH, Batch, Command, Kind, Order, look};
use super::plan::{Found, Plan, Repair, Says, Why, plan};

mod follow;
mod judge;
mod prefer;
mod search;
mod told;

use follow::Following;
pub use follow::{Moment, Signs};
use judge::{doubtful, hold_of, standing};
pub use prefer::Hearing;
use prefer::Mirrors;
use search::Scan;

/// How often a pass asks for locks that were won since it began.
const CATCH_UPS: u32 = 3;
/// How often a key is looked at at once when it changes under the repair; then it waits its turn.
const LOOKS: u32 = 4;
/// Steps of SCAN of one pass: 4,000,000 keys. What is past it is found in the background, where the
/// cursor goes on.
const SCAN_STEPS: u32 = 8000;

/// Most values whose second look is waited for.
const MOST_DOUBTS: usize = 10_000;

/// Under which terms locks are repaired.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which keys are locks, and how they behave.
    pub rules: Arc<Rules>,
    /// What an OK means.
    pub guarantee: Guarantee,
    /// Who is right where Redis and the ledger name two holders (`fast`).
    pub conflict: Conflict,
    /// The key of the counter of fences, in database 0 (`fast`).
    pub fence_counter: Vec<u8>,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Send this, and hand in its answer.
    Ask(Command),
    /// Hand these to the ledger, which decides; nobody waits for that.
    Tell(Vec<Ask>),
    /// Some keys wait for something. Come again in a moment, or give the pass up.
    Later,
    /// Nothing is left. True if the pass is complete.
    Done(bool),
}

/// Something that people or counters want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// This was done.
    Repaired {
        /// The lock.
        key: LockKey,
        /// What.
        kind: Kind,
        /// The ledger's holder, where there is one.
        holder: Option<Arc<Holder>>,
        /// A value was replaced that is not known to be dead.
        conflict: bool,
    },
    /// A value was found that the ledger does not know; it was told.
    Adopted(LockKey),
    /// A grant was found that lost by its fence; the ledger was told to take it for the holder's.
    Preferred {
        /// The lock.
        key: LockKey,
        /// Whose place it takes, if anybody's.
        holder: Option<Arc<Holder>>,
        /// Who it is, as far as its value tells.
        worker: Option<String>,
    },
    /// A held lock that is no string has another content than the ledger knew; it was told.
    Followed(LockKey),
    /// An observed lock was deleted in Redis; the ledger was told.
    Vanished(LockKey),
    /// As many locks are held as may be: a value was not taken in.
    TooMany,
    /// The holder can't be put into Redis.
    CannotRestore(LockKey),
    /// Redis refuses SCAN, or the database, for this reason.
    NotSearched(Arc<str>),
}

/// What would have been taken away at the last look although the ledger may know better in a moment
/// (an unknown value in a holder's place, which it is told of; content that is not a string). Only the
/// second look acts on it. With the time of the first look, in milliseconds since the Unix epoch.
pub type Doubts = BTreeMap<LockKey, (Vec<u8>, u64)>;

/// One pass.
#[derive(Debug)]
pub struct Pass {
    policy: Policy,
    /// Keys to be looked at.
    queue: BTreeSet<LockKey>,
    /// Keys that were looked at, to be decided on.
    found: VecDeque<(LockKey, Found)>,
    /// Keys that are looked at again when they have had time.
    later: BTreeSet<LockKey>,
    /// Holders that stand in Redis, or can't.
    settled: BTreeMap<LockKey, Position>,
    looks: BTreeMap<LockKey, u32>,
    /// Holders that this pass has put into Redis, to be looked at once more.
    put: BTreeSet<LockKey>,
    is_checked: bool,
    scans: VecDeque<Scan>,
    scan_steps: u32,
    catch_ups: u32,
    under_way: UnderWay,
    doubts: Doubts,
    told: Vec<Ask>,
    done: Vec<LockKey>,
    notes: Vec<Note>,
    failure: Option<Arc<str>>,
    /// Over all locks, not over given keys.
    is_full: bool,
    /// Locks are served by Redis meanwhile: a release is seen there before the ledger has it, so a
    /// lock that is missing is set only when it is still missing at the second look.
    is_careful: bool,
    mirrors: Mirrors,
    /// Locks that were missing at the first look.
    missed: BTreeSet<LockKey>,
    /// Of a pass that follows Redis on observed keys.
    following: Option<Box<Following>>,
}

/// What the next answer is an answer to.
#[derive(Debug)]
enum UnderWay {
    Nothing,
    Look(Vec<LockKey>),
    Repair(Batch),
    Scan(Scan),
    /// What the counter of fences is.
    Counter,
}

impl Pass {
    /// A pass over all holders, and over all lock keys of these databases and of the holders'.
    pub fn full(policy: Policy, truth: &dyn Truth, dbs: &BTreeSet<u32>, doubts: Doubts) -> Self {
        let mut pass = Self::new(policy, doubts);
        let holders = truth.holders();
        let mut dbs = dbs.clone();
        dbs.extend(holders.iter().map(|holder| holder.claim.key.db()));
        for (_, rule) in pass.policy.rules.iter() {
            let globs = rule.keys.iter().map(|glob| glob.source().to_vec());
            let scans = globs.flat_map(|pattern| {
                dbs.iter().map(move |&db| Scan { db, pattern: pattern.clone(), cursor: 0 })
            });
            pass.scans.extend(scans);
        }
        pass.queue.extend(holders.iter().map(|holder| holder.claim.key.clone()));
        pass.catch_ups = CATCH_UPS;
        pass.is_full = true;
        pass
    }

    /// A pass over these keys alone.
    pub fn of_keys(
        policy: Policy,
        keys: impl IntoIterator<Item = LockKey>,
        doubts: Doubts,
    ) -> Self {
        let mut pass = Self::new(policy, doubts);
        pass.queue.extend(keys);
        pass
    }

    fn new(policy: Policy, doubts: Doubts) -> Self {
        Self {
            policy,
            queue: BTreeSet::new(),
            found: VecDeque::new(),
            later: BTreeSet::new(),
            settled: BTreeMap::new(),
            looks: BTreeMap::new(),
            put: BTreeSet::new(),
            is_checked: false,
            scans: VecDeque::new(),
            scan_steps: SCAN_STEPS,
            catch_ups: 0,
            under_way: UnderWay::Nothing,
            doubts,
            told: Vec::new(),
            done: Vec::new(),
            notes: Vec::new(),
            failure: None,
            is_full: false,
            is_careful: false,
            mirrors: Mirrors::default(),
            missed: BTreeSet::new(),
            following: None,
        }
    }

    /// The same for a time in which locks are served by Redis: nothing that is missing is set before
    /// a second look, which is to come after a release that is on its way is in the ledger.
    pub fn carefully(mut self) -> Self {
        self.is_careful = true;
        self
    }

    /// What to do next. `now_ms`: milliseconds since the Unix epoch.
    pub fn next(&mut self, truth: &dyn Truth, now_ms: u64) -> Step {
        loop {
            if self.failure.is_some() {
                return Step::Done(false);
            }
            if let Some(command) = self.decide(truth, now_ms) {
                return Step::Ask(command);
            }
            if !self.told.is_empty() {
                return Step::Tell(std::mem::take(&mut self.told));
            }
            let command = self.ask_counter().or_else(|| self.look());
            if let Some(command) = command.or_else(|| self.scan()) {
                return Step::Ask(command);
            }
            if self.catch_up(truth) || self.check_again() {
                continue;
            }
            return if self.later.is_empty() { Step::Done(true) } else { Step::Later };
        }
    }

    /// The answer to the last [`Step::Ask`].
    pub fn answer(&mut self, answer: Answer, truth: &dyn Truth) {
        let under_way = std::mem::replace(&mut self.under_way, UnderWay::Nothing);
        match (under_way, answer) {
            (_, Answer::Failed(text)) => self.failure = Some(text),
            // What is not searched is not found; what holders need is known without a search.
            (UnderWay::Scan(_), Answer::Refused(text)) => self.notes.push(Note::NotSearched(text)),
            (UnderWay::Counter, Answer::Refused(_)) => self.counted(None),
            (UnderWay::Counter, Answer::Marks(marks)) => self.counted(marks.first().copied()),
            (
                UnderWay::Nothing | UnderWay::Look(_) | UnderWay::Repair(_),
                Answer::Refused(text),
            ) => self.failure = Some(text),
            (UnderWay::Look(mut keys), Answer::Found(found))
                if (1..=keys.len()).contains(&found.len()) =>
            {
                // The others had to wait for large ones.
                self.queue.extend(keys.split_off(found.len()));
                self.found.extend(keys.into_iter().zip(found));
            }
            (UnderWay::Repair(batch), Answer::Marks(marks)) => {
                for (at, order) in batch.into_orders().into_iter().enumerate() {
                    self.repaired(order, marks.get(at) == Some(&1), truth);
                }
            }
            (UnderWay::Scan(scan), Answer::Scanned { cursor, keys }) => {
                self.scanned(scan, cursor, keys);
            }
            (_, Answer::Found(_) | Answer::Marks(_) | Answer::Scanned { .. }) => {
                self.failure = Some("an answer that is none to the question".into())
            }
        }
    }

    /// Looks again at what waits.
    pub fn again(&mut self) {
        self.looks.clear();
        self.queue.append(&mut self.later);
    }

    /// Why the pass has ended early.
    pub fn failure(&self) -> Option<&Arc<str>> {
        self.failure.as_ref()
    }

    /// Keys about which nothing is left to do, since the last call. Of a pass over given keys.
    pub fn take_done(&mut self) -> Vec<LockKey> {
        std::mem::take(&mut self.done)
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// What the next pass has to know.
    pub fn into_doubts(self) -> Doubts {
        self.doubts
    }

    /// The next keys to be looked at, of one database.
    fn look(&mut self) -> Option<Command> {
        let db = self.queue.first()?.db();
        let mut keys = Vec::with_capacity(BATCH.min(self.queue.len()));
        while keys.len() < BATCH && self.queue.first().is_some_and(|key| key.db() == db) {
            keys.extend(self.queue.pop_first());
        }
        let command = look(db, &keys);
        self.under_way = UnderWay::Look(keys);
        Some(command)
    }

    /// Queues what was put into Redis, once; true if there was any. A release that had reached Redis
    /// and not yet the ledger when it was put there is in the ledger by now.
    fn check_again(&mut self) -> bool {
        if self.is_checked {
            return false;
        }
        self.is_checked = true;
        self.queue.append(&mut self.put);
        !self.queue.is_empty()
    }

    /// Queues holders that are not settled; true if there were any.
    fn catch_up(&mut self, truth: &dyn Truth) -> bool {
        let Some(left) = self.catch_ups.checked_sub(1) else { return false };
        self.catch_ups = left;
        for holder in truth.holders() {
            let key = &holder.claim.key;
            if self.settled.get(key) != Some(&holder.at) && !self.later.contains(key) {
                self.queue.insert(key.clone());
            }
        }
        !self.queue.is_empty()
    }

    /// Plans what was found, from what the ledger says now, and makes the next batch: of one kind of
    /// repair. The rest is planned again for the batch after it.
    fn decide(&mut self, truth: &dyn Truth, now_ms: u64) -> Option<Command> {
        let mut batch = Batch::default();
        for (key, found) in std::mem::take(&mut self.found) {
            if let Some(order) = self.consider(&key, &found, truth, now_ms)
                && batch.push(order).is_err()
            {
                self.found.push_back((key, found));
            }
        }
        self.forget_count();
        let command = batch.command()?;
        self.under_way = UnderWay::Repair(batch);
        Some(command)
    }

    /// One key: what Redis is to do, if anything.
    fn consider(
        &mut self,
        key: &LockKey,
        found: &Found,
        truth: &dyn Truth,
        now_ms: u64,
    ) -> Option<Order> {
        let holder = truth.holder(key);
        let at = holder.as_deref().map(|holder| holder.at);
        let hold = holder.as_deref().map(|holder| hold_of(holder, now_ms));
        let (value, releasing) = (standing(truth, key, found), truth.is_releasing(key));
        let says = Says { holder: hold, value, releasing };
        if self.is_followed(key, found, holder.as_deref(), says, truth, now_ms) {
            return None;
        }
        match plan(found, says, self.terms(key)) {
            Plan::Nothing(_) => self.settle(key, at, true),
            Plan::Wait(Why::Mirror) => {
                return self.wait_for_mirror(key, found, holder, truth, now_ms);
            }
            Plan::Wait(_) => drop(self.later.insert(key.clone())),
            Plan::CannotRestore => {
                self.notes.push(Note::CannotRestore(key.clone()));
                // In fast Redis decides, and would say yes to the next: not done, as long as it lasts.
                self.settle(key, at, self.policy.guarantee == Guarantee::Strict);
            }
            Plan::Act(Repair::Adopt(_)) if truth.is_undecided(key) => self.settle(key, at, true),
            Plan::Act(Repair::Adopt(_)) if self.is_too_much(key, truth) => {}
            Plan::Act(Repair::Adopt(theirs)) => {
                self.observe(key, theirs, now_ms);
                self.notes.push(Note::Adopted(key.clone()));
                self.wait_until_heard(key, truth, now_ms);
            }
            Plan::Act(Repair::Prefer(stored)) => {
                let lost = truth.disputed(key, stored);
                self.prefer(key, stored, lost, holder.clone(), now_ms);
            }
            Plan::Act(repair) if self.is_too_soon(key, repair, at, truth, now_ms) => {}
            Plan::Act(repair) if self.is_new_doubt(key, repair, now_ms) => {
                if let Some(theirs @ Guard::Value(_)) = doubtful(repair) {
                    self.observe(key, theirs, now_ms);
                }
                self.later.insert(key.clone());
            }
            Plan::Act(Repair::Follow(theirs)) => self.note_change(holder.as_deref(), theirs),
            Plan::Act(Repair::Set { .. })
                if self.is_careful
                    && !self.follows(key, truth)
                    && self.missed.insert(key.clone()) =>
            {
                self.later.insert(key.clone());
            }
            Plan::Act(repair) => return Order::new(key.clone(), at, repair),
        }
        None
    }

    /// A repair was answered.
    fn repaired(&mut self, order: Order, applied: bool, truth: &dyn Truth) {
        let Order { key, holder: planned_for, kind, conflict, .. } = order;
        let holder = truth.holder(&key);
        let at = holder.as_deref().map(|holder| holder.at);
        if applied {
            self.notes.push(Note::Repaired { key: key.clone(), kind, holder, conflict });
        }
        // After a deletion nothing stands where a holder should: its turn is next.
        let leaves_a_hole = kind == Kind::Delete && at.is_some();
        let puts = matches!(kind, Kind::Set | Kind::Replace);
        if puts && applied {
            self.note_put(&key);
        }
        if !applied || at != planned_for || leaves_a_hole {
            self.look_again(key);
        } else if puts && !self.is_full {
            self.later.insert(key);
        } else {
            self.settle(&key, at, true);
            self.put.extend(puts.then_some(key));
        }
    }

    /// At once, and after [`LOOKS`] times with the others that wait.
    fn look_again(&mut self, key: LockKey) {
        let looks = self.looks.entry(key.clone()).or_default();
        *looks += 1;
        if *looks < LOOKS {
            self.queue.insert(key);
        } else {
            self.later.insert(key);
        }
    }

    /// Nothing is left to do about this key under this holder.
    fn settle(&mut self, key: &LockKey, holder: Option<Position>, done: bool) {
        self.looks.remove(key);
        self.doubts.remove(key);
        self.forget_sighting(key);
        self.hear_of(key);
        if self.is_full {
            self.settled.extend(holder.map(|at| (key.clone(), at)));
        } else if done {
            self.done.push(key.clone());
        }
    }
}

#[cfg(test)]
mod tests;
