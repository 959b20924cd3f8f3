//! Rounds over keys of observed rules that others have changed (SPEC 6, `observe`): each is looked at
//! by the same script, and judged by the same tables, as in any pass.

use std::time::{Duration, Instant};

use super::{Purpose, ROUND, Thread};
use crate::lock::record::LockKey;
use crate::repair::Observed;
use crate::repair::pass::{Moment, Pass};

/// How long a key is left alone whose meaning was not clear at the first look.
const RELOOK: Duration = Duration::from_millis(500);
/// Behind a key's TTL, until it is sure to be gone.
const BEHIND_TTL: u64 = 50;

impl Thread {
    /// How long until the next changed key is to be looked at. None: there is none, or the mode does
    /// not allow it.
    pub(super) fn until_watch(&self) -> Option<Duration> {
        let observed = self.shared.parts.observed.as_ref().filter(|_| self.is_healthy())?;
        let due = observed.watched.next_due()?.saturating_sub(observed.origin.elapsed());
        Some(due.max(self.next_connect.saturating_duration_since(Instant::now())))
    }

    /// True if a changed key is to be looked at now.
    pub(super) fn is_watch_due(&self) -> bool {
        self.until_watch().is_some_and(|left| left.is_zero())
    }

    /// Looks at keys that were changed, once each.
    pub(super) fn watch_round(&mut self) {
        let Some(observed) = self.shared.parts.observed.clone() else { return };
        let due = observed.watched.take_due(observed.origin.elapsed(), ROUND);
        if due.is_empty() {
            return;
        }
        let changed = due.iter().filter(|(_, changed)| *changed).map(|(key, _)| key.clone());
        let signs = std::mem::take(&mut self.signs).with_changed(changed);
        let keys: Vec<_> = due.into_iter().map(|(key, _)| key).collect();
        let doubts = std::mem::take(&mut self.doubts);
        let policy = self.shared.parts.policy.clone();
        let mut pass = Pass::of_keys(policy, keys.iter().cloned(), doubts)
            .following(observed.databases.clone(), signs);
        self.drive(&mut pass, Purpose::Watched);
        let done = pass.take_done();
        let at = observed.origin.elapsed() + RELOOK;
        let undone = keys.into_iter().filter(|key| !done.contains(key));
        let undone: Vec<_> = undone.map(|key| (key, at)).collect();
        self.look_later(&observed, undone);
        self.revisit(&mut pass);
        self.signs = pass.take_signs();
        self.doubts.extend(pass.into_doubts());
    }

    /// Has the keys looked at again that a pass has named.
    pub(super) fn revisit(&self, pass: &mut Pass) {
        let Some(observed) = &self.shared.parts.observed else { return };
        let now = observed.origin.elapsed();
        let after = |ms: u64| now + Duration::from_millis(ms.saturating_add(BEHIND_TTL));
        let keys = pass.take_revisits().into_iter().map(|(key, ms)| (key, after(ms))).collect();
        self.look_later(observed, keys);
    }

    fn look_later(&self, observed: &Observed, keys: Vec<(LockKey, Duration)>) {
        for (key, at) in keys {
            if !observed.watched.look(key, at) {
                self.dirty().ask_for_pass();
            }
        }
    }

    /// What a pass that follows may go by.
    pub(super) fn moment(&self) -> Moment {
        let parts = &self.shared.parts;
        let run = self.link.as_ref().map(super::Link::run_id);
        Moment {
            now: parts.observed.as_ref().map_or(Duration::ZERO, |it| it.origin.elapsed()),
            probes: parts.events.good_probes(),
            follows: self.is_healthy() && run.is_some_and(|run| parts.events.is_served(run)),
        }
    }
}
