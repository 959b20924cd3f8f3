//! `outage = "local"`: neither Redis nor the ledger answers, and this sidecar's table alone decides
//! (SPEC 6). Between sidecars nothing is promised.
//!
//! What changes is handed to the ledger all the same, to be written when it is back. Of each lock only
//! what holds at last: a change takes back the one before it that is not written yet, so that the
//! ledger never gives a lock to who has released it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::degraded::Change;
use crate::ledger::{Ask, Asker, Cause, ContentChange, Position, Ticket};
use crate::lock::content;
use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Outage;
use crate::session::Shared;

use super::Scope;
use super::settle::Provisional;

/// Locks that may have changes waiting: as many as asks may wait for the ledger.
const MOST: usize = 100_000;

/// Locks that were changed by the table alone, until the ledger has all of them. Whoever changes
/// locks so holds this, so that changes of several locks are one step to the other workers.
#[derive(Debug, Default)]
pub struct Locals(Mutex<Waiting>);

type Waiting = BTreeMap<LockKey, Local>;

/// One lock.
#[derive(Debug, Clone, Copy, Default)]
struct Local {
    /// The claim that the ledger had when it was last heard of.
    base: Option<Position>,
    /// What is to be written of the lock.
    ticket: Option<Ticket>,
}

/// What became of changes by the table alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locally {
    Done,
    /// Another was first; nothing was changed.
    Moved,
    /// Too much waits for the ledger; nothing was changed.
    Full,
}

impl Scope<'_, '_> {
    /// True if all these changes are on locks whose rule says that the table alone decides, and
    /// neither Redis nor the ledger can be asked.
    pub(super) fn is_local(&self, changes: &[Change]) -> bool {
        let shared = self.shared();
        let of_rule = |change: &Change| {
            let rule = shared.rules.find(key_of(change).key());
            rule.is_some_and(|rule| rule.outage == Outage::Local)
        };
        shared.history.lost().is_some()
            && shared.door.trouble().is_some()
            && changes.iter().all(of_rule)
    }

    /// Makes the changes in the table, and has the ledger write them when it is back. `taken` are
    /// those that take a lock.
    pub(super) fn change_locally(&self, changes: &[Change], taken: &[Provisional]) -> Locally {
        let shared = self.shared();
        let mut waiting = shared.locals.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.door.waiting() == 0 {
            waiting.clear();
        }
        if waiting.len() + changes.len() > MOST {
            return Locally::Full;
        }
        if !changes.iter().all(|change| is_true_still(change, changes, shared)) {
            return Locally::Moved;
        }
        for change in changes {
            match change {
                Change::Release { key, record } => {
                    shared.table.release_if(key, &record.stored);
                    self.note(&mut waiting, key, record.claim, None);
                }
                Change::Extend { key, record, expires_at_ms } => {
                    let expires_at_ms = Some(*expires_at_ms);
                    let record = Record { expires_at_ms, ..record.clone() };
                    shared.table.grant(key.clone(), record.clone());
                    self.extend(&mut waiting, key, &record);
                }
                Change::Content { key, record, to } => {
                    let record = Record { other: Some(to.clone()), ..record.clone() };
                    shared.table.grant(key.clone(), record.clone());
                    match record.claim {
                        Some(_) => {
                            self.book_unattended(content_change(change).into_iter().collect())
                        }
                        None => {
                            self.note(&mut waiting, key, None, Some(self.claim_of(key, &record)));
                        }
                    }
                }
                // Below: its release, if there is one, stands before it.
                Change::Take { .. } => {}
            }
        }
        for Provisional { lock, record, .. } in taken {
            shared.table.grant(lock.clone(), record.clone());
            self.note(&mut waiting, lock, None, Some(self.claim_of(lock, record)));
        }
        Locally::Done
    }

    fn extend(&self, waiting: &mut Waiting, key: &LockKey, record: &Record) {
        match (record.claim, record.expires_at_ms) {
            (Some(claim), Some(at_ms)) => {
                self.book_unattended(vec![Ask::Extend(key.clone(), claim, at_ms)]);
            }
            _ => self.note(waiting, key, None, Some(self.claim_of(key, record))),
        }
    }

    /// The lock is held by this claim now, or by nobody: that is written, and what was to be written
    /// before is not.
    fn note(
        &self,
        waiting: &mut Waiting,
        key: &LockKey,
        known: Option<Position>,
        claim: Option<Ask>,
    ) {
        let door = &self.shared().door;
        let local = waiting.entry(key.clone()).or_default();
        local.base = known.or(local.base);
        if let Some(ticket) = local.ticket.take() {
            door.withdraw(ticket);
        }
        let release = local.base.map(|base| Ask::Release(key.clone(), base, Cause::Client));
        let asks: Vec<Ask> = release.into_iter().chain(claim).collect();
        if !asks.is_empty() {
            match door.submit(Asker::Nobody, asks) {
                Ok(ticket) => local.ticket = Some(ticket),
                Err(error) => tracing::error!(%error, "a change of a lock is not written"),
            }
        }
        self.shared().repairs.touch(key);
    }
}

/// What the ledger is asked to write of a change of content: it counts only if all of the content is
/// what was looked at.
pub(super) fn content_change(change: &Change) -> Option<Ask> {
    let Change::Content { key, record, to } = change else { return None };
    let part = |mark: &[u8]| content::split(mark).1.into();
    let from = record.other.as_deref().map_or_else(|| [].into(), part);
    let change = ContentChange { from, to: part(to), whole: true };
    Some(Ask::Content { key: key.clone(), claim: record.claim, change })
}

/// True while the table is as it was when the change was worked out.
fn is_true_still(change: &Change, all: &[Change], shared: &Shared) -> bool {
    let key = key_of(change);
    let there = shared.table.find(key);
    match change {
        Change::Release { record, .. }
        | Change::Extend { record, .. }
        | Change::Content { record, .. } => {
            there.is_some_and(|there| there.stored == record.stored && there.other == record.other)
        }
        Change::Take { .. } => {
            let now_ms = shared.clock.unix_ms();
            let is_released =
                |other: &Change| matches!(other, Change::Release { .. }) && key_of(other) == key;
            let is_over = |there: Record| there.expires_at_ms.is_some_and(|at| at <= now_ms);
            there.is_none_or(is_over) || all.iter().any(is_released)
        }
    }
}

fn key_of(change: &Change) -> &LockKey {
    match change {
        Change::Take { key, .. }
        | Change::Release { key, .. }
        | Change::Extend { key, .. }
        | Change::Content { key, .. } => key,
    }
}
