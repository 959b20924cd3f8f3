//! The acquire machine: `SET NX` with a safety TTL, then a guarded PERSIST, with every reply that
//! can be lost in between spelled out (SPEC 3).
//!
//! Pure: no socket, no clock, no map. The driver feeds it one [`Input`] at a time and carries out
//! the one [`Effect`] that comes back. Contract:
//!
//! * Every `Send` is answered by exactly one of: the reply of that request, [`Input::Lost`] (the
//!   link broke before the reply) or [`Input::TimedOut`] (no reply in time; the driver has dropped
//!   the link, so that a late reply can never be read as the answer to something else), or
//!   [`Input::ReopenFailed`] (the link never stood, and the request was not carried out).
//! * `Claim` is answered by exactly one of [`Input::Won`], [`Input::Beaten`], [`Input::Unheard`],
//!   [`Input::Undecided`] and [`Input::NoLedger`]. Of a link that breaks meanwhile the machine need
//!   not hear.
//! * `Reopen` is answered by [`Input::Reopened`], which may be hopeful (the link is being opened),
//!   or [`Input::ReopenFailed`].
//! * [`Input::ClientGone`] may come at any moment and is answered by `Wait`.
//! * After `Finish` the machine takes no more input.
//!
//! The stored value is unique to this acquire (SPEC 4), so "the key holds my value" proves that
//! one of my own writes did it, and sending the same `SET NX` again is harmless.
//!
//! With a ledger that decides ([`Acquire::by_ledger`]) a claim stands between the SET that
//! succeeded and the PERSIST. Redis gives the fast "no", the claim gives the "yes": once it has won,
//! the answer is OK whatever Redis has (SPEC 2 and 3), and where Redis can't be asked the claim
//! alone decides.
//!
//! With [`Acquire::on_replicas`] a WAIT stands right behind the SET that succeeded: too few replicas,
//! and the key is taken back (SPEC 10). WAIT speaks of what was written on its own link, so a SET whose
//! reply was lost with its link can't be confirmed by it. Where Redis can't be asked there is no WAIT.

use std::time::Duration;

mod words;

pub use words::{Effect, Input, Ledger, Outcome, Request};

/// How often a lost link is replaced within one acquire before the answer is "unknown".
///
/// Two: one for a connection that broke, one for a Redis that restarts under it. A third would
/// only make a client wait that has better things to do.
const REOPENS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// SET sent. `again`: an earlier one may have been carried out too.
    Setting {
        again: bool,
    },
    /// WAIT sent, on the link of the SET.
    Replicating,
    /// GET sent, to learn what a SET whose reply was lost has done.
    ReadingBack {
        again: bool,
    },
    /// The claim is with the ledger.
    Claiming,
    /// Guarded PERSIST sent.
    Persisting,
    /// Plain PERSIST sent.
    PlainPersisting,
    /// Value and TTL asked for, after a plain PERSIST that can't be trusted.
    Confirming,
    /// Guarded PERSIST of an unconfirmed grant sent (SPEC 3, the same-token retry).
    Resuming,
    /// Compare-and-delete sent, because the client has gone or the claim has not won; then the
    /// acquire has ended so.
    Undoing(Outcome),
    /// Waiting for a new link, to go on with the step inside.
    Reopening(Resume),
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Resume {
    ReadBack { again: bool },
    Persist,
    Confirm,
    Resuming,
    Undo(Outcome),
}

/// One acquire of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acquire {
    step: Step,
    client_gone: bool,
    reopens_left: u8,
    /// When the SET that may have set the key was sent first; bounds a plain PERSIST.
    set_at: Duration,
    safety_ttl: Duration,
    /// False for a `ttl` rule: the key keeps the client's own TTL and step 4 falls away.
    persistent: bool,
    /// A PERSIST was sent: it may have been carried out, or may be still.
    persist_sent: bool,
    ledger: Ledger,
    /// The SET must be on replicas before anything follows.
    replicas: bool,
    /// The key holds, or held, our value.
    set: bool,
    /// The claim has won.
    won: bool,
    /// Redis is known to have the lock as it is to be.
    in_line: bool,
}

impl Acquire {
    /// A fresh acquire. `now` is the driver's monotonic clock, as a duration since any fixed
    /// origin; `safety_ttl` is the rule's.
    pub fn start(now: Duration, safety_ttl: Duration) -> (Self, Effect) {
        let step = Step::Setting { again: false };
        (Self::at(step, now, safety_ttl), Effect::Send(Request::SetNx))
    }

    /// An acquire under a `ttl` rule: the same, with the client's own TTL and no PERSIST.
    pub fn start_with_ttl(now: Duration, ttl: Duration) -> (Self, Effect) {
        let (mut acquire, effect) = Self::start(now, ttl);
        acquire.persistent = false;
        (acquire, effect)
    }

    /// An acquire whose token already stands as an unconfirmed grant: it is the same grant if
    /// Redis still has it, else an ordinary acquire.
    pub fn resume(now: Duration, safety_ttl: Duration) -> (Self, Effect) {
        (Self::at(Step::Resuming, now, safety_ttl), Effect::Send(Request::Persist))
    }

    fn at(step: Step, set_at: Duration, safety_ttl: Duration) -> Self {
        Self {
            step,
            client_gone: false,
            reopens_left: REOPENS,
            set_at,
            safety_ttl,
            persistent: true,
            persist_sent: step == Step::Resuming,
            ledger: Ledger::Follows,
            replicas: false,
            set: step == Step::Resuming,
            won: false,
            in_line: false,
        }
    }

    /// The same acquire with this say of the ledger.
    pub fn by_ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = ledger;
        self
    }

    /// The same acquire, which counts only once enough replicas have its SET, if `wanted`.
    pub fn on_replicas(mut self, wanted: bool) -> Self {
        self.replicas = wanted;
        self
    }

    /// An acquire without Redis: the claim alone decides (degraded mode).
    pub fn by_claim(now: Duration, safety_ttl: Duration) -> (Self, Effect) {
        let acquire = Self::at(Step::Claiming, now, safety_ttl).by_ledger(Ledger::Decides);
        (acquire, Effect::Claim)
    }

    /// True if Redis alone decides.
    pub fn follows(&self) -> bool {
        self.ledger == Ledger::Follows
    }

    /// True while the claim is with the ledger.
    pub fn is_claiming(&self) -> bool {
        self.step == Step::Claiming
    }

    /// True if the key was seen to hold the stored value.
    pub fn has_set(&self) -> bool {
        self.set
    }

    /// True if the claim has won, whatever the outcome is.
    pub fn has_won(&self) -> bool {
        self.won
    }

    /// True when Redis is known to have the lock for good; else a repair has to look.
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }

    /// Takes one input at `now` (the same clock as at the start) and says what to do.
    pub fn on(&mut self, input: Input, now: Duration) -> Effect {
        if input == Input::ClientGone {
            self.client_gone = true;
            return Effect::Wait;
        }
        match self.step {
            Step::Setting { again } => self.on_set(again, input),
            Step::Replicating => self.on_replicating(input),
            Step::ReadingBack { again } => self.on_read_back(again, input),
            Step::Claiming => self.on_claim(input),
            Step::Persisting => self.on_persist(input, now),
            Step::PlainPersisting => self.on_plain_persist(input, now),
            Step::Confirming => self.on_confirm(input),
            Step::Resuming => self.on_resume(input, now),
            Step::Undoing(outcome) => self.on_undo(outcome, input),
            Step::Reopening(resume) => self.on_reopen(resume, input),
            Step::Ended => Effect::Wait,
        }
    }

    fn on_set(&mut self, again: bool, input: Input) -> Effect {
        match input {
            Input::Taken if self.replicas && !self.client_gone => {
                self.set = true;
                self.send(Step::Replicating, Request::Replicas)
            }
            Input::Taken => self.taken(),
            // After a SET whose reply was lost, "exists" may mean our own earlier one.
            Input::Occupied if again => self.send(Step::ReadingBack { again }, Request::ReadBack),
            Input::Occupied => self.finish(Outcome::Held),
            Input::Lost | Input::TimedOut => self.reopen(Resume::ReadBack { again }),
            // Redis is not there, or takes no writes: the claim alone decides.
            Input::ReopenFailed | Input::Unusable if self.decides() => self.claim(),
            _ => self.finish(Outcome::Refused),
        }
    }

    fn on_replicating(&mut self, input: Input) -> Effect {
        match input {
            Input::Replicated => self.taken(),
            // With no Redis to ask any more the ledger alone decides, as in an outage.
            Input::Lost | Input::TimedOut => self.reopen(Resume::Undo(Outcome::TooFewReplicas)),
            _ if self.client_gone => self.undo(Outcome::Abandoned),
            _ => self.undo(Outcome::TooFewReplicas),
        }
    }

    fn on_claim(&mut self, input: Input) -> Effect {
        match input {
            Input::Won => {
                self.won = true;
                self.after_claim()
            }
            Input::Beaten => self.undo(Outcome::Held),
            Input::Unheard | Input::NoLedger => self.undo(Outcome::Blocked),
            Input::Undecided => self.undo(Outcome::Undecided),
            _ => Effect::Wait,
        }
    }

    fn after_claim(&mut self) -> Effect {
        if self.client_gone {
            self.undo(Outcome::Abandoned)
        } else if !self.set {
            // Redis was not asked: a repair puts the lock there when it can.
            self.finish(Outcome::Granted)
        } else if self.persistent {
            self.persist_sent = true;
            self.send(Step::Persisting, Request::Persist)
        } else {
            self.in_line = true;
            self.finish(Outcome::Granted)
        }
    }

    fn on_read_back(&mut self, again: bool, input: Input) -> Effect {
        match input {
            // Set on a link that is gone: WAIT on this one would not speak of it.
            Input::Ours if self.replicas && !self.client_gone => {
                self.set = true;
                self.undo(Outcome::TooFewReplicas)
            }
            Input::Ours => self.taken(),
            Input::Anothers => self.finish(Outcome::Held),
            Input::Gone if self.client_gone => self.finish(Outcome::Abandoned),
            Input::Gone if again => self.can_not_tell(),
            // `set_at` stays: the earlier SET may still be carried out, and its TTL would count
            // from then.
            Input::Gone => self.send(Step::Setting { again: true }, Request::SetNx),
            Input::Lost | Input::TimedOut => self.reopen(Resume::ReadBack { again }),
            _ => self.can_not_tell(),
        }
    }

    fn on_persist(&mut self, input: Input, now: Duration) -> Effect {
        match input {
            Input::Ours if self.client_gone => self.undo(Outcome::Abandoned),
            Input::Ours => self.granted(),
            _ if self.won && self.client_gone => self.finish(Outcome::Abandoned),
            Input::Uncalm if self.client_gone => self.undo(Outcome::Abandoned),
            // The claim decides, and then the same is asked again.
            Input::Uncalm if self.ledger == Ledger::Follows => {
                self.ledger = Ledger::DecidesWithRedis;
                self.claim()
            }
            // With `DecidesWithRedis` another's value there is another's grant, on its way here.
            Input::Anothers | Input::Gone if self.ledger == Ledger::Decides => {
                self.finish(Outcome::Granted)
            }
            Input::Anothers | Input::Gone => self.finish(Outcome::RanOut),
            // Where scripts are forbidden nothing could take a permanent key back.
            Input::Forbidden if self.client_gone => self.finish(Outcome::Abandoned),
            Input::Forbidden if now.saturating_sub(self.set_at) * 2 < self.safety_ttl => {
                self.send(Step::PlainPersisting, Request::PlainPersist)
            }
            Input::Forbidden if self.ledger != Ledger::Decides => self.finish(Outcome::RanOut),
            _ if self.won => self.finish(Outcome::Granted),
            Input::Lost | Input::TimedOut => self.reopen(Resume::Persist),
            _ => self.finish_unknown(),
        }
    }

    /// A plain PERSIST proves something only if its reply came while the key it was sent for
    /// cannot have run out: it was carried out before the reply, and the TTL began after `set_at`.
    fn on_plain_persist(&mut self, input: Input, now: Duration) -> Effect {
        let in_time = now.saturating_sub(self.set_at) < self.safety_ttl;
        match input {
            Input::TtlRemoved if in_time && !self.client_gone => self.granted(),
            _ if self.won && self.client_gone => self.undo(Outcome::Abandoned),
            _ if self.won => self.finish(Outcome::Granted),
            Input::TtlRemoved | Input::TtlAbsent => self.send(Step::Confirming, Request::Confirm),
            Input::Lost | Input::TimedOut => self.reopen(Resume::Confirm),
            // A clear no, in words that say which permission is missing: the key runs out.
            Input::Refused => self.finish(Outcome::Refused),
            _ => self.finish_unknown(),
        }
    }

    fn on_confirm(&mut self, input: Input) -> Effect {
        match input {
            Input::Ours if self.client_gone => self.undo(Outcome::Abandoned),
            Input::Ours => self.granted(),
            Input::Anothers | Input::Gone => self.finish(Outcome::RanOut),
            Input::Lost | Input::TimedOut => self.reopen(Resume::Confirm),
            _ => self.finish_unknown(),
        }
    }

    fn on_resume(&mut self, input: Input, now: Duration) -> Effect {
        match input {
            // Not undone when this client goes too: the grant is older than this connection.
            Input::Ours if self.client_gone => self.finish(Outcome::Abandoned),
            Input::Ours => self.granted(),
            Input::Anothers => self.finish(Outcome::Held),
            Input::Gone if self.client_gone => self.finish(Outcome::Abandoned),
            Input::Gone => self.set_key(now, false),
            // The grant may stand: then the SET finds it there.
            Input::Forbidden => self.set_key(now, true),
            Input::Lost | Input::TimedOut => self.reopen(Resume::Resuming),
            _ => self.finish_unknown(),
        }
    }

    fn on_undo(&mut self, outcome: Outcome, input: Input) -> Effect {
        match input {
            Input::Undone => self.finish(outcome),
            // Redis was asked for good before the ledger was.
            _ if self.decides() && self.persist_sent && !self.won => self.finish_unknown(),
            // The ledger has spoken; what is left in Redis runs out, or is repaired.
            _ if self.decides() => self.finish(outcome),
            Input::Lost | Input::TimedOut => self.reopen(Resume::Undo(outcome)),
            _ => self.finish_unknown(),
        }
    }

    fn on_reopen(&mut self, resume: Resume, input: Input) -> Effect {
        match (input, resume) {
            (Input::Reopened, Resume::ReadBack { again }) => {
                self.send(Step::ReadingBack { again }, Request::ReadBack)
            }
            (Input::Reopened, Resume::Persist) => self.send(Step::Persisting, Request::Persist),
            (Input::Reopened, Resume::Confirm) => self.send(Step::Confirming, Request::Confirm),
            (Input::Reopened, Resume::Resuming) => self.send(Step::Resuming, Request::Persist),
            (Input::Reopened, Resume::Undo(outcome)) => self.undo(outcome),
            _ => self.can_not_tell(),
        }
    }

    /// The key holds our value, with a TTL.
    fn taken(&mut self) -> Effect {
        self.set = true;
        if self.client_gone {
            return self.undo(Outcome::Abandoned);
        }
        if self.decides() {
            return self.claim();
        }
        self.after_claim()
    }

    fn decides(&self) -> bool {
        self.ledger != Ledger::Follows
    }

    fn claim(&mut self) -> Effect {
        self.step = Step::Claiming;
        Effect::Claim
    }

    /// Redis can't be asked what it has.
    fn can_not_tell(&mut self) -> Effect {
        if self.decides() && !self.client_gone && !self.won && !self.persist_sent {
            return self.claim();
        }
        self.finish_unknown()
    }

    /// Redis has it for good.
    fn granted(&mut self) -> Effect {
        self.in_line = true;
        self.finish(Outcome::Granted)
    }

    fn set_key(&mut self, now: Duration, again: bool) -> Effect {
        self.set_at = now;
        self.send(Step::Setting { again }, Request::SetNx)
    }

    /// Takes the key back, if it may be there, and ends so.
    fn undo(&mut self, outcome: Outcome) -> Effect {
        if !self.set {
            return self.finish(outcome);
        }
        self.send(Step::Undoing(outcome), Request::CompareAndDelete)
    }

    fn send(&mut self, step: Step, request: Request) -> Effect {
        self.step = step;
        Effect::Send(request)
    }

    fn reopen(&mut self, resume: Resume) -> Effect {
        if self.reopens_left == 0 {
            return self.can_not_tell();
        }
        self.reopens_left -= 1;
        self.step = Step::Reopening(resume);
        Effect::Reopen
    }

    fn finish_unknown(&mut self) -> Effect {
        let outcome = if self.persist_sent { Outcome::Unconfirmed } else { Outcome::Unknown };
        self.finish(outcome)
    }

    fn finish(&mut self, outcome: Outcome) -> Effect {
        self.step = Step::Ended;
        Effect::Finish(outcome)
    }
}

#[cfg(test)]
mod tests;
