//! What waits to be written: requests, their parts, and how large they are. Pure.

use std::ops::{Add, Sub};

use super::super::entry::{Claim, Entry, Position};
use super::super::{Answer, Ask, Asker, Outcome, Ticket};
use crate::lock::record::LockKey;

/// Bytes that an ask has beside its names and values, roughly.
const FIXED_BYTES: usize = 128;

/// How much there is to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Size {
    pub(super) const ONE: Self = Self { rows: 1, bytes: FIXED_BYTES };
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Size {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(other.rows),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Entries that are nobody's request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Want {
    /// Of this request.
    Withdraw(LockKey, Position, Ticket),
    /// A claim has won, with this fence (a store without order).
    Won(LockKey, Position, u64),
    /// A claim of this request has lost (a store without order).
    Lost(LockKey, Position, Ticket),
    Heard(LockKey, Position),
}

impl Want {
    pub(super) fn into_entry(self) -> Entry {
        match self {
            Self::Withdraw(key, claim, _) => Entry::Withdraw { key, claim },
            Self::Won(key, claim, fence) => Entry::Won { key, claim, fence },
            Self::Lost(key, claim, _) => Entry::Lost { key, claim },
            Self::Heard(key, claim) => Entry::Heard { key, claim },
        }
    }
}

/// What becomes of a request's outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The asker waits for them.
    Answer,
    /// Nobody waits.
    Forget,
    /// Claims that win are withdrawn.
    Withdraw,
}

/// One ask, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) ask: Ask,
    /// Where its entry stands, the last one if it was written more than once.
    pub(super) at: Option<Position>,
    pub(super) outcome: Option<Outcome>,
    /// The value that a release ends (a store without order).
    pub(super) value: Option<Box<Claim>>,
    /// It has ended something in an earlier try.
    pub(super) has_ended: bool,
    /// The outcome of a claim that has lost, until LOST is durable (a store without order).
    pub(super) losing: Option<Outcome>,
    /// The outcome is of the exchange that is being settled.
    pub(super) is_news: bool,
    pub(super) tries: u8,
}

impl Part {
    /// The own claim, if this part is one and has won.
    fn won(&self) -> Option<(LockKey, Position)> {
        let (Ask::Claim(claim) | Ask::ClaimExpiring(claim)) = &self.ask else { return None };
        matches!(self.outcome, Some(Outcome::Won { .. }))
            .then_some(self.at)?
            .map(|at| (claim.key.clone(), at))
    }

    /// The lock, if this part ends a hold.
    pub(super) fn releases(&self) -> Option<&LockKey> {
        match &self.ask {
            Ask::Release(key, ..) | Ask::ReleaseAny(key, _) | Ask::ReleaseValue { key, .. } => {
                Some(key)
            }
            _ => None,
        }
    }
}

/// When a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As soon as possible.
    Now,
    /// `fast`: what Redis has done already, within `mirror_interval`.
    Mirror,
    /// With a claim: not while a lock-delay runs (`fast`).
    Claim,
}

impl Kind {
    fn of(asker: Asker, parts: &[Part]) -> Self {
        let is_claim = |part: &Part| matches!(part.ask, Ask::Claim(_) | Ask::ClaimExpiring(_));
        let is_mirror = |part: &Part| {
            part.releases().is_some()
                || matches!(
                    part.ask,
                    Ask::Grant(..)
                        | Ask::Extend(..)
                        | Ask::Renew(_)
                        | Ask::Heard(..)
                        | Ask::Content { .. }
                )
        };
        if parts.iter().any(is_claim) {
            Self::Claim
        } else if asker == Asker::Nobody && parts.iter().all(is_mirror) {
            Self::Mirror
        } else {
            Self::Now
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) ticket: Ticket,
    pub(super) asker: Asker,
    pub(super) parts: Vec<Part>,
    pub(super) fate: Fate,
    pub(super) kind: Kind,
    /// The next request goes into the same group.
    pub(super) is_tied: bool,
}

impl Request {
    pub(super) fn new(ticket: Ticket, asker: Asker, asks: Vec<Ask>) -> Self {
        let part = |ask| Part {
            ask,
            at: None,
            outcome: None,
            value: None,
            has_ended: false,
            losing: None,
            is_news: false,
            tries: 0,
        };
        let fate = if asker == Asker::Nobody { Fate::Forget } else { Fate::Answer };
        let parts: Vec<_> = asks.into_iter().map(part).collect();
        let kind = Kind::of(asker, &parts);
        Self { ticket, asker, parts, fate, kind, is_tied: false }
    }

    /// What is still to be written.
    pub(super) fn size(&self) -> Size {
        let open = self.parts.iter().filter(|part| part.outcome.is_none());
        open.map(|part| size_of(&part.ask)).fold(Size::default(), Add::add)
    }

    /// True if it can wait for a group to ride along with.
    pub(super) fn is_lazy(&self) -> bool {
        let heard = |part: &Part| matches!(part.ask, Ask::Heard(..));
        self.asker == Asker::Nobody && !self.parts.is_empty() && self.parts.iter().all(heard)
    }

    /// The notes of a request that can wait.
    pub(super) fn into_wants(self) -> impl Iterator<Item = Want> {
        self.parts.into_iter().filter_map(|part| match part.ask {
            Ask::Heard(key, claim) => Some(Want::Heard(key, claim)),
            _ => None,
        })
    }

    /// Locks that it claims and has not been answered about.
    pub(super) fn claims(&self) -> impl Iterator<Item = &LockKey> {
        self.parts.iter().filter(|part| part.outcome.is_none()).filter_map(|part| match &part.ask {
            Ask::Claim(claim) | Ask::ClaimExpiring(claim) => Some(&claim.key),
            _ => None,
        })
    }

    /// The lock and value of a claim that is all of it, has no end, and was never written.
    pub(super) fn unwritten_claim(&self) -> Option<&Claim> {
        match self.parts.as_slice() {
            [Part { ask: Ask::Claim(claim), tries: 0, outcome: None, .. }] if !self.is_tied => {
                Some(claim)
            }
            _ => None,
        }
    }

    /// Locks that it ends.
    pub(super) fn releases(&self) -> impl Iterator<Item = &LockKey> {
        self.parts.iter().filter_map(Part::releases)
    }

    /// Locks that it ends and has not ended yet.
    pub(super) fn open_releases(&self) -> impl Iterator<Item = &LockKey> {
        self.parts.iter().filter(|part| part.outcome.is_none()).filter_map(Part::releases)
    }

    /// Nobody waits any more; who has withdrawn it stays with that.
    pub(super) fn forget(&mut self) {
        if self.fate == Fate::Answer {
            self.fate = Fate::Forget;
        }
    }

    /// Claims of it that have won, by their own places.
    pub(super) fn won(&self) -> Vec<(LockKey, Position)> {
        self.parts.iter().filter_map(Part::won).collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.outcome.is_some())
    }

    /// The answer and where it goes, if somebody waits.
    pub(super) fn into_answer(self) -> Option<(usize, (usize, u32), Answer)> {
        let Asker::Session(worker, session) = self.asker else { return None };
        if self.fate != Fate::Answer {
            return None;
        }
        let outcomes = self.parts.into_iter().filter_map(|part| part.outcome).collect();
        Some((worker, session, Answer { ticket: self.ticket, outcomes }))
    }
}

/// How much an ask is to write: a claim that may have to end the holder first counts as two.
fn size_of(ask: &Ask) -> Size {
    let claim = |claim: &Claim| {
        let other = claim.other.as_ref().map_or(0, |other| other.len());
        claim.key.key().len() + claim.stored.len() + other + claim.client.len()
    };
    let (rows, bytes) = match ask {
        Ask::Claim(of)
        | Ask::Observe(of)
        | Ask::Renew(of)
        | Ask::Prefer(of, _)
        | Ask::Grant(of, _) => (1, claim(of)),
        Ask::ClaimExpiring(of) => (2, claim(of)),
        Ask::Release(key, ..)
        | Ask::ReleaseAny(key, _)
        | Ask::ReleaseValue { key, .. }
        | Ask::Extend(key, ..)
        | Ask::Heard(key, _) => (1, key.key().len()),
        Ask::Content { key, change, .. } => {
            (1, key.key().len() + change.from.len() + change.to.len())
        }
        Ask::Degraded | Ask::Healthy(_) => (1, 0),
    };
    Size { rows, bytes: bytes + FIXED_BYTES }
}
