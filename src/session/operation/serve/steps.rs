//! What an evaluation asks of the ledger, and in which order.
//!
//! Claims go first, and what is released follows when they have won: an evaluation that has lost a
//! claim is made again, and what it had released would be gone whatever it says then. A lock that is
//! released and taken again is claimed behind its release, in the same exchange. A sidecar that dies
//! between the two has taken and not released: nobody was told anything, and all that it held is held
//! (`tests/suite/durability/transaction.rs`).

use std::time::Duration;

use crate::crash;
use crate::ledger::{Answer, Ask, Cause, Ticket, Unavailable};
use crate::lock::record::{LockKey, Position};
use crate::session::operation::{Scope, durable};

use super::super::settle::{Booking, Provisional};

/// One or two requests, one after the other.
pub(super) struct Steps {
    booking: Booking,
    /// In the order of their steps.
    taken: Vec<Provisional>,
    /// Those of `taken` whose step has been: the claims that have won.
    won: Vec<Option<Position>>,
    /// How many of `taken` are claimed by the end of this step.
    to: usize,
    /// The second step: what it releases.
    rest: Option<Vec<Ask>>,
}

/// How it goes on after an answer.
pub(super) enum Progress {
    Waits(Duration),
    /// Nothing came of it: what the client is told.
    Failed(String),
    Over,
}

impl Steps {
    /// `freed`: the locks that are released. An error: nothing was or will be done, and why.
    pub(super) fn begin(
        taken: Vec<Provisional>,
        releases: Vec<Ask>,
        freed: &[LockKey],
        scope: &Scope<'_, '_>,
    ) -> Result<Self, String> {
        let is_freed = |taken: &Provisional| freed.contains(&taken.lock);
        let (behind, mut all): (Vec<_>, Vec<_>) = taken.into_iter().partition(is_freed);
        let first = all.len();
        all.extend(behind);
        let is_one = first == 0 || releases.is_empty();
        let to = if is_one { all.len() } else { first };
        let (now, rest) = if is_one { (releases, None) } else { (Vec::new(), Some(releases)) };
        let booking = Booking::begin(&all[..to], now, scope)?;
        Ok(Self { booking, taken: all, won: Vec::new(), to, rest })
    }

    pub(super) fn is_done(&self) -> bool {
        self.booking.is_done() && self.rest.is_none()
    }

    pub(super) fn until(&self) -> Duration {
        self.booking.until
    }

    /// The ledger's answer; none if it was not for this.
    pub(super) fn answered(&mut self, answer: &Answer, scope: &Scope<'_, '_>) -> Option<Progress> {
        if !self.booking.answered(answer, &self.taken[self.won.len()..self.to]) {
            return None;
        }
        if self.booking.is_withdrawn() && self.booking.lost.is_empty() {
            return Some(Progress::Failed(durable::NOT_ACQUIRED.to_owned()));
        }
        if !self.booking.is_done() {
            return Some(Progress::Waits(self.booking.until));
        }
        self.won.append(&mut self.booking.won);
        let Some(releases) = self.rest.take().filter(|_| !self.has_missed()) else {
            return Some(Progress::Over);
        };
        match Booking::begin(&self.taken[self.to..], releases, scope) {
            Ok(booking) => {
                (self.booking, self.to) = (booking, self.taken.len());
                Some(Progress::Waits(self.booking.until))
            }
            // Nothing was released; what was claimed is given up.
            Err(_) => Some(Progress::Failed(durable::WITHDRAWING.to_owned())),
        }
    }

    /// The ledger has not answered in time, as [`Booking::late`].
    pub(super) fn late(&mut self, scope: &Scope<'_, '_>) -> Result<Duration, &'static str> {
        let is_first = self.won.is_empty();
        self.booking.late(scope).map_err(|text| if is_first { text } else { durable::WITHDRAWING })
    }

    /// Another was first: a claim has lost, or a hold was over.
    pub(super) fn has_missed(&self) -> bool {
        !self.booking.lost.is_empty() || self.booking.missed
    }

    /// It was lost to a hold whose time is over, and not for long enough.
    pub(super) fn has_lost_to_the_past(&self, now_ms: u64) -> bool {
        self.booking.lost.iter().any(|loss| loss.has_run_out(now_ms))
    }

    /// It has ended a hold, for good.
    pub(super) fn has_released(&self) -> bool {
        self.booking.has_released()
    }

    pub(super) fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Nobody waits any more.
    pub(super) fn leave(&mut self, scope: &Scope<'_, '_>) {
        self.booking.give_up(scope);
        self.won.append(&mut self.booking.won);
        self.give_up(scope);
    }

    /// Claims that have won are nobody's.
    pub(super) fn give_up(&self, scope: &Scope<'_, '_>) {
        for (key, claim) in self.won() {
            scope.give_up(key, claim);
        }
    }

    fn won(&self) -> impl Iterator<Item = (&LockKey, Position)> {
        let won = self.taken.iter().zip(&self.won);
        won.filter_map(|(taken, claim)| Some((&taken.lock, (*claim)?)))
    }

    /// The same before anybody is told: a sidecar that dies now leaves no lock whose client was told
    /// no. What is waited for, if there is anything; an error if the ledger does not take it.
    pub(super) fn give_back(&self, scope: &Scope<'_, '_>) -> Result<Option<Ticket>, Unavailable> {
        let release =
            |(key, claim): (&LockKey, _)| Ask::Release(key.clone(), claim, Cause::Undelivered);
        let asks: Vec<Ask> = self.won().map(release).collect();
        if asks.is_empty() {
            return Ok(None);
        }
        let ticket = scope.book(asks)?;
        self.won().for_each(|(key, _)| scope.shared().repairs.touch(key));
        crash::here("withdrawal-asked");
        Ok(Some(ticket))
    }

    /// What was taken, and by which claims.
    pub(super) fn into_grants(self) -> (Vec<Provisional>, Vec<Option<Position>>) {
        (self.taken, self.won)
    }
}
