//! Where the parts meet: what the ledger's, the health and the repair thread have to tell the
//! workers and the lock table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::health::Reports;
use crate::ledger::fold::{self, Holder};
use crate::ledger::thread::Ledger;
use crate::ledger::thread::{Post, Watcher};
use crate::ledger::{Answer, Position, Told};
use crate::lock::record::{Confidence, LockKey};
use crate::lock::rule::Rules;
use crate::mode::{Board, Mode};
use crate::repair::{Counters, Dirty, Events, Observed, Standing, Truth, Unheard};
use crate::session::{Bell, Repairs};
use crate::table::Table;
use crate::upstream::tracker::{Eye, Outlook};
use crate::worker::{Letter, Mailboxes};

/// How long a changed key is left alone: one acquire changes it two or three times.
const GATHER: Duration = Duration::from_millis(10);

/// The ledger's answers go to the workers' mailboxes.
pub(super) struct Postman {
    pub(super) mail: Mailboxes,
    /// The thread that starts everything, which waits for the first mode.
    pub(super) main: std::thread::Thread,
}

impl Post for Postman {
    fn deliver(&self, worker: usize, answers: Vec<((usize, u32), Answer)>) {
        if let Some(mailbox) = self.mail.get(worker) {
            mailbox.put(answers.into_iter().map(|(to, answer)| (to, Letter::Answer(answer))));
        }
    }

    fn tell(&self, worker: usize, session: (usize, u32), told: Told) {
        if let Some(mailbox) = self.mail.get(worker) {
            mailbox.put([(session, Letter::Told(told))]);
        }
    }
}

impl Bell for Postman {
    fn ring(&self, (worker, session): (usize, (usize, u32))) {
        if let Some(mailbox) = self.mail.get(worker) {
            mailbox.put([(session, Letter::Bell)]);
        }
    }
}

impl Postman {
    /// Has every worker look at the mode.
    pub(super) fn wake_all(&self) {
        self.mail.iter().for_each(crate::worker::Mailbox::wake);
        self.main.unpark();
    }
}

/// The lock table follows the ledger.
pub(super) struct Follower {
    pub(super) table: Arc<Table>,
    pub(super) dirty: Arc<Dirty>,
    pub(super) board: Arc<Board>,
}

impl Watcher for Follower {
    /// While Redis is not asked, a pass is to come that looks at all of them.
    fn doubted(&self, key: &LockKey) {
        if !matches!(self.board.view().mode, Mode::Healthy | Mode::Recovering) {
            return;
        }
        match self.table.find(key).and_then(|record| record.other) {
            Some(guard) => self.dirty.touch_ended(key.clone(), guard),
            None => self.dirty.touch(key.clone()),
        }
    }

    fn held(&self, holder: &Arc<Holder>, lives: bool) {
        self.table.hold(holder, confidence(holder, lives));
    }

    /// Where the table has the lock as free it stays so: its release was told before it was written.
    /// What Redis may have of it is known by its guard alone, if it is no string.
    fn passed(&self, holder: &Arc<Holder>) {
        let key = &holder.claim.key;
        if self.table.find(key).is_some() {
            self.table.hold(holder, Confidence::Held);
        } else if self.board.view().mode != Mode::Healthy
            && let Some(guard) = &holder.claim.other
        {
            self.dirty.touch_ended(key.clone(), guard.clone());
        }
    }

    fn turned(&self, holder: &Arc<Holder>, lives: bool) {
        let Holder { claim, .. } = &**holder;
        self.table.set_confidence(&claim.key, &claim.stored, confidence(holder, lives));
        if !lives {
            // It may have ended before it made the key permanent.
            self.doubted(&claim.key);
        }
    }

    fn freed(&self, key: &LockKey, claim: Position) {
        // A content that the ledger does not have is known by this guard alone. While Redis is asked,
        // the release was made there.
        if self.board.view().mode != Mode::Healthy
            && let Some(record) = self.table.find(key)
            && let Some(guard) = record.other.filter(|_| record.claim == Some(claim))
        {
            self.dirty.touch_ended(key.clone(), guard);
        }
        self.table.free(key, claim);
        self.dirty.freed(key);
    }

    fn over(&self, key: &LockKey, fence: u64) {
        self.table.free_unwritten(key, fence);
        self.dirty.freed(key);
    }

    fn reset(&self, holders: &[Arc<Holder>], living: &BTreeSet<u64>) {
        let lives = |holder: &Holder| living.contains(&holder.at.log);
        self.table.replace(holders, |holder| confidence(holder, lives(holder)));
        self.dirty.all_freed();
    }
}

/// What runs that do not live have left: nobody knows whether a client that was not heard of again
/// was told of its grant (SPEC 3 and 8).
fn confidence(holder: &Holder, lives: bool) -> Confidence {
    if holder.heard || lives { Confidence::Held } else { Confidence::Unconfirmed }
}

/// The ledger as it is now, for repairs.
pub(super) struct Ledgers {
    pub(super) ledger: Arc<Ledger>,
    pub(super) table: Arc<Table>,
}

impl Truth for Ledgers {
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        self.ledger.holder(key)
    }

    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        of(self.ledger.standing(key, stored, None))
    }

    fn standing_other(&self, key: &LockKey, guard: &[u8]) -> Standing {
        of(self.ledger.standing(key, b"", Some(guard)))
    }

    fn is_observed(&self, key: &LockKey, claim: Position) -> bool {
        self.ledger.is_observed(key, claim)
    }

    fn room(&self) -> usize {
        self.table.room()
    }

    fn disputed(&self, key: &LockKey, stored: &[u8]) -> Option<Position> {
        self.ledger.with_fold(|fold| fold.disputed(key, stored))
    }

    fn is_undecided(&self, key: &LockKey) -> bool {
        self.ledger.with_fold(|fold| !fold.undecided_on(key).is_empty())
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.ledger.holders()
    }

    fn fence_floor(&self) -> Option<u64> {
        self.ledger.fence_floor()
    }
}

fn of(standing: fold::Standing) -> Standing {
    match standing {
        fold::Standing::Holder => Standing::Holder,
        fold::Standing::Dead => Standing::Dead,
        fold::Standing::Unknown => Standing::Unknown,
    }
}

/// The health thread hears of passes.
pub(super) struct Passes(pub(super) Reports);

impl Events for Passes {
    fn pass_ended(&self, run_id: &str, complete: bool) {
        self.0.pass_ended(run_id.into(), complete);
    }

    fn met_run(&self, run_id: &str) {
        self.0.verify(run_id);
    }

    fn good_probes(&self) -> u64 {
        self.0.good_probes()
    }

    fn is_served(&self, run_id: &str) -> bool {
        self.0.expects() && self.0.is_expected(run_id)
    }
}

/// Keys that others have changed are looked at by the repair thread.
pub(super) struct Scout {
    pub(super) rules: Arc<Rules>,
    pub(super) observed: Observed,
    pub(super) dirty: Arc<Dirty>,
    pub(super) reports: Reports,
}

impl Eye for Scout {
    fn changed(&self, keys: Vec<Vec<u8>>) {
        let Observed { databases, watched, origin } = &self.observed;
        let at = origin.elapsed() + GATHER;
        let is_observed = |key: &Vec<u8>| self.rules.find(key).is_some_and(|rule| rule.observe);
        for key in keys.iter().filter(|key| is_observed(key)) {
            // Redis does not say in which database.
            for db in &**databases {
                if !watched.changed(LockKey::new(*db, key), at) {
                    return self.missed();
                }
            }
        }
        self.dirty.ring();
    }

    fn missed(&self) {
        self.dirty.ask_for_pass();
    }

    fn met_run(&self, run_id: &str) {
        self.reports.verify(run_id);
    }
}

/// Sessions name locks that are to be looked at.
pub(super) struct Menders {
    pub(super) dirty: Arc<Dirty>,
    pub(super) unheard: Arc<Unheard>,
    pub(super) counters: Arc<Counters>,
    /// What is followed of locks that others put into Redis, and how, where rules are observed.
    pub(super) observed: Option<(Observed, Arc<Outlook>)>,
}

impl Repairs for Menders {
    fn touch(&self, key: &LockKey) {
        self.dirty.touch(key.clone());
    }

    fn touch_ended(&self, key: &LockKey, guard: Arc<[u8]>) {
        self.dirty.touch_ended(key.clone(), guard);
    }

    fn is_due(&self, key: &LockKey) -> bool {
        self.dirty.contains(key)
    }

    fn is_unheard(&self, key: &LockKey) -> bool {
        let is_unheard = self.unheard.contains(key);
        if is_unheard {
            // Its turn comes before that of others.
            self.dirty.touch(key.clone());
        }
        is_unheard
    }

    fn any_is_due(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn activity(&self) -> u64 {
        self.dirty.activity()
    }

    fn look_at_all(&self) {
        self.dirty.touch_all();
    }

    fn start_pass(&self) {
        self.dirty.ask_for_pass();
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts: Vec<_> = self.counters.list().into();
        if let Some((observed, outlook)) = &self.observed {
            counts.push(("observe_told", outlook.told()));
            counts.push(("observe_waiting", observed.watched.len() as u64));
            counts.push(("observe_overflows", observed.watched.overflows()));
        }
        counts
    }

    fn observing(&self) -> Option<String> {
        self.observed.as_ref().map(|(_, outlook)| outlook.state().to_string())
    }
}
