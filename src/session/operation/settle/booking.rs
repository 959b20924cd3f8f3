//! What a script, a transaction or a release asks of the ledger, and its answer.
//!
//! Releases and claims are two requests, in this order and in one group, so that a crash leaves all of
//! what was done or none. When the ledger does not answer in time, the claims are withdrawn and the
//! releases stay (SPEC 5). When another was first for one of the claims, the others are withdrawn
//! before anybody is told (SPEC 3). A release of whoever holds the lock when
//! it is written does not stay: written late, it would end a hold that began after its command.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::crash;
use crate::ledger::fold::Holder;
use crate::ledger::{Answer, Ask, Cause, ContentChange, Outcome, Ticket, Withdrawal};
use crate::lock::record::{LockKey, Position};
use crate::session::operation::{Scope, durable};

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

impl Loss {
    /// True if it was lost to a hold whose time is over, and not for long enough (SPEC 3).
    pub(in crate::session::operation) fn has_run_out(&self, now_ms: u64) -> bool {
        let expires = self.holder.as_ref().and_then(|holder| holder.claim.expires_at_ms);
        expires.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

/// Requests with the ledger.
#[derive(Debug)]
pub(in crate::session::operation) struct Booking {
    releases: Option<Ticket>,
    /// What the first of them asks for.
    asked: Vec<Ask>,
    /// Releases of locks that the table does not know.
    guesses: Option<Ticket>,
    claims: Option<Ticket>,
    /// The claims' request, once answered: another was first for some of them, and some have won.
    divided: Option<Ticket>,
    /// The claims are being withdrawn.
    withdrawing: bool,
    pub(in crate::session::operation) until: Duration,
    /// The claims that have won, by their lock's place.
    pub(in crate::session::operation) won: Vec<Option<Position>>,
    pub(in crate::session::operation) lost: Vec<Loss>,
    /// The highest of their fences.
    pub(super) fence_high: u64,
    /// A release found that its hold had ended before.
    pub(in crate::session::operation) missed: bool,
    /// Which locks that were.
    pub(super) ended_before: Vec<LockKey>,
    /// Changes of contents that were not the holder's.
    refused: Vec<(LockKey, ContentChange)>,
    /// A hold that was given another end was over.
    is_over: bool,
}

impl Booking {
    /// Hands both to the ledger. An error: the claims were not taken, and why; the releases are
    /// written all the same.
    pub(in crate::session::operation) fn begin(
        taken: &[Provisional],
        releases: Vec<Ask>,
        scope: &Scope<'_, '_>,
    ) -> Result<Self, String> {
        let mut booking = Self {
            releases: None,
            asked: Vec::new(),
            guesses: None,
            claims: None,
            divided: None,
            withdrawing: false,
            until: Duration::ZERO,
            won: vec![None; taken.len()],
            lost: Vec::new(),
            fence_high: 0,
            missed: false,
            ended_before: Vec::new(),
            refused: Vec::new(),
            is_over: false,
        };
        let is_guess = |ask: &Ask| matches!(ask, Ask::ReleaseAny(..));
        let (guesses, mut releases): (Vec<_>, Vec<_>) = releases.into_iter().partition(is_guess);
        // In order: the answer to the last part is the answer to all.
        let last = releases.len().saturating_sub(1) / PART * PART;
        booking.asked = releases.split_off(last);
        for part in releases.chunks(PART) {
            scope.book_unattended(part.to_vec());
        }
        let claims = taken.iter().map(|taken| scope.claim_of(&taken.lock, &taken.record));
        booking.submit(guesses, claims.collect(), scope)?;
        if booking.guesses.is_some() || booking.releases.is_some() {
            booking.until = scope.release_until();
        }
        if booking.claims.is_some() {
            let lifetime = taken.iter().map(|taken| taken.safety_ttl).max().unwrap_or_default();
            booking.until = booking.until.max(scope.claim_until(lifetime));
        }
        crash::here("ledger-asked");
        Ok(booking)
    }

    /// Hands in what there is of these, and the releases.
    fn submit(
        &mut self,
        guesses: Vec<Ask>,
        claims: Vec<Ask>,
        scope: &Scope<'_, '_>,
    ) -> Result<(), String> {
        let requests = [
            (&mut self.guesses, guesses),
            (&mut self.releases, self.asked.clone()),
            (&mut self.claims, claims),
        ];
        let requests = requests.into_iter().filter(|(_, asks)| !asks.is_empty());
        let (tickets, asks): (Vec<_>, Vec<_>) = requests.unzip();
        if asks.is_empty() {
            return Ok(());
        }
        match scope.book_together(asks) {
            Ok(named) => {
                for (ticket, name) in tickets.into_iter().zip(named) {
                    *ticket = Some(name);
                }
                Ok(())
            }
            Err(error) => {
                if !self.asked.is_empty() {
                    scope.book_unattended(self.asked.clone());
                }
                Err(error.to_string())
            }
        }
    }

    pub(in crate::session::operation) fn is_done(&self) -> bool {
        self.releases.is_none() && self.guesses.is_none() && self.claims.is_none()
    }

    /// True if the answer was one of these two's.
    pub(in crate::session::operation) fn answered(
        &mut self,
        answer: &Answer,
        taken: &[Provisional],
    ) -> bool {
        if self.releases == Some(answer.ticket) {
            self.released(answer);
            return true;
        }
        if self.guesses.take_if(|ticket| *ticket == answer.ticket).is_some() {
            return true;
        }
        if self.claims != Some(answer.ticket) {
            return false;
        }
        let has_won = answer.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Won { .. }));
        if self.withdrawing {
            // What has won did so before it was given up: that is void.
            self.claims.take_if(|_| !has_won);
            return !has_won;
        }
        self.claims = None;
        for (index, (outcome, taken)) in answer.outcomes.iter().zip(taken).enumerate() {
            match outcome {
                Outcome::Won { claim, fence } => {
                    self.won[index] = Some(*claim);
                    self.fence_high = self.fence_high.max(*fence);
                }
                Outcome::Lost { holder } => {
                    self.lost.push(Loss { index, lock: taken.lock.clone(), holder: holder.clone() })
                }
                _ => self.lost.push(Loss { index, lock: taken.lock.clone(), holder: None }),
            }
        }
        self.divided = Some(answer.ticket).filter(|_| has_won && !self.lost.is_empty());
        true
    }

    /// The answer to the releases.
    fn released(&mut self, answer: &Answer) {
        self.releases = None;
        let with = |wanted: Outcome| {
            let all = self.asked.iter().zip(&answer.outcomes);
            all.filter(move |(_, outcome)| **outcome == wanted).map(|(ask, _)| ask)
        };
        // One that is named twice is released once.
        let released: BTreeSet<&LockKey> =
            with(Outcome::Released).filter_map(released_by).collect();
        let ended = with(Outcome::NotHeld).filter_map(released_by);
        let ended_before = ended.filter(|key| !released.contains(key)).cloned().collect();
        let refused = with(Outcome::NotHeld).filter_map(changed_by).collect();
        (self.ended_before, self.refused) = (ended_before, refused);
        self.missed = answer.outcomes.contains(&Outcome::NotHeld);
        self.is_over = self.asked.iter().zip(&answer.outcomes).any(is_no_extension);
    }

    /// True if a release has ended a hold.
    pub(in crate::session::operation) fn has_released(&self) -> bool {
        self.asked.iter().filter_map(released_by).any(|key| !self.ended_before.contains(key))
    }

    /// True if the table was behind when it named what is released: that had ended before, and the
    /// lock has another holder, which may be what Redis has let go. Or if a content was changed that
    /// was not the holder's.
    pub(super) fn was_behind(&self, scope: &Scope<'_, '_>) -> bool {
        let table = &scope.shared().table;
        let is_undone = |(key, change): &(LockKey, ContentChange)| {
            !change.is_done(table.find(key).and_then(|record| record.other).as_deref())
        };
        self.is_over
            || self.ended_before.iter().any(|key| table.find(key).is_some())
            || self.refused.iter().any(is_undone)
    }

    /// Another was first for some of the claims: those that have won are withdrawn. False if there is
    /// nothing to wait for: a sidecar that dies now leaves no lock whose client was told no.
    pub(super) fn give_back_rest(&mut self, taken: &[Provisional], scope: &Scope<'_, '_>) -> bool {
        let Some(ticket) = self.divided.take() else { return false };
        for (won, taken) in self.won.iter_mut().zip(taken) {
            if won.take().is_some() {
                scope.shared().repairs.touch(&taken.lock);
            }
        }
        self.withdrawing = scope.shared().door.withdraw(ticket) == Withdrawal::UnderWay;
        if self.withdrawing {
            self.claims = Some(ticket);
            self.until = scope.withdrawal_until();
            crash::here("withdrawal-asked");
        }
        self.withdrawing
    }

    /// True once the claims are withdrawn, durably.
    pub(in crate::session::operation) fn is_withdrawn(&self) -> bool {
        self.withdrawing && self.claims.is_none()
    }

    /// The ledger has not answered in time: until when its word on the withdrawal of the claims is
    /// waited for; or what the client is told, while releases go on.
    pub(in crate::session::operation) fn late(
        &mut self,
        scope: &Scope<'_, '_>,
    ) -> Result<Duration, &'static str> {
        let claims = self.claims.filter(|_| !self.withdrawing);
        let withdrawal = claims.map(|ticket| scope.shared().door.withdraw(ticket));
        if withdrawal == Some(Withdrawal::UnderWay) {
            self.withdrawing = true;
            self.until = scope.withdrawal_until();
            return Ok(self.until);
        }
        let text = match withdrawal {
            None if self.won.is_empty() => durable::RELEASING,
            Some(_) => durable::NOT_ACQUIRED,
            None if self.claims.is_none() && self.won.iter().all(Option::is_none) => {
                durable::NOT_ACQUIRED
            }
            // They have won, or are being withdrawn.
            None => durable::WITHDRAWING,
        };
        self.claims = None;
        self.give_up(scope);
        Err(text)
    }

    /// Nobody waits any more: claims are withdrawn, releases go on.
    pub(in crate::session::operation) fn give_up(&mut self, scope: &Scope<'_, '_>) {
        if let Some(ticket) = self.claims.take() {
            scope.shared().door.withdraw(ticket);
        }
        if let Some(ticket) = self.releases.take() {
            scope.shared().door.forget(ticket);
        }
        if let Some(ticket) = self.guesses.take() {
            scope.shared().door.withdraw(ticket);
        }
    }
}

fn changed_by(ask: &Ask) -> Option<(LockKey, ContentChange)> {
    match ask {
        Ask::Content { key, change, .. } => Some((key.clone(), change.clone())),
        _ => None,
    }
}

/// True for a new end of a hold that is over already.
fn is_no_extension((ask, outcome): (&Ask, &Outcome)) -> bool {
    let is_over = matches!(outcome, Outcome::NotHeld | Outcome::Lost { .. });
    is_over && matches!(ask, Ask::Extend(..) | Ask::Renew(_))
}

fn released_by(ask: &Ask) -> Option<&LockKey> {
    match ask {
        Ask::Release(key, ..) => Some(key),
        _ => None,
    }
}

/// The releases of locks that Redis has let go. `seen`: what stood there, where that is known. `fence`:
/// the counter of fences behind that, where it is known (`fast`).
pub(in crate::session::operation) fn releases<'k>(
    released: impl Iterator<Item = (&'k LockKey, Option<&'k [u8]>)>,
    fence: Option<u64>,
    cause: Cause,
    scope: &Scope<'_, '_>,
) -> Vec<Ask> {
    let ask = |(key, seen): (&LockKey, Option<&[u8]>)| {
        // Another sidecar may have granted what went, and its claim not have been read here yet. But
        // it may also be a value that was released long ago, and another may hold the lock by now:
        // so nobody is released but that value, where it is known.
        let by_value = |stored: &[u8], fence| Ask::ReleaseValue {
            key: key.clone(),
            stored: stored.into(),
            other: None,
            cause,
            fence,
        };
        let Some(record) = scope.shared().table.find(key) else {
            let any = || Ask::ReleaseAny(key.clone(), cause);
            return Some(seen.map_or_else(any, |stored| by_value(stored, fence)));
        };
        if let Some(seen) = seen
            && !record.stored.is_empty()
            && *record.stored != *seen
        {
            scope.shared().repairs.touch(key);
            return Some(by_value(seen, fence));
        }
        if let (Some(seen), Some(fence)) = (seen, fence)
            && *record.stored == *seen
        {
            // Redis's counter need not know the fence of a claim.
            return Some(by_value(seen, Some(record.fence.map_or(fence, |own| own.max(fence)))));
        }
        scope.release_of(key, &record, cause)
    };
    released.filter_map(ask).collect()
}
