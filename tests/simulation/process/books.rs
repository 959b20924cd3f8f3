//! The ledger of one process: the real committer and fold behind the real door, without the thread.
//! What the thread does is done by `process`.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lockside::ledger::committer::{Committer, Now, Timing};
use lockside::ledger::fold::{self, Fold, Holder};
use lockside::ledger::{Answer, Ask, Asker, Door, Outcome, Position, Ticket, Unavailable};
use lockside::lock::record::LockKey;
use lockside::repair::{Standing, Truth};

use crate::clock;

/// Mistakes that a simulation has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A claim is answered as won before it is written.
    EarlyGrant,
    /// A release is answered before it is written.
    EarlyRelease,
    /// A claim that was given up is not withdrawn.
    NoWithdrawal,
    /// A sidecar that starts does not take over what the ledger holds.
    NoTable,
    /// The repair takes what is released for what is held.
    StaleRepair,
}

/// What a session has asked for since somebody looked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Claim,
    Release,
}

/// How long an exchange may take before the ledger counts as stalled.
const STALL_AFTER: Duration = Duration::from_secs(1);

/// The ledger's door.
pub(crate) struct Desk {
    books: Mutex<Books>,
    pub(crate) bug: Option<Bug>,
}

/// What is behind it.
pub(crate) struct Books {
    pub(crate) committer: Committer,
    pub(crate) fold: Fold,
    /// Since when the store has been at work.
    pub(crate) busy_since: Option<Duration>,
    pub(crate) asked: Vec<Asked>,
    /// Answers of a planted bug.
    pub(crate) early: Vec<((usize, u32), Answer)>,
    /// Everybody who ever held a lock, for a planted bug.
    pub(crate) ever: Vec<Arc<Holder>>,
}

impl Books {
    fn stalled(&self) -> Option<Arc<str>> {
        let taken = clock::now() - self.busy_since?;
        (taken > STALL_AFTER)
            .then(|| format!("the store has not answered for {} ms", taken.as_millis()).into())
    }
}

pub(crate) fn now() -> Now {
    Now { mono: clock::now(), unix_ms: clock::unix_ms() }
}

impl Desk {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        let timing = Timing { poll: Duration::from_millis(500), ..Timing::default() };
        let books = Books {
            committer: Committer::new(timing),
            fold: Fold::default(),
            busy_since: None,
            asked: Vec::new(),
            early: Vec::new(),
            ever: Vec::new(),
        };
        Self { books: Mutex::new(books), bug }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// A request that a planted bug answers by itself.
    fn answer_early(&self, asker: Asker, asks: &[Ask]) -> Option<Vec<Outcome>> {
        let Asker::Session(..) = asker else { return None };
        let is_claim = asks.iter().all(|ask| matches!(ask, Ask::Claim(_)));
        let is_release = asks.iter().all(|ask| matches!(ask, Ask::Release(..)));
        match self.bug? {
            Bug::EarlyGrant if is_claim => {
                let claim = Position { log: u64::MAX, seq: clock::name() };
                Some(vec![Outcome::Won { claim, fence: 1 }; asks.len()])
            }
            Bug::EarlyRelease if is_release => Some(vec![Outcome::Released; asks.len()]),
            _ => None,
        }
    }
}

impl Door for Desk {
    fn submit(&self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        let mut books = self.books();
        if let (Asker::Session(..), Some(stalled)) = (asker, books.stalled()) {
            return Err(Unavailable::NotAnswering(stalled));
        }
        for ask in &asks {
            match ask {
                Ask::Claim(_) => books.asked.push(Asked::Claim),
                Ask::Release(..) | Ask::ReleaseAny(..) => books.asked.push(Asked::Release),
                _ => {}
            }
        }
        let early = self.answer_early(asker, &asks);
        let Some(outcomes) = early else { return books.committer.submit(asker, asks) };
        let ticket = books.committer.submit(Asker::Nobody, asks)?;
        if let Asker::Session(_, session) = asker {
            books.early.push((session, Answer { ticket, outcomes }));
        }
        Ok(ticket)
    }

    fn withdraw(&self, ticket: Ticket) {
        match self.bug {
            Some(Bug::NoWithdrawal) => self.books().committer.forget(ticket),
            _ => self.books().committer.withdraw(ticket),
        }
    }

    fn forget(&self, ticket: Ticket) {
        self.books().committer.forget(ticket);
    }

    fn trouble(&self) -> Option<Arc<str>> {
        let books = self.books();
        books.stalled().or_else(|| books.committer.trouble().cloned())
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        self.books().committer.is_releasing(key)
    }

    fn has_company(&self) -> bool {
        self.books().committer.has_company(now())
    }
}

impl Truth for Desk {
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        let books = self.books();
        let holder = books.fold.holder(key).cloned();
        if self.bug == Some(Bug::StaleRepair) {
            let last = books.ever.iter().rev().find(|holder| holder.claim.key == *key).cloned();
            return holder.or(last);
        }
        holder
    }

    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        if self.bug == Some(Bug::StaleRepair) {
            let holder = self.holder(key);
            if holder.is_some_and(|holder| *holder.claim.stored == *stored) {
                return Standing::Holder;
            }
        }
        match self.books().fold.standing_of(key, stored, None) {
            fold::Standing::Holder => Standing::Holder,
            fold::Standing::Dead => Standing::Dead,
            fold::Standing::Unknown => Standing::Unknown,
        }
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        Door::is_releasing(self, key)
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.books().fold.holders()
    }
}
