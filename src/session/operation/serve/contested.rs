//! Locks that several clients may hold, as far as anybody can know: their sidecars died before they had said
//! which of them has won (SPEC 8, `undecided`). At most one of them was told OK.
//!
//! Whoever is told "no" may be that one, and whoever is told "yes" may not. So nothing is said that depends on
//! which of them it is; but that somebody has the lock is true for everybody else. A client may release its own: that
//! ends its claim, whether it held or not.

use std::sync::Arc;

use crate::degraded::{Change, Evaluation};
use crate::ledger::fold::Holder;
use crate::lock::content;
use crate::lock::record::{Confidence, LockKey, Record};
use crate::lock::value::{self, Stamp};
use crate::session::Shared;
use crate::table;

use super::super::Scope;
use super::{Serving, Work};

/// What an evaluation has to do with such a lock.
pub(super) struct Contested {
    key: LockKey,
    /// What names one of the claims.
    tokens: Vec<Vec<u8>>,
    /// The command names this one, which stands in the table's place for it.
    presented: Option<(LockKey, Record)>,
    /// It can't be told: it names several claims, or there are several such locks.
    is_unclear: bool,
}

impl Serving {
    /// None where there is no such lock.
    pub(super) fn contested(&self, scope: &Scope<'_, '_>) -> Option<Contested> {
        let shared = scope.shared();
        let locks = self.keys().into_iter().map(|key| LockKey::new(scope.state.db, &key));
        let mut all: Vec<_> = locks.map(|lock| (claims_on(&lock, shared), lock)).collect();
        all.retain(|(claims, _)| !claims.is_empty());
        all.dedup_by(|(_, one), (_, other)| one == other);
        let is_unclear = all.len() > 1;
        let (claims, key) = all.pop()?;
        let words: Vec<&[u8]> = match &self.work {
            Work::Command(words) => words.iter().map(Vec::as_slice).collect(),
            Work::Transaction(all) => all.iter().flatten().map(Vec::as_slice).collect(),
        };
        let stamp = shared.stamp_of(key.key());
        let mut presented = claims.iter().filter(|claim| is_presented(claim, stamp, &words));
        let first = presented.next();
        let is_unclear = is_unclear || presented.next().is_some();
        let record = first.map(|holder| table::record_of(holder, Confidence::Unconfirmed));
        let presented = record.map(|record| (key.clone(), record));
        let tokens = claims.iter().map(|claim| token(claim, stamp)).collect();
        Some(Contested { key, tokens, presented, is_unclear })
    }
}

impl Contested {
    /// What is to be evaluated in place of what the table has of a lock.
    pub(super) fn instead(&self) -> Option<&(LockKey, Record)> {
        self.presented.as_ref()
    }

    /// True if this may be told and made true, whichever of the claims has won.
    pub(super) fn allows(&self, evaluation: &Evaluation) -> bool {
        let Evaluation::Done { reply, changes, .. } = evaluation else { return true };
        let mut changes = changes.iter().filter(|change| key_of(change) == &self.key);
        match &self.presented {
            _ if self.is_unclear => false,
            Some((_, own)) => {
                let is_end = |change: &Change| matches!(change, Change::Release { record, .. } if record.claim == own.claim);
                changes.next().is_some_and(is_end) && changes.next().is_none()
            }
            None => {
                let says = |token: &Vec<u8>| {
                    !token.is_empty() && reply.windows(token.len()).any(|part| part == token)
                };
                changes.next().is_none() && !self.tokens.iter().any(says)
            }
        }
    }
}

/// The claims of which any may hold the lock, but for those that have run out.
fn claims_on(lock: &LockKey, shared: &Shared) -> Vec<Arc<Holder>> {
    let mut claims = shared.door.contested(lock);
    if !claims.is_empty() {
        let now_ms = shared.clock.unix_ms();
        claims.retain(|holder| holder.claim.expires_at_ms.is_none_or(|at| at > now_ms));
    }
    if claims.len() > 1 { claims } else { Vec::new() }
}

/// What clients know a claim by: their token; of a lock that is no string the name of its first part.
fn token(holder: &Holder, stamp: Stamp) -> Vec<u8> {
    match &holder.claim.other {
        Some(mark) => {
            content::of_mark(mark).map(|content| content.first().to_vec()).unwrap_or_default()
        }
        None => value::strip(&holder.claim.stored, stamp).to_vec(),
    }
}

fn is_presented(holder: &Holder, stamp: Stamp, words: &[&[u8]]) -> bool {
    let claim = &holder.claim;
    let is_it = |word: &[u8]| match &claim.other {
        Some(_) => *word == *token(holder, stamp),
        None => {
            value::matches(&claim.stored, word, stamp)
                || claim.marker.as_ref().is_some_and(|marker| marker.as_bytes() == word)
        }
    };
    words.iter().skip(1).any(|word| is_it(word))
}

fn key_of(change: &Change) -> &LockKey {
    match change {
        Change::Take { key, .. }
        | Change::Content { key, .. }
        | Change::Release { key, .. }
        | Change::Extend { key, .. } => key,
    }
}

/// The error of what depends on which of them it is.
pub(in crate::session::operation) const UNKNOWN: &str = "TRYAGAIN lockside: unknown outcome: it is not known which of several \
    clients holds this lock, because their sidecars ended before they said so; ask again, or release it";
