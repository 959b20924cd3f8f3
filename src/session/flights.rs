//! Coalescing: concurrent acquires of one key share one question to Redis (SPEC 3).
//!
//! The first asks; the others wait. When the first was granted the lock or was told that it is
//! held, the others are told the same "held"; when too few replicas had it, they are told that; any
//! other outcome lets the next one ask for itself.
//! A "held" also answers for a few milliseconds, until a release is seen. Pure but for its map:
//! the driver hands in the time.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::lock::record::LockKey;

/// Who waits: the driver's name for a session.
pub type SessionId = (usize, u32);

/// One question: a user's (its ACL may differ from another's), about one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub(crate) user: Arc<[u8]>,
    pub(crate) key: LockKey,
}

/// By the key alone: it is hashed several times an acquire, and one lock has few users.
impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// What an acquire has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Ask Redis, and report how it ended.
    Ask,
    /// Somebody holds it: answer so.
    Held,
    /// Wait for a [`Verdict`].
    Wait,
}

/// What a waiting session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody holds it.
    Held,
    /// Ask for yourself.
    Ask,
    /// No more than so many replicas had the lock in time.
    TooFew(i64),
}

/// How an acquire that others waited for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This acquire holds the lock now.
    Granted,
    /// Redis said that somebody holds it.
    Held,
    /// No more than so many replicas had it in time: each of the others would wait as long, one
    /// after the other, to hear the same.
    TooFew(i64),
    /// Anything else, which says nothing about the others.
    Unclear,
}

#[derive(Debug)]
struct Flight {
    /// The table's count of releases when Redis was asked.
    asked: u64,
    /// Who waits, and the count of releases when they came: Redis's "held" may be older than a
    /// release that was seen in between, and then it is no answer for those who came after that.
    waiting: VecDeque<(SessionId, u64)>,
}

impl Flight {
    fn asked_at(releases: u64) -> Self {
        Self { asked: releases, waiting: VecDeque::new() }
    }
}

#[derive(Debug, Clone, Copy)]
struct Known {
    until: Duration,
    /// The table's count of releases when this was learnt.
    releases: u64,
}

/// The acquires under way in one worker.
#[derive(Debug)]
pub struct Flights {
    under_way: HashMap<Question, Flight>,
    held: HashMap<Question, Known>,
    expiries: VecDeque<(Duration, Question)>,
    held_cache: Duration,
    verdicts: VecDeque<(SessionId, Verdict, Question)>,
}

/// How many "held" answers are remembered at once; past it they are simply not.
const MAX_HELD: usize = 100_000;

impl Flights {
    /// `held_cache`: how long a "held" answers for others; zero turns that off.
    pub fn new(held_cache: Duration) -> Self {
        Self {
            under_way: HashMap::new(),
            held: HashMap::new(),
            expiries: VecDeque::new(),
            held_cache,
            verdicts: VecDeque::new(),
        }
    }

    /// An acquire arrives. `releases` is the table's count of releases seen.
    pub(crate) fn join(
        &mut self,
        question: &Question,
        session: SessionId,
        now: Duration,
        releases: u64,
    ) -> Turn {
        self.forget_expired(now);
        if let Some(known) = self.held.get(question)
            && known.until > now
            && known.releases == releases
        {
            return Turn::Held;
        }
        match self.under_way.entry(question.clone()) {
            Entry::Occupied(mut flight) => {
                flight.get_mut().waiting.push_back((session, releases));
                Turn::Wait
            }
            Entry::Vacant(place) => {
                place.insert(Flight::asked_at(releases));
                Turn::Ask
            }
        }
    }

    /// The acquire that asked has ended. `releases` is the table's count now.
    pub(crate) fn ended(&mut self, question: &Question, how: Ended, now: Duration, releases: u64) {
        let Some(flight) = self.under_way.remove(question) else { return };
        if matches!(how, Ended::Granted | Ended::Held) {
            let seen = if how == Ended::Granted { releases } else { flight.asked };
            self.remember(question, now, seen);
        }
        let answers = |joined: u64| match how {
            Ended::Granted | Ended::TooFew(_) => true,
            Ended::Held => joined == flight.asked,
            Ended::Unclear => false,
        };
        let verdict = match how {
            Ended::TooFew(have) => Verdict::TooFew(have),
            _ => Verdict::Held,
        };
        let (told, mut left): (VecDeque<_>, VecDeque<_>) =
            flight.waiting.into_iter().partition(|(_, joined)| answers(*joined));
        let tell = |(session, _)| (session, verdict, question.clone());
        self.verdicts.extend(told.into_iter().map(tell));
        if let Some((next, _)) = left.pop_front() {
            self.verdicts.push_back((next, Verdict::Ask, question.clone()));
            let flight = Flight { asked: releases, waiting: left };
            self.under_way.insert(question.clone(), flight);
        }
    }

    /// A session that waited has gone; one that had been told to ask must use `ended`.
    pub(crate) fn leave(&mut self, question: &Question, session: SessionId) {
        if let Some(flight) = self.under_way.get_mut(question) {
            flight.waiting.retain(|(waiting, _)| *waiting != session);
        }
    }

    /// The next verdict to deliver.
    pub fn next_verdict(&mut self) -> Option<(SessionId, Verdict, Question)> {
        self.verdicts.pop_front()
    }

    /// A verdict found nobody: if it was this one's turn to ask, it is the next one's.
    pub fn undelivered(&mut self, verdict: Verdict, question: &Question, now: Duration) {
        if verdict == Verdict::Ask {
            let releases = self.under_way.get(question).map_or(0, |flight| flight.asked);
            self.ended(question, Ended::Unclear, now, releases);
        }
    }

    fn remember(&mut self, question: &Question, now: Duration, releases: u64) {
        if self.held_cache.is_zero() || self.expiries.len() >= MAX_HELD {
            return;
        }
        let until = now + self.held_cache;
        self.held.insert(question.clone(), Known { until, releases });
        self.expiries.push_back((until, question.clone()));
    }

    fn forget_expired(&mut self, now: Duration) {
        while let Some((until, _)) = self.expiries.front()
            && *until <= now
        {
            let Some((until, question)) = self.expiries.pop_front() else { return };
            if let Entry::Occupied(known) = self.held.entry(question)
                && known.get().until <= until
            {
                known.remove();
            }
        }
    }
}
