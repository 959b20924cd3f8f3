//! What operations ask of the ledger, and in which words they say that it did not answer.

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Ask, Asker, Cause, Claim, Guarantee, Ticket, Unavailable};
use crate::lock::acquire::Ledger;
use crate::lock::record::{LockKey, Position, Record};
use crate::mode::Mode;

use super::{Flow, Grant, Scope};

impl Scope<'_, '_> {
    /// Writes these to the ledger; the answer comes to this session's operation.
    pub(super) fn book(&self, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        let asker = Asker::Session(self.cx.worker, self.id);
        self.shared().door.submit(asker, asks)
    }

    /// The same for several requests, which are durable together or not at all.
    pub(super) fn book_together(&self, asks: Vec<Vec<Ask>>) -> Result<Vec<Ticket>, Unavailable> {
        let asker = Asker::Session(self.cx.worker, self.id);
        self.shared().door.submit_together(asker, asks)
    }

    /// True while a claim that has won is the lock, whatever Redis has.
    pub(super) fn decides(&self) -> bool {
        self.shared().ledger_use() != Ledger::Follows
    }

    /// True while what the ledger says of a lock counts against what Redis says: in strict, and in fast
    /// with others at the ledger while Redis does not decide, for they may be without it (SPEC 2).
    pub(super) fn believes_ledger(&self) -> bool {
        self.shared().believes_ledger()
    }

    /// True if the ledger alone may carry out what Redis did not: in `fast` only once this sidecar
    /// has said that it has lost Redis (SPEC 8, lock-delay).
    pub(super) fn serves_alone(&self) -> bool {
        let shared = self.shared();
        shared.guarantee == Guarantee::Strict || shared.board.view().mode != Mode::Healthy
    }

    /// `fast`, with others at the ledger: what is released here may be a grant that another has not
    /// written yet, so it is named by its value and by the counter of fences (SPEC 8).
    pub(super) fn asks_for_fences(&self) -> bool {
        self.shared().guarantee == Guarantee::Fast && self.shared().door.has_company()
    }

    /// True if locks are held that the ledger knows by their name.
    pub(super) fn has_claims(&self) -> bool {
        !self.shared().table.is_empty()
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

    /// When an acquire that begins to wait for its withdrawal now gives that up too: as long again as
    /// it has waited for its claim, but no more than [`WITHDRAWAL_WAIT`].
    pub(super) fn withdrawal_until(&self) -> Duration {
        let patience = self.shared().acquire_timeout.unwrap_or(WITHDRAWAL_WAIT);
        self.cx.now + patience.min(WITHDRAWAL_WAIT)
    }

    /// When a release that begins to wait for the ledger now gives up (SPEC 5).
    pub(super) fn release_until(&self) -> Duration {
        self.cx.now + self.shared().release_wait
    }

    /// When a look that begins to wait for the ledger now makes do with what is known: reads of known
    /// locks work without the ledger (SPEC 2).
    pub(super) fn look_until(&self) -> Duration {
        self.cx.now + self.shared().release_wait.min(LOOK_WAIT)
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
                Ask::ReleaseValue { key, stored, .. } => {
                    self.shared().table.release_if(key, stored);
                }
                Ask::Content { key, change, .. } => {
                    self.shared().table.change_content(key, change);
                }
                _ => {}
            }
        }
        if !releases.is_empty() {
            self.book_unattended(releases);
        }
    }

    /// The ledger follows: Redis has made this grant, with a fence. False if the ledger does not
    /// take it, because Redis does not decide any more: then nobody may be told of it.
    pub(super) fn grant(&self, key: &LockKey, record: &Record) -> bool {
        let (Ask::Claim(claim) | Ask::ClaimExpiring(claim), Some(fence)) =
            (self.claim_of(key, record), record.fence)
        else {
            return false;
        };
        let table = &self.shared().table;
        table.grant(key.clone(), record.clone());
        let asks = vec![Ask::Grant(claim, fence)];
        let taken = self.shared().door.submit(Asker::Nobody, asks).is_ok();
        if !taken {
            table.release_if(key, &record.stored);
        }
        taken
    }

    /// Redis has let go a grant whose reply was not written.
    pub(super) fn give_back(&self, grant: &Grant) {
        let shared = self.shared();
        let record = shared.table.find(&grant.key);
        let record = record.filter(|record| record.stored == grant.stored);
        // In `fast` the grant that gave the fence stands behind the claim too, and ends with it.
        let cause = match shared.guarantee {
            Guarantee::Strict => Cause::Undelivered,
            Guarantee::Fast => Cause::Client,
        };
        if let Some(release) = record.and_then(|r| self.release_of(&grant.key, &r, cause)) {
            self.book_unattended(vec![release]);
        }
        shared.table.release_if(&grant.key, &grant.stored);
    }

    /// The release of a lock that the table has; none if the ledger has never heard of it.
    pub(super) fn release_of(&self, key: &LockKey, record: &Record, cause: Cause) -> Option<Ask> {
        match record.claim {
            Some(claim) => Some(Ask::Release(key.clone(), claim, cause)),
            None if self.shared().guarantee == Guarantee::Strict => None,
            None => Some(release_of_value(key, record, cause)),
        }
    }

    /// Ends a grant of Redis's own whose mirror has not come to the ledger, and may never have been
    /// on its way there: heard of and ended it is dead, else a pass would take it for a lock that it
    /// does not know.
    pub(super) fn end_unwritten(&self, key: &LockKey, record: &Record, release: Ask) {
        let heard = match self.claim_of(key, record) {
            Ask::Claim(claim) | Ask::ClaimExpiring(claim) => Some(Ask::Observe(claim)),
            _ => None,
        };
        self.book_unattended(heard.into_iter().chain([release]).collect());
    }

    /// The locks of these releases, which a repair may put back before the ledger has them.
    pub(super) fn doubtful(&self, releases: &[Ask]) -> Vec<LockKey> {
        let key = |ask: &Ask| match ask {
            Ask::Release(key, ..)
            | Ask::ReleaseAny(key, _)
            | Ask::ReleaseValue { key, .. }
            | Ask::Extend(key, ..)
            | Ask::Content { key, .. } => Some(key.clone()),
            Ask::Renew(claim) => Some(claim.key.clone()),
            _ => None,
        };
        releases.iter().filter_map(key).collect()
    }

    /// The ledger has these releases now: if repairs were made since the command was sent, they
    /// may have put the locks back, and are to look again.
    pub(super) fn look_again(&self, released: &[LockKey]) {
        if self.has_repaired() {
            released.iter().for_each(|key| self.shared().repairs.touch(key));
        }
    }

    /// True if repairs were made since the operation under way began.
    pub(super) fn has_repaired(&self) -> bool {
        let (before, now) = (self.state.repairs_before, self.shared().repairs.activity());
        before % 2 == 1 || now != before
    }

    /// Gives up a claim that has won, because nobody was told of it.
    pub(super) fn give_up(&self, key: &LockKey, claim: Position) {
        self.book_unattended(vec![Ask::Release(key.clone(), claim, Cause::Undelivered)]);
        self.shared().repairs.touch(key);
    }
}

/// The release of a hold that the ledger knows by its value alone, if it knows it.
pub(super) fn release_of_value(key: &LockKey, record: &Record, cause: Cause) -> Ask {
    let (stored, other) = (record.stored.clone(), record.other.clone());
    Ask::ReleaseValue { key: key.clone(), stored, other, cause, fence: None }
}

/// Longest wait for a withdrawal to be durable. A ledger that answers at all needs less, and the
/// client has waited already for as long as it was told to.
const WITHDRAWAL_WAIT: Duration = Duration::from_secs(1);

/// Longest wait of a look for the ledger, which takes a millisecond if it answers at all.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// The error of an acquire whose claim was withdrawn (SPEC 3).
pub(super) const NOT_ACQUIRED: &str =
    "TRYAGAIN lockside: the ledger has not answered in time; not acquired";
/// The error of an acquire whose claim is still being withdrawn.
pub(super) const WITHDRAWING: &str = "TRYAGAIN lockside: unknown outcome: the ledger has not answered \
    in time; the claim is being withdrawn; ask again";
/// The error of a release that is still being written (SPEC 5).
pub(super) const RELEASING: &str = "TRYAGAIN lockside: releasing: the lock is released as soon as \
    the ledger answers; until then it is shown as releasing and stays taken";

/// The error of a release whose lock had changed hands in the ledger before this sidecar read of it.
pub(super) const NOT_RELEASED: &str = "TRYAGAIN lockside: unknown outcome: the lock had changed \
    hands meanwhile; look whether it is still yours, and release it again";

/// The owner of a lock for people: the worker of its value, or its client.
pub(super) fn owner(record_client: &Arc<str>, client_value: &[u8]) -> String {
    crate::lock::value::worker_id(client_value).unwrap_or(record_client).to_owned()
}
