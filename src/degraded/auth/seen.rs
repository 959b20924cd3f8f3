//! What Redis was seen to accept. Pure; bounded in users, passwords and rules.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::degraded::Denied;

/// Most users that are remembered; past that the oldest is forgotten.
pub(super) const MAX_USERS: usize = 4096;
/// Most passwords of one user that are remembered: Redis lets a user have several, and takes any
/// where none is needed.
pub(super) const MAX_PASSWORDS: usize = 8;
/// A user with a longer name is not remembered, in bytes.
const MAX_NAME: usize = 1024;

/// The keyed hash of a user's password.
#[derive(Clone, Copy)]
pub(super) struct Tag(Option<[u8; 32]>);

impl Tag {
    /// Of nothing: equal to none.
    pub(super) const NONE: Self = Self(None);

    pub(super) fn new(hash: [u8; 32]) -> Self {
        Self(Some(hash))
    }

    /// Takes as long wherever two hashes differ.
    fn is(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (self.0, other.0) else { return false };
        mine.iter().zip(theirs).fold(0, |differ, (mine, theirs)| differ | (mine ^ theirs)) == 0
    }
}

#[derive(Default)]
struct Known {
    /// Oldest first. None: what was seen does not let the user in any more.
    passwords: VecDeque<Tag>,
    rules: BTreeSet<Box<str>>,
    /// What Redis would refuse under a rule, where it was asked.
    denied: BTreeMap<Box<str>, Denied>,
}

/// Users with what they may do, and what strangers may do.
#[derive(Default)]
pub(super) struct Seen {
    users: HashMap<Box<[u8]>, Known>,
    /// Oldest first.
    order: VecDeque<Box<[u8]>>,
    /// Rules that the default user may use without a password.
    open: BTreeSet<Box<str>>,
    /// What Redis would refuse them under a rule, where it was asked.
    denied: BTreeMap<Box<str>, Denied>,
    /// The epoch in which Redis last asked a stranger for a password. A link that is older proves
    /// nothing: Redis lets those in go on.
    closed: u64,
}

impl Seen {
    pub(super) fn knows(&self, user: &[u8], tag: &Tag) -> bool {
        // All are looked at, for the same time.
        let passwords = self.users.get(user).map(|known| &known.passwords);
        passwords.is_some_and(|all| all.iter().fold(false, |found, one| found | one.is(tag)))
    }

    /// True if the user may be let in at all.
    pub(super) fn is_known(&self, user: &[u8]) -> bool {
        self.users.get(user).is_some_and(|known| !known.passwords.is_empty())
    }

    /// The user has proved itself by this. True if another had to be forgotten for it.
    pub(super) fn admit(&mut self, user: &[u8], tag: Tag) -> bool {
        if user.len() > MAX_NAME || self.knows(user, &tag) {
            return false;
        }
        let full = !self.users.contains_key(user) && self.users.len() >= MAX_USERS;
        if full && let Some(oldest) = self.order.pop_front() {
            self.users.remove(&oldest);
        }
        let known = self.users.entry(user.into()).or_insert_with(|| {
            self.order.push_back(user.into());
            Known::default()
        });
        if known.passwords.len() >= MAX_PASSWORDS {
            known.passwords.pop_front();
        }
        known.passwords.push_back(tag);
        full
    }

    /// Redis refuses what it accepted before. True if there was something to forget.
    pub(super) fn forget(&mut self, user: &[u8]) -> bool {
        let forgotten = self.users.remove(user).is_some();
        if forgotten {
            self.order.retain(|known| **known != *user);
        }
        forgotten
    }

    /// The user may use locks of this rule. Of a user that was forgotten this says nothing: Redis
    /// lets those in go on whom it would not let in again.
    pub(super) fn allow(&mut self, user: &[u8], rule: &str) {
        if let Some(known) = self.users.get_mut(user)
            && !known.rules.contains(rule)
        {
            known.rules.insert(rule.into());
        }
    }

    /// The user may not. True if it could before.
    pub(super) fn disallow(&mut self, user: &[u8], rule: &str) -> bool {
        self.users.get_mut(user).is_some_and(|known| {
            // What was known of single commands is old: Redis is asked anew.
            let asked = known.denied.remove(rule).is_some();
            known.rules.remove(rule) || asked
        })
    }

    pub(super) fn is_allowed(&self, user: &[u8], rule: &str) -> bool {
        let known = self.users.get(user).is_some_and(|known| known.rules.contains(rule));
        // Who may enter without a password is the same user with one.
        known || user == super::DEFAULT_USER && self.is_rule_open(rule)
    }

    /// What an earlier process has seen.
    pub(super) fn open(&mut self, rules: BTreeSet<Box<str>>) {
        self.open = rules;
    }

    /// Strangers may use this rule, as a link shows that was opened in this epoch. True if that
    /// is new.
    pub(super) fn open_rule(&mut self, rule: &str, since: u64) -> bool {
        since >= self.closed && self.open.insert(rule.into())
    }

    /// Strangers may not. True if they could before.
    pub(super) fn close_rule(&mut self, rule: &str) -> bool {
        self.denied.remove(rule);
        self.open.remove(rule)
    }

    /// Strangers may do nothing, as Redis has said; links of the epoch `next` may show otherwise.
    pub(super) fn close(&mut self, next: u64) {
        self.open.clear();
        self.denied.clear();
        self.closed = next;
    }

    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn is_rule_open(&self, rule: &str) -> bool {
        self.open.contains(rule)
    }

    /// Rules of which strangers may use all commands, as far as is known.
    pub(super) fn wholly_open_rules(&self) -> BTreeSet<Box<str>> {
        let is_whole = |rule: &str| self.denied.get(rule).is_none_or(|d| *d == Denied::NONE);
        self.open.iter().filter(|rule| is_whole(rule)).cloned().collect()
    }

    /// What Redis would refuse strangers under a rule.
    pub(super) fn deny_strangers(&mut self, rule: &str, denied: Denied) {
        self.denied.insert(rule.into(), denied);
    }

    pub(super) fn denied_to_strangers(&self, rule: &str) -> Option<Denied> {
        self.denied.get(rule).copied()
    }

    /// What Redis would refuse a user under a rule. Of a user that was forgotten this says nothing.
    pub(super) fn deny(&mut self, user: &[u8], rule: &str, denied: Denied) {
        if let Some(known) = self.users.get_mut(user) {
            known.denied.insert(rule.into(), denied);
        }
    }

    /// What Redis would refuse a user; none where it was not asked.
    pub(super) fn denied(&self, user: &[u8], rule: &str) -> Option<Denied> {
        self.users.get(user)?.denied.get(rule).copied()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.users.len(), self.order.len());
        self.users.len()
    }
}
