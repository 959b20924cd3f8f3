//! Lock commands answered without Redis: evaluated against the lock table, made durable in the
//! ledger, then answered (SPEC 6).
//!
//! An evaluation whose changes do not all come true, because another session or sidecar was
//! first, has happened to nobody: it is made again.

mod again;
mod blocked;
mod contested;
mod steps;
mod world;

pub(super) use contested::UNKNOWN as CONTESTED;
pub(super) use world::look;
pub(in crate::session) use world::with_world;
use world::with_world_of;

use std::time::Duration;

use crate::crash;
use crate::degraded::{self, Caller, Change, CompanionEffects, Evaluation, Words};
use crate::ledger::{Answer, Ask, Cause};
use crate::lock::record::{Confidence, LockKey, Position, Record};
use crate::lock::rule::Outage;
use crate::lock::value;
use crate::resp::Args;
use crate::resp::encode;
use crate::session::state::Watched;

use super::acquire::{CLIENT_GONE, TABLE_FULL};
use super::held::has_changed;
use super::local::{Locally, content_change};
use super::settle::Provisional;
use super::{Flow, Grant, Operation, Scope, durable};
use again::Before;
use contested::Contested;
use steps::{Progress, Steps};

/// How often an evaluation is made again before the client is told to.
const TRIES: u8 = 8;

/// Lock commands that are being served without Redis.
pub(in crate::session) struct Serving {
    work: Work,
    tries_left: u8,
    under_way: Option<Box<UnderWay>>,
    /// Until when it blocks on companions.
    blocks_until: Option<Duration>,
    /// A hold that has run out is nobody else's yet: how much longer it stands, in milliseconds.
    grace_ms: u64,
    /// Redis was sent the command, and its link was lost before the reply: why.
    lost: Option<String>,
    /// What a transaction depends on: looked at before each evaluation, also the second, after
    /// another was first.
    watched: Option<Watched>,
    /// The grant that an acquire goes on with, if that still stands.
    resumes: Option<Position>,
    /// What the ledger does before the (next) evaluation.
    before: Option<Before>,
    /// It was read.
    is_fresh: bool,
    /// It was to be read, and took no request.
    is_unread: bool,
    /// It was read again after what others may have granted by Redis alone was there (`fast`).
    has_waited: bool,
}

/// What is evaluated.
enum Work {
    Command(Vec<Vec<u8>>),
    Transaction(Vec<Vec<Vec<u8>>>),
}

/// An evaluation whose changes are with the ledger.
struct UnderWay {
    steps: Steps,
    touched: Vec<LockKey>,
    reply: Vec<u8>,
    companions: CompanionEffects,
}

impl Serving {
    /// One command.
    pub(super) fn command(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let mut serving = Self::new(Work::Command(args.iter().map(<[u8]>::to_vec).collect()));
        let flow = match again::resumed(args, scope) {
            Some(resumed) => serving.resume(resumed, scope),
            None => serving.evaluate(scope),
        };
        (Some(Box::new(Operation::Serve(serving))), flow)
    }

    /// A whole transaction.
    pub(super) fn transaction(
        commands: Vec<Vec<Vec<u8>>>,
        watched: Option<Watched>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let mut serving = Self::new(Work::Transaction(commands));
        serving.watched = watched;
        let flow = serving.evaluate(scope);
        (Some(Box::new(Operation::Serve(serving))), flow)
    }

    /// A command that Redis was to carry out, and whose link was lost. `lost`: why, if Redis may
    /// have carried it out.
    pub(super) fn in_place_of(
        words: Vec<Vec<u8>>,
        lost: Option<&str>,
        scope: &mut Scope<'_, '_>,
    ) -> (Self, Flow) {
        // Whatever Redis has made of it is looked at.
        let args = Words::new(&words);
        if let Some(spec) = args.args().get(0).and_then(crate::command::lookup) {
            for key in spec.lock_keys(args.args()) {
                if scope.shared().rules.find(key).is_some() {
                    scope.shared().repairs.touch(&scope.lock_key(key));
                }
            }
        }
        let mut serving = Self::new(Work::Command(words));
        serving.lost = lost.map(str::to_owned);
        let flow = serving.evaluate(scope);
        (serving, flow)
    }

    fn new(work: Work) -> Self {
        Self {
            work,
            tries_left: TRIES,
            under_way: None,
            blocks_until: None,
            grace_ms: 0,
            lost: None,
            watched: None,
            resumes: None,
            before: None,
            is_fresh: false,
            is_unread: false,
            has_waited: false,
        }
    }

    fn evaluate(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if let Some(flow) = self.hold_back(scope) {
            return flow;
        }
        if self.reads_first(scope) {
            return self.waiting();
        }
        if self.tries_left == 0 {
            return scope.answer_error(CONTENDED);
        }
        self.tries_left -= 1;
        let shared = scope.cx.shared;
        if self.watched.as_ref().is_some_and(|watched| has_changed(watched, shared)) {
            let mut reply = Vec::new();
            encode::null_array(&mut reply, scope.state.protocol);
            return scope.answer(&reply);
        }
        let caller = Caller { db: scope.state.db, protocol: scope.state.protocol };
        let contested = self.contested(scope);
        let instead = contested.as_ref().and_then(Contested::instead);
        let evaluation = with_world_of(scope, (self.grace_ms, instead), |world| match &self.work {
            Work::Command(words) => degraded::evaluate(Words::new(words).args(), &caller, world),
            Work::Transaction(commands) => degraded::evaluate_transaction(commands, &caller, world),
        });
        if contested.is_some_and(|contested| !contested.allows(&evaluation)) {
            return self.answer_unknown(CONTESTED, scope);
        }
        match evaluation {
            // Not once more for what the ledger may know besides.
            Evaluation::Done { reply, changes, companions }
                if degraded::has_passed_a_bound(&reply) =>
            {
                self.make_true(reply, changes, companions, scope)
            }
            Evaluation::Done { reply, changes, companions } if changes.is_empty() => {
                self.show(reply, companions, scope)
            }
            Evaluation::Done { reply, changes, companions } => {
                self.make_true(reply, changes, companions, scope)
            }
            Evaluation::NotServed => {
                let text = scope.not_served();
                self.answer_unknown(&text, scope)
            }
            Evaluation::Block { keys, timeout_ms, .. } => self.block(&keys, timeout_ms, scope),
        }
    }

    fn make_true(
        &mut self,
        reply: Vec<u8>,
        changes: Vec<Change>,
        companions: CompanionEffects,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if changes.is_empty() {
            return self.finish(&reply, companions, scope);
        }
        if scope.is_local(&changes) {
            return self.make_true_here(&reply, &changes, companions, scope);
        }
        let (mut releases, mut freed) = (Vec::new(), Vec::new());
        let mut taken = Vec::new();
        let mut touched = Vec::new();
        for change in changes {
            match change {
                Change::Release { key, record } => {
                    touched.push(key.clone());
                    freed.push(key.clone());
                    match scope.release_of(&key, &record, Cause::Client) {
                        Some(release @ Ask::Release(..)) => releases.push(release),
                        release => {
                            let by_value =
                                || durable::release_of_value(&key, &record, Cause::Client);
                            scope.shared().table.release_if(&key, &record.stored);
                            let release = release.unwrap_or_else(by_value);
                            scope.end_unwritten(&key, &record, release);
                        }
                    }
                }
                Change::Extend { key, record, expires_at_ms } => {
                    touched.push(key.clone());
                    if let Some(claim) = record.claim {
                        releases.push(Ask::Extend(key, claim, expires_at_ms));
                    }
                }
                Change::Content { ref key, .. } => {
                    touched.push(key.clone());
                    releases.extend(content_change(&change));
                }
                Change::Take { key, new } => {
                    let is_new = self.resumes.is_none();
                    match take(key, new, is_new, scope) {
                        Ok(provisional) => {
                            touched.push(provisional.lock.clone());
                            taken.push(provisional);
                        }
                        Err(text) => return scope.answer_error(&text),
                    }
                }
            }
        }
        if !taken.is_empty() && scope.client_gone {
            return scope.answer_error(CLIENT_GONE);
        }
        if let Some(trouble) = scope.shared().door.trouble() {
            return scope.answer_error(&nothing_done(&trouble));
        }
        match Steps::begin(taken, releases, &freed, scope) {
            Ok(steps) if steps.is_done() => {
                touched.iter().for_each(|key| scope.shared().repairs.touch(key));
                self.finish(&reply, companions, scope)
            }
            Ok(steps) => {
                let until = steps.until();
                let under_way = UnderWay { steps, touched, reply, companions };
                self.under_way = Some(Box::new(under_way));
                Flow::Ledger { until }
            }
            Err(trouble) => scope.answer_error(&nothing_done(&trouble)),
        }
    }

    /// The ledger does not answer either, and the rule says that the table alone decides.
    fn make_true_here(
        &mut self,
        reply: &[u8],
        changes: &[Change],
        companions: CompanionEffects,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        let mut taken = Vec::new();
        for change in changes {
            let Change::Take { key, new } = change else { continue };
            match take(key.clone(), new.clone(), true, scope) {
                Ok(provisional) => taken.push(provisional),
                Err(text) => return scope.answer_error(&text),
            }
        }
        if !taken.is_empty() && scope.client_gone {
            return scope.answer_error(CLIENT_GONE);
        }
        match scope.change_locally(changes, &taken) {
            Locally::Done => {
                let flow = self.finish(reply, companions, scope);
                grant(taken, &[], None, scope);
                flow
            }
            Locally::Moved => self.evaluate(scope),
            Locally::Full => scope.answer_error(TOO_MUCH_WAITS),
        }
    }

    /// The ledger's answer.
    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        if self.before.take_if(|before| before.ticket == Some(answer.ticket)).is_some() {
            return Some(self.evaluate(scope));
        }
        match self.under_way.as_mut()?.steps.answered(answer, scope)? {
            Progress::Waits(until) => return Some(Flow::Ledger { until }),
            Progress::Failed(text) => return Some(self.leave(&text, scope)),
            Progress::Over => {}
        }
        let done = *self.under_way.take()?;
        done.touched.iter().for_each(|key| scope.shared().repairs.touch(key));
        let steps = done.steps;
        let again = steps.has_missed();
        if steps.has_lost_to_the_past(scope.shared().clock.unix_ms()) {
            self.grace_ms = u64::MAX;
        }
        // A client that has gone may have come again elsewhere, and released what it held: what
        // holds the lock now is no matter of this command any more.
        if scope.client_gone && (again || steps.has_taken()) {
            steps.give_up(scope);
            return Some(scope.answer_error(CLIENT_GONE));
        }
        if again && steps.has_released() {
            // What it says of the rest would not be true of all that it has done.
            steps.give_up(scope);
            return Some(scope.answer_error(durable::NOT_RELEASED));
        }
        if again {
            return Some(self.begin_again(&steps, scope));
        }
        let flow = self.finish(&done.reply, done.companions, scope);
        crash::here("served-told");
        let (taken, won) = steps.into_grants();
        grant(taken, &won, self.resumes, scope);
        Some(flow)
    }

    /// The ledger has not answered in time.
    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if self.blocks_until.is_some() {
            return self.block_ended(scope);
        }
        if let Some(before) = self.before.take() {
            return self.go_without(&before, scope);
        }
        let Some(under_way) = &mut self.under_way else { return Flow::Close };
        match under_way.steps.late(scope) {
            Ok(until) => Flow::Ledger { until },
            Err(text) => self.leave(text, scope),
        }
    }

    fn finish(
        &mut self,
        reply: &[u8],
        companions: CompanionEffects,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        match scope.shared().companions.apply(companions) {
            Ok(waiters) => {
                if let Some(db) = self.selected(scope) {
                    scope.state.apply(crate::session::state::Change::Select(db));
                }
                waiters.into_iter().for_each(|waiter| scope.shared().bell.ring(waiter));
                self.note_seen(scope);
                scope.answer(reply)
            }
            Err(_) => self.evaluate(scope),
        }
    }

    fn block(&mut self, keys: &[LockKey], timeout_ms: u64, scope: &mut Scope<'_, '_>) -> Flow {
        let now_ms = scope.shared().clock.unix_ms();
        let waiter = (scope.cx.worker, scope.id);
        if !scope.shared().companions.block(waiter, keys, now_ms) {
            // An element has come since it was looked for.
            return self.evaluate(scope);
        }
        let for_ever = Duration::from_secs(u64::from(u32::MAX));
        let timeout = if timeout_ms == 0 { for_ever } else { Duration::from_millis(timeout_ms) };
        let until = *self.blocks_until.get_or_insert(scope.cx.now + timeout);
        Flow::Ledger { until }
    }

    /// A companion that it waits for has changed.
    pub(super) fn rung(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        self.blocks_until?;
        scope.shared().companions.unblock((scope.cx.worker, scope.id));
        self.tries_left = TRIES;
        Some(self.evaluate(scope))
    }

    fn block_ended(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        scope.shared().companions.unblock((scope.cx.worker, scope.id));
        let mut reply = Vec::new();
        encode::null_array(&mut reply, scope.state.protocol);
        scope.answer(&reply)
    }

    /// What it waits for goes on without the link.
    pub(super) fn waiting(&self) -> Flow {
        let booked = self.under_way.as_ref().map(|under_way| under_way.steps.until());
        let before = self.before.as_ref().map(|before| before.until);
        match booked.or(before).or(self.blocks_until) {
            Some(until) => Flow::Ledger { until },
            None => Flow::Close,
        }
    }

    /// The client has gone: what only waits need not.
    pub(super) fn client_gone(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        self.blocks_until?;
        scope.shared().companions.unblock((scope.cx.worker, scope.id));
        Some(Flow::Done)
    }
}

/// The client was told of these by what was written last.
fn grant(
    taken: Vec<Provisional>,
    won: &[Option<Position>],
    resumes: Option<Position>,
    scope: &mut Scope<'_, '_>,
) {
    let end = scope.cx.wires.client_accepted();
    let won = won.iter().copied().chain(std::iter::repeat(None));
    for (taken, claim) in taken.into_iter().zip(won) {
        let (key, stored) = (taken.lock, taken.record.stored);
        let is_resumed = claim.is_some() && claim == resumes;
        if is_resumed {
            scope.shared().table.set_confidence(&key, &stored, Confidence::Held);
        }
        scope.grants.push(Grant { key, stored, reply_end: end, claim, is_resumed });
    }
}

/// A lock to be claimed, as its rule allows while Redis is away.
fn take(
    lock: LockKey,
    new: degraded::Taken,
    is_new: bool,
    scope: &Scope<'_, '_>,
) -> Result<Provisional, String> {
    let shared = scope.shared();
    let degraded::Taken { stored, other, asked_ttl_ms, expires_at_ms } = new;
    let Some(rule) = shared.rules.find(lock.key()) else { return Err(TABLE_FULL.to_owned()) };
    if shared.table.is_full_for(&lock) {
        return Err(TABLE_FULL.to_owned());
    }
    if is_new && rule.outage == Outage::Refuse {
        return Err(shared.unavailable(&format!(
            "rule {:?} grants nothing new meanwhile (outage = \"refuse\")",
            rule.name
        )));
    }
    let client = scope.client();
    let client_value = value::strip(&stored, rule.stamp);
    let worker = value::worker_id(client_value).unwrap_or(&client).to_owned();
    let marker = shared.stamper.marker(&worker, &shared.clock);
    let record = Record {
        stored,
        rule: shared.rule_name(rule),
        granted_at_ms: shared.clock.unix_ms(),
        asked_ttl_ms,
        confidence: Confidence::Held,
        client,
        expires_at_ms,
        claim: None,
        fence: None,
        other,
        marker: Some(marker),
    };
    Ok(Provisional {
        lock,
        guard: Vec::new(),
        record,
        safety_ttl: rule.safety_ttl,
        persistent: expires_at_ms.is_none(),
    })
}

fn nothing_done(trouble: &str) -> String {
    format!("TRYAGAIN lockside: nothing was done: {trouble}")
}

const TOO_MUCH_WAITS: &str =
    "TRYAGAIN lockside: nothing was done: too much waits for the ledger already";
const CONTENDED: &str =
    "TRYAGAIN lockside: not acquired: others were first, time and again; ask again";
