//! What can happen in a world of the model, and machines that are wrong on purpose.

use crate::lock::acquire::{Effect, Input, Outcome, Request};

use super::model::Wire;

/// A machine, or a Redis, that is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twin {
    /// The real machine and a guarded PERSIST.
    None,
    /// PERSIST takes the TTL off whatever stands there, and answers 1.
    Unguarded,
    /// OK as soon as the SET has succeeded.
    OkBeforePersist,
    /// A PERSIST whose reply was lost is taken for done, without another look.
    Trusting,
    /// The plain PERSIST's 1 is believed however late it comes.
    Unhurried,
}

/// What can happen in a world, and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Laws {
    pub(super) twin: Twin,
    /// Scripts are allowed; else the machine has to use the plain PERSIST, and a clock runs.
    pub(super) scripts: bool,
    /// Client A resumes an unconfirmed grant of its own.
    pub(super) resumes: bool,
    /// A SET counts only once replicas have it.
    pub(super) replicas: bool,
    /// How many of these may happen in all: a loss, a delay, a refusal, a link that can't be had,
    /// a client that goes. Everything else (order, the key's TTL, strangers) has no bound.
    pub(super) faults: u8,
    /// How many requests may arrive after their link was given up; each is a fault too.
    pub(super) late: u8,
    /// Also asked: who was told "no", or has released, leaves nothing for good in Redis.
    pub(super) orphans: bool,
}

impl Laws {
    /// Scripts allowed, one late request.
    pub(super) const GUARDED: Self = Self {
        twin: Twin::None,
        scripts: true,
        resumes: false,
        replicas: false,
        faults: 4,
        late: 1,
        orphans: true,
    };
    /// Scripts forbidden. Not asked about orphans: a late plain PERSIST makes any key permanent.
    pub(super) const PLAIN: Self = Self { scripts: false, orphans: false, ..Self::GUARDED };
}

impl Twin {
    /// What this twin does instead.
    pub(super) fn pervert(self, asked: Wire, input: Input, effect: Effect) -> Effect {
        let persist_lost =
            matches!(asked, Wire::Sent(Request::Persist) | Wire::Answered(Request::Persist, _));
        match (self, input, effect) {
            (Self::OkBeforePersist, Input::Taken, Effect::Send(Request::Persist)) => {
                Effect::Finish(Outcome::Granted)
            }
            (Self::Trusting, Input::Lost, Effect::Reopen) if persist_lost => {
                Effect::Finish(Outcome::Granted)
            }
            (Self::Unhurried, Input::TtlRemoved, Effect::Send(Request::Confirm)) => {
                Effect::Finish(Outcome::Granted)
            }
            _ => effect,
        }
    }
}
