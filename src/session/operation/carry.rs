//! A client that blocks on companion keys (python-redis-lock's BLPOP) while Redis goes and comes:
//! it is carried over, and waits where its signal will come (SPEC 6).
//!
//! The timeout begins anew each time: a waiter looks again later than it asked for, never earlier.

use std::time::Duration;

use crate::mode::Mode;

use super::serve::Serving;
use super::{Flow, Operation, Scope, UNTIMED};

/// How long it takes to find out whether Redis has gone, or only the link.
const VERDICT: Duration = Duration::from_millis(300);

/// The blocking command, between two places to wait at.
pub(in crate::session) struct Carrying {
    words: Vec<Vec<u8>>,
}

impl Carrying {
    /// Its link was lost: waits until it is known what that means.
    pub(super) fn begin(
        words: Vec<Vec<u8>>,
        scope: &Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let flow = Self::pause(scope);
        (Some(Box::new(Operation::Carry(Self { words }))), flow)
    }

    /// Redis is back: it waits there from now on.
    pub(super) fn back(words: Vec<Vec<u8>>) -> (Self, Flow) {
        (Self { words }, Flow::Reopen)
    }

    fn pause(scope: &Scope<'_, '_>) -> Flow {
        Flow::Ledger { until: scope.cx.now + VERDICT }
    }

    /// It is known by now: where it is to wait. With Redis, unless something is given.
    pub(super) fn decide(&mut self, scope: &mut Scope<'_, '_>) -> (Option<Serving>, Flow) {
        if scope.shared().board.view().mode == Mode::Healthy {
            return (None, Flow::Reopen);
        }
        let words = std::mem::take(&mut self.words);
        let (serving, flow) = Serving::in_place_of(words, None, scope);
        (Some(serving), flow)
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
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
