//! A lock command on its way into an open transaction.

use std::sync::Arc;

use crate::command::script::{ScriptCall, Source};
use crate::command::{KeyspaceUse, LockUse};
use crate::mode::Mode;
use crate::resp::Args;
use crate::scripts::Script;
use crate::session::operation::acquire::{self, Read};
use crate::session::operation::exchange::{self, Purpose};
use crate::session::operation::inside::Look;
use crate::session::operation::script::{self, Enveloped};
use crate::session::operation::{Flow, Operation, Scope, TIMED};

use super::{Queued, What};

/// A lock command on its way into the transaction.
pub(in crate::session) struct Queueing {
    /// What is queued, or the error that the client gets because nothing is.
    what: Result<What, String>,
}

impl Queueing {
    pub(in crate::session::operation) fn begin(
        lock_use: &LockUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        // A lock that is being repaired may be done by the time of EXEC, which looks again.
        if scope.shared().board.view().mode != Mode::Healthy {
            let text = scope.shared().unavailable("a transaction that began before can't go on");
            return Self::refuse(text, scope);
        }
        if scope.queued.len() >= MAX_QUEUED {
            return Self::refuse(TOO_MANY.to_owned(), scope);
        }
        match lock_use {
            LockUse::Set | LockUse::Setnx => match acquire::read(lock_use, args, scope) {
                Read::Acquire(ask)
                    if scope.shared().table.is_full_for(&scope.lock_key(&ask.key)) =>
                {
                    Self::refuse(acquire::TABLE_FULL.to_owned(), scope)
                }
                Read::Acquire(ask) => {
                    scope.cx.wires.to_upstream(&ask.command());
                    Self::queue(What::Acquire(ask))
                }
                Read::Overwrite => Self::computed(args, scope),
                Read::Other => Self::as_it_came(Purpose::Pass, args, scope),
            },
            LockUse::Computed | LockUse::Content => Self::computed(args, scope),
            LockUse::Script { .. } => Self::begin_script(args, scope),
            LockUse::Inside => {
                scope.cx.wires.to_upstream(args.frame());
                Self::queue(What::Inside(Box::new(Look::new(args))))
            }
            lock_use => {
                let purpose = exchange::purpose(lock_use, args, scope);
                Self::as_it_came(purpose, args, scope)
            }
        }
    }

    pub(in crate::session::operation) fn begin_keyspace(
        keyspace_use: KeyspaceUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if keyspace_use == KeyspaceUse::SwapDb && scope.has_claims() {
            return Self::refuse(exchange::SWAPDB_REFUSED.to_owned(), scope);
        }
        let rest = args.iter().skip(1).map(<[u8]>::to_vec).collect();
        Self::as_it_came(Purpose::Keyspace(keyspace_use, rest), args, scope)
    }

    /// A script. An unseen SHA is sent to Redis in a form that it refuses, so that EXEC aborts
    /// with nothing applied.
    fn begin_script(args: Args<'_>, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        let Ok(call) = ScriptCall::parse(args) else {
            return Self::as_it_came(Purpose::Pass, args, scope);
        };
        let script = match call.source {
            Source::Sha(sha) => scope.shared().scripts.find(sha),
            Source::Text(text) => {
                let known = scope.shared().scripts.known(text);
                Some(known.unwrap_or_else(|| Arc::new(Script::new(text))))
            }
        };
        match script {
            Some(script) => {
                let enveloped = Enveloped::script(&call, script, scope);
                Self::enveloped(enveloped, scope)
            }
            None => Self::refuse(script::NOSCRIPT.to_owned(), scope),
        }
    }

    /// A command that Lockside refuses: Redis is sent one that it refuses too, so that EXEC
    /// aborts with nothing applied.
    pub(in crate::session::operation) fn refuse(
        text: String,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        // A wrong number of arguments: Redis marks the transaction as failed.
        scope.send(&[b"EVALSHA"]);
        (Some(Box::new(Operation::Queue(Self { what: Err(text) }))), TIMED)
    }

    /// A command that is no lock's, but has a place in the transaction.
    pub(in crate::session::operation) fn pass(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        Self::as_it_came(Purpose::Pass, args, scope)
    }

    fn computed(args: Args<'_>, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        if script::is_too_much(args, scope) {
            return Self::refuse(script::TOO_MUCH.to_owned(), scope);
        }
        Self::enveloped(Enveloped::command(args, scope), scope)
    }

    /// By its text: inside MULTI there is no second try.
    fn enveloped(
        mut enveloped: Enveloped,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if enveloped.finds_no_room(scope) {
            return Self::refuse(acquire::TABLE_FULL.to_owned(), scope);
        }
        enveloped.send(true, scope);
        enveloped.forget_arguments();
        Self::queue(What::Enveloped(Box::new(enveloped)))
    }

    fn as_it_came(
        purpose: Purpose,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        scope.cx.wires.to_upstream(args.frame());
        Self::queue(What::Other(Box::new(purpose)))
    }

    fn queue(what: What) -> (Option<Box<Operation>>, Flow) {
        (Some(Box::new(Operation::Queue(Self { what: Ok(what) }))), TIMED)
    }

    /// The transaction is lost with its link; EXEC will say so.
    pub(in crate::session::operation) fn link_failed(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        scope.state.lose_link();
        scope.queued.clear();
        scope.answer_error("EXECABORT Transaction discarded: the connection to Redis was lost")
    }

    pub(in crate::session::operation) fn reply(
        &mut self,
        frame: &[u8],
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        let what = match std::mem::replace(&mut self.what, Err(String::new())) {
            Ok(what) => what,
            Err(text) => return scope.answer_error(&text),
        };
        let db = scope.state.next_db();
        if frame == b"+QUEUED\r\n"
            && let Some(transaction) = &mut scope.state.transaction
        {
            scope.queued.push(Queued { place: transaction.queued, db, what });
            transaction.queued += 1;
        } else if let Some(error) = frame.strip_prefix(b"-") {
            scope.witness_not_queued(&what, error);
        }
        scope.answer(frame)
    }
}

/// Lock commands in one transaction; no lock client sends more than a handful.
const MAX_QUEUED: usize = 65_536;
const TOO_MANY: &str = "OOM lockside: too many commands on lock keys in one transaction";
