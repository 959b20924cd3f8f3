//! Changes of what stands under a held lock that is no string. Pure.

use std::sync::Arc;

use super::super::Outcome;
use super::super::entry::{ContentChange, Position};
use super::{Change, Fold, Token, Verdict};
use crate::lock::content;
use crate::lock::record::LockKey;

impl Fold {
    /// The holder's content, which is no string, changes. What stood there before is dead to repairs:
    /// a Redis that still has it has old data.
    pub(super) fn change(
        &mut self,
        key: &LockKey,
        claim: Position,
        change: &ContentChange,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let held = self.holders.get_mut(key).filter(|held| held.is_named(claim));
        let Some(mark) = held.as_ref().and_then(|held| held.holder.claim.other.clone()) else {
            return Outcome::NotHeld;
        };
        let now = content::split(&mark).1;
        let token = |bytes: &[u8]| Token::new(key, b"", Some(&content::renamed(&mark, bytes)));
        let is_out_of_order = !change.whole && !change.is_in_parts(now) && *change.from != *now;
        if is_out_of_order && token(&change.to).is_some_and(|token| self.dead.has(&token)) {
            // A later change has come before it.
            return Outcome::Noted;
        }
        let (Some(held), Some(after)) = (held, change.apply(now)) else {
            return Outcome::NotHeld;
        };
        let skipped = is_out_of_order.then(|| token(&change.from)).flatten();
        let after = content::renamed(&mark, &after);
        if after == mark {
            return Outcome::Noted;
        }
        let holder = Arc::make_mut(&mut held.holder);
        let fence = holder.fence;
        let before = Token::of(&holder.claim);
        holder.claim.other = Some(after);
        let now = Token::of(&holder.claim);
        changes.push(Change::Held(held.holder.clone()));
        before.into_iter().chain(skipped).for_each(|token| self.dead.insert(token, fence));
        now.iter().for_each(|token| self.dead.remove(token));
        Outcome::Noted
    }
}

#[cfg(test)]
mod tests;
