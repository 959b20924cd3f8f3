//! Scripts and computed commands of a transaction that have said no of a lock which the ledger has a
//! holder of. Redis alone may have lost it: the ledger is the truth (SPEC 2). What EXEC has done can't be
//! undone, and is not done again; but nobody is told that such a lock is not there, or not his.

use std::collections::VecDeque;

use crate::lock::record::{LockKey, Position};
use crate::lock::rule::Mode;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::operation::exchange::{self, Purpose};
use crate::session::operation::inside::{self, Look};
use crate::session::operation::script::{Effect, Enveloped, Held, says_no};
use crate::session::operation::{Flow, Scope, TIMED, view};

use super::element::Touched;
use super::{Executing, Queued, Step, What};

/// What Redis is asked once EXEC has run.
#[derive(Default)]
pub(super) struct Doubts {
    all: Vec<Doubt>,
    /// Replies that are awaited: for each question its lock, none for a SELECT.
    awaited: VecDeque<Option<Held>>,
}

/// An element that may be wrong.
struct Doubt {
    place: usize,
    held: Held,
    /// The claim that the lock is held by.
    claim: Option<Position>,
    says_no: bool,
    /// A read of what stands under the lock.
    read: Option<Read>,
}

/// What such a read is told in place of Redis's word.
struct Read {
    /// What the ledger had when EXEC had run. None: that can't be told.
    told: Option<Vec<u8>>,
}

impl Doubts {
    /// Notes the locks that a call has left as they were, and that others hold by the ledger, or its
    /// own client. An extension of a lock that is there leaves it so as well: Redis will tell.
    pub(super) fn note(
        &mut self,
        place: usize,
        db: u32,
        call: &Enveloped,
        effect: &Effect,
        touched: &Touched,
        scope: &Scope<'_, '_>,
    ) {
        if !scope.believes_ledger() || !is_doubtful(call, effect) {
            return;
        }
        let says_no = says_no(&effect.reply);
        let is_open = |lock: &LockKey| !touched.has(lock) && !effect.has_changed(lock);
        for lock in call.locks(db).into_iter().filter(is_open) {
            let record = scope.shared().table.find(&lock);
            if let Some(record) = record.filter(|record| view::is_held(&lock, record, scope)) {
                let claim = record.claim;
                let held = Held::of(lock, record);
                self.all.push(Doubt { place, held, claim, says_no, read: None });
            }
        }
    }

    /// Notes a read of which the ledger says something else. Redis will tell whether
    /// the lock is there; what the transaction has done to it behind the read makes no difference then.
    pub(super) fn note_look(
        &mut self,
        place: usize,
        db: u32,
        look: &Look,
        element: &[u8],
        touched: &Touched,
        scope: &Scope<'_, '_>,
    ) {
        let doubted = look.doubted(db, element, scope).filter(|_| scope.believes_ledger());
        if let Some((lock, record, told)) = doubted.filter(|(lock, ..)| !touched.has(lock)) {
            let says_no = inside::is_kept(&record) && inside::finds_nothing(element);
            let claim = record.claim;
            let (held, read) = (Held::of(lock, record), Read { told });
            self.all.push(Doubt { place, held, claim, says_no, read: Some(read) });
        }
    }

    /// Sends the questions, one for each lock. False if there are none.
    fn ask(&mut self, scope: &mut Scope<'_, '_>) -> bool {
        let mut locks: Vec<&Held> = self.all.iter().map(|doubt| &doubt.held).collect();
        locks.sort_by(|one, other| one.lock().cmp(other.lock()));
        locks.dedup_by(|one, other| one.lock() == other.lock());
        let (here, mut selected) = (scope.state.db, scope.state.db);
        for held in locks {
            select(held.lock().db(), &mut selected, &mut self.awaited, scope);
            scope.send(&held.question());
            self.awaited.push_back(Some(held.clone()));
        }
        select(here, &mut selected, &mut self.awaited, scope);
        !self.awaited.is_empty()
    }
}

fn select(
    db: u32,
    selected: &mut u32,
    awaited: &mut VecDeque<Option<Held>>,
    scope: &mut Scope<'_, '_>,
) {
    if db != std::mem::replace(selected, db) {
        scope.send(&[b"SELECT", db.to_string().as_bytes()]);
        awaited.push_back(None);
    }
}

/// True for a call that has taken nothing, and that may have met nothing where a lock is held.
fn is_doubtful(call: &Enveloped, effect: &Effect) -> bool {
    effect.taken.is_empty()
        && !call.is_acquire()
        && (says_no(&effect.reply) || !effect.releases.is_empty() || !call.is_command())
}

impl Executing {
    /// True if the reply says of a lock what the ledger may not say, where others write to it.
    pub(super) fn may_be_wrong(&self, reply: &Reply<'_>, scope: &mut Scope<'_, '_>) -> bool {
        if !scope.believes_ledger() || !scope.shared().door.has_company() {
            return false;
        }
        let elements: Vec<&[u8]> = reply.elements().collect();
        self.queued.iter().any(|queued| {
            elements.get(queued.place).is_some_and(|element| is_open(queued, element, scope))
        })
    }

    /// Asks Redis about what is in doubt; or answers.
    pub(super) fn doubt(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if self.link_lost {
            // Nobody can tell.
            let doubts = std::mem::take(&mut *self.doubts);
            let is_open = |doubt: &&Doubt| doubt.says_no || doubt.read.is_some();
            for doubt in doubts.all.iter().filter(is_open).filter(|doubt| doubt.stands(scope)) {
                self.refute(doubt, scope);
            }
            return self.tell(scope);
        }
        self.step = Step::Doubting;
        if self.doubts.ask(scope) { TIMED } else { self.tell(scope) }
    }

    /// Redis's answer to a question.
    pub(super) fn doubted(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if let Some(Some(asked)) = self.doubts.awaited.pop_front() {
            let reply = Reply::parse(frame).map(|(reply, _)| reply);
            let is_lost = asked.is_lost(reply.as_ref());
            // A repair may have put the lock back after the "no": so that does not count.
            let is_unsure = scope.has_repaired() && !matches!(reply, Some(Reply::Error(_)));
            let doubts = std::mem::take(&mut self.doubts.all);
            for doubt in doubts.iter().filter(|doubt| doubt.held.lock() == asked.lock()) {
                if (is_lost || is_unsure && doubt.says_no) && doubt.stands(scope) {
                    self.refute(doubt, scope);
                }
            }
            self.doubts.all = doubts;
        }
        if self.doubts.awaited.is_empty() { self.tell(scope) } else { TIMED }
    }

    /// The element tells nothing, or what the ledger has; Redis is brought in line, so that the same can be asked again.
    fn refute(&mut self, doubt: &Doubt, scope: &Scope<'_, '_>) {
        let lock = doubt.held.lock();
        scope.shared().repairs.touch(lock);
        let Some(element) = self.elements.get_mut(doubt.place) else { return };
        element.clear();
        if let Some(Read { told: Some(told) }) = &doubt.read {
            element.extend_from_slice(told);
            return;
        }
        let key = String::from_utf8_lossy(lock.key());
        encode::error(element, format!("{LOST}: {key}").as_bytes());
    }
}

impl Doubt {
    /// True while the lock is held by the same claim, and for a read, which was before any change that came
    /// since.
    fn stands(&self, scope: &Scope<'_, '_>) -> bool {
        if self.read.is_some() {
            return true;
        }
        let lock = self.held.lock();
        let record = scope.shared().table.find(lock);
        record
            .is_some_and(|record| record.claim == self.claim && view::is_held(lock, &record, scope))
    }
}

/// True for an element that the ledger may contradict.
fn is_open(queued: &Queued, element: &[u8], scope: &mut Scope<'_, '_>) -> bool {
    let is_persistent = |key: &[u8], scope: &Scope<'_, '_>| {
        scope.shared().rules.find(key).is_some_and(|rule| rule.mode == Mode::Persistent)
    };
    match &queued.what {
        What::Acquire(_) => false,
        What::Enveloped(call) => {
            call.keys().iter().any(|key| is_persistent(key, scope))
                && call.read(element, scope).is_some_and(|effect| is_doubtful(call, &effect))
        }
        What::Other(purpose) => match &**purpose {
            Purpose::View(keys) => Reply::parse(element)
                .is_some_and(|(reply, _)| view::is_doubtful(&reply, keys, scope.shared())),
            Purpose::Look(lock) => {
                is_persistent(lock.key(), scope) && exchange::is_nothing(element)
            }
            _ => false,
        },
        What::Inside(look) => {
            let lock = LockKey::new(queued.db, look.key());
            inside::is_read_first(&lock, element, scope)
        }
    }
}

const LOST: &str = "TRYAGAIN lockside: the transaction was carried out, but this command may not have met \
    a lock that is held, because Redis had lost it; ask again for this one";
