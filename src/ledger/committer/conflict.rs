//! Grants that overlapped (`fast`): which of them are news, and when. Pure.
//!
//! A grant with the lower fence is a conflict only if its release does not follow (SPEC 8). That is
//! written at most a `mirror_interval` later, so a dispute is left alone for two of them.
//!
//! A claim that was made without Redis is another matter: the sidecar that made it had said that it has
//! lost Redis, and a grant that is written after it was made by one that had not read that. Which of
//! the two holds was over first nobody can tell, so such a grant is a conflict, whether the claim
//! still holds, has been released, or the grant's own release follows. It is known by its fence:
//! `Degraded` puts those of claims far above all that Redis can have given
//! ([`super::super::fold::FENCE_GAP`]), and the counter comes up to there with the repair pass alone;
//! and by the mode of the claim's log, until that says `Healthy`. A value that the pass finds in Redis
//! before that is such a grant, too, whose sidecar did not live to write it.
//!
//! What is remembered for this is this reader's own: it is not in a snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::entry::{Claim, Entry, Position, Row};
use super::super::fold::{CONFLICTS_KEPT, Fold, Holder, LogMode, Standing, Token};
use crate::lock::record::LockKey;

/// Locks of which the last claim without Redis is remembered; past that the oldest is forgotten. More
/// than are granted in an outage before the other sidecars have read of it.
pub const ALONE_KEPT: usize = 16_384;

/// Two clients that were told that they hold one lock, for people: no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The lock.
    pub key: LockKey,
    /// The client of the lower fence.
    pub lost: Arc<str>,
    /// The client of the higher fence.
    pub by: Arc<str>,
    at: Position,
    since: Duration,
}

/// What was known before a row was followed.
#[derive(Debug)]
pub(super) struct Before {
    holder: Option<Arc<Holder>>,
    is_known: bool,
}

/// A claim that was made without Redis.
#[derive(Debug, Clone)]
struct Alone {
    holder: Arc<Holder>,
    /// How many rows were followed before it.
    order: u64,
    /// Its sidecar has said since then that it serves by Redis again: what it grants or loses later has
    /// nothing to do with this claim.
    is_over: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disputes {
    /// Those whose release may follow.
    open: VecDeque<Dispute>,
    certain: Vec<Dispute>,
    /// The last claims without Redis, whether they hold or not.
    alone: BTreeMap<LockKey, Alone>,
    /// Their locks, the one that was claimed first in front.
    claimed: VecDeque<(LockKey, Position)>,
    /// Values that were found or heard of otherwise than by a grant, and when.
    observed: VecDeque<(Token, u64)>,
    rows: u64,
}

impl Disputes {
    /// What is known before a row, if the row is one that can dispute it.
    pub(super) fn before(&self, row: &Row, fold: &Fold) -> Option<Before> {
        let (Entry::Grant(claim, _) | Entry::Observe(claim)) = &row.entry else { return None };
        let holder = fold.holder(&claim.key).cloned();
        let is_known = self.alone.contains_key(&claim.key)
            && fold.standing_of(&claim.key, &claim.stored, claim.other.as_deref())
                != Standing::Unknown;
        Some(Before { holder, is_known })
    }

    /// The row was followed. `living`: the runs that live.
    pub(super) fn note(
        &mut self,
        row: &Row,
        before: Option<Before>,
        fold: &Fold,
        living: &BTreeSet<u64>,
        now: Duration,
    ) {
        self.rows += 1;
        match (&row.entry, before) {
            (Entry::Claim(claim), _) => self.claimed(row, claim, fold),
            (Entry::Healthy(_), _) => {
                let own = self.alone.values_mut();
                own.filter(|alone| alone.holder.at.log == row.at.log)
                    .for_each(|alone| alone.is_over = true);
            }
            (Entry::Grant(claim, fence), Some(before)) => {
                let late = |alone: &Alone| {
                    let is_open = !alone.is_over && !before.is_known;
                    *fence < alone.holder.fence || is_open && is_alive(alone, living, row)
                };
                if !self.is_late(row, claim, late) {
                    self.granted(row, claim, before.holder, fold, now);
                }
            }
            (Entry::Observe(claim), Some(before)) => {
                self.is_late(row, claim, |alone| !alone.is_over && !before.is_known);
                self.observed.extend(Token::of(claim).map(|token| (token, self.rows)));
                if self.observed.len() > CONFLICTS_KEPT {
                    self.observed.pop_front();
                }
            }
            (Entry::Prefer(claim, lost), _)
                if fold.holder(&claim.key).is_some_and(|holder| holder.at == row.at) =>
            {
                // No release of it will come any more: it holds.
                let place = self.open.iter().position(|dispute| dispute.at == *lost);
                self.certain.extend(place.and_then(|place| self.open.remove(place)));
            }
            _ => {}
        }
    }

    /// Those that are certain, and those that no release has settled in time.
    pub(super) fn ripe(&mut self, fold: &Fold, patience: Duration, now: Duration) -> Vec<Dispute> {
        let mut ripe = std::mem::take(&mut self.certain);
        while let Some(dispute) = self.open.pop_front_if(|first| now >= first.since + patience) {
            if fold.is_disputed(dispute.at) {
                ripe.push(dispute);
            }
        }
        ripe
    }

    fn claimed(&mut self, row: &Row, claim: &Claim, fold: &Fold) {
        let holder = fold.holder(&claim.key).filter(|holder| holder.at == row.at);
        let Some(holder) = holder.filter(|_| !says_healthy(fold, row.at.log)) else { return };
        let alone = Alone { holder: holder.clone(), order: self.rows, is_over: false };
        self.alone.insert(claim.key.clone(), alone);
        self.claimed.push_back((claim.key.clone(), row.at));
        while self.claimed.len() > ALONE_KEPT {
            if let Some((key, at)) = self.claimed.pop_front()
                && self.alone.get(&key).is_some_and(|alone| alone.holder.at == at)
            {
                self.alone.remove(&key);
            }
        }
    }

    /// Notes a conflict with a claim that was made without Redis, if there is one.
    fn is_late(&mut self, row: &Row, claim: &Claim, late: impl Fn(&Alone) -> bool) -> bool {
        let Some(alone) = self.alone.get(&claim.key) else { return false };
        let other = &alone.holder.claim;
        let is_same = other.stored == claim.stored && other.other == claim.other;
        // It was the ledger's before that claim, which can have won only after its end.
        let token = Token::of(claim);
        let ended = self.observed.iter().any(|(t, at)| Some(*t) == token && *at < alone.order);
        if is_same || ended || !late(alone) {
            return false;
        }
        let (lost, by) = (claim.client.clone(), other.client.clone());
        let (key, at, since) = (claim.key.clone(), row.at, Duration::ZERO);
        self.certain.push(Dispute { key, lost, by, at, since });
        true
    }

    /// Two grants by Redis, or a grant and a claim of a sidecar that had asked it.
    fn granted(
        &mut self,
        row: &Row,
        claim: &Claim,
        before: Option<Arc<Holder>>,
        fold: &Fold,
        now: Duration,
    ) {
        let Some(before) = before else { return };
        let (at, lost, by) = if fold.is_disputed(row.at) {
            (row.at, &claim.client, &before.claim.client)
        } else if fold.is_disputed(before.at)
            && fold.holder(&claim.key).is_some_and(|h| h.at == row.at)
        {
            (before.at, &before.claim.client, &claim.client)
        } else {
            return;
        };
        let (lost, by) = (lost.clone(), by.clone());
        self.open.push_back(Dispute { key: claim.key.clone(), lost, by, at, since: now });
        if self.open.len() > CONFLICTS_KEPT {
            self.open.pop_front();
        }
    }
}

fn says_healthy(fold: &Fold, log: u64) -> bool {
    matches!(fold.log(log).map(|log| &log.mode), Some(LogMode::Healthy(_)))
}

/// Who grants by Redis though this one has said that it has lost it has not read that; unless it is
/// taken for dead.
fn is_alive(alone: &Alone, living: &BTreeSet<u64>, row: &Row) -> bool {
    let log = alone.holder.at.log;
    log != row.at.log && living.contains(&log)
}
