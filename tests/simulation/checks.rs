//! What must hold in every run, looked at after every step that could break it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use lockside::ledger::fold::{Change, Fold};
use lockside::ledger::memory::{Medium, Memory};
use lockside::ledger::store::Store;
use lockside::lock::record::LockKey;
use lockside::lock::value::{self, Stamp};

/// What is known of all clients, and of the whole ledger.
pub(crate) struct Checks {
    reader: Memory,
    /// The whole ledger, as it is now.
    pub(crate) fold: Fold,
    /// The first thing that was wrong.
    pub(crate) violation: Option<String>,
    /// By key: who was told OK and has not sent a release.
    holders: BTreeMap<Vec<u8>, (usize, String)>,
    /// Tokens that somebody was told OK for.
    granted: BTreeSet<String>,
    /// Tokens whose release was answered.
    released: BTreeSet<String>,
    /// Tokens whose client was told no, and by which process.
    refused: BTreeMap<String, u64>,
    /// Tokens of which their client can't tell whether they hold a lock.
    unknown: BTreeSet<String>,
    /// By key the last token that held it.
    last: BTreeMap<LockKey, String>,
    /// Tokens whose hold has ended.
    ended: BTreeSet<String>,
    /// Tokens that hold again after that: their client came once more after the first time was
    /// given up. A repair that has read only half of it takes them for dead.
    returned: BTreeSet<String>,
    fences: BTreeMap<Vec<u8>, u64>,
    dead: BTreeSet<u64>,
    /// How often something happened, for those who want to know what a run was worth.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// The client's token in a stored value.
pub(crate) fn token(stored: &[u8]) -> String {
    String::from_utf8_lossy(value::strip(stored, Stamp::Auto)).into_owned()
}

impl Checks {
    pub(crate) fn new(medium: Arc<Mutex<Medium>>) -> Self {
        Self {
            reader: Memory::new(medium),
            fold: Fold::default(),
            violation: None,
            holders: BTreeMap::new(),
            granted: BTreeSet::new(),
            released: BTreeSet::new(),
            refused: BTreeMap::new(),
            unknown: BTreeSet::new(),
            last: BTreeMap::new(),
            ended: BTreeSet::new(),
            returned: BTreeSet::new(),
            fences: BTreeMap::new(),
            dead: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// A process has died.
    pub(crate) fn died(&mut self, pid: u64) {
        self.dead.insert(pid);
    }

    /// Reads what is new in the ledger. A lock that was released is never held again.
    pub(crate) fn read(&mut self) {
        let seen = self.reader.exchange(&[]).unwrap();
        assert!(seen.snapshot.is_none(), "the simulation reads before it has rows removed");
        let mut changes = Vec::new();
        for row in &seen.rows {
            self.fold.follow(row, &mut changes);
        }
        for change in changes {
            match change {
                Change::Held(holder) => {
                    let token = token(&holder.claim.stored);
                    if self.released.contains(&token) {
                        self.fail(format!("{token} was released, and holds its lock again"));
                    }
                    if self.ended.contains(&token) {
                        self.returned.insert(token.clone());
                    }
                    self.last.insert(holder.claim.key.clone(), token);
                }
                Change::Freed(key, _) => self.ended.extend(self.last.remove(&key)),
            }
        }
    }

    /// True if the holder's token had held this lock before, and ended.
    pub(crate) fn has_returned(&self, key: &[u8]) -> bool {
        self.holder(key).is_some_and(|(token, _)| self.returned.contains(&token))
    }

    /// Who holds a lock in the whole ledger, and by which fence.
    pub(crate) fn holder(&self, key: &[u8]) -> Option<(String, u64)> {
        let holder = self.fold.holder(&LockKey::new(0, key))?;
        Some((token(&holder.claim.stored), holder.fence))
    }

    /// OK leaves a sidecar: it stands for the holder in the ledger, with a fence of its own.
    pub(crate) fn ok_written(&mut self, client: usize, key: &[u8], own: &str) {
        let name = String::from_utf8_lossy(key);
        match self.holder(key) {
            Some((token, fence)) if token == own => {
                let last = self.fences.get(key).copied().unwrap_or_default();
                if fence < last {
                    self.fail(format!("{name}: fence {fence} after {last}"));
                }
                self.fences.insert(key.to_vec(), fence);
            }
            holder => self.fail(format!(
                "client {client} is told OK for {name} by {own}; the ledger has {holder:?}"
            )),
        }
    }

    /// A client reads OK: nobody else holds the lock.
    pub(crate) fn ok_read(&mut self, client: usize, key: &[u8], token: &str) {
        self.count("granted");
        self.granted.insert(token.to_owned());
        let name = String::from_utf8_lossy(key);
        if let Some((other, theirs)) = self.holders.get(key)
            && theirs != token
        {
            return self.fail(format!(
                "{name}: client {client} is told OK for {token} while client {other} holds it by \
                 {theirs}"
            ));
        }
        if self.released.contains(token) || self.refused.contains_key(token) {
            return self.fail(format!("{name}: OK for {token}, which was released or refused"));
        }
        self.holders.insert(key.to_vec(), (client, token.to_owned()));
    }

    /// A client sends its release.
    pub(crate) fn release_sent(&mut self, key: &[u8], token: &str) {
        if self.holders.get(key).is_some_and(|(_, theirs)| theirs == token) {
            self.holders.remove(key);
        }
    }

    /// A client is told that its lock is released: it is.
    pub(crate) fn release_read(&mut self, key: &[u8], token: &str) {
        self.count("released");
        self.released.insert(token.to_owned());
        if self.holder(key).is_some_and(|(holder, _)| holder == token) {
            let name = String::from_utf8_lossy(key);
            self.fail(format!("{name}: {token} is told released, and holds the lock"));
        }
    }

    /// A client is told that it has not got the lock.
    pub(crate) fn no_read(&mut self, token: &str, pid: u64) {
        self.count("refused");
        if !self.unknown.contains(token) {
            self.refused.insert(token.to_owned(), pid);
        }
    }

    /// A client can't tell what its token holds.
    pub(crate) fn is_unknown(&mut self, token: &str) {
        self.count("unknown");
        self.unknown.insert(token.to_owned());
    }

    /// When all is over: each lock is held by somebody who was told so, or can't know.
    pub(crate) fn end(&mut self) {
        self.read();
        for (key, (client, token)) in self.holders.clone() {
            if self.holder(&key).is_none_or(|(holder, _)| holder != token) {
                let (name, holder) = (String::from_utf8_lossy(&key), self.holder(&key));
                self.fail(format!(
                    "{name}: client {client} holds it by {token}; the ledger has {holder:?}"
                ));
            }
        }
        for holder in self.fold.holders() {
            let token = token(&holder.claim.stored);
            let name = String::from_utf8_lossy(holder.claim.key.key()).into_owned();
            let is_known = self.granted.contains(&token) || self.unknown.contains(&token);
            match self.refused.get(&token) {
                Some(pid) if self.dead.contains(pid) => self.count("refused, then a crash"),
                Some(_) => self.fail(format!("{name}: {token} was told no, and holds the lock")),
                None if is_known => {}
                None => self.fail(format!("{name} is held by {token}, of which nobody knows")),
            }
        }
    }
}
