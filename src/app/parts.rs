//! Where the parts meet: what the ledger's, the health and the repair thread have to tell the
//! workers and the lock table.

use std::sync::Arc;

use crate::health::Reports;
use crate::ledger::fold::{self, Holder};
use crate::ledger::thread::Ledger;
use crate::ledger::thread::{Post, Watcher};
use crate::ledger::{Answer, Position, Told};
use crate::lock::record::{Confidence, LockKey};
use crate::mode::{Board, Mode};
use crate::repair::{Counters, Dirty, Events, Standing, Truth};
use crate::session::{Bell, Repairs};
use crate::table::Table;
use crate::worker::{Letter, Mailboxes};

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
    fn held(&self, holder: &Arc<Holder>) {
        self.table.hold(holder, Confidence::Held);
    }

    fn freed(&self, key: &LockKey, claim: Position) {
        // The ledger keeps no content of a lock that is not a string: what Redis still has of it is
        // known by this guard alone. While Redis is asked, the release was made there.
        if self.board.view().mode != Mode::Healthy
            && let Some(record) = self.table.find(key)
            && let Some(guard) = record.other.filter(|_| record.claim == Some(claim))
        {
            self.dirty.touch_ended(key.clone(), guard);
        }
        self.table.free(key, claim);
    }

    /// What runs before this one have left: nobody knows whether a client that was not heard of
    /// again was told of its grant (SPEC 3).
    fn reset(&self, holders: &[Arc<Holder>]) {
        self.table.clear();
        for holder in holders {
            let heard = if holder.heard { Confidence::Held } else { Confidence::Unconfirmed };
            self.table.hold(holder, heard);
        }
    }
}

/// The ledger as it is now, for repairs.
pub(super) struct Ledgers(pub(super) Arc<Ledger>);

impl Truth for Ledgers {
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        self.0.holder(key)
    }

    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        of(self.0.standing(key, stored, None))
    }

    fn standing_other(&self, key: &LockKey, guard: &[u8]) -> Standing {
        of(self.0.standing(key, b"", Some(guard)))
    }

    fn disputed(&self, key: &LockKey, stored: &[u8]) -> Option<Position> {
        self.0.with_fold(|fold| fold.disputed(key, stored))
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.0.holders()
    }

    fn fence_floor(&self) -> Option<u64> {
        self.0.fence_floor()
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
}

/// Sessions name locks that are to be looked at.
pub(super) struct Menders {
    pub(super) dirty: Arc<Dirty>,
    pub(super) counters: Arc<Counters>,
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
        self.counters.list().into()
    }
}
