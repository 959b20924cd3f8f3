//! What a script, a transaction or a release asks of the ledger, and its answer.
//!
//! Releases and claims are two requests, in this order: when the ledger does not answer in time,
//! the claims are withdrawn and the releases stay (SPEC 5).

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::fold::Holder;
use crate::ledger::{Answer, Ask, Cause, Outcome, Ticket};
use crate::lock::record::{LockKey, Position};
use crate::session::operation::Scope;

use super::Provisional;

/// Releases of one request: a FLUSHALL has as many as there are locks.
const PART: usize = 10_000;

/// A claim that has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session::operation) struct Loss {
    /// Its place among the locks that were taken.
    pub(super) index: usize,
    pub(in crate::session::operation) lock: LockKey,
    pub(in crate::session::operation) holder: Option<Arc<Holder>>,
}

/// Two requests with the ledger.
#[derive(Debug)]
pub(in crate::session::operation) struct Booking {
    releases: Option<Ticket>,
    claims: Option<Ticket>,
    pub(in crate::session::operation) until: Duration,
    /// The claims that have won, by their lock's place.
    pub(in crate::session::operation) won: Vec<Option<Position>>,
    pub(in crate::session::operation) lost: Vec<Loss>,
    /// A release found that its hold had ended before.
    pub(in crate::session::operation) missed: bool,
}

impl Booking {
    /// Hands both to the ledger. An error: the claims were not taken, and why; the releases are
    /// written all the same.
    pub(in crate::session::operation) fn begin(
        taken: &[Provisional],
        mut releases: Vec<Ask>,
        scope: &Scope<'_, '_>,
    ) -> Result<Self, String> {
        let mut booking = Self {
            releases: None,
            claims: None,
            until: Duration::ZERO,
            won: vec![None; taken.len()],
            lost: Vec::new(),
            missed: false,
        };
        if !releases.is_empty() {
            booking.until = scope.release_until();
            // In order: the answer to the last part is the answer to all.
            let last = releases.len().saturating_sub(1) / PART * PART;
            let rest = releases.split_off(last);
            for part in releases.chunks(PART) {
                scope.book_unattended(part.to_vec());
            }
            let releases = rest;
            match scope.book(releases.clone()) {
                Ok(ticket) => booking.releases = Some(ticket),
                Err(error) => {
                    scope.book_unattended(releases);
                    return Err(error.to_string());
                }
            }
        }
        if !taken.is_empty() {
            let lifetime = taken.iter().map(|taken| taken.safety_ttl).max().unwrap_or_default();
            booking.until = booking.until.max(scope.claim_until(lifetime));
            let claims = taken.iter().map(|taken| scope.claim_of(&taken.lock, &taken.record));
            match scope.book(claims.collect()) {
                Ok(ticket) => booking.claims = Some(ticket),
                Err(error) => {
                    booking.give_up(scope);
                    return Err(error.to_string());
                }
            }
        }
        Ok(booking)
    }

    pub(in crate::session::operation) fn is_done(&self) -> bool {
        self.releases.is_none() && self.claims.is_none()
    }

    /// True if the answer was one of these two's.
    pub(in crate::session::operation) fn answered(
        &mut self,
        answer: &Answer,
        taken: &[Provisional],
    ) -> bool {
        if self.releases == Some(answer.ticket) {
            self.releases = None;
            self.missed = answer.outcomes.contains(&Outcome::NotHeld);
            return true;
        }
        if self.claims != Some(answer.ticket) {
            return false;
        }
        self.claims = None;
        for (index, (outcome, taken)) in answer.outcomes.iter().zip(taken).enumerate() {
            match outcome {
                Outcome::Won { claim, .. } => self.won[index] = Some(*claim),
                Outcome::Lost { holder } => {
                    self.lost.push(Loss { index, lock: taken.lock.clone(), holder: holder.clone() })
                }
                _ => self.lost.push(Loss { index, lock: taken.lock.clone(), holder: None }),
            }
        }
        true
    }

    /// Nobody waits any more: claims are withdrawn, releases go on.
    pub(in crate::session::operation) fn give_up(&mut self, scope: &Scope<'_, '_>) {
        if let Some(ticket) = self.claims.take() {
            scope.shared().door.withdraw(ticket);
        }
        if let Some(ticket) = self.releases.take() {
            scope.shared().door.forget(ticket);
        }
    }
}

/// The releases of locks that Redis has let go. `seen`: what stood there, where that is known.
pub(in crate::session::operation) fn releases<'k>(
    released: impl Iterator<Item = (&'k LockKey, Option<&'k [u8]>)>,
    cause: Cause,
    scope: &Scope<'_, '_>,
) -> Vec<Ask> {
    let ask = |(key, seen): (&LockKey, Option<&[u8]>)| {
        let by_value = |seen: &[u8]| Ask::ReleaseValue(key.clone(), seen.into(), cause);
        let Some(record) = scope.shared().table.find(key) else {
            // Another sidecar may have granted it, and its claim not have been read here yet.
            let any = || Ask::ReleaseAny(key.clone(), cause);
            return Some(seen.map_or_else(any, by_value));
        };
        // Either it was no lock (Redis had something else in the holder's place), or the table is
        // behind another sidecar that has released the one and granted the other.
        if let Some(seen) =
            seen.filter(|seen| !record.stored.is_empty() && *record.stored != **seen)
        {
            scope.shared().repairs.touch(key);
            return Some(by_value(seen));
        }
        record.claim.map(|claim| Ask::Release(key.clone(), claim, cause))
    };
    released.filter_map(ask).collect()
}
