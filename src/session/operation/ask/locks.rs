//! `LOCKSIDE LOCKS`: the locks that the client may read or use, as Redis sees it.
//!
//! While Redis answers, it is asked on the client's own link, each time anew, so that a right that
//! was taken away counts at once. First about each rule with locks to show, by keys that look as its
//! globs do (`lock:*`): who may read or write those has rights on the whole of it. Where Redis says
//! no, it is asked about the locks themselves, for rights can be finer than rules. Nothing of what it
//! is asked changes anything: a GET, and a SET that it refuses for its words (`NX XX`) once it has
//! looked at the user's rights.
//!
//! While Redis can't be asked the gate answers, rule by rule (SPEC 6).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use crate::degraded::auth::Access;
use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Glob;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::operation::Scope;

use super::{is_stranger, shown};

/// Locks that Redis is asked about one by one, for one question: past that they are not shown to who
/// has no right on their whole rule.
const MOST_KEYS: usize = 1000;

/// A list under way.
pub(super) struct Listing {
    glob: Option<Glob>,
    /// What Redis is asked, in the order of its replies. Of each key there are two.
    asked: VecDeque<About>,
    /// The reply to the first of a pair was a yes.
    first_is_yes: bool,
    /// Rules with a glob on which the client has no right.
    closed: BTreeSet<Arc<str>>,
    /// Rules that were asked about.
    rules: BTreeSet<Arc<str>>,
    /// Locks of closed rules that it may see all the same.
    open: HashSet<LockKey>,
    stage: Stage,
}

/// How far the questions are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Does Redis let the client in.
    Client,
    Rules,
    Locks,
}

/// What a reply is about.
enum About {
    /// One glob of a rule.
    Rule(Arc<str>, Half),
    Lock(LockKey, Half),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Read,
    Write,
}

/// What a reply comes to.
pub(super) enum Heard {
    /// Others are still to come.
    More,
    /// The client is told nothing but this.
    Refused(Vec<u8>),
    /// All have come.
    All,
}

impl Listing {
    pub(super) fn new(glob: Option<&[u8]>) -> Self {
        Self {
            glob: glob.map(Glob::new),
            asked: VecDeque::new(),
            first_is_yes: false,
            closed: BTreeSet::new(),
            rules: BTreeSet::new(),
            open: HashSet::new(),
            stage: Stage::Client,
        }
    }

    /// Begins, at first or on a new link.
    pub(super) fn ask(&mut self, scope: &mut Scope<'_, '_>) {
        *self = Self { glob: self.glob.take(), ..Self::new(None) };
        scope.send(&[b"PING"]);
    }

    /// Asks about the rules with locks to show.
    fn ask_of_rules(&mut self, scope: &mut Scope<'_, '_>) {
        self.stage = Stage::Rules;
        self.rules = self.locks(scope).into_iter().map(|(_, record)| record.rule).collect();
        let shared = scope.cx.shared;
        for name in self.rules.clone() {
            match shared.rules.iter().find(|(_, rule)| *rule.name == *name) {
                Some((_, rule)) => {
                    for glob in &rule.keys {
                        self.put(|half| About::Rule(name.clone(), half), glob.source(), scope);
                    }
                }
                // Of an earlier configuration.
                None => drop(self.closed.insert(name)),
            }
        }
    }

    fn put(&mut self, about: impl Fn(Half) -> About, key: &[u8], scope: &mut Scope<'_, '_>) {
        scope.send(&[b"GET", key]);
        scope.send(&[b"SET", key, b"0", b"NX", b"XX"]);
        self.asked.extend([about(Half::Read), about(Half::Write)]);
    }

    /// One reply of Redis.
    pub(super) fn heard(
        &mut self,
        reply: &Reply<'_>,
        frame: &[u8],
        scope: &mut Scope<'_, '_>,
    ) -> Heard {
        if self.stage == Stage::Client {
            if is_stranger(reply) {
                return Heard::Refused(frame.to_vec());
            }
            self.ask_of_rules(scope);
        } else {
            // Any other error comes after Redis has looked at the rights.
            self.note(!is_stranger(reply));
        }
        if self.asked.is_empty() && self.stage == Stage::Rules {
            self.ask_of_locks(scope);
        }
        if self.asked.is_empty() { Heard::All } else { Heard::More }
    }

    /// The next of the replies is a yes or a no.
    fn note(&mut self, is_yes: bool) {
        match self.asked.pop_front() {
            Some(About::Rule(_, Half::Read) | About::Lock(_, Half::Read)) => {
                self.first_is_yes = is_yes;
            }
            Some(About::Rule(name, Half::Write)) if !is_yes && !self.first_is_yes => {
                self.closed.insert(name);
            }
            Some(About::Lock(lock, Half::Write)) if is_yes || self.first_is_yes => {
                self.open.insert(lock);
            }
            Some(About::Rule(..) | About::Lock(..)) | None => {}
        }
    }

    /// Asks about locks of closed rules.
    fn ask_of_locks(&mut self, scope: &mut Scope<'_, '_>) {
        self.stage = Stage::Locks;
        if self.closed.is_empty() {
            return;
        }
        let locks = self.locks(scope).into_iter();
        let closed = locks.filter(|(_, record)| self.closed.contains(&record.rule));
        let keys: Vec<LockKey> = closed.take(MOST_KEYS).map(|(lock, _)| lock).collect();
        for lock in &keys {
            self.put(|half| About::Lock(lock.clone(), half), lock.key(), scope);
        }
    }

    /// Writes the list. `asked`: Redis has said what the client may see; else the gate does.
    pub(super) fn show(&self, asked: bool, scope: &Scope<'_, '_>, out: &mut Vec<u8>) {
        let (who, shared) = (scope.witness.who(scope.state), scope.shared());
        let is_shown = |(lock, record): &(LockKey, Record)| match asked {
            // A rule whose first lock was taken since was not asked about.
            true => {
                let is_open = |rule| self.rules.contains(rule) && !self.closed.contains(rule);
                is_open(&record.rule) || self.open.contains(lock)
            }
            false => shared.gate.access(who, &record.rule) == Access::Granted,
        };
        let mut locks = self.locks(scope);
        locks.retain(is_shown);
        encode::array(out, locks.len());
        for (lock, record) in &locks {
            shown::describe(lock, record, shared, scope.state.protocol, out);
        }
    }

    /// The held locks whose key matches.
    fn locks(&self, scope: &Scope<'_, '_>) -> Vec<(LockKey, Record)> {
        let matches = |key: &[u8]| self.glob.as_ref().is_none_or(|glob| glob.matches(key));
        scope.shared().table.list(scope.shared().clock.unix_ms(), matches)
    }
}
