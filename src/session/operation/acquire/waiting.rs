//! An acquire that waits for another session's of the same lock (`session::flights`). It waits no
//! longer than `acquire_timeout`, and what is left of that is for its own turn.

use std::time::Duration;

use crate::session::flights::Verdict;
use crate::session::operation::{Flow, Scope};

use super::words::WAITED;
use super::{Acquiring, replicas};

impl Acquiring {
    /// Another asks.
    pub(super) fn begin_to_wait(&mut self, scope: &Scope<'_, '_>) -> Flow {
        self.waits = true;
        self.until = scope.claim_until(self.ask.safety_ttl);
        self.waited_until = Some(self.until);
        self.waiting()
    }

    pub(in crate::session::operation) fn waits(&self) -> bool {
        self.waits
    }

    /// How the other's has ended.
    pub(in crate::session::operation) fn verdict(
        &mut self,
        verdict: Verdict,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        self.waits = false;
        match verdict {
            Verdict::Held => {
                self.question = None;
                self.answer_held(scope)
            }
            Verdict::Ask => self.ask_redis(scope),
            Verdict::TooFew(have) => {
                self.question = None;
                let text = replicas::too_few(have, scope.shared());
                scope.answer_error(&text)
            }
        }
    }

    /// It is answered without the other.
    pub(super) fn stop_waiting(&mut self, text: &str, scope: &mut Scope<'_, '_>) -> Flow {
        self.waits = false;
        if let Some(question) = self.question.take() {
            scope.cx.flights.leave(&question, scope.id);
        }
        scope.answer_error(text)
    }

    /// It has waited for long enough: Redis and the ledger were not asked.
    pub(super) fn has_waited(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        self.stop_waiting(WAITED, scope)
    }

    /// When a claim that is made now is given up.
    pub(super) fn patience(&self, scope: &Scope<'_, '_>) -> Duration {
        let until = scope.claim_until(self.ask.safety_ttl);
        self.waited_until.map_or(until, |waited| waited.min(until))
    }
}
