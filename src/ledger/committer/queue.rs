//! Requests that wait to be written, in the order of their tickets, with how many there are of each
//! kind. Pure.

use std::collections::VecDeque;

use super::super::Ticket;
use super::request::{Kind, Request, Size};

#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    requests: VecDeque<Request>,
    size: Size,
    /// By [`Kind`].
    counts: [usize; 3],
}

impl Queue {
    /// How much there is to write.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// How many requests of this kind wait.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// True if all requests are of this kind, and there is one.
    pub(super) fn has_only(&self, kind: Kind) -> bool {
        !self.requests.is_empty() && self.count(kind) == self.requests.len()
    }

    /// True if nothing can be written; claims are no hindrance while they may not be.
    pub(super) fn is_empty(&self, with_claims: bool) -> bool {
        let waits = if with_claims { 0 } else { self.count(Kind::Claim) };
        self.requests.len() == waits
    }

    pub(super) fn push(&mut self, request: Request) {
        self.note(&request);
        self.requests.push_back(request);
    }

    /// Puts back what is not done: in the order of tickets, the last one first.
    pub(super) fn put_back(&mut self, mut request: Request) {
        request.is_tied = false;
        self.note(&request);
        // Before it there is nothing but what was passed over.
        let place = self.requests.partition_point(|other| other.ticket < request.ticket);
        self.requests.insert(place, request);
    }

    /// The next request to be written, if it fits. Claims are passed over while they have to wait; so
    /// are requests that may not go, and those that they are tied to.
    pub(super) fn next(
        &mut self,
        with_claims: bool,
        may_go: impl Fn(&Request) -> bool,
        fits: impl FnOnce(Size) -> bool,
    ) -> Option<Request> {
        if self.is_empty(with_claims) {
            return None;
        }
        let (mut place, mut passed_over) = (0, false);
        loop {
            let request = self.requests.get(place)?;
            let may_begin = !passed_over && (with_claims || request.kind != Kind::Claim);
            if may_begin && self.chain(place).all(&may_go) {
                return fits(request.size()).then(|| self.remove(place))?;
            }
            passed_over = request.is_tied;
            place += 1;
        }
    }

    /// A request, and what goes into the same group with it.
    fn chain(&self, place: usize) -> impl Iterator<Item = &Request> {
        let rest = || self.requests.iter().skip(place);
        let tied = rest().take_while(|request| request.is_tied).count();
        rest().take(tied + 1)
    }

    /// The one that is tied to the request that was taken last; a claim that has to wait does not go
    /// with it.
    pub(super) fn next_tied(&mut self, to: Ticket, with_claims: bool) -> Option<Request> {
        let place = self.requests.partition_point(|request| request.ticket <= to);
        let request = self.requests.get(place)?;
        (with_claims || request.kind != Kind::Claim).then(|| self.remove(place))?
    }

    /// Takes out what `is_decided` names.
    pub(super) fn extract(&mut self, is_decided: impl Fn(&Request) -> bool) -> Vec<Request> {
        let all: Vec<Ticket> =
            self.requests.iter().filter(|it| is_decided(it)).map(|it| it.ticket).collect();
        all.into_iter().filter_map(|ticket| self.take(ticket)).collect()
    }

    pub(super) fn find(&mut self, ticket: Ticket) -> Option<&mut Request> {
        let place = self.requests.binary_search_by_key(&ticket, |request| request.ticket).ok()?;
        self.requests.get_mut(place)
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Request> {
        let place = self.requests.binary_search_by_key(&ticket, |request| request.ticket).ok()?;
        self.remove(place)
    }

    fn remove(&mut self, place: usize) -> Option<Request> {
        let request = self.requests.remove(place)?;
        self.size = self.size - request.size();
        self.counts[request.kind as usize] -= 1;
        Some(request)
    }

    fn note(&mut self, request: &Request) {
        self.size = self.size + request.size();
        self.counts[request.kind as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{claim, key};
    use crate::ledger::{Ask, Asker};

    /// While claims have to wait (`fast`, lock-delay) a release goes without the claim it is tied to.
    #[test]
    fn a_claim_that_has_to_wait_is_not_taken_along() {
        let release = Ask::ReleaseAny(key("a"), crate::ledger::entry::Cause::Client);
        let asks = [vec![release], vec![Ask::Claim(claim("b", "v"))]];
        let mut queue = Queue::default();
        for (number, asks) in asks.into_iter().enumerate() {
            let mut request = Request::new(Ticket(number as u64), Asker::Session(0, (1, 1)), asks);
            request.is_tied = number == 0;
            queue.push(request);
        }
        assert_eq!(queue.next(false, |_| true, |_| true).map(|it| it.ticket), Some(Ticket(0)));
        assert!(queue.next_tied(Ticket(0), false).is_none());
        assert!(queue.next(false, |_| true, |_| true).is_none());
        assert_eq!(queue.next_tied(Ticket(0), true).map(|it| it.ticket), Some(Ticket(1)));
    }
}
