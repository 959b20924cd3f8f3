//! What must hold in every run, looked at after every step that could break it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockside::ledger::fold::{Change, Fold, Standing};
use lockside::ledger::memory::{Medium, Memory};
use lockside::ledger::store::Store;
use lockside::ledger::{Claim, Guarantee};
use lockside::lock::record::LockKey;
use lockside::lock::value::{self, Stamp};

use crate::clock;
use crate::process::Fleet;
use crate::redis::Data;

mod fast;

use fast::Doubles;

/// A client's hold, as the client sees it.
#[derive(Debug, Clone)]
struct Holding {
    client: usize,
    token: String,
    /// Until then at least (`ttl` rules: counted from when its command was sent).
    until: Duration,
}

/// What is known of all clients, and of the whole ledger.
pub(crate) struct Checks {
    fleet: Fleet,
    doubles: Doubles,
    reader: Memory,
    /// The whole ledger, as it is now.
    pub(crate) fold: Fold,
    /// The first thing that was wrong.
    pub(crate) violation: Option<String>,
    /// By key: who was told OK and has not sent a release.
    holders: BTreeMap<Vec<u8>, Holding>,
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

/// A client's token at one of its keys: it may take several with one token.
fn name(key: &[u8], token: &str) -> String {
    format!("{} {token}", String::from_utf8_lossy(key))
}

/// The client's token in a stored value.
pub(crate) fn token(stored: &[u8]) -> String {
    String::from_utf8_lossy(value::strip(stored, Stamp::Auto)).into_owned()
}

impl Checks {
    pub(crate) fn new(fleet: Fleet, medium: Arc<Mutex<Medium>>) -> Self {
        Self {
            fleet,
            doubles: Doubles::default(),
            reader: Memory::new(medium),
            fold: fleet.fold(),
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
        self.doubles.died(pid, &self.released);
    }

    /// Reads what is new in the ledger. A lock that was released is never held again.
    pub(crate) fn read(&mut self) {
        let seen = self.reader.exchange(&[]).unwrap();
        assert!(seen.snapshot.is_none(), "the simulation reads before it has rows removed");
        let mut changes = Vec::new();
        for row in &seen.rows {
            self.doubles.before(row, &self.fold);
            self.doubles.read(row);
            self.fold.follow(row, &mut changes);
        }
        for change in changes {
            match change {
                Change::Held(holder) => {
                    let token = name(holder.claim.key.key(), &token(&holder.claim.stored));
                    // A claim whose client had gone, and came back for what Redis had of it, is on
                    // its way still, and is given up.
                    let is_late = self.unknown.contains(&token);
                    if self.is_strict() && self.released.contains(&token) && !is_late {
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
        let returned = |(token, _): (String, u64)| self.returned.contains(&name(key, &token));
        self.holder(key).is_some_and(returned)
    }

    /// True for a value that has held this lock, and does not any more.
    pub(crate) fn is_dead(&self, key: &[u8], stored: &[u8]) -> bool {
        self.fold.standing(&LockKey::new(0, key), stored) == Standing::Dead
    }

    /// Who holds a lock in the whole ledger, and by which fence.
    pub(crate) fn holder(&self, key: &[u8]) -> Option<(String, u64)> {
        let holder = self.fold.holder(&LockKey::new(0, key))?;
        Some((token(&holder.claim.stored), holder.fence))
    }

    /// A store without order: this token's claim is in the ledger, and its sidecar has not said there
    /// what became of it.
    fn is_undecided(&self, key: &[u8], own: &str) -> bool {
        let is_own = |claim: &Claim| token(&claim.stored) == own;
        self.fold.undecided_of(is_own, &LockKey::new(0, key)).is_some()
    }

    fn is_strict(&self) -> bool {
        self.fleet.guarantee() == Guarantee::Strict
    }

    /// A sidecar reports that two were told that they hold this lock.
    pub(crate) fn reported(&mut self, key: &LockKey) {
        self.count("conflicts");
        if self.is_strict() {
            self.fail(format!("a conflict in a strict fleet: {key:?}"));
        }
        self.doubles.reported(key);
    }

    /// True while a sidecar that has died leaves a grant in Redis that it had not written ([`fast`]).
    pub(crate) fn is_unheard(&self, data: &Data) -> bool {
        !self.is_strict() && self.doubles.is_unheard(&self.fold, data)
    }

    /// A double grant that is not reported (yet).
    pub(crate) fn unreported(&self) -> Option<String> {
        let lost = self.holders.iter().find(|(key, holding)| {
            let own = name(key, &holding.token);
            self.doubles.is_superseded(&own)
                && !self.doubles.is_lost(&own)
                && !self.doubles.is_known_lost(key, &own)
                && self.holder(key).is_none_or(|(holder, _)| holder != holding.token)
        });
        let text = |(_, holding): (_, &Holding)| format!("{} is lost unseen", holding.token);
        lost.map(text).or_else(|| self.doubles.unreported())
    }

    /// OK leaves a sidecar: it stands for the holder in the ledger, with a fence of its own.
    pub(crate) fn ok_written(&mut self, client: usize, key: &[u8], own: &str, pid: u64) {
        if !self.is_strict() {
            return self.doubles.granted(name(key, own), pid);
        }
        let name = String::from_utf8_lossy(key);
        match self.holder(key) {
            _ if self.is_undecided(key, own) => {}
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
    pub(crate) fn ok_read(&mut self, client: usize, key: &[u8], token: &str, until: Duration) {
        self.count("granted");
        let own = name(key, token);
        self.granted.insert(own.clone());
        let name = String::from_utf8_lossy(key);
        let holding = Holding { client, token: token.to_owned(), until };
        if let Some(Holding { client: other, token: theirs, until: theirs_until }) =
            self.holders.get(key)
            && theirs != token
            && *theirs_until > clock::now()
        {
            if !self.is_strict() {
                self.doubles.met(key, crate::checks::name(key, theirs), own);
                self.holders.insert(key.to_vec(), holding);
                return self.count("double grants");
            }
            return self.fail(format!(
                "{name}: client {client} is told OK for {token} while client {other} holds it by \
                 {theirs}"
            ));
        }
        if self.released.contains(&own) || self.refused.contains_key(&own) {
            return self.fail(format!("{name}: OK for {token}, which was released or refused"));
        }
        self.holders.insert(key.to_vec(), holding);
    }

    /// A client is told that it has its lock for longer.
    pub(crate) fn extended(&mut self, key: &[u8], token: &str, until: Duration) {
        if let Some(holding) = self.holders.get_mut(key).filter(|h| h.token == token) {
            holding.until = until;
        }
    }

    /// True if a client may see another in the place of its lock: two were told that they hold it,
    /// or a sidecar died before it told the ledger of all that it did.
    pub(crate) fn may_be_lost(&self, key: &[u8]) -> bool {
        let is_known = |holding: &Holding| {
            let own = name(key, &holding.token);
            self.doubles.is_superseded(&own) || self.doubles.is_lost(&own)
        };
        !self.is_strict()
            && (self.doubles.is_double(key)
                || !self.dead.is_empty()
                || self.holders.get(key).is_some_and(is_known))
    }

    /// A client sends its release.
    pub(crate) fn release_sent(&mut self, key: &[u8], token: &str) {
        if self.holders.get(key).is_some_and(|holding| holding.token == token) {
            self.holders.remove(key);
        }
    }

    /// A client is told that its lock is released: it is.
    pub(crate) fn release_read(&mut self, key: &[u8], token: &str, pid: u64) {
        self.count("released");
        self.released.insert(name(key, token));
        self.doubles.released(name(key, token), self.dead.contains(&pid));
        let holds = self.holder(key).is_some_and(|(holder, _)| holder == token);
        if self.is_strict() && holds {
            let name = String::from_utf8_lossy(key);
            self.fail(format!("{name}: {token} is told released, and holds the lock"));
        }
    }

    /// A client is told that it has not got the lock.
    pub(crate) fn no_read(&mut self, key: &[u8], token: &str, pid: u64) {
        self.count("refused");
        let own = name(key, token);
        if !self.unknown.contains(&own) {
            self.refused.insert(own, pid);
        }
    }

    /// A client can't tell what its token holds.
    pub(crate) fn is_unknown(&mut self, key: &[u8], token: &str) {
        self.count("unknown");
        self.unknown.insert(name(key, token));
    }

    /// When all is over: each lock is held by somebody who was told so, or can't know.
    pub(crate) fn end(&mut self) {
        self.read();
        let again = self.doubles.again().count() as u64;
        *self.counts.entry("dead values granted").or_default() += again;
        for (key, Holding { client, token, until }) in self.holders.clone() {
            let has_run_out = until <= clock::now();
            let own = name(&key, &token);
            if has_run_out
                || self.doubles.is_known_lost(&key, &own)
                || self.doubles.is_double(&key)
                || self.doubles.is_lost(&name(&key, &token))
            {
                continue;
            }
            let is_undecided = self.is_undecided(&key, &token);
            if !is_undecided && self.holder(&key).is_none_or(|(holder, _)| holder != token) {
                let (name, holder) = (String::from_utf8_lossy(&key), self.holder(&key));
                self.fail(format!(
                    "{name}: client {client} holds it by {token}; the ledger has {holder:?}"
                ));
            }
        }
        for holder in self.fold.holders() {
            let own = name(holder.claim.key.key(), &token(&holder.claim.stored));
            if self.released.contains(&own) && self.doubles.is_lost(&own) {
                self.count("releases lost");
            } else if self.released.contains(&own) {
                self.fail(format!("{own} was released, and holds its lock in the end"));
            }
            let is_known = self.granted.contains(&own) || self.unknown.contains(&own);
            match self.refused.get(&own) {
                Some(pid) if self.dead.contains(pid) && !self.is_strict() => {
                    self.count("refused, then a crash");
                }
                Some(_) => self.fail(format!("{own} was told no, and holds the lock")),
                None if is_known => {}
                None => self.fail(format!("{own} holds a lock, of which nobody knows")),
            }
        }
    }
}
