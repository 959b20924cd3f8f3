//! What a pass tells the ledger of Redis. Pure: [`Pass::next`] hands it out.

use super::{MOST_DOUBTS, Note, Pass, Repair, doubtful};
use crate::ledger::entry::OBSERVED;
use crate::ledger::fold::Holder;
use crate::ledger::{Ask, Claim, ContentChange};
use crate::lock::content;
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;

impl Pass {
    /// True if this repair is doubtful and what it is about has not been met before: it is
    /// remembered. Doubts are bounded; past that there are none.
    pub(super) fn is_new_doubt(&mut self, key: &LockKey, repair: Repair<'_>) -> bool {
        let Some(Guard::Value(doubted) | Guard::Other(doubted)) = doubtful(repair) else {
            return false;
        };
        if self.doubts.len() >= MOST_DOUBTS {
            return false;
        }
        self.doubts.insert(key.clone(), doubted.to_vec()).is_none_or(|known| known != doubted)
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
