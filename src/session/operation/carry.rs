//! A client that blocks on companion keys (python-redis-lock's BLPOP) while Redis goes and comes:
//! it is carried over, and waits where its signal will come, for the time that it has left (SPEC 6).

use std::time::Duration;

use crate::mode::Mode;

use super::serve::Serving;
use super::{Flow, Operation, Scope, UNTIMED};

mod patience;

/// How long it takes to find out whether Redis has gone, or only the link.
const VERDICT: Duration = Duration::from_millis(300);

/// The blocking command, between two places to wait at.
pub(in crate::session) struct Carrying {
    words: Vec<Vec<u8>>,
    /// When its client has waited for long enough; none: never, or its words do not tell.
    until: Option<Duration>,
}

impl Carrying {
    /// Its link was lost: waits until it is known what that means. `since`: when it was sent.
    pub(super) fn begin(
        words: Vec<Vec<u8>>,
        since: Duration,
        scope: &Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let until = patience::of(&words).map(|patience| since + patience);
        let flow = Self::pause(scope);
        (Some(Box::new(Operation::Carry(Self { words, until }))), flow)
    }

    /// Redis is back: it waits there from now on, `until` then at most.
    pub(super) fn back(words: Vec<Vec<u8>>, until: Duration) -> (Self, Flow) {
        // Who waits for ever has a time that is only far away.
        let until = patience::of(&words).map(|_| until);
        (Self { words, until }, Flow::Reopen)
    }

    fn pause(scope: &Scope<'_, '_>) -> Flow {
        Flow::Ledger { until: scope.cx.now + VERDICT }
    }

    /// The command with the time that is left now.
    fn words(&self, scope: &Scope<'_, '_>) -> Vec<Vec<u8>> {
        match self.until {
            Some(until) => patience::shortened(&self.words, until.saturating_sub(scope.cx.now)),
            None => self.words.clone(),
        }
    }

    /// It is known by now: where it is to wait. With Redis, unless something is given.
    pub(super) fn decide(&mut self, scope: &mut Scope<'_, '_>) -> (Option<Serving>, Flow) {
        if scope.shared().board.view().mode == Mode::Healthy {
            return (None, Flow::Reopen);
        }
        let (serving, flow) = Serving::in_place_of(self.words(scope), None, scope);
        (Some(serving), flow)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let words = self.words(scope);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        scope.send(&words);
        UNTIMED
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        scope.answer(frame)
    }

    pub(super) fn link_failed(&mut self, scope: &Scope<'_, '_>) -> Flow {
        Self::pause(scope)
    }
}
