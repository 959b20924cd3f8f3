//! WAIT behind a script that has taken locks: they count only once enough replicas have them (SPEC 10,
//! `min_replicas`).

use crate::resp::reply::Reply;
use crate::session::operation::acquire::{judge_replicas, send_wait};
use crate::session::operation::settle::Settlement;
use crate::session::operation::{Flow, Scope, TIMED};

use super::{Effect, Scripting, Step};

impl Scripting {
    /// The script has run, and has taken locks.
    pub(super) fn replicate(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        self.step = Step::Replicating(Box::new(effect));
        send_wait(scope);
        TIMED
    }

    /// WAIT's reply.
    pub(super) fn replicated(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let reply = Reply::parse(frame).map_or(Reply::Error(b""), |(reply, _)| reply);
        if let Err(text) = judge_replicas(&reply, scope.shared()) {
            if let Flow::Close = self.withdraw(text, scope) {
                return Flow::Close;
            }
            return self.reopened(scope);
        }
        match std::mem::replace(&mut self.step, Step::Loading) {
            Step::Replicating(effect) => self.settle(*effect, scope),
            _ => Flow::Close,
        }
    }

    /// Takes back what the script has taken; what it has released stays released. On a new link,
    /// unless the caller has one.
    pub(super) fn withdraw(&mut self, why: String, scope: &Scope<'_, '_>) -> Flow {
        match std::mem::replace(&mut self.step, Step::Loading) {
            Step::Replicating(effect) => {
                let settlement = Settlement::withdraw(effect.taken, effect.releases, why, scope);
                self.step = Step::Settling(Box::new(settlement), Vec::new());
                Flow::Reopen
            }
            _ => Flow::Close,
        }
    }
}
