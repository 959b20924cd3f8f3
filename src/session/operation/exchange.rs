//! Lock commands that are one question to Redis and one answer: reads whose values are shown as
//! the client wrote them, releases, and what Lockside adds to an answer.

mod look;
mod unsure;

pub(super) use look::{is_nothing, look_settled};

use std::time::Duration;

use crate::command::{KeyspaceUse, LockUse};
use crate::crash;
use crate::ledger::{Answer, Ask, Cause, Guarantee, Ticket};
use crate::lock::envelope::scripts;
use crate::lock::record::LockKey;
use crate::lock::value;
use crate::resp::Args;
use crate::resp::encode::{self, CommandBuilder};
use crate::resp::reply::Reply;
use crate::session::state::Seen;

use super::ask;
use super::counter::Behind;
use super::durable;
use super::grant;
use super::over;
use super::settle::{self, Next, Settlement};
use super::view;
use super::{Flow, Grant, Operation, Scope, TIMED, UNTIMED};

/// What the answer means, and what the client is shown of it.
pub(super) enum Purpose {
    /// Shown as it is.
    Pass,
    /// The values of these lock keys are shown as their clients wrote them: one key for a single
    /// value, one entry an element for an array; or it is shown how many of them there are.
    View(Vec<Option<Vec<u8>>>),
    /// TTL, TYPE and their kin.
    Look(LockKey),
    /// GETDEL: a view, and a release when there was a value.
    TakeOut(LockKey),
    /// DEL, UNLINK: the named locks are free once Redis has answered.
    Delete(Vec<LockKey>),
    Keyspace(KeyspaceUse, Vec<Vec<u8>>),
    Info,
    /// SCRIPT EXISTS of these.
    ScriptExists(Vec<Vec<u8>>),
    /// Grants whose reply could not be written are taken back; nobody reads the answer.
    GiveBack(Vec<Grant>),
}

/// One question under way.
pub(in crate::session) struct Exchange {
    /// Kept only while it may be repeated.
    request: Vec<u8>,
    purpose: Purpose,
    behind: Behind,
    /// Asking again does no harm, and it has not been asked again yet.
    may_repeat: bool,
    /// The client's reply, while the ledger writes what was released.
    booked: Option<(Settlement, Vec<u8>)>,
    /// Redis's reply, while the ledger is read before it is believed.
    doubted: Option<(Ticket, Duration, Vec<u8>)>,
    /// Redis has named another holder than the ledger: until when the look waits.
    unsure: Option<Duration>,
}

impl Exchange {
    /// A command on lock keys that is sent as it came.
    pub(super) fn begin(
        lock_use: &LockUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let purpose = purpose(lock_use, args, scope);
        let may_repeat = matches!(purpose, Purpose::View(_) | Purpose::Look(_));
        Self::start(args.frame(), purpose, may_repeat, scope)
    }

    /// FLUSHDB, FLUSHALL, SWAPDB: what they do to Redis happens to the table.
    pub(super) fn keyspace(
        keyspace_use: KeyspaceUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let rest = args.iter().skip(1).map(<[u8]>::to_vec).collect();
        Self::start(args.frame(), Purpose::Keyspace(keyspace_use, rest), false, scope)
    }

    /// A command that turned out to need nothing: Redis sees it as it came.
    pub(super) fn pass(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        Self::start(args.frame(), Purpose::Pass, false, scope)
    }

    pub(super) fn info(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let purpose = if ask::info_wants_lockside(args) { Purpose::Info } else { Purpose::Pass };
        Self::start(args.frame(), purpose, true, scope)
    }

    pub(super) fn script_exists(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let shas = args.iter().skip(2).map(<[u8]>::to_vec).collect();
        Self::start(args.frame(), Purpose::ScriptExists(shas), true, scope)
    }

    /// Takes back grants of the session's database that nobody has heard of.
    pub(in crate::session) fn give_back(
        grants: Vec<Grant>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if scope.decides() {
            // Redis follows by a repair.
            grants.iter().for_each(|grant| grant::give_up(grant, scope));
            return (None, Flow::Done);
        }
        let mut command = CommandBuilder::new(b"EVAL");
        command.arg(scripts::COMPARE_AND_DELETE.text.as_bytes());
        command.integer(i64::try_from(grants.len()).unwrap_or(i64::MAX));
        for grant in &grants {
            command.arg(grant.key.key());
        }
        for grant in &grants {
            command.arg(&settle::value_guard(&grant.stored));
        }
        let mut request = Vec::new();
        command.write(&mut request);
        Self::start(&request, Purpose::GiveBack(grants), true, scope)
    }

    fn start(
        request: &[u8],
        purpose: Purpose,
        may_repeat: bool,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if purpose.changes_something()
            && let Some(flow) = scope.refuse_if_blocked()
        {
            return (None, flow);
        }
        if matches!(purpose, Purpose::Keyspace(KeyspaceUse::SwapDb, _)) && scope.has_claims() {
            return (None, scope.answer_error(SWAPDB_REFUSED));
        }
        scope.cx.wires.to_upstream(request);
        let behind = match &purpose {
            Purpose::Keyspace(flush, _) => scope.restore_counter(*flush),
            Purpose::View(_) => scope.ask_counter(),
            _ => Behind::default(),
        };
        if purpose.changes_something() {
            crash::here("release-sent");
        }
        let keep = may_repeat || purpose.is_on_locks();
        let request = if keep { request.to_vec() } else { Vec::new() };
        let (booked, doubted, unsure) = Default::default();
        let operation = Self { request, purpose, behind, may_repeat, booked, doubted, unsure };
        let flow = operation.waiting();
        (Some(Box::new(Operation::Exchange(operation))), flow)
    }

    /// A FLUSHALL, or whatever was passed on, may take its time.
    fn waiting(&self) -> Flow {
        match self.purpose {
            Purpose::Keyspace(..) | Purpose::Pass => UNTIMED,
            _ => TIMED,
        }
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if !self.behind.is_owed() {
            return self.read(frame, scope);
        }
        match self.behind.take(frame) {
            Some(frame) => {
                scope.state.counter = self.behind.counter;
                self.read(&frame, scope)
            }
            None => self.waiting(),
        }
    }

    fn read(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let Some((reply, _)) = Reply::parse(frame) else { return Flow::Close };
        let mut out = Vec::new();
        scope.witness_answer(&self.purpose, &reply);
        match &self.purpose {
            Purpose::Pass => return scope.answer(frame),
            Purpose::Look(lock) => {
                let lock = lock.clone();
                return self.look(&lock, frame, scope);
            }
            Purpose::View(keys) => {
                if view::is_doubtful(&reply, keys, scope.shared())
                    && let Some((ticket, until)) = scope.read_for_look()
                {
                    self.doubted = Some((ticket, until, frame.to_vec()));
                    return Flow::Ledger { until };
                }
                return self.show(frame, scope);
            }
            Purpose::TakeOut(lock) => {
                let known = scope.shared().table.find(lock).filter(|_| scope.decides());
                match (&reply, known) {
                    // As for DEL below.
                    (Reply::Null, Some(record)) if !record.stored.is_empty() => {
                        let stamp = scope.shared().stamp_of(lock.key());
                        encode::bulk(&mut out, value::strip(&record.stored, stamp));
                    }
                    _ => view::show(frame, &[Some(lock.key().to_vec())], scope.shared(), &mut out),
                }
                return self.release(&reply, out, scope);
            }
            purpose @ Purpose::Delete(_) => {
                if !purpose.show_deleted(frame, scope, &mut out) {
                    out.extend_from_slice(frame);
                }
                return self.release(&reply, out, scope);
            }
            Purpose::Keyspace(..) => {
                return self.release(&reply, frame.to_vec(), scope);
            }
            Purpose::Info => ask::extend_info(&reply, frame, scope, &mut out),
            Purpose::ScriptExists(shas) => {
                ask::mask_script_exists(&reply, frame, shas, scope.shared(), &mut out);
            }
            Purpose::GiveBack(grants) => {
                if reply.elements().next().is_none() {
                    // Where scripts are forbidden there is no answer.
                    grant::leave_unconfirmed(grants, scope.shared());
                }
                for (grant, _) in grants.iter().zip(reply.elements()) {
                    scope.give_back(grant);
                }
                return Flow::Done;
            }
        }
        scope.answer(&out)
    }

    /// Has the ledger release what Redis has let go, then answers.
    fn release(&mut self, reply: &Reply<'_>, out: Vec<u8>, scope: &mut Scope<'_, '_>) -> Flow {
        crash::here("release-answered");
        let releases = self.purpose.releases(reply, scope.state.db, &[], scope);
        if releases.is_empty() {
            return scope.answer(&out);
        }
        let (settlement, next) = Settlement::begin(Vec::new(), releases, scope);
        self.booked = Some((settlement, out));
        self.go_on(next, scope)
    }

    fn go_on(&mut self, next: Next, scope: &mut Scope<'_, '_>) -> Flow {
        let Some((settlement, out)) = &mut self.booked else { return Flow::Close };
        match next {
            Next::Settled(_) => {
                over::disclaim(out, settlement.ended_before().len(), scope.state.protocol);
                let flow = scope.answer(out);
                crash::here("release-told");
                flow
            }
            Next::Ledger(until) => Flow::Ledger { until },
            Next::Blocked(text) if text == durable::NOT_RELEASED => scope.answer_error(&text),
            Next::Blocked(_) => scope.answer_error(durable::RELEASING),
            _ => Flow::Close,
        }
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        if let Some((_, _, frame)) = self.doubted.take_if(|(ticket, ..)| *ticket == answer.ticket) {
            return Some(self.show(&frame, scope));
        }
        let next = self.booked.as_mut()?.0.answered(answer, scope)?;
        // A release is for good, whether its client is still there or not.
        let next = if next == Next::Unknown { Next::Settled(Vec::new()) } else { next };
        Some(self.go_on(next, scope))
    }

    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if let Some((ticket, _, frame)) = self.doubted.take() {
            scope.shared().door.forget(ticket);
            return self.show(&frame, scope);
        }
        if let Some(flow) = self.look_again(scope) {
            return flow;
        }
        let Some((settlement, _)) = &mut self.booked else { return Flow::Close };
        let next = settlement.ledger_late(scope);
        self.go_on(next, scope)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.behind = Behind::default();
        scope.cx.wires.to_upstream(&self.request);
        self.waiting()
    }

    /// The client's command, while it may still be carried out by the ledger alone: Redis was not
    /// asked, or what it did before its reply was lost is put right by a repair.
    pub(super) fn unanswered(&self) -> Option<Vec<Vec<u8>>> {
        if self.booked.is_some() || self.doubted.is_some() || !self.purpose.is_on_locks() {
            return None;
        }
        let (command, _) = Reply::parse(&self.request)?;
        let words = command.elements().filter_map(Reply::parse);
        words.map(|(word, _)| word.text().map(<[u8]>::to_vec)).collect()
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if let Some((_, until, _)) = self.doubted {
            return Flow::Ledger { until };
        }
        if let Some((settlement, _)) = &mut self.booked {
            let next = settlement.lost(scope);
            return self.go_on(next, scope);
        }
        if let Some(frame) = self.behind.lost() {
            return self.read(&frame, scope);
        }
        if connected && self.may_repeat {
            self.may_repeat = false;
            return Flow::Reopen;
        }
        match &self.purpose {
            Purpose::GiveBack(_) if scope.decides() => Flow::Done,
            Purpose::GiveBack(grants) => {
                grant::leave_unconfirmed(grants, scope.shared());
                Flow::Done
            }
            // What Redis closes on its own account (QUIT, a protocol error) has no reply.
            Purpose::Pass if connected => Flow::Close,
            purpose if connected && purpose.changes_something() => scope.answer_unknown(reason),
            _ => {
                let text = scope.shared().unavailable(reason);
                scope.answer_error(&text)
            }
        }
    }
}

impl Purpose {
    fn changes_something(&self) -> bool {
        matches!(self, Self::TakeOut(_) | Self::Delete(_) | Self::Keyspace(..))
    }

    /// The locks that it names, in this database.
    pub(super) fn locks(&self, db: u32) -> Vec<LockKey> {
        match self {
            Self::View(keys) => keys.iter().flatten().map(|key| LockKey::new(db, key)).collect(),
            Self::TakeOut(lock) | Self::Look(lock) => vec![lock.clone()],
            Self::Delete(locks) => locks.clone(),
            _ => Vec::new(),
        }
    }

    /// True for a client's command on locks.
    fn is_on_locks(&self) -> bool {
        matches!(self, Self::View(_) | Self::Look(_) | Self::TakeOut(_) | Self::Delete(_))
    }

    /// True for what ends whatever hold it meets.
    pub(super) fn is_blind(&self) -> bool {
        matches!(self, Self::TakeOut(_) | Self::Delete(_))
    }

    /// DEL of one lock that Redis had lost and the ledger had not: that is the truth (SPEC 2), so it
    /// has deleted one. False for everything else: nothing is written.
    pub(super) fn show_deleted(
        &self,
        frame: &[u8],
        scope: &Scope<'_, '_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Self::Delete(locks) = self else { return false };
        let [lock] = locks.as_slice() else { return false };
        let now_ms = scope.shared().clock.unix_ms();
        let stands = |at_ms: u64| at_ms > now_ms;
        let record = scope.shared().table.find(lock);
        let stood = record.is_some_and(|record| record.expires_at_ms.is_none_or(stands));
        let is_lost = frame == b":0\r\n" && scope.decides() && stood;
        if is_lost {
            encode::integer(out, 1);
        }
        is_lost
    }

    /// What the ledger is to be told once Redis has answered so, in database `db`. `seen`: values
    /// that are known to be those that were deleted.
    pub(super) fn releases(
        &self,
        reply: &Reply<'_>,
        db: u32,
        seen: &[Seen],
        scope: &Scope<'_, '_>,
    ) -> Vec<Ask> {
        match (self, reply) {
            (Self::TakeOut(lock), Reply::Null)
                if !scope.decides() || scope.shared().table.find(lock).is_none() =>
            {
                Vec::new()
            }
            (Self::TakeOut(lock), Reply::Null) => {
                settle::releases([(lock, None)].into_iter(), None, Cause::Client, scope)
            }
            (Self::TakeOut(lock), Reply::Bulk(stored)) => {
                settle::releases([(lock, Some(*stored))].into_iter(), None, Cause::Client, scope)
            }
            (Self::Delete(locks), Reply::Integer(count)) => {
                let known = |lock: &&LockKey| scope.shared().table.find(lock).is_some();
                let gone = locks.iter().filter(|lock| *count > 0 || known(lock));
                let ask = |lock: &LockKey| {
                    let seen = seen.iter().find(|seen| seen.lock == *lock && *count > 0);
                    match seen.and_then(|seen| seen.claim) {
                        Some(claim) if scope.shared().guarantee == Guarantee::Strict => {
                            vec![Ask::Release(lock.clone(), claim, Cause::Client)]
                        }
                        _ => {
                            let stored = seen.map(|seen| &*seen.stored);
                            let fence = seen.and_then(|seen| seen.fence);
                            let gone = [(lock, stored)].into_iter();
                            settle::releases(gone, fence, Cause::Client, scope)
                        }
                    }
                };
                gone.flat_map(ask).collect()
            }
            (Self::Keyspace(keyspace_use, args), Reply::Simple(_)) => {
                let all = scope.shared().table.list(0, |_| true);
                let gone = all.iter().map(|(lock, _)| lock).filter(|lock| {
                    after_keyspace(*keyspace_use, args, db, lock).as_ref() != Some(*lock)
                });
                settle::releases(gone.map(|lock| (lock, None)), None, Cause::Flushed, scope)
            }
            _ => Vec::new(),
        }
    }
}

/// What a command that is sent as it came means for the locks among its keys.
pub(super) fn purpose(lock_use: &LockUse, args: Args<'_>, scope: &Scope<'_, '_>) -> Purpose {
    let shared = scope.shared();
    let lock_keys = || args.iter().skip(1).filter(|key| shared.rules.find(key).is_some());
    match lock_use {
        LockUse::Get => Purpose::View(vec![args.get(1).map(<[u8]>::to_vec)]),
        LockUse::Mget | LockUse::Exists => {
            let known = |key: &[u8]| shared.rules.find(key).is_some().then(|| key.to_vec());
            Purpose::View(args.iter().skip(1).map(known).collect())
        }
        LockUse::Look => Purpose::Look(scope.lock_key(args.get(1).unwrap_or_default())),
        LockUse::Getdel => Purpose::TakeOut(scope.lock_key(args.get(1).unwrap_or_default())),
        LockUse::Delete => Purpose::Delete(lock_keys().map(|key| scope.lock_key(key)).collect()),
        _ => Purpose::Pass,
    }
}

/// What FLUSHDB, FLUSHALL or SWAPDB made of one lock: its name now, or nothing.
pub(super) fn after_keyspace(
    keyspace_use: KeyspaceUse,
    args: &[Vec<u8>],
    db: u32,
    lock: &LockKey,
) -> Option<LockKey> {
    match keyspace_use {
        KeyspaceUse::FlushAll => None,
        KeyspaceUse::FlushDb => (lock.db() != db).then(|| lock.clone()),
        KeyspaceUse::SwapDb => Some(match swapped(args) {
            Some((one, other)) if lock.db() == one => lock.in_db(other),
            Some((one, other)) if lock.db() == other => lock.in_db(one),
            _ => lock.clone(),
        }),
    }
}

/// The two databases of a SWAPDB.
fn swapped(args: &[Vec<u8>]) -> Option<(u32, u32)> {
    let number = |index: usize| std::str::from_utf8(args.get(index)?).ok()?.parse().ok();
    Some((number(0)?, number(1)?))
}

pub(super) const SWAPDB_REFUSED: &str =
    "ERR lockside: SWAPDB is refused while locks are held: the ledger names them by their database";
