//! Which of what waits goes into the next exchange. Pure.

use std::collections::BTreeSet;

use super::super::Ask;
use super::super::entry::{Entry, Position};
use super::super::fold::Fold;
use super::group::{self, Group};
use super::request::{Request, Size, Want};
use super::{Committer, Now};

impl Committer {
    fn position(&mut self) -> Position {
        self.last_seq += 1;
        // Groups form only when the log is open.
        Position { log: self.log.unwrap_or_default(), seq: self.last_seq }
    }

    /// The next group: what is urgent, then requests in their order, then what rides along. With
    /// nothing else to write, a heartbeat, or the last entry.
    ///
    /// In a store without order no lock is claimed twice in a group: of a run that dies before it has
    /// written which of its claims has won, nobody could tell whose client was told so.
    pub(super) fn form(&mut self, fold: &Fold, now: Now) -> Group {
        let mut group = Group::of(self.group_rows);
        while group.has_room(Size::ONE)
            && let Some(want) = self.urgent.pop_front()
        {
            match &want {
                Want::Withdraw(_, _, ticket) => group.withdraws.push(*ticket),
                Want::Lost(_, claim, ticket) => group.losses.push((*ticket, *claim)),
                Want::Won(..) | Want::Heard(..) => {}
            }
            group.add_alone(want.into_entry(), self.position());
        }
        let with_claims = self.is_delay_over();
        let (mut claimed, mut tied) = (BTreeSet::new(), None);
        loop {
            let is_first = |request: &Request| request.claims().all(|key| !claimed.contains(key));
            let next = tied.take().and_then(|ticket| self.queue.next_tied(ticket, with_claims));
            let next = next
                .or_else(|| self.queue.next(with_claims, is_first, |size| group.has_room(size)));
            let Some(request) = next else { break };
            tied = request.is_tied.then_some(request.ticket);
            if !fold.is_ordered() {
                claimed.extend(request.claims().cloned());
            }
            let skew = self.timing.max_clock_skew;
            let (log, mut seq) = (self.log.unwrap_or_default(), self.last_seq);
            let living = self.peers.living();
            let facts = group::Facts { fold, now, skew, beaten: &self.beaten, log, living };
            let says = request.parts.iter().any(|part| part.ask == Ask::Degraded);
            group.add(request, facts, || {
                seq += 1;
                Position { log, seq }
            });
            self.last_seq = seq;
            if let Some(fleet) = self.fleet.as_mut().filter(|_| says) {
                fleet.written(seq);
            }
        }
        self.mirror_since = None;
        while group.has_room(Size::ONE)
            && let Some(want) = self.lazy.pop_front()
        {
            if self.is_of_use(&want, fold) {
                group.add_alone(want.into_entry(), self.position());
            }
        }
        let is_drained = self.queue.is_empty(with_claims)
            && self.urgent.is_empty()
            && self.lazy.is_empty()
            && self.deciding.is_empty();
        if self.is_ending && is_drained && !group.has_requests() {
            group.add_alone(Entry::End, self.position());
            group.is_last = true;
        } else if group.rows.is_empty() && (!group.has_requests() || !fold.is_ordered()) {
            // Without order a read may be stale: only what writes shows everything.
            group.add_alone(Entry::Heartbeat, self.position());
        }
        if !group.rows.is_empty() {
            self.wrote_at = now.mono;
        }
        group
    }

    /// False for a note on a hold that has ended, or that is ended by what goes before it.
    fn is_of_use(&self, want: &Want, fold: &Fold) -> bool {
        match want {
            Want::Heard(key, claim) => {
                !self.releasing.contains_key(key) && fold.holder_named(key, *claim).is_some()
            }
            Want::Withdraw(..) | Want::Won(..) | Want::Lost(..) => true,
        }
    }
}
