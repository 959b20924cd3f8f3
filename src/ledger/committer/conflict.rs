//! Grants that overlapped (`fast`): which of them are news, and when. Pure.
//!
//! A grant with the lower fence is a conflict only if its release does not follow (SPEC 8). That is
//! written at most a `mirror_interval` later, so a dispute is left alone for two of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::entry::{Entry, Position, Row};
use super::super::fold::{CONFLICTS_KEPT, Fold, Holder};
use crate::lock::record::LockKey;

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

#[derive(Debug, Clone, Default)]
pub(super) struct Disputes(VecDeque<Dispute>);

impl Disputes {
    /// The holder before a row, if the row is one that can dispute it.
    pub(super) fn before(row: &Row, fold: &Fold) -> Option<Arc<Holder>> {
        match &row.entry {
            Entry::Grant(claim, _) | Entry::Prefer(claim, _) => fold.holder(&claim.key).cloned(),
            _ => None,
        }
    }

    /// The row was followed.
    pub(super) fn note(
        &mut self,
        row: &Row,
        before: Option<Arc<Holder>>,
        fold: &Fold,
        now: Duration,
    ) {
        let (Entry::Grant(claim, _) | Entry::Prefer(claim, _), Some(before)) = (&row.entry, before)
        else {
            return;
        };
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
        self.0.push_back(Dispute { key: claim.key.clone(), lost, by, at, since: now });
        if self.0.len() > CONFLICTS_KEPT {
            self.0.pop_front();
        }
    }

    /// Those that no release has settled in time.
    pub(super) fn ripe(&mut self, fold: &Fold, patience: Duration, now: Duration) -> Vec<Dispute> {
        let mut ripe = Vec::new();
        while let Some(dispute) = self.0.pop_front_if(|first| now >= first.since + patience) {
            if fold.is_disputed(dispute.at) {
                ripe.push(dispute);
            }
        }
        ripe
    }
}
