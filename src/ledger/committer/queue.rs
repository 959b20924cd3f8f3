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

    /// The next request to be written, if it fits. Claims are passed over while they have to wait.
    pub(super) fn next(
        &mut self,
        with_claims: bool,
        fits: impl FnOnce(Size) -> bool,
    ) -> Option<Request> {
        if self.is_empty(with_claims) {
            return None;
        }
        let is_next = |request: &Request| with_claims || request.kind != Kind::Claim;
        let place = self.requests.iter().position(is_next)?;
        fits(self.requests[place].size()).then(|| self.remove(place))?
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
