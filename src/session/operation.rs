//! What a session does for one lock command, with the link to itself.
//!
//! Each kind of operation sends its commands through the [`Scope`] and is handed whole replies.
//! After every step it says how to go on ([`Flow`]). Operations know nothing of sockets; that a
//! link broke reaches them as [`Operation::link_failed`], a late reply never does.

mod acquire;
mod ask;
mod carry;
mod counter;
mod durable;
mod exchange;
mod fresh;
mod gate;
mod grant;
mod held;
mod hold;
mod inside;
mod knock;
mod local;
mod over;
mod replay;
mod scope;
mod script;
mod serve;
mod settle;
mod transaction;
mod verify;
mod view;

use std::time::Duration;

use crate::command::LockUse;
use crate::degraded::Words;
use crate::ledger::{Answer, Told};
use crate::mode::{Mode, Report, Sign};
use crate::resp::Args;
use crate::router::{Ask, Route};

use super::flights::Verdict;

use acquire::Acquiring;
use ask::{Asking, Releasing};
pub(super) use ask::{FENCE_IN_TRANSACTION, info_alone};
use carry::Carrying;
use exchange::Exchange;
use fresh::Reading;
pub(super) use gate::{NOAUTH, gate_refusal, may_use_some_locks};
pub(super) use grant::{Grant, note_heard, settle_grants};
pub(super) use held::execute_held_back;
use hold::Holding;
use inside::Inspecting;
use knock::{Knocking, Wish};
pub use local::Locals;
use replay::Replaying;
pub(super) use scope::{Flow, Scope};
use scope::{TIMED, UNTIMED};
use script::Scripting;
use serve::Serving;
pub(super) use serve::with_world;
pub(super) use transaction::Queued;
use transaction::{Executing, Queueing};
use verify::Verifying;

/// One lock command under way.
pub(super) enum Operation {
    Acquire(Acquiring),
    Exchange(Exchange),
    Inspect(Inspecting),
    Read(Reading),
    Script(Scripting),
    Queue(Queueing),
    Exec(Executing),
    Serve(Serving),
    Replay(Replaying),
    Knock(Knocking),
    Hold(Holding),
    Verify(Verifying),
    Carry(Carrying),
    Ask(Asking),
    Release(Releasing),
}

/// Takes back grants that nobody has heard of.
pub(super) fn give_back(
    grants: Vec<Grant>,
    scope: &mut Scope<'_, '_>,
) -> (Option<Box<Operation>>, Flow) {
    Exchange::give_back(grants, scope)
}

impl Operation {
    /// Starts the operation for a command that the router did not simply send upstream. `None`
    /// with [`Flow::Done`]: it has been answered at once.
    pub(super) fn begin(
        route: Route,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Self>>, Flow) {
        let in_transaction = scope.state.transaction.is_some();
        scope.state.repairs_before = scope.shared().repairs.activity();
        match route {
            // Redis refuses any command on keys here, in words that name the client's own.
            Route::Lock(_) | Route::Keyspace(_) if scope.state.only_listens() => {
                Exchange::pass(args, scope)
            }
            Route::Refuse(text) if in_transaction => Queueing::refuse(text, scope),
            Route::Refuse(text) => (None, scope.answer_error(&text)),
            Route::Ask(Ask::Lockside) => ask::begin(args, scope),
            Route::Fence => ask::begin_fence(args, scope),
            Route::Ask(_) if in_transaction => Queueing::pass(args, scope),
            Route::Ask(Ask::Info) => Exchange::info(args, scope),
            Route::Ask(Ask::ScriptExists) => Exchange::script_exists(args, scope),
            Route::Exec => Executing::begin(scope),
            Route::Keyspace(keyspace_use) if in_transaction => {
                Queueing::begin_keyspace(keyspace_use, args, scope)
            }
            Route::Keyspace(keyspace_use) => Exchange::keyspace(keyspace_use, args, scope),
            Route::Lock(lock_use) if in_transaction => Queueing::begin(&lock_use, args, scope),
            Route::Lock(lock_use) => Self::begin_lock(&lock_use, args, scope),
            Route::Ignore | Route::Upstream | Route::State(_) => (None, Flow::Done),
        }
    }

    /// A client that blocks on companions, and whose link was lost.
    pub(super) fn carry(
        words: Vec<Vec<u8>>,
        since: Duration,
        scope: &Scope<'_, '_>,
    ) -> (Option<Box<Self>>, Flow) {
        Carrying::begin(words, since, scope)
    }

    /// Asks a new link which run of Redis it has met.
    pub(super) fn verify(scope: &mut Scope<'_, '_>) -> (Option<Box<Self>>, Flow) {
        Verifying::begin(scope)
    }

    /// Asks what the client may not do with such locks.
    pub(super) fn ask_rights(
        key: &[u8],
        rule: &str,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Self>>, Flow) {
        Verifying::begin_rights(key, rule, scope)
    }

    /// True for a [`Operation::verify`] that has found the expected run.
    pub(super) fn has_verified(&self) -> bool {
        matches!(self, Self::Verify(operation) if operation.done)
    }

    /// A command that is served without Redis.
    pub(super) fn serve(args: Args<'_>, scope: &mut Scope<'_, '_>) -> (Option<Box<Self>>, Flow) {
        Knocking::begin(Wish::Command(args.iter().map(<[u8]>::to_vec).collect()), scope)
    }

    fn begin_lock(
        lock_use: &LockUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Self>>, Flow) {
        if !scope.asks_redis(args) {
            if *lock_use == LockUse::Inside
                && let Some(refusal) = inside::refusal(args, scope)
            {
                return (None, scope.answer_error(refusal));
            }
            return match Reading::until_repaired(args, scope) {
                Some((reading, flow)) => (Some(reading), flow),
                None => Self::serve(args, scope),
            };
        }
        match lock_use {
            LockUse::Set | LockUse::Setnx => Acquiring::begin(lock_use, args, scope),
            LockUse::Computed | LockUse::Content => Scripting::begin_command(args, scope),
            LockUse::Script { .. } => Scripting::begin_script(args, scope),
            LockUse::Inside => Inspecting::begin(args, scope),
            lock_use if fresh::is_blind(lock_use) => match Reading::begin(args, scope) {
                Some((reading, flow)) => (Some(reading), flow),
                None => Scripting::begin_blind(lock_use, args, scope),
            },
            _ => Exchange::begin(lock_use, args, scope),
        }
    }

    /// Another operation takes this one's place, if there is one.
    fn go_on_as(&mut self, next: Option<Box<Self>>, flow: Flow) -> Flow {
        if let Some(next) = next {
            *self = *next;
        }
        flow
    }

    /// A whole reply of Redis to what the operation sent.
    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if let Some(text) = frame.strip_prefix(b"-")
            && let Some(sign) = Sign::of_error(text)
        {
            scope.shared().reports.note(Report::Error(sign));
        }
        match self {
            Self::Acquire(operation) => operation.reply(frame, scope),
            Self::Exchange(operation) => operation.reply(frame, scope),
            Self::Inspect(operation) => operation.reply(frame, scope),
            Self::Script(operation) => match operation.without_script(frame, scope) {
                Some((next, flow)) => self.go_on_as(next, flow),
                None => match operation.reply(frame, scope) {
                    Some(flow) => flow,
                    None => {
                        let (serving, flow) = Serving::in_place_of(operation.words(), None, scope);
                        *self = Self::Serve(serving);
                        flow
                    }
                },
            },
            Self::Queue(operation) => operation.reply(frame, scope),
            Self::Exec(operation) => operation.reply(frame, scope),
            Self::Replay(operation) => operation.reply(frame, scope),
            Self::Knock(operation) => {
                let (next, flow) = operation.reply(frame, scope);
                self.go_on_as(next, flow)
            }
            Self::Verify(operation) => operation.reply(frame, scope),
            Self::Carry(operation) => operation.reply(frame, scope),
            Self::Ask(operation) => operation.reply(frame, scope),
            Self::Serve(_) | Self::Release(_) | Self::Read(_) | Self::Hold(_) => Flow::Close,
        }
    }

    /// The new link that was wanted stands.
    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match self {
            Self::Acquire(operation) => operation.reopened(scope),
            Self::Exchange(operation) => operation.reopened(scope),
            Self::Inspect(operation) => operation.reopened(scope),
            Self::Script(operation) => operation.reopened(scope),
            Self::Exec(operation) => operation.reopened(scope),
            Self::Ask(operation) => operation.reopened(scope),
            Self::Queue(_)
            | Self::Serve(_)
            | Self::Release(_)
            | Self::Read(_)
            | Self::Replay(_)
            | Self::Verify(_)
            | Self::Hold(_)
            | Self::Knock(_) => Flow::Close,
            Self::Carry(operation) => operation.reopened(scope),
        }
    }

    /// The link broke, or could not be opened (`connected` is false: nothing was sent).
    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if scope.serves_alone()
            && let Some(words) = self.unanswered()
            && scope.names_only_locks(&words)
            && scope.is_let_in(Words::new(&words).args())
        {
            let was_sent = connected && !matches!(self, Self::Read(_));
            let (serving, flow) = Serving::in_place_of(words, was_sent.then_some(reason), scope);
            *self = Self::Serve(serving);
            return flow;
        }
        match self {
            Self::Acquire(operation) => operation.link_failed(reason, connected, scope),
            Self::Exchange(operation) => operation.link_failed(reason, connected, scope),
            Self::Inspect(operation) => operation.link_failed(reason, connected, scope),
            Self::Script(operation) => operation.link_failed(reason, connected, scope),
            Self::Exec(operation) => operation.link_failed(reason, connected, scope),
            Self::Replay(operation) => operation.link_failed(reason, connected, scope),
            Self::Knock(operation) => operation.link_failed(reason, scope),
            Self::Verify(operation) => operation.link_failed(scope),
            Self::Carry(operation) => operation.link_failed(scope),
            Self::Ask(operation) => operation.link_failed(reason, connected, scope),
            Self::Release(operation) => operation.waiting(),
            Self::Hold(operation) => operation.waiting(scope),
            Self::Read(_) => {
                let text = scope.shared().unavailable(reason);
                scope.answer_error(&text)
            }
            // Redis has no part in it.
            Self::Serve(operation) => operation.waiting(),
            Self::Queue(operation) => operation.link_failed(scope),
        }
    }

    /// The client's command, while the ledger alone may still carry it out.
    fn unanswered(&self) -> Option<Vec<Vec<u8>>> {
        match self {
            Self::Exchange(operation) => operation.unanswered(),
            Self::Inspect(operation) => operation.unanswered(),
            Self::Read(operation) => Some(operation.words()),
            Self::Script(operation) => operation.unanswered(),
            _ => None,
        }
    }

    /// No reply came in time; the session has forgotten the link.
    pub(super) fn timed_out(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let report = match self {
            Self::Exchange(_) | Self::Inspect(_) | Self::Verify(_) | Self::Ask(_) => {
                Report::ReadTimeout
            }
            _ => Report::WriteTimeout,
        };
        scope.shared().reports.note(report);
        match self {
            Self::Acquire(operation) => operation.timed_out(scope),
            _ => self.link_failed("no reply in time", true, scope),
        }
    }

    /// The ledger's answer to what the operation asked of it.
    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        match self {
            Self::Acquire(operation) => operation.answered(answer, scope),
            Self::Exchange(operation) => operation.answered(answer, scope),
            Self::Inspect(operation) => operation.answered(answer, scope),
            Self::Read(operation) => {
                let (next, flow) = operation.answered(answer, scope)?;
                Some(self.go_on_as(next, flow))
            }
            Self::Script(operation) => operation.answered(answer, scope),
            Self::Exec(operation) => operation.answered(answer, scope),
            Self::Serve(operation) => operation.answered(answer, scope),
            Self::Release(operation) => operation.answered(answer, scope),
            Self::Queue(_)
            | Self::Replay(_)
            | Self::Verify(_)
            | Self::Knock(_)
            | Self::Hold(_)
            | Self::Carry(_)
            | Self::Ask(_) => None,
        }
    }

    /// The ledger's answer to a question about a lock.
    pub(super) fn told(&mut self, told: &Told, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        match self {
            Self::Ask(operation) => operation.told(told, scope),
            _ => None,
        }
    }

    /// The ledger has not answered in time.
    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match self {
            Self::Acquire(operation) => operation.ledger_late(scope),
            Self::Exchange(operation) => operation.ledger_late(scope),
            Self::Inspect(operation) => operation.ledger_late(scope),
            Self::Read(operation) => {
                let (next, flow) = operation.ledger_late(scope);
                self.go_on_as(next, flow)
            }
            Self::Script(operation) => operation.ledger_late(scope),
            Self::Exec(operation) => operation.ledger_late(scope),
            Self::Serve(operation) => operation.ledger_late(scope),
            Self::Release(operation) => operation.ledger_late(scope),
            Self::Ask(operation) => operation.ledger_late(scope),
            Self::Verify(_) => Flow::Done,
            Self::Hold(operation) => {
                let (next, flow) = operation.look(scope);
                self.go_on_as(next, flow)
            }
            Self::Carry(operation) => {
                let (serving, flow) = operation.decide(scope);
                if let Some(serving) = serving {
                    *self = Self::Serve(serving);
                }
                flow
            }
            Self::Queue(_) | Self::Replay(_) | Self::Knock(_) => Flow::Close,
        }
    }

    /// The mode has changed: what waits here for companions waits at a Redis that is back.
    pub(super) fn view_changed(&mut self, scope: &Scope<'_, '_>) -> Option<Flow> {
        let Self::Serve(serving) = self else { return None };
        if scope.shared().board.view().mode != Mode::Healthy {
            return None;
        }
        let (words, until) = serving.take_blocked(scope)?;
        let (carrying, flow) = Carrying::back(words, until);
        *self = Self::Carry(carrying);
        Some(flow)
    }

    /// A companion that it blocks on has changed.
    pub(super) fn rung(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        match self {
            Self::Serve(operation) => operation.rung(scope),
            _ => None,
        }
    }

    /// The answer to an acquire that waited for another.
    pub(super) fn verdict(&mut self, verdict: Verdict, scope: &mut Scope<'_, '_>) -> Flow {
        match self {
            Self::Acquire(operation) => operation.verdict(verdict, scope),
            _ => UNTIMED,
        }
    }

    /// True for an acquire that waits for another session's.
    pub(super) fn waits_for_another(&self) -> bool {
        matches!(self, Self::Acquire(operation) if operation.waits())
    }

    /// The client has gone. `Done` when there is nothing left to finish without it.
    pub(super) fn client_gone(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match self {
            Self::Acquire(operation) => operation.client_gone(scope),
            Self::Serve(operation) => operation.client_gone(scope).unwrap_or(UNTIMED),
            Self::Carry(_) => Flow::Done,
            _ => UNTIMED,
        }
    }
}
