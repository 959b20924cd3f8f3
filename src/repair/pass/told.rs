//! What a pass tells the ledger of Redis. Pure: [`Pass::next`] hands it out.

use std::time::Duration;

use super::{MOST_DOUBTS, Note, Pass, Repair, doubtful};
use crate::ledger::entry::OBSERVED;
use crate::ledger::fold::Holder;
use crate::ledger::{Ask, Claim, ContentChange};
use crate::lock::content;
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;

/// So many times as long as a mirror may be late is a dead value left alone: there is a read of the
/// ledger between.
const MIRRORS: u64 = 2;

/// The dead value that this repair takes away.
fn dead(repair: Repair<'_>) -> Option<&[u8]> {
    match repair {
        Repair::Delete(Guard::Value(value))
        | Repair::Replace { theirs: Guard::Value(value), conflict: false, .. } => Some(value),
        _ => None,
    }
}

impl Pass {
    /// `fast`: for how long others may have to write what Redis has granted through them by now
    /// ([`crate::ledger::Door::mirror_lag`]). A value that was released may be such a grant: its client
    /// has taken the lock again with the same token.
    pub fn mirrors_within(&mut self, lag: Duration) {
        self.mirrors.lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
    }

    /// True if this repair is doubtful and what it is about has not been met before, or not for long
    /// enough: it is remembered. Doubts are bounded; past that there are none.
    pub(super) fn is_new_doubt(&mut self, key: &LockKey, repair: Repair<'_>, now_ms: u64) -> bool {
        let (doubted, least) = match (doubtful(repair), dead(repair)) {
            (Some(Guard::Value(doubted) | Guard::Other(doubted)), _) => (doubted, 0),
            (None, Some(value)) if self.may_be_granted_again() => {
                (value, self.mirrors.lag_ms.saturating_mul(MIRRORS))
            }
            (None, _) => return false,
        };
        match self.doubts.get(key) {
            Some((known, since)) if known == doubted => now_ms.saturating_sub(*since) < least,
            None if self.doubts.len() >= MOST_DOUBTS => false,
            _ => {
                self.doubts.insert(key.clone(), (doubted.to_vec(), now_ms));
                true
            }
        }
    }

    /// A pass over everything that follows an outage begins when all grants from before it are written.
    fn may_be_granted_again(&self) -> bool {
        self.mirrors.lag_ms > 0 && (!self.is_full || self.is_careful)
    }

    /// Tells the ledger what the holder's content is now.
    pub(super) fn note_change(&mut self, holder: Option<&Holder>, theirs: &[u8]) {
        let Some(holder) = holder else { return };
        let part = |mark: &[u8]| content::split(mark).1.into();
        let from = holder.claim.other.as_deref().map_or_else(|| [].into(), part);
        let change = ContentChange { from, to: part(theirs), whole: true };
        let key = holder.claim.key.clone();
        self.notes.push(Note::Followed(key.clone()));
        self.told.push(Ask::Content { key, claim: Some(holder.at), change });
    }

    pub(super) fn observe(&mut self, key: &LockKey, theirs: Guard<'_>, now_ms: u64) {
        let (stored, other): (&[u8], _) = match theirs {
            Guard::Value(stored) => (stored, None),
            Guard::Other(mark) => (&[], Some(mark.into())),
        };
        let rule = self.policy.rules.find(key.key()).map_or("", |rule| &rule.name);
        self.told.push(Ask::Observe(Claim {
            key: key.clone(),
            stored: stored.into(),
            other,
            rule: rule.into(),
            client: OBSERVED.into(),
            at_ms: now_ms,
            asked_ttl_ms: None,
            expires_at_ms: None,
            marker: None,
        }));
    }
}
