//! Where the parts meet: what the ledger's, the health and the repair thread have to tell the
//! workers and the lock table.

use std::sync::Arc;

use crate::ledger::fold::Holder;
use crate::ledger::thread::{Post, Watcher};
use crate::ledger::{Answer, Position};
use crate::lock::record::{Confidence, LockKey};
use crate::session::{Bell, Shared};
use crate::table::Table;
use crate::worker::{Letter, Mailboxes};

/// The ledger's answers go to the workers' mailboxes.
pub(super) struct Postman(pub(super) Mailboxes);

impl Post for Postman {
    fn deliver(&self, worker: usize, answers: Vec<((usize, u32), Answer)>) {
        if let Some(mailbox) = self.0.get(worker) {
            mailbox.put(answers.into_iter().map(|(to, answer)| (to, Letter::Answer(answer))));
        }
    }
}

impl Bell for Postman {
    fn ring(&self, (worker, session): (usize, (usize, u32))) {
        if let Some(mailbox) = self.0.get(worker) {
            mailbox.put([(session, Letter::Bell)]);
        }
    }
}

impl Postman {
    /// Has every worker look at the mode.
    pub(super) fn wake_all(&self) {
        self.0.iter().for_each(crate::worker::Mailbox::wake);
    }
}

/// The lock table follows the ledger.
pub(super) struct Follower(pub(super) Arc<Table>);

impl Watcher for Follower {
    fn held(&self, holder: &Arc<Holder>) {
        self.0.hold(holder, Confidence::Held);
    }

    fn freed(&self, key: &LockKey, claim: Position) {
        self.0.free(key, claim);
    }

    /// What runs before this one have left: nobody knows whether a client that was not heard of
    /// again was told of its grant (SPEC 3).
    fn reset(&self, holders: &[Arc<Holder>]) {
        self.0.clear();
        for holder in holders {
            let heard = if holder.heard { Confidence::Held } else { Confidence::Unconfirmed };
            self.0.hold(holder, heard);
        }
    }
}
