//! The provisional key lives on while its claim is under way (SPEC 3): a guarded PEXPIRE every half
//! safety TTL.
//!
//! The claim decides, with or without the key: what this saves is the time between the key's end and
//! the repair that puts it back, in which Redis would say "free" to others.

use std::time::Duration;

use crate::lock::envelope::scripts;
use crate::session::operation::{Flow, Scope};

use super::{Acquiring, settle};

/// When the key is refreshed next, and what Redis still owes for it.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    at: Option<Duration>,
    /// Replies that are still to come, of no interest.
    owed: u8,
}

impl Refresh {
    /// What comes first: the next refresh, or `until`.
    pub(super) fn or(&self, until: Duration) -> Duration {
        self.at.map_or(until, |at| at.min(until))
    }

    /// True if the deadline that has passed was a refresh's.
    pub(super) fn is_due(&self) -> bool {
        self.at.is_some()
    }

    /// Takes a reply, if it is to a refresh.
    pub(super) fn is_answered(&mut self) -> bool {
        let is_owed = self.owed > 0;
        self.owed -= u8::from(is_owed);
        is_owed
    }

    /// The ledger has answered: there will be no more of them.
    pub(super) fn at_rest(&mut self) {
        self.at = None;
    }

    /// The link is gone.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

impl Acquiring {
    /// Sets the time of the next refresh, if the claim may take so long.
    pub(super) fn expect_refresh(&mut self, scope: &Scope<'_, '_>) {
        let at = scope.cx.now + self.ask.safety_ttl / 2;
        let may = self.ask.persistent && self.machine.has_set() && !self.link_lost;
        self.refresh.at = Some(at).filter(|at| may && *at < self.until);
    }

    /// Half a safety TTL is over.
    pub(super) fn send_refresh(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        // Redis has not answered the last one: it would not answer this one sooner.
        if self.refresh.owed == 0 {
            let ttl = self.ask.safety_ttl.as_millis().to_string();
            let guard = settle::value_guard(&self.ask.stored);
            let text = scripts::REFRESH.text.as_bytes();
            scope.send(&[b"EVAL", text, b"1", &self.ask.key, &guard, ttl.as_bytes()]);
            self.refresh.owed += 1;
        }
        self.expect_refresh(scope);
        self.waiting()
    }
}
