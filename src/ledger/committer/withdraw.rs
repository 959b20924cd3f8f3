//! Requests that are given up: what takes their claims back, and when that is durable. Pure.
//!
//! A client is told "not acquired" when no claim of its request can hold the lock any more, and not
//! before (SPEC 3): a sidecar that dies in between would leave a lock whose client was told no. What
//! was never handed to the store is no claim; one that has won is withdrawn by an entry of its own.

use super::super::entry::Position;
use super::super::{Answer, Asker, Outcome, Ticket, Withdrawal};
use super::group::Group;
use super::request::{Fate, Request, Want};
use super::settle::release_is_over;
use super::{ANSWERED_KEPT, Addressed, Committer};
use crate::lock::record::LockKey;

/// A request that was answered with claims that have won: its asker may give them up still.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    asker: Asker,
    outcomes: usize,
    won: Vec<(LockKey, Position)>,
}

impl Answered {
    /// None without claims that have won.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let won = request.won();
        let outcomes = request.parts.len();
        (!won.is_empty()).then_some(Self { asker: request.asker, outcomes, won })
    }
}

/// A request that was given up, with claims that have won.
#[derive(Debug, Clone)]
pub(super) struct Withdrawn {
    asker: Asker,
    outcomes: Vec<Outcome>,
    /// Withdrawals that are not durable yet.
    left: usize,
}

impl Withdrawn {
    fn into_answer(self, ticket: Ticket) -> Option<Addressed> {
        let Asker::Session(worker, session) = self.asker else { return None };
        Some((worker, session, Answer { ticket, outcomes: self.outcomes }))
    }
}

impl Committer {
    /// As [`super::super::Door::withdraw`].
    pub fn withdraw(&mut self, ticket: Ticket) -> Withdrawal {
        if let Some(request) = self.queue.take(ticket) {
            for key in request.open_releases() {
                release_is_over(&mut self.releasing, key);
            }
            self.take_back(request);
        } else if let Some(request) = self.group.as_mut().and_then(|group| group.request(ticket)) {
            request.fate = Fate::Withdraw;
            if self.under_way || !self.strike().iter().any(|(.., answer)| answer.ticket == ticket) {
                return Withdrawal::UnderWay;
            }
        } else if let Some(request) = self.deciding.get_mut(&ticket) {
            request.fate = Fate::Withdraw;
            return Withdrawal::UnderWay;
        } else if let Some(answered) = self.answered.remove(&ticket) {
            let outcomes = vec![Outcome::Lost { holder: None }; answered.outcomes];
            self.begin_withdrawal(ticket, answered.asker, outcomes, answered.won);
        }
        // Of what was answered so long ago nobody knows any more what it was: no answer comes.
        let is_open = self.withdrawn.contains_key(&ticket) || ticket <= self.answers_gone;
        if is_open { Withdrawal::UnderWay } else { Withdrawal::Done }
    }

    /// As [`super::super::Door::forget`].
    pub fn forget(&mut self, ticket: Ticket) {
        if let Some(request) = self.queue.find(ticket) {
            request.forget();
        } else if let Some(request) = self.group.as_mut().and_then(|group| group.request(ticket)) {
            request.forget();
        } else if let Some(request) = self.deciding.get_mut(&ticket) {
            request.forget();
        } else {
            self.answered.remove(&ticket);
        }
    }

    /// Takes what was given up out of a group of which nothing was ever written. The answers.
    pub(super) fn strike(&mut self) -> Vec<Addressed> {
        let group = self.group.as_mut().filter(|group| !group.may_stand);
        let struck = group.map(Group::strike).unwrap_or_default();
        for key in struck.iter().flat_map(Request::open_releases) {
            release_is_over(&mut self.releasing, key);
        }
        struck.into_iter().filter_map(|request| self.take_back(request)).collect()
    }

    /// Nobody waits for what this request has asked for: its claims that have won are withdrawn. The
    /// answer, if there are none.
    pub(super) fn take_back(&mut self, request: Request) -> Option<Addressed> {
        let (ticket, asker, won) = (request.ticket, request.asker, request.won());
        let lost = |outcome| match outcome {
            Some(Outcome::Won { .. }) | None => Outcome::Lost { holder: None },
            Some(other) => other,
        };
        let outcomes: Vec<_> = request.parts.into_iter().map(|part| lost(part.outcome)).collect();
        if won.is_empty() {
            return Withdrawn { asker, outcomes, left: 0 }.into_answer(ticket);
        }
        self.begin_withdrawal(ticket, asker, outcomes, won);
        None
    }

    fn begin_withdrawal(
        &mut self,
        ticket: Ticket,
        asker: Asker,
        outcomes: Vec<Outcome>,
        won: Vec<(LockKey, Position)>,
    ) {
        self.withdrawn.insert(ticket, Withdrawn { asker, outcomes, left: won.len() });
        self.urgent.extend(won.into_iter().map(|(key, claim)| Want::Withdraw(key, claim, ticket)));
    }

    /// A withdrawal of this request is durable. The answer, if it was the last.
    pub(super) fn withdrawn_one(&mut self, ticket: Ticket) -> Option<Addressed> {
        let withdrawn = self.withdrawn.get_mut(&ticket)?;
        withdrawn.left = withdrawn.left.saturating_sub(1);
        if withdrawn.left > 0 {
            return None;
        }
        self.withdrawn.remove(&ticket)?.into_answer(ticket)
    }

    /// Answers of long ago are not given up any more.
    pub(super) fn forget_answers(&mut self) {
        while self.answered.len() > ANSWERED_KEPT {
            if let Some((ticket, _)) = self.answered.pop_first() {
                self.answers_gone = ticket;
            }
        }
    }
}
