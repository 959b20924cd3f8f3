//! The ledger of one process: the real committer and fold behind the real door, without the thread.
//! What the thread does is done by `process`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lockside::ledger::committer::{Committer, Now, Timing};
use lockside::ledger::fold::{self, Fold, Holder};
use lockside::ledger::{
    Answer, Ask, Asker, Door, Outcome, Position, Ticket, Unavailable, Withdrawal,
};
use lockside::lock::record::LockKey;
use lockside::repair::{Standing, Truth, Unheard};

use super::Fleet;
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
    /// What a script took is not claimed.
    SilentScript,
    /// Of several claims of one command only the first is written.
    FirstClaim,
    /// What Redis has granted is not mirrored (`fast`).
    NoMirror,
    /// Conflicts are not reported (`fast`).
    SilentConflict,
    /// The ledger takes locks of a `ttl` rule for shorter than they are.
    ShortLease,
    /// Without Redis everybody may use locks.
    OpenGate,
}

/// What a session has asked for since somebody looked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Claim,
    Release,
}

/// How late another's entries are read.
const POLL: Duration = Duration::from_millis(500);
/// How soon grants by Redis are in the ledger (`fast`).
pub(crate) const MIRROR_INTERVAL: Duration = Duration::from_millis(500);
/// How long an exchange may take before the ledger counts as stalled.
const STALL_AFTER: Duration = Duration::from_secs(1);

/// The ledger's door.
pub(crate) struct Desk {
    books: Mutex<Books>,
    pub(crate) bug: Option<Bug>,
    /// Locks of which Redis may know more (`fast`).
    pub(crate) unheard: Unheard,
}

/// What is behind it.
pub(crate) struct Books {
    pub(crate) committer: Committer,
    pub(crate) fold: Fold,
    /// Since when the store has been at work.
    pub(crate) busy_since: Option<Duration>,
    outlook: Outlook,
    pub(crate) asked: Vec<Asked>,
    /// Answers of a planted bug.
    pub(crate) early: Vec<((usize, u32), Answer)>,
    /// Everybody who ever held a lock, for a planted bug.
    pub(crate) ever: Vec<Arc<Holder>>,
    /// How many outcomes belong to these, for a planted bug.
    cut: HashMap<Ticket, usize>,
}

/// As `ledger::thread` shows workers what the last exchange has shown (`fast`).
#[derive(Debug, Default)]
struct Outlook {
    calm_until: Duration,
    are_others_well: bool,
    fence_high: u64,
}

impl Books {
    /// An exchange has ended well.
    pub(crate) fn show(&mut self) {
        self.outlook = Outlook {
            calm_until: self.committer.read_since().unwrap_or_default() + POLL * 2,
            are_others_well: !self.committer.has_others_degraded(now()),
            fence_high: self.fold.fence_high(),
        };
    }

    fn note(&mut self, asks: &[Ask]) {
        for ask in asks {
            match ask {
                Ask::Claim(_) => self.asked.push(Asked::Claim),
                Ask::Release(..) | Ask::ReleaseAny(..) => self.asked.push(Asked::Release),
                _ => {}
            }
        }
    }

    fn stalled(&self) -> Option<Arc<str>> {
        let taken = clock::now() - self.busy_since?;
        (taken > STALL_AFTER)
            .then(|| format!("the store has not answered for {} ms", taken.as_millis()).into())
    }
}

impl Books {
    /// A planted bug.
    fn submit_first(&mut self, asker: Asker, mut asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        let count = asks.len();
        asks.truncate(1);
        let ticket = self.committer.submit(asker, asks)?;
        self.cut.insert(ticket, count);
        Ok(ticket)
    }

    /// Makes up what was left out.
    pub(crate) fn complete(&mut self, answer: &mut Answer) {
        if let Some(count) = self.cut.remove(&answer.ticket) {
            answer.outcomes.resize(count, answer.outcomes[0].clone());
        }
    }
}

pub(crate) fn now() -> Now {
    Now { mono: clock::now(), unix_ms: clock::unix_ms() }
}

impl Desk {
    pub(crate) fn new(fleet: Fleet, bug: Option<Bug>) -> Self {
        let timing = Timing {
            poll: POLL,
            mirror_interval: fleet.is_fast().then_some(MIRROR_INTERVAL),
            ..Timing::default()
        };
        let books = Books {
            committer: Committer::new(timing),
            fold: fleet.fold(),
            busy_since: None,
            outlook: Outlook::default(),
            asked: Vec::new(),
            early: Vec::new(),
            ever: Vec::new(),
            cut: HashMap::new(),
        };
        let unheard = Unheard::default();
        if fleet.is_fast() {
            unheard.begin();
        }
        Self { books: Mutex::new(books), bug, unheard }
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
    fn submit(&self, asker: Asker, mut asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        if self.bug == Some(Bug::ShortLease) {
            asks.iter_mut().for_each(shorten);
        }
        let mut books = self.books();
        if let (Asker::Session(..), Some(stalled)) = (asker, books.stalled()) {
            return Err(Unavailable::NotAnswering(stalled));
        }
        books.note(&asks);
        if self.bug == Some(Bug::NoMirror) && asks.iter().all(|ask| matches!(ask, Ask::Grant(..))) {
            return books.committer.submit(asker, Vec::new());
        }
        let is_several = asks.len() > 1 && asks.iter().all(|ask| matches!(ask, Ask::Claim(_)));
        if self.bug == Some(Bug::FirstClaim) && is_several {
            return books.submit_first(asker, asks);
        }
        let early = self.answer_early(asker, &asks);
        let Some(outcomes) = early else { return books.committer.submit(asker, asks) };
        let ticket = books.committer.submit(Asker::Nobody, asks)?;
        if let Asker::Session(_, session) = asker {
            books.early.push((session, Answer { ticket, outcomes }));
        }
        Ok(ticket)
    }

    fn submit_together(
        &self,
        asker: Asker,
        requests: Vec<Vec<Ask>>,
    ) -> Result<Vec<Ticket>, Unavailable> {
        if self.bug.is_some() {
            return requests.into_iter().map(|asks| self.submit(asker, asks)).collect();
        }
        let mut books = self.books();
        if let (Asker::Session(..), Some(stalled)) = (asker, books.stalled()) {
            return Err(Unavailable::NotAnswering(stalled));
        }
        requests.iter().for_each(|asks| books.note(asks));
        books.committer.submit_together(asker, requests)
    }

    fn withdraw(&self, ticket: Ticket) -> Withdrawal {
        match self.bug {
            Some(Bug::NoWithdrawal) => {
                self.books().committer.forget(ticket);
                Withdrawal::Done
            }
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

    fn contested(&self, key: &LockKey) -> Vec<Arc<Holder>> {
        self.books().committer.contested().get(key).cloned().unwrap_or_default()
    }

    fn is_calm(&self) -> bool {
        let outlook = &self.books().outlook;
        clock::now() < outlook.calm_until && outlook.are_others_well
    }

    fn fence_high(&self) -> u64 {
        self.books().outlook.fence_high
    }

    fn has_company(&self) -> bool {
        self.books().committer.has_company(now())
    }

    fn mirror_lag(&self) -> Duration {
        self.books().committer.mirror_lag(now())
    }
}

/// A planted bug.
fn shorten(ask: &mut Ask) {
    if let Ask::ClaimExpiring(claim) = ask {
        claim.expires_at_ms = claim.expires_at_ms.map(|at| at.saturating_sub(1800));
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

    fn unheard_since(&self, key: &LockKey) -> Option<u64> {
        self.unheard.since(key)
    }

    fn is_undecided(&self, key: &LockKey) -> bool {
        !self.books().fold.undecided_on(key).is_empty()
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        Door::is_releasing(self, key)
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.books().fold.holders()
    }

    fn fence_floor(&self) -> Option<u64> {
        let books = self.books();
        books.committer.is_delay_over().then(|| books.fold.fence_high())
    }
}
