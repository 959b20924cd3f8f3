//! Commands for which the lock table is not the last word, because it hears of other sidecars' entries
//! with the next read of the ledger alone: an acquire that may be the repetition of a grant, a command
//! that looks at locks, one that may end a hold and finds none, and one that found another first.

use std::time::Duration;

use crate::command::LockUse;
use crate::degraded::{Change, CompanionEffects, Taken, Words};
use crate::ledger::{Guarantee, Ticket};
use crate::lock::record::{Confidence, LockKey, Record};
use crate::lock::rule::Outage;
use crate::lock::value;
use crate::resp::Args;
use crate::session::state::Seen;

use super::super::acquire::Ask;
use super::super::knock::keys_of;
use super::super::script::says_no;
use super::super::{Flow, Grant, Scope, acquire, durable, fresh, hold};
use super::steps::Steps;
use super::{Serving, Work};

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

    /// An error; of what Redis may have carried out, that nobody knows.
    pub(super) fn answer_unknown(&mut self, text: &str, scope: &mut Scope<'_, '_>) -> Flow {
        match self.lost.take() {
            Some(reason) => scope.answer_unknown(&reason),
            None => scope.answer_error(text),
        }
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

    /// Another was first: it has happened to nobody, also of what has come true, and is made again.
    pub(super) fn begin_again(&mut self, steps: &Steps, scope: &mut Scope<'_, '_>) -> Flow {
        self.resumes = None;
        match steps.give_back(scope) {
            Ok(None) => self.evaluate(scope),
            Ok(Some(ticket)) => {
                let until = scope.withdrawal_until();
                self.before = Some(Before { ticket: Some(ticket), until, why: Why::Withdraws });
                self.waiting()
            }
            Err(_) => {
                steps.give_up(scope);
                scope.answer_error(durable::WITHDRAWING)
            }
        }
    }

    /// The ledger has not made it true in time.
    pub(super) fn leave(&mut self, text: &str, scope: &mut Scope<'_, '_>) -> Flow {
        let Some(mut under_way) = self.under_way.take() else { return Flow::Close };
        under_way.touched.iter().for_each(|key| scope.shared().repairs.touch(key));
        under_way.steps.leave(scope);
        scope.answer_error(text)
    }

    /// Has the ledger read before a command is evaluated by a table that may be behind: what another
    /// sidecar has granted or released a moment ago may be this client's. Not for an acquire, whose
    /// claim decides, and whose "no" may be old. False where that is of no use.
    pub(super) fn reads_first(&mut self, scope: &Scope<'_, '_>) -> bool {
        if self.releases_blindly() && self.waits_for_mirrors(scope) {
            return true;
        }
        let shared = scope.shared();
        if self.is_fresh || !shared.door.has_company() {
            return false;
        }
        let looks = |words: &Vec<Vec<u8>>| {
            let words = Words::new(words);
            let spec = words.args().get(0).and_then(crate::command::lookup);
            let is_lock = |key: &[u8]| shared.rules.find(key).is_some();
            spec.is_some_and(|spec| spec.keys(words.args()).any(is_lock))
        };
        let is_due = match &self.work {
            Work::Command(words) => looks(words) && !is_acquire(words),
            Work::Transaction(commands) => commands.iter().any(looks),
        };
        is_due && self.read(scope)
    }

    /// Redis may know more of these locks, as was found while this was under way: nothing is answered by
    /// the ledger alone.
    pub(super) fn hold_back(&mut self, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        if scope.shared().guarantee == Guarantee::Strict {
            return None;
        }
        if !scope.is_held_back(self.keys().iter().map(Vec::as_slice)) {
            return None;
        }
        Some(match self.lost.take() {
            Some(reason) => scope.answer_unknown(&reason),
            None => scope.answer_error(hold::NOT_LOOKED),
        })
    }

    /// The same, also by a sidecar that knows of no other, before a command that may end a hold is told
    /// that there is nothing for it to do.
    fn reads_at_last(&mut self, scope: &Scope<'_, '_>) -> bool {
        if self.waits_for_mirrors(scope) {
            return true;
        }
        !self.is_fresh && self.may_end_a_hold() && self.read(scope)
    }

    /// `fast`: another sidecar may have granted by Redis what is looked for, and not written that yet.
    /// It is waited for, and then read (SPEC 8).
    fn waits_for_mirrors(&mut self, scope: &Scope<'_, '_>) -> bool {
        let is_look = matches!(&self.work, Work::Command(words) if is_get(words));
        if self.has_waited || !(is_look || self.may_end_a_hold()) {
            return false;
        }
        self.has_waited = true;
        let shared = scope.shared();
        let lag = shared.door.mirror_lag();
        let why = if lag > shared.release_wait { Why::MirrorsTooLate } else { Why::Mirrors };
        let until = scope.cx.now + lag.min(shared.release_wait);
        self.before = (!lag.is_zero()).then_some(Before { ticket: None, until, why });
        self.before.is_some()
    }

    fn read(&mut self, scope: &Scope<'_, '_>) -> bool {
        self.is_fresh = true;
        let (why, until) = match self.may_end_a_hold() {
            true => (Why::MayEnd, scope.release_until()),
            false => (Why::Looks, scope.look_until()),
        };
        let ticket = scope.book(Vec::new()).ok();
        self.is_unread = ticket.is_none();
        self.before = ticket.map(|ticket| Before { ticket: Some(ticket), until, why });
        self.before.is_some()
    }

    /// True for the "no" to a command that may end or extend a hold, by a table that may be behind and a
    /// ledger that can't be read: another sidecar may have granted the lock. Not where the table alone
    /// decides.
    fn is_unread_no(&self, reply: &[u8], scope: &Scope<'_, '_>) -> bool {
        let shared = scope.shared();
        let Work::Command(words) = &self.work else { return false };
        let words = Words::new(words);
        let is_local =
            |key: &[u8]| shared.rules.find(key).is_some_and(|rule| rule.outage == Outage::Local);
        let spec = words.args().get(0).and_then(crate::command::lookup);
        self.is_unread
            && shared.door.has_company()
            && self.may_end_a_hold()
            && says_no(reply)
            && !spec.is_some_and(|spec| spec.keys(words.args()).any(is_local))
    }

    /// Answers what changes nothing, once the ledger was read as far as that is to be and can be.
    pub(super) fn show(
        &mut self,
        reply: Vec<u8>,
        companions: CompanionEffects,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if let Some(why) = self.knows_nothing(scope) {
            return scope.answer_error(why);
        }
        if self.reads_at_last(scope) {
            return self.waiting();
        }
        if self.is_unread_no(&reply, scope) {
            return scope.answer_error(fresh::NOT_READ);
        }
        self.make_true(reply, Vec::new(), companions, scope)
    }

    /// Why what is shown of locks that the table does not know is not known: the ledger was not read for
    /// the first time, or can't be read, and another sidecar may have granted them. What is known is
    /// shown (SPEC 2). None where the table alone decides.
    fn knows_nothing(&self, scope: &Scope<'_, '_>) -> Option<&'static str> {
        let shared = scope.shared();
        let is_unknown = |key: &Vec<u8>| {
            let rule = shared.rules.find(key);
            rule.is_some_and(|rule| rule.outage != Outage::Local)
                && shared.table.find(&LockKey::new(scope.state.db, key)).is_none()
        };
        let why = match shared.door.was_read() {
            false => fresh::NEVER_READ,
            true if self.is_unread && shared.door.has_company() => fresh::NOT_READ,
            true => return None,
        };
        self.keys().iter().any(is_unknown).then_some(why)
    }

    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        match &self.work {
            Work::Command(words) => keys_of(words),
            Work::Transaction(commands) => {
                commands.iter().flat_map(|words| keys_of(words)).collect()
            }
        }
    }

    /// Redis watches for the client, and the client is shown by the table who holds a lock: its EXEC
    /// depends on that.
    pub(super) fn note_seen(&self, scope: &mut Scope<'_, '_>) {
        let Work::Command(words) = &self.work else { return };
        if !scope.state.is_watching() || !is_get(words) {
            return;
        }
        scope.state.counter = None;
        let locks: Vec<LockKey> = words.iter().skip(1).map(|key| scope.lock_key(key)).collect();
        for lock in locks {
            if let Some(record) = scope.shared().table.find(&lock) {
                let Record { stored, claim, .. } = record;
                scope.state.saw(Seen { lock, stored, claim, fence: None });
            }
        }
    }

    /// True for a release that names no token: it would end an older hold of the lock as well, and say
    /// so to the client of the one that the ledger does not know yet.
    fn releases_blindly(&self) -> bool {
        let releases = |words: &Vec<Vec<u8>>| {
            let name = words.first().map_or(&[][..], Vec::as_slice);
            ["del", "unlink", "getdel"]
                .iter()
                .any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
        };
        match &self.work {
            Work::Command(words) => releases(words),
            // One that watches has compared.
            Work::Transaction(commands) => self.watched.is_none() && commands.iter().any(releases),
        }
    }

    fn may_end_a_hold(&self) -> bool {
        match &self.work {
            Work::Command(words) => may_end_a_hold(words),
            Work::Transaction(commands) => commands.iter().any(|words| may_end_a_hold(words)),
        }
    }

    /// The ledger has not answered in time.
    pub(super) fn go_without(&mut self, before: &Before, scope: &mut Scope<'_, '_>) -> Flow {
        if let Some(ticket) = before.ticket {
            scope.shared().door.forget(ticket);
        }
        match before.why {
            Why::Mirrors if self.read(scope) => self.waiting(),
            Why::Mirrors | Why::MirrorsTooLate => scope.answer_error(UNWRITTEN),
            Why::Looks => {
                self.is_unread = true;
                self.evaluate(scope)
            }
            Why::MayEnd => scope.answer_error(fresh::NOT_READ),
            Why::Withdraws => scope.answer_error(durable::WITHDRAWING),
        }
    }
}

/// What the ledger does before an evaluation.
pub(super) struct Before {
    /// None: there is only time to pass.
    pub(super) ticket: Option<Ticket>,
    pub(super) until: Duration,
    why: Why,
}

enum Why {
    /// Others write what Redis has granted through them.
    Mirrors,
    /// The same, for longer than a release is to wait.
    MirrorsTooLate,
    /// It is read for a look. Where it does not answer, what is known is shown (SPEC 2).
    Looks,
    /// It is read for what may end a hold, and is not told that there is none without that.
    MayEnd,
    /// Claims that have won are being withdrawn, because others of the same evaluation have lost.
    Withdraws,
}

fn is_get(words: &[Vec<u8>]) -> bool {
    let is =
        |name: &&str| words.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    ["get", "mget"].iter().any(is)
}

/// True for a command that takes locks or does nothing, and shows no holder.
fn is_acquire(words: &[Vec<u8>]) -> bool {
    let is = |word: &Vec<u8>, name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let has = |option| words.iter().skip(3).any(|word| is(word, option));
    words.first().is_some_and(|name| match name {
        name if is(name, "set") => has("nx") && !has("get"),
        name => is(name, "setnx") || is(name, "msetnx"),
    })
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
    let is_contested = || !scope.shared().door.contested(&lock).is_empty();
    if record.confidence != Confidence::Unconfirmed || is_contested() {
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
    let record = renewed(record, &ask, scope)?;
    Some(Resumed { lock, record, reply })
}

/// What the retry's client counts on: in a `ttl` rule its lock lasts from now on, even if the hold that it
/// was not told of has run out. That needs an entry of the ledger; without one the retry is an acquire
/// like any other.
fn renewed(mut record: Record, ask: &Ask, scope: &Scope<'_, '_>) -> Option<Record> {
    let shared = scope.shared();
    if record.expires_at_ms.is_none() {
        return Some(record);
    }
    if shared.guarantee != Guarantee::Strict || record.claim.is_none() {
        return None;
    }
    let fresh = ask.record(scope.client(), shared);
    record.expires_at_ms = record.expires_at_ms.max(fresh.expires_at_ms);
    record.asked_ttl_ms = fresh.asked_ttl_ms;
    Some(record)
}

/// The error of a look or a release whose lock another may have granted, where that can't be known.
const UNWRITTEN: &str = "TRYAGAIN lockside: nothing was done: another sidecar may not have written \
    yet what Redis has granted through it; ask again";
