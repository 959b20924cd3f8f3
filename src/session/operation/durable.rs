//! What operations ask of the ledger, and in which words they say that it did not answer.

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Ask, Asker, Cause, Claim, Ticket, Unavailable};
use crate::lock::acquire::Ledger;
use crate::lock::record::{LockKey, Position, Record};

use super::{Flow, Scope};

impl Scope<'_, '_> {
    /// Writes these to the ledger; the answer comes to this session's operation.
    pub(super) fn book(&self, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        let asker = Asker::Session(self.cx.worker, self.id);
        self.shared().door.submit(asker, asks)
    }

    /// True while a claim that has won is the lock, whatever Redis has.
    pub(super) fn decides(&self) -> bool {
        self.shared().ledger_use() != Ledger::Follows
    }

    /// True if locks are held that the ledger knows by their name.
    pub(super) fn has_claims(&self) -> bool {
        self.decides() && !self.shared().table.is_empty()
    }

    /// True while the ledger has a say, and does not answer.
    pub(super) fn is_blocked(&self) -> bool {
        let shared = self.shared();
        shared.ledger_use() != Ledger::Follows && shared.door.trouble().is_some()
    }

    /// SPEC 5: the ledger must be answering before a command that can change a lock goes
    /// upstream.
    pub(super) fn refuse_if_blocked(&mut self) -> Option<Flow> {
        if self.shared().ledger_use() == Ledger::Follows {
            return None;
        }
        let trouble = self.shared().door.trouble()?;
        let text =
            format!("TRYAGAIN lockside: nothing was done: the ledger does not answer ({trouble})");
        Some(self.answer_error(&text))
    }

    /// Writes these to the ledger as soon as that is possible; nobody waits.
    pub(super) fn book_unattended(&self, asks: Vec<Ask>) {
        if self.shared().door.submit(Asker::Nobody, asks).is_err() {
            // As much waits already as may wait: what is lost here is found by comparing.
            tracing::error!("the ledger's queue is full: a change of locks is not written");
            self.shared().repairs.look_at_all();
        }
    }

    /// When an acquire that begins to wait for the ledger now gives up (SPEC 3).
    pub(super) fn claim_until(&self, lifetime: Duration) -> Duration {
        self.cx.now + self.shared().acquire_timeout.unwrap_or(lifetime)
    }

    /// When a release that begins to wait for the ledger now gives up (SPEC 5).
    pub(super) fn release_until(&self) -> Duration {
        self.cx.now + self.shared().release_wait
    }

    /// The claim of an acquire.
    pub(super) fn claim_of(&self, key: &LockKey, record: &Record) -> Ask {
        let claim = Claim {
            key: key.clone(),
            stored: record.stored.clone(),
            other: record.other.clone(),
            rule: record.rule.clone(),
            client: record.client.clone(),
            at_ms: record.granted_at_ms,
            asked_ttl_ms: record.asked_ttl_ms,
            expires_at_ms: record.expires_at_ms,
            marker: record.marker.clone(),
        };
        match claim.expires_at_ms {
            Some(_) => Ask::ClaimExpiring(claim),
            None => Ask::Claim(claim),
        }
    }

    /// The ledger follows (`fast`, calm): it hears of these afterwards.
    pub(super) fn follow_up(&self, releases: Vec<Ask>) {
        for ask in &releases {
            match ask {
                Ask::Release(key, ..) | Ask::ReleaseAny(key, _) => {
                    self.shared().table.release(key);
                }
                Ask::ReleaseValue(key, stored, _) => {
                    self.shared().table.release_if(key, stored);
                }
                _ => {}
            }
        }
        if !releases.is_empty() {
            self.book_unattended(releases);
        }
    }

    /// The ledger follows: Redis has made this grant.
    pub(super) fn grant(&self, key: &LockKey, record: &Record) {
        self.shared().table.grant(key.clone(), record.clone());
        if let (Ask::Claim(claim) | Ask::ClaimExpiring(claim), Some(fence)) =
            (self.claim_of(key, record), record.fence)
        {
            self.book_unattended(vec![Ask::Grant(claim, fence)]);
        }
    }

    /// The locks of these releases, which a repair may put back before the ledger has them.
    pub(super) fn doubtful(&self, releases: &[Ask]) -> Vec<LockKey> {
        let key = |ask: &Ask| match ask {
            Ask::Release(key, ..) | Ask::ReleaseAny(key, _) | Ask::ReleaseValue(key, ..) => {
                Some(key.clone())
            }
            _ => None,
        };
        releases.iter().filter_map(key).collect()
    }

    /// The ledger has these releases now: if repairs were made since the command was sent, they
    /// may have put the locks back, and are to look again.
    pub(super) fn look_again(&self, released: &[LockKey]) {
        let (before, now) = (self.state.repairs_before, self.shared().repairs.activity());
        if before % 2 == 1 || now != before {
            released.iter().for_each(|key| self.shared().repairs.touch(key));
        }
    }

    /// Gives up a claim that has won, because nobody was told of it.
    pub(super) fn give_up(&self, key: &LockKey, claim: Position) {
        self.book_unattended(vec![Ask::Release(key.clone(), claim, Cause::Undelivered)]);
        self.shared().repairs.touch(key);
    }
}

/// The error of an acquire whose claim was withdrawn (SPEC 3).
pub(super) const NOT_ACQUIRED: &str =
    "TRYAGAIN lockside: the ledger has not answered in time; not acquired";
/// The error of a release that is still being written (SPEC 5).
pub(super) const RELEASING: &str = "TRYAGAIN lockside: releasing: the lock is released as soon as \
    the ledger answers; until then it is shown as releasing and stays taken";

/// The owner of a lock for people: the worker of its value, or its client.
pub(super) fn owner(record_client: &Arc<str>, client_value: &[u8]) -> String {
    crate::lock::value::worker_id(client_value).unwrap_or(record_client).to_owned()
}
