//! Commands whose first look at the lock table is not the last word, because it hears of other
//! sidecars' entries with the next read of the ledger alone: an acquire that may be the repetition of
//! a grant, and a command that may end a hold and finds none.

use crate::command::LockUse;
use crate::degraded::{Change, CompanionEffects, Taken};
use crate::ledger::{Guarantee, Ticket};
use crate::lock::record::{Confidence, LockKey, Record};
use crate::lock::value;
use crate::resp::Args;

use super::super::{Flow, Grant, Scope, acquire};
use super::{Serving, Work, nothing_done};

/// An unconfirmed grant whose client has come again.
pub(super) struct Resumed {
    lock: LockKey,
    record: Record,
    /// What it is told.
    reply: Vec<u8>,
}

impl Serving {
    /// The database that a transaction has left its connection in.
    pub(super) fn selected(&self, scope: &Scope<'_, '_>) -> Option<u32> {
        let Work::Transaction(commands) = &self.work else { return None };
        let selects = commands
            .iter()
            .filter(|words| words.len() == 2)
            .filter(|words| words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"select")));
        let mut numbers =
            selects.filter_map(|words| std::str::from_utf8(&words[1]).ok()?.parse().ok());
        numbers.rfind(|db| *db < scope.shared().databases())
    }

    /// In strict, claims an unconfirmed grant's value once more: the table may not have heard yet
    /// that another sidecar has released it, and that it is another's lock now.
    pub(super) fn resume(&mut self, resumed: Resumed, scope: &mut Scope<'_, '_>) -> Flow {
        let Resumed { lock, record, reply } = resumed;
        let stored = record.stored;
        if scope.shared().guarantee == Guarantee::Strict && record.claim.is_some() {
            self.resumes = record.claim;
            let Record { asked_ttl_ms, expires_at_ms, .. } = record;
            let new = Taken { stored, other: None, asked_ttl_ms, expires_at_ms };
            let again = Change::Take { key: lock, new };
            return self.make_true(reply, vec![again], CompanionEffects::default(), scope);
        }
        scope.shared().table.set_confidence(&lock, &stored, Confidence::Held);
        let flow = scope.answer(&reply);
        let reply_end = scope.cx.wires.client_accepted();
        let claim = record.claim;
        scope.grants.push(Grant { key: lock, stored, reply_end, claim, is_resumed: true });
        flow
    }

    /// The ledger has not made it true in time.
    pub(super) fn leave(&mut self, text: &str, scope: &mut Scope<'_, '_>) -> Flow {
        let Some(mut under_way) = self.under_way.take() else { return Flow::Close };
        under_way.touched.iter().for_each(|key| scope.shared().repairs.touch(key));
        under_way.steps.leave(scope);
        scope.answer_error(text)
    }

    /// Has the ledger read before a command that may end a hold is told that there is nothing for it
    /// to do, or one that looks for a holder that there is none: what another sidecar has granted a
    /// moment ago may be this client's. None where that is of no use.
    ///
    /// In `fast` another may have granted it by Redis and not written that yet: that is waited for
    /// first (SPEC 8). And whoever is shown as the holder may have been followed by another.
    pub(super) fn reads(&mut self, reply: &[u8], scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let finds_nobody = reply == b"$-1\r\n" || reply == b"_\r\n";
        let shared = scope.cx.shared;
        let is_fast = shared.guarantee == Guarantee::Fast;
        let may_end = match &self.work {
            Work::Command(words) if (finds_nobody || is_fast) && is_get(words) => {
                shared.door.has_company()
            }
            Work::Command(words) => may_end_a_hold(words),
            Work::Transaction(commands) => commands.iter().any(|words| may_end_a_hold(words)),
        };
        if self.is_fresh || !may_end {
            return None;
        }
        self.is_fresh = true;
        let lag = shared.door.mirror_lag();
        if lag.is_zero() {
            return self.read(scope);
        }
        if lag > shared.release_wait {
            return Some(scope.answer_error(&nothing_done(UNWRITTEN)));
        }
        self.reading = Some((None, scope.cx.now + lag));
        Some(self.waiting())
    }

    /// None: the ledger does not answer, and nobody else's word is missing.
    fn read(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        match scope.book(Vec::new()) {
            Ok(ticket) => {
                self.reading = Some((Some(ticket), scope.release_until()));
                Some(self.waiting())
            }
            Err(trouble) => {
                let shared = scope.cx.shared;
                let is_only_look = matches!(&self.work, Work::Command(words) if is_get(words));
                let may_be_behind =
                    shared.guarantee == Guarantee::Fast && shared.door.has_company();
                (may_be_behind && !is_only_look)
                    .then(|| scope.answer_error(&nothing_done(&trouble.to_string())))
            }
        }
    }

    /// Others have had the time to write; or the ledger could not be read in time.
    pub(super) fn read_late(
        &mut self,
        ticket: Option<Ticket>,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        let Some(ticket) = ticket else {
            return self.read(scope).unwrap_or_else(|| self.evaluate(scope));
        };
        scope.shared().door.forget(ticket);
        scope.answer_error(&nothing_done("the ledger has not answered in time"))
    }
}

const UNWRITTEN: &str = "another sidecar may not have written yet what it has granted; ask again";

fn is_get(words: &[Vec<u8>]) -> bool {
    words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"get"))
}

/// True for a command that may release or extend a lock. A "no" to an acquire may be old.
fn may_end_a_hold(words: &[Vec<u8>]) -> bool {
    const NAMES: [&str; 16] = [
        "del",
        "unlink",
        "getdel",
        "getex",
        "delex",
        "delifeq",
        "eval",
        "evalsha",
        "expire",
        "pexpire",
        "expireat",
        "pexpireat",
        "persist",
        "setex",
        "psetex",
        "getset",
    ];
    let is =
        |name: &&str| words.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    NAMES.iter().any(is)
}

/// The same-token retry of an unconfirmed grant (SPEC 3), if that is what this is.
pub(super) fn resumed(args: Args<'_>, scope: &mut Scope<'_, '_>) -> Option<Resumed> {
    let spec = crate::command::lookup(args.get(0)?)?;
    if !matches!(spec.class, crate::command::Class::Lock(LockUse::Set | LockUse::Setnx)) {
        return None;
    }
    let lock = scope.lock_key(args.get(1)?);
    let record = scope.shared().table.find(&lock)?;
    if record.confidence != Confidence::Unconfirmed {
        return None;
    }
    let ask = acquire::acquire_of(args, scope)?;
    let presented = args.get(2)?;
    let stamp = scope.shared().stamp_of(lock.key());
    if !value::is_unique(presented) || !value::matches(&record.stored, presented, stamp) {
        return None;
    }
    let mut reply = Vec::new();
    ask.granted_reply(scope.state.protocol, &mut reply);
    Some(Resumed { lock, record, reply })
}
