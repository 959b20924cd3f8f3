//! Releases that the ledger could make nothing of, for their grants were not written yet (`fast`). Pure.
//!
//! A client takes a lock through one sidecar and releases it through another before the first has
//! written the grant: the second finds no claim to release. When the grant comes it is given up, by an
//! entry that ends one claim of the value alone: a client that has taken the lock again meanwhile, with
//! the same token, keeps it.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::entry::{Cause, Entry, Row};
use super::super::fold::{Fold, Token};
use super::super::{Ask, Outcome};
use super::request::Part;

/// Values that are remembered; past that the oldest goes.
const EARLY_KEPT: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Early(VecDeque<(Token, Duration)>);

impl Early {
    /// A release was answered. `until`: when its grant is not waited for any more.
    pub(super) fn note(&mut self, part: &Part, until: Duration) {
        let Ask::ReleaseValue { key, stored, other, .. } = &part.ask else { return };
        if part.at.is_some() || part.outcome != Some(Outcome::NotHeld) {
            return;
        }
        let token = Token::new(key, stored, other.as_deref());
        self.0.extend(token.map(|token| (token, until)));
        if self.0.len() > EARLY_KEPT {
            self.0.pop_front();
        }
    }

    /// A row was followed. What is to be written if it is the grant of such a release. `is_own`: of this
    /// sidecar, which knows what it has granted since.
    pub(super) fn met(
        &mut self,
        row: &Row,
        is_own: bool,
        fold: &Fold,
        now: Duration,
    ) -> Option<Ask> {
        let Entry::Grant(claim, _) = &row.entry else { return None };
        self.0.retain(|(_, until)| now < *until);
        if self.0.is_empty() {
            return None;
        }
        let token = Token::of(claim)?;
        let place = self.0.iter().position(|(early, _)| *early == token)?;
        self.0.remove(place);
        let holds = fold.holder_named(&claim.key, row.at).is_some();
        (holds && !is_own).then(|| Ask::Release(claim.key.clone(), row.at, Cause::Undelivered))
    }
}
